# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# shellcheck source=../scripts/deb.sh
source "$here/scripts/deb.sh"
