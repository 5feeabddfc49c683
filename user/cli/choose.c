// SPDX-License-Identifier: GPL-2.0-or-later
/* choose.c - which datapath a model means on this host, and why. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fit.h"

static bool is_wanted(const struct lb_model *m, const struct lb_dp_ops *ops)
{
	return m->datapath == LB_DATAPATH_AUTO ||
	       !strcmp(lb_datapath_kind_name(m->datapath), ops->name);
}

/* Into `running`, unless it is known already: reading takes longer than all else here. */
static void look_at_running(struct lb_fit *f, const struct lb_choice *c, struct lb_session *running)
{
	struct lb_err ignored;

	if (f->standing || !c->instance)
		return;
	lb_session_open(running, c->instance, LB_READ, false, &ignored);
	f->standing = running;
}

/* Once in a process, where it works: what it tries are changes to nftables, which who looks for one
 * must not take for somebody's apply. */
static int probe_once(const struct lb_dp_ops *ops, struct lb_err *err)
{
	static const struct lb_dp_ops *works[LB_DATAPATHS];
	size_t i = 0;
	int ret;

	while (works[i] && works[i] != ops)
		i++;
	ret = works[i] ? 0 : ops->probe(err);
	if (!ret)
		works[i] = ops;
	return ret;
}

/* By its name alone: whether it is whole, and ours, opening it tells. */
static bool is_there(const struct lb_dp_ops *ops, const char *instance)
{
	struct lb_name_search s = {.name = instance};
	struct lb_err ignored;

	if (instance)
		ops->list(lb_name_search, &s, &ignored);
	return s.found;
}

/* What runs works: it needs no trial, for which who only looks may lack the right (a lock in /run),
 * and which takes nftables 20 ms. */
static int probe(const struct lb_fit *f, const struct lb_dp_ops *ops, const struct lb_model *m,
		 const struct lb_choice *c, struct lb_err *err)
{
	bool runs = lb_fit_is_running(f, ops) ||
		    (m->datapath != LB_DATAPATH_AUTO && is_there(ops, c->instance));
	int ret = runs ? 0 : probe_once(ops, err);

	return ret || !ops->probe_model ? ret : ops->probe_model(m, err);
}

static int choose(struct lb_fit *f, const struct lb_model *m, struct lb_choice *c,
		  struct lb_session *running, struct lb_err *err)
{
	const struct lb_dp_ops *works = NULL;
	int ret = -ENOSYS, fits = -ENOSYS;
	size_t len = 0;

	c->why[0] = '\0';
	for (size_t i = 0; lb_datapaths[i]; i++) {
		const struct lb_dp_ops *ops = lb_datapaths[i];

		if (!is_wanted(m, ops))
			continue;
		c->ops = ops;
		ret = c->probe ? probe(f, ops, m, c, err) : 0;
		if (m->datapath != LB_DATAPATH_AUTO)
			return ret;
		if (i)
			look_at_running(f, c, running);
		if (!ret && (!works || lb_fit_is_running(f, ops)))
			works = ops;
		fits = ret ? ret : lb_fit_check(f, m, ops, err);
		/* Somebody's hook, or limits beyond the memory, are for the operator to decide. */
		if (!ret && (!fits || fits == -EBUSY || fits == -ENOMEM))
			return fits;
		len += snprintf(c->why + len, sizeof(c->why) - len, "%s%s", len ? "; " : "",
				err->text);
		len = len < sizeof(c->why) ? len : sizeof(c->why) - 1;
	}
	c->ops = works;
	if (c->best_effort && works)
		return 0;
	return lb_err_set(err, -fits, "no datapath %s: %s",
			  works ? "can do all of this here" : "works here", c->why);
}

int lb_fit_choose(const struct lb_fit *f, const struct lb_model *m, struct lb_choice *c,
		  struct lb_err *err)
{
	struct lb_session running = {};
	struct lb_fit with = *f;
	int ret;

	with.probe = c->probe;
	ret = choose(&with, m, c, &running, err);
	lb_session_close(&running);
	return ret;
}

const char *lb_choice_why(char buf[96], const struct lb_model *m, const struct lb_dp_ops *ops)
{
	const char *first = lb_datapaths[0]->name;

	if (m->datapath != LB_DATAPATH_AUTO)
		snprintf(buf, 96, "the config names it");
	else if (ops == lb_datapaths[0])
		snprintf(buf, 96, "its first choice, %s, can do all that is served", first);
	else
		snprintf(buf, 96,
			 "nothing speaks against %s now: an apply of what is served takes it",
			 first);
	return buf;
}
