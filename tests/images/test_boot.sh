#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Boots each kind of root in QEMU (TCG) with a small program in the agent's place, which says what it finds.
# VM_KERNEL names the guest kernel (default build/kata-vmlinuz). ACCEL: what QEMU runs it with (tcg).
set -euo pipefail
source "$(dirname "$0")/lib.sh"

kernel=${VM_KERNEL:-$top/build/kata-vmlinuz}
accel=${ACCEL:-tcg,thread=multi}
if [[ ! -e $kernel ]]; then
	skip_all "no guest kernel at $kernel: kernel-config/build-kernel.sh build"
fi
if ! command -v qemu-system-x86_64 > /dev/null; then
	skip_all "qemu-system-x86_64 is not installed (package qemu-system-x86)"
fi

make_agent "$work/kata-agent" -static -s
export AGENT_SOURCE_BIN=$work/kata-agent
export KATA_EXTRAS=none
root=$work/rootfs
"$rootfs_sh" -r "$root" busybox > /dev/null
"$image_sh" -a 2 -o "$work/ext4.img" "$root" > /dev/null
# What the 1.x runtime puts before anything else.
readonly runtime='tsc=reliable no_timer_check rcupdate.rcu_expedited=1 i8042.direct=1 i8042.dumbkbd=1 i8042.nopnp=1 i8042.noaux=1 noreplace-smp reboot=k cryptomgr.notests net.ifnames=0 pci=lastbus=0 iommu=off panic=1 nr_cpus=2'

log=$work/console
qemu() {	# COMMAND_LINE QEMU_ARGUMENTS...
	local line=$1
	shift
	timeout 150 qemu-system-x86_64 -accel "$accel" -cpu max -display none -serial "file:$log.raw" -no-reboot -nodefaults \
		-kernel "$kernel" -append "console=ttyS0 $line" "$@" < /dev/null > "$work/qemu" 2>&1 || cat "$work/qemu" >> "$log.raw"
	tr -d '\r' < "$log.raw" > "$log"
}

nvdimm() {	# IMAGE COMMAND_LINE
	qemu "$runtime $2" -M pc,nvdimm=on -m 128M,slots=2,maxmem=1G -device nvdimm,id=nv0,memdev=mem0 \
		-object "memory-backend-file,id=mem0,mem-path=$1,size=$(stat -c %s "$1")"
}

disk() {	# IMAGE COMMAND_LINE
	qemu "$runtime $2" -M q35 -m 128M -drive "file=$1,format=raw,if=virtio,readonly=on"
}

initrd() { qemu "$runtime quiet ${2:-}" -M "${machine:-q35}" -m "${memory:-128M}" -initrd "$1"; }

# came_up NAME: did PID 1 run to its end? Else the console's last lines say why not.
came_up() {
	if grep -q '^INIT done' "$log"; then
		ok "$1"
	else
		why=$(tail -n 15 "$log")
		not_ok "$1"
	fi
}

root_mount() { awk '$2 == "/" && $1 != "rootfs" { print $3 " " $4 }' "$log" | head -n 1; }
has_option() { [[ ",${2#* }," == *",$1,"* ]]; }

# --- NVDIMM, the 1.x command line
readonly pmem='root=/dev/pmem0p1 rootflags=dax,data=ordered,errors=remount-ro ro rootfstype=ext4'
nvdimm "$work/ext4.img" "$pmem init=/usr/bin/kata-agent"
came_up 'nvdimm with DAX, agent named as init'
mount=$(root_mount)
is 'root is ext4' "${mount%% *}" ext4
check "DAX is on ($mount)" has_option dax=always "$mount"
check 'root is read-only' has_option ro "$mount"
check 'the kernel says so: pmem0 has the partition, mounted with ordered data' grep -q 'EXT4-fs (pmem0p1): mounted filesystem with ordered data mode' "$log"
is 'agent named as it was asked for' "$(sed -n 's/^INIT argv0=\([^ ]*\).*/\1/p' "$log")" /usr/bin/kata-agent

