# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# Ubuntu with systemd. Needs mmdebstrap (or debootstrap) and the package ubuntu-keyring.
OS_NAME=ubuntu
OS_VERSION=${OS_VERSION:-jammy}
case $ARCH in
x86_64) MIRROR=${MIRROR:-http://archive.ubuntu.com/ubuntu} ;;
*) MIRROR=${MIRROR:-http://ports.ubuntu.com/ubuntu-ports} ;;
esac
PACKAGES="kmod"
[[ $AGENT_INIT == yes ]] || PACKAGES="systemd systemd-sysv dbus chrony kmod"
! wants_extra mkfs || PACKAGES+=" e2fsprogs"
! wants_extra iptables || PACKAGES+=" iptables"
INIT_PROCESS=systemd
ARCH_EXCLUDE_LIST=()
DEB_COMPONENTS=main,universe
DEB_KEYRING=/usr/share/keyrings/ubuntu-archive-keyring.gpg
DEB_KEYRING_PACKAGE=ubuntu-keyring
[[ $SECCOMP != yes ]] || PACKAGES+=" libseccomp2"
BUILDER_IMAGE=ubuntu:$OS_VERSION
BUILDER_SETUP="apt-get update && apt-get install -y mmdebstrap binutils patchelf"
