// SPDX-License-Identifier: GPL-2.0-or-later
/* instance.c - an instance with all datapaths in view: opened, made, moved. */
#include <errno.h>
#include <string.h>

#include "datapath/conntrack.h"
#include "instance.h"
#include "preflight.h"

#define MOVES_MAX 5

/*
 * Made before the rest is known to be good: so another apply that wanted to make it too waits for
 * this one. Closing it unapplied removes it again.
 */
static int create(struct lb_instance *i, const struct lb_instance_options *opt, struct lb_err *err)
{
	const struct lb_dp_options options = {
		.instance = opt->name, .write = true, .force = opt->force};
	bool maps = i->s.ops->has_programs;
	int ret = maps ? lb_preflight_memory(opt->desired, false, opt->file, err) : 0;

	if (!ret)
		ret = i->s.ops->create(&i->s.dp, &options, opt->desired, err);
	if (ret == -ENOMEM && maps)
		lb_preflight_memory(opt->desired, true, opt->file, err);
	if (!ret)
		ret = lb_session_read(&i->s, err);
	/* Unless another apply has been faster. */
	i->fresh = !ret && !i->s.model.n_services && !i->s.model.n_interfaces;
	return ret;
}

static int open_on(struct lb_instance *i, const struct lb_dp_ops *ops,
		   const struct lb_instance_options *opt, struct lb_err *err)
{
	int ret = lb_session_open_on(&i->s, ops, opt->name, opt->access, opt->force, err);

	/* Of an older ABI: it is taken over where it is to be written to. */
	if (ret == -ESTALE && (!ops->migrates || opt->access != LB_WRITE))
		return ret;
	if ((ret != -ENOENT && ret != -ESTALE) || opt->only_move)
		return ret;
	if (opt->access == LB_WRITE)
		return create(i, opt, err);
	lb_model_init(&i->s.model);
	return 0;
}

/* It could not be seen now: what another time would be. */
static bool is_passing(int ret)
{
	return ret == -EINTR || ret == -EAGAIN || ret == -ENOMEM || ret == -ENOBUFS ||
	       ret == -EMFILE || ret == -ENFILE;
}

/* Is there nothing of ours? A table of somebody else's by our name is none, nor an instance of
 * another network namespace (bpffs has both); where this kernel has no nftables, or no bpffs is
 * mounted, there can be none. Else what cannot be opened now would go on serving beside us. */
static bool is_nothing(const struct lb_dp_ops *ops, int ret, bool write)
{
	if (ret == -ENOENT)
		return true;
	if (ops->has_programs)
		return ret == -ENODEV || ret == -EXDEV;
	if (!write) /* not everybody may list tables */
		return ret != -ESTALE && !is_passing(ret);
	return ret == -EEXIST || ret == -EOPNOTSUPP || ret == -ENODEV || ret == -EPROTONOSUPPORT;
}

static int open_other(struct lb_instance *i, const struct lb_dp_ops *ops,
		      const struct lb_instance_options *opt, struct lb_err *err)
{
	const struct lb_dp_options options = {
		.instance = opt->name, .write = opt->access == LB_WRITE, .force = opt->force};
	struct lb_session other = {.ops = ops};
	int ret = ops->open(&other.dp, &options, err);

	if (!ret)
		ret = lb_session_read(&other, err);
	if (!ret) {
		i->others[i->n_others++] = other;
		return 0;
	}
	if (ret == -ENOENT && other.dp && options.write) {
		i->parts[i->n_parts++] = other;
		return 0;
	}
	lb_session_close(&other);
	return is_nothing(ops, ret, options.write) ? 0 : ret;
}

static bool is_open_on(const struct lb_instance *i, const struct lb_dp_ops *ops)
{
	bool is = false;

	for (size_t k = 0; k < i->n_others; k++)
		is |= i->others[k].ops == ops;
	return is;
}

/* While we waited for a lock somebody may have moved it to where we had looked before. */
static bool has_moved(const struct lb_instance *i, const char *name)
{
	struct lb_session other;
	struct lb_err ignored;

	for (size_t k = 0; i->fresh && lb_datapaths_met[k] != i->s.ops; k++) {
		if (is_open_on(i, lb_datapaths_met[k]) ||
		    lb_session_open_on(&other, lb_datapaths_met[k], name, LB_READ, false, &ignored))
			continue;
		lb_session_close(&other);
		return true;
	}
	return false;
}

/* In the order of all, so that no two that wait for locks wait for each other. But where it is only
 * moved, we hold the lock of where it stands: nobody else makes it meanwhile. */
