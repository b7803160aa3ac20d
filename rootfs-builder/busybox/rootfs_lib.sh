# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# A root around one static busybox: Debian's package busybox-static puts it at /bin/busybox.
#   BUSYBOX      another static busybox (of the guest's architecture)
#   BUSYBOX_DEB  take it out of this busybox-static_*.deb, which needn't be installed

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
