/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules that all processes of a container have in common, read from its spec. No state.
 */
#include "oci/plan.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "base/auto.h"
#include "base/str.h"

/* Names of keyrings are for all containers without a user namespace of their own. */
static int name_keyring(char name[static 40])
{
	uint64_t random[2];

	/* Early in a guest's life it must not wait for entropy; later it is as good as any. */
	if (getrandom(random, sizeof(random), GRND_INSECURE) != sizeof(random))
		return -errno;
	(void)snprintf(name, 40, "_ses.%016" PRIx64 "%016" PRIx64, random[0], random[1]);
	return 0;
}

static int check_oom_score(const Grpc__Process *p, struct err *err)
{
	return p->oomscoreadj < -1000 || p->oomscoreadj > 1000
		       ? err_set(err, EINVAL, "oomScoreAdj %lld is not within -1000 and 1000",
				 (long long)p->oomscoreadj)
		       : 0;
}

bool plan_has_middle(const struct spawn_plan *p)
{
	return p->spec ? p->ns->join[NS_PID] >= 0 : p->join_flags & CLONE_NEWPID;
}

int ctr_rules_build(const Grpc__Spec *spec, struct ctr_rules *ret, struct err *err)
{
	const Grpc__Process *p = spec->process;
	int r;

	*ret = (struct ctr_rules){ .seccomp_fd = FD_NONE };
	ret->no_new_privs = p->nonewprivileges;
	if (spec->linux && spec->linux->intelrdt &&
	    !str_empty(spec->linux->intelrdt->l3cacheschema))
		return err_set(err, EOPNOTSUPP, "intelRdt: a guest has no Intel RDT to set up");
	r = check_oom_score(p, err);
	if (r < 0)
		return r;
	ret->oom_score_adj = (int)p->oomscoreadj;
	if ((!str_empty(p->selinuxlabel) && !(ret->exec_label = strdup(p->selinuxlabel))) ||
	    (!str_empty(p->apparmorprofile) && !(ret->apparmor = strdup(p->apparmorprofile))))
		return err_sys(err, ENOMEM, "labels");
	r = name_keyring(ret->keyring);
	if (r < 0)
		return err_sys(err, -r, "name of the session keyring");
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

bool spec_is_privileged(const Grpc__Spec *spec, const struct ctr_rules *rules)
{
	const uint64_t all = ((uint64_t)1 << (CAP_BLOCK_SUSPEND + 1)) - 1;
	const Grpc__Linux *l = spec->linux;

	return (rules->caps.bounding & rules->caps.permitted & all) == all && l &&
	       !l->n_maskedpaths && !l->n_readonlypaths &&
	       (!l->seccomp || (!l->seccomp->n_syscalls && str_empty(l->seccomp->defaultaction)));
}

int exec_rules_build(const struct ctr_rules *ctr, const Grpc__Process *p, struct ctr_rules *ret,
		     struct err *err)
{
	int r = check_oom_score(p, err);

	*ret = *ctr;
	ret->no_new_privs = p->nonewprivileges;
	if (p->oomscoreadj != 0) /* the schema can't say that there is none */
		ret->oom_score_adj = (int)p->oomscoreadj;
	if (!str_empty(p->selinuxlabel))
		ret->exec_label = p->selinuxlabel;
	if (!str_empty(p->apparmorprofile))
		ret->apparmor = p->apparmorprofile;
	if (r == 0 && p->capabilities)
		r = caps_parse(p->capabilities, &ret->caps, err);
	if (r == 0 && p->n_rlimits > 0)
		r = rlimit_parse(p->rlimits, p->n_rlimits, &ret->rlimits, err);
	return r;
}

void ctr_rules_release(struct ctr_rules *r)
{
	auto_closep(&r->seccomp_fd);
	free(r->exec_label);
	free(r->apparmor);
	*r = (struct ctr_rules){ .seccomp_fd = FD_NONE };
}
