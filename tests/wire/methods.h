/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small service for tests of the roads: real request messages, handlers that answer, fail, park.
 */
#ifndef TESTS_WIRE_METHODS_H
#define TESTS_WIRE_METHODS_H

#include "base/list.h"
#include "rpc/call.h"

/* What the handlers share; one at a time. */
struct test_service {
	struct list parked; /* WaitProcess calls */
	unsigned int run, parked_now, cancelled;
};

/* Fills in rpc (loop is the caller's) and resets the state. */
void test_service_init(struct test_service *t, struct rpc_server *rpc, struct loop *l);
/* Answers every parked call with a status. */
void test_service_release(struct test_service *t, int status);

#endif
