#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fetches what the agent links with, for another architecture, from Debian's packages into DIR, and a static busybox for
# its guest. Beside it stands DIR/apt.conf, with which APT_CONFIG makes apt that architecture's. Root is not needed, and
# this machine's package database is not touched.
# Usage: sysroot.sh DEBIAN-ARCHITECTURE DIR
set -euo pipefail
arch=$1
rm -rf "$2"
mkdir -p "$2"
dir=$(realpath "$2")
mkdir -p "$dir/apt/lists/partial" "$dir/apt/archives/partial"
cat >"$dir/apt.conf" <<EOC
Dir::State "$dir/apt";
Dir::State::status "/dev/null";
Dir::Cache "$dir/apt";
APT::Architecture "$arch";
APT::Architectures "$arch";
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
EOC
export APT_CONFIG=$dir/apt.conf
# A mirror in the middle of its own update lacks a list for some minutes. If it is one that is needed, the download says so.
apt-get -qq update || apt-get -qq update || echo "sysroot.sh: going on without the lists named above" >&2
(cd "$dir/apt/archives" && apt-get -qq download libnghttp2-dev libprotobuf-c-dev libseccomp-dev libcap-dev libmnl-dev busybox-static)
for deb in "$dir"/apt/archives/*.deb; do
	dpkg-deb -x "$deb" "$dir"
done
rm -rf "$dir"/apt/archives/*.deb "$dir"/apt/*.bin
# Its place when it is done.
sed -i "s,\"$dir,\"${dir%.new}," "$dir/apt.conf"
