// SPDX-License-Identifier: GPL-2.0-or-later
/* rollback.c - `apply --confirm-timeout`: a process that goes back unless `meshlb confirm` comes.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "net/link.h"
#include "rollback.h"

struct rollback {
	const char *instance;
	const struct lb_model *old; /* NULL: none */
	bool reset;
	uint32_t seconds;
};

static const char *run_path(char buf[PATH_MAX], const char *instance, const char *suffix)
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

static int pending_parse(int fd, struct lb_pending *p)
{
	char buf[256], *next;
	ssize_t len = pread(fd, buf, sizeof(buf) - 1, 0);

	*p = (struct lb_pending){};
	if (len < 0)
		return -errno;
	buf[len] = '\0';
	p->pid = strtol(buf, &next, 10);
	p->start = strtoull(next, &next, 10);
	p->deadline = strtoull(next, &next, 10);
	if (p->pid <= 0 || !p->start || !p->deadline || *next != '\n')
		return -EINVAL;
	p->alive = process_start(p->pid) == p->start;
	return 0;
}

/* Opens and locks the file that says that a change is pending; -ENOENT where there is none. */
static int pending_lock(const char *instance, struct lb_pending *p)
{
	char path[PATH_MAX];
	struct stat st;
	int fd, err;

	fd = open(run_path(path, instance, "confirm"), O_RDONLY | O_CLOEXEC);
	*p = (struct lb_pending){};
	if (fd < 0)
		return -errno;
	while ((err = flock(fd, LOCK_EX)) && errno == EINTR)
		;
	if (err || fstat(fd, &st))
		err = -errno;
	else if (!st.st_nlink) /* decided while we waited */
		err = -ENOENT;
	else
		err = pending_parse(fd, p);
	if (!err)
		return fd;
	close(fd);
	return err;
}

static void pending_remove(const char *instance)
{
	char path[PATH_MAX];

	unlink(run_path(path, instance, "rollback.yaml"));
	unlink(run_path(path, instance, "confirm"));
}

void lb_pending_forget(const char *instance)
{
	char path[PATH_MAX];

	unlink(run_path(path, instance, "confirm"));
}

