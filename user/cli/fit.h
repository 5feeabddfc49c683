/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fit.h - what of a config a datapath cannot do: forwarding, addresses that are not this host's,
 * services that are too large, names of interfaces, hooks, memory.
 */
#ifndef LB_FIT_H
#define LB_FIT_H

#include "cli.h"

struct lb_fit {
	const char *file;                  /* stands in messages, before lines */
	const struct lb_session *standing; /* what is running; s->dp NULL, or no s: nothing */
	bool force;
	bool probe; /* what the kernel has may be tried out */
};

/* Is that the datapath on which it is running? */
static inline bool lb_fit_is_running(const struct lb_fit *f, const struct lb_dp_ops *ops)
{
	return f->standing && f->standing->dp && f->standing->ops == ops;
}

/* Can it do all of the model? Else -EOPNOTSUPP or another -errno, and err says what not, and where.
 * Listens that stand there already are not asked about. */
int lb_fit_check(const struct lb_fit *f, const struct lb_model *m, const struct lb_dp_ops *ops,
		 struct lb_err *err);

/* Takes what it cannot do out of the model, and calls fn for each: of a service its forwarding
 * becomes nat, a listen goes, or the whole service; of an interface its hook becomes auto, or it
 * goes. What cannot be left out is an error. */
int lb_fit_cut(const struct lb_fit *f, struct lb_model *m, const struct lb_dp_ops *ops,
	       lb_finding_fn fn, void *arg, struct lb_err *err);

/*
 * choose.c: the datapath that m->datapath means on this host: of `auto` the first that works and
 * can do all of the model; with best_effort else the one that is running, or the first that works.
 * Of another it is only asked whether it works. Else err says why not.
 */
struct lb_choice {
	bool best_effort;
	bool probe;           /* false: without the right to try */
	const char *instance; /* what is running, read only if the first is not it; or NULL */
	const struct lb_dp_ops *ops; /* what is chosen */
	char why[512];               /* what speaks against those before it, or "" */
};
int lb_fit_choose(const struct lb_fit *f, const struct lb_model *m, struct lb_choice *c,
		  struct lb_err *err);
/* Why a model, as it is served, is on a datapath where `why` is empty. Returns buf. */
const char *lb_choice_why(char buf[96], const struct lb_model *m, const struct lb_dp_ops *ops);

#endif
