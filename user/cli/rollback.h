/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rollback.h - `apply --confirm-timeout`: a process that goes back unless `meshlb confirm` comes.
 *
 * /run/meshlb/<instance>.confirm names the process and its deadline. Whoever removes that file,
 * holding its lock, has decided: confirm to keep, the process to go back. The old state lies beside
 * it as <instance>.rollback.yaml, for people: the process has it in its memory.
 */
#ifndef LB_ROLLBACK_H
#define LB_ROLLBACK_H

#include <limits.h>
#include <sys/types.h>

#include "cli.h"

#define LB_RUN_DIR "/run/meshlb"

struct lb_pending {
	pid_t pid;
	unsigned long long start;    /* of the process: field 22 of /proc/PID/stat */
	unsigned long long deadline; /* seconds since the epoch */
	bool alive;                  /* the process is there, waiting */
	char before[PATH_MAX];       /* the old state, a config; empty: there was no instance */
};

/* Is a change waiting for `confirm`? 0; -ENOENT: none; another -errno with err filled. */
int lb_pending_read(const char *instance, struct lb_pending *p, struct lb_err *err);

void lb_pending_forget(const char *instance); /* of a process that is gone; the old state stays */

/*
 * Starts the process, before the change is made: so none is ever made without it. `old`: what to
 * go back to; NULL: there was no instance, and there will be none. `reset`: the change resets
 * overrides, going back brings them back. The caller holds the instance's lock.
 */
int lb_rollback_arm(const char *instance, const struct lb_model *old, bool reset, uint32_t seconds,
		    struct lb_err *err);

/* Calls it off. 0; -ENOENT: nothing waits (or it has gone back). The caller must not hold the
 * instance's lock, which the process may be about to take. */
int lb_rollback_cancel(const char *instance, struct lb_err *err);

#endif
