# SPDX-License-Identifier: Apache-2.0
# Roots of Debian's kind: mmdebstrap where it is there, else debootstrap.
# shellcheck shell=bash

deb_arch() {
	case $ARCH in
	x86_64) echo amd64 ;;
	aarch64 | arm64) echo arm64 ;;
	ppc64le) echo ppc64el ;;
	*) echo "$ARCH" ;;
	esac
}

# Nobody reads these in a guest.
readonly deb_unneeded=(usr/share/doc usr/share/man usr/share/info usr/share/locale usr/share/i18n usr/share/lintian
	usr/share/bug usr/share/bash-completion usr/share/zsh usr/share/common-licenses usr/share/zoneinfo
	usr/lib/udev/hwdb.d usr/lib/udev/hwdb.bin etc/udev/hwdb.bin)

build_rootfs() {
	local root=$1 include tool p
	include=$(printf '%s\n' "$PACKAGES" "$EXTRA_PKGS" | tr -s ' \n' ',,')
	include=${include#,}
	include=${include%,}
	if check_program mmdebstrap; then
		tool=mmdebstrap
	elif check_program debootstrap; then
		tool=debootstrap
	else
		die "Neither mmdebstrap nor debootstrap is installed. Install one with: apt-get install mmdebstrap"
	fi
	[[ -z ${DEB_KEYRING:-} || -e ${DEB_KEYRING:-} ]] || die "$DEB_KEYRING is not there: the packages of $OS_NAME could not be trusted. Install it with: apt-get install $DEB_KEYRING_PACKAGE"

	info "$tool $OS_VERSION with $include"
	if [[ $tool == mmdebstrap ]]; then
		local args=(--variant=essential --format=directory "--architectures=$(deb_arch)" "--include=$include"
			"--components=${DEB_COMPONENTS:-main}" --skip=output/dev --quiet)
		[[ -z ${DEB_KEYRING:-} ]] || args+=("--keyring=$DEB_KEYRING")
		for p in "${deb_unneeded[@]}"; do
			args+=("--dpkgopt=path-exclude=/$p/*")
		done
		[[ $(id -u) -ne 0 ]] || args+=(--mode=root)
		mmdebstrap "${args[@]}" "$OS_VERSION" "$root" ${MIRROR:+"$MIRROR"} ||
			die "mmdebstrap failed: see above. Without a network name a mirror that can be reached with MIRROR (also file:///path)"
	else
		check_root "run debootstrap"
		debootstrap --variant=minbase "--arch=$(deb_arch)" "--include=$include" "--components=${DEB_COMPONENTS:-main}" \
			${DEB_KEYRING:+"--keyring=$DEB_KEYRING"} "$OS_VERSION" "$root" ${MIRROR:+"$MIRROR"} ||
			die "debootstrap failed: see above and $root/debootstrap/debootstrap.log"
	fi
	for p in "${deb_unneeded[@]}"; do
		rm -rf "${root:?}/$p"
	done
	# What differs from one run to the next, and what names this machine or its package sources.
	rm -rf "$root"/etc/apt/sources.list* "$root"/etc/apt/apt.conf.d/*proxy* "$root"/etc/{passwd-,group-,shadow-,gshadow-,subuid-,subgid-}
	rm -f "$root"/etc/ssh/ssh_host_* "$root"/etc/hostname
	find "$root/dev" -mindepth 1 -delete 2> /dev/null || :
	mkdir -p "$root/usr/lib/systemd"
	if [[ ! -e $root/usr/lib/systemd/systemd && -e $root/lib/systemd/systemd ]]; then
		ln -s /lib/systemd/systemd "$root/usr/lib/systemd/systemd"
	fi
}
