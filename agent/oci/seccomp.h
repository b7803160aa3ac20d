/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System call filters. Compiling the spec's words into a BPF program takes libseccomp milliseconds,
 * so that a container's init does it, and leaves the program in a memfd for the execs that follow.
 */
#ifndef OCI_SECCOMP_H
#define OCI_SECCOMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "oci.pb-c.h"

struct sock_filter;

struct seccomp_prog {		    /* all zero: no filter */
	struct sock_filter *filter; /* from malloc */
	unsigned short count;
	unsigned int flags; /* SECCOMP_FILTER_FLAG_* */
};

/*
 * s may be NULL or empty: no filter. Unknown system calls are left out (an image's profile names
 * those of newer kernels), any other unknown word is -EINVAL. syscalls3x counts where
 * it is given, else syscalls.
 */
int seccomp_compile(const Grpc__LinuxSeccomp *s, struct seccomp_prog *ret, struct err *err);
void seccomp_prog_release(struct seccomp_prog *p);
/* For the child: needs CAP_SYS_ADMIN in its user namespace or no_new_privs. */
int seccomp_prog_load(const struct seccomp_prog *p, struct err *err);

/* Keeps a program in an empty file and takes it out again. 0 or -errno with *err. */
int seccomp_prog_save(const struct seccomp_prog *p, int fd, struct err *err);
int seccomp_prog_restore(int fd, struct seccomp_prog *ret, struct err *err);

#endif