nvdimm "$work/ext4.img" "quiet $pmem"
came_up 'without init=: /sbin/init'
nvdimm "$work/ext4.img" "quiet $pmem init=/usr/lib/systemd/systemd systemd.unit=kata-containers.target systemd.mask=systemd-networkd.service systemd.mask=systemd-networkd.socket ip=::::::0123456789abcdef::off:: agent.log=debug agent.sandbox=0123456789abcdef"
came_up 'the command line of 2018, which asks for systemd'
is 'the link leads to the agent' "$(sed -n 's/^INIT argv0=\([^ ]*\).*/\1/p' "$log")" /usr/lib/systemd/systemd

# --- the header's job, seen from its absence
cp "$work/ext4.img" "$work/broken.img"
printf '\000' | dd of="$work/broken.img" bs=1 seek=$((4096 + 4088)) conv=notrunc status=none
nvdimm "$work/broken.img" "$pmem"
check 'with a wrong checksum the kernel refuses DAX' grep -q 'DAX unsupported by block device' "$log"
nvdimm "$work/broken.img" "quiet ${pmem/dax,/}"
came_up 'but takes it as a plain disk, by the first partition table'

# --- memory plugged in above the NVDIMM needs the 128 MiB grid
if command -v python3 > /dev/null; then
	cat > "$work/hotadd.py" <<'EOF'
import json, os, socket, subprocess, sys, time
image, kernel, log, accel, line = sys.argv[1:6]
sock = log + ".qmp"
size = str(os.stat(image).st_size)
vm = subprocess.Popen(["qemu-system-x86_64", "-accel", accel, "-cpu", "max", "-display", "none", "-serial", "file:" + log,
    "-no-reboot", "-nodefaults", "-M", "pc,nvdimm=on", "-m", "128M,slots=2,maxmem=2G", "-device", "nvdimm,id=nv0,memdev=mem0",
    "-object", "memory-backend-file,id=mem0,mem-path=" + image + ",size=" + size, "-kernel", kernel,
    "-append", line, "-qmp", "unix:" + sock + ",server=on,wait=off"])
try:
    def wait_for(seconds, *texts):
        end = time.time() + seconds
        while time.time() < end and vm.poll() is None:
            said = open(log, errors="replace").read() if os.path.exists(log) else ""
            if any(t in said for t in texts):
                return True
            time.sleep(0.2)
        return False
    if wait_for(100, "INIT done"):
        q = socket.socket(socket.AF_UNIX)
        q.connect(sock)
        f = q.makefile("rw")
        f.readline()
        for c in ({"execute": "qmp_capabilities"},
                  {"execute": "object-add", "arguments": {"qom-type": "memory-backend-ram", "id": "m1", "size": 128 << 20}},
                  {"execute": "device_add", "arguments": {"driver": "pc-dimm", "id": "d1", "memdev": "m1"}}):
            f.write(json.dumps(c) + "\n")
            f.flush()
            f.readline()
        wait_for(30, "MEM grew", "add_memory failed", "unaligned hotplug")
finally:
    vm.kill()
    vm.wait()
EOF
	hotadd() {	# IMAGE
		rm -f "$log.raw"
		timeout 160 python3 "$work/hotadd.py" "$1" "$kernel" "$log.raw" "$accel" "console=ttyS0 $runtime $pmem init=/usr/bin/kata-agent -- wait" > "$work/qemu" 2>&1 || :
		tr -d '\r' < "$log.raw" > "$log"
	}
	"$image_sh" -o "$work/128.img" "$root" > /dev/null
	hotadd "$work/128.img"
	came_up 'an image as it is by default'
	check 'lets memory be plugged in above it' grep -q '^MEM grew' "$log"
	hotadd "$work/ext4.img"
	check 'a small one does not (which is why 128 MiB is the default)' grep -q -E 'unaligned hotplug|add_memory failed' "$log"
else
	skip 'memory hot-plug' 'python3 is not installed'
fi

