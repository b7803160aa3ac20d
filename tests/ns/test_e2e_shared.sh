#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The end-to-end cases against the agent that is linked with the system's libraries (LINK=shared). TAP.
cd "$(dirname "$0")/../.." || exit 1
agent=$PWD/build/kata-agent-shared
if ! ldd "$agent" | grep -q libmnl; then
	echo "Bail out! $agent is not linked with libmnl"
	exit 1
fi
AGENT=$agent exec /usr/bin/python3 tests/ns/test_e2e.py
