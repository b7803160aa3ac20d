#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `make dist` and `make deb`: what is in them, that it can be used, and that it is the same the second time.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
unset MAKEFLAGS MAKELEVEL MFLAGS KERNEL ROOT
cd "$top"
[[ -e build/kata-vmlinuz && -e build/kata-containers.img ]] || skip_all 'no kernel and image are built: make images'
command -v dpkg-shlibdeps > /dev/null || skip_all 'dpkg-shlibdeps is not installed (package dpkg-dev)'
version=$(cat VERSION)

# --- the archive
check 'make dist' make dist-file
archive=$(echo build/kata-static-*.tar.zst)
mkdir "$work/root"
check 'it can be unpacked' tar -C "$work/root" --zstd -xf "$archive"
kata=$work/root/opt/kata
is 'laid out as kata-deploy lays it out' "$(cd "$kata" && find . -type f -printf '%P\n' | sort | tr '\n' ' ')" "SHA256SUMS VERSION bin/agent-ctl \
share/defaults/kata-containers/config.d.examples/50-image.toml share/defaults/kata-containers/config.d.examples/50-initrd.toml \
share/kata-containers/LICENSE share/kata-containers/kata-containers-initrd.img share/kata-containers/kata-containers.img \
share/kata-containers/packages.spdx share/kata-containers/vmlinuz.container "
check 'the checksums are right' env -C "$work/root" sha256sum --quiet -c opt/kata/SHA256SUMS
is 'and are of all files but themselves' "$(wc -l < "$kata/SHA256SUMS")" 9
check 'the archive has one of its own' env -C build sha256sum --quiet -c "${archive##*/}.sha256"
check 'agent-ctl needs nothing of the host' not grep -q INTERP <(readelf -lW "$kata/bin/agent-ctl")
check 'and runs' "$kata/bin/agent-ctl" --help
check 'the image is as it was' cmp "$kata/share/kata-containers/kata-containers.img" build/kata-containers.img
check 'and sparse again' test "$(du -k "$kata/share/kata-containers/kata-containers.img" | cut -f 1)" -lt 40000
is 'the fragments of configuration name what is there' "$(/usr/bin/python3 - "$kata"/share/defaults/kata-containers/config.d.examples/*.toml << 'END'
import os, sys, tomllib
for name in sys.argv[1:]:
    qemu = tomllib.load(open(name, 'rb'))['hypervisor']['qemu']
    root = name[:name.index('/opt/kata')]
    used = [k for k in ('kernel', 'image', 'initrd') if qemu[k]]
    print(len(used), [k for k in used if not os.path.exists(root + qemu[k])])
END
)" $'2 []\n2 []'
spdx=$kata/share/kata-containers/packages.spdx
for p in libnghttp2-dev libc6-dev busybox-static e2fsprogs iptables; do
	is "the list of packages has $p as it is here" "$(grep -A 2 -x "PackageName: $p" "$spdx" | sed -n 's/^PackageVersion: //p')" \
		"$(dpkg-query -W -f '${Version}' "$p" 2> /dev/null || :)"
done
is 'each of its relations names a package that it has' "$(comm -23 <(sed -n 's/^Relationship: .* //p' "$spdx" | sort -u) <(sed -n 's/^SPDXID: //p' "$spdx" | sort))" ''

# --- the package
check 'make deb' make deb-file
deb=$(echo build/kata-agent-c_"$version"_*.deb)
mkdir "$work/deb"
dpkg-deb -x "$deb" "$work/deb"
is 'it has the agent of this version' "$("$work/deb/usr/bin/kata-agent" --version | cut -d ' ' -f 1-2,3 | cut -d - -f 1-2)" "kata-agent version $version"
check 'linked with the libraries of the system' grep -q -a libnghttp2.so "$work/deb/usr/bin/kata-agent"
check 'and depends on them' grep -q -E '^ Depends: .*libmnl0.*libnghttp2-14.*libseccomp2' <(dpkg-deb -I "$deb")
is 'everything is root'"'"'s' "$(dpkg-deb -c "$deb" | awk '{ print $2 }' | sort -u)" root/root
is 'the manual page has each command' "$(comm -23 <(build/agent-ctl --help | awk '/^commands:$/ { on = 1; next } /^$/ { on = 0 } on { print $1 }' | sort) \
	<(zcat "$work/deb/usr/share/man/man1/agent-ctl.1.gz" | sed -n 's/\\//g; s/^\.SS \([a-z-]*\).*/\1/p' | sort))" ''
completes() { # WORDS...: what is offered for the last
	bash -c 'source "$1"; shift; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _agent_ctl; echo "${COMPREPLY[*]}"' - \
		"$work/deb/usr/share/bash-completion/completions/agent-ctl" "$@"
}
is 'completion of a command' "$(completes agent-ctl --addr x destr)" destroy-sandbox
is 'and of its option' "$(completes agent-ctl run --termi)" --terminal
if command -v lintian > /dev/null; then
	is 'lintian finds nothing but what the overrides name' "$(lintian --allow-root "$deb" 2>&1)" ''
else
	skip 'lintian' 'lintian is not installed'
fi

# --- once more, elsewhere
again=$work/a/longer/name/for/the/folder
mkdir -p "$again"
cp --sparse=never build/{agent-ctl,agent-ctl-static,kata-agent-shared,kata-vmlinuz,kata-containers-initrd.img,kata-containers.img} "$again/"
ln -s "$top/build/rootfs" "$top/build/rootfs-image" "$again/"
commit=$(git -c safe.directory='*' rev-parse --short=12 HEAD 2> /dev/null || :)
BUILD=$again TZ=Asia/Tokyo tools/dist/dist.sh "$version${commit:+-$commit}" "$again/dist.tar.zst"
check 'the archive is the same, byte for byte' cmp "$again/dist.tar.zst" "$archive"
(umask 077; BUILD=$again TZ=Asia/Tokyo tools/dist/deb.sh "$version" "$again/again.deb")
check 'and the package' cmp "$again/again.deb" "$deb"
done_testing
