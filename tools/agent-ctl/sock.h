/* SPDX-License-Identifier: Apache-2.0 */
/* A connected, non-blocking socket in the loop, with a queue of bytes that wait to be written. */
#ifndef CTL_SOCK_H
#define CTL_SOCK_H

#include "bytes.h"
#include "loop.h"

#define SOCK_READ_MAX (512u * 1024)

struct sock_ops {
	/* What was read, in a buffer that the next read uses again. < 0: it dies of *err. */
	int (*input)(void *user, const uint8_t *data, size_t len, struct err *err);
	/* Once: the peer has left, or the socket has failed. */
	void (*end)(void *user, const struct err *why);
	/* So much of what waited has been written. May be NULL. */
	void (*sent)(void *user, size_t len);
	/* Something has happened, maybe there is room. May be NULL. */
	void (*turn)(void *user);
};

struct sock {
	struct loop *loop;
	struct io io;
	struct bytes out;
	size_t read_max; /* bytes of one read */
	bool paused;	 /* nothing is read */
	bool dead;
	struct err why; /* once dead */
	void *user;
	const struct sock_ops *ops;
};

/* Takes fd. Functions of ops are called from the loop, from flush and step, none after close. */
void sock_open(struct sock *s, struct loop *loop, int fd, const struct sock_ops *ops, void *user);
void sock_put(struct sock *s, const void *data, size_t len);
void sock_flush(struct sock *s);
void sock_pause(struct sock *s, bool on);
/* Ends it from above, as if the peer had left. */
void sock_die(struct sock *s, const struct err *why);
/* One turn of this socket alone, for those who wait on their way out. */
void sock_step(struct sock *s, int timeout_ms);
/* All that was written has been read by the peer (a Unix socket's). */
bool sock_is_drained(const struct sock *s);
void sock_close(struct sock *s);

#endif
