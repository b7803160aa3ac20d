/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/env.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"

#define MANY 200000

static char **make(const char *const *list, size_t n)
{
	struct err err = { 0 };
	char **envp = NULL;

	cr_assert_eq(env_make((char *const *)(uintptr_t)list, n, "/home/x", &envp, &err), 0, "%s",
		     err.msg);
	return envp;
}

/* What of an environment is env_make's own: the process that it is for has it until execve. */
static void release(char **envp)
{
	for (size_t i = 0; envp[i]; i++) {
		if (strcmp(envp[i], "HOME=/home/x") == 0)
			free(envp[i]);
	}
	free(envp);
}

static void expect(char *const *envp, const char *const *want, size_t n)
{
	for (size_t i = 0; i < n; i++)
		cr_expect_str_eq(envp[i], want[i]);
	cr_expect_null(envp[n]);
}

Test(env, the_last_wins_in_the_place_of_the_first)
{
	static const char *const list[] = { "A=1", "B=2", "A=3", "HOME=/h", "AB=4", "A=" };
	static const char *const want[] = { "A=", "B=2", "HOME=/h", "AB=4" };
	char **envp = make(list, ARRAY_LEN(list));

	expect(envp, want, ARRAY_LEN(want));
	cr_expect_str_eq(env_get(envp, "AB"), "4");
	cr_expect_null(env_get(envp, "ABC"));
	release(envp);
}

Test(env, home)
{
	static const char *const empty[] = { "HOME=", "Z=1" }, *const without[] = { "HOMER=1" };
	static const char *const want[] = { "HOME=/home/x", "Z=1" };
	static const char *const want2[] = { "HOMER=1", "HOME=/home/x" };

	char **envp;

	expect(envp = make(empty, 2), want, 2);
	release(envp);
	expect(envp = make(without, 1), want2, 2);
	release(envp);
	expect(envp = make(NULL, 0), want, 1);
	release(envp);
}

Test(env, without_equals_sign)
{
	char bad[] = "PATH", *list[] = { bad };
	struct err err = { 0 };
	char **envp = NULL;

	cr_expect_eq(env_make(list, 1, "/", &envp, &err), -EINVAL);
	cr_expect_null(envp);
}

Test(env, a_name_is_all_of_a_name)
{
	char longer[] = "PATHS=1", path[] = "PATH=2", *list[] = { longer, path, NULL },
	     *none[] = { longer, NULL };

	cr_expect_str_eq(env_get(list, "PATH"), "2");
	cr_expect_null(env_get(none, "PATH"));
}

/* Quadratic it would take a minute. */
Test(env, many, .timeout = 10)
{
	static char text[MANY][16];
	static const char *list[MANY];
	char **envp;

	for (int i = 0; i < MANY; i++) {
		(void)snprintf(text[i], sizeof(text[i]), "V%d=", i);
		list[i] = text[i];
	}
	envp = make(list, MANY);
	cr_expect_str_eq(envp[MANY - 1], text[MANY - 1]);
	cr_expect_str_eq(envp[MANY], "HOME=/home/x");
	release(envp);
}
