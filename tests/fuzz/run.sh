#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the fuzz targets with clang (libFuzzer, ASan, UBSan) and runs each for a bounded time. TAP.
# Usage: tests/fuzz/run.sh [SECONDS-PER-TARGET, default $FUZZ_SECONDS or 8] [TARGET...]
#   SECONDS 0 only replays the corpora of tests/fuzz/corpus. What is found goes to build/fuzz/found.
set -euo pipefail

cd "$(dirname "$0")/../.."
# shellcheck source=../lib/tap.sh
source tests/lib/tap.sh
seconds=${1:-${FUZZ_SECONDS:-8}}
shift || true
out=build/fuzz
cc=${CLANG:-clang}
mkdir -p "$out/found"

if ! command -v "$cc" >/dev/null || ! "$cc" -fsanitize=fuzzer -x c - -o "$out/probe" 2>/dev/null \
	<<<'int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n) { return d && n > 9; }'; then
	skip_all "$cc with libFuzzer is missing: install the packages clang and libclang-rt-14-dev"
fi
if [[ ! -e build/gen/agent.pb-c.c ]]; then
	echo "Bail out! build/gen is missing: run 'make' first"
	exit 1
fi

# shellcheck disable=SC2054  # commas belong to the options
flags=(-std=gnu11 -Ulinux -D_GNU_SOURCE -O1 -g -fsanitize=fuzzer-no-link,address,undefined
	-fno-sanitize-recover=undefined -fno-omit-frame-pointer -w -iquote agent -iquote init -Ibuild/gen -Itests/wire -Itests/fuzz)

# One archive for all targets: what everything needs, and the roads with the test service.
common=(agent/base/*.c agent/rpc/*.c agent/wire/*.c
	tests/wire/methods.c tests/fuzz/fake.c build/gen/*.pb-c.c build/gen/google/protobuf/*.pb-c.c)
objects=()

compile() { # SOURCE: its object, made anew when something is newer
	local object=$out/obj/${1%.c}.o
	objects+=("$object")
	if [[ -e $object && ! $1 -nt $object && -z $(find agent build/gen tests/wire tests/fuzz -name '*.h' -newer "$object" -print -quit) ]]; then
		return 0
	fi
	mkdir -p "$(dirname "$object")"
	nice "$cc" "${flags[@]}" -c -o "$object" "$1"
}

for source in "${common[@]}"; do
	compile "$source"
done
shared=("${objects[@]}")

targets=("$@")
if [[ ${#targets[@]} == 0 ]]; then
	for source in tests/fuzz/fuzz_*.c; do
		targets+=("$(basename "$source" .c)")
	done
fi
plan "${#targets[@]}"
for target in "${targets[@]}"; do
	source=tests/fuzz/$target.c
	# "// objs:" names further sources; "fake" stands for the shared ones, which are always linked
	read -ra extra <<<"$(sed -n 's|^// objs: ||p' "$source" | sed 's/\bfake\b//')"
	missing=
	for file in ${extra[@]+"${extra[@]}"}; do
		[[ -e $file ]] || missing=$file
	done
	if [[ -n $missing ]]; then
		skip "$target" "$missing does not exist"
		continue
	fi
	objects=()
	for file in "$source" ${extra[@]+"${extra[@]}"}; do
		compile "$file"
	done
	corpus=tests/fuzz/corpus/${target#fuzz_}
	work=$out/corpus/${target#fuzz_}
	mkdir -p "$corpus" "$work"
	if ! nice "$cc" "${flags[@]}" -fsanitize=fuzzer -o "$out/$target" "${objects[@]}" "${shared[@]}" \
		-lnghttp2 -lprotobuf-c; then
		not_ok "$target: does not build"
		continue
	fi
	if [[ $seconds == 0 ]]; then
		run=("$out/$target" -runs=0 "$corpus")
	else
		run=("$out/$target" "-max_total_time=$seconds" -timeout=10 -rss_limit_mb=1500 -max_len=16384
			"-artifact_prefix=$out/found/$target-" -print_final_stats=1 "$work" "$corpus")
	fi
	if ASAN_OPTIONS=detect_leaks=1 nice "${run[@]}" >"$out/$target.log" 2>&1; then
		ok "$target: $(sed -n 's/^stat::number_of_executed_units: */runs /p' "$out/$target.log") $(
			grep -o 'cov: [0-9]*' "$out/$target.log" | tail -1)"
	else
		why=$(tail -40 "$out/$target.log")
		not_ok "$target: see $out/$target.log and $out/found"
	fi
done
done_testing
