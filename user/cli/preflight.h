/* SPDX-License-Identifier: GPL-2.0-or-later */
/* preflight.h - what of this host would be in a config's way: interfaces, hooks, memory, routes,
 * sysctls, listens.
 */
#ifndef LB_PREFLIGHT_H
#define LB_PREFLIGHT_H

#include "cli.h"
#include "text.h"

/* Refuses limits that take more memory than this host has; where making the maps has `failed` for
 * want of it, in any case. */
int lb_preflight_memory(const struct lb_model *m, bool failed, const char *file,
			struct lb_err *err);

/* Refuses XDP hooks on interfaces that have another's XDP program (not with `force`), or no native
 * XDP. `s`: what is running, whose interfaces are not looked at; s->dp NULL: nothing. */
int lb_preflight_hooks(const struct lb_model *m, const struct lb_session *s, bool force,
		       const char *file, struct lb_err *err);

/* Do the interfaces exist? -ENODEV where one does not. `file` stands in messages. */
int lb_preflight_interfaces(const struct lb_model *m, const char *file, struct lb_err *err);

/* In the families of its service's backends: what is of the other one passes to the host. */
struct lb_wanted_listen {
	const struct lb_listen *listen;
	bool in[LB_FAMILIES];
};

/* -EADDRINUSE where a local program has one of the `n` listens that is a `*` port, or somebody
 * else's virtual service of IPVS meets one. */
int lb_preflight_listens(const struct lb_wanted_listen *l, size_t n, const char *file,
			 struct lb_err *err);

/*
 * Looks at the listens and backends that `diff` adds; at all of m's where diff is NULL: an apply
 * that changes one backend must not ask for the routes of all. Refuses listens that are taken (not
 * with `force`); else 0, and what an operator should know is added to *warnings.
 */
int lb_preflight(const struct lb_model *m, const struct lb_diff *diff, const struct lb_dp_ops *ops,
		 const char *file, bool force, struct lb_texts *warnings, struct lb_err *err);

#endif
