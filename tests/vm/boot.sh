#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Starts, awaits and stops one guest. Everything about it lies in one directory (--dir).
# shellcheck disable=SC2054 # the commas in array elements are QEMU's
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
build=${BUILD:-$top/build}
readonly here top build

agent_ctl=${AGENT_CTL:-$build/agent-ctl}
readonly agent_ctl

# Sockets get up to 22 more characters ("/vsock.sock_4294967295"), and the kernel takes 107.
readonly dir_max=85
readonly probe_seconds=3	# how long a KVM guest may stay silent before we give it up

# What differs from one architecture to another. The early console is QEMU's serial port; s390x and ppc64le have one
# console, the firmware's. arm64 and ppc64le have PCI, s390x channels (ccw).
declare -A qemu_of=([x86_64]=qemu-system-x86_64 [arm64]=qemu-system-aarch64 [ppc64le]=qemu-system-ppc64 [s390x]=qemu-system-s390x)
declare -A machine_of=([x86_64]=q35 [arm64]=virt [ppc64le]=pseries [s390x]=s390-ccw-virtio)
declare -A tcg_cpu_of=([x86_64]=max,-erms,-fsrm [arm64]=max,pauth-impdef=on [ppc64le]=power9 [s390x]=max)
declare -A bus_of=([x86_64]=pci [arm64]=pci [ppc64le]=pci [s390x]=ccw)
declare -A package_of=([x86_64]=qemu-system-x86 [arm64]=qemu-system-arm [ppc64le]=qemu-system-ppc [s390x]=qemu-system-misc)
declare -A early_of=([x86_64]=uart8250,io,0x3f8 [arm64]=pl011,0x9000000)
declare -A words_of=([x86_64]='tsc=reliable no_timer_check rcupdate.rcu_expedited=1 i8042.direct=1 i8042.dumbkbd=1
	i8042.nopnp=1 i8042.noaux=1 noreplace-smp reboot=k console=hvc0 cryptomgr.notests net.ifnames=0 pci=lastbus=0 iommu=off'
	[arm64]='console=hvc0 cryptomgr.notests net.ifnames=0 iommu.passthrough=0'
	[ppc64le]='console=hvc0 cryptomgr.notests net.ifnames=0'
	[s390x]='console=ttysclp0 cryptomgr.notests net.ifnames=0')

