# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154,SC2034,SC2086,SC2016	# sourced by ../test_rootfs.sh
# Device nodes, links, terminal, standard streams.

DEVICES='for d in null zero full tty random urandom; do stat -c "%n %F %t:%T %a" /dev/$d; done'
WANT='/dev/null character special file 1:3 666
/dev/zero character special file 1:5 666
/dev/full character special file 1:7 666
/dev/tty character special file 5:0 666
/dev/random character special file 1:8 666
/dev/urandom character special file 1:9 666'
fresh
spec "$PROC" "$DEV" "$PTS"
gives "the six default devices" "$DEVICES" "$WANT"
gives "links" 'for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done' \
	$'/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx'
run 'readlink /dev/core'
result "$([ "$out" = "$([ ! -e /proc/kcore ] || echo /proc/kcore)" ] && echo 0 || echo 1)" "/dev/core where the guest has kcore" "$out"
gives "they work" 'echo x >/dev/null && head -c 3 /dev/zero | wc -c && head -c 5 /dev/urandom | wc -c' $'3\n5'
fresh
rmdir c/rootfs/dev
spec
gives "/dev is made where the image has none" 'stat -c "%a %t:%T" /dev/null' '666 1:3'

fresh
spec "$PROC" "$DEV" "dev c /dev/chr 10 229 640 7 8" "dev b /dev/dir/blk 7 99 600 0 5" \
	"dev u /dev/unbuffered 1 5 444 0 0" "dev p /opt/fifo 0 0 622 1 2" "dev c /dev/zeromode 1 3 0 0 0"
gives "devices of the specification" \
	'stat -c "%n %F %t:%T %a %u:%g" /dev/chr /dev/dir/blk /dev/unbuffered /opt/fifo /dev/zeromode' \
	'/dev/chr character special file a:e5 640 7:8
/dev/dir/blk block special file 7:63 600 0:5
/dev/unbuffered character special file 1:5 444 0:0
/opt/fifo fifo 0:0 622 1:2
/dev/zeromode character special file 1:3 666 0:0'
spec "$PROC" "$DEV" "dev c /dev/null 1 3 600 1 1"
gives "a default device listed again is as listed" 'stat -c "%a %u" /dev/null' '600 1'
spec "$PROC" "$DEV" "dev c /dev/null 1 5 666 0 0"
refused "another device under a default's name" 73 "/dev/null of the container is not the null device"
spec "$PROC" "$DEV" "$PTS" "dev c /dev/ptmx 5 2 666 0 0"
gives "a listed /dev/ptmx is the link all the same" 'readlink /dev/ptmx' pts/ptmx
disk=$(stat -c %d /)
if [ "$((disk >> 8 & 0xfff))" -gt 0 ]; then
	major=$((disk >> 8 & 0xfff)) minor=$((disk & 0xff | disk >> 12 & 0xfff00))
	spec "$PROC" "$DEV" "dev b /dev/rootdisk $major $minor 666 0 0"
	gives "no node for the guest's own root disk" 'ls /dev/rootdisk 2>/dev/null; echo none' none
else
	skip "no node for the guest's own root disk" "/ is on no disk"
fi

fresh
mkdir -p owndev
rm -f owndev/*
touch owndev/mine
spec "$PROC" "mount /dev|bind|$work/owndev|bind"
gives "who binds a /dev gets it untouched" 'ls /dev' mine
spec "$PROC" "mount /dev|tmpfs|tmpfs|ro,mode=755" "$PTS"
gives "a read-only /dev is filled first" \
	'test -c /dev/null && test -c /dev/pts/ptmx && echo x >/dev/null && ! touch /dev/x 2>/dev/null && echo sealed' sealed

# --- terminal ---
fresh
spec "$PROC" "$DEV" "$PTS" terminal
gives "the console is the slave of the container's pty" 'stat -c "%F %t:%T" /dev/console /dev/pts/0' \
	$'character special file 88:0\ncharacter special file 88:0'
spec "$PROC" "$DEV" terminal
refused "a terminal without devpts" 72 "terminal: "
spec "$PROC" "mount /dev|tmpfs|tmpfs|ro,mode=755" "$PTS" terminal
gives "a console on a read-only /dev" 'stat -c %t:%T /dev/console' 88:0

# --- standard streams ---
fresh
spec "$PROC" "$DEV"
status=0
out=$("$driver" run c.spec /bin/sh -c \
	'test "$(stat -L -c %d /proc/self/fd/0)" = "$(stat -c %d /dev/null)" && echo own' </dev/null 2>&1) || status=$?
result "$([ "$out" = own ] && echo 0 || echo 1)" "fds that were the guest's /dev/null are the container's" "$out ($status)"
mine=$(base/bin/ls /proc/self/fd | tr "\n" " ")
gives "no fd of the steps is left open" 'ls /proc/self/fd | tr "\n" " "' "$mine"
