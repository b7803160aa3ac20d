# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154,SC2034,SC2086,SC2016	# sourced by ../test_rootfs.sh
# Masked and read-only paths, read-only root, sysctls, entering, cgroups.

MASKS=(mask\ /proc/keys mask\ /proc/acpi mask\ /proc/timer_list mask\ /sys/firmware mask\ /proc/nothere
	'mask /sys/kernel' 'mask /etc/secret' 'mask /etc/secrets')
SYS='mount /sys|sysfs|sysfs|nosuid,noexec,nodev,ro'
for mode in '' userns; do
	name=${mode:-pivot}
	fresh
	echo secret >c/rootfs/etc/secret
	mkdir c/rootfs/etc/secrets
	echo secret >c/rootfs/etc/secrets/one
	modes=()
	for m in $mode; do modes+=("$m"); done
	spec "$PROC" "$DEV" "$PTS" "$SYS" netns "${modes[@]}" "${MASKS[@]}" \
		"rdonly /proc/sys" "rdonly /proc/irq" "rdonly /proc/nothere" "rdonly /vol" "rdonly /etc/hostname"
	echo host >c/rootfs/etc/hostname
	gives "$name: masked files are empty, masked directories too" \
		'cat /proc/keys /etc/secret; ls /etc/secrets /sys/firmware /sys/kernel | grep -v :; stat -c "%t:%T" /proc/keys /etc/secret' \
		$'\n\n1:3\n1:3'
	gives "$name: a masked directory can't be written" 'touch /etc/secrets/x 2>/dev/null || echo ro' ro
	gives "$name: a mask's mode can't be changed" 'chmod 777 /proc/keys 2>/dev/null || echo ro' ro
	gives "$name: read-only paths" \
		'for f in /proc/sys/kernel/shmmax /vol/x /etc/hostname; do (echo 1 >$f) 2>/dev/null || echo ro; done; touch /etc/other && echo rw' \
		$'ro\nro\nro\nrw'
	gives "$name: the guest's root is gone" \
		"ls -d $work 2>/dev/null; ls / | tr '\n' ' '; cd ..; ls -d $work 2>/dev/null; awk '{print \$5}' /proc/self/mountinfo | grep -c '^$work'; true" \
		'bin data dev etc proc run sys tmp var vol 0'
done

fresh
spec "$PROC" "$DEV" readonly
gives "read-only root, the mounts in it are not" \
	'touch /x 2>/dev/null || echo ro; touch /dev/shmfile && echo rw' $'ro\nrw'
result "$(touch c/rootfs/x && echo 0 || echo 1)" "the image itself stays writable for the guest"

# --- without a mount namespace: a chroot ---
fresh
spec nomnt
gives "chroot" 'ls -d /bin; ls -d '"$work"' 2>/dev/null; readlink /proc/self; echo done' $'/bin\ndone'

# --- hooks between prepare and enter see the guest and the mounts ---
fresh
rm -f hook.out
spec "$PROC" "$DEV" "hook test -c $work/c/rootfs/dev/null && test -d $work/base && echo seen >$work/hook.out"
run true
result "$([ "$(cat hook.out)" = seen ] && echo 0 || echo 1)" "hooks see the guest's root and the mounts" "$out"

# --- sysctls ---
before=$(cat /proc/sys/kernel/shmmax /proc/sys/fs/mqueue/queues_max /proc/sys/net/ipv4/ip_forward)
spec "mount /proc|proc|proc|ro" netns "sysctl kernel.shmmax 123456" "sysctl fs.mqueue.queues_max 77" \
	"sysctl net.ipv4.ip_forward 1" "sysctl net/ipv4/conf/lo/forwarding 1" "sysctl kernel.sem 10 320 30 8" \
	"sysctl kernel.domainname example" "rdonly /proc/sys"
gives "sysctls of the container's namespaces, /proc/sys read-only for it" \
	'cat /proc/sys/kernel/shmmax /proc/sys/fs/mqueue/queues_max /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/sem /proc/sys/kernel/domainname' \
	$'123456\n77\n1\n10\t320\t30\t8\nexample'
result "$([ "$before" = "$(cat /proc/sys/kernel/shmmax /proc/sys/fs/mqueue/queues_max /proc/sys/net/ipv4/ip_forward)" ] && echo 0 || echo 1)" \
	"the guest's own are as before"
spec "$PROC" "sysctl fs.mqueue.nothere 1"
refused "a sysctl that doesn't exist" 73 "sysctl 'fs.mqueue.nothere': No such file"
spec "$PROC" "sysctl kernel.shmmax lots"
refused "a value that the kernel refuses" 73 "sysctl 'kernel.shmmax' = 'lots': Invalid"

# --- propagation of the root ---
while read -r prop want; do
	fresh
	spec "$PROC" "prop $prop"
	gives "rootfsPropagation $prop" "$(tags_of /)" "[${want:+$want }]"
done <<'TABLE'
private
rprivate
slave
rslave
shared shared
rshared shared
unbindable unbindable
runbindable unbindable
TABLE
mkdir -p src
mount -t tmpfs src src
mount --make-shared src
mkdir -p src/sub
fresh
spec "$PROC" "$DEV" "prop rshared" "mount /vol|bind|$work/src|rbind,rshared" "mount /data|bind|$work/src|rbind,rslave" \
	"mount /var|bind|$work/src|rbind,rprivate"
