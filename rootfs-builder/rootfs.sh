#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes the directory tree that becomes a guest's root: a distribution's base, the agent, an init.
# The same commands and environment as osbuilder's; the default, busybox, needs neither root nor network.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/.." && pwd)
readonly here top
readonly version_default=unknown
umask 022

# shellcheck source=scripts/lib.sh
source "$here/scripts/lib.sh"
# shellcheck source=scripts/modules.sh
source "$here/scripts/modules.sh"
[[ -z ${DEBUG:-} ]] || set -x

AGENT_BIN=${AGENT_BIN:-kata-agent}
AGENT_INIT=${AGENT_INIT:-}
AGENT_SOURCE_BIN=${AGENT_SOURCE_BIN:-}
AGENT_VERSION=${AGENT_VERSION:-}
EXTRA_PKGS=${EXTRA_PKGS:-}
GRACEFUL_EXIT=${GRACEFUL_EXIT:-}
INIT_SOURCE_BIN=${INIT_SOURCE_BIN:-}
KERNEL_MODULES=${KERNEL_MODULES:-}
KERNEL_MODULES_DIR=${KERNEL_MODULES_DIR:-}
OSBUILDER_VERSION=${OSBUILDER_VERSION:-$version_default}
ROOTFS_DIR=${ROOTFS_DIR:-}
SECCOMP=${SECCOMP:-no}
ARCH=${ARCH:-$(uname -m)}
delete_units=

distros() {
	local f
	for f in "$here"/*/config.sh; do
		f=${f%/config.sh}
		printf '%s\n' "${f##*/}"
	done | sort
}

usage() {
	cat <<EOF
Usage: ${0##*/} [options] [DISTRO]

Makes a guest's root file system in a directory. Without DISTRO and with a directory given (-r or
ROOTFS_DIR) it puts agent and init into that existing tree, and deletes nothing there. With neither
it makes busybox.

Distributions:
$(distros | sed 's/^/  /')

Options:
  -a VERSION  refuse an agent of another version        (AGENT_VERSION)
  -d          leave out systemd's units that a guest has no use for (journal, udev, getty, ...)
  -h          this text
  -l          list the distributions
  -o VERSION  version to note in osbuilder.yaml         (OSBUILDER_VERSION)
  -r DIR      the directory to make                     (ROOTFS_DIR; default rootfs-builder/rootfs-<name>)
  -t DISTRO   print its init process and the architectures it can't be made for

Environment:
  AGENT_SOURCE_BIN    the agent to install (default: build/kata-agent of this tree); any libraries it needs come along
  AGENT_BIN           its name in /usr/bin (kata-agent)
  AGENT_INIT          yes: the agent is /sbin/init; no: systemd, or INIT_SOURCE_BIN, starts it (default: by distribution)
  INIT_SOURCE_BIN     an init of one's own for AGENT_INIT=no
  EXTRA_PKGS          further packages of the distribution
  KERNEL_MODULES_DIR  a kernel's modules, to copy to /lib/modules/<its name>; depmod makes modules.dep where it is not there
  KERNEL_MODULES      names of modules to load at boot (written to /etc/modules-load.d/kata-containers.conf), or kata:
                      those that Kata's devices need. Then they and what they depend on are all that is copied
  KATA_EXTRAS         mkfs, iptables, both or none: programs that hosts of Kata 3.x ask an agent for (default: both).
                      Distributions install their packages; busybox gets them from this machine, with their libraries
  SECCOMP             yes: add the distribution's libseccomp
  USE_DOCKER, USE_PODMAN   non-empty: make it in a container (not needed for busybox, ignored there)
  DISTRO_REPO, MIRROR, REPO_URL, OS_VERSION, PKG_MANAGER, DNF_CONF   see the distribution's config.sh
  GRACEFUL_EXIT       non-empty: where the distribution is known to fail at times, note it and exit 0
  SOURCE_DATE_EPOCH   date of all files and in osbuilder.yaml (now: $SOURCE_DATE_EPOCH)
  BUSYBOX, BUSYBOX_DEB     another static busybox; a package file to take it from
  DEBUG               non-empty: show each command
EOF
}

