/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yamux, client side, as pure protocol: bytes in, bytes out, no descriptors. It is what kata-proxy
 * speaks on the virtio-serial port; each stream carries one HTTP/2 connection.
 *
 * The port outlives its users, and neither side hears for certain when the other one changes. So a
 * session begins with a ping of its own, and whatever comes before that ping's answer belonged to
 * somebody else. Then stream 1 is opened and reset: a yamux client counts upwards from 1, hence an
 * agent that still serves another client's streams knows that they are over. Our streams have ids
 * from a random number on, so that late frames for older ones hit none of them.
 */
#ifndef CTL_YAMUX_H
#define CTL_YAMUX_H

#include "common.h"

#define YAMUX_HEADER	     12
#define YAMUX_INITIAL_WINDOW (256u * 1024)
#define YAMUX_MAX_FRAME	     (64u * 1024) /* of ours, so that a ping never waits long behind one */
#define YAMUX_BUCKETS	     64

enum yamux_type { YAMUX_DATA, YAMUX_WINDOW, YAMUX_PING, YAMUX_GOAWAY };
enum yamux_flag { YAMUX_SYN = 1, YAMUX_ACK = 2, YAMUX_FIN = 4, YAMUX_RST = 8 };

struct yamux_frame {
	uint8_t type;
	uint16_t flags;
	uint32_t stream, length;
};

struct yamux_stream;

struct yamux_ops {
	void (*emit)(void *arg, const void *data, size_t len); /* bytes for the port */
	void (*ready)(void *arg);			       /* the peer has answered */
	/* Data came; who has passed it on says so with yamux_took. */
	void (*data)(struct yamux_stream *s, const uint8_t *data, size_t len);
	/* The window has grown. May be NULL. */
	void (*room)(struct yamux_stream *s);
	/* The peer has closed the stream, or reset it: nothing more comes. It may be dropped. */
	void (*end)(struct yamux_stream *s, bool reset);
};

/* Embedded in its owner. */
struct yamux_stream {
	struct yamux *y; /* NULL: not open */
	struct yamux_stream *next;
	uint32_t id;
	uint32_t send_window, recv_window;
	uint32_t window, consumed; /* what the peer may have under way; what it gets back soon */
	bool fin_sent, ended;
};

struct yamux {
	const struct yamux_ops *ops;
	void *arg;
	bool ready;
	uint8_t head[YAMUX_HEADER]; /* until ready the last bytes that came */
	size_t head_len;
	uint32_t body_left, body_stream;
	bool body_fin;
	uint32_t next_id;
	uint32_t ping_id; /* the first one's is random */
	struct yamux_stream *buckets[YAMUX_BUCKETS];
};

void yamux_encode(const struct yamux_frame *f, uint8_t out[YAMUX_HEADER]);
/* False: not a yamux header (version, type). */
bool yamux_decode(const uint8_t in[YAMUX_HEADER], struct yamux_frame *ret);

/* Sends nothing yet: yamux_ping, again and again until the session is ready, starts it. */
void yamux_init(struct yamux *y, const struct yamux_ops *ops, void *arg, uint32_t random);
/* Bytes from the port. An error means that the session is over: its streams are the caller's. */
int yamux_input(struct yamux *y, const uint8_t *data, size_t len, struct err *err);
void yamux_ping(struct yamux *y);
/*
 * For a peer that takes bytes and does not answer: it waits for the rest of a frame that another
 * client has begun. This is more than any frame has, and harmless, or where it does not begin at a
 * frame's first byte wrong enough to make the peer start anew.
 */
void yamux_pad(struct yamux *y);

/* Only when ready. window: what the peer may send ahead, from YAMUX_INITIAL_WINDOW up. */
void yamux_open(struct yamux *y, struct yamux_stream *s, uint32_t window);
/* Frames as much as the peer's window allows; returns how much that was. */
size_t yamux_send(struct yamux_stream *s, const void *data, size_t len);
void yamux_took(struct yamux_stream *s, size_t len);
void yamux_fin(struct yamux_stream *s);	  /* we shall send no more */
void yamux_reset(struct yamux_stream *s); /* we shall neither send nor read, and drop it */
void yamux_drop(struct yamux_stream *s);  /* forgets it; what still comes for it is ignored */

#endif
