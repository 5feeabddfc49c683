/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_commit.c - apply: prepare, attach, commit by one store, clean up (docs/design.md, 3). Up to
 * the store all can be undone by settling to what is in force, after it nothing can fail.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ebpf_internal.h"

/* Slots of rings that an apply with other things to do checks: some 3 ms. One without checks all,
 * as `verify` does. */
#define RING_BUDGET 100000

struct apply {
	struct lb_dp *dp;
	const struct lb_diff *diff;
	const struct lb_model *desired;
	struct lb_model actual;
	bool *damaged;         /* by index in actual: needs new members and rings */
	struct lb_progs fresh; /* of this binary, where it is another build */
	struct lb_hook_plan plan;
	struct lb_grace grace;
	struct lb_tx tx;
};

static void debug_finding(void *arg, const char *text)
{
	(void)arg;
	lb_debug("repairing: %s", text);
}

static int look(struct apply *a, size_t *repaired, struct lb_err *err)
{
	struct lb_audit audit = {.fn = debug_finding,
				 .ring_budget = a->diff->n ? RING_BUDGET : ~0ull};
	int ret = lb_ebpf_read(a->dp, &a->actual, err);

	if (ret)
		return ret;
	a->damaged = calloc(a->actual.n_services + 1, sizeof(*a->damaged));
	if (!a->damaged)
		return lb_err_sys(err, ENOMEM, "looking for damage");
	audit.damaged = a->damaged;
	ret = lb_audit_run(a->dp, &a->actual, &audit, err);
	*repaired = audit.found;
	return ret;
}

static bool progs_are_current(const struct lb_dp *dp)
{
	return dp->config->build == lb_build_id() && dp->progs.fd[LB_HOOK_XDP] >= 0 &&
	       dp->progs.fd[LB_HOOK_TC] >= 0 && dp->progs.iter_link >= 0;
}

/* The services that differ, and those that are damaged below the model. */
static int services_prepare(struct apply *a, struct lb_err *err)
{
	int ret = 0;

	for (size_t i = 0; i < a->diff->n && !ret; i++) {
		const struct lb_change *c = &a->diff->changes[i];
		const struct lb_service_conf *from = NULL;
		bool rebuild = false;

		if (c->kind != LB_CHANGE_SERVICE)
			continue;
		if (c->from) {
			from = lb_model_find_service(&a->actual, c->from->name);
			if (!from)
				return lb_err_set(err, EINVAL,
						  "service \"%s\": it is not there any more",
						  c->from->name);
			rebuild = a->damaged[from - a->actual.services];
			a->damaged[from - a->actual.services] = false;
		}
		ret = lb_tx_service(&a->tx, from, c->to, rebuild, err);
	}
	for (size_t i = 0; i < a->actual.n_services && !ret; i++) {
		const struct lb_service_conf *s = &a->actual.services[i], *to;

		lb_ports_need(a->dp, s, NULL);
		if (!a->damaged[i])
			continue;
		to = lb_model_find_service(a->desired, s->name);
		ret = lb_tx_service(&a->tx, s, to ? to : s, true, err);
	}
	return ret ? ret : lb_tx_listens(&a->tx, err);
}

static int prepare(struct apply *a, struct lb_err *err)
{
	bool current = progs_are_current(a->dp);
	int ret = current ? 0 : lb_object_reload(a->dp, &a->fresh, err);

	if (!ret)
		ret = lb_settle(a->dp, err);
	if (ret)
		return ret;
	ret = lb_tx_begin(&a->tx, a->dp, &a->actual.limits, &a->grace, err);
	if (!ret)
		ret = services_prepare(a, err);
	if (!ret)
		ret = lb_hooks_make(a->dp, a->desired, current ? &a->dp->progs : &a->fresh,
				    &a->plan, err);
	return ret;
}

static void undo(struct apply *a)
{
	struct lb_err err;

	if (lb_settle(a->dp, &err))
		lb_warn("%s", err.text);
	lb_hooks_settle(a->dp);
	lb_displaced_restore(a->dp);
	lb_slow_trim(a->dp);
}

static void commit(struct apply *a)
{
	struct lb_config *c = a->dp->config;

	__atomic_store_n(&c->generation, a->tx.next, __ATOMIC_SEQ_CST);
	c->applied = time(NULL);
	c->default_scheduler = a->desired->default_scheduler;
	c->default_maglev_size = a->desired->default_maglev_size;
	c->datapath_auto = a->desired->datapath == LB_DATAPATH_AUTO;
	a->dp->fresh = false;
}

/* What fails here is found by verify and tried again by the next apply. */
static void clean_up(struct apply *a)
{
	struct lb_err err;

	if (a->fresh.fd[LB_HOOK_XDP] >= 0 && lb_progs_pin(a->dp, &a->fresh, &err))
		lb_warn("%s", err.text);
	lb_tx_listen_flags(&a->tx);
	lb_hooks_record(a->dp, &a->plan);
	if (lb_settle(a->dp, &err))
		lb_warn("%s", err.text);
	lb_hooks_settle(a->dp);
	lb_hooks_flags(a->dp, &a->plan);
	lb_displaced_forget(a->dp);
	lb_slow_trim(a->dp);
}

int lb_ebpf_apply(struct lb_dp *dp, const struct lb_diff *d, const struct lb_model *desired,
		  size_t *repaired, struct lb_err *err)
{
	struct apply a = {.dp = dp, .diff = d, .desired = desired, .fresh = LB_PROGS_NONE};
	int ret;

	if (d->n) /* packets that were on their way at the last commit may look at what it left */
		lb_grace_begin(&a.grace);
	ret = look(&a, repaired, err);
	/* Also without anything to do: an interrupted apply may have left things that no packet
	 * sees, and new interfaces want to be recorded. */
	if (!ret)
		ret = prepare(&a, err);
	if (ret) {
		if (a.damaged)
			undo(&a);
	} else {
		commit(&a);
		clean_up(&a);
	}
	if (a.grace.running)
		lb_grace_end(&a.grace);
	lb_tx_end(&a.tx);
	lb_hooks_plan_free(&a.plan);
	lb_progs_close(&a.fresh);
	lb_model_free(&a.actual);
	free(a.damaged);
	return ret;
}
