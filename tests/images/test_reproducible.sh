#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Built by different users, in different directories, at different times, from trees whose directories list in
# another order: the same bytes.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

make_agent "$work/kata-agent" -static -s
chmod 0755 "$work/kata-agent"
mkdir -p "$work/tools"
cp -a "$top/rootfs-builder" "$top/image-builder" "$top/initrd" "$work/tools"
chmod -R a+rX "$work/tools"

cat > "$work/build" <<'EOF'
set -euo pipefail
dir=$1 tools=$2
export AGENT_SOURCE_BIN=$3
mkdir -p "$dir"
cd "$dir"
"$tools/rootfs-builder/rootfs.sh" -r "$dir/rootfs" busybox
"$tools/initrd/initrd_builder.sh" -o initrd.gz "$dir/rootfs"
"$tools/image-builder/image_builder.sh" -o ext4.img "$dir/rootfs"
! command -v zstd || "$tools/initrd/initrd_builder.sh" -c zstd -o initrd.zst "$dir/rootfs"
! command -v mkfs.erofs || "$tools/image-builder/image_builder.sh" -f erofs -o erofs.img "$dir/rootfs"
! command -v veritysetup || "$tools/image-builder/image_builder.sh" -m -o verity.img "$dir/rootfs"
EOF
chmod 0644 "$work/build"

check 'here and now' bash "$work/build" "$work/one" "$top" "$work/kata-agent"
mkdir -m 0777 "$work/far"
sleep 1.1
if [[ $(id -u) -eq 0 ]]; then
	# Another user, another umask, another language and time zone.
	check 'as nobody, elsewhere' setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/tmp TZ=Asia/Tokyo LANG=de_DE.UTF-8 \
		bash -c 'umask 077; exec bash "$@"' - "$work/build" "$work/far/a/longer/path" "$work/tools" "$work/kata-agent"
else
	check 'elsewhere' env TZ=Asia/Tokyo bash -c 'umask 077; exec bash "$@"' - "$work/build" "$work/far/a/longer/path" "$work/tools" "$work/kata-agent"
fi

# A copy of the tree, entered in another order, read later.
mkdir -p "$work/shuffled/rootfs"
(cd "$work/one/rootfs" && find . -mindepth 1 | sort -r | tar -cf - --no-recursion -T -) | tar -C "$work/shuffled/rootfs" -xpf -
(cd "$work/shuffled" && touch -h -d @1577836800 rootfs/* rootfs && "$top/initrd/initrd_builder.sh" -o initrd.gz rootfs &&
	"$top/image-builder/image_builder.sh" -o ext4.img rootfs && { ! command -v mkfs.erofs || "$top/image-builder/image_builder.sh" -f erofs -o erofs.img rootfs; }) > "$work/log" 2>&1 ||
	{ why=$(cat "$work/log"); not_ok 'from a copy'; }

is 'rootfs' "$(tree_sum "$work/far/a/longer/path/rootfs")" "$(tree_sum "$work/one/rootfs")"
for f in initrd.gz initrd.zst ext4.img erofs.img verity.img root_hash.txt; do
	[[ -e $work/one/$f ]] || { skip "$f" 'its tool is not installed'; continue; }
	is "$f" "$(sha256sum < "$work/far/a/longer/path/$f")" "$(sha256sum < "$work/one/$f")"
	[[ ! -e $work/shuffled/$f ]] || is "$f from a copy in another order" "$(sha256sum < "$work/shuffled/$f")" "$(sha256sum < "$work/one/$f")"
done
done_testing