usage() {
	cat <<EOF
Usage: ${0##*/} start --dir DIR --kernel KERNEL (--initrd INITRD | --image IMAGE) [option]...
       ${0##*/} wait  --dir DIR [--timeout SECONDS]
       ${0##*/} stop  --dir DIR
       ${0##*/} console|status --dir DIR
       ${0##*/} accel --kernel KERNEL

start    boots a guest in the background, with the devices and the kernel command line that Kata's
         1.x runtime gives it, and returns once QEMU runs. It writes into DIR:
           address       for agent-ctl: hvsock://DIR/vsock.sock:1024, vsock://CID:1024 or, with
                         --transport serial, unix://DIR/agent.sock
           address.serial  with --transport serial: serial://DIR/kata.sock, for one client at a time
                         and while no proxy holds it
           vsock.sock    the guest's vsock ports (CONNECT N); vsock.sock_N if there: its way to us
           kata.sock     the port agent.channel.0, with --transport serial; agent.sock the proxy's
                         socket, each connection to which is a stream of its own on that port
           qmp.sock      QEMU's monitor
           console.log   what the guest printed; console.sock takes input for it
           qemu.pid, qemu.log, qemu.status, backend.*, proxy.*   the processes, their words, how
                         they ended
           control.sock  takes faults for the vsock device (vhost-user-vsock --help)
           started_ms    when QEMU was started, in ms since the epoch
         The guest is ended when the caller of this script ends, unless --watch says otherwise.
wait     returns 0 when the agent answers a Check; 1 when the guest died, 124 when SECONDS (60) are
         over, both with the last lines of its console on standard error.
stop     ends the guest and all that was started with it. Stopping what is not there is fine.
console  prints what the guest has printed.  status: prints and returns whether it runs.
accel    prints kvm or tcg: what 'start' would use, see --accel.

  --arch ARCH                x86_64 (default), arm64, ppc64le or s390x, the last with --transport serial only
  --transport vsock|serial   default vsock: /dev/vhost-vsock where it is usable, else our own device
  --vhost auto|user|kernel   which of these two (default auto)
  --proxy yes|no             with --transport serial: 'agent-ctl proxy' holds the port, as
                             kata-proxy does on a real host (default yes; no if there is no
                             agent-ctl; then DIR/address is the port itself)
  --root pmem|blk            how IMAGE is attached: as NVDIMM with DAX (default) or virtio-blk
  --fs ext4|xfs|erofs        the file system in it (default ext4)
  --verity ROOT_HASH         IMAGE is a measured one (image_builder.sh -m), and this the file root_hash.txt that was
                             written beside it: the kernel gets the hash on its command line
  --share HOSTDIR            export HOSTDIR by 9p, tag kataShared
  --mem SIZE                 default 256M; QEMU's notation
  --cpus N                   default 1
  --icount                   a clock that counts instructions (TCG only): one is a nanosecond
  --hotplug                  room for more: 4 GiB of memory and 4 processors at most, a PCI bridge
                             pci-bridge-0 at slot 2 and a SCSI controller scsi0
  --append 'WORD...'         more kernel command line; may be repeated
  --debug                    a talkative kernel and agent.log=debug instead of 'quiet'
  --accel auto|kvm|tcg       default \$ACCEL or auto: KVM if a guest gives a sign of life under it;
                             the verdict is kept in build/accel/ for this kernel, QEMU and boot
  --cid N                    the guest's CID (default 3; with vhost-vsock one of its own)
  --fault NAME=ARG           a fault for our vsock device to begin with; may be repeated
  --qemu-arg ARG             one more argument for QEMU; may be repeated
  --watch PID|none           end the guest when process PID ends (default: the caller)

Environment: ACCEL, BUILD (default $build), QEMU, AGENT_CTL.
EOF
}

die() { printf 'boot.sh: %s\n' "$*" >&2; exit 1; }
note() { printf 'boot.sh: %s\n' "$*" >&2; }
misuse() { printf 'boot.sh: %s\nTry '\''boot.sh --help'\''.\n' "$*" >&2; exit 2; }

# QEMU splits its option values at commas; a doubled one stands for itself.
quote() { printf '%s' "${1//,/,,}"; }

now_ms() { local t=${EPOCHREALTIME/./}; printf '%s' "${t%???}"; }

# ---- the processes: each has a guard that holds a lock while it lives ----

guards=()

is_running() { # NAME
	[[ -e $dir/$1.lock ]] && ! flock --nonblock --exclusive "$dir/$1.lock" true
}

run_guarded() { # NAME COMMAND...
	local name=$1 watch=()
	shift
	[[ $watched == none ]] || watch=(--watch "$watched")
	# A session of its own: Ctrl-C is for whoever talks to the guest, not for the machine.
	setsid "$build/vm-guard" --dir "$dir" --name "$name" "${watch[@]}" -- "$@" \
		</dev/null >"$dir/$name.log" 2>&1 &
	guards+=($!)
}

# Waits up to SECONDS for the guarded NAME to make a socket; fails at once when it ends first.
await_socket() { # NAME SOCKET SECONDS
	local end=$(($(now_ms) + $3 * 1000))
	while [[ ! -S $2 ]]; do
		[[ ! -e $dir/$1.status ]] && (($(now_ms) < end)) || return 1
		sleep 0.01
	done
}

stop_one() { # NAME
	local signal=TERM end=$(($(now_ms) + 5000))
	while is_running "$1"; do
		# QEMU takes SIGTERM as it does 'quit': it flushes its disks and goes.
		[[ -z $signal ]] || kill "-$signal" "$(<"$dir/$1.lock")" 2>/dev/null || true
		signal=
		(($(now_ms) < end)) || signal=KILL
		sleep 0.02
	done
}

stop_all() {
	stop_one proxy
	stop_one qemu
	stop_one backend
}

give_up() { # 'start' failed or was interrupted; a guard may not yet have its lock
	((${#guards[@]} == 0)) || kill -TERM "${guards[@]}" 2>/dev/null || true
	wait
	stop_all
}

last_words() {
	[[ ! -s $dir/qemu.log ]] || sed 's/^/qemu: /' "$dir/qemu.log" >&2
	[[ ! -s $dir/proxy.log ]] || tail -n 5 "$dir/proxy.log" | sed 's/^/proxy: /' >&2
	[[ ! -s $dir/backend.log ]] || tail -n 5 "$dir/backend.log" | sed 's/^/backend: /' >&2
	if [[ -s $dir/console.log ]]; then
		printf 'boot.sh: the last lines of %s:\n' "$dir/console.log" >&2
		tail -n 25 "$dir/console.log" >&2
	else
		note "the guest has printed nothing"
	fi
}

# ---- acceleration ----

probe_kvm() { # KERNEL; succeeds if a guest under KVM prints anything
	local tmp pid end alive=1
	tmp=$(mktemp -d)
	timeout -k 1 $((probe_seconds + 1)) "$qemu" -nodefaults -no-user-config -no-reboot \
		-display none -machine q35,accel=kvm -cpu host,pmu=off -m 128M \
		-chardev "file,id=c,path=$tmp/console" -device isa-serial,chardev=c \
		-kernel "$1" -append "console=ttyS0 earlycon=${early_of[x86_64]} panic=-1" >/dev/null 2>&1 &
	pid=$!
	end=$(($(now_ms) + probe_seconds * 1000))
	while [[ ! -s $tmp/console ]] && (($(now_ms) < end)) && kill -0 $pid 2>/dev/null; do
		sleep 0.02
	done
	[[ ! -s $tmp/console ]] || alive=0
	kill -TERM $pid 2>/dev/null || true
	wait $pid 2>/dev/null || true
	rm -rf "$tmp"
	return $alive
}

choose_accel() { # KERNEL; prints kvm or tcg
	local key file verdict
	if [[ $arch != x86_64 ]]; then
		echo tcg
		return
	fi
	case $accel in
	kvm | tcg) echo "$accel"; return ;;
	auto) ;;
	*) misuse "--accel $accel: one of auto, kvm, tcg" ;;
	esac
	if [[ ! -r /dev/kvm || ! -w /dev/kvm ]]; then
		echo tcg
		return
	fi
	key=$({ sha256sum <"$1"; "$qemu" --version; cat /proc/sys/kernel/random/boot_id; } |
		sha256sum | cut -c1-16)
	file=$build/accel/$key
	if [[ ! -s $file ]]; then
		if probe_kvm "$1"; then
			verdict=kvm
		else
			verdict=tcg
			note "/dev/kvm is there, but a guest under it gives no sign of life: using TCG (slower);" \
				"set ACCEL=kvm to insist"
		fi
		mkdir -p "$build/accel"
		echo $verdict >"$file.$$"
		mv "$file.$$" "$file"
	fi
	cat "$file"
}

# ---- start ----

kernel='' initrd='' image='' arch=x86_64 root=pmem fs=ext4 verity='' transport=vsock vhost=auto proxy=yes share='' mem=256M cpus=1
hotplug='' icount='' debug='' accel=${ACCEL:-auto} cid='' watched=$PPID
append=() qemu_args=() faults=()

check_start() {
	local f
	command -v "$qemu" >/dev/null ||
		die "$qemu is not installed: run 'make deps', or 'apt-get install ${package_of[$arch]}'"
	[[ -n $kernel ]] || misuse "start needs --kernel"
	[[ -r $kernel ]] || die "kernel '$kernel' cannot be read; kernel-config/build-kernel.sh makes one"
	[[ -n $initrd || -n $image ]] || misuse "start needs --initrd or --image"
	[[ -z $initrd || -z $image ]] || misuse "--initrd and --image exclude each other"
	[[ -z $initrd || -r $initrd ]] ||
		die "initrd '$initrd' cannot be read; initrd/initrd_builder.sh makes one"
	[[ -z $image || -r $image ]] ||
		die "image '$image' cannot be read; image-builder/image_builder.sh makes one"
	[[ -z $share || -d $share ]] || die "--share $share: no such directory"
	[[ -z $image && -z $hotplug || $arch == x86_64 ]] || misuse "--image, --hotplug: with x86_64 only"
	[[ $transport == serial || $arch != s390x ]] || misuse "--arch s390x: QEMU has no vsock device of the user space's there: --transport serial"
	[[ $root == pmem || $root == blk ]] || misuse "--root $root: one of pmem, blk"
	[[ $fs == ext4 || $fs == xfs || $fs == erofs ]] || misuse "--fs $fs: one of ext4, xfs, erofs"
	[[ -z $verity || -r $verity ]] || die "root hash '$verity' cannot be read; image-builder/image_builder.sh -m makes one"
	[[ $transport == vsock || $transport == serial ]] ||
		misuse "--transport $transport: one of vsock, serial"
	[[ $vhost == auto || $vhost == user || $vhost == kernel ]] ||
		misuse "--vhost $vhost: one of auto, user, kernel"
	[[ $proxy == yes || $proxy == no ]] || misuse "--proxy $proxy: one of yes, no"
	[[ $cpus =~ ^[1-9][0-9]*$ ]] || misuse "--cpus $cpus: a number"
	((${#dir} <= dir_max)) || die "--dir $dir: longer than $dir_max characters, too long for sockets"
	for f in vm-guard vhost-user-vsock; do
		[[ -x $build/$f ]] || die "$build/$f is missing: run 'make build/$f'"
	done
	! is_running qemu || die "a guest runs in '$dir' already; stop it with: $0 stop --dir $dir"
}

# A number of bytes from QEMU's notation, where a plain number means MiB.
bytes() {
	local n=${1%[KkMmGgTt]}
	[[ $n =~ ^[0-9]+$ ]] || misuse "--mem $1: a number with K, M, G or T"
	case $1 in
	*[Kk]) echo $((n << 10)) ;;
	*[Gg]) echo $((n << 30)) ;;
	*[Tt]) echo $((n << 40)) ;;
	*) echo $((n << 20)) ;;
	esac
}

# These add to what start() assembles: args, cmdline, machine, slots, max_mem, address.

image_args() {
	local size part flags=''
	[[ -n $image ]] || return 0
	if [[ $root == blk ]]; then
		part=/dev/vda
		args+=(-drive "if=none,id=image,format=raw,readonly=on,file=$(quote "$image")"
			-device virtio-blk-pci,drive=image,serial=image)
	else
		size=$(stat -Lc %s "$image")
		((size > 0 && size % (2 << 20) == 0)) ||
			die "image '$image': $size bytes are not a multiple of 2 MiB, as an NVDIMM must be"
		machine+=,nvdimm=on
		slots=$((slots + 1))
		max_mem=$((max_mem + size))
		args+=(-object "memory-backend-file,id=nv0mem,share=on,readonly=on,size=$size,mem-path=$(quote "$image")"
			-device nvdimm,id=nv0,memdev=nv0mem,unarmed=on)
		part=/dev/pmem0p
		# What is read through dm-verity can't be mapped past it.
		[[ -n $verity ]] || flags=dax
	fi
	[[ $fs != ext4 ]] || flags+=${flags:+,}data=ordered,errors=remount-ro
	if [[ -n $verity ]]; then
		cmdline+=("$(verity_table "$part")" root=/dev/dm-0)
	else
		cmdline+=("root=${part}1")
	fi
	cmdline+=(${flags:+"rootflags=$flags"} ro "rootfstype=$fs")
}

# The kernel's word for a device of dm-verity over the first partition, with its tree in the second. Without the panic a
# kernel that can't read /sbin/init goes on to /bin/sh.
verity_table() { # DEVICE, to which the partition's number is added
	local word root_hash='' salt='' data_blocks='' data_block_size=4096 hash_block_size=4096
	local -a words
	IFS=, read -r -a words <"$verity"
	for word in "${words[@]}"; do
		case $word in
		root_hash=* | salt=* | data_blocks=* | data_block_size=* | hash_block_size=*) declare "$word" ;;
		esac
	done
	[[ -n $root_hash && -n $salt && -n $data_blocks ]] || die "$verity: no root_hash=, salt= and data_blocks= in it"
	printf 'dm-mod.create="dm-verity,,,ro,0 %s verity 1 %s1 %s2 %s %s %s 0 sha256 %s %s 1 panic_on_corruption"' $((data_blocks * data_block_size / 512)) \
		"$1" "$1" "$data_block_size" "$hash_block_size" "$data_blocks" "$root_hash" "$salt"
}

transport_args() {
	if [[ $transport == serial ]]; then
		args+=(-chardev "socket,id=charch0,path=$(quote "$dir")/kata.sock,server=on,wait=off"
			-device virtserialport,chardev=charch0,id=channel0,name=agent.channel.0)
		address=serial://$dir/kata.sock
		[[ -x $agent_ctl ]] || proxy=no
		return
	fi
	if [[ $vhost == auto ]]; then
		vhost=user
		[[ ! -r /dev/vhost-vsock || ! -w /dev/vhost-vsock ]] || vhost=kernel
	fi
	if [[ $vhost == kernel ]]; then
		: "${cid:=$((1000 + $$))}"
		args+=(-device "vhost-vsock-pci,id=vsock-$cid,guest-cid=$cid")
		address=vsock://$cid:1024
		return
	fi
	: "${cid:=3}"
	# The device's other half is another process, which needs to see the guest's memory.
	args+=(-object "memory-backend-memfd,id=mem0,size=$mem_bytes,share=on"
		-chardev "socket,id=vsock,path=$(quote "$dir")/vhost.sock"
		-device vhost-user-vsock-pci,chardev=vsock)
	machine+=,memory-backend=mem0
	address=hvsock://$dir/vsock.sock:1024
}

console_args() {
	args+=(-device "virtio-serial-$bus,id=serial0,max_ports=2")
	# The early console's words go where the later one's do: one file, both append.
	case $arch in
	x86_64) args+=(-chardev "file,id=early,path=$(quote "$dir")/console.log,append=on" -device isa-serial,chardev=early) ;;
	arm64) args+=(-chardev "file,id=early,path=$(quote "$dir")/console.log,append=on" -serial chardev:early) ;;
	esac
	args+=(-chardev "socket,id=charconsole0,path=$(quote "$dir")/console.sock,server=on,wait=off,logfile=$(quote "$dir")/console.log,logappend=on")
	case $arch in
	ppc64le) args+=(-device spapr-vty,chardev=charconsole0) ;;
	s390x) args+=(-device sclpconsole,chardev=charconsole0) ;;
	*) args+=(-device virtconsole,chardev=charconsole0,id=console0) ;;
	esac
}

