# SPDX-License-Identifier: Apache-2.0
# Shared by the tests of this folder: TAP output, a scratch directory, a small static program as agent.
# shellcheck shell=bash
source "$(dirname "${BASH_SOURCE[0]}")/../lib/tap.sh"
export LC_ALL=C
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/kata-images.XXXXXX")
chmod 0755 "$work"
trap 'rm -rf "$work"' EXIT
PATH=$PATH:/sbin:/usr/sbin
unset AGENT_BIN AGENT_INIT AGENT_SOURCE_BIN AGENT_VERSION ROOTFS_DIR KERNEL_MODULES KERNEL_MODULES_DIR EXTRA_PKGS \
	SOURCE_DATE_EPOCH IMAGE FS_TYPE BLOCK_SIZE USE_DOCKER USE_PODMAN INITRD_IMAGE DESTDIR PREFIX KATA_EXTRAS IMAGE_SIZE_ALIGNMENT_MB
rootfs_sh=$top/rootfs-builder/rootfs.sh
image_sh=$top/image-builder/image_builder.sh
initrd_sh=$top/initrd/initrd_builder.sh
kernel_sh=$top/kernel-config/build-kernel.sh

# A stand-in for the agent that also is its own test: as PID 1 it shows how it was booted and powers off.
make_agent() {	# FILE [CFLAGS]
	local file=$1
	shift
	cat > "$work/agent.c" <<'EOF'
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

static void show(const char *path)
{
	static char buf[65536];
	int fd = open(path, O_RDONLY);
	ssize_t n;

	while (fd >= 0 && (n = read(fd, buf, sizeof(buf))) > 0)
		if (write(1, buf, (size_t)n) < 0)
			break;
}

static long mem_kb(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	long kb = 0;

	if (f && fscanf(f, "MemTotal: %ld", &kb) != 1)
		kb = 0;
	if (f)
		fclose(f);
	return kb;
}

/* Waits for memory to be plugged in, half a minute at most. */
static void await_memory(void)
{
	long before = mem_kb();
	int i;

	for (i = 0; i < 300; i++) {
		if (mem_kb() > before + 65536) {
			puts("MEM grew");
			fflush(stdout);
			break;
		}
		usleep(100000);
	}
}

int main(int argc, char **argv)
{
	struct timespec t;

	if (getpid() != 1) {
		puts("kata-agent version 0.0.1-test");
		return 0;
	}
	clock_gettime(CLOCK_MONOTONIC, &t);
	printf("INIT argv0=%s at %ld.%03ld\n", argc > 0 ? argv[0] : "", (long)t.tv_sec, t.tv_nsec / 1000000);
	fflush(stdout);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	show("/proc/mounts");
	show("/proc/meminfo");
	show("/proc/filesystems");
	show("/proc/cgroups");
	puts("INIT done");
	fflush(stdout);
	if (argc > 1 && argv[1][0] == 'w')
		await_memory();
	sync();
	reboot(RB_POWER_OFF);
	return 1;
}
EOF
	"${CC:-gcc}" -O1 "$@" -o "$file" "$work/agent.c"
}

# tree_sum DIR: one checksum over names, types, modes, dates, links and contents.
tree_sum() {
	(cd "$1" && find . -printf '%p %y %m %T@ %l\n' | sort && find . -type f -print0 | sort -z | xargs -0 sha256sum) | sha256sum
}

# names_missing COMMAND...: runs it without each of $tools ("tool:package ..."); prints those whose absence it did not name.
# The scripts look into the sbin directories by themselves: there, too, the tool must not be.
names_missing() {
	local t farm=$work/farm bad='' said
	mkdir -p "$work/sbin"
	for t in $tools; do
		rm -rf "$farm"
		mkdir "$farm"
		said=$(/usr/bin/env PATH=/usr/sbin /usr/bin/unshare -rm /bin/bash -c '
			farm=$1 sbin=$2 tool=$3
			shift 3
			/bin/mount --bind /usr/sbin "$sbin"
			/bin/ln -s "$sbin"/* "$farm"
			/bin/ln -s /usr/bin/* "$farm" 2> /dev/null
			/bin/rm -f "$farm/$tool"
			/bin/mount --bind "$farm" /usr/sbin
			exec "$@"' - "$farm" "$work/sbin" "${t%:*}" "$@" 2>&1) && bad+=" $t(worked)"
		[[ $said == *"${t%:*} is not installed. Install it with: apt-get install ${t#*:}"* ]] || bad+=" $t($said)"
	done
	rm -rf "$farm" "$work/sbin"
	printf '%s' "$bad"
}

# check_tools NAME TOOLS COMMAND...
check_tools() {
	local name=$1 tools=$2
	shift 2
	if unshare -rm true 2> /dev/null; then
		is "$name" "$(names_missing "$@")" ''
	else
		skip "$name" 'unshare -rm is not allowed here'
	fi
}
