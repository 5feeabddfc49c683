/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lock.h - one writer an instance, by flock(). */
#ifndef LB_LOCK_H
#define LB_LOCK_H

#include "core/log.h"
#include "core/run.h"

/* A file of its own, for who has no directory to lock: LB_RUN_DIR/<instance>.<what>.lock. */
struct lb_lock {
	int fd; /* -1: not held */
	char path[160];
};
#define LB_LOCK_NONE ((struct lb_lock){.fd = -1})

int lb_lock_take(struct lb_lock *l, const char *instance, const char *what, struct lb_err *err);
/* `remove`: with what it guarded. */
void lb_lock_release(struct lb_lock *l, bool remove);
/* Waits until nobody has it, some seconds at most: for a reader, to whom what an apply has not
 * finished is no finding. Of an open file, which is locked for a moment. */
void lb_lock_wait(const char *instance, const char *what);
void lb_lock_wait_file(int fd);

/* Locks an open file; who waits longer than a moment is told what for. 0 or -errno. */
int lb_lock_file(int fd, const char *instance);

#endif
