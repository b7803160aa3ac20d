/* SPDX-License-Identifier: Apache-2.0 */
/* yamux, client side: framing, windows, and finding the place where a session begins. */
#include "yamux.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#define FIRST_STREAM 1u /* of any client that starts */

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

static void emit_frame(struct yamux *y, enum yamux_type type, unsigned int flags, uint32_t stream,
		       uint32_t length)
{
	struct yamux_frame f = { (uint8_t)type, (uint16_t)flags, stream, length };
	uint8_t head[YAMUX_HEADER];

	yamux_encode(&f, head);
	y->ops->emit(y->arg, head, sizeof(head));
}

void yamux_init(struct yamux *y, const struct yamux_ops *ops, void *arg, uint32_t random)
{
	*y = (struct yamux){ .ops = ops, .arg = arg, .ping_id = random };
	/* 2^25 and more: far above those of a client that counts from 1, far from the end. */
	y->next_id = (1u << 25) + (random & 0xffffff) * 2 + 1;
}

void yamux_ping(struct yamux *y)
{
	/* Until the first is answered, each is the same: the answer to any will do. */
	if (y->ready)
		y->ping_id++;
	emit_frame(y, YAMUX_PING, YAMUX_SYN, 0, y->ping_id);
}

void yamux_pad(struct yamux *y)
{
	/* An answer to no ping, ignored; from any byte but its first it is of no known version. */
	struct yamux_frame f = { YAMUX_PING, UINT16_MAX & ~YAMUX_SYN, UINT32_MAX, UINT32_MAX };
	uint8_t head[YAMUX_HEADER];

	yamux_encode(&f, head);
	for (size_t n = 0; n <= YAMUX_INITIAL_WINDOW; n += sizeof(head))
		y->ops->emit(y->arg, head, sizeof(head));
}

/* ---- streams ---- */

static struct yamux_stream **bucket(struct yamux *y, uint32_t id)
{
	return &y->buckets[id / 2 % YAMUX_BUCKETS];
}

static struct yamux_stream *find(struct yamux *y, uint32_t id)
{
	struct yamux_stream *s = *bucket(y, id);

	while (s && s->id != id)
		s = s->next;
	return s;
}

void yamux_open(struct yamux *y, struct yamux_stream *s, uint32_t window)
{
	struct yamux_stream **b;

	*s = (struct yamux_stream){ .y = y,
				    .id = y->next_id,
				    .send_window = YAMUX_INITIAL_WINDOW,
				    .recv_window = window,
				    .window = window };
	y->next_id += 2;
	b = bucket(y, s->id);
	s->next = *b;
	*b = s;
	emit_frame(y, YAMUX_WINDOW, YAMUX_SYN, s->id, window - YAMUX_INITIAL_WINDOW);
}

void yamux_drop(struct yamux_stream *s)
{
	struct yamux_stream **p;

	if (!s->y)
		return;
	for (p = bucket(s->y, s->id); *p; p = &(*p)->next) {
		if (*p == s) {
			*p = s->next;
			break;
		}
	}
	s->y = NULL;
}

size_t yamux_send(struct yamux_stream *s, const void *data, size_t len)
{
	const uint8_t *p = data;
	size_t done = 0;

	while (done < len && s->send_window > 0) {
		size_t n = len - done;

		n = n < YAMUX_MAX_FRAME ? n : YAMUX_MAX_FRAME;
		n = n < s->send_window ? n : s->send_window;
		emit_frame(s->y, YAMUX_DATA, 0, s->id, (uint32_t)n);
		s->y->ops->emit(s->y->arg, p + done, n);
		s->send_window -= (uint32_t)n;
		done += n;
	}
	return done;
}

/* Credit goes back when half a window has gone by. */
void yamux_took(struct yamux_stream *s, size_t len)
{
	if (!s->y)
		return;
	s->consumed += (uint32_t)len;
	if (s->consumed < s->window / 2 || s->ended)
		return;
	s->recv_window += s->consumed;
	emit_frame(s->y, YAMUX_WINDOW, 0, s->id, s->consumed);
	s->consumed = 0;
}

void yamux_fin(struct yamux_stream *s)
{
	if (!s->y || s->fin_sent)
		return;
	/*
	 * No go-away with the last one: were it still in the port when the next client comes, the
	 * agent would take it for that one's. A FIN of a stream it does not know is ignored.
	 */
	emit_frame(s->y, YAMUX_WINDOW, YAMUX_FIN, s->id, 0);
	s->fin_sent = true;
}

void yamux_reset(struct yamux_stream *s)
{
	if (s->y)
		emit_frame(s->y, YAMUX_WINDOW, YAMUX_RST, s->id, 0);
	yamux_drop(s);
}

