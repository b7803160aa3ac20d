# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# Debian with systemd. Needs mmdebstrap (or debootstrap) and, for either, root or a user namespace.
OS_NAME=debian
OS_VERSION=${OS_VERSION:-bookworm}
# Empty: the bootstrap tool's own choice for the suite.
MIRROR=${MIRROR:-}
PACKAGES="kmod"
[[ $AGENT_INIT == yes ]] || PACKAGES="systemd systemd-sysv dbus chrony kmod"
! wants_extra mkfs || PACKAGES+=" e2fsprogs"
! wants_extra iptables || PACKAGES+=" iptables"
INIT_PROCESS=systemd
ARCH_EXCLUDE_LIST=()
[[ $SECCOMP != yes ]] || PACKAGES+=" libseccomp2"
BUILDER_IMAGE=debian:$OS_VERSION
BUILDER_SETUP="apt-get update && apt-get install -y mmdebstrap binutils patchelf"