accel_args() {
	if [[ $(choose_accel "$kernel") == kvm ]]; then
		args+=(-cpu "host,pmu=off")
		machine+=,accel=kvm,kernel_irqchip=on
	else
		# With several vCPUs at a time, TCG now and then loses a race with the kernel's patching of
		# its own code (an oops at an int3): then they take turns.
		args+=(-accel "tcg,thread=$( ((max_cpus > 1)) || [[ -n $icount ]] && echo single || echo multi)" -cpu "${tcg_cpu_of[$arch]}")
		# Time is what has been executed, an instruction a nanosecond, however busy this machine is.
		[[ -z $icount ]] || args+=(-icount shift=0,sleep=on)
	fi
}

hotplug_args() {
	[[ -n $hotplug ]] || return 0
	((cpus > 4)) || max_cpus=4
	slots=10
	max_mem=$((max_mem + (4 << 30)))
	# The agent finds hot-plugged devices by their path: the bridge's slot is part of it.
	args+=(-device "pci-bridge,bus=pcie.0,id=pci-bridge-0,chassis_nr=1,shpc=on,addr=2,romfile="
		-device virtio-scsi-pci,id=scsi0)
}

kernel_words() { # after those of the image
	local vsock=false
	[[ $transport != vsock ]] || vsock=true
	if [[ -n $debug ]]; then
		cmdline+=(debug ${image:+systemd.show_status=true systemd.log_level=debug})
	else
		cmdline+=(quiet ${image:+systemd.show_status=false})
	fi
	cmdline+=(panic=1 "nr_cpus=$max_cpus" "agent.use_vsock=$vsock")
	[[ -z $image ]] || cmdline+=(systemd.unit=kata-containers.target
		systemd.mask=systemd-networkd.service systemd.mask=systemd-networkd.socket)
	[[ -z $debug ]] || cmdline+=(agent.log=debug)
	cmdline+=("${append[@]}")
}

