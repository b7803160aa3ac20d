#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes a disk image of a root tree: partition tables, NVDIMM header, file system, and where asked a hash tree
# to measure it by. All is written straight into the file: no root, no loop device, no mounting, no container.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
readonly here
# shellcheck source=../rootfs-builder/scripts/lib.sh
source "$here/../rootfs-builder/scripts/lib.sh"
# shellcheck source=layout.sh
source "$here/layout.sh"
# shellcheck source=ext4.sh
source "$here/ext4.sh"
# shellcheck source=other_fs.sh
source "$here/other_fs.sh"
[[ -z ${DEBUG:-} ]] || set -x
PATH=$PATH:/sbin:/usr/sbin

IMAGE=${IMAGE:-kata-containers.img}
FS_TYPE=${FS_TYPE:-ext4}
BLOCK_SIZE=${BLOCK_SIZE:-4096}
ROOT_FREE_SPACE=${ROOT_FREE_SPACE:-0}
IMG_SIZE=${IMG_SIZE:-0}
IMAGE_SIZE_ALIGNMENT_MB=${IMAGE_SIZE_ALIGNMENT_MB:-}
MEASURED_ROOTFS=${MEASURED_ROOTFS:-no}
SKIP_DAX_HEADER=${SKIP_DAX_HEADER:-no}
BUILD_VARIANT=${BUILD_VARIANT:-}
verify=

usage() {
	cat <<EOF
Usage: ${0##*/} [options] ROOTFS
       ${0##*/} -V IMAGE

Makes a guest's disk image of the directory ROOTFS. Root is not needed. -V checks an image.

  -o FILE   the image to write                          (IMAGE; now: $IMAGE)
  -f FS     ext4, xfs, or read-only erofs               (FS_TYPE; now: $FS_TYPE)
  -r MB     further free space in the file system       (ROOT_FREE_SPACE)
  -s MB     make it at least that large                 (IMG_SIZE)
  -a MB     round its size up to a multiple of this     (IMAGE_SIZE_ALIGNMENT_MB; default 128, and 2 with -x)
            Memory that is plugged in lies behind the NVDIMM and begins at a multiple of 128 MB, or the guest takes
            none of it, in silence. The file is sparse: the size costs no disk. 2 is the least for NVDIMM, and
            enough where no memory is ever plugged in
  -m        measured root: a second partition with a dm-verity hash tree; the root hash is printed and
            written beside the image                    (MEASURED_ROOTFS=yes)
  -x        no NVDIMM header, partition at 1 MiB        (SKIP_DAX_HEADER=yes)
  -h        this text

Environment: AGENT_BIN (kata-agent), AGENT_INIT (yes or no: insist on it; unset: whichever the tree has),
BLOCK_SIZE (4096; DAX works with no other), EROFS_COMPRESSION (lz4hc: smaller, but no DAX), BUILD_VARIANT (root hash
file root_hash_<it>.txt), SOURCE_DATE_EPOCH (date of all files; now $SOURCE_DATE_EPOCH), DEBUG.
USE_DOCKER, USE_PODMAN and NSDAX_BIN are accepted and not needed.
EOF
}

is_number() { [[ $1 =~ ^[0-9]+$ ]]; }

while getopts a:f:hmo:r:s:V:x opt; do
	case $opt in
	a) IMAGE_SIZE_ALIGNMENT_MB=$OPTARG ;;
	f) FS_TYPE=$OPTARG ;;
	h) usage; exit 0 ;;
	m) MEASURED_ROOTFS=yes ;;
	o) IMAGE=$OPTARG ;;
	r) ROOT_FREE_SPACE=$OPTARG ;;
	s) IMG_SIZE=$OPTARG ;;
	V) verify=$OPTARG ;;
	x) SKIP_DAX_HEADER=yes ;;
	*) usage >&2; exit 1 ;;
	esac
done
shift $((OPTIND - 1))

# --- measured root ---------------------------------------------------------------------------------

# The salt is no secret; a fixed one makes equal trees have equal hashes.
readonly verity_salt=6b617461000040008000766572697479006b6174610000400080007665726974

# Bytes of hash tree over that many bytes of data: 128 hashes of 32 bytes in a block, on each level.
verity_size() {
	local n=$(($1 / 4096)) total=0
	while [[ $n -gt 1 ]]; do
		n=$(((n + 127) / 128))
		total=$((total + n))
	done
	printf '%d\n' $((total * 4096))
}

