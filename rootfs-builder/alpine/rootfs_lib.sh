# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# Packages of Alpine.
#   APK_KEYS_DIR   keys to trust, as in Alpine's package alpine-keys; without it signatures are not checked

build_rootfs() {
	local root=$1 apk trust=(--allow-untrusted)
	apk=$(command -v apk || command -v apk.static) || die "Neither apk nor apk.static is there. Unpack apk-tools-static
from $MIRROR/$OS_VERSION/main/$ARCH/ and put its apk.static into a directory of PATH"
	if [[ -n ${APK_KEYS_DIR:-} ]]; then
		[[ -d $APK_KEYS_DIR ]] || die "APK_KEYS_DIR=$APK_KEYS_DIR is not a directory"
		trust=(--keys-dir "$(realpath "$APK_KEYS_DIR")")
	else
		warning "the signatures of Alpine's packages are not checked: APK_KEYS_DIR is not set"
	fi
	[[ $(id -u) -eq 0 ]] || trust+=(--usermode)
	mkdir -p "$root/etc/apk"
	info "$apk -X $MIRROR/$OS_VERSION/main --root $root add $PACKAGES $EXTRA_PKGS"
	# shellcheck disable=SC2086
	"$apk" -X "$MIRROR/$OS_VERSION/main" --arch "$ARCH" -U "${trust[@]}" --root "$root" --initdb --no-cache \
		add $PACKAGES $EXTRA_PKGS || die "apk failed: see above. Without a network name a mirror that can be reached with MIRROR"
	skeleton "$root"
}
