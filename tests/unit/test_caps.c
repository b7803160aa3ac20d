/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/creds.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

Test(caps, absent_means_none)
{
	struct caps caps = { 1, 1, 1, 1, 1 };
	struct err err = { 0 };

	cr_assert_eq(caps_parse(NULL, &caps, &err), 0);
	cr_expect_eq(caps.bounding | caps.effective | caps.permitted | caps.inheritable |
			     caps.ambient,
		     0);
}

Test(caps, names)
{
	char chown[] = "CAP_CHOWN", kill[] = "CAP_KILL", restore[] = "CAP_CHECKPOINT_RESTORE";
	char *bounding[] = { chown, kill, chown }, *ambient[] = { restore };
	Grpc__LinuxCapabilities c = GRPC__LINUX_CAPABILITIES__INIT;
	struct caps caps;
	struct err err = { 0 };

	c.bounding = bounding;
	c.n_bounding = 3;
	c.ambient = ambient;
	c.n_ambient = 1;
	cr_assert_eq(caps_parse(&c, &caps, &err), 0);
	cr_expect_eq(caps.bounding, 1u << CAP_CHOWN | 1u << CAP_KILL);
	cr_expect_eq(caps.effective, 0);
	cr_expect(caps.ambient == (uint64_t)1 << CAP_CHECKPOINT_RESTORE || caps.ambient == 0);
}

/* Go's shims, runtime-rs, and agent-ctl: the same five capabilities. */
Test(caps, spellings)
{
	char a[] = "CAP_CHOWN", b[] = "KILL", c[] = "\"CAP_SETUID\"", d[] = "\"SETGID\"",
	     e[] = "NET_BIND_SERVICE";
	char *all[] = { a, b, c, d, e };
	Grpc__LinuxCapabilities msg = GRPC__LINUX_CAPABILITIES__INIT;
	struct caps caps;
	struct err err = { 0 };

	msg.permitted = msg.effective = all;
	msg.n_permitted = msg.n_effective = 5;
	cr_assert_eq(caps_parse(&msg, &caps, &err), 0);
	cr_expect_eq(caps.permitted, 1u << CAP_CHOWN | 1u << CAP_KILL | 1u << CAP_SETUID |
					     1u << CAP_SETGID | 1u << CAP_NET_BIND_SERVICE);
	cr_expect_eq(caps.effective, caps.permitted);
}

Test(caps, unknown)
{
	static const char *const bad[] = {
		"CAP_X",       "chown",
		"cap_chown",   "",
		"CAP_CHOWN ",  "CAP_",
		"\"",	       "\"\"",
		"\"CAP_CHOWN", "CAP_CAP_CHOWN",
		"0",	       "CAP_AVERYLONGNAMETHATFITSINTONOBODYSBUFFERWHATSOEVERITMAYBEXXXX"
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char name[80], *list[] = { name };
		Grpc__LinuxCapabilities c = GRPC__LINUX_CAPABILITIES__INIT;
		struct caps caps;
		struct err err = { 0 };

		(void)strncpy(name, bad[i], sizeof(name));
		c.effective = list;
		c.n_effective = 1;
		cr_expect_eq(caps_parse(&c, &caps, &err), 0, "%s: %s", name, err.msg);
		cr_expect_eq(caps.effective, 0, "%s", name);
	}
}

Test(caps, effective_wants_permitted)
{
	char chown[] = "CAP_CHOWN", kill[] = "CAP_KILL", *both[] = { chown, kill };
	Grpc__LinuxCapabilities c = GRPC__LINUX_CAPABILITIES__INIT;
	struct caps caps;
	struct err err = { 0 };

	c.effective = c.permitted = both;
	c.n_effective = 2;
	c.n_permitted = 1;
	cr_expect_eq(caps_parse(&c, &caps, &err), -EINVAL);
	cr_expect(strstr(err.msg, "effective"), "%s", err.msg);
}

/* Works without privileges, too: everything is given up. */
Test(caps, apply_none)
{
	struct caps none = { 0 };
	struct err err = { 0 };

	cr_assert_eq(caps_keep(&err), 0);
	cr_assert_eq(caps_apply(&none, 0, &err), 0, "%s", err.msg);
	cr_expect_eq(prctl(PR_GET_KEEPCAPS, 0, 0, 0, 0), 0);
	cr_expect_eq(caps_apply_bounding(&none, &err), -EPERM);
}

/* What may be had later stays, though it is not had now. */
Test(caps, bounding_is_not_permitted)
{
	struct caps some = { .bounding = 1u << CAP_CHOWN | 1u << CAP_SETPCAP };
	struct err err = { 0 };

	if (geteuid() != 0)
		cr_skip_test("needs root");
	cr_assert_eq(caps_apply_bounding(&some, &err), 0, "%s", err.msg);
	cr_expect_eq(prctl(PR_CAPBSET_READ, CAP_CHOWN, 0, 0, 0), 1);
	cr_expect_eq(prctl(PR_CAPBSET_READ, CAP_KILL, 0, 0, 0), 0);
}

Test(caps, ambient_needs_permitted_and_inheritable)
{
	struct caps caps = {
		.permitted = 1u << CAP_CHOWN | 1u << CAP_KILL,
		.effective = 1u << CAP_CHOWN | 1u << CAP_SETUID, /* more than permitted */
		.inheritable = 1u << CAP_CHOWN,
		.ambient = 1u << CAP_CHOWN | 1u << CAP_KILL,
	};
	struct err err = { 0 };

	if (getuid() != 0)
		cr_skip_test("needs root");
	cr_assert_eq(caps_apply(&caps, 0, &err), 0, "%s", err.msg);
	cr_expect_eq(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0), 1);
	cr_expect_eq(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0), 0);
}
