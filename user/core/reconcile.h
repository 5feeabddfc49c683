/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * reconcile.h - the difference between two models, and making a datapath match one.
 *
 * Start, reload, restart after a crash and verify are this one path: desired minus read back.
 */
#ifndef LB_RECONCILE_H
#define LB_RECONCILE_H

#include "log.h"
#include "model.h"

enum lb_change_verb { LB_ADDED, LB_CHANGED, LB_REMOVED };

static inline enum lb_change_verb lb_change_verb_of(const void *from, const void *to)
{
	return !from ? LB_ADDED : !to ? LB_REMOVED : LB_CHANGED;
}

/* Of two at the same place. */
static inline bool lb_backend_equal(const struct lb_backend_conf *a,
				    const struct lb_backend_conf *b)
{
	return a->weight == b->weight && a->override == b->override &&
	       a->max_connections == b->max_connections;
}

/* One line of a difference. Services are named by pointers into the two models. */
struct lb_change {
	enum lb_change_verb verb;
	enum { LB_CHANGE_INTERFACE, LB_CHANGE_SERVICE, LB_CHANGE_DEFAULTS } kind;
	const struct lb_service_conf *from, *to;     /* SERVICE: NULL where added, removed */
	const struct lb_interface_conf *ifrom, *ito; /* INTERFACE: the same */
};

/* In the order defaults, interfaces by name, services by name. */
struct lb_diff {
	struct lb_change *changes;
	size_t n;
	const struct lb_model *actual, *desired;
};

/*
 * What turns `actual` into `desired`. Both sorted; they must outlive the diff. Only services with
 * `source` are compared. Weights in force count, so carry overrides over first.
 * 0; -ENOMEM; -EBUSY where another source already has a listen or name that `desired` wants, and
 * -EPERM where limits differ (they are fixed when the maps are made), both with err filled.
 */
int lb_diff_make(struct lb_diff *d, const struct lb_model *actual, const struct lb_model *desired,
		 enum lb_source source, struct lb_err *err);
void lb_diff_free(struct lb_diff *d);
/* Calls fn for each service that is added or changed, as it will be. */
void lb_diff_each_wanted(const struct lb_diff *d, void (*fn)(const struct lb_service_conf *s));

/* Copies hand-set weights of `actual` to the same backends of `desired`. Returns their number. */
size_t lb_overrides_carry(struct lb_model *desired, const struct lb_model *actual);

/* One line per added, changed, removed object, `+ - ~` in front, indented lines for what is inside
 * (listens, backends, weights, scheduler). Nothing where the diff is empty. */
void lb_diff_print(const struct lb_diff *d, FILE *out);
/* Numbers of added, changed and removed objects (services and interfaces). */
void lb_diff_count(const struct lb_diff *d, size_t *added, size_t *changed, size_t *removed);

#endif
