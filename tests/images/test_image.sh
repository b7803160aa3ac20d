#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# image_builder.sh: options, messages, and every byte of the layout, without booting.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

make_agent "$work/kata-agent" -static -s
export AGENT_SOURCE_BIN=$work/kata-agent
export KATA_EXTRAS=none
root="$work/root fs"
img="$work/a disk.img"
mib=1048576
"$rootfs_sh" -r "$root" busybox > /dev/null
# Most of what follows is about small images.
export IMAGE_SIZE_ALIGNMENT_MB=2
before=$(tree_sum "$root")

u() { od -An -v -t "u$3" --endian=little -j "$2" -N "$3" "$1" | tr -d ' '; }
hex() { od -An -v -t x1 -j "$2" -N "$3" "$1" | tr -d ' \n'; }
all_zero() { ! dd if="$1" bs=64K iflag=skip_bytes,count_bytes skip="$2" count="$3" status=none | tr -d '\0' | grep -q .; }
# The tree inside: names, types, modes, owners, links.
listing() { (cd "$root" && find . -mindepth 1 -printf '/%P %m %l\n' | sed 's/ 1777 / 777 /' | sort); }	# rdump drops the sticky bit

# --- options and messages
check '-h exits 0' "$image_sh" -h
check 'no argument: usage, exit 0' "$image_sh"
refuses 'no such directory' 'is not a directory' "$image_sh" -o "$img" "$work/absent"
refuses 'unknown file system' 'Unsupported fs type: ntfs' "$image_sh" -f ntfs -o "$img" "$root"
refuses 'free space that is no number' '-r many' "$image_sh" -r many -o "$img" "$root"
refuses 'an alignment NVDIMM cannot have' 'multiple of 2 MB' "$image_sh" -a 3 -o "$img" "$root"
refuses 'a block size that cannot be' 'BLOCK_SIZE(512) is invalid' env BLOCK_SIZE=512 "$image_sh" -o "$img" "$root"
refuses 'AGENT_INIT that cannot be' 'Invalid value for AGENT_INIT' env AGENT_INIT=maybe "$image_sh" -o "$img" "$root"
refuses 'AGENT_INIT=no where the agent is init' '/sbin/init is the agent' env AGENT_INIT=no "$image_sh" -o "$img" "$root"
mkdir -p "$work/out dir"
refuses 'a directory as result' 'is a directory' "$image_sh" -o "$work/out dir" "$root"
refuses 'a directory as result, spelled with /' 'is a directory' "$image_sh" -o "$work/none/" "$root"
is 'nothing is put there' "$(ls -A "$work/out dir")" ''
mkfifo "$work/fifo"
refuses 'a FIFO as result' 'no regular file' "$image_sh" -o "$work/fifo" "$root"
if [[ $(id -u) -eq 0 ]]; then
	# Not /dev/null itself: what is tried here once destroyed it.
	mknod "$work/null" c 1 3
	refuses 'a device as result' 'no regular file' "$image_sh" -o "$work/null" "$root"
	check 'which is still one' test -c "$work/null"
else
	skip 'a device as result' 'mknod needs root'
fi
refuses 'a result in the tree itself' 'lies in the tree' "$image_sh" -o "$root/kata.img" "$root"
check_tools 'tools of image_builder.sh' 'find:findutils awk:mawk sort:coreutils dd:coreutils od:coreutils mke2fs:e2fsprogs debugfs:e2fsprogs e2fsck:e2fsprogs resize2fs:e2fsprogs readelf:binutils cmp:diffutils' /bin/bash "$image_sh" -o "$img" "$root"
check_tools 'tools of a measured root' 'veritysetup:cryptsetup-bin' /bin/bash "$image_sh" -m -o "$img" "$root"
if unshare -rm true 2> /dev/null; then
	mkdir "$work/small"
	filled() { unshare -rm sh -c 'mount -t tmpfs -o size=$2 tmpfs "$1" && exec "$3" -o "$1/kata.img" "$4"' - "$work/small" "$1" "$image_sh" "$root"; }
	for s in 1M 2500k 4M; do
		refuses "a full disk ($s) is called that" 'The disk is full' filled $s
	done
else
	skip 'a full disk is called that' 'unshare -rm is not allowed here'
