#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# README's first command on a plain Debian that has nothing but what README asks for, as a user with sudo and Debian's
# kernel. `make fresh` does the rest (hours). Needs root, mmdebstrap and package mirrors (TEST_NETWORK=1).
set -euo pipefail
source "$(dirname "$0")/lib.sh"
unset MAKEFLAGS MAKELEVEL MFLAGS KERNEL ROOT TRANSPORT PROTOCOL CMD

misuse() { # NAME TEXT WORDS...
	local name=$1 text=$2 said status=0
	shift 2
	said=$("$top/tests/fresh.sh" -d "$work/fresh" "$@" 2>&1) || status=$?
	is "$name: exit status" "$status" 2
	is "$name: says so" "$(grep -c -F "$text" <<< "$said")" 1
}
misuse 'a user that is none' 'nobody: choose one of root user' -u nobody
misuse 'a kernel that is none' 'bsd: choose one of debian own' -k bsd
misuse 'a command that is none' 'bench: choose one of run test' -c bench
check 'and nothing is made then' not test -e "$work/fresh"

if [[ -z ${TEST_NETWORK:-} ]]; then
	skip 'a fresh machine' 'set TEST_NETWORK=1'
elif [[ $(id -u) -ne 0 ]]; then
	skip 'a fresh machine' 'root makes it'
elif ! command -v mmdebstrap > /dev/null; then
	skip 'a fresh machine' 'mmdebstrap is not installed'
else
	status=0
	timeout 900 "$top/tests/fresh.sh" -d "$work/fresh" -u user -k debian -c run > "$work/said" 2>&1 || status=$?
	sed 's/^/# /' "$work/said"
	is 'a user with sudo: make run works' "$status" 0
	seconds=$(sed -n "s/^fresh: user, KERNEL=debian: make run: the first container's output after \([0-9]*\) s.*/\1/p" "$work/said")
	# The aim is 90 s; more than this is another kernel built, or packages that are not needed.
	check "the first container's output comes soon: ${seconds:-never} s" test "${seconds:-9999}" -lt 300
	check 'the trees are gone again' not test -e "$work/fresh"
fi
done_testing
