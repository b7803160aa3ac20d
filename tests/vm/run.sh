#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `make run`: boots a guest and runs KATA_CMD in a container in it. Environment: KATA_CMD, ROOT, TRANSPORT,
# PROTOCOL, ACCEL, VM_ARCH, VM_KERNEL, VM_INITRD, VM_ROOTFS (the container's tree), KATA_TERMINAL (non-empty: with a terminal). The exit status is the command's, and
# its output is all there is on standard output.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD:-$top/build}
[[ $build == /* ]] || build=$top/$build

dir=$(mktemp -d /tmp/kata-run.XXXXXX)
finish() {
	"$top/tests/vm/boot.sh" stop --dir "$dir/vm" >/dev/null 2>&1 || true
	rm -rf "$dir"
}
trap finish EXIT

bundle=$dir/share/hello
mkdir -p "$bundle/rootfs"
# The container sees a copy of the guest's busybox tree, without the agent.
cp -a "${VM_ROOTFS:-$build/rootfs}/." "$bundle/rootfs/"
rm -rf "$bundle/rootfs/lib/modules"
rm -f "$bundle/rootfs/usr/bin/kata-agent" "$bundle/rootfs/sbin/init" "$bundle/rootfs/init"
"$build/agent-ctl" spec ${KATA_TERMINAL:+--terminal} --cmd "${KATA_CMD:-uname -a}" >"$bundle/config.json"

case ${ROOT:-initrd} in
initrd) root=(--initrd "${VM_INITRD:-$build/kata-containers-initrd.img}") ;;
verity) root=(--image "$build/kata-containers-verity.img" --verity "$build/root_hash_verity.txt") ;;
erofs) root=(--image "$build/kata-containers-erofs.img" --root blk --fs erofs) ;;
pmem | blk) root=(--image "$build/kata-containers.img" --root "$ROOT") ;;
*)
	echo "ROOT=$ROOT: choose initrd, pmem, blk, verity or erofs" >&2
	exit 2
	;;
esac
transport=${TRANSPORT:-vsock}
arch=${VM_ARCH:-x86_64}
if [[ $transport == vsock && $arch == s390x ]]; then
	echo "run.sh: QEMU has no vsock device for s390x here: using the serial port" >&2
	transport=serial
fi
if [[ $arch == x86_64 && $transport == vsock && ! -w /dev/vhost-vsock ]] &&
	! "${QEMU:-qemu-system-x86_64}" -device help 2>&1 | grep -q vhost-user-vsock-pci; then
	echo "run.sh: no vsock device is to be had here (/dev/vhost-vsock, or vhost-user-vsock in QEMU): using the serial port" >&2
	transport=serial
fi
ms() { echo $(($(date +%s%N) / 1000000)); }
began=$(ms)
"$top/tests/vm/boot.sh" start --dir "$dir/vm" --arch "$arch" ${VM_MEM:+--mem "$VM_MEM"} --kernel "${VM_KERNEL:-$build/kata-vmlinuz}" "${root[@]}" \
	--transport "$transport" --share "$dir/share"
"$top/tests/vm/boot.sh" wait --dir "$dir/vm" --timeout "${VM_TIMEOUT:-60}"
echo "guest: the agent answered $(($(ms) - began)) ms after QEMU was started (${VM_ARCH:+$VM_ARCH, }${ROOT:-initrd}, $transport, ${PROTOCOL:-grpc})" >&2
status=0
"$build/agent-ctl" --addr "$(cat "$dir/vm/address")" --protocol "${PROTOCOL:-grpc}" \
	run ${KATA_TERMINAL:+--terminal} --shared "$dir/share" "$bundle" || status=$?
echo "container: exit status $status" >&2
exit "$status"
