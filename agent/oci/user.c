/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user database of a container, read without libc's help (a static program has no NSS, and
 * libc trusts what it reads). No state.
 */
#include "oci/creds.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "linux/path.h"
#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/str.h"

#define GROUPS_MAX ((size_t)NGROUPS_MAX)
#define ID_MAX	   (UINT32_MAX - 1) /* the last one means "unchanged" to the kernel */

struct lookup {
	char *user, *group; /* as asked for; group may be NULL */
	uint64_t uid, gid;
	bool user_is_number, group_is_number;
	char *name; /* the passwd entry's, once it is found */
};

static void user_freep(struct user *u)
{
	user_free(u);
}

void user_free(struct user *u)
{
	free(u->gids);
	free(u->home);
	*u = (struct user){ 0 };
}

/*
 * The text of a database file in memory from malloc; "" when there is no such file. What isn't a
 * regular file is looked at only through O_PATH, so that opening it can neither hang nor do
 * anything (a FIFO, a watchdog device); O_NONBLOCK is for one that was swapped in meanwhile.
 */
static int database_read(int root, const char *path, char **ret, struct err *err)
{
	AUTO_CLOSE int top = FD_NONE;
	AUTO_CLOSE int probe = FD_NONE;
	AUTO_CLOSE int fd = FD_NONE;
	AUTO_FREE char *text = NULL;
	struct stat st;
	ssize_t n;

	if (root == AT_FDCWD) {
		root = top = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (top < 0)
			return err_sys(err, errno, "open the container's /");
	}
	probe = path_open_in(root, path, O_PATH, 0);
	if (probe < 0 || fstat(probe, &st) < 0 || !S_ISREG(st.st_mode) ||
	    (fd = path_open_in(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0)) < 0 ||
	    fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		st.st_size = 0;
	if (st.st_size > LIMIT_USER_DATABASE)
		return err_set(err, EFBIG, "%s of the container is larger than %u bytes", path,
			       LIMIT_USER_DATABASE);
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return err_set(err, ENOMEM, "no memory for %s of the container", path);
	n = st.st_size > 0 ? fdio_read_all(fd, text, (size_t)st.st_size) : 0;
	if (n < 0)
		return err_sys(err, (int)-n, "read %s of the container", path);
	text[n] = '\0';
	*ret = TAKE_PTR(text);
	return 0;
}

/*
 * Cuts the next line into fields at ':'; the number of fields, -1 at the end of the text. Bytes
 * behind a NUL in the file are never seen: the text ends there.
 */
static int user_next_line(char **text, char **fields, int max)
{
	char *line = strsep(text, "\n");
	int n = 0;

	if (!line)
		return -1;
	while (n < max && line)
		fields[n++] = strsep(&line, ":");
	return n;
}

static int find_user(int root, struct lookup *l, struct user *u, struct err *err)
{
	AUTO_FREE char *text = NULL;
	char *rest, *f[7];
	int n, r = database_read(root, "/etc/passwd", &text, err);

	if (r < 0)
		return r;
	rest = text;
	while ((n = user_next_line(&rest, f, 7)) >= 0) {
		uint64_t uid, gid;

		if (n < 6 || !*f[0] || str_u64(f[2], ID_MAX, &uid) < 0 ||
		    str_u64(f[3], ID_MAX, &gid) < 0)
			continue;
		if (l->user_is_number ? uid != l->uid : !str_eq(f[0], l->user))
			continue;
		u->uid = (uid_t)uid;
		u->gid = (gid_t)gid;
		u->home = strdup(*f[5] ? f[5] : "/");
		l->name = strdup(f[0]);
		if (!u->home || !l->name)
			return err_set(err, ENOMEM, "no memory for user %s", l->user);
		return 0;
	}
	if (!l->user_is_number)
		return err_set(err, ENOENT,
			       "unable to find user %s: no matching entries in passwd file",
			       l->user);
	u->uid = (uid_t)l->uid;
	u->home = strdup("/");
	return u->home ? 0 : err_set(err, ENOMEM, "no memory for user %s", l->user);
}

static int add_group(struct user *u, gid_t gid, struct err *err)
{
	gid_t *more;

	if (u->ngids == GROUPS_MAX)
		return err_set(err, EINVAL, "more than %zu supplementary groups", GROUPS_MAX);
	if ((u->ngids & (u->ngids - 1)) == 0) { /* full at each power of two */
		more = reallocarray(u->gids, u->ngids ? u->ngids * 2 : 1, sizeof(*more));
		if (!more)
			return err_set(err, ENOMEM, "no memory for supplementary groups");
		u->gids = more;
	}
	u->gids[u->ngids++] = gid;
	return 0;
}

static bool has_member(char *members, const char *name)
{
	char *m;

	while ((m = strsep(&members, ","))) {
		if (str_eq(m, name))
			return true;
	}
	return false;
}

/* The primary group if one was asked for, else all groups that list the user as a member. */
static int find_groups(int root, const struct lookup *l, struct user *u, struct err *err)
{
	AUTO_FREE char *text = NULL;
	char *rest, *f[4];
	int n, r = database_read(root, "/etc/group", &text, err);

	if (r < 0)
		return r;
	rest = text;
	while ((n = user_next_line(&rest, f, 4)) >= 0) {
		uint64_t gid;

		if (n < 3 || !*f[0] || str_u64(f[2], ID_MAX, &gid) < 0)
			continue;
		if (l->group && str_eq(f[0], l->group)) {
			u->gid = (gid_t)gid;
			return 0;
		}
		if (!l->group && n == 4 && has_member(f[3], l->name)) {
			r = add_group(u, (gid_t)gid, err);
			if (r < 0)
				return r;
		}
	}
	if (l->group)
		return err_set(err, ENOENT,
			       "unable to find group %s: no matching entries in group file",
			       l->group);
	return 0;
}

static int parse_id(const char *word, uint64_t *id, bool *is_number, struct err *err)
{
	int r = str_u64(word, ID_MAX, id);

	if (r == -ERANGE)
		return err_set(err, ERANGE, "user or group id %s is out of range", word);
	*is_number = r == 0;
	return 0;
}

/* spec is cut in place and must outlive l. */
static int parse_spec(char *spec, const Grpc__User *u, struct lookup *l, struct err *err)
{
	int r;

	if (!*spec) {
		l->uid = u->uid;
		l->gid = u->gid;
		l->user_is_number = l->group_is_number = true;
		if (l->uid > ID_MAX || l->gid > ID_MAX)
			return err_set(err, ERANGE, "user or group id %u is out of range",
				       UINT32_MAX);
		l->user = l->group = spec;
		return 0;
	}
	l->group = spec;
	l->user = strsep(&l->group, ":");
	if (l->group && strchr(l->group, ':'))
		return err_set(err, EINVAL, "user \"%s:%s\" has more than one colon", l->user,
			       l->group);
	if (!*l->user)
		l->user_is_number = true; /* ":group" is root with that group */
	else if ((r = parse_id(l->user, &l->uid, &l->user_is_number, err)) < 0)
		return r;
	if (l->group && !*l->group)
		l->group = NULL; /* "user:" is "user" */
	if (l->group)
		return parse_id(l->group, &l->gid, &l->group_is_number, err);
	return 0;
}

int user_resolve(int root, const Grpc__User *u, struct user *ret, struct err *err)
{
	static const Grpc__User nobody;
	AUTO(user_freep) struct user user = { 0 };
	AUTO_FREE char *spec = NULL;
	AUTO_FREE char *name = NULL;
	struct lookup l = { 0 };
	int r;

	if (!u)
		u = &nobody;
	spec = strdup(u->username ? u->username : "");
	if (!spec)
		return err_set(err, ENOMEM, "no memory for user");
	r = parse_spec(spec, u, &l, err);
	if (r < 0)
		return r;
	r = find_user(root, &l, &user, err);
	name = l.name;
	if (r < 0)
		return r;
	if (l.group && l.group_is_number)
		user.gid = (gid_t)l.gid;
	else if (l.group || l.name)
		r = find_groups(root, &l, &user, err);
	for (size_t i = 0; r == 0 && i < u->n_additionalgids; i++)
		r = add_group(&user, u->additionalgids[i], err);
	if (r < 0)
		return r;
	*ret = user;
	user = (struct user){ 0 }; /* handed over */
	return 0;
}

/* The container's process may reopen its own standard streams; /dev/null stays everybody's. */
static int own_stdio(uid_t uid, struct err *err)
{
	for (int fd = 0; fd <= 2; fd++) {
		struct stat st;

		if (fstat(fd, &st) < 0)
			continue; /* not open */
		if (st.st_uid == uid || (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3)))
			continue;
		if (fchown(fd, uid, (gid_t)-1) < 0 && errno != EPERM && errno != EINVAL &&
		    errno != EROFS)
			return err_sys(err, errno, "give standard stream %d to user %u", fd, uid);
	}
	return 0;
}

/* A user namespace may forbid setgroups; only then is its EPERM fine. */
static bool setgroups_denied(void)
{
	char word[16];

	return fdio_read_file(AT_FDCWD, "/proc/self/setgroups", word, sizeof(word)) > 0 &&
	       str_eq(word, "deny");
}

int user_apply(const struct user *u, struct err *err)
{
	int r = own_stdio(u->uid, err);

	if (r < 0)
		return r;
	if (setgroups(u->ngids, u->gids) < 0 && (errno != EPERM || !setgroups_denied()))
		return err_sys(err, errno, "setgroups");
	if (setresgid(u->gid, u->gid, u->gid) < 0)
		return err_sys(err, errno, "setgid %u", u->gid);
	if (setresuid(u->uid, u->uid, u->uid) < 0)
		return err_sys(err, errno, "setuid %u", u->uid);
	return 0;
}
