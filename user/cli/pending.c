// SPDX-License-Identifier: GPL-2.0-or-later
/* pending.c - /run/meshlb/<instance>.confirm: a change that waits for `meshlb confirm`, or what
 * became of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "net/netns.h"
#include "pending.h"

static const char *const names[] = {
	[LB_PENDING_WAITING] = "waiting",
	[LB_PENDING_LOST] = "lost",
	[LB_PENDING_UNDONE] = "undone",
	[LB_PENDING_FAILED] = "failed",
};

const char *lb_pending_state_name(enum lb_pending_state state)
{
	return names[state];
}

const char *lb_pending_path(char buf[PATH_MAX], const char *instance, const char *suffix)
{
	snprintf(buf, PATH_MAX, LB_RUN_DIR "/%s.%s", instance, suffix);
	return buf;
}

/* When the process began, in clock ticks since boot: a pid alone may be another's by now. 0: it is
 * gone, or a zombie, which a container's init may leave for ever. */
static unsigned long long process_start(pid_t pid)
{
	unsigned long long start = 0;
	char path[64], line[1024];
	char *field = NULL;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	/* The second field, the name, may hold anything: count from its closing bracket. */
	if (fgets(line, sizeof(line), f))
		field = strrchr(line, ')');
	fclose(f);
	if (!field || !strncmp(field, ") Z", 3))
		return 0;
	for (int i = 2; field && i < 22; i++)
		field = strchr(field + 1, ' ');
	if (field)
		start = strtoull(field, NULL, 10);
	return start;
}

bool lb_pending_is_process(const struct lb_pending *p)
{
	return p->pid > 0 && p->start && process_start(p->pid) == p->start;
}

static bool runs_elsewhere(const struct lb_pending *p)
{
	char path[64];
	struct stat theirs, ours;

	if (p->netns)
		return p->netns != lb_netns_cookie();
	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)p->pid);
	return lb_pending_is_process(p) && !stat(path, &theirs) &&
	       !stat("/proc/self/ns/net", &ours) &&
	       (theirs.st_ino != ours.st_ino || theirs.st_dev != ours.st_dev);
}

/* The second line, where there is one: "undone", or "failed" and why. */
static void outcome_parse(struct lb_pending *p, char *text)
{
	size_t len = strlen(names[LB_PENDING_FAILED]);

	text[strcspn(text, "\n")] = '\0';
	if (!strcmp(text, names[LB_PENDING_UNDONE])) {
		p->state = LB_PENDING_UNDONE;
	} else if (!strncmp(text, names[LB_PENDING_FAILED], len)) {
		p->state = LB_PENDING_FAILED;
		snprintf(p->why, sizeof(p->why), "%s", text + len + (text[len] == ' '));
	}
}

static int pending_parse(int fd, const char *instance, struct lb_pending *p)
{
	char buf[sizeof(p->why) + 128], *next;
	ssize_t len = pread(fd, buf, sizeof(buf) - 1, 0);

	*p = (struct lb_pending){.state = LB_PENDING_LOST};
	if (len < 0)
		return -errno;
	if (access(lb_pending_path(p->before, instance, "rollback.yaml"), F_OK))
		p->before[0] = '\0';
	buf[len] = '\0';
	p->pid = strtol(buf, &next, 10);
	p->start = strtoull(next, &next, 10);
	p->deadline = strtoull(next, &next, 10);
	p->netns = *next == ' ' ? strtoull(next, &next, 10) : 0;
	if (p->pid <= 0 || !p->start || !p->deadline || *next != '\n') {
		p->pid = 0;
		p->start = p->deadline = p->netns = 0;
		snprintf(p->why, sizeof(p->why), "\"" LB_RUN_DIR "/%s.confirm\" is garbled",
			 instance);
		return 0;
	}
	outcome_parse(p, next + 1);
	if (p->state == LB_PENDING_LOST && lb_pending_is_process(p))
		p->state = LB_PENDING_WAITING;
	return runs_elsewhere(p) ? -EXDEV : 0;
}

int lb_pending_decide(int fd)
{
	struct stat st;
	int err;

	while ((err = flock(fd, LOCK_EX)) && errno == EINTR)
		;
	if (err || fstat(fd, &st))
		return -errno;
	return st.st_nlink ? 0 : -ENOENT;
}

static int pending_open(const char *instance, struct lb_err *err)
{
	char path[PATH_MAX];
	int fd = open(lb_pending_path(path, instance, "confirm"), O_RDONLY | O_CLOEXEC);

	if (fd < 0 && errno != ENOENT)
		return lb_err_sys(err, errno, "opening \"%s\"", path);
	return fd < 0 ? -ENOENT : fd;
}

int lb_pending_read(const char *instance, struct lb_pending *p, struct lb_err *err)
{
	int fd = pending_open(instance, err), ret;

	if (fd < 0)
		return fd;
	ret = pending_parse(fd, instance, p);
	close(fd);
	if (ret == -EXDEV)
		return -ENOENT;
	return ret ? lb_err_sys(err, -ret, "reading \"" LB_RUN_DIR "/%s.confirm\"", instance) : 0;
}

int lb_pending_lock(const char *instance, struct lb_pending *p, struct lb_err *err)
{
	int fd = pending_open(instance, err), ret;

	if (fd < 0)
		return fd;
	ret = lb_pending_decide(fd);
	if (!ret)
		ret = pending_parse(fd, instance, p);
	if (!ret)
		return fd;
	close(fd);
	return ret == -ENOENT || ret == -EXDEV
		       ? -ENOENT
		       : lb_err_sys(err, -ret, "locking \"" LB_RUN_DIR "/%s.confirm\"", instance);
}

static bool is_elsewhere(const char *instance, struct lb_pending *p)
{
	struct lb_err ignored;
	int fd = pending_open(instance, &ignored);
	bool is = fd >= 0 && pending_parse(fd, instance, p) == -EXDEV;

	if (fd >= 0)
		close(fd);
	return is;
}

bool lb_pending_is_elsewhere(const char *instance)
{
	struct lb_pending p;

	return is_elsewhere(instance, &p) && p.state != LB_PENDING_UNDONE;
}

void lb_pending_remove(const char *instance)
{
	char path[PATH_MAX];
	struct lb_pending p;

	if (is_elsewhere(instance, &p))
		return;
	unlink(lb_pending_path(path, instance, "rollback.yaml"));
	lb_pending_forget(instance);
}

void lb_pending_forget(const char *instance)
{
	char path[PATH_MAX];
	struct lb_pending p;

	if (is_elsewhere(instance, &p))
		return;
	unlink(lb_pending_path(path, instance, "confirm"));
}

int lb_pending_write(const char *instance, unsigned int seconds)
{
	char path[PATH_MAX], fresh[PATH_MAX];
	int fd = open(lb_pending_path(fresh, instance, "confirm.new"),
		      O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (dprintf(fd, "%d %llu %llu %llu\n", getpid(), process_start(getpid()),
		    (unsigned long long)time(NULL) + seconds,
		    (unsigned long long)lb_netns_cookie()) < 0 ||
	    rename(fresh, lb_pending_path(path, instance, "confirm"))) {
		ret = -errno;
		unlink(fresh);
		close(fd);
	}
	return ret ? ret : fd;
}

void lb_pending_conclude(int fd, enum lb_pending_state state, const char *why)
{
	/* In one write(), for readers take no lock. */
	dprintf(fd, "%s%s%s\n", names[state], *why ? " " : "", why);
}
