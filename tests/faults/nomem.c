// SPDX-License-Identifier: Apache-2.0
/*
 * Loaded into the shared agent: one allocation fails. Orders and names are as in tracer.c; a child's
 * number is its turn to allocate for the first time. What the agent starts does not inherit it.
 */
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PROCESSES 64
#define MODE_NONE 4

/* As in tracer.c; behind it who asked. */
struct orders {
	int32_t mode, process, number, error, hit, hit_nr, hit_arg0, births, attached, wanted,
		ready, unused;
	int32_t counts[PROCESSES];
	char hit_path[64];
	uint64_t callers[4];
};

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

static struct orders *orders;
static pid_t self;
static int process;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("FAULT_ORDERS");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

	if (fd < 0)
		return;
	self = getpid();
	orders = mmap(NULL, sizeof(*orders), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (orders == MAP_FAILED)
		orders = NULL;
	unsetenv("LD_PRELOAD");
	unsetenv("FAULT_ORDERS");
}

/* Where the frames above are, by their pointers: the agent is built with them, or they end at once. */
static void note_callers(void *caller)
{
	uint64_t base = 0;

	for (struct link_map *m = _r_debug.r_map; m; m = m->l_next) {
		if (!m->l_name[0])
			base = m->l_addr;
	}
	orders->callers[0] = (uint64_t)(uintptr_t)caller - base;
}

static int fails(void *caller)
{
	pid_t now;

	if (!orders || !orders->wanted)
		return 0;
	now = getpid();
	if (now != self) {
		self = now;
		process = ++orders->births;
	}
	if (process >= PROCESSES || ++orders->counts[process] != orders->number ||
	    orders->mode != MODE_NONE || orders->hit || process != orders->process)
		return 0;
	orders->hit = 1;
	note_callers(caller);
	errno = ENOMEM;
	return 1;
}

void *malloc(size_t size)
{
	return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(p, size);
}
