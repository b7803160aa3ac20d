# SPDX-License-Identifier: Apache-2.0
# Roots of RPM packages: the default where a distribution's folder has no build_rootfs of its own.
# Its config.sh says where from: BASE_URL or MIRROR_LIST (or REPO_URLS, several), GPG_KEY_URL or GPG_KEY_FILE.
# shellcheck shell=bash

dnf_config() {	# FILE
	local n=0 url
	{
		printf '%s\n' '[main]' 'reposdir=/nonexistent' 'keepcache=0' 'exactarch=1' 'obsoletes=1' 'plugins=0' \
			'install_weak_deps=False' 'tsflags=nodocs' 'best=1'
		[[ -z ${http_proxy:-} ]] || printf 'proxy=%s\n' "$http_proxy"
		for url in ${REPO_URLS:-${REPO_URL:-${BASE_URL:-}}}; do
			n=$((n + 1))
			printf '\n[%s-%d]\nname=%s %d\nbaseurl=%s\nenabled=1\n' "${REPO_NAME:-base}" $n "$OS_NAME" $n "$url"
			dnf_key
		done
		if [[ $n -eq 0 && -n ${MIRROR_LIST:-} ]]; then
			printf '\n[%s]\nname=%s\nmirrorlist=%s\nenabled=1\n' "${REPO_NAME:-base}" "$OS_NAME" "$MIRROR_LIST"
			dnf_key
		fi
	} > "$1"
}

dnf_key() {
	local key=${GPG_KEY_FILE:+file://$GPG_KEY_FILE}
	key=${key:-${GPG_KEY_URL:-}}
	if [[ -n $key ]]; then
		printf 'gpgcheck=1\ngpgkey=%s\n' "$key"
	else
		printf 'gpgcheck=0\n'
	fi
}

build_rootfs() {
	local root=$1 tool conf scratch args
	check_root "install packages of $OS_NAME"
	if [[ -n ${PKG_MANAGER:-} ]]; then
		tool=$PKG_MANAGER
	elif check_program dnf; then
		tool=dnf
	elif check_program yum; then
		tool=yum
	else
		die "neither yum nor dnf is installed. Install it with: apt-get install dnf"
	fi
	args=(-y "--installroot=$root" --noplugins)
	scratch=$(mktemp -d)
	if [[ -n ${DISTRO_REPO:-} ]]; then
		# The repositories that this machine itself uses.
		args+=("--releasever=$OS_VERSION")
	else
		conf=${DNF_CONF:-}
		if [[ -z $conf ]]; then
			conf=$scratch/kata-$OS_NAME-dnf.conf
			dnf_config "$conf"
		fi
		args+=("--config=$conf" "--releasever=$OS_VERSION")
	fi
	info "$tool ${args[*]} install $EXTRA_PKGS $PACKAGES"
	# shellcheck disable=SC2086
	"$tool" "${args[@]}" install $EXTRA_PKGS $PACKAGES || {
		rm -rf "$scratch"
		die "$tool failed: see above. Without a network name a repository that can be reached with REPO_URL (also file:///path)"
	}
	# The database of packages differs at each run, and nobody installs any in a guest.
	rm -rf "$scratch" "$root"/usr/share/{doc,man,info,locale} "$root"/usr/lib/sysimage/rpm "$root"/root/.rpmdb
}
