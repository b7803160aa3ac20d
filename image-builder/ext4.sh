# SPDX-License-Identifier: Apache-2.0
# ext4 without mounting: mke2fs makes it empty, debugfs fills it from a script. The script names each file in
# sorted order and sets owner and dates, so that nothing of the building machine gets in.
# shellcheck shell=bash

# No features that a kernel of 2018 can't mount. The journal stays even on a read-only root: runtimes
# pass data=ordered, and ext4 refuses that without one.
readonly ext4_features=none,has_journal,ext_attr,dir_index,filetype,extent,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum,64bit
readonly ext4_uuid=6b617461-0000-4000-8000-67756573740a
readonly ext4_hash_seed=6b617461-0000-4000-8000-686173680a0a

# ext4_size ROOT: bytes the tree needs at least, with the journal.
ext4_size() {
	find "$1" -printf '%y %D:%i %n %s %f\n' | awk -v block="$BLOCK_SIZE" '
		$1 == "f" { if ($3 > 1 && seen[$2]++) { next } blocks += int(($4 + block - 1) / block); inodes++; if ($4 > 4 * block * 32768) blocks += 2; next }
		$1 == "l" { inodes++; if ($4 >= 60) blocks++; next }
		$1 == "d" { inodes++; blocks++; next }
		{ inodes++ }
		END {
			inodes += 64
			blocks += int(inodes * 32 / block)		# names
			blocks += int(inodes * 256 / block) + 1
			journal = 1024
			if (blocks + journal > 32768) journal = 4096
			if (blocks + journal > 262144) journal = 8192
			blocks += journal + 32 + int(blocks / 200)
			printf "%d %d %d\n", blocks * block, inodes, journal * block / 1048576
		}'
}

quote() { printf '"%s"' "${1//\"/\"\"}"; }

