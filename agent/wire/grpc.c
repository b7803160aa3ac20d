/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gRPC's framing and header values. No state.
 */
#include "wire/grpc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "rpc/dispatch.h"

int64_t grpc_timeout_ms(const char *text, size_t len)
{
	static const struct {
		char unit;
		int64_t ms, per; /* ms = value * ms / per */
	} units[] = {
		{ 'H', 3600000, 1 }, { 'M', 60000, 1 }, { 'S', 1000, 1 },
		{ 'm', 1, 1 },	     { 'u', 1, 1000 },	{ 'n', 1, 1000000 },
	};
	int64_t v = 0;

	if (len < 2 || len > 9)
		return -EINVAL;
	for (size_t i = 0; i < len - 1; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EINVAL;
		v = v * 10 + (text[i] - '0');
	}
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (units[i].unit == text[len - 1])
			return (v * units[i].ms + units[i].per - 1) / units[i].per;
	}
	return -EINVAL;
}

size_t grpc_encode_message(const char *msg, char *out, size_t size)
{
	const char *start = msg;
	size_t n = 0;

	for (; *msg && n + 4 <= size; msg++) {
		unsigned char c = (unsigned char)*msg;
		/* HTTP/2 drops a field whose value begins or ends with one. */
		bool outer = c == ' ' && (msg == start || !msg[1]);

		if (c >= 0x20 && c <= 0x7e && c != '%' && !outer)
			out[n++] = (char)c;
		else
			n += (size_t)snprintf(out + n, size - n, "%%%02X", c);
	}
	out[n] = '\0';
	return n;
}

int grpc_read(struct grpc_reader *r, const uint8_t *data, size_t len, struct err *err)
{
	size_t n;

	while (len > 0 && r->prefix_len < GRPC_PREFIX) {
		r->prefix[r->prefix_len++] = *data++;
		len--;
	}
	if (r->prefix_len < GRPC_PREFIX)
		return 0;
	if (r->prefix[0] != 0)
		return err_rpc(err, RPC_UNIMPLEMENTED,
			       "grpc: compressed messages are not supported");
	r->want = be32_get(r->prefix + 1);
	if (r->want > LIMIT_MESSAGE)
		return err_rpc(err, RPC_RESOURCE_EXHAUSTED,
			       "grpc: received message larger than max (%u vs. %u)", r->want,
			       LIMIT_MESSAGE);
	if (len > r->want - buf_len(&r->body))
		return err_rpc(err, RPC_INTERNAL, "grpc: more than one message in a unary call");
	if (len == 0)
		return 0;
	/* Small messages get their exact size at once; big ones grow with what really comes. */
	if (!r->body.mem) {
		n = r->want < 4 * len || r->want <= (128u << 10) ? r->want : 4 * len;
		if (!buf_reserve(&r->body, n))
			return err_rpc(err, RPC_RESOURCE_EXHAUSTED, "out of memory");
	}
	if (buf_append(&r->body, data, len) < 0)
		return err_rpc(err, RPC_RESOURCE_EXHAUSTED, "out of memory");
	return 0;
}

int grpc_read_end(const struct grpc_reader *r, struct err *err)
{
	if (r->prefix_len < GRPC_PREFIX || buf_len(&r->body) != r->want)
		return err_rpc(err, RPC_INTERNAL, "grpc: the stream ended within its message");
	return 0;
}

const struct rpc_method *grpc_method(const struct rpc_server *s, const char *path, size_t len,
				     struct err *err)
{
	const char *slash = len > 1 ? memrchr(path, '/', len) : NULL;
	const struct rpc_method *m;
	size_t service_len;
	bool known;

	if (!slash || path[0] != '/' || slash == path) {
		err_rpc(err, RPC_RESOURCE_EXHAUSTED, "malformed method name: \"%.*s\"", (int)len,
			path);
		return NULL;
	}
	service_len = (size_t)(slash - path) - 1;
	m = rpc_find(s, path + 1, service_len, slash + 1, len - service_len - 2, &known);
	if (!m && known)
		err_rpc(err, RPC_UNIMPLEMENTED, "unknown method %.*s", (int)(len - service_len - 2),
			slash + 1);
	else if (!m)
		err_rpc(err, RPC_UNIMPLEMENTED, "unknown service %.*s", (int)service_len, path + 1);
	return m;
}