# load_config DISTRO: reads what a distribution's folder says. Its files may use what is defined above.
load_config() {
	CONFIG_DIR=$here/$1
	[[ -f $CONFIG_DIR/config.sh ]] || die "Not found configuration directory $CONFIG_DIR (known: $(distros | tr '\n' ' '))"
	OS_NAME="" PACKAGES=${PACKAGES:-} INIT_PROCESS=systemd ARCH_EXCLUDE_LIST=()
	# shellcheck source=/dev/null
	source "$CONFIG_DIR/config.sh"
	# shellcheck source=/dev/null
	[[ ! -e $CONFIG_DIR/config_$ARCH.sh ]] || source "$CONFIG_DIR/config_$ARCH.sh"
	# shellcheck source=/dev/null
	[[ ! -e $CONFIG_DIR/rootfs_lib.sh ]] || source "$CONFIG_DIR/rootfs_lib.sh"
}

# wants_extra WORD: for config.sh: does KATA_EXTRAS ask for it?
wants_extra() { [[ " ${KATA_EXTRAS-mkfs iptables} " == *" $1 "* ]]; }

show_test_config() {
	load_config "$1"
	printf 'INIT_PROCESS:\t\t%s\nARCH_EXCLUDE_LIST:\t%s\n' "$INIT_PROCESS" "${ARCH_EXCLUDE_LIST[*]}"
}

# --- pieces of the tree ----------------------------------------------------------------------------

# skeleton ROOT: directories and files any guest's root must have; a read-only root cannot grow them later.
skeleton() {
	local root=$1 d

	mkdir -p "$root"/{dev,etc,mnt,proc,root,run,sbin,sys,tmp,var/lib,usr/bin}
	chmod 0700 "$root/root"
	chmod 1777 "$root/tmp"
	put_new "$root/etc/passwd" 'root:x:0:0:root:/root:/bin/sh' 'nobody:x:65534:65534:nobody:/nonexistent:/bin/false'
	put_new "$root/etc/group" 'root:x:0:' 'tty:x:5:' 'nogroup:x:65534:'
	put_new "$root/etc/hostname" kata
	put_new "$root/etc/hosts" '127.0.0.1 localhost' '::1 localhost ip6-localhost'
	put_new "$root/etc/os-release" "NAME=\"Kata guest ($OS_NAME)\"" "ID=$OS_NAME" "VERSION_ID=\"$OS_VERSION\""
	for d in run:run lock:run/lock; do
		[[ -e $root/var/${d%%:*} || -L $root/var/${d%%:*} ]] || ln -s "/${d#*:}" "$root/var/${d%%:*}"
	done
}

put_new() {	# FILE LINES: unless it is there
	local file=$1
	shift
	[[ -e $file || -L $file ]] || printf '%s\n' "$@" > "$file"
}

# Nothing of these is wanted in a guest made afresh. (A tree given to us is left alone: somebody needs it.)
clean_var() {
	local root=$1
	rm -rf "$root"/var/{cache,lib,log,tmp}
	mkdir -p "$root/var/lib"
	ln -s ../tmp "$root/var/tmp"
}

readonly unneeded_units=(
	systemd-coredump@.service systemd-journald.service systemd-journald-dev-log.socket systemd-journald.socket
	systemd-journal-flush.service systemd-random-seed.service systemd-timesyncd.service
	systemd-tmpfiles-setup.service systemd-tmpfiles-cleanup.timer systemd-udevd.service
	systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udev-trigger.service
	systemd-update-utmp.service
)
readonly unneeded_generators=(
	systemd-bless-boot-generator systemd-fstab-generator systemd-getty-generator systemd-gpt-auto-generator
)

drop_units() {
	local root=$1 dir unit
	for dir in "$root"/{usr/,}lib/systemd; do
		[[ -d $dir ]] || continue
		for unit in "${unneeded_units[@]}"; do
			find "$dir/system" "$root/etc/systemd/system" -name "$unit" -delete 2> /dev/null || :
		done
		for unit in "${unneeded_generators[@]}"; do
			rm -f "$dir/system-generators/$unit"
		done
	done
}

