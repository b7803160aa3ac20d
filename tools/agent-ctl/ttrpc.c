/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ttrpc: ten bytes of head and a message, no handshake, no flow control, no cancelling. A call
 * that is no longer wanted stays known until its answer has come, so that the answer finds nobody
 * and is dropped.
 */
#include "rpc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#define FRAME_HEAD   10
#define MAX_FRAME    (4u << 20)
#define REQUEST_HEAD 160 /* frame head, service, method, timeout and the payload's tag and length */

enum { FRAME_REQUEST = 1, FRAME_RESPONSE = 2 };

struct ttrpc {
	struct rpc *rpc;
	uint32_t next_stream;
	struct rpc_call **queue; /* requests not wholly handed on, in order */
	size_t n_queue, cap_queue;
	uint8_t head[FRAME_HEAD];
	size_t head_len;
	uint8_t *body;
	size_t body_len, body_want;
};

static void *ttrpc_open(struct rpc *r)
{
	struct ttrpc *t = xcalloc(1, sizeof(*t));

	t->rpc = r;
	t->next_stream = 1;
	return t;
}

static void ttrpc_close(void *state)
{
	struct ttrpc *t = state;

	free(t->queue);
	free(t->body);
	free(t);
}

/* ---- requests ---- */

static uint8_t *put_varint(uint8_t *p, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		*p++ = (uint8_t)(v | 0x80);
	*p++ = (uint8_t)v;
	return p;
}

static uint8_t *put_string(uint8_t *p, uint8_t tag, const char *s)
{
	size_t len = strlen(s);

	*p++ = tag;
	p = put_varint(p, len);
	memcpy(p, s, len);
	return p + len;
}

/*
 * The room in front of the payload is filled from its end backwards: the head is short, not fixed.
 */
static int ttrpc_start(void *state, struct rpc_call *c)
{
	struct ttrpc *t = state;
	uint8_t head[REQUEST_HEAD], *p = head + FRAME_HEAD;
	size_t payload = c->req_len - REQUEST_HEAD, len;
	uint32_t be;

	if (strlen(c->service) > 40)
		return -EINVAL;
	p = put_string(p, 1 << 3 | 2, c->service);
	p = put_string(p, 2 << 3 | 2, c->method);
	if (c->timeout_ms != RPC_NO_TIMEOUT) {
		*p++ = 4 << 3;
		p = put_varint(p, (uint64_t)c->timeout_ms * 1000000);
	}
	*p++ = 3 << 3 | 2;
	p = put_varint(p, payload);
	len = (size_t)(p - head);
	be = htonl((uint32_t)(len - FRAME_HEAD + payload));
	memcpy(head, &be, 4);
	be = htonl(t->next_stream);
	memcpy(head + 4, &be, 4);
	head[8] = FRAME_REQUEST;
	head[9] = 0;
	c->req_sent = REQUEST_HEAD - len;
	memcpy(c->req + c->req_sent, head, len);
	c->stream = t->next_stream;
	t->next_stream += 2;
	if (t->n_queue == t->cap_queue) {
		t->cap_queue = t->cap_queue ? t->cap_queue * 2 : 16;
		t->queue = xrealloc(t->queue, t->cap_queue * sizeof(struct rpc_call *));
	}
	t->queue[t->n_queue++] = c;
	return 0;
}

static int ttrpc_pump(void *state, struct err *err)
{
	struct ttrpc *t = state;
	struct xport *x = &t->rpc->xport;
	size_t done = 0;

	(void)err;
	while (done < t->n_queue) {
		struct rpc_call *c = t->queue[done];
		size_t left = c->req_len - c->req_sent, room = xport_room(x);

		if (room == 0) {
			xport_flush(x);
			room = xport_room(x);
		}
		if (room == 0)
			break;
		left = left < room ? left : room;
		xport_send(x, c->req + c->req_sent, left);
		c->req_sent += left;
		if (c->req_sent == c->req_len)
			done++;
	}
	if (done > 0) {
		t->n_queue -= done;
		memmove(t->queue, t->queue + done, t->n_queue * sizeof(struct rpc_call *));
	}
	return 0;
}

static void ttrpc_cancel(void *state, struct rpc_call *c)
{
	(void)state;
	(void)c;
}

/* ---- answers ---- */

struct cursor {
	const uint8_t *p, *end;
};

static bool get_varint(struct cursor *c, uint64_t *ret)
{
	uint64_t v = 0;

	for (unsigned int shift = 0; shift < 64 && c->p < c->end; shift += 7) {
		uint8_t b = *c->p++;

		v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80)) {
			*ret = v;
			return true;
		}
	}
	return false;
}

