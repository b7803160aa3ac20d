# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# CentOS Stream with systemd. Needs dnf and root.
OS_NAME=Centos
OS_VERSION=${OS_VERSION:-9-stream}
REPO_NAME=centos
MIRROR=${MIRROR:-http://mirror.stream.centos.org}
REPO_URLS=${REPO_URL:-$MIRROR/$OS_VERSION/BaseOS/$ARCH/os/ $MIRROR/$OS_VERSION/AppStream/$ARCH/os/}
GPG_KEY_URL=${GPG_KEY_URL-https://www.centos.org/keys/RPM-GPG-KEY-CentOS-Official}
PACKAGES="chrony"
INIT_PROCESS=systemd
ARCH_EXCLUDE_LIST=()
[[ $AGENT_INIT == yes ]] || PACKAGES+=" systemd"
! wants_extra mkfs || PACKAGES+=" e2fsprogs"
! wants_extra iptables || PACKAGES+=" iptables-nft"
[[ $SECCOMP != yes ]] || PACKAGES+=" libseccomp"
BUILDER_IMAGE=quay.io/centos/centos:stream9
BUILDER_SETUP="dnf -y install binutils findutils"
