# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# The default: one static binary, nothing to fetch, no root. The agent is init.
OS_NAME=busybox
OS_VERSION=
PACKAGES="busybox-static"
INIT_PROCESS=kata-agent
ARCH_EXCLUDE_LIST=()