# ext4_script ROOT: debugfs commands that make the tree.
ext4_script() {
	local root=$1 k m u p dir name major minor id ino n o g cwd="" path d uid_base gid_base
	local -A first=()

	owner_base "$root"

	printf 'rmdir lost+found\n'
	while IFS= read -r -d '' p && IFS= read -r -d '' k && IFS= read -r -d '' m && IFS= read -r -d '' n && IFS= read -r -d '' ino &&
		IFS= read -r -d '' o && IFS= read -r -d '' g; do
		name=${p##*/}
		dir=/${p%"$name"}
		path=$(quote "/$p")
		# Always by the last part of the name: debugfs takes the directory of "/x" for the current one.
		if [[ $dir != "$cwd" ]]; then
			printf 'cd %s\n' "$(quote "$dir")"
			cwd=$dir
		fi
		case $k in
		d) printf 'mkdir %s\n' "$(quote "$name")"; u=$((0040000 | 8#$m)) ;;
		l)
			printf 'symlink %s %s\n' "$(quote "$name")" "$(quote "$(readlink "$root/$p")")"
			u=$((0120777))
			;;
		f)
			if [[ $n -gt 1 && -n ${first[$ino]:-} ]]; then
				printf 'ln %s %s\n' "${first[$ino]% *}" "$(quote "$name")"
				first[$ino]="${first[$ino]% *} $((${first[$ino]##* } + 1))"
				continue
			fi
			[[ -r $root/$p ]] || die "cannot read $root/$p. Run as the user the tree belongs to"
			printf 'write %s %s\n' "$(quote "$root/$p")" "$(quote "$name")"
			u=$((0100000 | 8#$m))
			[[ $n -eq 1 ]] || first[$ino]="$path 1"
			;;
		c | b)
			read -r major minor < <(stat -c '%t %T' "$root/$p")
			printf 'mknod %s %s %d %d\n' "$(quote "$name")" "$k" $((16#$major)) $((16#$minor))
			[[ $k == c ]] && u=$((0020000 | 8#$m)) || u=$((0060000 | 8#$m))
			;;
		p) printf 'mknod %s p\n' "$(quote "$name")"; u=$((0010000 | 8#$m)) ;;
		s) continue ;;
		*) die "$root/$p: cannot be put into an image (type $k)" ;;
		esac
		printf 'sif %s mode 0%o\n' "$path" "$u"
	done < <(ext4_list "$root")

	for p in "${!first[@]}"; do
		printf 'sif %s links_count %d\n' "${first[$p]% *}" "${first[$p]##* }"
	done | sort
	# Last, for the directories' dates change as they fill.
	while IFS= read -r -d '' p && IFS= read -r -d '' k && IFS= read -r -d '' m && IFS= read -r -d '' n && IFS= read -r -d '' ino &&
		IFS= read -r -d '' o && IFS= read -r -d '' g; do
		[[ $k != s ]] || continue
		path=$(quote "/$p")
		guest_id "$o" "$uid_base"
		printf 'sif %s uid %d\n' "$path" "$id"
		guest_id "$g" "$gid_base"
		printf 'sif %s gid %d\n' "$path" "$id"
		for d in atime_extra mtime_extra ctime_extra crtime_extra; do
			printf 'sif %s %s 0\n' "$path" "$d"
		done
		for d in atime mtime ctime crtime; do
			printf 'sif %s %s @%d\n' "$path" "$d" "$SOURCE_DATE_EPOCH"
		done
	done < <(printf '%s\0' '' d 755 1 0 "$uid_base" "$gid_base"; ext4_list "$root")
}

# Name, type, mode, links, identity, owner, group of all below ROOT, sorted by name.
ext4_list() {
	local odd
	odd=$(find "$1" \( -name $'*\n*' -o -name $'*\t*' \) -print -quit)
	[[ -z $odd ]] || die "a name with a tab or a line break cannot be put into an image: $odd"
	(cd "$1" && find . -mindepth 1 -printf '%P\t%y\t%m\t%n\t%D:%i\t%U\t%G\0') | sort -z | tr '\t' '\0'
}

# ext4_make FILE OFFSET BYTES ROOT INODES JOURNAL_MIB: 2 when it doesn't fit.
ext4_make() {
	local file=$1 offset=$2 bytes=$3 root=$4 inodes=$5 journal=$6 scratch made status=0
	scratch=$(mktemp -d)
	# mke2fs lets a journal take no more than half: a small file system is made larger, and shrunk when filled.
	made=$bytes
	[[ $made -ge $((journal * mib * 5 / 2)) ]] || made=$((journal * mib * 5 / 2))
	ext4_fill "$scratch" "$made" "$root" "$inodes" "$journal" || status=$?
	if [[ $status -eq 0 && $made -gt $bytes ]]; then
		ext4_tool resize2fs -f "$scratch/fs" "$((bytes / 1024))K" > "$scratch/out" 2>&1 || status=2
		truncate -s "$bytes" "$scratch/fs"
	fi
	[[ $status -ne 0 ]] || dd if="$scratch/fs" of="$file" bs=64K oflag=seek_bytes seek="$offset" conv=notrunc,sparse status=none || status=1
	# After a failure that is the end it stays until then, for full_disk to see how full it was.
	[[ $status -eq 1 ]] || rm -rf "$scratch"
	return "$status"
}

# Not the machine's configuration, nor its clock.
ext4_tool() { MKE2FS_CONFIG=$scratch/mke2fs.conf E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH "$@"; }

ext4_fill() {
	local scratch=$1 bytes=$2 root=$3 inodes=$4 journal=$5
	printf '[fs_types]\n\text4 = {\n\t}\n\tfloppy = {\n\t}\n\tsmall = {\n\t}\n\tbig = {\n\t}\n\thuge = {\n\t}\n' > "$scratch/mke2fs.conf"
	truncate -s "$bytes" "$scratch/fs"
	ext4_tool mke2fs -q -F -t ext4 -b "$BLOCK_SIZE" -m 3 -I 256 -N "$inodes" -J "size=$journal" -O "$ext4_features" \
		-U "$ext4_uuid" -E "hash_seed=$ext4_hash_seed,root_owner=0:0,assume_storage_prezeroed=1,nodiscard" \
		"$scratch/fs" > "$scratch/out" 2>&1 || { cat "$scratch/out" >&2; die "mke2fs failed"; }
	ext4_script "$root" > "$scratch/script"
	ext4_tool debugfs -w -f "$scratch/script" "$scratch/fs" > "$scratch/out" 2> "$scratch/err" || :
	# debugfs goes on after an error and exits with 0: what it says is what counts.
	if grep -v -E '^debugfs [0-9]' "$scratch/err" > "$scratch/bad"; then
		# "No space left on device" is this machine's disk, and a larger file would not help.
		! grep -q -i -E 'could not allocate|no free|not enough' "$scratch/bad" || return 2
		head -n 5 "$scratch/bad" >&2
		die "debugfs could not fill the file system"
	fi
}

ext4_check() {	# FILE OFFSET ROOT
	local out scratch p
	out=$(e2fsck -fn "$1?offset=$2" 2>&1) || { printf '%s\n' "$out" >&2; die "$1: the file system is not clean"; }
	[[ -n ${3:-} ]] || return 0
	scratch=$(mktemp -d)
	for p in "/usr/bin/${AGENT_BIN:-kata-agent}" /sbin/init; do
		exec_in "$3" "$p" || continue
		p=$(resolve_in "$3" "$p")
		debugfs -R "dump $(quote "${p#"$3"}") $(quote "$scratch/file")" "$1?offset=$2" 2> /dev/null
		cmp -s "$p" "$scratch/file" || die "$1: ${p#"$3"} did not arrive in the image"
	done
	rm -rf "$scratch"
}
