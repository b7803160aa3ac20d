/* SPDX-License-Identifier: Apache-2.0 */
#include "fake.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

#define SCRIPT 5u

static ssize_t fake_writev(struct conn *c, const struct iovec *iov, int count)
{
	struct fake *f = container_of(c, struct fake, conn);
	size_t total = 0, take;
	volatile uint8_t sum = 0;

	for (int i = 0; i < count; i++) {
		const uint8_t *p = iov[i].iov_base;

		for (size_t k = 0; k < iov[i].iov_len;
		     k += 64) /* ASan looks at what is given out */
			sum = (uint8_t)(sum + p[k]);
		if (iov[i].iov_len)
			sum = (uint8_t)(sum + p[iov[i].iov_len - 1]);
		total += iov[i].iov_len;
	}
	f->script = f->script >> 4 | f->script << 28;
	switch (f->script & 15) {
	case 0:
		take = 0;
		break;
	case 1:
		take = total ? 1 : 0;
		break;
	case 2:
		take = total / 2;
		break;
	case 3:
		take = total < 4096 ? total : 4096;
		break;
	case 4:
		if (f->script & 0x80)
			return -EPIPE;
		take = total;
		break;
	default:
		take = total;
	}
	f->written += take;
	return (ssize_t)take;
}

static void fake_hang_up(struct conn *c)
{
	container_of(c, struct fake, conn)->hung_up = true;
}

static void fake_pause(struct conn *c, bool on)
{
	container_of(c, struct fake, conn)->paused = on;
}

static const struct conn_carrier carrier = { fake_writev, fake_hang_up, fake_pause };

struct fake_world *fake_world(void)
{
	static struct fake_world w;

	if (!w.loop) {
		log_threshold = LOG_ERROR;
		log_forget_fds();
		if (loop_new(&w.loop) < 0)
			abort();
		test_service_init(&w.service, &w.rpc, w.loop);
	}
	return &w;
}

static void on_stop(struct job *j)
{
	(void)j;
	loop_stop(fake_world()->loop);
}

void fake_run_jobs(struct fake_world *w)
{
	static struct job stop;

	job_queue(w->loop, &stop, on_stop);
	if (loop_run(w->loop) < 0)
		abort();
}

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	(void)fprintf(stderr, "broken: %s\n", what);
	abort();
}

int fake_begin(struct fake *f, uint32_t script, conn_start *start)
{
	struct fake_world *w = fake_world();

	*f = (struct fake){ .conn = { .rpc = &w->rpc, .carrier = &carrier, .peer = "fuzz" },
			    .script = script };
	return start ? start(&f->conn) : detect_start(&f->conn);
}

int fake_feed(struct fake *f, const uint8_t *data, size_t n)
{
	uint8_t *copy = malloc(n); /* so that reading beyond it shows */
	int r;

	for (size_t i = 0; i < n; i++)
		copy[i] = data[i];
	r = conn_input(&f->conn, copy, n);
	free(copy);
	return r;
}

void fake_end(struct fake *f)
{
	struct fake_world *w = fake_world();

	conn_closed(&f->conn);
	test_service_release(&w->service, 0); /* those that go on without their connection */
	fake_run_jobs(w);
	must(w->rpc.calls == 0, "calls are left");
	must(w->rpc.held == 0, "bytes are held");
	must(list_empty(&w->service.parked) && w->service.parked_now == 0, "calls are parked");
}

void fake_session(const uint8_t *data, size_t size, const void *prefix, size_t prefix_len,
		  conn_start *start)
{
	struct fake_world *w = fake_world();
	struct fake f;
	size_t portion, at;
	uint8_t end;
	int r;

	if (size < SCRIPT)
		return;
	end = data[4];
	portion = end & 3 ? (size_t)(end & 3) * 7 : SIZE_MAX;
	r = fake_begin(&f,
		       (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 |
			       data[3],
		       start);
	if (r == 0 && prefix_len)
		r = conn_input(&f.conn, prefix, prefix_len);
	for (at = SCRIPT; at < size && r == 0 && !f.hung_up;) {
		size_t n = size - at < portion ? size - at : portion;

		r = fake_feed(&f, data + at, n);
		fake_run_jobs(w);
		at += n;
		if (r == 0 && !f.hung_up && (f.script & 1))
			r = conn_writable(&f.conn);
	}
	if (end & 4)
		test_service_release(&w->service, 3);
	for (int i = 0; i < 4 && r == 0 && !f.hung_up && end & 16; i++) {
		r = conn_writable(&f.conn);
		fake_run_jobs(w);
	}
	fake_end(&f);
}
