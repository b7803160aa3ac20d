/* SPDX-License-Identifier: Apache-2.0 */
/* What every part of agent-ctl uses: errors as values, owners, allocation that never fails. */
#ifndef CTL_COMMON_H
#define CTL_COMMON_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define FD_NONE	     (-9)

/* Exit statuses of agent-ctl itself; run, exec and wait pass a process's own status on. */
enum {
	EXIT_RPC = 1,	       /* the agent answered a single RPC with an error */
	EXIT_OWN = 125,	       /* agent-ctl failed: usage, files, connection */
	EXIT_CANNOT_RUN = 126, /* run, exec: the command is there and cannot be executed */
	EXIT_NOT_FOUND = 127,  /* run, exec: the command is not there */
};

struct err {
	int code; /* errno value > 0 */
	int rpc;  /* gRPC status when the agent said so, else 0 */
	char msg[1024];
};

/* Sets the text and returns -code, so that a function can end in `return err_set(...)`. */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Puts context in front of what is there; returns -err->code. */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "agent-ctl: ..." on stderr; knows that a raw terminal needs \r. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A short-lived tool on the host has nothing better to do without memory than to end. */
void *xcalloc(size_t n, size_t size);
void *xmalloc(size_t size);
void *xrealloc(void *p, size_t size);
char *xstrdup(const char *s);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

int64_t now_us(void);
static inline int64_t now_ms(void)
{
	return now_us() / 1000;
}

/* Reads all of a file; *ret is NUL-terminated and the caller's. "-" is standard input. */
int read_file(const char *path, size_t max, char **ret, size_t *ret_len, struct err *err);

static inline void auto_freep(void *p)
{
	free(*(void **)p);
}

static inline void auto_closep(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

#define AUTO_FREE  __attribute__((cleanup(auto_freep)))
#define AUTO_CLOSE __attribute__((cleanup(auto_closep)))
#define AUTO(fn)   __attribute__((cleanup(fn)))
#define TAKE_PTR(p)                        \
	({                                 \
		__typeof__(p) take_ = (p); \
		(p) = NULL;                \
		take_;                     \
	})
#define TAKE_FD(fd)               \
	({                        \
		int take_ = (fd); \
		(fd) = FD_NONE;   \
		take_;            \
	})

#endif
