# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154,SC2034,SC2086,SC2016	# sourced by ../test_rootfs.sh
# Images that try to lead us outside of their root, or into lying. Each may make the creation fail;
# none may change the canary, which stands for the guest.

canary() {
	rm -rf canary
	mkdir -p canary/{dev,proc,sys,etc,data}
	echo guest >canary/file
	cp -a canary canary.before
}
untouched() {	# NAME
	local diff
	diff=$(diff -r --no-dereference canary canary.before 2>&1; find canary -newer canary.stamp)
	result "$([ -z "$diff" ] && echo 0 || echo 1)" "$1: nothing outside has changed" "$diff"
}
rm -rf canary.before
canary
sleep 0.02
touch canary.stamp
export CANARY=$work/canary

up=../../../../../../../../..$work/canary
FULL=("$PROC" "$DEV" "$PTS" 'mount /sys|sysfs|sysfs|ro' 'mask /proc/keys' 'rdonly /proc/sys')

# --- the canary sings: a mount and a file that do go there are noticed ---
fresh
spec "hook mount -t tmpfs x $work/canary/data"
run true
result "$([ "$status" = 99 ] && echo 0 || echo 1)" "a mount outside would be noticed" "$status $out"
spec "hook touch $work/canary/data/x"
run true
result "$([ -n "$(find canary -newer canary.stamp)" ] && echo 0 || echo 1)" "a file outside would be noticed"
rm canary/data/x
sleep 0.02
touch canary.stamp

# --- links in place of what we mount on ---
for target in "$work/canary" "$up"; do
	for name in proc sys dev; do
		fresh
		rmdir "c/rootfs/$name"
		ln -s "$target/$name" "c/rootfs/$name"
		spec "${FULL[@]}"
		run 'echo ran'
		result "$([ "$status" = 71 ] && echo 0 || echo 1)" "/$name is a link to ${target%/*}/...: refused" "$status $out"
		untouched "/$name is a link"
	done
done
fresh
rmdir c/rootfs/proc
ln -s /etc c/rootfs/proc
spec "$PROC"
refused "/proc is a link inside the image" 71 'filesystem "proc" must be mounted on ordinary directory'
rm c/rootfs/proc
touch c/rootfs/proc
refused "/proc is a file" 71 'filesystem "proc" must be mounted on ordinary directory'

