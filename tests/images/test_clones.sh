#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Two clones of the same sources, in folders of different length, built by different users at different times: the same
# agent, initrd, image and root hash.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
command -v protoc-c > /dev/null || { printf '1..0 # SKIP protoc-c is not installed (package protobuf-c-compiler)\n'; exit 0; }

copy() { # DIR: the files that git knows, as they are here
	mkdir -p "$1"
	(cd "$top" && git ls-files -z | while IFS= read -r -d '' f; do [[ ! -e $f ]] || printf '%s\0' "$f"; done | xargs -0 cp --parents -t "$1")
}
cat > "$work/build" <<'EOF'
set -euo pipefail
cd "$1"
make -j2 build/kata-containers-initrd.img build/kata-containers.img
! command -v veritysetup > /dev/null || image-builder/image_builder.sh -m -o build/measured.img build/rootfs
EOF
chmod 0644 "$work/build"
one=$work/one two=$work/and/a/much/longer/path/to/the/other
copy "$one"
check 'a clone is built' env -u MAKEFLAGS -u BUILD bash "$work/build" "$one"
copy "$two"
if [[ $(id -u) -eq 0 ]]; then
	chown -R 65534:65534 "$work/and"
	check 'and another, as nobody' setpriv --reuid=65534 --regid=65534 --clear-groups env -u MAKEFLAGS -u BUILD HOME=/tmp TZ=Asia/Tokyo LANG=de_DE.UTF-8 \
		bash -c 'umask 077; exec bash "$@"' - "$work/build" "$two"
else
	check 'and another' env -u MAKEFLAGS -u BUILD TZ=Asia/Tokyo bash -c 'umask 077; exec bash "$@"' - "$work/build" "$two"
fi
for f in kata-agent kata-containers-initrd.img kata-containers.img measured.img root_hash.txt; do
	[[ -e $one/build/$f ]] || { skip "$f" 'its tool is not installed'; continue; }
	is "$f" "$(sha256sum < "$two/build/$f")" "$(sha256sum < "$one/build/$f")"
done
is 'the debug information does not name the folder it was built in' "$(grep -a -c -F "$one" "$one/build/kata-agent.debug" || :)" 0
done_testing