/* One field: its number, and its bytes or its number. False at the end and for nonsense (*bad). */
static bool get_field(struct cursor *c, uint32_t *ret_id, struct cursor *ret_bytes,
		      uint64_t *ret_value, bool *bad)
{
	uint64_t tag, v = 0;
	uint32_t type;

	if (c->p == c->end)
		return false;
	*bad = true;
	if (!get_varint(c, &tag))
		return false;
	type = tag & 7;
	if (type == 0 || type == 2) {
		if (!get_varint(c, &v))
			return false;
	} else if (type != 1 && type != 5) {
		return false;
	}
	if (type != 0) {
		uint64_t n = type == 2 ? v : type == 1 ? 8 : 4;

		if (n > (uint64_t)(c->end - c->p))
			return false;
		*ret_bytes = (struct cursor){ c->p, c->p + n };
		c->p += n;
	}
	*bad = false;
	*ret_id = (uint32_t)(tag >> 3);
	*ret_value = type == 0 ? v : 0;
	if (type == 0)
		*ret_bytes = (struct cursor){ c->p, c->p };
	return true;
}

static bool parse_status(struct cursor in, int *ret_code, char *message, size_t size)
{
	struct cursor bytes;
	uint64_t value;
	uint32_t id;
	bool bad = false;

	while (get_field(&in, &id, &bytes, &value, &bad)) {
		if (id == 1)
			*ret_code = (int)value;
		else if (id == 2)
			(void)snprintf(message, size, "%.*s", (int)(bytes.end - bytes.p),
				       (const char *)bytes.p);
	}
	return !bad;
}

static void finish(struct rpc_call *c, const uint8_t *body, size_t len)
{
	struct cursor in = { body, body + len }, bytes, payload = { body, body };
	int code = RPC_OK;
	uint64_t value;
	uint32_t id;
	bool bad = false;

	while (get_field(&in, &id, &bytes, &value, &bad)) {
		if (id == 1 && !parse_status(bytes, &code, c->message, sizeof(c->message)))
			bad = true;
		else if (id == 2)
			payload = bytes;
		if (bad)
			break;
	}
	if (bad)
		rpc_finish(c, RPC_INTERNAL, "the answer is no ttrpc response", NULL, 0);
	else
		rpc_finish(c, code, c->message, payload.p, (size_t)(payload.end - payload.p));
}

static void unqueue(struct ttrpc *t, const struct rpc_call *c)
{
	for (size_t i = 0; i < t->n_queue; i++) {
		if (t->queue[i] != c)
			continue;
		t->n_queue--;
		memmove(t->queue + i, t->queue + i + 1,
			(t->n_queue - i) * sizeof(struct rpc_call *));
		return;
	}
}

static int handle_frame(struct ttrpc *t, struct err *err)
{
	uint32_t stream;
	struct rpc_call *c;

	memcpy(&stream, t->head + 4, 4);
	c = rpc_find(t->rpc, ntohl(stream));
	if (t->head[8] != FRAME_RESPONSE || !c)
		return 0; /* types of later versions, answers to nobody */
	for (size_t i = 0; i < t->n_queue; i++) {
		if (t->queue[i] == c && c->req_sent < c->req_len && i == 0)
			return err_set(err, EPROTO, "the agent answered %s before it had it all",
				       c->method);
	}
	unqueue(t, c);
	finish(c, t->body, t->body_len);
	return 0;
}

static int take_head(struct ttrpc *t, struct err *err)
{
	uint32_t len;

	memcpy(&len, t->head, 4);
	t->body_want = ntohl(len);
	if (t->body_want > MAX_FRAME)
		return err_set(err, EPROTO, "a frame of %zu bytes (is this a ttrpc server?)",
			       t->body_want);
	t->body = xmalloc(t->body_want);
	t->body_len = 0;
	return 0;
}

static int ttrpc_input(void *state, const uint8_t *data, size_t len, struct err *err)
{
	struct ttrpc *t = state;

	while (len > 0) {
		size_t n;

		if (t->head_len < FRAME_HEAD) {
			n = FRAME_HEAD - t->head_len;
			n = n < len ? n : len;
			memcpy(t->head + t->head_len, data, n);
			t->head_len += n;
			if (t->head_len == FRAME_HEAD && take_head(t, err) < 0)
				return -err->code;
		} else {
			n = t->body_want - t->body_len;
			n = n < len ? n : len;
			memcpy(t->body + t->body_len, data, n);
			t->body_len += n;
		}
		data += n;
		len -= n;
		if (t->head_len == FRAME_HEAD && t->body_len == t->body_want) {
			int r = handle_frame(t, err);

			free(TAKE_PTR(t->body));
			t->head_len = 0;
			if (r < 0)
				return r;
		}
	}
	return 0;
}

const struct rpc_ops rpc_ttrpc = {
	.name = "ttrpc",
	.req_head = REQUEST_HEAD,
	.open = ttrpc_open,
	.close = ttrpc_close,
	.start = ttrpc_start,
	.cancel = ttrpc_cancel,
	.input = ttrpc_input,
	.pump = ttrpc_pump,
};
