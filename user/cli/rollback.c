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
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "instance.h"
#include "net/link.h"
#include "rollback.h"

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

			if (!lb_service_find_backend(s, &b->at))
				continue;
			b->override = LB_NO_OVERRIDE;
			b->override_since = 0;
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

static int change(struct lb_instance *i, const struct lb_model *desired, struct lb_err *err)
{
	struct lb_diff diff;
	int ret = lb_diff_make(&diff, &i->s.model, desired, LB_SOURCE_FILE, err), left;

	if (!ret)
		ret = i->s.ops->apply(i->s.dp, &diff, NULL, NULL, err);
	lb_diff_free(&diff);
	left = ret < 0 ? ret : lb_instance_leave(i, desired, err);
	return left ? left : ret;
}

static int restore(const struct lb_rollback *r, struct lb_err *err)
{
	struct lb_model desired;
	const struct lb_instance_options opt = {
		.name = r->instance,
		.access = LB_WRITE,
		.only_move = true,
		.desired = &desired,
		.file = "rollback",
	};
	struct lb_instance i;
	int ret;

	if (lb_model_copy(&desired, r->old))
		return lb_err_set(err, ENOMEM, "no memory");
	drop_gone_interfaces(&desired, r->instance);
	ret = lb_instance_open(&i, r->ops, &opt, err);
	if (!ret) {
		merge_overrides(&desired, &lb_instance_served(&i)->model, r->reset);
		lb_instance_take_over(&i, &desired);
		ret = change(&i, &desired, err);
	}
	lb_instance_close(&i);
	lb_model_free(&desired);
	return ret;
}

static int take_down(const struct lb_rollback *r, struct lb_err *err)
{
	struct lb_session s;
	int ret = lb_session_open(&s, r->instance, LB_WRITE, false, err);

	if (ret)
		return ret == -ENOENT ? 0 : ret;
	ret = s.ops->down(s.dp, false, err);
	s.dp = NULL;
	lb_session_close(&s);
	return ret;
}

/* 1: it is done, but not all that goes with it. */
static int go_back(const struct lb_rollback *r, struct lb_err *err)
{
	return r->old ? restore(r, err) : take_down(r, err);
}

static void sleep_until(const struct timespec *at)
{
	/* Not CLOCK_REALTIME: who sets the clock does not confirm anything. */
	while (clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, at, NULL) == EINTR)
		;
}

static void wait_and_go_back(const struct lb_rollback *r, int pending, const struct timespec *until,
			     struct lb_held *held)
{
	char path[PATH_MAX];
	struct lb_err err;
	int ret;

	sleep_until(until);
	if (lb_pending_decide(pending))
		return;
	openlog("meshlb", LOG_PID, LOG_DAEMON);
	ret = go_back(r, &err);
	if (ret < 0) {
		lb_pending_path(path, r->instance, "rollback.yaml");
		syslog(LOG_ERR,
		       "instance \"%s\": not confirmed, and going back failed: %s; the old "
		       "config is \"%s\"",
		       r->instance, err.text, path);
		lb_pending_conclude(pending, LB_PENDING_FAILED, err.text);
		return;
	}
	lb_ebpf_put_back(held);
	syslog(LOG_WARNING, "instance \"%s\": not confirmed within %" PRIu32 " s: went back%s",
	       r->instance, r->seconds, ret ? ", and left something undone" : "");
	unlink(lb_pending_path(path, r->instance, "rollback.yaml"));
	lb_pending_conclude(pending, LB_PENDING_UNDONE, "");
}

/* Whoever ends the session or its processes (a hang-up, a service manager) does not confirm
 * anything: nothing but SIGKILL ends the process before its time. */
static void ignore_signals(void)
{
	static const int signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGTSTP};

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		signal(signals[i], SIG_IGN);
}

/* In the grandchild: nothing of the terminal and of the instance's lock may stay with it. */
static void __attribute__((noreturn)) background(const struct lb_rollback *r, int ready)
{
	struct lb_held *held = NULL;
	struct timespec until;
	int pending, err, null;

	ignore_signals();
	ready = fcntl(ready, F_DUPFD, 4); /* it may lie below, where standard output was closed */
	null = open("/dev/null", O_RDWR);
	if (chdir("/") || null < 0 || ready < 0)
		_exit(1);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	ready = dup2(ready, 3);
	close_range(4, ~0U, 0);
	clock_gettime(CLOCK_BOOTTIME, &until);
	until.tv_sec += r->seconds;
	if (r->forced)
		held = lb_ebpf_hold(r->forced);
	pending = lb_pending_write(r->instance, r->seconds);
	err = pending < 0 ? pending : 0;
	if (write(ready, &err, sizeof(err)) != sizeof(err) || err)
		_exit(1);
	close(ready);
	wait_and_go_back(r, pending, &until, held);
	_exit(0);
}

static int save_old(const char *instance, const struct lb_model *old, struct lb_err *err)
{
	char path[PATH_MAX];
	FILE *f;
	int ret;

	if (mkdir(LB_RUN_DIR, 0700) && errno != EEXIST)
		return lb_err_sys(err, errno, "making \"%s\"", LB_RUN_DIR);
	lb_pending_path(path, instance, "rollback.yaml");
	if (!old) {
		unlink(path); /* of an earlier time */
		return 0;
	}
	f = fopen(path, "we");
	if (!f)
		return lb_err_sys(err, errno, "writing \"%s\"", path);
	ret = lb_config_write(old, f);
	if (fclose(f) && !ret)
		ret = -errno;
	return ret ? lb_err_sys(err, -ret, "writing \"%s\"", path) : 0;
}

int lb_rollback_arm(const struct lb_rollback *r, struct lb_err *err)
{
	int pipe_fd[2], ret, report = -EIO;
	pid_t child;

	if (lb_pending_is_elsewhere(r->instance))
		return lb_err_set(err, EBUSY,
				  "instance \"%s\": a change of another one waits for `meshlb "
				  "confirm` in another network namespace, or could not be undone "
				  "there: remove \"" LB_RUN_DIR "/%s.confirm\" where that is gone, "
				  "give this one another name, or apply without "
				  "--confirm-timeout",
				  r->instance, r->instance);
	ret = save_old(r->instance, r->old, err);
	if (ret)
		return ret;
	if (pipe2(pipe_fd, O_CLOEXEC))
		return lb_err_sys(err, errno, "making a pipe");
	fflush(NULL); /* the children must not print it again */
	child = fork();
	if (!child) {
		setsid();
		if (!fork())
			background(r, pipe_fd[1]);
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
	return report ? lb_err_sys(err, -report, "writing \"" LB_RUN_DIR "/%s.confirm\"",
				   r->instance)
		      : 0;
}

int lb_rollback_cancel(const char *instance, struct lb_pending *p, struct lb_err *err)
{
	int fd = lb_pending_lock(instance, p, err);
	int process;

	if (fd < 0)
		return fd;
	if (p->state != LB_PENDING_UNDONE)
		lb_pending_remove(instance);
	close(fd);
	if (p->state == LB_PENDING_UNDONE)
		return -ECANCELED;
	/* It would find its file gone and end by itself; this is for tidiness. A descriptor first,
	 * then the check: so the signal cannot reach another process. */
	process = p->pid > 0 ? pidfd_open(p->pid, 0) : -1;
	if (process >= 0) {
		if (lb_pending_is_process(p))
			pidfd_send_signal(process, SIGKILL, NULL, 0);
		close(process);
	}
	return 0;
}
