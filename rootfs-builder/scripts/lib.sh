# SPDX-License-Identifier: Apache-2.0
# Shared by rootfs.sh, initrd_builder.sh and image_builder.sh: messages, and looking into a root file
# system without running anything of it (its programs may be another architecture's).
# shellcheck shell=bash

export LC_ALL=C

# The date of everything in an image, unless SOURCE_DATE_EPOCH says otherwise: 2020-01-01.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1577836800}

info()    { printf 'INFO: %s\n' "$*"; }
OK()      { printf '[OK] %s\n' "$*"; }
warning() { printf 'WARNING: %s\n' "$*" >&2; }
error()   { printf 'ERROR: %s\n' "$*" >&2; }
die()     { error "$*"; exit 1; }

check_root() {
	[[ $(id -u) -eq 0 ]] || die "Root is needed to ${1:-do this}: the package manager changes owners and mounts. Use sudo, or the distribution busybox, which needs none."
}

# check_program NAME: is it there? (For a message of one's own; need_program dies with one.)
check_program() { command -v "$1" > /dev/null; }

# Debian's packages of the programs that are not called as their package is.
readonly -A package_of=(
	[awk]=mawk [cmp]=diffutils [cut]=coreutils [dd]=coreutils [du]=coreutils [find]=findutils [head]=coreutils
	[install]=coreutils [od]=coreutils [realpath]=coreutils [sort]=coreutils [stat]=coreutils [tr]=coreutils
	[truncate]=coreutils [xargs]=findutils [zcat]=gzip [mountpoint]=util-linux [readelf]=binutils [dpkg-deb]=dpkg
	[apt-get]=apt [depmod]=kmod [modinfo]=kmod [debugfs]=e2fsprogs [e2fsck]=e2fsprogs [mke2fs]=e2fsprogs [resize2fs]=e2fsprogs
	[mkfs.erofs]=erofs-utils [fsck.erofs]=erofs-utils [mkfs.xfs]=xfsprogs [xfs_repair]=xfsprogs [veritysetup]=cryptsetup-bin
)

need_program() {	# NAMES
	local name
	for name; do
		check_program "$name" || die "$name is not installed. Install it with: apt-get install ${package_of[$name]:-$name}"
	done
}