# Time comes from the host, through the PTP clock of KVM, and from nowhere else.
setup_chrony() {
	local root=$1 conf unit
	conf=$root/etc/chrony.conf
	[[ ! -d $root/etc/chrony ]] || conf=$root/etc/chrony/chrony.conf
	if [[ ! -e $conf ]]; then
		[[ -x $root/usr/sbin/chronyd ]] || return 0
		mkdir -p "${conf%/*}"
		: > "$conf"
	fi
	if ! grep -q '^refclock PHC /dev/ptp0' "$conf"; then
		sed -i -E 's/^[[:space:]]*(server|pool|peer|sourcedir)[[:space:]]/# &/' "$conf"
		printf '%s\n' '' '# The host, as a clock.' 'refclock PHC /dev/ptp0 poll 3 dpoll -2 offset 0' 'makestep 1 -1' >> "$conf"
	fi
	for unit in "$root"/{usr/,}lib/systemd/system/{chronyd,chrony}.service; do
		[[ -f $unit && ! -L $unit ]] || continue
		sed -i -E '/^ExecStart=/s/ -u [^ ]+//' "$unit"
		grep -q '^ConditionPathExists=/dev/ptp0' "$unit" || sed -i '/^\[Unit\]/a ConditionPathExists=/dev/ptp0' "$unit"
	done
}

# --- the agent -------------------------------------------------------------------------------------

find_agent() {
	[[ -n $AGENT_SOURCE_BIN ]] || AGENT_SOURCE_BIN=$top/build/kata-agent
	[[ -f $AGENT_SOURCE_BIN ]] || die "There is no agent at $AGENT_SOURCE_BIN. Build it with 'make' in $top, or name one with AGENT_SOURCE_BIN"
	[[ -x $AGENT_SOURCE_BIN ]] || die "$AGENT_SOURCE_BIN is not executable"
	AGENT_SOURCE_BIN=$(realpath "$AGENT_SOURCE_BIN")
	agent_version
}

