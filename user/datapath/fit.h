/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fit.h - what of a model a datapath cannot do: forwarding, addresses that are not this host's,
 * services that are too large, names of interfaces. `file` stands in messages, before lines.
 */
#ifndef LB_FIT_H
#define LB_FIT_H

#include "datapath.h"

/* Can it do all of the model? Else -EOPNOTSUPP or -EADDRNOTAVAIL, and err says what not, and where.
 * Listens that `standing` (NULL: nothing) has, too, are not asked about. */
int lb_fit_check(const struct lb_model *m, const struct lb_model *standing,
		 const struct lb_dp_ops *ops, const char *file, struct lb_err *err);

/* Takes what it cannot do out of the model, and calls fn for each: of a service its forwarding
 * becomes nat, a listen goes, or the whole service. */
int lb_fit_cut(struct lb_model *m, const struct lb_model *standing, const struct lb_dp_ops *ops,
	       const char *file, lb_finding_fn fn, void *arg, struct lb_err *err);

/*
 * The datapath that m->datapath means on this host: of `auto` the first that works and can do all
 * of the model (with best_effort else the first that works), and `why` (of size) says what speaks
 * against those before it, or is empty. Another is not asked what it can do. Else err says why not.
 */
int lb_fit_choose(const struct lb_model *m, const char *file, bool best_effort,
		  const struct lb_dp_ops **ops, char *why, size_t size, struct lb_err *err);

#endif
