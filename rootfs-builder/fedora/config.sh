# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# Fedora with systemd. Needs dnf and root.
OS_NAME=Fedora
OS_VERSION=${OS_VERSION:-41}
REPO_NAME=fedora
MIRROR=${MIRROR:-https://dl.fedoraproject.org/pub/fedora/linux}
REPO_URLS=${REPO_URL:-$MIRROR/releases/$OS_VERSION/Everything/$ARCH/os/ $MIRROR/updates/$OS_VERSION/Everything/$ARCH/}
GPG_KEY_URL=${GPG_KEY_URL-https://fedoraproject.org/fedora.gpg}
PACKAGES="chrony"
INIT_PROCESS=systemd
ARCH_EXCLUDE_LIST=()
[[ $AGENT_INIT == yes ]] || PACKAGES+=" systemd"
! wants_extra mkfs || PACKAGES+=" e2fsprogs"
! wants_extra iptables || PACKAGES+=" iptables-nft"
[[ $SECCOMP != yes ]] || PACKAGES+=" libseccomp"
BUILDER_IMAGE=registry.fedoraproject.org/fedora:$OS_VERSION
BUILDER_SETUP="dnf -y install binutils findutils"
