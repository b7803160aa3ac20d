#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fetches the static libraries that the agent links with, for another architecture, from Debian's
# packages into DIR. Root is not needed, and this machine's package database is not touched.
# Usage: sysroot.sh DEBIAN-ARCHITECTURE DIR
set -euo pipefail
arch=$1
dir=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/archives/partial" "$dir"
apt=(-qq -o "Dir::State=$work" -o "Dir::State::status=/dev/null" -o "Dir::Cache=$work" -o "APT::Architecture=$arch"
	-o "APT::Architectures=$arch" -o APT::Sandbox::User=root)
apt-get "${apt[@]}" update
(cd "$work" && apt-get "${apt[@]}" download libnghttp2-dev libprotobuf-c-dev libseccomp-dev libcap-dev libmnl-dev)
for deb in "$work"/*.deb; do
	dpkg-deb -x "$deb" "$dir"
done
