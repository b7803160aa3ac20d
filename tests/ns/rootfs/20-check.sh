# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154,SC2034,SC2086,SC2016	# sourced by ../test_rootfs.sh
# What rootfs_check refuses before anything is made.

fresh
bad() {		# NAME PATTERN LINES...
	local name=$1 pattern=$2
	shift 2
	spec "$@"
	refused "check: $name" 70 "$pattern"
}

bad "no root" "Root must be specified" "root "
spec "root $work/nowhere"
refused "a missing root" 71 "does not exist"
ln -sfn c/rootfs linked-root
spec "root $work/linked-root"
refused "a root that is a link" 71 "symbolic link"
ln -sfn c linked-dir
spec "root $work/linked-dir/rootfs"
refused "a root below a link" 71 "symbolic link"
bad "a relative root" "not an absolute path" "root c/rootfs"
bad "/ as root" "not an absolute path" "root /"
bad "idmap" "id-mapped mounts are not supported" "mount /vol|bind|/tmp|bind,idmap"
bad "ridmap" "id-mapped mounts are not supported" "mount /vol|bind|/tmp|rbind,ridmap"
bad "idmap with a mapping" "id-mapped mounts are not supported" "mount /vol|bind|/tmp|bind,idmap=uids=0-1-1"
bad "loop" "loop" "mount /vol|ext4|/x|loop"
bad "an empty destination" "would hide the root" "mount |tmpfs|tmpfs|"
bad ".. in a destination, to the root" "would hide the root" "mount /vol/../..|tmpfs|tmpfs|"
bad "/ as destination" "would hide the root" "mount /|tmpfs|tmpfs|"
bad "/ in disguise" "would hide the root" "mount //.//|tmpfs|tmpfs|"
bad "a bind without a source" "without a source" "mount /vol|bind||bind"
bad "a mount without a type" "without a type" "mount /vol|||"
bad "something inside /proc" "inside /proc" "$PROC" "mount /proc/sys|tmpfs|tmpfs|"
bad "a bind inside /proc" "inside /proc" "$PROC" "mount /proc/1/attr|bind|/tmp|bind"
bad "/proc//./sys" "inside /proc" "$PROC" "mount /proc//./sys|bind|/tmp|bind"
bad "a tmpfs on /proc" "only a proc file system" "mount /proc|tmpfs|tmpfs|"
bad "tmpcopyup of an image" "for tmpfs only" "mount /vol|ext4|/x|tmpcopyup"
bad "a propagation" "not known" "prop unshared"
bad "a device type" "invalid type" "dev x /dev/x 1 1 666 0 0"
bad "a device number" "invalid number" "dev c /dev/x -1 1 666 0 0"
bad "a device path" "plain absolute path" "dev c dev/x 1 1 666 0 0"
bad "a device path with .." "plain absolute path" "dev c /dev/../../x 1 1 666 0 0"
bad "a masked path with .." "plain absolute path" "mask /../x"
bad "a relative readonly path" "plain absolute path" "rdonly proc"
bad "masks without a mount namespace" "need a mount namespace" nomnt "mask /proc/kcore"
bad "mounts without a mount namespace" "need a mount namespace" nomnt "$PROC"
bad "a readonly root without a mount namespace" "need a mount namespace" nomnt readonly
bad "sysctl kernel.hostname" "use the hostname field" "sysctl kernel.hostname x"
bad "sysctl of the whole guest" "not in a separate kernel namespace" "sysctl kernel.core_pattern x"
bad "sysctl vm" "not in a separate kernel namespace" "sysctl vm.swappiness 1"
bad "sysctl with slashes" "not in a separate kernel namespace" "sysctl kernel/core_pattern x"
bad "sysctl climbing out" "no valid name" netns "sysctl net.//.kernel.core_pattern x"
bad "sysctl climbing out with slashes" "no valid name" netns "sysctl net/../kernel/core_pattern x"

status=0
printf '%s\n' "root $work/c/rootfs/" "$PROC" "$DEV" "mount /proc/meminfo|bind|/etc/hostname|bind" >c.spec
"$fast" check c.spec >/dev/null || status=$?
result $status "check: a trailing slash on the root, a bind over /proc/meminfo"
