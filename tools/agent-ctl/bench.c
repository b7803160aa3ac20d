/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measurements through one connection, as `make bench` prints them. Every figure is wall-clock
 * time as a client sees it.
 */
#include "run.h"

#include "container.h"
#include "stream.h"

#include <errno.h>
#include <string.h>

#define CHECKS	    200
#define MAX_SAMPLES 1000
#define HOLDER	    "bench-holder"

struct bench {
	struct ctl *c;
	struct share_options share;
	struct spec_options spec;
	uint32_t count, containers, mb, chunk_kib;
	json_object *out;
	struct err *err;
};

struct samples {
	double v[MAX_SAMPLES];
	size_t n;
};

static void add(struct samples *s, int64_t from_us, int64_t to_us)
{
	if (s->n < MAX_SAMPLES)
		s->v[s->n++] = (double)(to_us - from_us) / 1000;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(struct samples *s)
{
	if (s->n == 0)
		return 0;
	qsort(s->v, s->n, sizeof(s->v[0]), by_value);
	return s->n % 2 ? s->v[s->n / 2] : (s->v[s->n / 2 - 1] + s->v[s->n / 2]) / 2;
}

static void put_number(struct bench *b, const char *key, double v, int digits)
{
	char text[40];

	(void)snprintf(text, sizeof(text), "%.*f", digits, v);
	(void)json_object_object_add(b->out, key, json_object_new_double_s(v, text));
}

static void put_median(struct bench *b, const char *key, struct samples *s)
{
	put_number(b, key, median(s), 3);
}

static int bench_check(struct bench *b)
{
	struct samples s = { .n = 0 };

	for (int i = 0; i < CHECKS; i++) {
		int64_t t = now_us();

		if (ctl_call_json(b->c, "Check", NULL, NULL, NULL, b->err) < 0)
			return -b->err->code;
		add(&s, t, now_us());
	}
	put_median(b, "check_ms", &s);
	return 0;
}

static int make(struct bench *b, const char *id, char *const *argv)
{
	struct spec_options so = b->spec;
	bool terminal;

	so.argv = argv;
	so.quiet = true;
	return container_create(b->c, id, &b->share, &so, &terminal, b->err);
}

/* One container of `true` from nothing to nothing. */
static int one_cycle(struct bench *b, const char *id, struct samples s[6])
{
	char *argv[] = { (char[]){ "true" }, NULL };
	int64_t t[5];
	int status;

	t[0] = now_us();
	if (make(b, id, argv) < 0)
		return -b->err->code;
	t[1] = now_us();
	if (container_start(b->c, id, b->err) < 0)
		return -b->err->code;
	t[2] = now_us();
	if (container_wait(b->c, id, id, &status, b->err) < 0)
		return -b->err->code;
	t[3] = now_us();
	if (container_remove(b->c, id, b->err) < 0)
		return -b->err->code;
	t[4] = now_us();
	for (int i = 0; i < 4; i++)
		add(&s[i], t[i], t[i + 1]);
	add(&s[4], t[0], t[2]);
	add(&s[5], t[0], t[4]);
	return 0;
}

static int bench_cycle(struct bench *b)
{
	static const char *const names[] = { "create_ms", "start_ms",	     "wait_ms",
					     "remove_ms", "create_start_ms", "cycle_ms" };
	struct samples *s = xcalloc(ARRAY_LEN(names), sizeof(*s));
	int r = 0;

	for (uint32_t i = 0; i < b->containers && r == 0; i++) {
		char id[40];

		(void)snprintf(id, sizeof(id), "bench-%u", i);
		r = one_cycle(b, id, s);
	}
	for (size_t i = 0; i < ARRAY_LEN(names) && r == 0; i++)
		put_median(b, names[i], &s[i]);
	free(s);
	return r;
}

static int start_exec(struct bench *b, const char *exec_id, char *const *argv)
{
	struct exec_options o = { .argv = argv };

	return container_exec(b->c, HOLDER, exec_id, &o, b->err);
}

static int bench_exec(struct bench *b)
{
	char *argv[] = { (char[]){ "true" }, NULL };
	struct samples *s = xcalloc(1, sizeof(*s));
	int r = 0, status;

	for (uint32_t i = 0; i < b->count && r == 0; i++) {
		int64_t t = now_us();
		char id[40];

		(void)snprintf(id, sizeof(id), "exec-%u", i);
		r = start_exec(b, id, argv);
		if (r == 0)
			r = container_wait(b->c, HOLDER, id, &status, b->err);
		add(s, t, now_us());
	}
	if (r == 0)
		put_median(b, "exec_ms", s);
	free(s);
	return r;
}

/* ---- streams ---- */

struct reader {
	bool done;
	int status;
	char message[200];
	size_t len;
};

static void on_chunk(void *arg, const struct rpc_result *res)
{
	struct reader *r = arg;
	const uint8_t *data;

	r->done = true;
	r->status = res->status;
	(void)snprintf(r->message, sizeof(r->message), "%s", res->message);
	r->len = 0;
	if (res->status == RPC_OK)
		(void)stream_peek_data(res->data, res->len, &data, &r->len);
}

/* Reads to the end; the bytes are counted where they arrive. */
static int drain(struct bench *b, const char *exec_id, uint64_t *ret_bytes)
{
	PB_LOCAL(Grpc__ReadStreamRequest, grpc__read_stream_request, req);
	struct reader r;

	*ret_bytes = 0;
	req.container_id = (char[]){ HOLDER };
	req.exec_id = (char *)(uintptr_t)exec_id;
	req.len = b->chunk_kib ? b->chunk_kib << 10 : STREAM_READ;
	for (;;) {
		r.done = false;
		(void)rpc_start(b->c->rpc, "grpc.AgentService", "ReadStdout", &req.base,
				RPC_NO_TIMEOUT, on_chunk, &r);
		loop_until(&b->c->loop, &r.done);
		if (r.status == RPC_OK && r.len > 0) {
			*ret_bytes += r.len;
			continue;
		}
		if (r.status == RPC_OK || stream_is_eof(r.status, r.message, false))
			return 0;
		return err_set(b->err, EREMOTEIO, "ReadStdout: %s: %s", rpc_status_name(r.status),
			       r.message);
	}
}

static int bench_stdout(struct bench *b)
{
	char count[40];
	char *argv[] = { (char[]){ "dd" }, (char[]){ "if=/dev/zero" }, (char[]){ "bs=65536" },
			 count, NULL };
	uint64_t want = (uint64_t)b->mb << 20, got = 0;
	int64_t t;
	int status;

	(void)snprintf(count, sizeof(count), "count=%u", b->mb * 16);
	if (start_exec(b, "bench-stdout", argv) < 0)
		return -b->err->code;
	t = now_us();
	if (drain(b, "bench-stdout", &got) < 0)
		return -b->err->code;
	t = now_us() - t;
	if (container_wait(b->c, HOLDER, "bench-stdout", &status, b->err) < 0)
		return -b->err->code;
	if (got != want)
		return err_set(b->err, EIO, "stdout: %llu bytes arrived of %llu",
			       (unsigned long long)got, (unsigned long long)want);
	put_number(b, "stdout_mb_s", (double)got / 1048576 / ((double)t / 1e6), 2);
	return 0;
}

static int write_all(struct bench *b, const char *exec_id, uint64_t total)
{
	size_t chunk = b->chunk_kib ? (size_t)b->chunk_kib << 10 : STREAM_WRITE;
	AUTO_FREE uint8_t *buf = xcalloc(1, chunk);
	PB_LOCAL(Grpc__WriteStreamRequest, grpc__write_stream_request, req);

	req.container_id = (char[]){ HOLDER };
	req.exec_id = (char *)(uintptr_t)exec_id;
	req.data.data = buf;
	while (total > 0) {
		AUTO_MSG ProtobufCMessage *res = NULL;
		uint32_t n;

		req.data.len = total < chunk ? (size_t)total : chunk;
		if (ctl_call(b->c, "WriteStdin", &req.base, &res, b->err) < 0)
			return -b->err->code;
		n = ((Grpc__WriteStreamResponse *)res)->len;
		if (n == 0 || n > req.data.len)
			return err_set(b->err, EIO, "WriteStdin took %u of %zu bytes", n,
				       req.data.len);
		total -= n;
	}
	return 0;
}

static int bench_stdin(struct bench *b)
{
	char *argv[] = { (char[]){ "dd" }, (char[]){ "of=/dev/null" }, (char[]){ "bs=65536" },
			 NULL };
	AUTO_JSON json_object *req = json_object_new_object();
	int64_t t;
	int status;

	if (start_exec(b, "bench-stdin", argv) < 0)
		return -b->err->code;
	json_put_str(req, "container_id", HOLDER);
	json_put_str(req, "exec_id", "bench-stdin");
	t = now_us();
	if (write_all(b, "bench-stdin", (uint64_t)b->mb << 20) < 0 ||
	    ctl_call_json(b->c, "CloseStdin", req, NULL, NULL, b->err) < 0 ||
	    container_wait(b->c, HOLDER, "bench-stdin", &status, b->err) < 0)
		return -b->err->code;
	t = now_us() - t;
	put_number(b, "stdin_mb_s", (double)b->mb / ((double)t / 1e6), 2);
	return 0;
}

/* ---- the whole ---- */

static int bench_in_sandbox(struct bench *b)
{
	char *argv[] = { (char[]){ "sleep" }, (char[]){ "1000000" }, NULL };
	struct err ignored;
	int r = bench_cycle(b);

	if (r == 0)
		r = make(b, HOLDER, argv);
	if (r < 0)
		return r;
	r = container_start(b->c, HOLDER, b->err);
	if (r == 0)
		r = bench_exec(b);
	if (r == 0)
		r = bench_stdout(b);
	if (r == 0)
		r = bench_stdin(b);
	(void)container_kill(b->c, HOLDER, &ignored);
	(void)container_wait(b->c, HOLDER, HOLDER, &(int){ 0 }, &ignored);
	(void)container_remove(b->c, HOLDER, &ignored);
	return r;
}

static int bench_all(struct bench *b)
{
	struct err ignored;
	int64_t t = now_us();
	int r;

	if (ctl_connect(b->c, 30, b->err) < 0)
		return -b->err->code;
	put_number(b, "first_answer_ms", (double)(now_us() - t) / 1000, 3);
	if (bench_check(b) < 0)
		return -b->err->code;
	t = now_us();
	r = sandbox_create(b->c, "bench", &b->share, b->err);
	if (r < 0 && b->err->rpc != RPC_ALREADY_EXISTS)
		return r;
	if (r == 0)
		put_number(b, "create_sandbox_ms", (double)(now_us() - t) / 1000, 3);
	t = r;
	r = bench_in_sandbox(b);
	if (t == 0) /* ours */
		(void)ctl_call_json(b->c, "DestroySandbox", NULL, NULL, NULL, &ignored);
	return r;
}

static void print_table(json_object *out)
{
	json_object_object_foreach(out, key, value)
	{
		(void)printf("%-20s %12s\n", key, json_object_to_json_string(value));
	}
}

int bench_main(struct ctl *c, const struct command *self, int argc, char **argv)
{
	struct bench b = { .c = c, .count = 20, .containers = 10, .mb = 32 };
	bool as_json = false;
	const struct opt opts[] = {
		{ 'j', "json", OPT_FLAG, &as_json, NULL, "print JSON instead of a table" },
		{ 0, "execs", OPT_UINT, &b.count, "N", "how many execs the median is of (20)" },
		{ 0, "containers", OPT_UINT, &b.containers, "N", "how many containers (10)" },
		{ 0, "mb", OPT_UINT, &b.mb, "MIB", "how much goes through each stream (32)" },
		{ 0, "chunk", OPT_UINT, &b.chunk_kib, "KIB",
		  "size of each read and write (as run and exec use them: 256, 64)" },
		SHARE_OPTIONS(&b.share),
	};
	struct err err;
	int status;

	if (!ctl_options(c, self, opts, ARRAY_LEN(opts), -1, &argc, argv, 1, 1, &status))
		return status;
	if (b.chunk_kib > 4000) {
		say("--chunk: at most 4000, a message holds 4 MiB");
		return EXIT_OWN;
	}
	if (share_check(&b.share, &err) < 0)
		return ctl_fail(&err);
	b.spec.bundle = argv[0];
	b.err = &err;
	b.out = json_object_new_object();
	status = bench_all(&b) < 0 ? ctl_fail(&err) : 0;
	if (as_json)
		(void)puts(json_object_to_json_string_ext(b.out, JSON_C_TO_STRING_PRETTY |
									 JSON_C_TO_STRING_SPACED));
	else
		print_table(b.out);
	(void)json_object_put(b.out);
	return status;
}
