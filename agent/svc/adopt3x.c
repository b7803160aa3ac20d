/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of 3.x as we take them. The two places where 1.x and 3.x use the same field for two
 * types, CreateContainerRequest.8 and LinuxSeccomp.3: walks the bytes of a request down to them.
 * And environments. No state; input is hostile.
 */
#include "svc/svc.h"

#include <string.h>

enum {
	REQUEST_OCI = 6,	     /* CreateContainerRequest.OCI */
	REQUEST_PIDNS_OR_MOUNTS = 8, /* agent_pidns, or shared_mounts */
	REQUEST_MOUNTS = 15,	     /* ours */
	SPEC_LINUX = 8,		     /* Spec.Linux */
	LINUX_SECCOMP = 8,	     /* Linux.Seccomp */
	SECCOMP_FLAGS_OR_SYSCALLS = 3,
	SECCOMP_SYSCALLS_3X = 4,
	SECCOMP_FLAGS = 5, /* ours */
};

enum wire_type { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

struct adopt_span {
	uint8_t *p, *end;
};

struct adopt_field {
	uint64_t number;
	uint8_t *tag;		   /* its first byte */
	struct adopt_span content; /* of BYTES, else empty */
};

static bool adopt_varint(struct adopt_span *s, uint64_t *ret)
{
	uint64_t v = 0;

	for (unsigned int shift = 0; s->p < s->end && shift < 64; shift += 7) {
		uint8_t b = *s->p++;

		v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80)) {
			*ret = v;
			return true;
		}
	}
	return false;
}

/* The next field of a message; false at its end and at bytes that make no sense. */
static bool adopt_next(struct adopt_span *s, struct adopt_field *f)
{
	uint64_t tag, len;

	f->tag = s->p;
	if (s->p == s->end || !adopt_varint(s, &tag))
		return false;
	f->number = tag >> 3;
	f->content = (struct adopt_span){ s->p, s->p };
	switch (tag & 7) {
	case VARINT:
		return adopt_varint(s, &len);
	case FIXED64:
		len = 8;
		break;
	case FIXED32:
		len = 4;
		break;
	case BYTES:
		if (!adopt_varint(s, &len))
			return false;
		break;
	default:
		return false;
	}
	if (len > (uint64_t)(s->end - s->p))
		return false;
	f->content = (struct adopt_span){ s->p, s->p + len };
	s->p += len;
	return true;
}

/* Flags are words; a system call of 1.x begins with the tag of its Names. */
static bool adopt_is_3x(struct adopt_span seccomp)
{
	static const char word[] = "SECCOMP_";
	struct adopt_field f;

	while (adopt_next(&seccomp, &f)) {
		size_t len = (size_t)(f.content.end - f.content.p);

		if (f.number == SECCOMP_SYSCALLS_3X)
			return true;
		if (f.number == SECCOMP_FLAGS_OR_SYSCALLS && len >= sizeof(word) - 1 &&
		    memcmp(f.content.p, word, sizeof(word) - 1) == 0)
			return true;
	}
	return false;
}

static void adopt_flags(struct adopt_span seccomp)
{
	struct adopt_field f;

	if (!adopt_is_3x(seccomp))
		return;
	while (adopt_next(&seccomp, &f)) {
		/* Only the usual one-byte form of the tag; another one the decoder will refuse. */
		if (*f.tag == (SECCOMP_FLAGS_OR_SYSCALLS << 3 | BYTES))
			*f.tag = SECCOMP_FLAGS << 3 | BYTES;
	}
}

/* Calls fn for the content of each field of that number: decoders merge repeated ones. */
static void adopt_each(struct adopt_span message, uint64_t number,
		       void (*fn)(struct adopt_span content))
{
	struct adopt_field f;

	while (adopt_next(&message, &f)) {
		if (f.number == number)
			fn(f.content);
	}
}

static void adopt_linux(struct adopt_span content)
{
	adopt_each(content, LINUX_SECCOMP, adopt_flags);
}

static void adopt_spec(struct adopt_span content)
{
	adopt_each(content, SPEC_LINUX, adopt_linux);
}

void adopt3x_create_container(uint8_t *request, size_t len)
{
	struct adopt_span all = { request, request + len };
	struct adopt_field f;

	while (adopt_next(&all, &f)) {
		if (*f.tag == (REQUEST_PIDNS_OR_MOUNTS << 3 | BYTES))
			*f.tag = REQUEST_MOUNTS << 3 | BYTES;
	}
	adopt_each((struct adopt_span){ request, request + len }, REQUEST_OCI, adopt_spec);
}

void adopt3x_environment(Grpc__Process *p)
{
	size_t n = 0;

	for (size_t i = 0; p && i < p->n_env; i++) {
		if (strchr(p->env[i], '='))
			p->env[n++] = p->env[i];
	}
	if (p)
		p->n_env = n;
}
