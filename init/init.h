/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What only PID 1 does: its root, early mounts, /dev/ptmx, cgroups, the console, modules, a last
 * word before the power goes off.
 */
#ifndef INIT_INIT_H
#define INIT_INIT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/*
 * /proc, /sys, /dev and what belongs below them, /run. Safe to call before anything else. 0 or
 * -errno with *err.
 */
int init_mounts(struct err *err);
/*
 * Sysctls that nobody in a guest needs otherwise: the keyboard's back door, kernel addresses, BPF
 * for everybody, and the capabilities of programs that the kernel starts (core_pattern, modprobe).
 * What the kernel has not is passed over.
 */
void init_lock_down(void);
/*
 * A session of our own with the console as its terminal and standard streams, and a PATH. False if
 * the console is not there (yet): call it again.
 */
bool init_console(void);
/* The first word of /etc/hostname, or "localhost". */
void init_hostname(void);
/* Writes a line to the kernel's log, syncs, and powers the guest off; does not return. */
_Noreturn void init_die(const char *why);

/* --- root.c: the guest's root, where it is an initramfs --- */

/*
 * PID 1 on an initramfs: moves all of it to a root of its own and executes from there, with argv
 * and the environment, /sbin/init where the kernel started /init, else argv[0]; does not return
 * then. Elsewhere, and the second time: 0. -errno with *err: the root may be in pieces, and the
 * caller's only way is to end the guest.
 */
int root_move(char **argv, struct err *err);
/*
 * Below another init that still runs from the initramfs (systemd in an initrd): a mount namespace
 * of our own, where the root is a bind of itself that pivot_root can leave. What is mounted later
 * on mounts that were shared is seen by both. Elsewhere: 0.
 */
int root_cover(struct err *err);

/* --- cgroups.c: the cgroup file systems, mounted by PID 1 --- */

#define CGROUPS_MAX 32u /* controllers; Linux has fourteen */

/*
 * unified: cgroup2 on /sys/fs/cgroup with all controllers enabled for the levels below. Else v1:
 * a tmpfs there with one hierarchy per enabled controller, read-only afterwards; one that can't be
 * mounted is left out. A kernel that has no v1 devices controller (cgroup_no_v1=all) gets v2,
 * whatever was asked for. What is mounted already is fine. On failure there are no cgroups.
 */
int cgroups_mount(bool unified, struct err *err);

/*
 * The names of the enabled controllers in the text of /proc/cgroups, which is cut in place; none
 * when "devices" is not among them. The number of names.
 */
size_t cgroups_parse(char *text, const char *names[CGROUPS_MAX]);

/* --- modules.c: kernel modules that an image wants at boot --- */

/* Is there a list at all? Most kernels of guests have everything built in. */
bool modules_wanted(void);
/*
 * Loads what the files /etc/modules-load.d/NAME.conf name, a module (with parameters) a line, by
 * modprobe. All are tried. *err names each that could not be loaded and is not built in, and says
 * why the first could not. It waits: for a worker.
 */
int modules_load(struct err *err);

#endif