# The version stands in the binary as text, so that a foreign architecture's agent can be asked too.
agent_version() {
	local got
	got=$(grep -a -o -m 1 'kata-agent version [0-9A-Za-z.+_-]*' "$AGENT_SOURCE_BIN" | head -n 1) || got=
	got=${got##* }
	if [[ -z $got ]] && got=$(timeout 5 "$AGENT_SOURCE_BIN" --version 2> /dev/null < /dev/null | head -n 1); then
		got=${got##* }
	fi
	if [[ -n $AGENT_VERSION && $AGENT_VERSION != "$got" ]]; then
		die "AGENT_VERSION asks for $AGENT_VERSION, but $AGENT_SOURCE_BIN is ${got:-of unknown version}. Check that version out and build it first"
	fi
	AGENT_VERSION=${got:-unknown}
}

# install_libraries ROOT AGENT: a dynamic agent brings its loader and libraries along. In a tree without a C
# library they go where they are looked for. In one that has its own, they go to /usr/lib/kata-agent, and the
# agent's copy is told so: the distribution's own programs never see them.
install_libraries() {
	local root=$1 agent=$2 sysroot=${AGENT_SYSROOT:-/} private=/usr/lib/kata-agent interp list path file dest
	interp=$(elf_interp "$root$agent")
	[[ -n $interp ]] || return 0
	if [[ $sysroot == / && $(elf_machine "$AGENT_SOURCE_BIN") != "$(elf_machine "$(command -v bash)")" ]]; then
		die "$AGENT_SOURCE_BIN is dynamic and for another architecture: name the root its libraries are in with AGENT_SYSROOT, or link it statically"
	fi
	list=$(elf_closure "${sysroot%/}" "$AGENT_SOURCE_BIN") || die "The agent's libraries are not all there: see above"

	dest=
	if resolve_in "$root" "$interp" > /dev/null; then
		need_program patchelf
		dest=$private
	fi
	while read -r path; do
		file=$(resolve_in "${sysroot%/}" "$path")
		mkdir -p "$root${dest:-${path%/*}}"
		install -m 0755 "$file" "$root${dest:-${path%/*}}/${path##*/}"
	done <<< "$list"
	if [[ -n $dest ]]; then
		patchelf --set-interpreter "$private/${interp##*/}" --force-rpath --set-rpath "$private" "$root$agent"
		for file in "$root$private"/lib*; do
			patchelf --force-rpath --set-rpath "$private" "$file"
		done
	elif [[ ! -e $root/etc/ld.so.conf ]]; then
		sed 's|/[^/]*$||' <<< "$list" | sort -u > "$root/etc/ld.so.conf"
	fi
	OK "The agent's libraries installed in ${dest:-their usual places}"
}

install_agent() {
	local root=$1 agent=/usr/bin/$AGENT_BIN dir
	mkdir -p "$root/usr/bin" "$root/sbin"
	# Not through a link: an absolute one would lead out of the tree, to the host's own file.
	rm -f "$root$agent"
	install -m 0755 "$AGENT_SOURCE_BIN" "$root$agent"
	install_libraries "$root" "$agent"

	if [[ $AGENT_INIT == yes ]]; then
		rm -f "$root/sbin/init"
		ln -s "../usr/bin/$AGENT_BIN" "$root/sbin/init"
		[[ $(resolve_in "$root" /sbin/init) == "$root$agent" ]] || ln -sfn "/usr/bin/$AGENT_BIN" "$root/sbin/init"
		# Runtimes of 2018 boot any image with init=/usr/lib/systemd/systemd.
		if [[ ! -e $root/usr/lib/systemd/systemd && ! -L $root/usr/lib/systemd/systemd ]]; then
			mkdir -p "$root/usr/lib/systemd"
			ln -s "../../bin/$AGENT_BIN" "$root/usr/lib/systemd/systemd"
		fi
		return
	fi

	if [[ -n $INIT_SOURCE_BIN ]]; then
		[[ -x $INIT_SOURCE_BIN ]] || die "INIT_SOURCE_BIN=$INIT_SOURCE_BIN is not an executable file"
		rm -f "$root/sbin/init"
		install -m 0755 "$INIT_SOURCE_BIN" "$root/sbin/init"
	fi
	if exec_in "$root" /usr/lib/systemd/systemd || exec_in "$root" /lib/systemd/systemd; then
		dir=$root/usr/lib/systemd/system
		mkdir -p "$dir"
		install -m 0644 "$here/systemd/kata-containers.target" "$dir/kata-containers.target"
		boot_to_agent "$root"
		sed "s|/usr/bin/kata-agent|$agent|" "$here/systemd/kata-agent.service" > "$dir/kata-agent.service"
		chmod 0644 "$dir/kata-agent.service"
		if [[ ! -e $root/etc/systemd/system/tmp.mount && ! -e $dir/tmp.mount ]]; then
			mkdir -p "$root/etc/systemd/system"
			install -m 0644 "$here/systemd/tmp.mount" "$root/etc/systemd/system/tmp.mount"
		fi
	fi
	exec_in "$root" /sbin/init || [[ -L $root/sbin/init ]] || die "/sbin/init is not installed in $root.
With AGENT_INIT=no something else has to start the agent: systemd (EXTRA_PKGS=systemd where the distribution has it),
or an init of your own named by INIT_SOURCE_BIN. Or use AGENT_INIT=yes"
}

# --- description -----------------------------------------------------------------------------------

yaml_list() {
	local indent=$1 p
	shift
	printf '%s\n' "$@" | tr ' ' '\n' | sed '/^$/d' | sort -u | while read -r p; do
		printf '%s- "%s"\n' "$indent" "$p"
	done
}

write_yaml() {
	local root=$1 dir=$1/var/lib/osbuilder
	mkdir -p "$dir"
	cat > "$dir/osbuilder.yaml" <<EOF
---
osbuilder:
  url: "https://github.com/kata-containers/osbuilder"
  version: "$OSBUILDER_VERSION"
rootfs-creation-time: "$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%T.%N%zZ)"
description: "osbuilder rootfs"
file-format-version: "0.0.2"
architecture: "$ARCH"
base-distro:
  name: "$OS_NAME"
  version: "$OS_VERSION"
  packages:
    default:
$(yaml_list '      ' "$PACKAGES")
    extra:
$(yaml_list '      ' "$EXTRA_PKGS")
agent:
  url: "https://github.com/kata-containers/agent"
  name: "$AGENT_BIN"
  version: "$AGENT_VERSION"
  agent-is-init-daemon: "$AGENT_INIT"
EOF
	sed -i '/^$/d' "$dir/osbuilder.yaml"
}

# --- from the pieces, a tree -----------------------------------------------------------------------

# For a tree that was given to us: just what systemd or the agent as init need to come up.
overlay() {
	local root=$1
	mkdir -p "$root"/{etc,lib/systemd,sbin,var} 2> /dev/null || :
	[[ $AGENT_INIT == no ]] || return 0
	if [[ ! -e $root/sbin/init && ! -L $root/sbin/init && -z $INIT_SOURCE_BIN ]]; then
		[[ -e $root/init || -L $root/init ]] || ln -s ./usr/lib/systemd/systemd "$root/init"
		ln -s /init "$root/sbin/init"
	fi
	mkdir -p "$root/etc/systemd/system/basic.target.wants"
	ln -sfn /usr/lib/systemd/system/kata-containers.target "$root/etc/systemd/system/basic.target.wants/kata-containers.target"
}

# What a guest of systemd boots to where nobody says systemd.unit=: the host's runtime says it for an image, and
# says nothing of systemd for an initrd.
boot_to_agent() {
	local root=$1 dir
	dir=$root/etc/systemd/system
	mkdir -p "$dir"
	[[ -e $dir/default.target || -L $dir/default.target ]] || ln -s /usr/lib/systemd/system/kata-containers.target "$dir/default.target"
}

# Units that write to the root, which is read-only, or set what a guest's kernel doesn't have; only for trees of ours.
settle_systemd() {
	local root=$1 f
	exec_in "$root" /usr/lib/systemd/systemd || exec_in "$root" /lib/systemd/systemd || return 0
	mkdir -p "$root/etc/systemd/system"
	# The seed would be the same in every guest; virtio-rng gives a better one.
	ln -sfn /dev/null "$root/etc/systemd/system/systemd-random-seed.service"
	# "-key": a key that the kernel doesn't know is no failure.
	for f in "$root"/usr/lib/sysctl.d/*.conf "$root"/etc/sysctl.d/*.conf "$root/etc/sysctl.conf"; do
		[[ ! -f $f || -L $f ]] || sed -i -E 's/^[[:space:]]*([a-z0-9_*.\/]+[[:space:]]*=)/-\1/' "$f"
	done
}

# provision ROOT: what is the same for every tree.
provision() {
	local root=$1
	mkdir -p "$root"/{etc,dev,proc,run,sys,tmp,mnt,var}
	# The agent binds the sandbox's file over it, and a read-only root has no other way.
	[[ ! -L $root/etc/resolv.conf ]] || rm -f "$root/etc/resolv.conf"
	: > "$root/etc/resolv.conf"
	[[ ! -L $root/etc/machine-id ]] || rm -f "$root/etc/machine-id"
	: > "$root/etc/machine-id"
	install_modules "$root"
	setup_chrony "$root"
	install_agent "$root"
	! declare -F add_programs > /dev/null || add_programs "$root"
	# The kernel starts /init of an initramfs: with it here, a plain find | cpio | gzip of the tree boots.
	# Where the agent is not init it is this: it moves the initramfs to a root that containers can leave, then runs /sbin/init.
	[[ -e $root/init || -L $root/init ]] || ln -s "$([[ $AGENT_INIT == yes ]] && echo /sbin/init || echo "/usr/bin/$AGENT_BIN")" "$root/init"
	[[ -z $delete_units ]] || drop_units "$root"
	write_yaml "$root"
	check_rootfs "$root"
}

# All with one date: file systems made of the tree are to be the same whenever it was built.
set_dates() {
	find "$1" -depth -print0 | xargs -0 touch -h -d "@$SOURCE_DATE_EPOCH"
}

in_container() {	# ENGINE DISTRO
	local engine=$1 distro=$2 var envs=() agent
	"$engine" info > /dev/null 2>&1 || die "$engine does not answer. Start its service, or unset USE_DOCKER and USE_PODMAN to build with this machine's own package tools"
	[[ -n ${BUILDER_IMAGE:-} ]] || die "$CONFIG_DIR/config.sh names no BUILDER_IMAGE to run in a container"
	agent=$AGENT_SOURCE_BIN
	for var in AGENT_BIN AGENT_INIT DEBUG EXTRA_PKGS KATA_EXTRAS KERNEL_MODULES OSBUILDER_VERSION SECCOMP SOURCE_DATE_EPOCH \
		OS_VERSION MIRROR REPO_URL DISTRO_REPO http_proxy https_proxy; do
		[[ -z ${!var:-} ]] || envs+=(--env "$var=${!var}")
	done
	[[ -z $KERNEL_MODULES_DIR ]] || envs+=(--env "KERNEL_MODULES_DIR=/modules/$(basename "$KERNEL_MODULES_DIR")"
		-v "$(realpath "$KERNEL_MODULES_DIR"):/modules/$(basename "$KERNEL_MODULES_DIR"):ro")
	mkdir -p "$ROOTFS_DIR"
	"$engine" run --rm --runtime "${DOCKER_RUNTIME:-runc}" --env INSIDE_CONTAINER=1 --env AGENT_SOURCE_BIN=/agent \
		"${envs[@]}" -v "$here:/osbuilder:ro" -v "$agent:/agent:ro" -v "$(realpath "$ROOTFS_DIR"):/rootfs" \
		"$BUILDER_IMAGE" sh -c "${BUILDER_SETUP:-true} && exec /osbuilder/rootfs.sh ${delete_units:+-d} -r /rootfs $distro"
}

build_distro() {
	local distro=$1 arch new engine=
	load_config "$distro"
	for arch in "${ARCH_EXCLUDE_LIST[@]}"; do
		[[ $arch != "$ARCH" ]] || die "$distro cannot be made for $ARCH"
	done
	declare -F build_rootfs > /dev/null || source_default_builder
	[[ -n $AGENT_INIT ]] || { [[ $INIT_PROCESS == kata-agent ]] && AGENT_INIT=yes || AGENT_INIT=no; }
	ROOTFS_DIR=${ROOTFS_DIR:-$here/rootfs-$OS_NAME}
	guard_dir
	[[ -n ${INSIDE_CONTAINER:-} ]] || guard_place

	if [[ -z ${INSIDE_CONTAINER:-} && -n ${USE_DOCKER:-}${USE_PODMAN:-} ]]; then
		engine=podman
		[[ -z ${USE_DOCKER:-} ]] || engine=docker
		if [[ $distro == busybox ]]; then
			info "busybox is made without a container: USE_DOCKER and USE_PODMAN have no effect"
		else
			in_container "$engine" "$distro"
			return
		fi
	fi

	# Made beside its place and moved there whole: a build that fails leaves the last good one.
	info "Making the $distro root in $ROOTFS_DIR"
	mkdir -p "$(dirname "$ROOTFS_DIR")"
	new=$(dirname "$ROOTFS_DIR")/.$(basename "$ROOTFS_DIR").new
	[[ -z ${INSIDE_CONTAINER:-} ]] || new=$ROOTFS_DIR
	if [[ $new != "$ROOTFS_DIR" ]]; then
		rm -rf --one-file-system "$new"
		mkdir "$new"
	fi
	build_rootfs "$new"
	clean_var "$new"
	provision "$new"
	settle_systemd "$new"
	set_dates "$new"
	if [[ $new != "$ROOTFS_DIR" ]]; then
		[[ ! -e $ROOTFS_DIR/var/lib/osbuilder/osbuilder.yaml ]] || keep_own "$ROOTFS_DIR" "$new"
		rm -rf --one-file-system "$ROOTFS_DIR"
		mv "$new" "$ROOTFS_DIR"
	fi
	OK "Root file system of $distro ready: $ROOTFS_DIR ($(du -sk --apparent-size "$ROOTFS_DIR" | cut -f 1) KiB)"
}

provision_existing() {
	[[ -d $ROOTFS_DIR ]] || die "Invalid rootfs directory: '$ROOTFS_DIR' (without a distribution's name it must exist; to make one: ${0##*/} -r DIR busybox)"
	guard_dir
	OS_NAME=$(sed -n 's/^ID=//p' "$ROOTFS_DIR/etc/os-release" 2> /dev/null | tr -d '"') || OS_NAME=
	OS_VERSION=$(sed -n 's/^VERSION_ID=//p' "$ROOTFS_DIR/etc/os-release" 2> /dev/null | tr -d '"') || OS_VERSION=
	OS_NAME=${OS_NAME:-unknown}
	PACKAGES=${PACKAGES:-}
	if [[ -z $AGENT_INIT ]]; then
		AGENT_INIT=yes
		! exec_in "$ROOTFS_DIR" /usr/lib/systemd/systemd || AGENT_INIT=no
		[[ -z $INIT_SOURCE_BIN ]] || AGENT_INIT=no
	fi
	info "Provisioning $ROOTFS_DIR"
	overlay "$ROOTFS_DIR"
	provision "$ROOTFS_DIR"
	OK "Agent and init are in $ROOTFS_DIR"
}

