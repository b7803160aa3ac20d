#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Debian's kernel for the first guest of a fresh machine: the package linux-image-amd64 is downloaded and unpacked into
# DIR (vmlinuz, modules/RELEASE), not installed. Needs neither root nor a compiler. DEBIAN_KERNEL_PACKAGE names another
# package, and APT_CONFIG another architecture's apt (tests/cross/sysroot.sh).
set -euo pipefail
dir=${1:?usage: debian-kernel.sh DIR}
package=${DEBIAN_KERNEL_PACKAGE:-linux-image-amd64}
for tool in apt-get apt-cache dpkg-deb tar; do
	command -v "$tool" > /dev/null || { echo "debian-kernel.sh: $tool is not there: Debian's kernel can be had on Debian and Ubuntu only; make kernel builds one" >&2; exit 1; }
done
# The package names the one of its release.
image=$(apt-cache depends "$package" 2> /dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
[[ -n $image ]] || { echo "debian-kernel.sh: apt knows no $package: apt-get update, as root" >&2; exit 1; }
new=$dir.new
rm -rf "$new"
mkdir -p "$new"
trap 'rm -rf "$new"' EXIT
# _apt may not write there, which apt says each time.
(cd "$new" && apt-get -o APT::Sandbox::User="$(id -un)" -q download "$image") > "$new/log" 2>&1 || { tail -n 5 "$new/log" >&2; exit 1; }
dpkg-deb --fsys-tarfile "$new/$image"_*.deb | tar -x -C "$new" --no-same-owner --wildcards './boot/vmlinu[xz]-*' './lib/modules/*'
mv "$new"/boot/vmlinu[xz]-* "$new/vmlinuz"
mv "$new/lib/modules" "$new/modules"
rm -rf "$new"/boot "$new"/lib "$new"/*.deb
rm -rf "$dir"
mv "$new" "$dir"
