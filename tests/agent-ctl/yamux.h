/*
 * One yamux stream, client side, as pure protocol: bytes in, bytes out, no descriptors. It is what
 * kata-proxy does on the virtio-serial port; one stream is enough, HTTP/2 multiplexes inside it.
 */
#ifndef CTL_YAMUX_H
#define CTL_YAMUX_H

#include "common.h"

#define YAMUX_HEADER	     12
#define YAMUX_INITIAL_WINDOW (256u * 1024)
#define YAMUX_OUR_WINDOW     (1024u * 1024)
#define YAMUX_MAX_FRAME	     (64u * 1024) /* of ours, so that a ping never waits long behind one */

enum yamux_type { YAMUX_DATA, YAMUX_WINDOW, YAMUX_PING, YAMUX_GOAWAY };
enum yamux_flag { YAMUX_SYN = 1, YAMUX_ACK = 2, YAMUX_FIN = 4, YAMUX_RST = 8 };

struct yamux_frame {
	uint8_t type;
	uint16_t flags;
	uint32_t stream, length;
};

struct yamux {
	void (*emit)(void *arg, const void *data, size_t len); /* bytes for the port */
	void (*on_data)(void *arg, const uint8_t *data, size_t len);
	void *arg;

	uint8_t head[YAMUX_HEADER];
	size_t head_len;
	uint32_t body_left, body_stream;
	uint32_t send_window, recv_window, consumed;
	uint32_t ping_id;
	bool ping_out; /* sent and not answered */
	bool remote_fin;
};

void yamux_encode(const struct yamux_frame *f, uint8_t out[YAMUX_HEADER]);
/* False: not a yamux header (version, type). */
bool yamux_decode(const uint8_t in[YAMUX_HEADER], struct yamux_frame *ret);

/* Opens stream 1 at once; emit and on_data are called from here on. */
void yamux_open(struct yamux *y, void *arg, void (*emit)(void *, const void *, size_t),
		void (*on_data)(void *, const uint8_t *, size_t));
/* Bytes from the port. An error means that the session is over. */
int yamux_input(struct yamux *y, const uint8_t *data, size_t len, struct err *err);
/* Frames as much as the peer's window allows; returns how much that was. */
size_t yamux_send(struct yamux *y, const void *data, size_t len);
void yamux_ping(struct yamux *y);
void yamux_close(struct yamux *y); /* FIN: we shall send no more */

#endif
