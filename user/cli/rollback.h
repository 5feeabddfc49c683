/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rollback.h - `apply --confirm-timeout`: a process that goes back unless `meshlb confirm` comes.
 */
#ifndef LB_ROLLBACK_H
#define LB_ROLLBACK_H

#include "cli.h"
#include "pending.h"

struct lb_rollback {
	const char *instance;
	const struct lb_model *old;  /* to go back to; NULL: there was, and will be, no instance */
	const struct lb_dp_ops *ops; /* and on which datapath */
	const struct lb_model
		*forced; /* what `apply --force` is going to attach to; NULL: no force */
	bool reset;      /* it resets overrides: going back brings them back */
	uint32_t seconds;
};

/*
 * Starts the process, before the change is made: so none is ever made without it. The caller holds
 * the instance's lock, and lets it go when the change is made or has failed.
 */
int lb_rollback_arm(const struct lb_rollback *r, struct lb_err *err);

/* Calls it off, and says what it was. 0; -ENOENT: nothing waits; -ECANCELED: it has gone back,
 * which stays on record. The caller must not hold the instance's lock, which the process may be
 * about to take. */
int lb_rollback_cancel(const char *instance, struct lb_pending *p, struct lb_err *err);

#endif
