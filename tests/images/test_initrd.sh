#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# initrd_builder.sh: the archive, read back with GNU cpio.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

make_agent "$work/kata-agent" -static -s
export AGENT_SOURCE_BIN=$work/kata-agent
export KATA_EXTRAS=none
root="$work/root fs"
out=$work/initrd
"$rootfs_sh" -r "$root" busybox > /dev/null
ln "$root/bin/busybox" "$root/bin/second name"
ln "$root/bin/busybox" "$root/a-first"
: > "$root/etc/.hidden"
before=$(tree_sum "$root")

check '-h exits 0' "$initrd_sh" -h
check 'no argument: usage, exit 0' "$initrd_sh"
refuses 'no such directory' 'is not a directory' "$initrd_sh" -o "$out" "$work/absent"
refuses 'unknown compression' 'Unknown compression' "$initrd_sh" -c lzma -o "$out" "$root"
mkdir -p "$work/empty" "$work/out dir"
refuses 'a directory as result' 'is a directory' "$initrd_sh" -o "$work/out dir" "$root"
is 'nothing is put there' "$(ls -A "$work/out dir")" ''
mkfifo "$work/fifo"
refuses 'a FIFO as result' 'no regular file' "$initrd_sh" -o "$work/fifo" "$root"
refuses 'a result in the tree itself' 'lies in the tree' "$initrd_sh" -o "$root/initrd" "$root"
check_tools 'tools of initrd_builder.sh' 'find:findutils sort:coreutils stat:coreutils gzip:gzip readelf:binutils' /bin/bash "$initrd_sh" -o "$out" "$root"
check_tools 'tools of initrd_builder.sh -c zstd' 'zstd:zstd' /bin/bash "$initrd_sh" -c zstd -o "$out" "$root"
if unshare -rm true 2> /dev/null; then
	mkdir "$work/small"
	filled() { unshare -rm sh -c 'mount -t tmpfs -o size=500k tmpfs "$1" && exec "$2" -o "$1/initrd" "$3"' - "$work/small" "$initrd_sh" "$root"; }
	refuses 'a full disk is called that' 'The disk is full' filled
else
	skip 'a full disk is called that' 'unshare -rm is not allowed here'
fi
refuses 'a tree without init' '/sbin/init is not installed' "$initrd_sh" -o "$out" "$work/empty"

check 'an initrd is made' "$initrd_sh" -o "$out" "$root"
is 'it is gzip, without name and date' "$(od -An -v -t x1 -N 8 "$out" | tr -d ' ')" 1f8b080000000000
check 'of a size divisible by nothing in particular, but small' test "$(stat -c %s "$out")" -lt 2500000
zcat "$out" > "$work/cpio"
is 'unpacked, padded to 4 bytes' $(($(stat -c %s "$work/cpio") % 4)) 0
cpio -it --quiet < "$work/cpio" > "$work/names"
check 'names are sorted' sort -c "$work/names"
is 'no absolute and no climbing names' "$(grep -c -E '^/|(^|/)\.\.(/|$)|^\./' "$work/names" || :)" 0
is 'everything is in, and what the kernel needs' "$(cat "$work/names")" \
	"$({ cd "$root" && find . -mindepth 1 -printf '%P\n'; printf '%s\n' init dev/console dev/null; } | sort -u)"
cpio -itv -n --quiet < "$work/cpio" > "$work/long"
is 'everything belongs to root' "$(awk '$3 != 0 || $4 != 0' "$work/long" | head -n 3)" ''
is 'console' "$(grep ' dev/console$' "$work/long" | tr -s ' ' | cut -d ' ' -f 1,5,6)" 'crw------- 5, 1'
is 'null' "$(grep ' dev/null$' "$work/long" | tr -s ' ' | cut -d ' ' -f 1,5,6)" 'crw-rw-rw- 1, 3'
check '/init leads to /sbin/init' grep -q ' init -> /sbin/init$' "$work/long"
mkdir "$work/x"
(cd "$work/x" && cpio -id --quiet --no-absolute-filenames < "$work/cpio" 2> /dev/null) || :
rm -rf "$work/x/dev"
rm -rf "$work/y"
cp -a "$root" "$work/y"
rm -rf "$work/y/dev"
sums() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum; find . -printf '%p %y %m %l\n' | sort); }
is 'unpacked, it is the tree' "$(sums "$work/x" | sha256sum)" "$(sums "$work/y" | sha256sum)"
is 'links are links' "$(stat -c %h "$work/x/bin/busybox")" 3
is 'the input is as it was' "$(tree_sum "$root")" "$before"