# full_disk DIR: after something has failed: was it for want of room?
full_disk() {
	local dir=$1 free inodes total block
	while [[ ! -d $dir && $dir == */* ]]; do
		dir=${dir%/*}
	done
	read -r free inodes total block < <(stat -f -c '%a %d %c %S' "${dir:-/}" 2> /dev/null) || return 0
	free=$((free * block))
	if [[ $free -lt 1048576 || ( $total -gt 0 && $inodes -eq 0 ) ]]; then
		error "The disk is full: ${dir:-/} has $((free / 1024)) KiB and $inodes inodes left. Make room there, or write elsewhere"
	fi
}

# check_output FILE ROOT: a result takes the place of a regular file or of nothing, and lies outside of what it is made of.
check_output() {
	local file=$1 dir
	[[ -n $file ]] || die "-o '': the name of the result is empty"
	[[ ! -d $file && $file != */ ]] || die "-o $file is a directory: name the file to write"
	[[ ! -e $file || -f $file ]] || die "-o $file is there and no regular file: it is left alone"
	dir=$(realpath -m "$(dirname "$file")")
	[[ $dir/ != "$(realpath "$2")"/* ]] || die "-o $file lies in the tree that it is made of"
	mkdir -p "$dir" || die "-o $file: its directory cannot be made"
	[[ -w $dir ]] || die "-o $file: $dir cannot be written"
}

is_yes_no() { [[ $1 == yes || $1 == no ]]; }

# resolve_in ROOT PATH: follows links as a process inside ROOT would; prints the path below ROOT, or fails.
resolve_in() {
	local root=$1 rest=${2#/} done="" part target hops=0

	while [[ -n $rest ]]; do
		part=${rest%%/*}
		[[ $rest == */* ]] && rest=${rest#*/} || rest=
		case $part in
		'' | .) continue ;;
		..) done=${done%/*}; continue ;;
		esac
		if [[ -L $root$done/$part ]]; then
			hops=$((hops + 1))
			[[ $hops -le 40 ]] || return 1
			target=$(readlink "$root$done/$part")
			[[ $target == /* ]] && done=
			rest=${target#/}${rest:+/$rest}
		else
			[[ -e $root$done/$part ]] || return 1
			done+=/$part
		fi
	done
	printf '%s\n' "$root$done"
}

# exec_in ROOT PATH: is there an executable file at PATH once links are followed inside ROOT?
exec_in() {
	local file
	file=$(resolve_in "$1" "$2") && [[ -f $file && -x $file ]]
}

is_elf() { [[ $(head -c 4 "$1" | tr -d '\0') == $'\x7fELF' ]]; }

elf_interp()  { readelf -Wl "$1" | sed -n 's/.*\[Requesting program interpreter: \(.*\)\]/\1/p'; }
elf_needed()  { readelf -Wd "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'; }
elf_runpath() { readelf -Wd "$1" | sed -n 's/.*(\(RUNPATH\|RPATH\)).*\[\(.*\)\]/\2/p' | tr : '\n'; }
elf_machine() { readelf -Wh "$1" | sed -n 's/^ *Machine: *//p'; }

# lib_dirs ROOT: where the loader of ROOT looks for libraries, one directory a line.
lib_dirs() {
	local root=$1 d
	cat "$root"/etc/ld.so.conf.d/*.conf "$root/etc/ld.so.conf" "$root"/etc/ld-musl-*.path 2> /dev/null |
		tr ':' '\n' | sed -n 's|^ *\(/[^ #]*\).*|\1|p' || :
	for d in "$root"/lib/*-linux-* "$root"/usr/lib/*-linux-*; do
		[[ ! -d $d ]] || printf '%s\n' "${d#"$root"}"
	done
	printf '%s\n' /lib /usr/lib /lib64 /usr/lib64 /usr/local/lib
}

# find_lib ROOT NAME USER [DIRS]: the path inside ROOT of the library NAME that USER (a path inside ROOT) needs.
find_lib() {
	local root=$1 name=$2 user=$3 machine dir file
	machine=$(elf_machine "$root$user")
	while read -r dir; do
		dir=${dir//\$ORIGIN/${user%/*}}
		dir=${dir//\$\{ORIGIN\}/${user%/*}}
		file=$(resolve_in "$root" "$dir/$name") || continue
		is_elf "$file" && [[ $(elf_machine "$file") == "$machine" ]] || continue
		printf '%s\n' "$dir/$name"
		return
	done < <(elf_runpath "$root$user"; lib_dirs "$root")
	return 1
}

# elf_closure ROOT PROGRAM: loader and libraries of a program, paths inside ROOT, one a line; nothing for a
# static one. Fails, naming it on stderr, when something is not in ROOT.
elf_closure() {
	local root=$1 program=$2 interp queue=() user name path bad=0
	local -A seen=()

	interp=$(elf_interp "$root$program")
	[[ -n $interp ]] || return 0
	if resolve_in "$root" "$interp" > /dev/null; then
		printf '%s\n' "$interp"
		seen[${interp##*/}]=1
	else
		error "$program needs the loader $interp, which is not there"
		bad=1
	fi
	queue=("$program")
	while [[ ${#queue[@]} -gt 0 ]]; do
		user=${queue[0]}
		queue=("${queue[@]:1}")
		while read -r name; do
			[[ -z ${seen[$name]:-} ]] || continue
			seen[$name]=1
			if path=$(find_lib "$root" "$name" "$user"); then
				printf '%s\n' "$path"
				queue+=("$(resolved=$(resolve_in "$root" "$path"); printf '%s' "${resolved#"$root"}")")
			else
				error "$user needs the library $name, which is not there"
				bad=1
			fi
		done < <(elf_needed "$root$user")
	done
	return "$bad"
}

# Owners in an image are those inside the guest. A tree made without root belongs to its builder (or begins at
# the first id of a user namespace); that id stands for root, and the others follow it.
# owner_base ROOT: sets uid_base and gid_base.
owner_base() { read -r uid_base gid_base < <(stat -c '%u %g' "$1"); }

# guest_id ID BASE: sets id.
guest_id() {
	if [[ $2 -eq 0 ]]; then
		id=$1
	elif [[ $1 -ge $2 && $1 -lt $(($2 + 65536)) ]]; then
		id=$(($1 - $2))
	else
		id=0
	fi
}

# check_loadable ROOT PATH: can the kernel and the loader of ROOT start this program?
check_loadable() {
	local root=$1 file
	file=$(resolve_in "$root" "$2") || return 1
	is_elf "$file" || return 0
	need_program readelf
	elf_closure "$root" "${file#"$root"}" > /dev/null
}

# check_rootfs ROOT: what initrd and image have to be sure of before they pack a tree.
# AGENT_INIT: yes, no, or empty to accept whatever the tree has.
check_rootfs() {
	local root=$1 agent=/usr/bin/${AGENT_BIN:-kata-agent} init systemd="" p hint

	hint="Use AGENT_BIN env variable to change the expected agent binary name, or build the tree with rootfs.sh"
	[[ -d $root ]] || die "$root is not a directory"
	p=$(find "$root" ! -type l \( ! -readable -o -type d ! -executable \) -print -quit 2> /dev/null)
	[[ -z $p ]] || die "cannot read $p. Run as the user the tree belongs to"
	[[ -z ${AGENT_INIT:-} ]] || is_yes_no "$AGENT_INIT" || die "Invalid value for AGENT_INIT: '$AGENT_INIT'. Use to 'yes' or 'no'"
	[[ -x $root/sbin/init || -L $root/sbin/init ]] || die "/sbin/init is not installed in $root"
	exec_in "$root" /sbin/init || die "/sbin/init of $root does not lead to an executable file of that tree"
	check_loadable "$root" /sbin/init || die "/sbin/init cannot start in $root: see above"
	OK "init is installed"

	init=$(resolve_in "$root" /sbin/init)
	for p in /usr/lib/systemd/systemd /lib/systemd/systemd; do
		if exec_in "$root" "$p"; then
			systemd=$(resolve_in "$root" "$p")
			break
		fi
	done
	# A tree of the older osbuilder has its agent only at /sbin/init.
	if exec_in "$root" "$agent"; then
		check_loadable "$root" "$agent" || die "$agent cannot start in $root: see above"
		# A link named systemd that leads to the agent is for runtimes that ask for systemd by name.
		[[ $systemd != "$(resolve_in "$root" "$agent")" ]] || systemd=
	elif [[ ${AGENT_INIT:-} != yes ]]; then
		die "$agent is not installed in $root. $hint"
	fi

	case ${AGENT_INIT:-} in
	yes)
		[[ -z $systemd ]] || ! cmp -s "$init" "$systemd" || die "The agent is not the init process. /sbin/init is systemd"
		! exec_in "$root" "$agent" || cmp -s "$init" "$(resolve_in "$root" "$agent")" ||
			die "The agent is not the init process: /sbin/init and $agent differ. Use AGENT_INIT=no for an init of its own"
		;;
	no)
		! exec_in "$root" "$agent" || ! cmp -s "$init" "$(resolve_in "$root" "$agent")" ||
			die "/sbin/init is the agent, but AGENT_INIT=no. Use AGENT_INIT=yes, or leave it unset"
		;;
	esac
	if [[ -n $systemd ]] && cmp -s "$init" "$systemd"; then
		OK "init is systemd"
	fi
	OK "Agent is installed"
}

# is_systemd ROOT: is its init systemd?
is_systemd() {
	local root=$1 init p file
	init=$(resolve_in "$root" /sbin/init) || return 1
	for p in /usr/lib/systemd/systemd /lib/systemd/systemd; do
		file=$(resolve_in "$root" "$p") || continue
		# A link of that name that leads to the agent is for runtimes that ask for systemd by name.
		[[ $file == */systemd ]] && cmp -s "$init" "$file" && return 0
	done
	return 1
}

# systemd_reaches ROOT: does systemd get to the agent's target without being told to on the kernel's command line?
# Follows what default.target leads to, and looks for what it, or basic.target, wants.
systemd_reaches() {
	local root=$1 unit=kata-containers.target dir target
	for dir in /etc/systemd/system /usr/lib/systemd/system /lib/systemd/system; do
		[[ ! -L $root$dir/default.target && ! -e $root$dir/default.target ]] || break
	done
	target=$(resolve_in "$root" "$dir/default.target") || target=
	target=${target##*/}
	[[ $target != "$unit" ]] || return 0
	for dir in /etc/systemd/system /usr/lib/systemd/system /lib/systemd/system; do
		for target in "${target:-default.target}" default.target basic.target; do
			[[ ! -L $root$dir/$target.wants/$unit && ! -L $root$dir/$target.requires/$unit ]] || return 0
		done
	done
	return 1
}
