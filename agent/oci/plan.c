/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules that all processes of a container have in common, read from its spec. No state.
 */
#include "oci/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/auto.h"
#include "base/str.h"

int ctr_rules_build(const Grpc__Spec *spec, struct ctr_rules *ret, struct err *err)
{
	const Grpc__Process *p = spec->process;
	int r;

	*ret = (struct ctr_rules){ .seccomp_fd = FD_NONE };
	ret->no_new_privs = p->nonewprivileges;
	if (spec->linux && spec->linux->intelrdt &&
	    !str_empty(spec->linux->intelrdt->l3cacheschema))
		return err_set(err, EOPNOTSUPP, "intelRdt: a guest has no Intel RDT to set up");
	if (p->oomscoreadj < -1000 || p->oomscoreadj > 1000)
		return err_set(err, EINVAL, "oomScoreAdj %lld is not within -1000 and 1000",
			       (long long)p->oomscoreadj);
	ret->oom_score_adj = (int)p->oomscoreadj;
	if ((!str_empty(p->selinuxlabel) && !(ret->exec_label = strdup(p->selinuxlabel))) ||
	    (!str_empty(p->apparmorprofile) && !(ret->apparmor = strdup(p->apparmorprofile))))
		return err_sys(err, ENOMEM, "labels");
	r = caps_parse(p->capabilities, &ret->caps, err);
	if (r == 0)
		r = rlimit_parse(p->rlimits, p->n_rlimits, &ret->rlimits, err);
	if (r == 0 && spec->linux && spec->linux->seccomp) {
		ret->seccomp_fd = memfd_create("seccomp", MFD_CLOEXEC);
		if (ret->seccomp_fd < 0)
			r = err_sys(err, errno, "seccomp filter");
	}
	return r;
}

void ctr_rules_release(struct ctr_rules *r)
{
	auto_closep(&r->seccomp_fd);
	free(r->exec_label);
	free(r->apparmor);
	*r = (struct ctr_rules){ .seccomp_fd = FD_NONE };
}
