/* SPDX-License-Identifier: Apache-2.0 */
#include "svc/svc.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* Wraps bytes as field number of a message; the new length. */
static size_t wrap(uint8_t *buf, size_t len, unsigned int number)
{
	cr_assert(len < 128);
	(void)memmove(buf + 2, buf, len);
	buf[0] = (uint8_t)(number << 3 | 2);
	buf[1] = (uint8_t)len;
	return len + 2;
}

static size_t request(uint8_t *buf, const uint8_t *seccomp, size_t len)
{
	(void)memcpy(buf, seccomp, len);
	return wrap(buf, wrap(buf, wrap(buf, len, 8), 8), 6);
}

Test(adopt3x, flags_and_lists)
{
	static const uint8_t flags[] = "\x0a\x01"
				       "A"
				       "\x1a\x09"
				       "SECCOMP_X"
				       "\x1a\x01"
				       "y";
	static const uint8_t new_list[] = "\x1a\x01"
					  "y"
					  "\x22\x03"
					  "\x0a\x01"
					  "r";
	static const uint8_t old_list[] = "\x1a\x03"
					  "\x0a\x01"
					  "r";
	uint8_t buf[256], before[256];
	size_t n;

	n = request(buf, flags, sizeof(flags) - 1);
	adopt3x_create_container(buf, n);
	cr_expect_eq(buf[6], 0x0a);
	cr_expect_eq(buf[9], 0x2a);
	cr_expect_eq(buf[20], 0x2a);
	n = request(buf, new_list, sizeof(new_list) - 1);
	adopt3x_create_container(buf, n);
	cr_expect_eq(buf[6], 0x2a);
	cr_expect_eq(buf[9], 0x22);
	n = request(buf, old_list, sizeof(old_list) - 1);
	(void)memcpy(before, buf, n);
	adopt3x_create_container(buf, n);
	cr_expect_eq(memcmp(before, buf, n), 0, "2.0's layout stays");
}

/* Under the sanitizers: whatever is cut off or changed, nothing outside the bytes is touched. */
Test(adopt3x, garbage)
{
	static const uint8_t flags[] = "\x08\x96\x01\x11"
				       "12345678"
				       "\x1d"
				       "1234"
				       "\x1a\x09"
				       "SECCOMP_X";
	uint8_t good[256];
	size_t n = request(good, flags, sizeof(flags) - 1);

	for (size_t len = 0; len <= n; len++) {
		for (size_t at = 0; at < len; at++) {
			for (unsigned int v = 0; v < 256; v += 5) {
				uint8_t *copy = malloc(len);

				(void)memcpy(copy, good, len);
				copy[at] = (uint8_t)v;
				adopt3x_create_container(copy, len);
				free(copy);
			}
		}
	}
	adopt3x_create_container(good, n);
	cr_expect_eq(good[6 + 17], 0x2a);
}

Test(adopt3x, environments)
{
	char a[] = "A=1", none[] = "NONE", empty[] = "", b[] = "B=", *env[] = { none, a, empty, b };
	Grpc__Process p = GRPC__PROCESS__INIT;

	adopt3x_environment(NULL);
	adopt3x_environment(&p);
	p.env = env;
	p.n_env = 4;
	adopt3x_environment(&p);
	cr_assert_eq(p.n_env, 2);
	cr_expect_str_eq(p.env[0], "A=1");
	cr_expect_str_eq(p.env[1], "B=");
}
