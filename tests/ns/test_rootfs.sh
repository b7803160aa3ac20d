#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The container's view of the file system (agent/oci/fs/rootfs.c and what it uses), tested in real
# namespaces with a small driver instead of the agent. Prints TAP. Needs root and busybox-static;
# exits 77 without them. RACE_SECONDS=N changes how long each race runs (default 2).
# shellcheck disable=SC2034,SC2317	# the parts in rootfs/ use what is defined here
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${BUILD:-$top/build}
race_seconds=${RACE_SECONDS:-2}

# shellcheck source=../lib/tap.sh
. "$top/tests/lib/tap.sh"

[ "$(id -u)" = 0 ] || skip_all "needs root: run it with sudo"
busybox=$(command -v busybox) || skip_all "needs busybox: apt-get install busybox-static"
file_static() { ! ldd "$1" >/dev/null 2>&1; }
file_static "$busybox" || skip_all "busybox is not static: apt-get install busybox-static"
[ -r "$build/gen/oci.pb-c.c" ] || skip_all "generated code is missing: run make first"

# --- a mount namespace of our own, so that nothing is left behind ---
if [ "${ROOTFS_TEST_INSIDE:-}" != 1 ]; then
	ROOTFS_TEST_INSIDE=1 exec unshare --mount --propagation private -- "$0" "$@"
fi

build_driver() {	# OUTPUT FLAGS...
	local out=$1
	shift
	gcc -std=gnu11 -Ulinux -D_GNU_SOURCE -g "$@" -Wall -Wextra -iquote "$top/agent" \
		-isystem "$build/gen" -o "$out.$$" "$top/tests/ns/rootfs_driver.c" \
		"$top"/agent/oci/fs/{rootfs,mount,mountopt,mountcgroup,tree,copyup}.c \
		"$top"/agent/oci/fs/{devnode,mask,sysctl}.c \
		"$top"/agent/oci/ns.c "$top"/agent/linux/{path,mountinfo,rootdisk}.c \
		"$top"/agent/base/{err,arena,fdio,log,str}.c "$build/gen/oci.pb-c.c" -lprotobuf-c
	mv "$out.$$" "$out"	# another run of this may be using the old one
}

mkdir -p "$build/tests"
fast=$build/tests/rootfs_driver
driver=$build/tests/rootfs_driver_san
build_driver "$fast" -O1
build_driver "$driver" -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined
export ASAN_OPTIONS=detect_leaks=0

work=/run/rootfs-test
mkdir -p "$work"
mount -t tmpfs -o mode=755 rootfs-test "$work"
cd "$work"

# --- building blocks ---
mkdir -p base/{bin,proc,sys,dev,tmp,etc,run,data,vol,var}
cp "$busybox" base/bin/busybox
for applet in sh cat ls mount umount stat id touch readlink echo grep test mkdir wc head tail chmod \
	sed cut sort nsenter awk rm ln printf mknod true tr dd find; do
	ln -s busybox "base/bin/$applet"
done
chmod 750 base/data
echo kept >base/data/file

fresh() {	# a new root in $work/c/rootfs
	rm -rf c
	mkdir c
	cp -a base c/rootfs
}

PROC='mount /proc|proc|proc|'
DEV='mount /dev|tmpfs|tmpfs|nosuid,strictatime,mode=755,size=65536k'
PTS='mount /dev/pts|devpts|devpts|nosuid,noexec,newinstance,ptmxmode=0666,mode=0620'

spec() {	# LINES...: the specification, with our root
	printf '%s\n' "root $work/c/rootfs" "$@" >c.spec
}

run() {		# SHELL-COMMAND: its output and status in $out and $status
	status=0
	out=$("$driver" run c.spec /bin/sh -c "$1" 2>&1) || status=$?
}

# NAME, COMMAND, and what its output must be, whole
gives() {
	run "$2"
	if [ "$out" = "$3" ] && [ "$status" = 0 ]; then result 0 "$1"; else result 1 "$1" "status $status, got: $out
wanted: $3"; fi
}

# NAME, STATUS (70 check, 71 prepare, 72 enter, 73 seal), a pattern that the error text has
refused() {
	run true
	if [ "$status" = "$2" ] && grep -q -- "$3" <<<"$out"; then result 0 "$1"; else result 1 "$1" "status $status, got: $out
wanted: status $2, text $3"; fi
}

# The options of the mount at $1 as the container sees them: per-mount, then " | ", then the rest
flags_of() { echo "awk '\$5 == \"$1\" { sep = 0; for (i = 1; i <= NF; i++) if (\$i == \"-\") sep = i; print \$6 \" | \" \$(sep + 3) }' /proc/self/mountinfo | tail -n 1"; }
tags_of() { echo "awk '\$5 == \"$1\" { s = \"\"; for (i = 7; \$i != \"-\"; i++) { sub(/:.*/, \"\", \$i); s = s \$i \" \" }; print \"[\" s \"]\" }' /proc/self/mountinfo | tail -n 1"; }

for part in "$top"/tests/ns/rootfs/*.sh; do
	# shellcheck source=/dev/null
	. "$part"
done

# --- nothing of all this may have reached the namespace that we ran in ---
left=$(awk -v w="$work" '$5 != w && index($5, w "/") == 1 { print $5 }' /proc/self/mountinfo)
result "$([ -z "$left" ] && echo 0 || echo 1)" "the guest's mount table is as before" "$left"
result "$([ "$(stat -c %t:%T:%a /dev/null)" = 1:3:666 ] && echo 0 || echo 1)" "the guest's /dev/null is as before"

done_testing