gives "rshared root: each mount keeps what it asked for" "$(tags_of /vol); $(tags_of /data); $(tags_of /var); $(tags_of /dev)" \
	$'[shared ]\n[master ]\n[]\n[shared ]'
run 'mount -t tmpfs t /vol/sub'
result "$(grep -q " $work/src/sub " /proc/self/mountinfo && echo 0 || echo 1)" "a mount in an rshared volume reaches the guest" "$out"
umount src/sub 2>/dev/null || true
mount -t tmpfs sub src/sub
for prop in shared rshared slave rslave unbindable runbindable; do
	spec "$PROC" "$DEV" "prop $prop" "mount /vol|bind|$work/src|rbind,rshared"
	run true
	result "$([ "$status" = 0 ] && mountpoint -q src && mountpoint -q src/sub && ! grep -q " $work/c" /proc/self/mountinfo && echo 0 || echo 1)" \
		"leaving with propagation $prop unmounts nothing in the guest" "$out"
	mountpoint -q src/sub || mount -t tmpfs sub src/sub
done
umount src/sub src
# the root on a mount that is shared with the guest
fresh
mount --bind c c
mount --make-shared c
for prop in '' shared rshared slave rslave unbindable; do
	spec "$PROC" "$DEV" ${prop:+"prop $prop"}
	run true
	result "$([ "$status" = 0 ] && ! grep -q " $work/c/" /proc/self/mountinfo && echo 0 || echo 1)" \
		"root on a shared mount, propagation '${prop}'" "$out"
done
umount c

# --- cgroups ---
SYS='mount /sys|sysfs|sysfs|nosuid,noexec,nodev,ro'
LOOK='mkdir /sys/fs/cgroup/x 2>/dev/null || echo ro; cat /proc/self/cgroup | tail -n 1; ls /sys/fs/cgroup/inner/cgroup.procs'
fresh
if (mkdir -p v2 && mount -t cgroup2 none v2) 2>/dev/null; then
	# Version 2, over whatever the guest has: we are in a namespace of our own.
	mount --move v2 /sys/fs/cgroup
	cg=/sys/fs/cgroup/rootfs-test
	mkdir -p $cg/inner
	for ns in '' cgroupns; do
		spec "$PROC" "$DEV" "$SYS" "mount /sys/fs/cgroup|cgroup|cgroup|nosuid,noexec,nodev,relatime,ro" $ns
		out=$(sh -c "echo \$\$ >$cg/cgroup.procs && exec $driver run c.spec /bin/sh -c '$LOOK'" 2>&1) || true
		want=0::/rootfs-test
		[ -z "$ns" ] || want=0::/
		result "$([ "$out" = "ro
$want
/sys/fs/cgroup/inner/cgroup.procs" ] && echo 0 || echo 1)" "cgroup v2${ns:+ with a namespace}: our own cgroup is the top, read-only" "$out"
	done
	spec "$PROC" "$DEV" "$SYS" "mount /sys/fs/cgroup|cgroup|cgroup|nosuid"
	gives "cgroup v2, in the root cgroup, writable" 'mkdir /sys/fs/cgroup/rootfs-test/x && rmdir /sys/fs/cgroup/rootfs-test/x && echo rw' rw
	rmdir $cg/inner $cg
	umount /sys/fs/cgroup
else
	skip "cgroup v2" "can't be mounted"
fi
if [ -d /sys/fs/cgroup/memory ]; then
	cg=/sys/fs/cgroup/memory/rootfs-test
	mkdir -p $cg
	echo 123000000 2>/dev/null >$cg/memory.limit_in_bytes || true
	limit=$(cat $cg/memory.limit_in_bytes)
	for ns in '' cgroupns; do
		spec "$PROC" "$DEV" "$SYS" "mount /sys/fs/cgroup|cgroup|cgroup|nosuid,noexec,nodev,relatime,ro" $ns
		out=$(sh -c "echo \$\$ >$cg/cgroup.procs && exec $driver run c.spec /bin/sh -c \
			'cat /sys/fs/cgroup/memory/memory.limit_in_bytes; mkdir /sys/fs/cgroup/memory/x 2>/dev/null || echo ro; touch /sys/fs/cgroup/x 2>/dev/null || echo ro; ls /sys/fs/cgroup'" 2>&1) || true
		names=$(tail -n +4 <<<"$out" | sort)
		want=$(cut -d: -f2 /proc/self/cgroup | sed 's/^name=//' | tr , '\n' | sort -u | while read -r n; do
			if [ -n "$n" ] && [ -d "/sys/fs/cgroup/$n" ]; then echo "$n"; fi; done)
		result "$([ "$(head -n 3 <<<"$out")" = "$limit"$'\nro\nro' ] && [ "$names" = "$want" ] && echo 0 || echo 1)" \
			"cgroup v1${ns:+ with a namespace}: one directory per hierarchy, each our own, read-only" "$out"
	done
	own=/sys/fs/cgroup/pids$(sed -n 's/^[0-9]*:pids://p' /proc/self/cgroup)
	spec "$PROC" "$DEV" "$SYS" "mount /sys/fs/cgroup|cgroup|cgroup|nosuid"
	gives "cgroup v1, writable" 'touch /sys/fs/cgroup/x && mkdir /sys/fs/cgroup/pids/rootfs-x && echo rw' rw
	rmdir "$own/rootfs-x" 2>/dev/null || true
	rmdir $cg
else
	skip "cgroup v1" "not mounted"
fi
