/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON written into a stream, up to a bound.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct json {
	FILE *f;     /* the caller's */
	size_t left; /* bytes that may still be written; what goes beyond sets full */
	bool full;
};

/* The text as it is. */
void json_text(struct json *j, const char *text);
/* A string with its quotes; bytes that are no UTF-8 become U+FFFD. */
void json_string(struct json *j, const char *s);
/* 0; -EFBIG when it was too much, -EIO when the stream failed. The stream stays open. */
int json_end(const struct json *j);

#endif
