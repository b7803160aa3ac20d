# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# A root around one static busybox: Debian's package busybox-static puts it at /bin/busybox.
#   BUSYBOX      another static busybox (of the guest's architecture)
#   BUSYBOX_DEB  take it out of this busybox-static_*.deb, which needn't be installed
#   KATA_EXTRAS  what hosts of 3.x ask for beyond it, taken from this machine with the libraries it needs:
#                mkfs (mkfs.ext4: driver option create_filesystem) and iptables (GetIPTables, SetIPTables); none: neither

busybox_binary() {	# DIR for scratch; sets busybox
	if [[ -n ${BUSYBOX:-} ]]; then
		busybox=$BUSYBOX
		[[ -f $busybox && -x $busybox ]] || die "BUSYBOX=$busybox is not an executable file"
	elif [[ -n ${BUSYBOX_DEB:-} ]]; then
		[[ -r $BUSYBOX_DEB ]] || die "BUSYBOX_DEB=$BUSYBOX_DEB cannot be read"
		need_program dpkg-deb tar
		dpkg-deb --fsys-tarfile "$BUSYBOX_DEB" | tar -xf - -C "$1" --wildcards --no-same-owner '*bin/busybox' ||
			die "$BUSYBOX_DEB holds no busybox"
		busybox=$(find "$1" -name busybox -type f)
	else
		busybox=$(command -v busybox) || die "busybox is not installed. Install it with: apt-get install busybox-static
(or name a static one with BUSYBOX=FILE, or a package file with BUSYBOX_DEB=FILE)"
	fi
	[[ -z $(elf_interp "$busybox") ]] || die "$busybox is not static. Install busybox-static instead: apt-get install busybox-static"
}

# Names of the applets, with their directories. A foreign architecture's busybox can't be asked; the host's can.
busybox_applets() {
	"$busybox" --list-full 2> /dev/null || busybox --list-full 2> /dev/null ||
		die "neither $busybox nor a busybox of this machine can be run to list its applets. Install one: apt-get install busybox-static"
}

build_rootfs() {
	local root=$1 scratch busybox path version extra
	extra=${EXTRA_PKGS:-}
	[[ -z $extra ]] || die "EXTRA_PKGS ($extra): busybox has no packages. Copy files into a tree of your own and provision it with -r DIR"
	scratch=$(mktemp -d)
	busybox_binary "$scratch"
	mkdir -p "$root"/{bin,sbin,usr/bin,usr/sbin,lib}
	install -m 0755 "$busybox" "$root/bin/busybox"
	while read -r path; do
		case $path in
		# Ours is another, and the agent isn't to be shadowed.
		sbin/init | linuxrc | bin/busybox | usr/bin/kata-agent) continue ;;
		bin/*) ln -s busybox "$root/$path" ;;
		sbin/*) ln -s ../bin/busybox "$root/$path" ;;
		usr/*) ln -s ../../bin/busybox "$root/$path" ;;
		esac
	done < <(busybox_applets)
	version=$(grep -a -o -m 1 'BusyBox v[0-9][0-9.]*' "$busybox" | head -n 1) || version=
	OS_VERSION=${version#BusyBox v}
	rm -rf "$scratch"
	skeleton "$root"
}

# add_programs ROOT: KATA_EXTRAS. Last of all: where a dynamic agent brought libraries, these are the same ones.
add_programs() {
	local root=$1 word
	case ${KATA_EXTRAS-unset} in
	unset) extras_try "$root" mkfs iptables ;;
	none | '') ;;
	*)
		for word in $KATA_EXTRAS; do
			extras_whole "$word" || die "KATA_EXTRAS asks for $word: $missing_extra"
			"extra_$word" "$root"
		done
		;;
	esac
}

# By default what this machine has is taken; what is left out is said.
extras_try() {	# ROOT WORDS
	local root=$1 word
	shift
	for word; do
		if extras_whole "$word"; then
			"extra_$word" "$root"
		else
			warning "$word is left out: $missing_extra"
		fi
	done
}

readonly -A extra_program=([mkfs]=/sbin/mke2fs [iptables]=/usr/sbin/xtables-nft-multi) extra_package=([mkfs]=e2fsprogs [iptables]=iptables)

# extras_whole WORD: is it here, and for the guest's architecture? Else missing_extra says why not.
extras_whole() {
	local file=${AGENT_SYSROOT:-}${extra_program[$1]}
	if [[ ! -e $file ]]; then
		missing_extra="$file is not there. Install it with: apt-get install ${extra_package[$1]} (KATA_EXTRAS=none: without)"
	elif [[ $(elf_machine "$file") != "$(elf_machine "$AGENT_SOURCE_BIN")" ]]; then
		missing_extra="$file is for another architecture than $AGENT_SOURCE_BIN. Name a root of that one with AGENT_SYSROOT (KATA_EXTRAS=none: without)"
	else
		return 0
	fi
	return 1
}

# copy_program ROOT PROGRAM: with loader and libraries, each where it is here.
copy_program() {
	local root=$1 program=$2 sysroot=${AGENT_SYSROOT:-} list path
	list=$(elf_closure "$sysroot" "$program") || die "$program is not all there: see above"
	while read -r path; do
		[[ -n $path ]] || continue
		mkdir -p "$root${path%/*}"
		install -m 0755 "$(resolve_in "$sysroot" "$path")" "$root$path"
	done <<< "$list"
	rm -f "$root$program"
	mkdir -p "$root${program%/*}"
	install -m 0755 "$(resolve_in "$sysroot" "$program")" "$root$program"
}

extra_mkfs() {
	copy_program "$1" /sbin/mke2fs
	ln -sfn mke2fs "$1/sbin/mkfs.ext4"
}

extra_iptables() {
	local root=$1 sysroot=${AGENT_SYSROOT:-} name dir file need
	copy_program "$root" /usr/sbin/xtables-nft-multi
	for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
		ln -sfn xtables-nft-multi "$root/usr/sbin/$name"
	done
	# Matches and targets; those of ebtables and arptables, which nobody calls, and those that want libraries of their
	# own (the mathematics of one match are 900 kB) are left out.
	for dir in "$sysroot"/usr/lib/*-linux-*/xtables "$sysroot"/usr/lib64/xtables "$sysroot"/usr/lib/xtables; do
		[[ ! -d $dir ]] || break
	done
	mkdir -p "$root${dir#"$sysroot"}"
	for file in "$dir"/lib{xt,ipt,ip6t}_*.so; do
		if [[ -L $file ]]; then
			cp -P "$file" "$root${dir#"$sysroot"}/"
			continue
		fi
		for need in $(elf_needed "$file"); do
			[[ -n $(find "$root" -name "$need" -print -quit) ]] || continue 2
		done
		install -m 0644 "$file" "$root${dir#"$sysroot"}/${file##*/}"
	done
}