start_backend() {
	local f extra=()
	[[ $transport == vsock && $vhost == user ]] || return 0
	for f in "${faults[@]}"; do
		extra+=(--fault "$f")
	done
	run_guarded backend "$build/vhost-user-vsock" --socket "$dir/vhost.sock" \
		--uds "$dir/vsock.sock" --control "$dir/control.sock" --cid "$cid" "${extra[@]}"
	await_socket backend "$dir/vhost.sock" 5 && return
	cat "$dir/backend.log" >&2
	die "the vsock device did not start"
}

# The proxy waits for the agent itself; who connects to it before is kept waiting.
start_proxy() {
	[[ $transport == serial ]] || return 0
	printf '%s\n' "$address" >"$dir/address.serial"
	[[ $proxy == yes ]] || return 0
	run_guarded proxy "$agent_ctl" --verbose proxy --addr "$address" --listen "unix://$dir/agent.sock"
	address=unix://$dir/agent.sock
	await_socket proxy "$dir/agent.sock" 5 && return
	cat "$dir/proxy.log" >&2
	die "the proxy did not start"
}

start() {
	local machine=${machine_of[$arch]} bus=${bus_of[$arch]} args=() cmdline=() address='' slots=0 max_mem max_cpus=$cpus mem_bytes
	local memory

	check_start
	mkdir -p "$dir"
	stop_one proxy
	stop_one backend
	(cd "$dir" && rm -f -- *.sock vsock.sock_* ./*.log ./*.status ./*.pid address address.serial \
		started_ms)
	mem_bytes=$(bytes "$mem")
	max_mem=$mem_bytes

	args+=(-name kata-test -nodefaults -no-user-config -no-reboot -display none -vga none)
	# The runtime names hvc1 as well, after hvc0. The one named last ends the early console when
	# it comes up, and hvc1 never does: every line would be there twice.
	read -r -d '' -a cmdline <<<"${words_of[$arch]}" || true
	[[ -z ${early_of[$arch]:-} ]] || cmdline+=("earlycon=${early_of[$arch]}")
	hotplug_args
	accel_args
	console_args
	image_args
	transport_args
	kernel_words
	# As the 1.x runtime has it; who asks for the IOMMU can't take it back.
	[[ " ${cmdline[*]} " != *" intel_iommu=on "* ]] || cmdline=("${cmdline[@]/#iommu=off/}")
	args+=(-object rng-random,id=rng0,filename=/dev/urandom -device "virtio-rng-$bus,rng=rng0"
		-qmp "unix:$(quote "$dir")/qmp.sock,server=on,wait=off")
	[[ -z $share ]] || args+=(
		-fsdev "local,id=extra-9p-kataShared,path=$(quote "$(realpath "$share")"),security_model=none,multidevs=remap"
		-device "virtio-9p-$bus,id=virtio-9p-kataShared,fsdev=extra-9p-kataShared,mount_tag=kataShared")
	memory=size=$((mem_bytes >> 10))K
	((slots == 0)) || memory+=,slots=$slots,maxmem=$((max_mem >> 10))K
	args+=(-m "$memory" -smp "$cpus,maxcpus=$max_cpus" -machine "$machine" -kernel "$kernel")
	[[ -z $initrd ]] || args+=(-initrd "$initrd")

	trap give_up EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	start_backend
	now_ms >"$dir/started_ms"
	run_guarded qemu "$qemu" "${args[@]}" -append "${cmdline[*]}" "${qemu_args[@]}"
	if ! await_socket qemu "$dir/qmp.sock" 10; then
		cat "$dir/qemu.log" >&2
		die "QEMU did not start; what it said is above, and its arguments were: ${args[*]}"
	fi
	start_proxy
	printf '%s\n' "$address" >"$dir/address"
	trap - EXIT INT TERM
}

# ---- the other commands ----

await_agent() {
	local end
	[[ -s $dir/address ]] || die "no guest was started in '$dir'"
	[[ -x $agent_ctl ]] || die "$agent_ctl is missing: run 'make build/agent-ctl'"
	end=$(($(now_ms) + timeout * 1000))
	until timeout 10 "$agent_ctl" --addr "$(<"$dir/address")" check >"$dir/check.log" 2>&1; do
		if ! is_running qemu; then
			note "the guest ended before its agent answered" \
				"(QEMU: $(cat "$dir/qemu.status" 2>/dev/null || echo killed))"
			last_words
			exit 1
		fi
		if (($(now_ms) > end)); then
			note "no answer from the agent in $timeout s;" \
				"agent-ctl says: $(tail -n 2 "$dir/check.log")"
			last_words
			exit 124
		fi
		sleep 0.01
	done
}

status() {
	if is_running qemu; then
		echo "running, pid $(cat "$dir/qemu.pid" 2>/dev/null || echo '?')," \
			"$(cat "$dir/address" 2>/dev/null || echo starting)"
	else
		echo "not running$([[ ! -s $dir/qemu.status ]] || echo " ($(<"$dir/qemu.status"))")"
		return 3
	fi
}

command=${1:-}
case $command in
start | wait | stop | console | status | accel) shift ;;
-h | --help | help) usage; exit 0 ;;
'') usage >&2; exit 2 ;;
*) misuse "unknown command '$command'" ;;
esac

dir='' timeout=60
while (($# > 0)); do
	opt=$1
	case $opt in
	--help | -h) usage; exit 0 ;;
	--hotplug) hotplug=1; shift; continue ;;
	--icount) icount=1; shift; continue ;;
	--debug) debug=1; shift; continue ;;
	esac
	(($# > 1)) || misuse "$opt: unknown, or its value is missing"
	case $opt in
	--dir) dir=$2 ;;
	--timeout) timeout=$2 ;;
	--kernel) kernel=$2 ;;
	--initrd) initrd=$2 ;;
	--image) image=$2 ;;
	--arch) arch=$2 ;;
	--root) root=$2 ;;
	--fs) fs=$2 ;;
	--verity) verity=$2 ;;
	--transport) transport=$2 ;;
	--vhost) vhost=$2 ;;
	--proxy) proxy=$2 ;;
	--share) share=$2 ;;
	--mem) mem=$2 ;;
	--cpus) cpus=$2 ;;
	--append) append+=("$2") ;;
	--accel) accel=$2 ;;
	--cid) cid=$2 ;;
	--fault) faults+=("$2") ;;
	--qemu-arg) qemu_args+=("$2") ;;
	--watch) watched=$2 ;;
	*) misuse "unknown option '$opt'" ;;
	esac
	shift 2
done

[[ -n ${qemu_of[$arch]:-} ]] || misuse "--arch $arch: one of x86_64, arm64, ppc64le, s390x"
qemu=${QEMU:-${qemu_of[$arch]}}
if [[ $command == accel ]]; then
	[[ -r $kernel ]] || misuse "accel needs a readable --kernel"
	choose_accel "$kernel"
	exit
fi
[[ -n $dir ]] || misuse "$command needs --dir"
dir=$(realpath -m "$dir")

case $command in
start) start ;;
wait) await_agent ;;
stop) stop_all ;;
console) cat "$dir/console.log" ;;
status) status ;;
esac
