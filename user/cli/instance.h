/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * instance.h - an instance with all datapaths in view: the one where it is to be, and those that it
 * leaves. Where there are such, moving is the whole change.
 */
#ifndef LB_INSTANCE_H
#define LB_INSTANCE_H

#include "cli.h"

/* What verify finds, and apply says to have repaired; of "the instance", or a part. */
#define LB_LEFT_BEHIND "an interrupted change of datapath has left %s there"

struct lb_instance {
	struct lb_session s; /* where it is to be; s.dp NULL: only read, and not there */
	/* Of more than one, which a killed apply has left, the first is shown. */
	struct lb_session others[LB_DATAPATHS];
	size_t n_others;
	/* What a killed move has left half made on others: no model. */
	struct lb_session parts[LB_DATAPATHS];
	size_t n_parts;
	bool fresh; /* it was not on s.ops before */
};

struct lb_instance_options {
	const char *name;
	enum lb_access access;
	bool force;
	bool only_move; /* made only where it stands on another datapath: else -ENOENT */
	const struct lb_model *desired; /* its limits are those of one made anew */
	const char *file;               /* of `desired`, in messages */
};

/* Opens it on `ops`, where it is made if `access` is LB_WRITE and it is not there, and on all
 * others where it is. 0 or -errno; to be closed in any case. */
int lb_instance_open(struct lb_instance *i, const struct lb_dp_ops *ops,
		     const struct lb_instance_options *opt, struct lb_err *err);
/* Before they are compared: of what is made anew, limits and defaults are as it is wanted (and as
 * the datapath can have it): no difference to tell of. */
void lb_instance_take_over(struct lb_instance *i, const struct lb_model *desired);
/* Where it is in force: the first datapath that a packet meets; i->s also if it is nowhere. */
const struct lb_session *lb_instance_served(const struct lb_instance *i);
/* Takes it off the others, and what is left there. As down(), but what that leaves is warned of. */
/* `desired`: what it is now, so that conntrack forgets what of theirs is removed by the move. */
int lb_instance_leave(struct lb_instance *i, const struct lb_model *desired, struct lb_err *err);
void lb_instance_release(struct lb_instance *i); /* the locks; the models stay */
void lb_instance_close(struct lb_instance *i);

#endif