# Never the host's own root, however the path is spelled.
guard_dir() {
	[[ -n $ROOTFS_DIR ]] || die "Invalid rootfs directory: ''"
	ROOTFS_DIR=$(realpath -m "$ROOTFS_DIR")
	[[ $ROOTFS_DIR != / && ! / -ef $ROOTFS_DIR ]] || die "Invalid rootfs directory: '/' is this machine's own root"
	[[ $ROOTFS_DIR != "$HOME" && $ROOTFS_DIR != "$top" && $ROOTFS_DIR != "$here" ]] ||
		die "Invalid rootfs directory: '$ROOTFS_DIR' is in use for something else"
}

# What is to be made anew takes the place of nothing, of an empty directory or of a tree of ours.
guard_place() {
	local mounted
	[[ ! -e $ROOTFS_DIR || -d $ROOTFS_DIR ]] || die "$ROOTFS_DIR is there and is no directory: it is left alone. Choose another place with -r"
	mounted=$(awk -v dir="$ROOTFS_DIR" '{ p = $5; gsub(/\\040/, " ", p) } p == dir || index(p, dir "/") == 1 { print p; exit }' /proc/self/mountinfo)
	[[ -z $mounted ]] || die "$mounted is a mount point, which cannot be replaced. Unmount it, or choose a directory below it with -r"
	[[ ! -d $ROOTFS_DIR ]] || [[ -e $ROOTFS_DIR/var/lib/osbuilder/osbuilder.yaml || -z $(find "$ROOTFS_DIR" -mindepth 1 -print -quit) ]] ||
		die "$ROOTFS_DIR is not empty and was not made by this script. Remove it, or choose another directory with -r"
	mkdir -p "$(dirname "$ROOTFS_DIR")" || die "$ROOTFS_DIR: its directory cannot be made"
	[[ -w $(dirname "$ROOTFS_DIR") ]] || die "$(dirname "$ROOTFS_DIR") cannot be written"
}