fi
mkdir -p "$work/noinit/usr/bin"
refuses 'a tree without init' '/sbin/init is not installed' "$image_sh" -o "$img" "$work/noinit"
cp -a "$root" "$work/noagent"
rm "$work/noagent/usr/bin/kata-agent" "$work/noagent/sbin/init"
ln -s ../bin/busybox "$work/noagent/sbin/init"
refuses 'a tree without the agent' '/usr/bin/kata-agent is not installed' "$image_sh" -o "$img" "$work/noagent"
cp -a "$root" "$work/nolibs"
make_agent "$work/nolibs/usr/bin/kata-agent" -s
refuses 'an agent whose loader is missing' 'needs the loader' "$image_sh" -o "$img" "$work/nolibs"
cp -a "$root" "$work/dangling"
ln -sfn /usr/bin/nothing "$work/dangling/sbin/init"
refuses 'an init that leads nowhere' 'does not lead to an executable' "$image_sh" -o "$img" "$work/dangling"
check 'a failed build leaves nothing' test ! -e "$img" -a ! -e "$img.new"

# --- the layout
check 'an image is made, in a directory that is not there yet' "$image_sh" -o "$work/new/dir/kata.img" "$root"
mv "$work/new/dir/kata.img" "$img"
size=$(stat -c %s "$img")
sectors=$((size / 512 - 4 * 2048))
is 'size is a multiple of 2 MiB' $((size % (2 * mib))) 0
check "it is small ($size bytes)" test "$size" -le $((16 * mib))
check 'and sparse' test "$(du -B1 "$img" | cut -f 1)" -lt "$((size - 4 * mib))"
is 'MBR 1: signature' "$(hex "$img" 510 2)" 55aa
is 'MBR 1: boot code area is empty' "$(all_zero "$img" 0 440 && echo yes)" yes
is 'MBR 1: status and first CHS' "$(hex "$img" 446 4)" 00000130
is 'MBR 1: type' "$(hex "$img" 450 1)" 83
is 'MBR 1: start' "$(u "$img" 454 4)" 6144
is 'MBR 1: length' "$(u "$img" 458 4)" "$sectors"
is 'MBR 1: no other partition' "$(all_zero "$img" 462 48 && echo yes)" yes
at=$((2 * mib))
is 'MBR 2: signature' "$(hex "$img" $((at + 510)) 2)" 55aa
is 'MBR 2: status and first CHS' "$(hex "$img" $((at + 446)) 4)" 00000110
is 'MBR 2: start' "$(u "$img" $((at + 454)) 4)" 2048
is 'MBR 2: length' "$(u "$img" $((at + 458)) 4)" "$sectors"
is 'header: signature' "$(dd if="$img" bs=1 skip=4096 count=16 status=none | tr '\0' .)" NVDIMM_PFN_INFO.
is 'header: uuids and flags' "$(all_zero "$img" $((4096 + 16)) 36 && echo yes)" yes
is 'header: version 0.2' "$(u "$img" $((4096 + 52)) 2).$(u "$img" $((4096 + 54)) 2)" 0.2
is 'header: data offset' "$(u "$img" $((4096 + 56)) 8)" 2097152
is 'header: mode' "$(u "$img" $((4096 + 72)) 4)" 1
is 'header: alignment' "$(u "$img" $((4096 + 84)) 4)" 2097152
is 'header: checksum (golden)' "$(hex "$img" $((4096 + 4088)) 8)" 303894e32b035b68
is 'nothing between header and second table' "$(all_zero "$img" 8192 $((2 * mib - 8192)) && echo yes)" yes
is 'the last MiB is free' "$(all_zero "$img" $((size - mib)) $mib && echo yes)" yes

