#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `make fresh`: what README promises, on a machine that has nothing but what README asks for. Makes a plain Debian tree with
# mmdebstrap (minbase, git, make, ca-certificates, sudo), clones HEAD into it and runs README's commands there, each in a
# tree and a root of its own. As root.
set -euo pipefail
export LC_ALL=C
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
	cat <<'USAGE'
Usage: tests/fresh.sh [option]...
  -d DIR        where the trees are made, and removed again (default build/fresh)
  -u WHO        'root', or 'user' with sudo; both if neither is said; may be repeated
  -k KERNEL     'debian' or 'own'; both if neither is said; may be repeated
  -c COMMAND    'run' or 'test' of README's two; may be repeated (default: both)
  -s SUITE      Debian's release (default bookworm)
  -m MIRROR     where its packages come from (default: Debian's)
  -p            a plain chroot, as in many a CI system, whose / is no mount point
  -K            keep the trees; the plain one serves the next call
USAGE
}
die() { printf 'fresh.sh: %s\n' "$*" >&2; exit 1; }

dir=$top/build/fresh who=() kernels=() commands=() suite=bookworm mirror='' plain='' keep=''
while getopts hd:u:k:c:s:m:pK opt; do
	case $opt in
	d) dir=$OPTARG ;;
	u) who+=("$OPTARG") ;;
	k) kernels+=("$OPTARG") ;;
	c) commands+=("$OPTARG") ;;
	s) suite=$OPTARG ;;
	m) mirror=$OPTARG ;;
	p) plain=1 ;;
	K) keep=1 ;;
	h) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))
(($# == 0)) || { usage >&2; exit 2; }
((${#who[@]})) || who=(root user)
((${#kernels[@]})) || kernels=(debian own)
((${#commands[@]})) || commands=(run test)
one_of() { # VALUE CHOICE...
	local value=$1 choice
	shift
	for choice; do
		[[ $value != "$choice" ]] || return 0
	done
	printf 'fresh.sh: %s: choose one of %s\n' "$value" "$*" >&2
	exit 2
}
for w in "${who[@]}"; do one_of "$w" root user; done
for k in "${kernels[@]}"; do one_of "$k" debian own; done
for c in "${commands[@]}"; do one_of "$c" run test; done
((EUID == 0)) || die 'this needs root: a tree of its own is made and entered'
for tool in mmdebstrap unshare git; do
	command -v "$tool" >/dev/null || die "$tool is not there: apt-get install $tool"
done

mkdir -p "$dir"
dir=$(realpath "$dir")
tree=$dir/tree
clean() {
	[[ -n $keep ]] || rm -rf "$tree" "$dir/new.tar" "$dir/$suite.tar"
	rmdir "$dir" 2>/dev/null || true
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

now() { printf '%s' $((${EPOCHREALTIME/./} / 1000000)); }

started=$(now)
if [[ ! -e $dir/$suite.tar ]]; then
	mmdebstrap --quiet --mode=root --variant=minbase --include=git,make,ca-certificates,sudo "$suite" "$dir/new.tar" ${mirror:+"$mirror"} ||
		die "mmdebstrap failed: see above (-m names another mirror)"
	mv "$dir/new.tar" "$dir/$suite.tar"
	echo "fresh: a plain $suite with git, make, ca-certificates and sudo: $(($(now) - started)) s"
fi

enter() { # COMMAND...: as $w, in a login shell's environment
	if [[ $w == user ]]; then
		set -- setpriv --reuid=kata --regid=kata --init-groups env HOME=/home/kata USER=kata LOGNAME=kata "$@"
	fi
	if [[ -z $plain ]]; then
		"$top/tests/own-root.sh" "$tree" "$@"
		return
	fi
	[[ ! -e /etc/resolv.conf ]] || cat /etc/resolv.conf >"$tree/etc/resolv.conf"
	# A mount namespace for what the chroot sees; its / is a directory all the same.
	# shellcheck disable=SC2016 # the inner shell's
	unshare --mount --pid --fork --kill-child --propagation private bash -c '
		tree=$1
		shift
		mount -t proc proc "$tree/proc"
		mount --rbind /sys "$tree/sys"
		mount --rbind /dev "$tree/dev"
		exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 ${CI+CI="$CI"} \
			chroot "$tree" "$@"' - "$tree" "$@"
}

make_tree() {
	rm -rf "$tree"
	mkdir "$tree"
	tar -C "$tree" -x --exclude='./dev/*' -f "$dir/$suite.tar"
	home=/root
	if [[ $w == user ]]; then
		home=/home/kata
		chroot "$tree" useradd --create-home --shell /bin/bash kata
		echo 'kata ALL=(ALL) NOPASSWD: ALL' >"$tree/etc/sudoers.d/kata"
	fi
	git -c safe.directory='*' clone --quiet --no-hardlinks "$top" "$tree$home/kata-agent"
	[[ $w != user ]] || chroot "$tree" chown -R kata:kata "$home/kata-agent"
}

installed() { sed -n 's/^Installed in \(.*\)\.$/\1 of it for packages/p' "$dir/log" | head -n 1; }

failed=0
for w in "${who[@]}"; do
	for k in "${kernels[@]}"; do
		make_tree
		what="$w${plain:+, in a plain chroot}, KERNEL=$k"
		for c in "${commands[@]}"; do
			started=$(now)
			case $c in
			run)
				# Standard output is the container's alone: its first line is the moment.
				status=0
				first=$(enter bash -c "cd $home/kata-agent && make run KERNEL=$k CMD='echo here; uname -sr'" 2>"$dir/log" </dev/null |
					{ read -r line && echo "$line" "$(now)"; cat >&2; }) || status=$?
				if [[ $status -eq 0 && $first == 'here '* ]]; then
					echo "fresh: $what: make run: the first container's output after $((${first#here } - started)) s ($(installed))"
					continue
				fi
				;;
			test)
				if enter bash -c "cd $home/kata-agent && make test KERNEL=$k" >"$dir/log" 2>&1 </dev/null; then
					echo "fresh: $what: make test: $(($(now) - started)) s, $(tail -n 1 "$dir/log")"
					continue
				fi
				;;
			esac
			failed=1
			tail -n 40 "$dir/log"
			echo "fresh: $what: make $c: FAILED after $(($(now) - started)) s, see above"
			break
		done
		rm -f "$dir/log"
	done
done
exit "$failed"