verity_make() {
	local file=$1 scratch hash blocks dir
	scratch=$(mktemp -d)
	dd if="$file" of="$scratch/data" bs=1M iflag=skip_bytes,count_bytes skip="$fs_at" count="$fs_bytes" conv=sparse status=none
	blocks=$((fs_bytes / 4096))
	veritysetup format --no-superblock --salt="$verity_salt" --hash=sha256 --data-block-size=4096 --hash-block-size=4096 \
		--data-blocks="$blocks" "$scratch/data" "$scratch/hash" > "$scratch/log" 2>&1 ||
		{ cat "$scratch/log" >&2; die "veritysetup failed"; }
	hash=$(sed -n 's/^Root hash:[[:space:]]*//p' "$scratch/log")
	[[ $(stat -c %s "$scratch/hash") -le $hash_bytes ]] || die "internal error: hash tree larger than its partition"
	put "$file" "$hash_at" < "$scratch/hash"
	veritysetup verify --no-superblock --salt="$verity_salt" --hash=sha256 --data-block-size=4096 --hash-block-size=4096 \
		--data-blocks="$blocks" "$scratch/data" "$scratch/hash" "$hash" > /dev/null || die "the hash tree does not verify"
	rm -rf "$scratch"
	dir=$(dirname "$IMAGE")
	root_hash="root_hash=$hash,salt=$verity_salt,data_blocks=$blocks,data_block_size=4096,hash_block_size=4096"
	printf '%s\n' "$root_hash" > "$dir/root_hash${BUILD_VARIANT:+_$BUILD_VARIANT}.txt"
	OK "Root hash $hash (in $dir/root_hash${BUILD_VARIANT:+_$BUILD_VARIANT}.txt). Kernel command line with /dev/pmem0 (or vda1, vda2):"
	info "dm-mod.create=\"dm-verity,,,ro,0 $((blocks * 8)) verity 1 /dev/pmem0p1 /dev/pmem0p2 4096 4096 $blocks 0 sha256 $hash $verity_salt 1 panic_on_corruption\" root=/dev/dm-0 ro rootfstype=$FS_TYPE"
}

# --- the image -------------------------------------------------------------------------------------

up() { printf '%d\n' $((($1 + $2 - 1) / $2 * $2)); }

# place SIZE: where things are in an image of SIZE bytes. Sets fs_bytes, hash_at, hash_bytes.
place() {
	local end=$(($1 - mib)) room hash
	room=$((end - fs_at))
	hash_at=0 hash_bytes=0 fs_bytes=$room
	if [[ $MEASURED_ROOTFS == yes ]]; then
		hash=$(up "$(verity_size "$room")" $mib)
		hash_bytes=$hash hash_at=$((end - hash)) fs_bytes=$((room - hash))
	fi
}

write_layout() {
	local file=$1 size=$2 table=($((fs_at / 512)) $((fs_bytes / 512)))
	truncate -s "$size" "$file"
	[[ $hash_bytes -eq 0 ]] || table+=($((hash_at / 512)) $((hash_bytes / 512)))
	mbr $((0x6174616b)) "${table[@]}" | put "$file" 0
	[[ $SKIP_DAX_HEADER == no ]] || return 0
	table[0]=$((table[0] - pfn_data / 512))
	[[ $hash_bytes -eq 0 ]] || table[2]=$((table[2] - pfn_data / 512))
	mbr $((0x6174616c)) "${table[@]}" | put "$file" $pfn_data
	write_pfn "$file"
}

check_image() {	# FILE [ROOT]
	local magic
	check_layout "$1"
	if [[ $(number "$1" $((fs_at + 1080)) 2) == $((0xef53)) ]]; then
		ext4_check "$1" "$fs_at" "${2:-}"
	elif [[ $(dd if="$1" bs=4 iflag=skip_bytes skip="$fs_at" count=1 status=none | tr -d '\0') == XFSB ]]; then
		xfs_check "$1" "$fs_at" "${2:-}"
	elif magic=$(number "$1" $((fs_at + 1024)) 4) && [[ $magic == $((0xe0f5e1e2)) ]]; then
		erofs_check "$1" "$fs_at" "${2:-}"
	else
		die "$1: no ext4, xfs or erofs in its partition"
	fi
}