# --- the file system
fs="$img?offset=$((3 * mib))"
info=$(dumpe2fs -h "$fs" 2> /dev/null)
field() { sed -n "s/^$1: *//p" <<< "$info"; }
is 'ext4: magic in its place' "$(hex "$img" $((3 * mib + 1080)) 2)" 53ef
is 'ext4: block size' "$(field 'Block size')" 4096
is 'ext4: fills the partition' "$(field 'Block count')" $((sectors / 8))
is 'ext4: 3 % reserved' $(($(field 'Reserved block count') * 100 / $(field 'Block count'))) $((3 * 100 / 100 - ($(field 'Reserved block count') * 100 / $(field 'Block count') < 3)))
check 'ext4: has a journal' grep -q -w has_journal <<< "$(field 'Filesystem features')"
check 'ext4: clean' e2fsck -fn "$fs"
if [[ $(id -u) -eq 0 ]]; then
	mkdir "$work/dump"
	debugfs -R "rdump / $work/dump" "$fs" > /dev/null 2>&1
	is 'ext4: the tree inside is the tree outside' "$(cd "$work/dump" && find . -mindepth 1 -printf '/%P %m %l\n' | sort)" "$(listing)"
	check 'ext4: sticky bit' grep -q 'Mode: *01777' <<< "$(debugfs -R 'stat /tmp' "$fs" 2> /dev/null)"
	is 'ext4: contents, too' "$(cd "$work/dump" && find . -type f -print0 | sort -z | xargs -0 sha256sum)" "$(cd "$root" && find . -type f -print0 | sort -z | xargs -0 sha256sum)"
	is 'ext4: everything belongs to root' "$(find "$work/dump" ! -uid 0 -o ! -gid 0 | head -n 3)" ''
else
	skip 'ext4: the tree inside is the tree outside' 'rdump needs root to keep modes'
fi
is 'the input is as it was' "$(tree_sum "$root")" "$before"
check '-V finds it in order' "$image_sh" -V "$img"

# --- damage is found
cp "$img" "$work/bad.img"
printf '\001' | dd of="$work/bad.img" bs=1 seek=$((4096 + 84)) conv=notrunc status=none
refuses '-V: a wrong header' 'checksum of its NVDIMM header is wrong' "$image_sh" -V "$work/bad.img"
cp "$img" "$work/bad.img"
printf '\001' | dd of="$work/bad.img" bs=1 seek=$((2 * mib + 455)) conv=notrunc status=none
refuses '-V: tables that disagree' 'do not describe the same place' "$image_sh" -V "$work/bad.img"
cp "$img" "$work/bad.img"
head -c 4096 /dev/urandom | dd of="$work/bad.img" bs=4096 seek=$((3 * mib / 4096 + 2)) conv=notrunc status=none
refuses '-V: a damaged file system' 'not clean' "$image_sh" -V "$work/bad.img"
truncate -s $((size - 3 * mib)) "$work/bad.img"
refuses '-V: a shortened image' 'beyond the end' "$image_sh" -V "$work/bad.img"

# --- sizes and other forms
check '-r 20: free space' "$image_sh" -r 20 -o "$work/r.img" "$root"
check 'is there' test "$(stat -c %s "$work/r.img")" -ge $((size + 18 * mib))
check '-s 50: size' "$image_sh" -s 50 -o "$work/s.img" "$root"
is 'is that' "$(stat -c %s "$work/s.img")" $((50 * mib))
check '-a 128: alignment' "$image_sh" -a 128 -o "$work/a.img" "$root"
is 'is that' "$(stat -c %s "$work/a.img")" $((128 * mib))
check 'alignment by default' env -u IMAGE_SIZE_ALIGNMENT_MB "$image_sh" -o "$work/default.img" "$root"
cmp -s "$work/a.img" "$work/default.img" && ok 'is the same' || not_ok 'is the same'
check 'without header' env -u IMAGE_SIZE_ALIGNMENT_MB "$image_sh" -x -o "$work/default.img" "$root"
check 'it is as small as it can' test "$(stat -c %s "$work/default.img")" -le $((16 * mib))
is 'with the length osbuilder has' "$(u "$work/a.img" 458 4)" 253952
check 'and costs no disk' test "$(du -B1 "$work/a.img" | cut -f 1)" -lt $((8 * mib))
check '-x: no header' "$image_sh" -x -o "$work/x.img" "$root"
is 'partition at 1 MiB' "$(u "$work/x.img" 454 4)" 2048
is 'file system there' "$(hex "$work/x.img" $((mib + 1080)) 2)" 53ef
is 'nothing at 4 KiB' "$(all_zero "$work/x.img" 4096 4096 && echo yes)" yes
check 'USE_DOCKER is accepted' env USE_DOCKER=1 "$image_sh" -o "$work/d.img" "$root"
cmp -s "$img" "$work/d.img" && ok 'and makes no difference' || not_ok 'and makes no difference'
mkdir -p "$work/many/rootfs"
cp -a "$root/." "$work/many/rootfs"
seq 1 3000 | while read -r i; do : > "$work/many/rootfs/mnt/a file with a rather long name $i \"quoted\""; done
head -c 30M /dev/urandom > "$work/many/rootfs/mnt/large"
ln "$work/many/rootfs/mnt/large" "$work/many/rootfs/mnt/linked"
check 'a larger tree with odd names and hard links' "$image_sh" -o "$work/many.img" "$work/many/rootfs"
is 'links are kept' "$(debugfs -R 'stat /mnt/linked' "$work/many.img?offset=$((3 * mib))" 2> /dev/null | sed -n 's/.*Links: \([0-9]*\).*/\1/p')" 2
check 'once' test "$(stat -c %s "$work/many.img")" -lt $((60 * mib))

