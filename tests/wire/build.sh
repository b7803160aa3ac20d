#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds build/tests/wire/server, the test service on every road, under ASan and UBSan.
# Usage: tests/wire/build.sh        prints the path of the program
set -euo pipefail

cd "$(dirname "$0")/../.."
out=build/tests/wire
mkdir -p "$out"
exec 9>"$out/lock"
flock 9		# several tests may start at once
if [[ ! -e build/gen/agent.pb-c.c ]]; then
	echo "build.sh: build/gen is missing: run 'make' first" >&2
	exit 1
fi
sources=(tests/wire/server.c tests/wire/methods.c agent/wire/*.c agent/rpc/*.c agent/base/*.c build/gen/*.pb-c.c build/gen/google/protobuf/*.pb-c.c)
# shellcheck disable=SC2012  # names of our own
newest=$(ls -t "${sources[@]}" agent/*/*.h tests/wire/*.h "$0" | head -1)
if [[ ! -e $out/server || $newest -nt $out/server ]]; then
	nice gcc -std=gnu11 -Ulinux -D_GNU_SOURCE -Wall -Wextra -g -O1 -fsanitize=address,undefined \
		-fno-sanitize-recover=undefined -fno-omit-frame-pointer \
		-iquote agent -Ibuild/gen -Itests/wire "${sources[@]}" -o "$out/server.new" -lnghttp2 -lprotobuf-c
	mv "$out/server.new" "$out/server"
fi
echo "$out/server"