# --- disk
readonly vda='ro rootfstype=ext4 rootflags=data=ordered,errors=remount-ro'
disk "$work/ext4.img" "quiet root=/dev/vda1 $vda"
came_up 'virtio-blk, by the first partition table'
"$image_sh" -x -o "$work/plain.img" "$root" > /dev/null
disk "$work/plain.img" "quiet root=/dev/vda1 $vda"
came_up 'virtio-blk, image without header'
qemu "$runtime quiet root=/dev/sda1 $vda" -M q35 -m 128M -device virtio-scsi-pci -drive "file=$work/ext4.img,format=raw,if=none,id=d0,readonly=on" -device scsi-hd,drive=d0
came_up 'virtio-scsi'
qemu "quiet panic=1 root=/dev/vda1 $vda" -M microvm,acpi=off,rtc=on -m 128M -drive "file=$work/ext4.img,format=raw,if=none,id=d0,readonly=on" -device virtio-blk-device,drive=d0
came_up 'microvm, virtio-mmio named on the command line'

# --- other file systems
if command -v mkfs.erofs > /dev/null; then
	"$image_sh" -f erofs -o "$work/erofs.img" "$root" > /dev/null
	nvdimm "$work/erofs.img" 'quiet root=/dev/pmem0p1 rootflags=dax ro rootfstype=erofs'
	came_up 'erofs on nvdimm'
	check 'erofs with DAX' has_option dax=always "$(root_mount)"
	EROFS_COMPRESSION=lz4hc "$image_sh" -f erofs -o "$work/erofs.img" "$root" > /dev/null
	disk "$work/erofs.img" 'quiet root=/dev/vda1 ro rootfstype=erofs'
	came_up 'erofs, compressed, as a disk'
else
	skip erofs 'mkfs.erofs is not installed'
fi
if command -v mkfs.xfs > /dev/null; then
	"$image_sh" -f xfs -o "$work/xfs.img" "$root" > /dev/null
	nvdimm "$work/xfs.img" 'quiet root=/dev/pmem0p1 rootflags=dax ro rootfstype=xfs'
	came_up 'xfs on nvdimm'
	check 'xfs with DAX' has_option dax=always "$(root_mount)"
else
	skip xfs 'mkfs.xfs is not installed'
fi
if command -v veritysetup > /dev/null; then
	"$image_sh" -m -o "$work/verity.img" "$root" > "$work/out"
	line=$(sed -n 's/^INFO: \(dm-mod.create=.*\)$/\1/p' "$work/out")
	disk "$work/verity.img" "quiet rootflags=data=ordered,errors=remount-ro ${line//pmem0p/vda}"
	came_up 'measured root'
	# A byte of the agent changes on the host.
	at=$(grep -a -b -o -m 1 'kata-agent version' "$work/verity.img" | head -n 1 | cut -d : -f 1)
	printf 'X' | dd of="$work/verity.img" bs=1 seek="$at" conv=notrunc status=none
	disk "$work/verity.img" "rootflags=data=ordered,errors=remount-ro ${line//pmem0p/vda}"
	check 'a changed byte is noticed' grep -q 'device-mapper: verity: .*is corrupted' "$log"
	check 'and what it is in does not run' not grep -q '^INIT done' "$log"
else
	skip 'measured root' 'veritysetup is not installed'
fi

# --- initrd
for how in gzip zstd none; do
	if [[ $how == zstd ]] && ! command -v zstd > /dev/null; then
		skip 'initrd, zstd' 'zstd is not installed'
		continue
	fi
	"$initrd_sh" -c "$how" -o "$work/initrd.$how" "$root" > /dev/null
	initrd "$work/initrd.$how"
	came_up "initrd, $how"
done
( cd "$root" && find . | cpio -H newc -o --quiet | gzip -9 ) > "$work/typed"
initrd "$work/typed"
came_up 'initrd as users type it: find | cpio | gzip'
machine=pc initrd "$work/initrd.gzip"
came_up 'initrd on machine pc'
memory=64M initrd "$work/initrd.gzip"
came_up 'initrd in 64 MiB of memory'

# --- what the kernel offers
missing=
for f in proc sysfs tmpfs devtmpfs devpts mqueue hugetlbfs cgroup cgroup2 bpf ext4 xfs erofs overlay fuse virtiofs 9p binfmt_misc; do
	grep -q -E "^(nodev)?	$f\$" "$log" || missing+=" $f"
done
is 'file systems' "$missing" ''
missing=
for c in cpuset cpu cpuacct blkio memory devices freezer net_cls net_prio hugetlb pids; do
	grep -q -E "^$c	.*	1\$" "$log" || missing+=" $c"
done
is 'cgroup controllers' "$missing" ''
done_testing
