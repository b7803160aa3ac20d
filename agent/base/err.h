/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What went wrong, in words and numbers: plain bytes, usable after fork, sendable on a pipe.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>

struct err {
	int code; /* errno value, > 0; 0: nothing happened */
	int rpc;  /* what the peer is told; 0: UNKNOWN, whatever the code is */
	char msg[500];
};

/*
 * Each sets *err (which may be NULL) and returns -code. err_sys is for an errno that a system call
 * left, and appends ": " and strerror(code); err_set is for a code of our own choice, and doesn't.
 */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int err_sys(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* As err_set, with an RPC status of the caller's choice; the code is EINVAL. */
int err_rpc(struct err *err, int rpc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Puts "text: " before what *err says and keeps its numbers; returns -err->code (-EINVAL for NULL). */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
