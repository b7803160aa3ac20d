#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `make dist`: one archive, laid out as kata-deploy's, to be unpacked at / (tar -C / -xf). The same sources give the same
# bytes, whenever and wherever it is made on the same Debian.
# Usage: dist.sh VERSION ARCHIVE     environment: BUILD (build), SOURCE_DATE_EPOCH (the date of the last commit)
set -euo pipefail
export LC_ALL=C
umask 022
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
version=$1 archive=$2
build=${BUILD:-$top/build}
date=${SOURCE_DATE_EPOCH:-$(git -C "$top" -c safe.directory='*' log -1 --format=%ct 2>/dev/null || echo 0)}
work=$(mktemp -d "$build/dist.XXXXXX")
trap 'rm -rf "$work"' EXIT

share=$work/opt/kata/share
images=$share/kata-containers
defaults=$share/defaults/kata-containers
install -D -m 755 "$build/agent-ctl-static" "$work/opt/kata/bin/agent-ctl"
install -D -m 644 "$build/kata-vmlinuz" "$images/vmlinuz.container"
install -m 644 "$build/kata-containers-initrd.img" "$images/"
# tar looks for holes only where there are some.
cp --sparse=always "$build/kata-containers.img" "$images/"
chmod 644 "$images/kata-containers.img"
install -m 644 "$top/LICENSE" "$images/LICENSE"
"$top/tools/dist/spdx.sh" kata-agent-c "$version" "$date" "$build/rootfs" "$build/rootfs-image" >"$images/packages.spdx"
printf '%s\n' "$version" >"$work/opt/kata/VERSION"

# Kata 3.x merges what it finds in config.d beside its configuration.toml; with 1.x and 2.x the lines are copied.
fragment() { # FILE KEY IMAGE WHAT
	cat >"$defaults/config.d.examples/$1" <<END
# $4: copy into config.d/ beside configuration.toml (3.x), or these lines into it.
[hypervisor.qemu]
kernel = "/opt/kata/share/kata-containers/vmlinuz.container"
$2 = "/opt/kata/share/kata-containers/$3"
$([[ $2 == initrd ]] && echo 'image = ""' || echo 'initrd = ""')
END
}
mkdir -p "$defaults/config.d.examples"
fragment 50-initrd.toml initrd kata-containers-initrd.img 'The guest boots from an initrd'
fragment 50-image.toml image kata-containers.img 'The guest boots from an image, as NVDIMM'

(cd "$work" && find opt -type f ! -name SHA256SUMS -print0 | sort -z | xargs -0 sha256sum >opt/kata/SHA256SUMS)
chmod 644 "$work/opt/kata/VERSION" "$work/opt/kata/SHA256SUMS" "$images/packages.spdx" "$defaults"/config.d.examples/*
# Holes are found by reading: where the file system has them differs from one to another.
tar -C "$work" --format=gnu --sort=name --mtime="@$date" --owner=0 --group=0 --numeric-owner --mode=u+rwX,go+rX,go-w --sparse --hole-detection=raw \
	-cf - opt | zstd -q -19 -T1 -f -o "$archive.new"
mv "$archive.new" "$archive"
printf '%s  %s\n' "$(sha256sum <"$archive" | cut -d ' ' -f 1)" "${archive##*/}" >"$archive.sha256"
