/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pending.h - /run/meshlb/<instance>.confirm: a change that waits for `meshlb confirm`, or what
 * became of it.
 *
 * Its first line names the process that goes back, its deadline and its network namespace, a second
 * one tells the outcome.
 * Whoever decides holds the file's lock: `confirm` removes the file to keep the change, the process
 * writes that second line. The old state lies beside it as <instance>.rollback.yaml, for people:
 * the process has it in its memory.
 */
#ifndef LB_PENDING_H
#define LB_PENDING_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "core/log.h"
#include "core/run.h"

enum lb_pending_state {
	LB_PENDING_WAITING,
	LB_PENDING_LOST,   /* the process is gone, or the file says nothing of it */
	LB_PENDING_UNDONE, /* it went back; stays until the next change */
	LB_PENDING_FAILED, /* going back failed, see `why` */
};

struct lb_pending {
	enum lb_pending_state state;
	pid_t pid;
	unsigned long long start;    /* of the process: field 22 of /proc/PID/stat */
	unsigned long long deadline; /* seconds since the epoch */
	unsigned long long netns;    /* lb_netns_cookie(); 0: a former meshlb's, which wrote none */
	char why[512];
	char before[PATH_MAX]; /* the old state, a config; empty: there was no instance */
};

const char *lb_pending_state_name(enum lb_pending_state state);
const char *lb_pending_path(char buf[PATH_MAX], const char *instance, const char *suffix);

/* 0; -ENOENT: there is none; another -errno with err filled. A garbled file is LOST. One of another
 * network namespace, of an instance there that has the same name, is not there for any of these,
 * and none of them touches it. */
int lb_pending_read(const char *instance, struct lb_pending *p, struct lb_err *err);

/* The same with the file's lock: returns a descriptor to close, or -errno with err filled. */
int lb_pending_lock(const char *instance, struct lb_pending *p, struct lb_err *err);

void lb_pending_remove(const char *instance); /* file and old state */
void lb_pending_forget(const char *instance); /* the file alone */

/* Of this process, which is going to wait. Whole under its name, or not there. Returns a
 * descriptor, for lb_pending_decide() and lb_pending_conclude(), or -errno. */
int lb_pending_write(const char *instance, unsigned int seconds);
int lb_pending_decide(int fd); /* locks it; -ENOENT: somebody else has decided */
void lb_pending_conclude(int fd, enum lb_pending_state state, const char *why);

bool lb_pending_is_process(const struct lb_pending *p); /* does that process still run? */
/* Is there one of another network namespace, which has not been undone by now? */
bool lb_pending_is_elsewhere(const char *instance);

#endif
