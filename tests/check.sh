#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the compiler does not check: layers include downwards only, banned functions, lengths of
# lines, files and functions, and that each file opens with what it is for. TAP.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=lib/tap.sh
source tests/lib/tap.sh
check_silent() { # NAME FUNCTION: what the function prints are complaints
	local text
	text=$($2)
	result "${#text}" "$1" "$text"
}
# grep that is content with finding nothing
find_lines() { grep "$@" || true; }

# A layer's line names the layers that it may include; oci has rooms of its own.
declare -A may=(
	[base]="base"
	[linux]="base linux"
	[oci]="base linux oci"
	[rpc]="base rpc"
	[wire]="base rpc wire"
	[pod]="base linux oci rpc pod"
	[svc]="base linux oci rpc pod svc"
)
layers() {
	for layer in "${!may[@]}"; do
		find_lines -Hnor --include='*.[ch]' '#include "[a-z]*/[^"]*"' agent/"$layer" | while IFS= read -r line; do
			what=$(sed -E 's/.*"([a-z]+)\/.*/\1/' <<<"$line")
			[[ " ${may[$layer]} " == *" $what "* ]] || echo "$line"
		done
	done
}
# oci makes containers from the runtime-spec's messages and knows no other schema.
schemas() {
	find_lines -HnrE --include='*.[ch]' '#include "[a-z0-9_]*\.pb-c\.h"' agent/base agent/linux agent/oci |
		find_lines -vE '^agent/oci/.*"oci\.pb-c\.h"'
}
banned() {
	# The last four bring 120 and 33 kB of libc into a static program.
	find_lines -nEw '(sprintf|strcpy|strcat|strncpy|atoi|atol|strtok|system|popen|alloca|gets|usleep|pthread_create|sscanf|strftime|gmtime_r|localtime_r)[[:space:]]*\(' \
		agent/*.c agent/*/*.[ch] agent/*/*/*.[ch] init/*.[ch]
}
exits() { find_lines -nE '\bexit\(' agent/*/*.c agent/*/*/*.c init/*.c | find_lines -v '_exit('; }
reapers() { find_lines -nE '\bwaitid\(' agent/*/*.c agent/*/*/*.c | find_lines -v '^agent/base/reaper.c'; }
measures() {
	for f in agent/*.c agent/*/*.[ch] agent/*/*/*.[ch] init/*.[ch] tools/agent-ctl/*.[ch] tools/vhost-user-vsock/*.[ch]; do
		lines=$(wc -l <"$f")
		((lines <= 1000)) || echo "$f: $lines lines"
		[[ $(head -c 2 "$f") == '/*' ]] || echo "$f: does not open with a comment"
		expand -t 8 "$f" | awk -v f="$f" 'length($0) > 100 && !/"/ { print f ":" NR ": " length($0) " columns" }'
		awk -v f="$f" '/^[a-z_].*\)$/ { name = $0 } /^{$/ { start = NR }
			/^}$/ { if (start && NR - start - 1 > 100) print f ":" start ": " NR - start - 1 " lines: " name; start = 0 }' "$f"
	done
}
spdx() {
	git ls-files | while IFS= read -r f; do
		[[ -f $f ]] || continue
		case $f in
		*.md | tests/fuzz/corpus/* | tests/expected-skips | VERSION | LICENSE | .clang-format | .gitignore) continue ;;
		esac
		head -3 "$f" | grep -q 'SPDX-License-Identifier: Apache-2.0' || echo "$f: no SPDX line"
	done
}
formatted() {
	git ls-files '*.c' '*.h' | xargs clang-format --dry-run 2>&1 | find_lines 'warning:'
}
# Each header compiles without another before it. Needs the generated ones: none before the first make.
alone() {
	[[ -d build/gen ]] || return 0
	git ls-files 'agent/*.h' 'init/*.h' | xargs -P 2 -I H sh -c \
		'gcc -std=gnu11 -Ulinux -D_GNU_SOURCE -Wall -fsyntax-only -iquote agent -iquote init -isystem build/gen -include H -x c /dev/null 2>&1 | head -2'
}
secured() { /usr/bin/python3 tests/docs.py; }
circles() { /usr/bin/python3 tests/names.py circles; }
names() { /usr/bin/python3 tests/names.py names; }
python() { { pyflakes3 tests/*.py tests/*/*.py 2>&1 || true; } | find_lines -v 'may be undefined\|unable to detect undefined\|import \*'; }
check_silent "layers include downwards only" layers
check_silent "oci knows the spec's schema only, linux and base none" schemas
check_silent "no banned functions" banned
check_silent "only main.c exits" exits
check_silent "only the reaper calls waitid" reapers
check_silent "files, functions and lines keep their measure" measures
check_silent "each file says its license" spdx
check_silent "clang-format has nothing to say" formatted
check_silent "each header stands alone" alone
check_silent "no circle of files" circles
check_silent "one name, one thing" names
check_silent "each row of docs/security.md has its tests" secured
check_silent "the tests' Python knows its names" python
done_testing
