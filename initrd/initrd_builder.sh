#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Packs a root tree into an initramfs: a newc cpio archive written here byte by byte, so that owners, dates and
# device nodes are right without being root, and the same tree gives the same bytes. The tree is only read.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
readonly here
# shellcheck source=../rootfs-builder/scripts/lib.sh
source "$here/../rootfs-builder/scripts/lib.sh"
[[ -z ${DEBUG:-} ]] || set -x

INITRD_IMAGE=${INITRD_IMAGE:-kata-containers-initrd.img}
INITRD_COMPRESSION=${INITRD_COMPRESSION:-gzip}

usage() {
	cat <<EOF
Usage: ${0##*/} [-h] [-o FILE] [-c gzip|zstd|none] ROOTFS

Packs the directory ROOTFS into an initrd for a guest. Root is not needed.

  -o FILE   the initrd to write (INITRD_IMAGE; now: $INITRD_IMAGE)
  -c HOW    compression (INITRD_COMPRESSION; now: $INITRD_COMPRESSION). Any guest kernel reads gzip; ours reads all three
  -h        this text

Environment: AGENT_BIN (kata-agent), AGENT_INIT (yes or no: insist on it; unset: whichever the tree has),
SOURCE_DATE_EPOCH (date of all files; now $SOURCE_DATE_EPOCH), DEBUG.
EOF
}

while getopts hc:o: opt; do
	case $opt in
	o) INITRD_IMAGE=$OPTARG ;;
	c) INITRD_COMPRESSION=$OPTARG ;;
	h) usage; exit 0 ;;
	*) usage >&2; exit 1 ;;
	esac
done
shift $((OPTIND - 1))
[[ $# -gt 0 ]] || { usage; exit 0; }
[[ $# -eq 1 ]] || die "One directory at a time: $*"

case $INITRD_COMPRESSION in
gzip) pack=(gzip -9 -n); need_program gzip ;;
zstd) pack=(zstd -19 -T1 -q -c); need_program zstd ;;
none) pack=(cat) ;;
*) die "Unknown compression '$INITRD_COMPRESSION': must be gzip, zstd or none" ;;
esac

need_program find sort stat cat head tr sed realpath
[[ -d $1 ]] || die "$1 is not a directory"
root=$(cd "$1" && pwd)
check_rootfs "$root"
if is_systemd "$root" && ! systemd_reaches "$root"; then
	warning "systemd of $root starts no agent by itself: runtimes boot an initrd without systemd.unit=kata-containers.target.
Link it: ln -s /usr/lib/systemd/system/kata-containers.target $root/etc/systemd/system/default.target
(or let rootfs.sh -r $root do it), or add that word to kernel_params of the runtime"
fi

# --- newc ------------------------------------------------------------------------------------------

inode=0

