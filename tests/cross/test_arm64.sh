#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The agent cross-built for arm64, and run by qemu's user emulation as far as that goes. Needs package mirrors (TEST_NETWORK=1), the cross compiler and qemu-user-static. TAP.
set -uo pipefail
cd "$(dirname "$0")/../.."
agent=build/kata-agent-arm64
if [[ -z ${TEST_NETWORK:-} ]]; then
	echo '1..0 # SKIP set TEST_NETWORK=1: the libraries come from the package mirrors'
	exit 0
fi
for tool in aarch64-linux-gnu-gcc qemu-aarch64-static; do
	if ! command -v "$tool" >/dev/null; then
		echo "1..0 # SKIP $tool is not installed (gcc-aarch64-linux-gnu, qemu-user-static)"
		exit 0
	fi
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
verdict() { # NUMBER NAME, success in $?
	local status=$?
	((status == 0)) && echo "ok $1 - $2" || echo "not ok $1 - $2"
}
echo 1..3
make --no-print-directory ARCH=arm64 agent >"$work/log" 2>&1 || { sed 's/^/# /' "$work/log"; false; }
verdict 1 'it builds'
[[ $(qemu-aarch64-static "$agent" --version) == "kata-agent version "* ]]
verdict 2 'it says its version'
# More than this the user emulation does not carry: it knows no child subreaper.
qemu-aarch64-static "$agent" --help | grep -q server-addr
verdict 3 'it knows its options'
