# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# EulerOS with systemd. Needs dnf or yum, and root.
OS_NAME=EulerOS
OS_VERSION=${OS_VERSION:-2.2}
REPO_NAME=euleros
REPO_URL=${REPO_URL:-http://developer.huawei.com/ict/site-euleros/euleros/repo/yum/$OS_VERSION/os/$ARCH/}
GPG_KEY_URL=${GPG_KEY_URL-http://developer.huawei.com/ict/site-euleros/euleros/repo/yum/$OS_VERSION/os/RPM-GPG-KEY-EulerOS}
PACKAGES="chrony"
INIT_PROCESS=systemd
ARCH_EXCLUDE_LIST=(ppc64le s390x)
[[ $AGENT_INIT == yes ]] || PACKAGES+=" systemd"
! wants_extra mkfs || PACKAGES+=" e2fsprogs"
! wants_extra iptables || PACKAGES+=" iptables"
[[ $SECCOMP != yes ]] || PACKAGES+=" libseccomp"
BUILD_CAN_FAIL=1
BUILDER_IMAGE=registry.fedoraproject.org/fedora:latest
BUILDER_SETUP="dnf -y install binutils findutils"