# --- links in the way of a destination: followed, but inside ---
while read -r what link dest seen; do
	fresh
	mkdir -p src
	echo mounted >src/it
	mkdir -p "c/rootfs/$(dirname "$what")"
	rm -rf "c/rootfs/$what"
	ln -s "${link//WORK/$work}" "c/rootfs/$what"
	spec "$DEV" "mount $dest|bind|$work/src|bind"
	seen=${seen//WORK/$work}
	gives "$what -> $link: mount on $dest lands in ${seen%/it}" "cat $seen" mounted
	untouched "$what -> $link"
done <<'TABLE'
vol WORK/canary /vol WORK/canary/it
vol WORK/canary /vol/data WORK/canary/data/it
vol ../../../../../../../../../../WORK/canary /vol WORK/canary/it
a/b/vol ../../../../../.. /a/b/vol/x /x/it
vol /nowhere/../../../.. /vol/deep /deep/it
TABLE
fresh
rm -rf c/rootfs/vol
ln -s / c/rootfs/vol
spec "mount /vol|tmpfs|tmpfs|"
refused "a link to the root itself" 71 "leads to the root itself"
rm c/rootfs/vol
ln -s vol c/rootfs/vol
refused "a link to itself" 71 "Too many levels"
rm c/rootfs/vol
ln -s b c/rootfs/vol
ln -s vol c/rootfs/b
refused "links in a circle" 71 "Too many levels"
rm -f c/rootfs/vol
ln -s "$(printf 'x/../%.0s' {1..600})y" c/rootfs/vol
gives "a link of many steps" 'ls -d /y' /y
fresh
for i in $(seq 50); do ln -s "l$((i + 1))" "c/rootfs/l$i"; done
spec "mount /l1/x|tmpfs|tmpfs|"
refused "a chain of 50 links" 71 "Too many levels"

# --- a source inside the image ---
fresh
rm -rf c/rootfs/vol
ln -s "$work/canary" c/rootfs/vol
mkdir -p "c/rootfs$work/canary"
echo inside >"c/rootfs$work/canary/file"
spec "mount /data|bind|$work/c/rootfs/vol|bind" "mount /var|bind|rootfs/vol|bind"
gives "a bind source inside the image: its links stay inside" 'cat /data/file /var/file' $'inside\ninside'

spec "mount /data|bind|$work/c/rootfs|bind"
gives "the image bound into itself" 'test -d /data/bin && echo yes' yes

# --- into the procfs that was just mounted ---
while read -r link dest; do
	fresh
	rm -rf c/rootfs/vol
	ln -s "$link" c/rootfs/vol
	spec "$PROC" "mount $dest|bind|$work/canary/file|bind"
	run true
	result "$([ "$status" = 71 ] && echo 0 || echo 1)" "bind on $dest with /vol -> $link: refused" "$status $out"
	spec "$PROC" "mount $dest|tmpfs|tmpfs|"
	run true
	result "$([ "$status" = 71 ] && echo 0 || echo 1)" "tmpfs on $dest with /vol -> $link: refused" "$status $out"
done <<'TABLE'
/proc/sys/kernel/core_pattern /vol
/proc/sys /vol/kernel/core_pattern
/proc/self/attr /vol/exec
/proc/1/root /vol/etc
/proc/self/cwd /vol/etc
/proc/thread-self/fd /vol/0
/proc/self/fd/3 /vol
/proc /vol
TABLE
fresh
mkdir -p c/rootfs/fake
spec "$PROC" "mount /proc/meminfo|bind|$work/canary/file|bind"
gives "a file over /proc/meminfo is fine" 'cat /proc/meminfo' guest
spec "mount /proc|bind|/proc|bind"
gives "a bind of a real procfs on /proc" 'test -e /proc/1/stat && echo yes' yes
spec "mount /proc|bind|$work/canary|bind"
refused "a bind of anything else on /proc" 71 "only a proc file system"
spec "mount /proc|bind|/proc/sys|bind"
refused "a bind of a part of procfs on /proc" 71 "only a proc file system"

# --- forged devices (no tmpfs on /dev: the image's own directory) ---
forged() {	# NAME COMMAND-IN-ROOT LINES...
	local name=$1 command=$2
	shift 2
	fresh
	(cd c/rootfs && eval "$command")
	spec "$PROC" "$@"
	run 'echo ran'
	result "$([ "$status" -ge 71 ] && [ "$status" -le 73 ] && echo 0 || echo 1)" "$name: refused" "$status $out"
	untouched "$name"
}
forged "/dev/null is a file" 'echo x >dev/null' 'mask /proc/keys'
forged "/dev/null is a link out" "ln -s $up/file dev/null" 'mask /proc/keys'
forged "/dev/null is a dangling link" 'ln -s /nowhere dev/null'
forged "/dev/null is a directory" 'mkdir dev/null'
forged "/dev/null is another device" 'mknod dev/null c 1 5'
forged "/dev/zero is a block device" 'mknod dev/zero b 1 5'
forged "/dev/ptmx is a directory" 'mkdir dev/ptmx'
forged "/dev is a link in the image" 'rmdir dev; ln -s etc dev'
forged "/dev/console is a link out" "ln -s $up/file dev/console" "$PTS" terminal
forged "/dev/console is a dangling link" 'ln -s /nowhere dev/console' "$PTS" terminal
forged "/dev/console is a directory" 'mkdir dev/console' "$PTS" terminal
forged "/dev/pts is a link" 'ln -s /etc dev/pts' terminal
forged "/dev/pts/ptmx is a file" 'mkdir dev/pts; touch dev/pts/ptmx' terminal
# What a link of the image's leads to inside of it is what is meant.
inside() {	# NAME COMMAND-IN-ROOT WANTED SCRIPT LINES...
	local name=$1 command=$2 wanted=$3 script=$4
	shift 4
	fresh
	(cd c/rootfs && eval "$command")
	spec "$PROC" "$@"
	gives "$name" "$script" "$wanted"
	untouched "$name"
}
inside "a device's directory is a link out" "ln -s $up/data dev/d" 1:5 'stat -c %t:%T /dev/d/x/null' "dev c /dev/d/x/null 1 5 666 0 0"
inside "a masked path is a link" "ln -s /proc/sys etc/l" 0 'set -- /proc/sys/*; [ "$1" = "/proc/sys/*" ] && echo 0' 'mask /etc/l'
inside "a masked path is a link out" "ln -s $up/file etc/l" ran 'echo ran' 'mask /etc/l'
inside "a readonly path is a link" "ln -s /proc/sys etc/l" 'no' '(echo 1 >/proc/sys/kernel/panic) 2>/dev/null || echo no' 'rdonly /etc/l'

# --- races: PATH and OTHER change places all the time ---
SECONDS_EACH=$race_seconds
raced() {	# NAME PATH OTHER LINES...
	local name=$1 a=$2 b=$3
	shift 3
	spec "$@"
	status=0
	out=$("$fast" race c.spec "$SECONDS_EACH" "$a" "$b" 2>&1) || status=$?
	result "$([ "$status" = 0 ] && echo 0 || echo 1)" "$name: $out" "$out"
	untouched "$name"
}
mkdir -p src/sub
fresh
mkdir -p c/rootfs/a/b/data
ln -s "$up" c/rootfs/a/link
raced "race: a component of a destination" c/rootfs/a/b c/rootfs/a/link \
	"mount /a/b/data|bind|$work/src|bind" "mount /a/b/new/x|tmpfs|tmpfs|" "mount /a/b/f|bind|$work/src/it|bind" \
	"dev c /a/b/null 1 3 666 0 0" "mask /a/b/data" "rdonly /a/b/new"
fresh
ln -s "$up/data" c/rootfs/link
raced "race: the destination itself" c/rootfs/vol c/rootfs/link "mount /vol|tmpfs|tmpfs|" \
	"mount /vol/made/here|bind|$work/src|bind"
fresh
ln -s "$up/proc" c/rootfs/link
raced "race: /proc" c/rootfs/proc c/rootfs/link "$PROC" 'mask /proc/keys' 'rdonly /proc/sys' \
	'sysctl kernel.shmmax 54321'
fresh
ln -s "$up/dev" c/rootfs/link
raced "race: /dev" c/rootfs/dev c/rootfs/link "$PROC" "$PTS" "dev c /dev/d/null 1 5 666 0 0" terminal
unset CANARY
