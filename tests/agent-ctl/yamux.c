/* yamux, client side, one stream. */
#include "yamux.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#define STREAM_ID 1u

void yamux_encode(const struct yamux_frame *f, uint8_t out[YAMUX_HEADER])
{
	uint16_t flags = htons(f->flags);
	uint32_t stream = htonl(f->stream), length = htonl(f->length);

	out[0] = 0;
	out[1] = f->type;
	memcpy(out + 2, &flags, 2);
	memcpy(out + 4, &stream, 4);
	memcpy(out + 8, &length, 4);
}

bool yamux_decode(const uint8_t in[YAMUX_HEADER], struct yamux_frame *ret)
{
	uint16_t flags;
	uint32_t stream, length;

	if (in[0] != 0 || in[1] > YAMUX_GOAWAY)
		return false;
	memcpy(&flags, in + 2, 2);
	memcpy(&stream, in + 4, 4);
	memcpy(&length, in + 8, 4);
	*ret = (struct yamux_frame){ in[1], ntohs(flags), ntohl(stream), ntohl(length) };
	return true;
}

static void emit_frame(struct yamux *y, enum yamux_type type, uint16_t flags, uint32_t stream,
		       uint32_t length)
{
	struct yamux_frame f = { (uint8_t)type, flags, stream, length };
	uint8_t head[YAMUX_HEADER];

	yamux_encode(&f, head);
	y->emit(y->arg, head, sizeof(head));
}

void yamux_open(struct yamux *y, void *arg, void (*emit)(void *, const void *, size_t),
		void (*on_data)(void *, const uint8_t *, size_t))
{
	*y = (struct yamux){ .emit = emit,
			     .on_data = on_data,
			     .arg = arg,
			     .send_window = YAMUX_INITIAL_WINDOW,
			     .recv_window = YAMUX_OUR_WINDOW };
	emit_frame(y, YAMUX_WINDOW, YAMUX_SYN, STREAM_ID, YAMUX_OUR_WINDOW - YAMUX_INITIAL_WINDOW);
}

/* The reader above takes all at once, so credit goes back when half a window has gone by. */
static void give_credit(struct yamux *y, uint32_t n)
{
	y->consumed += n;
	if (y->consumed < YAMUX_OUR_WINDOW / 2 || y->remote_fin)
		return;
	y->recv_window += y->consumed;
	emit_frame(y, YAMUX_WINDOW, 0, STREAM_ID, y->consumed);
	y->consumed = 0;
}

static int stream_flags(struct yamux *y, const struct yamux_frame *f, struct err *err)
{
	if (f->flags & YAMUX_RST)
		return err_set(err, ECONNRESET, "the agent has reset the yamux stream");
	if (f->flags & YAMUX_FIN)
		y->remote_fin = true;
	return 0;
}

static int handle_window(struct yamux *y, const struct yamux_frame *f, struct err *err)
{
	if (f->stream != STREAM_ID)
		return 0; /* of a stream of an earlier session: as hashicorp's, ignored */
	if (f->length > UINT32_MAX - y->send_window)
		return err_set(err, EPROTO, "yamux window of more than 4 GiB");
	y->send_window += f->length;
	return stream_flags(y, f, err);
}

static int handle_data(struct yamux *y, const struct yamux_frame *f, struct err *err)
{
	y->body_left = f->length;
	y->body_stream = f->stream;
	if (f->stream != STREAM_ID)
		return 0;
	if (f->length > y->recv_window)
		return err_set(err, EPROTO, "the agent sent %u bytes into a yamux window of %u",
			       f->length, y->recv_window);
	y->recv_window -= f->length;
	return stream_flags(y, f, err);
}

static int handle_frame(struct yamux *y, struct err *err)
{
	struct yamux_frame f;

	if (!yamux_decode(y->head, &f))
		return err_set(err, EPROTO,
			       "no yamux frame: %02x %02x %02x %02x (is this the agent's "
			       "serial port?)",
			       y->head[0], y->head[1], y->head[2], y->head[3]);
	switch ((enum yamux_type)f.type) {
	case YAMUX_DATA:
		return handle_data(y, &f, err);
	case YAMUX_WINDOW:
		return handle_window(y, &f, err);
	case YAMUX_PING:
		if (f.flags & YAMUX_SYN)
			emit_frame(y, YAMUX_PING, YAMUX_ACK, 0, f.length);
		else if (f.length == y->ping_id)
			y->ping_out = false;
		return 0;
	case YAMUX_GOAWAY:
		return err_set(err, ECONNRESET, "the agent ended the yamux session (go-away %u)",
			       f.length);
	}
	return 0;
}

int yamux_input(struct yamux *y, const uint8_t *data, size_t len, struct err *err)
{
	while (len > 0) {
		size_t n;
		int r;

		if (y->body_left > 0) {
			n = len < y->body_left ? len : y->body_left;
			y->body_left -= (uint32_t)n;
			if (y->body_stream == STREAM_ID) {
				y->on_data(y->arg, data, n);
				give_credit(y, (uint32_t)n);
			}
		} else {
			n = YAMUX_HEADER - y->head_len;
			n = len < n ? len : n;
			memcpy(y->head + y->head_len, data, n);
			y->head_len += n;
			if (y->head_len == YAMUX_HEADER) {
				y->head_len = 0;
				r = handle_frame(y, err);
				if (r < 0)
					return r;
			}
		}
		data += n;
		len -= n;
	}
	if (y->remote_fin && y->body_left == 0)
		return err_set(err, ECONNRESET, "the agent closed the yamux stream");
	return 0;
}

size_t yamux_send(struct yamux *y, const void *data, size_t len)
{
	const uint8_t *p = data;
	size_t done = 0;

	while (done < len && y->send_window > 0) {
		size_t n = len - done;

		n = n < YAMUX_MAX_FRAME ? n : YAMUX_MAX_FRAME;
		n = n < y->send_window ? n : y->send_window;
		emit_frame(y, YAMUX_DATA, 0, STREAM_ID, (uint32_t)n);
		y->emit(y->arg, p + done, n);
		y->send_window -= (uint32_t)n;
		done += n;
	}
	return done;
}

void yamux_ping(struct yamux *y)
{
	y->ping_out = true;
	emit_frame(y, YAMUX_PING, YAMUX_SYN, 0, ++y->ping_id);
}

void yamux_close(struct yamux *y)
{
	/*
	 * No go-away: were it still in the port when the next client comes, the agent would take
	 * it for that one's. A FIN of a stream it does not know is ignored.
	 */
	emit_frame(y, YAMUX_WINDOW, YAMUX_FIN, STREAM_ID, 0);
}
