#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs a command in a tree of files, such as mmdebstrap's, as if that were a machine: with a root of its own, which
# a plain chroot has not (mount namespaces need one), and with nothing of ours in its environment. When the command
# ends, so do all that it started. As root.
#
#	tests/own-root.sh DIRECTORY COMMAND...
set -euo pipefail
if [[ ${1:-} == -inside ]]; then
	dir=$2
	shift 2
	mount --bind "$dir" "$dir"
	mount -t proc proc "$dir/proc"
	mount --rbind /sys "$dir/sys"
	mount --rbind /dev "$dir/dev"
	mount -t tmpfs -o mode=755 run "$dir/run"
	mount -t tmpfs -o mode=1777 tmp "$dir/tmp"
	cd "$dir"
	mkdir -p run/old
	pivot_root . run/old
	umount -l /run/old
	rmdir /run/old
	cd
	exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 ${CI+CI="$CI"} "$@"
fi
if (($# < 2)) || [[ ! -d $1 ]]; then
	sed -n 's/^#\t/usage: /p' "$0" >&2
	exit 2
fi
dir=$(realpath "$1")
shift
[[ ! -e /etc/resolv.conf ]] || cat /etc/resolv.conf >"$dir/etc/resolv.conf"
HOME=/root exec unshare --mount --pid --fork --kill-child --propagation private "$0" -inside "$dir" "$@"