# entry NAME MODE NLINK SIZE [MAJOR MINOR [INODE]]: a header with the owner in uid and gid, padded to 4 bytes with its name.
entry() {
	local name=$1 mode=$2 nlink=$3 size=$4 major=${5:-0} minor=${6:-0} ino=${7:-}
	if [[ -z $ino ]]; then
		inode=$((inode + 1))
		ino=$inode
	fi
	[[ $size -lt 4294967296 ]] || die "$name is too large for a cpio archive"
	printf '070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\0' "$ino" "$mode" "$uid" "$gid" "$nlink" \
		"$SOURCE_DATE_EPOCH" "$size" 0 0 "$major" "$minor" $((${#name} + 1)) 0 "$name"
	pad $((110 + ${#name} + 1))
}

pad() {
	case $(($1 % 4)) in
	1) printf '\0\0\0' ;;
	2) printf '\0\0' ;;
	3) printf '\0' ;;
	esac
}

link_entry() {	# NAME TARGET
	entry "$1" $((0120777)) 1 ${#2}
	printf '%s' "$2"
	pad ${#2}
}

# The tree by name: type, mode (octal), links, identity, size, target of a link.
declare -A kind mode links same size target owner group
scan() {
	local k m n i s l o g p
	while IFS= read -r -d '' k && IFS= read -r -d '' m && IFS= read -r -d '' n && IFS= read -r -d '' i &&
		IFS= read -r -d '' s && IFS= read -r -d '' l && IFS= read -r -d '' o && IFS= read -r -d '' g &&
		IFS= read -r -d '' p; do
		kind[$p]=$k mode[$p]=$m links[$p]=$n same[$p]=$i size[$p]=$s target[$p]=$l owner[$p]=$o group[$p]=$g
	done < <(cd "$root" && find . -mindepth 1 -printf '%y\0%m\0%n\0%D:%i\0%s\0%l\0%U\0%G\0%P\0')
}

# Names of one file stand together in nothing but the archive: all but the last carry no data.
declare -A left link_inode
count_links() {
	local p
	for p in "${!kind[@]}"; do
		[[ ${kind[$p]} != f || ${links[$p]} == 1 ]] || left[${same[$p]}]=$((${left[${same[$p]}]:-0} + 1))
	done
}

file_entry() {
	local p=$1 i=${same[$1]} n=1 number=
	if [[ ${left[$i]+x} ]]; then
		if [[ -z ${link_inode[$i]+x} ]]; then
			inode=$((inode + 1))
			link_inode[$i]="$inode ${left[$i]}"
		fi
		number=${link_inode[$i]% *} n=${link_inode[$i]#* }
		left[$i]=$((left[$i] - 1))
		if [[ ${left[$i]} -gt 0 ]]; then
			entry "$p" $((0100000 | 8#${mode[$p]})) "$n" 0 0 0 "$number"
			return
		fi
	fi
	entry "$p" $((0100000 | 8#${mode[$p]})) "$n" "${size[$p]}" 0 0 "$number"
	[[ ${size[$p]} == 0 ]] || cat "$root/$p" || die "cannot read $root/$p. Run as the user the tree belongs to"
	pad "${size[$p]}"
}

node_entry() {
	local p=$1 format=$2 major minor
	read -r major minor < <(stat -c '%t %T' "$root/$p")
	entry "$p" $((format | 8#${mode[$p]})) 1 0 $((16#$major)) $((16#$minor))
}

archive() {
	local p id
	owner_base "$root"
	scan
	count_links
	# What the kernel needs before anything is mounted; only root could put these nodes into the tree.
	[[ -n ${kind[init]:-} ]] || kind[init]=synthetic
	kind[dev]=${kind[dev]:-synthetic}
	kind[dev/console]=${kind[dev/console]:-synthetic}
	kind[dev/null]=${kind[dev/null]:-synthetic}
	while IFS= read -r -d '' p; do
		guest_id "${owner[$p]:-$uid_base}" "$uid_base"
		uid=$id
		guest_id "${group[$p]:-$gid_base}" "$gid_base"
		gid=$id
		case ${kind[$p]}:$p in
		synthetic:dev) entry dev $((0040755)) 2 0 ;;
		synthetic:dev/console) entry dev/console $((0020600)) 1 0 5 1 ;;
		synthetic:dev/null) entry dev/null $((0020666)) 1 0 1 3 ;;
		synthetic:init) link_entry init /sbin/init ;;
		d:*) entry "$p" $((0040000 | 8#${mode[$p]})) 2 0 ;;
		f:*) file_entry "$p" ;;
		l:*) link_entry "$p" "${target[$p]}" ;;
		c:*) node_entry "$p" $((0020000)) ;;
		b:*) node_entry "$p" $((0060000)) ;;
		p:*) entry "$p" $((0010000 | 8#${mode[$p]})) 1 0 ;;
		s:*) ;;	# a socket without its process is nothing
		*) die "$root/$p: cannot be packed (type ${kind[$p]})" ;;
		esac
	done < <(printf '%s\0' "${!kind[@]}" | sort -z)
	uid=0 gid=0 SOURCE_DATE_EPOCH=0
	entry 'TRAILER!!!' 0 1 0 0 0 0
}

check_output "$INITRD_IMAGE" "$root"
new=$INITRD_IMAGE.new
at_exit() {
	local status=$?
	[[ $status -eq 0 ]] || full_disk "$(realpath "$(dirname "$new")")"
	rm -f "$new"
}
trap at_exit EXIT
archive | "${pack[@]}" > "$new"
mv "$new" "$INITRD_IMAGE"
trap - EXIT
OK "Initrd $INITRD_IMAGE ready: $(stat -c %s "$INITRD_IMAGE") bytes ($INITRD_COMPRESSION)"
