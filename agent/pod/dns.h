/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's name servers.
 */
#ifndef POD_DNS_H
#define POD_DNS_H

#include <stddef.h>

#include "base/err.h"

/*
 * Lines of a resolv.conf, written below /run and bound over /etc/resolv.conf. n may be 0. For
 * workers, as dns_unset: the root disk may not answer.
 */
int dns_set(char *const *lines, size_t n, struct err *err);
/* Takes the binding away again; harmless without one. */
void dns_unset(void);

#endif
