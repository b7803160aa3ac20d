#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds build/interop/client: the Go clients, from Debian's packages, without network or modules.
# Usage: tests/interop/build.sh      prints the program's path; exit 77 where Go or a package is missing
set -euo pipefail

cd "$(dirname "$0")/../.."
out=build/interop
src=/usr/share/gocode/src
for need in github.com/containerd/ttrpc github.com/hashicorp/yamux google.golang.org/grpc github.com/gogo/protobuf; do
	if [[ ! -d $src/$need ]]; then
		echo "build.sh: $src/$need is missing: install golang-go golang-github-containerd-ttrpc-dev" \
			"golang-github-hashicorp-yamux-dev golang-google-grpc-dev gogoprotobuf" >&2
		exit 77
	fi
done
if ! command -v go protoc protoc-gen-gogo >/dev/null; then
	echo "build.sh: go, protoc or protoc-gen-gogo is missing: install golang-go protobuf-compiler gogoprotobuf" >&2
	exit 77
fi
mkdir -p "$out"
exec 9>"$out/lock"
flock 9
if [[ -x $out/client && -z $(find tests/interop/go agent/proto "$0" -newer "$out/client" -print -quit) ]]; then
	echo "$out/client"
	exit 0
fi
rm -rf "$out/go"
mkdir -p "$out/go/src/agentpb" "$out/go/src/typespb"
maps=Mgoogle/protobuf/empty.proto=github.com/gogo/protobuf/types,Mtypes.proto=typespb
protoc -I agent/proto -I /usr/include --gogo_out="$maps,paths=source_relative:$out/go/src/typespb" types.proto
protoc -I agent/proto -I /usr/include --gogo_out="$maps,paths=source_relative,Moci.proto=agentpb,Magent.proto=agentpb,Mhealth.proto=agentpb:$out/go/src/agentpb" \
	agent.proto oci.proto health.proto
GO111MODULE=off GOFLAGS=-buildvcs=false GOPATH=$PWD/$out/go:/usr/share/gocode GOCACHE=$PWD/$out/cache \
	nice go build -o "$out/client" tests/interop/go/*.go
echo "$out/client"
