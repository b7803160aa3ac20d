# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154,SC2034,SC2086,SC2016	# sourced by ../test_rootfs.sh
# In a user namespace of its own: no mknod, and every mount taken over is locked.

fresh
spec "$PROC" "$DEV" "$PTS" netns userns 'mount /sys|sysfs|sysfs|nosuid,noexec,nodev,ro' \
	'mount /dev/shm|tmpfs|shm|nosuid,noexec,nodev,mode=1777,size=64k' \
	'mount /dev/mqueue|mqueue|mqueue|nosuid,noexec,nodev'
gives "userns: the default devices are the guest's" "$DEVICES" "$WANT"
gives "userns: they work" 'echo x >/dev/null && head -c 3 /dev/zero | wc -c' 3
gives "userns: a chmod doesn't reach the guest's" 'chmod 600 /dev/null 2>/dev/null || echo ro' ro
gives "userns: proc, sysfs and tmpfs of its own" 'test -e /proc/1/stat && ls /sys/class/net && touch /dev/shm/x && echo rw' $'lo\nrw'
spec "$PROC" "$DEV" userns 'mount /sys|sysfs|sysfs|nosuid,noexec,nodev'
gives "userns: sysfs without a network namespace of its own is the guest's, read-only" \
	'test -d /sys/class/net && ! (echo 1 >/sys/kernel/mm/ksm/run) 2>/dev/null && echo ro' ro
spec "$PROC" "$DEV" userns "dev c /dev/full 1 7 666 0 0" "dev c /dev/kmsg 1 11 600 0 0" "dev p /dev/fifo 0 0 666 0 0"
gives "userns: devices of the specification" 'stat -c "%F %t:%T" /dev/kmsg /dev/fifo' \
	$'character special file 1:b\nfifo 0:0'
spec "$PROC" "$DEV" userns "dev c /dev/kmsg 1 3 600 0 0"
refused "userns: the guest's node is another device" 71 "the guest's '/dev/kmsg' is another device"
spec "$PROC" "$DEV" userns "dev c /dev/nothere 1 3 600 0 0"
refused "userns: the guest has no such node" 71 "bind from '/dev/nothere'"
spec "$PROC" "$DEV" "$PTS" userns terminal
gives "userns: terminal" 'stat -c %t:%T /dev/console' 88:0
mkdir -p src
mount -t tmpfs -o ro,nosuid src src
spec "$PROC" "$DEV" userns "mount /vol|bind|$work/src|rbind,ro"
gives "userns: bind keeps locked flags" "$(flags_of /vol) | cut -d, -f1,2" ro,nosuid
spec "$PROC" "$DEV" userns "mount /vol|bind|$work/src|rbind,suid"
refused "userns: a locked flag can't be cleared" 71 "set mount flags: Operation not permitted"
umount src
