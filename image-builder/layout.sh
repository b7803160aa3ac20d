# SPDX-License-Identifier: Apache-2.0
# Partition tables and the NVDIMM header: the first 3 MiB of an image, written and read as bytes.
#
#   0        MBR #1   one partition at 3 MiB        for virtio-blk, SCSI, and NVDIMM without the header
#   4 KiB    pfn info block, 4 KiB                  tells the kernel's nvdimm driver where the data begins
#   2 MiB    MBR #2   the same partition, 1 MiB on  what /dev/pmem0 begins with once the header is honoured
#   3 MiB    file system
# shellcheck shell=bash

readonly mib=1048576
readonly pfn_offset=4096 pfn_size=4096
readonly pfn_data=$((2 * mib)) pfn_align=$((2 * mib))
readonly fs_offset_dax=$((3 * mib)) fs_offset_plain=$mib

# le BYTES NUMBER: little endian, as raw bytes.
le() {
	local i octal out="" n=$2
	for ((i = 0; i < $1; i++)); do
		printf -v octal '\\%03o' $((n & 255))
		out+=$octal
		n=$((n >> 8))
	done
	# shellcheck disable=SC2059
	printf "$out"
}

zeros() { head -c "$1" /dev/zero; }

# put FILE OFFSET: standard input over the bytes there; the rest of the file stays.
put() { dd of="$1" bs=64K oflag=seek_bytes seek="$2" conv=notrunc iflag=fullblock status=none; }

# chs SECTOR: cylinder, head and sector as old firmware counts them, 3 bytes. Nobody reads them any more; the
# geometry (4 heads, 32 sectors) is the one parted gives to files, as the reference images have it.
chs() {
	local c=$(($1 / 128)) h=$(($1 / 32 % 4)) s=$(($1 % 32 + 1))
	if [[ $c -gt 1023 ]]; then
		c=1023 h=3 s=32
	fi
	le 1 $h
	le 1 $((s | (c >> 2 & 192)))
	le 1 $((c & 255))
}

# mbr DISK_ID START COUNT [START COUNT]: a partition table in sectors of 512 bytes.
mbr() {
	local id=$1 i
	shift
	zeros 440
	le 4 "$id"
	le 2 0
	for i in 1 2 3 4; do
		if [[ $# -ge 2 ]]; then
			le 1 0
			chs "$1"
			le 1 $((0x83))
			chs $(($1 + $2 - 1))
			le 4 "$1"
			le 4 "$2"
			shift 2
		else
			zeros 16
		fi
	done
	le 2 $((0xaa55))
}

# The pfn info block with its checksum as given (0 to compute one).
pfn_block() {
	printf 'NVDIMM_PFN_INFO\0'
	zeros 32			# uuid and parent uuid: a namespace without labels has none
	le 4 0				# flags
	le 2 0				# version 0.2
	le 2 2
	le 8 $pfn_data			# where the data begins
	le 8 0				# number of pages: the kernel's to count
	le 4 1				# mode: page descriptors live in RAM
	le 4 0				# padding at start
	le 4 0				# and at the end
	le 4 $pfn_align
	zeros $((pfn_size - 88 - 8))
	le 8 "$1"
}

# fletcher64: of standard input, read as little-endian words of 32 bits.
fletcher64() {
	local w lo=0 hi=0
	for w in $(od -An -v -t u4 --endian=little); do
		lo=$(((lo + w) & 0xffffffff))
		hi=$(((hi + lo) & 0xffffffff))
	done
	printf '%d\n' $((hi << 32 | lo))
}

write_pfn() { pfn_block "$(pfn_block 0 | fletcher64)" | put "$1" $pfn_offset; }

# --- reading back ----------------------------------------------------------------------------------

# number FILE OFFSET BYTES
number() { od -An -v -t "u$3" --endian=little -j "$2" -N "$3" "$1" | tr -d ' '; }

# partition FILE TABLE_OFFSET INDEX: "start count" in sectors, nothing if there is none.
partition() {
	local at=$(($2 + 446 + 16 * ($3 - 1)))
	[[ $(number "$1" $(($2 + 510)) 2) == $((0xaa55)) ]] || return 0
	[[ $(number "$1" $((at + 4)) 1) == $((0x83)) ]] || return 0
	printf '%s %s\n' "$(number "$1" $((at + 8)) 4)" "$(number "$1" $((at + 12)) 4)"
}

has_pfn() { [[ $(dd if="$1" bs=1 skip=$pfn_offset count=15 status=none | tr -d '\0') == NVDIMM_PFN_INFO ]]; }

# check_layout FILE: dies with what is wrong; sets fs_at, fs_bytes, hash_at, hash_bytes.
check_layout() {
	local file=$1 size sum start count start2 count2 n
	size=$(stat -L -c %s "$file")
	read -r start count < <(partition "$file" 0 1) || die "$file: no partition table at its beginning"
	fs_at=$((start * 512)) fs_bytes=$((count * 512)) hash_at=0 hash_bytes=0
	[[ $((fs_at + fs_bytes)) -le $size ]] || die "$file: its partition reaches beyond the end of the file"
	if read -r start2 count2 < <(partition "$file" 0 2); then
		hash_at=$((start2 * 512)) hash_bytes=$((count2 * 512))
		[[ $hash_at -ge $((fs_at + fs_bytes)) && $((hash_at + hash_bytes)) -le $size ]] || die "$file: its second partition is misplaced"
	fi
	has_pfn "$file" || return 0

	[[ $((size % pfn_align)) -eq 0 ]] || die "$file: $size bytes is no multiple of 2 MiB, the kernel would refuse it as NVDIMM"
	sum=$({ dd if="$file" iflag=skip_bytes skip=$pfn_offset bs=$((pfn_size - 8)) count=1 status=none; zeros 8; } | fletcher64)
	[[ $((sum)) -eq $(od -An -v -t d8 --endian=little -j $((pfn_offset + pfn_size - 8)) -N 8 "$file" | tr -d ' ') ]] ||
		die "$file: the checksum of its NVDIMM header is wrong"
	n=$(number "$file" $((pfn_offset + 56)) 8)
	for i in 1 2; do
		read -r start count < <(partition "$file" 0 $i) || start=0 count=0
		read -r start2 count2 < <(partition "$file" "$n" $i) || start2=0 count2=0
		[[ $start -eq 0 && $start2 -eq 0 ]] || [[ $((start * 512)) -eq $((n + start2 * 512)) && $count -eq $count2 ]] ||
			die "$file: its two partition tables do not describe the same place"
	done
}
