# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# Alpine with the agent as init. Needs apk (or apk.static of Alpine's package apk-tools-static).
OS_NAME=Alpine
OS_VERSION=${OS_VERSION:-v3.20}
MIRROR=${MIRROR:-https://dl-cdn.alpinelinux.org/alpine}
PACKAGES="alpine-baselayout busybox"
INIT_PROCESS=kata-agent
ARCH_EXCLUDE_LIST=()
! wants_extra mkfs || PACKAGES+=" e2fsprogs"
! wants_extra iptables || PACKAGES+=" iptables ip6tables"
[[ $SECCOMP != yes ]] || PACKAGES+=" libseccomp"
BUILDER_IMAGE=alpine:${OS_VERSION#v}
BUILDER_SETUP="apk add bash binutils coreutils findutils patchelf"