if command -v mkfs.erofs > /dev/null; then
	check 'erofs' "$image_sh" -f erofs -o "$work/e.img" "$root"
	is 'erofs: magic in its place' "$(hex "$work/e.img" $((3 * mib + 1024)) 4)" e2e1f5e0
	check "erofs: at most 8 MiB" test "$(stat -c %s "$work/e.img")" -le $((8 * mib))
	check 'erofs: -V' "$image_sh" -V "$work/e.img"
	check 'erofs: compressed' env EROFS_COMPRESSION=lz4hc "$image_sh" -f erofs -o "$work/ez.img" "$root"
else
	skip erofs 'mkfs.erofs is not installed'
fi
if command -v mkfs.xfs > /dev/null; then
	check 'xfs' "$image_sh" -f xfs -o "$work/xfs.img" "$root"
	is 'xfs: magic in its place' "$(hex "$work/xfs.img" $((3 * mib)) 4)" 58465342
	check 'xfs: -V' "$image_sh" -V "$work/xfs.img"
else
	skip xfs 'mkfs.xfs is not installed'
fi
if command -v veritysetup > /dev/null; then
	check 'measured root' env BUILD_VARIANT=test "$image_sh" -m -o "$work/m.img" "$root"
	line=$(cat "$work/root_hash_test.txt")
	check 'root hash beside the image' grep -q -E '^root_hash=[0-9a-f]{64},salt=[0-9a-f]{64},data_blocks=[0-9]+,data_block_size=4096,hash_block_size=4096$' <<< "$line"
	start=$(u "$work/m.img" 454 4) count=$(u "$work/m.img" 458 4) start2=$(u "$work/m.img" 470 4) count2=$(u "$work/m.img" 474 4)
	check 'second partition follows the first' test "$start2" -ge $((start + count)) -a "$count2" -gt 0
	blocks=$(sed 's/.*data_blocks=\([0-9]*\).*/\1/' <<< "$line")
	is 'all of the first is measured' "$((blocks * 8))" "$count"
	dd if="$work/m.img" of="$work/data" bs=512 skip="$start" count="$count" status=none
	dd if="$work/m.img" of="$work/hash" bs=512 skip="$start2" count="$count2" status=none
	verify() { veritysetup verify --no-superblock --hash=sha256 --data-block-size=4096 --hash-block-size=4096 --data-blocks="$blocks" \
		--salt="$(sed 's/.*salt=\([0-9a-f]*\).*/\1/' <<< "$line")" "$work/data" "$work/hash" "$(sed 's/root_hash=\([0-9a-f]*\),.*/\1/' <<< "$line")"; }
	check 'and verifies' verify
	printf x | dd of="$work/data" bs=1 seek=2000000 conv=notrunc status=none
	check 'until a byte changes' not verify
else
	skip 'measured root' 'veritysetup is not installed'
fi

# --- what cannot be read is not left out
if [[ $(id -u) -eq 0 ]]; then
	chmod 0755 "$root"
	mkdir -m 0777 "$work/nobody"
	mkdir "$work/copy"	# a clone below /root is out of nobody's reach
	cp -a "$top/image-builder" "$top/rootfs-builder" "$work/copy/"
	refuses 'a directory one may not read' 'cannot read' setpriv --reuid=65534 --regid=65534 --clear-groups \
		"$work/copy/image-builder/image_builder.sh" -o "$work/nobody/kata.img" "$root"
else
	skip 'a directory one may not read' 'needs root to become nobody'
fi
done_testing
