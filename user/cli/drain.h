/* SPDX-License-Identifier: GPL-2.0-or-later */
/* drain.h - `meshlb backend drain --wait`: until nobody is connected to a backend any more. */
#ifndef LB_DRAIN_H
#define LB_DRAIN_H

#include "cli.h"

struct lb_drain {
	const char *instance, *service; /* names */
	struct lb_endpoint backend;
	uint32_t timeout; /* seconds, 0: for ever */
	uint64_t left;    /* connections at the end */
	bool removed;     /* meanwhile: none is waited for */
	uint32_t waited;  /* seconds */
};

/*
 * Waits, without a lock, and shows how many are left: on a terminal in one line, else in a line for
 * each change. 0: none; -ETIMEDOUT; -ECANCELED where it takes connections again; or another -errno.
 * All but 0 with err filled.
 */
int lb_drain_wait(struct lb_drain *d, struct lb_err *err);

#endif