/* ---- input ---- */

static void end_stream(struct yamux_stream *s, bool reset)
{
	if (s->ended)
		return;
	s->ended = true;
	s->y->ops->end(s, reset);
}

static int handle_window(struct yamux *y, const struct yamux_frame *f, struct err *err)
{
	struct yamux_stream *s = find(y, f->stream);

	if (!s)
		return 0; /* of an earlier session, or dropped: as hashicorp's, ignored */
	if (f->length > UINT32_MAX - s->send_window)
		return err_set(err, EPROTO, "yamux window of more than 4 GiB");
	s->send_window += f->length;
	if (f->flags & (YAMUX_RST | YAMUX_FIN))
		end_stream(s, f->flags & YAMUX_RST);
	else if (f->length > 0 && y->ops->room)
		y->ops->room(s);
	return 0;
}

static int handle_data(struct yamux *y, const struct yamux_frame *f, struct err *err)
{
	struct yamux_stream *s = find(y, f->stream);

	y->body_left = f->length;
	y->body_stream = f->stream;
	y->body_fin = false;
	if (!s)
		return 0;
	if (f->length > s->recv_window)
		return err_set(err, EPROTO, "the agent sent %u bytes into a yamux window of %u",
			       f->length, s->recv_window);
	s->recv_window -= f->length;
	if (f->flags & YAMUX_RST || (f->flags & YAMUX_FIN && f->length == 0))
		end_stream(s, f->flags & YAMUX_RST);
	else
		y->body_fin = f->flags & YAMUX_FIN;
	return 0;
}

static int handle_frame(struct yamux *y, struct err *err)
{
	struct yamux_frame f;

	if (!yamux_decode(y->head, &f))
		return err_set(err, EPROTO, "no yamux frame: %02x %02x %02x %02x", y->head[0],
			       y->head[1], y->head[2], y->head[3]);
	switch ((enum yamux_type)f.type) {
	case YAMUX_DATA:
		return handle_data(y, &f, err);
	case YAMUX_WINDOW:
		return handle_window(y, &f, err);
	case YAMUX_PING:
		if (f.flags & YAMUX_SYN)
			emit_frame(y, YAMUX_PING, YAMUX_ACK, 0, f.length);
		return 0;
	case YAMUX_GOAWAY:
		if (f.length == 0)
			return 0; /* it takes no new streams, the old ones go on to their end */
		return err_set(err, ECONNRESET, "the agent ended the yamux session (go-away %u)",
			       f.length);
	}
	return 0;
}

static void handle_body(struct yamux *y, const uint8_t *data, size_t n)
{
	struct yamux_stream *s = find(y, y->body_stream);

	y->body_left -= (uint32_t)n;
	if (s && !s->ended)
		y->ops->data(s, data, n);
	/* It may be gone by now. */
	s = y->body_left == 0 && y->body_fin ? find(y, y->body_stream) : NULL;
	if (s)
		end_stream(s, false);
}

/* Looks for the answer to our ping; returns how much of data is used up. */
static size_t synchronize(struct yamux *y, const uint8_t *data, size_t len)
{
	struct yamux_frame f = { YAMUX_PING, YAMUX_ACK, 0, y->ping_id };
	uint8_t pong[YAMUX_HEADER];

	yamux_encode(&f, pong);
	for (size_t i = 0; i < len; i++) {
		memmove(y->head, y->head + 1, YAMUX_HEADER - 1);
		y->head[YAMUX_HEADER - 1] = data[i];
		if (memcmp(y->head, pong, YAMUX_HEADER))
			continue;
		y->ready = true;
		emit_frame(y, YAMUX_WINDOW, YAMUX_SYN | YAMUX_RST, FIRST_STREAM, 0);
		y->ops->ready(y->arg);
		return i + 1;
	}
	return len;
}

int yamux_input(struct yamux *y, const uint8_t *data, size_t len, struct err *err)
{
	while (len > 0) {
		size_t n;

		if (!y->ready) {
			n = synchronize(y, data, len);
		} else if (y->body_left > 0) {
			n = len < y->body_left ? len : y->body_left;
			handle_body(y, data, n);
		} else {
			n = YAMUX_HEADER - y->head_len;
			n = len < n ? len : n;
			memcpy(y->head + y->head_len, data, n);
			y->head_len += n;
			if (y->head_len == YAMUX_HEADER) {
				y->head_len = 0;
				if (handle_frame(y, err) < 0)
					return -err->code;
			}
		}
		data += n;
		len -= n;
	}
	return 0;
}
