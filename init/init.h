/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What only PID 1 does: early mounts, /dev/ptmx, the console, a last word before the power goes
 * off.
 */
#ifndef INIT_INIT_H
#define INIT_INIT_H

#include <stdbool.h>

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

#endif