static int open_all(struct lb_instance *i, const struct lb_dp_ops *ops,
		    const struct lb_instance_options *opt, struct lb_err *err)
{
	bool missing = false;
	int ret = 0;

	*i = (struct lb_instance){.s.ops = ops};
	for (size_t k = 0; lb_datapaths_met[k] && !ret; k++) {
		if (lb_datapaths_met[k] != ops) {
			ret = open_other(i, lb_datapaths_met[k], opt, err);
			continue;
		}
		ret = open_on(i, ops, opt, err);
		missing = ret == -ENOENT && opt->only_move;
		ret = missing ? 0 : ret;
	}
	if (ret || !missing)
		return ret;
	if (!i->n_others)
		return lb_err_set(err, ENOENT, "instance \"%s\": there is none", opt->name);
	return create(i, opt, err);
}

int lb_instance_open(struct lb_instance *i, const struct lb_dp_ops *ops,
		     const struct lb_instance_options *opt, struct lb_err *err)
{
	int ret = open_all(i, ops, opt, err);

	for (int tries = 1; !ret && opt->access == LB_WRITE && has_moved(i, opt->name); tries++) {
		lb_instance_close(i);
		if (tries == MOVES_MAX)
			return lb_err_set(
				err, EBUSY,
				"instance \"%s\": others move it again and again: try later",
				opt->name);
		ret = open_all(i, ops, opt, err);
	}
	return ret;
}

void lb_instance_take_over(struct lb_instance *i, const struct lb_model *desired)
{
	struct lb_model *m = &i->s.model;

	if (i->s.dp && !i->fresh)
		return;
	m->datapath = desired->datapath;
	m->limits = desired->limits;
	m->default_scheduler = desired->default_scheduler;
	m->default_maglev_size = desired->default_maglev_size;
	memcpy(m->timeouts, desired->timeouts, sizeof(m->timeouts));
	m->rates = desired->rates;
}

/* Also where an apply was killed between two. */
const struct lb_session *lb_instance_served(const struct lb_instance *i)
{
	for (size_t k = 0; lb_datapaths_met[k] && i->n_others; k++) {
		if (lb_datapaths_met[k] == i->others->ops)
			return i->others;
		if (lb_datapaths_met[k] == i->s.ops && i->s.dp && !i->fresh)
			break;
	}
	return &i->s;
}

static int leave(struct lb_session *s, size_t n, struct lb_err *err)
{
	bool left = false;
	int ret = 0;

	for (size_t k = 0; k < n && !ret; k++) {
		ret = s[k].ops->down(s[k].dp, true, err);
		s[k].dp = NULL;
		left |= lb_warned(ret > 0, err);
		ret = ret > 0 ? 0 : ret;
	}
	return ret ? ret : left;
}

/* Of what the move removes: the new datapath was made for an empty model, and does not know. */
static int forget_gone(struct lb_instance *i, const struct lb_model *desired, struct lb_err *err)
{
	struct lb_diff moved = {};
	int ret;

	if (!i->n_others)
		return 0;
	i->others->model.limits_free = true;
	ret = lb_diff_make(&moved, &i->others->model, desired, LB_SOURCE_FILE, err);
	if (!ret)
		ret = lb_conntrack_forget_gone(&moved, err);
	lb_diff_free(&moved);
	return ret;
}

int lb_instance_leave(struct lb_instance *i, const struct lb_model *desired, struct lb_err *err)
{
	/* Once the old one is gone no later apply knows what was removed: so before, for who is
	 * killed; and after it, as it may have had new connections until then. */
	bool kept = lb_warned(forget_gone(i, desired, err), err);
	int left = leave(i->others, i->n_others, err);
	int ret = left < 0 ? left : leave(i->parts, i->n_parts, err);

	if (ret >= 0)
		left |= kept | lb_warned(forget_gone(i, desired, err), err);
	return ret ? ret : left;
}

void lb_instance_release(struct lb_instance *i)
{
	lb_session_release(&i->s);
	for (size_t k = 0; k < i->n_others; k++)
		lb_session_release(&i->others[k]);
	for (size_t k = 0; k < i->n_parts; k++)
		lb_session_release(&i->parts[k]);
}

void lb_instance_close(struct lb_instance *i)
{
	for (size_t k = 0; k < i->n_others; k++)
		lb_session_close(&i->others[k]);
	for (size_t k = 0; k < i->n_parts; k++)
		lb_session_close(&i->parts[k]);
	lb_session_close(&i->s);
}
