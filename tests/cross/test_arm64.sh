#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The agent cross-built for arm64, and run by qemu's user emulation as far as that goes. Needs package mirrors (TEST_NETWORK=1), the cross compiler and qemu-user-static. TAP.
set -uo pipefail
cd "$(dirname "$0")/../.."
source tests/lib/tap.sh
agent=build/kata-agent-arm64
if [[ -z ${TEST_NETWORK:-} ]]; then
	skip_all 'set TEST_NETWORK=1: the libraries come from the package mirrors'
fi
for tool in aarch64-linux-gnu-gcc qemu-aarch64-static; do
	if ! command -v "$tool" >/dev/null; then
		skip_all "$tool is not installed (gcc-aarch64-linux-gnu, qemu-user-static)"
	fi
done
plan 3
check 'it builds' make --no-print-directory ARCH=arm64 agent
is 'it says its version' "$(qemu-aarch64-static "$agent" --version | cut -d ' ' -f 1-2)" 'kata-agent version'
# More than this the user emulation does not carry: it knows no child subreaper.
check 'it knows its options' grep -q server-addr <<<"$(qemu-aarch64-static "$agent" --help)"
done_testing
