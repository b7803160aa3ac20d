/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two places where 1.x and 3.x use the same field for two types: CreateContainerRequest.8 and
 * LinuxSeccomp.3. Walks the bytes of a request down to them. No state; input is hostile.
 */
#include "oci/seccomp.h"

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

struct span {
	uint8_t *p, *end;
};

struct field {
	uint64_t number;
	uint8_t *tag;	     /* its first byte */
	struct span content; /* of BYTES, else empty */
};

static bool get_varint(struct span *s, uint64_t *ret)
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
static bool next_field(struct span *s, struct field *f)
{
	uint64_t tag, len;

	f->tag = s->p;
	if (s->p == s->end || !get_varint(s, &tag))
		return false;
	f->number = tag >> 3;
	f->content = (struct span){ s->p, s->p };
	switch (tag & 7) {
	case VARINT:
		return get_varint(s, &len);
	case FIXED64:
		len = 8;
		break;
	case FIXED32:
		len = 4;
		break;
	case BYTES:
		if (!get_varint(s, &len))
			return false;
		break;
	default:
		return false;
	}
	if (len > (uint64_t)(s->end - s->p))
		return false;
	f->content = (struct span){ s->p, s->p + len };
	s->p += len;
	return true;
}

/* Flags are words; a system call of 1.x begins with the tag of its Names. */
static bool is_3x(struct span seccomp)
{
	static const char word[] = "SECCOMP_";
	struct field f;

	while (next_field(&seccomp, &f)) {
		size_t len = (size_t)(f.content.end - f.content.p);

		if (f.number == SECCOMP_SYSCALLS_3X)
			return true;
		if (f.number == SECCOMP_FLAGS_OR_SYSCALLS && len >= sizeof(word) - 1 &&
		    memcmp(f.content.p, word, sizeof(word) - 1) == 0)
			return true;
	}
	return false;
}

static void renumber(struct span seccomp)
{
	struct field f;

	if (!is_3x(seccomp))
		return;
	while (next_field(&seccomp, &f)) {
		/* Only the usual one-byte form of the tag; another one the decoder will refuse. */
		if (*f.tag == (SECCOMP_FLAGS_OR_SYSCALLS << 3 | BYTES))
			*f.tag = SECCOMP_FLAGS << 3 | BYTES;
	}
}

/* Calls fn for the content of each field of that number: decoders merge repeated ones. */
static void each(struct span message, uint64_t number, void (*fn)(struct span content))
{
	struct field f;

	while (next_field(&message, &f)) {
		if (f.number == number)
			fn(f.content);
	}
}

static void in_linux(struct span content)
{
	each(content, LINUX_SECCOMP, renumber);
}

static void in_spec(struct span content)
{
	each(content, SPEC_LINUX, in_linux);
}

void seccomp_adopt_3x(uint8_t *request, size_t len)
{
	struct span all = { request, request + len };
	struct field f;

	while (next_field(&all, &f)) {
		if (*f.tag == (REQUEST_PIDNS_OR_MOUNTS << 3 | BYTES))
			*f.tag = REQUEST_MOUNTS << 3 | BYTES;
	}
	each((struct span){ request, request + len }, REQUEST_OCI, in_spec);
}