int lb_pending_read(const char *instance, struct lb_pending *p, struct lb_err *err)
{
	char path[PATH_MAX];
	int fd, ret;

	fd = open(run_path(path, instance, "confirm"), O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return -ENOENT;
	if (fd < 0)
		return lb_err_sys(err, errno, "opening \"%s\"", path);
	ret = pending_parse(fd, p);
	close(fd);
	if (ret)
		return lb_err_sys(err, -ret, "reading \"%s\"", path);
	if (access(run_path(p->before, instance, "rollback.yaml"), F_OK))
		p->before[0] = '\0';
	return 0;
}

/*
 * What to go back to: the old state, but with what an operator has done by hand since. A backend
 * that stands has its override from now; one that the change removed gets its old one.
 */
static void merge_overrides(struct lb_model *old, const struct lb_model *now, bool reset)
{
	for (size_t i = 0; i < old->n_services && !reset; i++) {
		const struct lb_service_conf *s = lb_model_find_service(now, old->services[i].name);

		for (size_t j = 0; s && j < old->services[i].n_backends; j++) {
			struct lb_backend_conf *b = &old->services[i].backends[j];

			if (lb_service_find_backend(s, &b->at))
				b->override = LB_NO_OVERRIDE;
		}
	}
	lb_overrides_carry(old, now);
}

/* An interface that has gone meanwhile must not keep the services from going back. */
static void drop_gone_interfaces(struct lb_model *m, const char *instance)
{
	struct lb_links links;
	size_t kept = 0;

	if (lb_links_read(&links))
		return; /* apply() will tell */
	for (size_t i = 0; i < m->n_interfaces; i++) {
		if (lb_links_find(&links, m->interfaces[i].name))
			m->interfaces[kept++] = m->interfaces[i];
		else
			syslog(LOG_WARNING,
			       "instance \"%s\": goes back without interface \"%s\": "
			       "it is gone",
			       instance, m->interfaces[i].name);
	}
	m->n_interfaces = kept;
	lb_links_free(&links);
}

static int restore(struct lb_session *s, const struct rollback *r, struct lb_err *err)
{
	struct lb_model desired;
	struct lb_diff diff = {};
	int ret;

	if (lb_model_copy(&desired, r->old))
		return lb_err_set(err, ENOMEM, "no memory");
	merge_overrides(&desired, &s->model, r->reset);
	drop_gone_interfaces(&desired, r->instance);
	ret = lb_diff_make(&diff, &s->model, &desired, LB_SOURCE_FILE, err);
	if (!ret)
		ret = s->ops->apply(s->dp, &diff, NULL, NULL, err);
	lb_diff_free(&diff);
	lb_model_free(&desired);
	return ret;
}

static int go_back(const struct rollback *r, struct lb_err *err)
{
	struct lb_session s;
	int ret = lb_session_open(&s, r->instance, LB_WRITE, false, err);

	if (ret == -ENOENT && !r->old)
		return 0;
	if (ret)
		return ret;
	if (r->old) {
		ret = restore(&s, r, err);
	} else {
		ret = s.ops->down(s.dp, err);
		s.dp = NULL;
	}
	lb_session_close(&s);
	return ret;
}

static void sleep_until(time_t at)
{
	struct timespec ts = {.tv_sec = at};

	/* Not CLOCK_REALTIME: who sets the clock does not confirm anything. */
	while (clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

static void wait_and_go_back(const struct rollback *r, time_t until)
{
	struct lb_pending p;
	struct lb_err err;
	char path[PATH_MAX];
	int fd;

	sleep_until(until);
	fd = pending_lock(r->instance, &p);
	if (fd < 0 || p.pid != getpid())
		return;
	openlog("meshlb", LOG_PID, LOG_DAEMON);
	if (go_back(r, &err)) {
		syslog(LOG_ERR,
		       "instance \"%s\": not confirmed, and going back failed: %s; the old "
		       "config is \"%s\"",
		       r->instance, err.text, run_path(path, r->instance, "rollback.yaml"));
		lb_pending_forget(r->instance);
		return;
	}
	syslog(LOG_WARNING, "instance \"%s\": not confirmed within %" PRIu32 " s: went back",
	       r->instance, r->seconds);
	pending_remove(r->instance);
}

/* Whole under its name, or not there. */
static int write_pending(const struct rollback *r)
{
	char path[PATH_MAX], fresh[PATH_MAX];
	FILE *f = fopen(run_path(fresh, r->instance, "confirm.new"), "we");
	int err = 0;

	if (!f)
		return -errno;
	fprintf(f, "%d %llu %llu\n", getpid(), process_start(getpid()),
		(unsigned long long)time(NULL) + r->seconds);
	if (fclose(f) || rename(fresh, run_path(path, r->instance, "confirm"))) {
		err = -errno;
		unlink(fresh);
	}
	return err;
}

/* In the grandchild: nothing of the terminal and of the instance's lock may stay with it. */
static void __attribute__((noreturn)) background(const struct rollback *r, int ready)
{
	struct timespec now;
	int err, null;

	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	null = open("/dev/null", O_RDWR);
	if (chdir("/") || null < 0)
		_exit(1);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	ready = dup2(ready, 3);
	close_range(4, ~0U, 0);
	clock_gettime(CLOCK_BOOTTIME, &now);
	err = write_pending(r);
	if (write(ready, &err, sizeof(err)) != sizeof(err) || err)
		_exit(1);
	close(ready);
	wait_and_go_back(r, now.tv_sec + r->seconds);
	_exit(0);
}

static int save_old(const char *instance, const struct lb_model *old, struct lb_err *err)
{
	char path[PATH_MAX];
	FILE *f;
	int ret;

	if (mkdir(LB_RUN_DIR, 0700) && errno != EEXIST)
		return lb_err_sys(err, errno, "making \"%s\"", LB_RUN_DIR);
	run_path(path, instance, "rollback.yaml");
	if (!old) {
		unlink(path); /* of an earlier time */
		return 0;
	}
	f = fopen(path, "we");
	if (!f)
		return lb_err_sys(err, errno, "writing \"%s\"", path);
	ret = lb_config_write(old, f);
	if (fclose(f) || ret)
		return lb_err_set(err, EIO, "writing \"%s\" failed", path);
	return 0;
}

int lb_rollback_arm(const char *instance, const struct lb_model *old, bool reset, uint32_t seconds,
		    struct lb_err *err)
{
	struct rollback r = {instance, old, reset, seconds};
	int pipe_fd[2], ret, report = -EIO;
	pid_t child;

	ret = save_old(instance, old, err);
	if (ret)
		return ret;
	if (pipe2(pipe_fd, O_CLOEXEC))
		return lb_err_sys(err, errno, "making a pipe");
	fflush(NULL); /* the children must not print it again */
	child = fork();
	if (!child) {
		setsid();
		if (!fork())
			background(&r, pipe_fd[1]);
		_exit(0);
	}
	ret = child < 0 ? -errno : 0;
	close(pipe_fd[1]);
	if (!ret && read(pipe_fd[0], &report, sizeof(report)) != sizeof(report))
		report = -EIO;
	close(pipe_fd[0]);
	if (ret)
		return lb_err_sys(err, -ret, "starting the process that goes back");
	waitpid(child, NULL, 0);
	return report ? lb_err_sys(err, -report, "writing \"" LB_RUN_DIR "/%s.confirm\"", instance)
		      : 0;
}

int lb_rollback_cancel(const char *instance, struct lb_err *err)
{
	struct lb_pending p;
	int fd = pending_lock(instance, &p);
	int process;

	if (fd == -ENOENT)
		return -ENOENT;
	if (fd < 0)
		return lb_err_sys(err, -fd, "opening \"" LB_RUN_DIR "/%s.confirm\"", instance);
	pending_remove(instance);
	close(fd);
	/* It would find its file gone and end by itself; this is for tidiness. A descriptor first,
	 * then the check: so the signal cannot reach another process. */
	process = pidfd_open(p.pid, 0);
	if (process >= 0) {
		if (process_start(p.pid) == p.start)
			pidfd_send_signal(process, SIGTERM, NULL, 0);
		close(process);
	}
	return 0;
}
