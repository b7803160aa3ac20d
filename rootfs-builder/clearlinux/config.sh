# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# Clear Linux with systemd. Needs dnf and root. (The project ended in 2025: for a mirror one has kept.)
OS_NAME=Clear
OS_VERSION=${OS_VERSION:-latest}
REPO_NAME=clear
REPO_URL=${REPO_URL:-https://download.clearlinux.org/current/$ARCH/os/}
GPG_KEY_URL=${GPG_KEY_URL-}
PACKAGES="libudev0-shim kmod-bin"
INIT_PROCESS=systemd
ARCH_EXCLUDE_LIST=(aarch64 ppc64le s390x)
[[ $AGENT_INIT == yes ]] || PACKAGES+=" systemd chrony util-linux-bin"
! wants_extra mkfs || PACKAGES+=" e2fsprogs"
! wants_extra iptables || PACKAGES+=" iptables-bin"
[[ $SECCOMP != yes ]] || PACKAGES+=" libseccomp"
BUILD_CAN_FAIL=1
BUILDER_IMAGE=registry.fedoraproject.org/fedora:latest
BUILDER_SETUP="dnf -y install binutils findutils"