# keep_own OLD NEW: who put files into a tree of ours finds them in the next one; who changed files that we make is
# told that they are made anew. Everything we make has the date of osbuilder.yaml, so that another date is another hand.
keep_own() {
	local old=$1 new=$2 made at p dir kept=() lost=()
	made=$(stat -c %Y "$old/var/lib/osbuilder/osbuilder.yaml")
	while IFS= read -r -d '' at && IFS= read -r -d '' p; do
		[[ ${at%.*} != "$made" ]] || continue
		dir=$(dirname "$p")
		# A link on the way may lead out of the tree.
		if [[ -e $new/$p || -L $new/$p || $(realpath -m "$new/$dir")/ != "$new"/* ]]; then
			lost+=("/$p")
			continue
		fi
		mkdir -p "$new/$dir"
		cp -a --no-dereference "$old/$p" "$new/$p"
		kept+=("/$p")
	done < <(find "$old" -xdev -mindepth 1 ! -type d -printf '%T@\0%P\0')
	[[ ${#kept[@]} -eq 0 ]] || info "Kept of what was added to $old: ${kept[*]}"
	[[ ${#lost[@]} -eq 0 ]] || warning "Made anew although somebody had changed them in $old: ${lost[*]}"
}

source_default_builder() {
	# shellcheck source=scripts/dnf.sh
	source "$here/scripts/dnf.sh"
}

failed() {	# STATUS LINE COMMAND
	error "Failed at $2: $3"
	exit "$1"
}

at_exit() {
	local status=$?
	[[ $status -eq 0 || -z ${ROOTFS_DIR:-} ]] || full_disk "$(dirname "$ROOTFS_DIR")"
	[[ -z ${ROOTFS_DIR:-} ]] || rm -rf --one-file-system "$(dirname "$ROOTFS_DIR")/.$(basename "$ROOTFS_DIR").new"
	if [[ $status -ne 0 && -n $GRACEFUL_EXIT && -n ${BUILD_CAN_FAIL:-} ]]; then
		touch "$(dirname "$ROOTFS_DIR")/${distro}_fail"
		warning "$distro could not be made; noted in $(dirname "$ROOTFS_DIR")/${distro}_fail"
		exit 0
	fi
}

while getopts a:dhlo:r:t: opt; do
	case $opt in
	a) AGENT_VERSION=$OPTARG ;;
	d) delete_units=1 ;;
	h) usage; exit 0 ;;
	l) distros; exit 0 ;;
	o) OSBUILDER_VERSION=$OPTARG ;;
	r) ROOTFS_DIR=$OPTARG ;;
	t) show_test_config "$OPTARG"; exit 0 ;;
	*) die "Found an invalid option. Try ${0##*/} -h" ;;
	esac
done
shift $((OPTIND - 1))
[[ $# -le 1 ]] || die "One distribution at a time: $*"
distro=${1:-}

[[ -z $AGENT_INIT ]] || is_yes_no "$AGENT_INIT" || die "AGENT_INIT($AGENT_INIT) is invalid (must be yes or no)"
for word in ${KATA_EXTRAS:-none}; do
	[[ $word == mkfs || $word == iptables || $word == none ]] || die "KATA_EXTRAS($KATA_EXTRAS) is invalid (must be mkfs, iptables, both or none)"
done
is_yes_no "$SECCOMP" || die "SECCOMP($SECCOMP) is invalid (must be yes or no)"
[[ -z $KERNEL_MODULES_DIR || -d $KERNEL_MODULES_DIR ]] || die "KERNEL_MODULES_DIR($KERNEL_MODULES_DIR) is defined but is not an existing directory"
[[ -n $OSBUILDER_VERSION ]] || die "need osbuilder version"
need_program find xargs sed grep awk tr cut head sort realpath install readelf du
trap 'failed $? $LINENO "$BASH_COMMAND"' ERR
trap at_exit EXIT
if [[ -z $distro && -n $ROOTFS_DIR ]]; then
	find_agent
	provision_existing
else
	distro=${distro:-busybox}
	[[ -f $here/$distro/config.sh ]] || die "Not found configuration directory $here/$distro (known: $(distros | tr '\n' ' '))"
	find_agent
	build_distro "$distro"
fi