check '-c none' "$initrd_sh" -c none -o "$work/none" "$root"
cmp -s "$work/none" "$work/cpio" && ok 'is the same archive' || not_ok 'is the same archive'
if command -v zstd > /dev/null; then
	check '-c zstd' "$initrd_sh" -c zstd -o "$work/zst" "$root"
	zstd -q -d -c "$work/zst" | cmp -s - "$work/cpio" && ok 'is the same archive' || not_ok 'is the same archive'
else
	skip '-c zstd' 'zstd is not installed'
fi
# The line that users type themselves needs nothing of ours.
is '/init is in the tree' "$(readlink "$root/init")" /sbin/init
(cd "$root" && find . | cpio -H newc -o --quiet | gzip -9) > "$work/typed"
check 'find | cpio | gzip has it, too' grep -q ' \(./\)\?init -> /sbin/init$' <(zcat "$work/typed" | cpio -itv --quiet)
# A tree of systemd: without a word on the kernel line it must come to the agent's target.
tree=$work/systemd
mkdir -p "$tree"/{etc/systemd/system,sbin,usr/bin,usr/lib/systemd/system,usr/lib/sysctl.d}
cp /bin/busybox "$tree/usr/lib/systemd/systemd"
ln -s ../usr/lib/systemd/systemd "$tree/sbin/init"
ln -s graphical.target "$tree/usr/lib/systemd/system/default.target"
: > "$tree/usr/lib/systemd/system/graphical.target"
cp "$AGENT_SOURCE_BIN" "$tree/usr/bin/kata-agent"
said=$("$initrd_sh" -c none -o "$work/own" "$tree" 2>&1)
check 'an initrd of systemd that starts no agent: what is missing is said' grep -q 'ln -s /usr/lib/systemd/system/kata-containers.target' <<< "$said"
mkdir -p "$tree/etc/systemd/system/basic.target.wants"
ln -s /usr/lib/systemd/system/kata-containers.target "$tree/etc/systemd/system/basic.target.wants/"
said=$("$initrd_sh" -c none -o "$work/own" "$tree" 2>&1)
check 'wanted by basic.target is enough' not grep -q WARNING <<< "$said"
rm -r "$tree/etc/systemd/system/basic.target.wants"
"$rootfs_sh" -r "$tree" > /dev/null
said=$("$initrd_sh" -c none -o "$work/own" "$tree" 2>&1)
check 'as rootfs.sh leaves it it is' not grep -q WARNING <<< "$said"
is 'by default.target' "$(readlink "$tree/etc/systemd/system/default.target")" /usr/lib/systemd/system/kata-containers.target
ln -sfn /usr/lib/systemd/system/graphical.target "$tree/etc/systemd/system/default.target"
"$rootfs_sh" -r "$tree" > /dev/null
is 'a default.target of the user stays' "$(readlink "$tree/etc/systemd/system/default.target")" /usr/lib/systemd/system/graphical.target
ln -sfn sbin/init "$root/init"
check 'an /init of the tree' "$initrd_sh" -c none -o "$work/own" "$root"
check 'is kept' grep -q ' init -> sbin/init$' <(cpio -itv --quiet < "$work/own")
if [[ $(id -u) -eq 0 ]]; then
	mknod "$root/dev/zero" c 1 5
	chown 3:4 "$root/etc/hosts"
	check 'real device nodes and owners' "$initrd_sh" -c none -o "$work/own" "$root"
	cpio -itv -n --quiet < "$work/own" > "$work/long"
	is 'nodes are kept' "$(grep ' dev/zero$' "$work/long" | tr -s ' ' | cut -d ' ' -f 5,6)" '1, 5'
	is 'owners are kept' "$(grep ' etc/hosts$' "$work/long" | tr -s ' ' | cut -d ' ' -f 3,4)" '3 4'
else
	skip 'real device nodes and owners' 'needs root'
fi
done_testing
