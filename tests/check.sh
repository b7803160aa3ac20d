#!/usr/bin/env bash
# What the compiler does not check: layers include downwards only, banned functions, lengths of
# lines, files and functions, and that each file opens with what it is for. TAP.
set -euo pipefail
cd "$(dirname "$0")/.."
n=0
failed=0
check() { # NAME FUNCTION: what the function prints are complaints
	local text
	text=$($2)
	n=$((n + 1))
	if [[ -z $text ]]; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1"
		sed 's/^/# /' <<<"$text"
		failed=1
	fi
}
# grep that is content with finding nothing
find_lines() { grep "$@" || true; }

# A layer's line names the layers that it may include.
declare -A may=(
	[lib]="lib"
	[loop]="lib loop"
	[sys]="lib loop sys"
	[engine]="lib loop sys engine"
	[rpc]="lib loop rpc"
	[wire]="lib loop rpc wire"
	[svc]="lib loop sys engine rpc wire svc"
)
layers() {
	for layer in "${!may[@]}"; do
		find_lines -Hno '#include "[a-z]*/[^"]*"' agent/"$layer"/*.[ch] | while IFS= read -r line; do
			what=$(sed -E 's/.*"([a-z]+)\/.*/\1/' <<<"$line")
			[[ " ${may[$layer]} " == *" $what "* ]] || echo "$line"
		done
	done
}
banned() {
	find_lines -nEw '(sprintf|strcpy|strcat|strncpy|atoi|atol|strtok|system|popen|alloca|gets|usleep|pthread_create)[[:space:]]*\(' \
		agent/*.c agent/*/*.[ch] init/*.[ch]
}
exits() { find_lines -nE '\bexit\(' agent/*/*.c init/*.c | find_lines -v '_exit('; }
reapers() { find_lines -nE '\bwaitid\(' agent/*/*.c | find_lines -v '^agent/loop/reaper.c'; }
measures() {
	for f in agent/*.c agent/*/*.[ch] init/*.[ch] tests/agent-ctl/*.[ch] tests/vm/*.[ch]; do
		lines=$(wc -l <"$f")
		((lines <= 1000)) || echo "$f: $lines lines"
		[[ $(head -c 2 "$f") == '/*' ]] || echo "$f: does not open with a comment"
		expand -t 8 "$f" | awk -v f="$f" 'length($0) > 100 && !/"/ { print f ":" NR ": " length($0) " columns" }'
		awk -v f="$f" '/^[a-z_].*\)$/ { name = $0 } /^{$/ { start = NR }
			/^}$/ { if (start && NR - start - 1 > 100) print f ":" start ": " NR - start - 1 " lines: " name; start = 0 }' "$f"
	done
}
check "layers include downwards only" layers
check "no banned functions" banned
check "only main.c exits" exits
check "only the reaper calls waitid" reapers
check "files, functions and lines keep their measure" measures
echo "1..$n"
exit "$failed"