check_options() {
	# Only an NVDIMM stands in the way of hot-plugged memory.
	[[ -n $IMAGE_SIZE_ALIGNMENT_MB ]] || { [[ $SKIP_DAX_HEADER == yes ]] && IMAGE_SIZE_ALIGNMENT_MB=2 || IMAGE_SIZE_ALIGNMENT_MB=128; }
	case $FS_TYPE in ext4 | xfs | erofs) ;; *) die "Unsupported fs type: $FS_TYPE (ext4, xfs or erofs)" ;; esac
	is_number "$ROOT_FREE_SPACE" || die "-r $ROOT_FREE_SPACE: must be a number of megabytes"
	is_number "$IMG_SIZE" || die "-s $IMG_SIZE: must be a number of megabytes"
	is_number "$IMAGE_SIZE_ALIGNMENT_MB" && [[ $IMAGE_SIZE_ALIGNMENT_MB -ge 1 ]] || die "-a $IMAGE_SIZE_ALIGNMENT_MB: must be a number of megabytes"
	is_yes_no "$MEASURED_ROOTFS" || die "MEASURED_ROOTFS($MEASURED_ROOTFS) is invalid (must be yes or no)"
	is_yes_no "$SKIP_DAX_HEADER" || die "SKIP_DAX_HEADER($SKIP_DAX_HEADER) is invalid (must be yes or no)"
	case $FS_TYPE:$BLOCK_SIZE in
	*:4096 | ext4:1024 | ext4:2048) ;;
	*) die "BLOCK_SIZE($BLOCK_SIZE) is invalid: $FS_TYPE takes 4096$([[ $FS_TYPE == ext4 ]] && echo ', 1024 or 2048')" ;;
	esac
	if [[ $SKIP_DAX_HEADER == no ]]; then
		[[ $((IMAGE_SIZE_ALIGNMENT_MB % 2)) -eq 0 ]] || die "-a $IMAGE_SIZE_ALIGNMENT_MB: an NVDIMM image must be a multiple of 2 MB (or leave the header out with -x)"
		[[ $BLOCK_SIZE == 4096 ]] || warning "with a block size of $BLOCK_SIZE the guest cannot use DAX"
	fi
	[[ $MEASURED_ROOTFS == no ]] || need_program veritysetup
	[[ -z ${USE_DOCKER:-}${USE_PODMAN:-} ]] || info "An image is made without a container: USE_DOCKER and USE_PODMAN have no effect"
	if [[ $FS_TYPE == ext4 ]]; then
		need_program mke2fs debugfs e2fsck resize2fs
	fi
}

need_program find awk sort sed dd od tr cut head stat truncate realpath cmp du
if [[ -n $verify ]]; then
	[[ -r $verify ]] || die "$verify cannot be read"
	check_image "$verify"
	OK "$verify is in order: file system of $((fs_bytes / mib)) MiB at $((fs_at / mib)) MiB$(has_pfn "$verify" && echo ', NVDIMM header with right checksum')"
	exit 0
fi
[[ $# -gt 0 ]] || { usage; exit 0; }
[[ $# -eq 1 ]] || die "One directory at a time: $*"
check_options
[[ -d $1 ]] || die "$1 is not a directory"
root=$(cd "$1" && pwd)
check_rootfs "$root"
check_output "$IMAGE" "$root"

fs_at=$fs_offset_dax
[[ $SKIP_DAX_HEADER == no ]] || fs_at=$fs_offset_plain
align=$((IMAGE_SIZE_ALIGNMENT_MB * mib))
inodes=0 journal=0
# Everything on the way is made beside the image: /tmp may be too small for it, and in memory.
TMPDIR=$(mktemp -d "$(realpath "$(dirname "$IMAGE")")/.kata-image.XXXXXX")
export TMPDIR
at_exit() {
	local status=$?
	[[ $status -eq 0 ]] || full_disk "$TMPDIR"
	rm -rf "$TMPDIR"
}
trap at_exit EXIT
new=$TMPDIR/image

case $FS_TYPE in
erofs) erofs_size "$root" ;;
*) read -r fs_need inodes journal < <("${FS_TYPE}_size" "$root") ;;
esac
fs_need=$((fs_need + ROOT_FREE_SPACE * mib))
inodes=$((inodes + ROOT_FREE_SPACE * 64))
size=$(up $((fs_at + fs_need + mib)) $align)
[[ $size -ge $((IMG_SIZE * mib)) ]] || size=$(up $((IMG_SIZE * mib)) $align)
place "$size"
while [[ $fs_bytes -lt $fs_need ]]; do
	size=$((size + align))
	place "$size"
done

for try in 1 2 3 4 5 6 7 8 9 10; do
	rm -f "$new"
	write_layout "$new" "$size"
	status=0
	"${FS_TYPE}_make" "$new" "$fs_at" "$fs_bytes" "$root" "$inodes" "$journal" || status=$?
	[[ $status -ne 0 ]] || break
	[[ $status -eq 2 && $try -lt 10 ]] || die "Could not make a $FS_TYPE file system of $fs_bytes bytes for $root"
	size=$((size + align))
	place "$size"
done
[[ $MEASURED_ROOTFS == no ]] || verity_make "$new"
check_image "$new" "$root"
mv "$new" "$IMAGE"
OK "Image $IMAGE ready: $FS_TYPE, $size bytes, $(du -B1 "$IMAGE" | cut -f 1) of them on disk"
