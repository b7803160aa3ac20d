# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154,SC2034,SC2086,SC2016	# sourced by ../test_rootfs.sh
# Mount options: flags, clearing forms, propagation, data, recursion.

# --- each flag on a file system of its own ---
while read -r words mount_has fs_has; do
	fresh
	spec "$PROC" "mount /vol|tmpfs|tmpfs|$words"
	run "$(flags_of /vol)"
	want_mount=${mount_has//-/} want_fs=${fs_has//-/}
	good=0
	for w in ${want_mount//,/ }; do [[ ",${out%% | *}," == *",$w,"* ]] || good=1; done
	for w in ${want_fs//,/ }; do [[ ",${out##* | }," == *",$w,"* ]] || good=1; done
	result $good "tmpfs with $words" "$out (status $status)"
done <<'TABLE'
ro ro -
rw rw rw
nosuid nosuid -
nodev nodev -
noexec noexec -
noatime noatime -
nodiratime nodiratime -
relatime relatime -
nosymfollow nosymfollow -
sync - sync
dirsync - dirsync
lazytime - lazytime
nosuid,nodev,noexec,ro nosuid,nodev,noexec,ro -
defaults rw rw
size=128k - size=128k
mode=711,size=64k,nr_inodes=9 - mode=711,size=64k,nr_inodes=9
rnosuid,rro nosuid,ro -
silent,loud,mand,nomand,acl,noacl,iversion,noiversion,async,exec,suid,dev rw rw
TABLE

fresh
spec "$PROC" "mount /vol|tmpfs|tmpfs|noatime,strictatime"
run "$(flags_of /vol)"
result "$([[ $out != *atime* ]] && echo 0 || echo 1)" "of noatime and strictatime the last wins" "$out"

# --- the same flags on binds, and taken away again ---
while read -r source words want; do
	fresh
	mkdir -p src
	mount -t tmpfs -o "$source" src src
	spec "$PROC" "mount /vol|bind|$work/src|$words"
	run "$(flags_of /vol)"
	umount src
	good=0
	IFS=, read -ra list <<<"$want"
	for w in "${list[@]}"; do
		case $w in
		!*) [[ ",${out%% | *}," != *",${w#!},"* ]] || good=1 ;;
		*) [[ ",${out%% | *}," == *",$w,"* ]] || good=1 ;;
		esac
	done
	result $good "bind of a mount with $source: $words gives $want" "$out (status $status)"
done <<'TABLE'
rw bind rw,relatime,!nosuid
rw bind,ro ro
rw rbind,ro,nosuid,nodev,noexec ro,nosuid,nodev,noexec
rw bind,noatime noatime
rw bind,nodiratime nodiratime
rw bind,strictatime !relatime,!noatime
rw bind,nosymfollow nosymfollow
nosuid,nodev,noexec bind,ro ro,nosuid,nodev,noexec
nosuid,nodev,noexec bind,suid,dev,exec !nosuid,!nodev,!noexec
noatime bind,atime !noatime,relatime
noatime,nodiratime bind,diratime noatime,!nodiratime
ro bind,nosuid nosuid
rw bind,ro,rw rw
rw bind,unknown-word,size=5 rw
TABLE

fresh
mkdir -p src
mount -t tmpfs src src
mount -o remount,bind,ro src
spec "$PROC" "mount /vol|bind|$work/src|bind,rw"
gives "bind with rw of a mount that is ro" 'touch /vol/x && echo writable' writable
umount src

# --- trees ---
mkdir -p src
mount -t tmpfs src src
mkdir src/sub
mount -t tmpfs sub src/sub
touch src/sub/inside
for kind in none bind ''; do
	fresh
	spec "$PROC" "mount /vol|$kind|$work/src|rbind"
	gives "rbind takes what is mounted below (type '$kind')" 'ls /vol/sub' inside
done
fresh
spec "$PROC" "mount /vol|bind|$work/src|bind"
gives "bind does not" 'ls /vol/sub' ''
spec "$PROC" "mount /vol|bind|$work/src|"
gives "type bind alone is a bind" 'ls -d /vol/sub; ls /vol/sub' /vol/sub
fresh
spec "$PROC" "mount /vol|bind|$work/src|rbind,ro"
gives "rbind,ro: only the top" 'touch /vol/x 2>/dev/null || echo top; touch /vol/sub/x && echo below' $'top\nbelow'
spec "$PROC" "mount /vol|bind|$work/src|rbind,rro"
gives "rbind,rro: all of it" 'touch /vol/y 2>/dev/null || echo top; touch /vol/sub/y 2>/dev/null || echo below' $'top\nbelow'
for pair in rnosuid:nosuid rnodev:nodev rnoexec:noexec rnoatime:noatime rnodiratime:nodiratime; do
	spec "$PROC" "mount /vol|bind|$work/src|rbind,${pair%:*}"
	run "$(flags_of /vol/sub)"
	result "$([[ ",$out" == *",${pair#*:}"* ]] && echo 0 || echo 1)" "rbind,${pair%:*} reaches what is below" "$out"
done
mount -o remount,bind,ro,nosuid src/sub
spec "$PROC" "mount /vol|bind|$work/src|rbind,rrw,rsuid"
gives "rrw and rsuid take it away below" "$(flags_of /vol/sub) | cut -d, -f1,2" 'rw,relatime | rw'
umount src/sub src

# --- propagation ---
mkdir -p src
mount -t tmpfs src src
mount --make-shared src
while read -r words want; do
	fresh
	spec "$PROC" "mount /vol|bind|$work/src|bind${words:+,$words}"
	gives "bind of a shared mount with '$words': $want" "$(tags_of /vol)" "[${want:+$want }]"
done <<'TABLE'
private
rprivate
slave master
rslave master
shared shared master
rshared shared master
unbindable unbindable
runbindable unbindable
private,shared shared
shared,slave master
TABLE
# busybox read leaves "want" empty for the first two: private has no tag at all
fresh
spec "$PROC" "mount /vol|bind|$work/src|bind"
gives "bind of a shared mount: a slave, as everything" "$(tags_of /vol)" '[master ]'
umount src

# --- binds of files, relative and linked sources, missing targets ---
fresh
echo content >file
spec "mount /etc/new/deep/file|bind|$work/file|bind"
gives "bind of a file makes file and directories" 'cat /etc/new/deep/file; stat -c %a /etc/new/deep' $'content\n755'
echo relative >c/beside
spec "mount /etc/rel|bind|beside|bind"
gives "a relative source starts at the bundle" 'cat /etc/rel' relative
ln -sfn "$work/file" link
spec "mount /etc/linked|bind|$work/link|bind"
gives "a source that is a link is followed in the guest" 'cat /etc/linked' content
ln -s ../run/systemd/resolv.conf c/rootfs/etc/resolv.conf
spec "mount /etc/resolv.conf|bind|$work/file|bind"
gives "a dangling link in the image is followed inside it" 'cat /run/systemd/resolv.conf; readlink /etc/resolv.conf' $'content\n../run/systemd/resolv.conf'
spec "mount /vol|bind|$work/nowhere|bind"
refused "a missing source" 71 "bind from '$work/nowhere': No such file"
spec "mount /vol|bind|$work/file|bind"
refused "a file on a directory" 71 "on '/vol'"
spec "mount /etc/passwd/x|bind|$work/file|bind"
touch c/rootfs/etc/passwd
refused "below a file" 71 "Not a directory"

# --- tmpfs: mode of the directory, copy ---
fresh
spec "mount /data|tmpfs|tmpfs|"
gives "tmpfs keeps the directory's mode" 'stat -c %a /data; ls /data' 750
spec "mount /data|tmpfs|tmpfs|mode=700"
gives "mode= is stronger" 'stat -c %a /data' 700
spec "mount /new|tmpfs|tmpfs|"
gives "a new directory's tmpfs has the kernel's mode" 'stat -c %a /new' 1777
mkdir -p c/rootfs/data/d/e
ln -s /outside c/rootfs/data/l
mkfifo c/rootfs/data/p
mknod c/rootfs/data/n c 1 3
touch c/rootfs/data/d/e/s
chown -h 5:6 c/rootfs/data/d/e/s c/rootfs/data/l
chmod 4755 c/rootfs/data/d/e/s
touch -d @1000 c/rootfs/data/d/e/s
spec "mount /data|tmpfs|tmpfs|tmpcopyup"
gives "tmpcopyup copies all kinds" \
	'cat /data/file; readlink /data/l; stat -c %F /data/p; stat -c %t:%T /data/n; stat -c %a:%u:%g:%Y /data/d/e/s; stat -c %u /data/l; stat -c %a /data' \
	$'kept\n/outside\nfifo\n1:3\n4755:5:6:1000\n5\n750'
spec "mount /data|tmpfs|tmpfs|tmpcopyup,ro"
gives "tmpcopyup with ro" 'cat /data/file; touch /data/x 2>/dev/null || echo ro' $'kept\nro'
spec "mount /run|tmpfs|tmpfs|ro" "mount /run/a/b|tmpfs|tmpfs|" "$PROC"
gives "a read-only tmpfs can hold mount points" 'touch /run/a/b/x && touch /run/y 2>/dev/null || echo ro' ro
spec "mount /data|tmpfs|tmpfs|size=16k,tmpcopyup"
dd if=/dev/zero of=c/rootfs/data/big bs=1k count=64 2>/dev/null
refused "tmpcopyup of more than fits" 71 "tmpcopyup: copy 'big': No space left"

# --- other file systems; errors ---
fresh
mkdir -p l1 l2
touch l1/one l2/two
spec "mount /vol|overlay|overlay|lowerdir=$work/l1:$work/l2"
gives "overlay" 'ls /vol' $'one\ntwo'
long=$work/$(printf 'l%.0s' {1..200})
mkdir -p "$long/$(printf 'm%.0s' {1..100})"
spec "$PROC" "mount /vol|overlay|overlay|lowerdir=$work/l1:$long/$(printf 'm%.0s' {1..100}),nosuid,rprivate"
gives "an option value of 300 bytes" "ls /vol; $(flags_of /vol) | cut -d, -f1,2" $'one\nrw,nosuid'
spec "mount /vol|nosuchfs|x|"
refused "an unknown type" 71 "file system type 'nosuchfs': No such device"
spec "mount /vol|tmpfs|tmpfs|nosuchoption"
refused "an unknown option" 71 "nosuchoption"
spec "mount /vol|tmpfs|tmpfs|size=lots"
refused "a bad value" 71 "size"
spec "$PROC" "mount /vol|tmpfs|tmpfs|" "mount /vol|tmpfs|tmpfs|remount,ro,size=8k"
gives "remount" "$(flags_of /vol)" 'ro,relatime | ro,size=8k,mode=755'
spec "$PROC" "mount /vol|tmpfs|tmpfs|" "mount /vol|none|none|remount,bind,nosuid"
gives "remount of a bind: the mount only" "$(flags_of /vol) | cut -d, -f1,2" 'rw,nosuid'
spec "mount /data|tmpfs|tmpfs|remount"
refused "remount of nothing" 71 "nothing is mounted there"
spec "$PROC" "mount /sys|sysfs|sysfs|nosuid,noexec,nodev,ro" "$DEV" "mount /dev/mqueue|mqueue|mqueue|nosuid,noexec,nodev" "$PTS"
gives "proc, sysfs, mqueue, devpts" \
	'test -d /sys/class && test -e /proc/1/stat && test -c /dev/pts/ptmx && stat -f -c %T /dev/mqueue | tail -n 1' 'UNKNOWN'

# --- SELinux: a label counts only where the kernel knows what it means ---
if [ ! -d /sys/fs/selinux ]; then
	spec "$PROC" "$DEV" "label system_u:object_r:container_file_t:s0:c1,c2"
	gives "a mount label without SELinux is ignored" 'test -c /dev/null && echo yes' yes
fi
