# SPDX-License-Identifier: Apache-2.0
# The other two: xfs, filled from a prototype file, and read-only erofs.
# shellcheck shell=bash

readonly xfs_uuid=6b617461-0000-4000-8000-786673000a0a
readonly erofs_uuid=6b617461-0000-4000-8000-65726f66730a

# xfs_size ROOT: mkfs.xfs makes nothing below 300 MB, and a log of 64 MB.
xfs_size() {
	local kib
	kib=$(du -sk --apparent-size "$1" | cut -f 1)
	kib=$((kib + kib / 10 + 80 * 1024))
	[[ $kib -ge 317440 ]] || kib=317440
	printf '%d 0 0\n' $((kib * 1024))
}

# xfs_proto ROOT: the prototype file mkfs.xfs reads. Its words are separated by blanks, so names can have none.
xfs_proto() {
	local uid_base gid_base
	printf 'boot\n0 0\n'
	owner_base "$1"
	proto_dir "$1" "$(stat -c %a "$1")" "" 0 0
	printf '$\n'
}

proto_mode() {	# KIND MODE(octal)
	local m=$((8#$2)) u=- g=-
	[[ $((m & 04000)) -eq 0 ]] || u=u
	[[ $((m & 02000)) -eq 0 ]] || g=g
	printf '%s%s%s%03o' "$1" "$u" "$g" $((m & 0777))
}

proto_dir() {	# DIR MODE NAME UID GID
	local dir=$1 k m o g id name major minor head
	printf '%s %s %d %d\n' "$3" "$(proto_mode d "$2")" "$4" "$5"
	while IFS=' ' read -r -d '' name k m o g; do
		guest_id "$o" "$uid_base"
		o=$id
		guest_id "$g" "$gid_base"
		g=$id
		case $k in
		d) proto_dir "$dir/$name" "$m" "$name" "$o" "$g"; continue ;;
		s) continue ;;
		f) k=- ;;
		esac
		head="$name $(proto_mode "$k" "$m") $o $g"
		case $k in
		-) printf '%s %s\n' "$head" "$dir/$name" ;;
		l) printf '%s %s\n' "$head" "$(readlink "$dir/$name")" ;;
		c | b)
			read -r major minor < <(stat -c '%t %T' "$dir/$name")
			printf '%s %d %d\n' "$head" $((16#$major)) $((16#$minor))
			;;
		*) printf '%s\n' "$head" ;;
		esac
	done < <(find "$dir" -mindepth 1 -maxdepth 1 -printf '%f %y %m %U %G\0' | sort -z)
	[[ -z $3 ]] || printf '$\n'
}

xfs_make() {	# FILE OFFSET BYTES ROOT
	local scratch odd
	need_program mkfs.xfs
	odd=$(find "$4" -mindepth 1 -name '*[[:space:]]*' -print -quit)
	[[ -z $odd ]] || die "xfs images cannot hold names with blanks: $odd. Use -f ext4"
	scratch=$(mktemp -d)
	# Names relative to the tree: its own path may have blanks.
	(cd "$4" && xfs_proto .) > "$scratch/proto"
	truncate -s "$3" "$scratch/fs"
	# DAX and shared extents exclude each other in kernels before 5.18.
	(cd "$4" && mkfs.xfs -q -f -b "size=$BLOCK_SIZE" -m "reflink=0,bigtime=0,inobtcount=0,uuid=$xfs_uuid" -d agcount=2 -p "$scratch/proto" "$scratch/fs" \
		> "$scratch/log" 2>&1) || { cat "$scratch/log" >&2; return 1; }
	dd if="$scratch/fs" of="$1" bs=1M oflag=seek_bytes seek="$2" conv=notrunc,sparse status=none || return 1
	rm -rf "$scratch"
}

xfs_check() {	# FILE OFFSET ROOT
	local scratch
	need_program xfs_repair
	scratch=$(mktemp -d)
	dd if="$1" of="$scratch/fs" bs=1M iflag=skip_bytes,count_bytes skip="$2" count="$fs_bytes" conv=sparse status=none
	xfs_repair -n -f "$scratch/fs" > "$scratch/log" 2>&1 || { tail -n 20 "$scratch/log" >&2; rm -rf "$scratch"; die "$1: the file system is not clean"; }
	rm -rf "$scratch"
}

# erofs is made first and measured then: it is exactly as large as its content.
erofs_size() {
	need_program mkfs.erofs
	erofs_file=$(mktemp)
	local opts=(-Enoinline_data)
	# Compressed is smaller, but then it is unpacked into memory: DAX needs it plain.
	[[ -z ${EROFS_COMPRESSION:-} ]] || opts=("-z$EROFS_COMPRESSION")
	owner_base "$1"
	[[ $uid_base -eq 0 && $gid_base -eq 0 ]] || opts+=(--all-root)
	mkfs.erofs --quiet -T "$SOURCE_DATE_EPOCH" -U "$erofs_uuid" "${opts[@]}" "$erofs_file" "$1" \
		> "$erofs_file.log" 2>&1 || { cat "$erofs_file.log" >&2; die "mkfs.erofs failed"; }
	rm -f "$erofs_file.log"
	fs_need=$(stat -c %s "$erofs_file")
}

erofs_make() {	# FILE OFFSET BYTES ROOT
	dd if="$erofs_file" of="$1" bs=1M oflag=seek_bytes seek="$2" conv=notrunc,sparse status=none || return 1
	rm -f "$erofs_file"
}

erofs_check() {	# FILE OFFSET ROOT
	local scratch p
	check_program fsck.erofs || { warning "fsck.erofs (package erofs-utils) is not installed: file system not checked"; return 0; }
	scratch=$(mktemp -d)
	dd if="$1" of="$scratch/fs" bs=1M iflag=skip_bytes,count_bytes skip="$2" count="$fs_bytes" conv=sparse status=none
	fsck.erofs "$scratch/fs" > "$scratch/log" 2>&1 || { cat "$scratch/log" >&2; rm -rf "$scratch"; die "$1: the file system is not clean"; }
	if [[ -n ${3:-} ]]; then
		fsck.erofs --extract="$scratch/tree" --no-preserve "$scratch/fs" > /dev/null 2>&1 || :
		for p in "/usr/bin/${AGENT_BIN:-kata-agent}" /sbin/init; do
			exec_in "$3" "$p" || continue
			p=$(resolve_in "$3" "$p")
			cmp -s "$p" "$scratch/tree/${p#"$3"}" || die "$1: ${p#"$3"} did not arrive in the image"
		done
	fi
	rm -rf "$scratch"
}
