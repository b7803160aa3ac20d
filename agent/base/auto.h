/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scope-bound ownership. A local that owns something carries one of these attributes; ownership
 * leaves a function only through TAKE_PTR or TAKE_FD.
 */
#ifndef BASE_AUTO_H
#define BASE_AUTO_H

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FD_NONE (-EBADF) /* an fd that isn't open; never 0 */

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#define AUTO(fn)   __attribute__((cleanup(fn)))
#define AUTO_CLOSE AUTO(auto_closep)
#define AUTO_FREE  AUTO(auto_freep)
#define AUTO_DIR   AUTO(auto_closedirp)
#define AUTO_FILE  AUTO(auto_fclosep)

/* Hands a pointer or an fd on and leaves nothing behind for the cleanup. */
#define TAKE_PTR(p)                         \
	({                                  \
		__typeof__(p) taken_ = (p); \
		(p) = NULL;                 \
		taken_;                     \
	})
#define TAKE_FD(fd)                \
	({                         \
		int taken_ = (fd); \
		(fd) = FD_NONE;    \
		taken_;            \
	})

/* Closes *fd if it is open and marks it closed; errno is kept. */
static inline void auto_closep(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		(void)close(*fd); /* never retried: Linux has released the number on any result */
	*fd = FD_NONE;
	errno = saved;
}

static inline void auto_freep(void *p)
{
	void **pp = p;

	free(*pp);
	*pp = NULL;
}

static inline void auto_closedirp(DIR **d)
{
	if (*d)
		(void)closedir(*d);
	*d = NULL;
}

static inline void auto_fclosep(FILE **f)
{
	if (*f)
		(void)fclose(*f);
	*f = NULL;
}

#endif
