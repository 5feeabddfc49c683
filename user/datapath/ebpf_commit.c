/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_commit.c - apply: prepare, attach, commit by one store, clean up (docs/design.md, 3). Up to
 * the store all can be undone by settling to what is in force, after it nothing can fail.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conntrack.h"
#include "ebpf_internal.h"

/* Slots of rings that an apply with other things to do checks: some 2 ms. One without checks all,
 * as `verify` does. */
#define RING_BUDGET 50000

struct apply {
	struct lb_dp *dp;
	const struct lb_diff *diff;
	struct lb_audit audit;
	struct lb_progs fresh; /* of this binary, where the instance's will not do */
	struct lb_hook_plan plan;
	struct lb_tx tx;
};

static int look(struct apply *a, struct lb_err *err)
{
	a->audit.ring_budget = a->diff->n ? RING_BUDGET : ~0ull;
	a->audit.damaged = calloc(a->diff->actual->n_services + 1, sizeof(*a->audit.damaged));
	if (!a->audit.damaged)
		return lb_err_sys(err, ENOMEM, "looking for damage");
	return lb_audit_run(a->dp, a->diff->actual, &a->audit, err);
}

/* The services that differ, and those that are damaged below the model. */
static int services_prepare(struct apply *a, struct lb_err *err)
{
	const struct lb_model *actual = a->diff->actual;
	bool *damaged = a->audit.damaged;
	int ret = 0;

	for (size_t i = 0; i < a->diff->n && !ret; i++) {
		const struct lb_change *c = &a->diff->changes[i];
		bool rebuild = false;

		if (c->kind != LB_CHANGE_SERVICE)
			continue;
		if (c->from) {
			rebuild = damaged[c->from - actual->services];
			damaged[c->from - actual->services] = false;
		}
		ret = lb_tx_service(&a->tx, c->from, c->to, rebuild, err);
	}
	for (size_t i = 0; i < actual->n_services && !ret; i++) {
		const struct lb_service_conf *s = &actual->services[i];

		lb_ports_need(a->dp, s, NULL);
		if (damaged[i])
			ret = lb_tx_service(&a->tx, s, s, true, err);
	}
	return ret ? ret : lb_tx_listens(&a->tx, err);
}

static int prepare(struct apply *a, struct lb_err *err)
{
	const struct lb_model *actual = a->diff->actual;
	bool current = !a->audit.reload;
	int ret = lb_config_repair(a->dp, err);

	if (!ret && !current)
		ret = lb_object_reload(a->dp, &a->fresh, err);
	if (!ret)
		ret = lb_settle(a->dp, err);
	if (!ret)
		ret = lb_tx_begin(&a->tx, a->dp, &actual->limits, a->diff->n + actual->n_services,
				  err);
	if (!ret)
		ret = services_prepare(a, err);
	if (!ret)
		ret = lb_hooks_make(a->dp, a->diff->desired, current ? &a->dp->progs : &a->fresh,
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
	const struct lb_model *desired = a->diff->desired;
	struct lb_config *c = a->dp->config;

	__atomic_store_n(&c->generation, a->tx.next, __ATOMIC_SEQ_CST);
	c->applied = time(NULL);
	c->default_scheduler = desired->default_scheduler;
	c->default_maglev_size = desired->default_maglev_size;
	lb_timeouts_fill(a->dp->timeouts, desired->timeouts);
	lb_rates_fill(a->dp->rates, &desired->rates);
	c->datapath_auto = desired->datapath == LB_DATAPATH_AUTO;
	a->dp->fresh = false;
	lb_grace_drop(&a->dp->grace);
}

/* Writes only where something is not as it should be. What fails is tried again by the next
 * apply. */
static bool tidy(struct lb_dp *dp)
{
	struct lb_err err;
	bool left = lb_warned(lb_settle(dp, &err), &err);

	lb_hooks_settle(dp);
	lb_hooks_flags(dp);
	lb_displaced_forget(dp);
	lb_slow_trim(dp);
	lb_instance_forget_next(dp);
	return left;
}

static bool clean_up(struct apply *a)
{
	bool left = false;
	struct lb_err err;

	if (a->fresh.fd[LB_HOOK_XDP] >= 0)
		left = lb_warned(lb_progs_pin(a->dp, &a->fresh, &err), &err);
	lb_maps_repin(a->dp);
	lb_tx_listen_flags(&a->tx);
	lb_hooks_record(a->dp, &a->plan);
	left |= tidy(a->dp);
	/* When we return no program is at work that may still choose who was drained. */
	if (a->tx.drains)
		lb_grace_end(&a->dp->grace);
	return lb_warned(lb_conntrack_forget_gone(a->diff, &err), &err) || left;
}

static int change(struct apply *a, struct lb_err *err)
{
	int ret = prepare(a, err);

	if (ret) {
		undo(a);
	} else {
		commit(a);
		ret = clean_up(a);
	}
	lb_tx_end(&a->tx);
	lb_hooks_plan_free(&a->plan);
	lb_progs_close(&a->fresh);
	return ret;
}

int lb_ebpf_apply(struct lb_dp *dp, const struct lb_diff *d, lb_finding_fn fn, void *arg,
		  struct lb_err *err)
{
	struct apply a = {.dp = dp,
			  .diff = d,
			  .audit = {.findings = {.fn = fn, .arg = arg}, .repairs = true},
			  .fresh = LB_PROGS_NONE};
	int ret = look(&a, err);

	if (!ret && (d->n || a.audit.findings.n || dp->fresh))
		ret = change(&a, err);
	else if (!ret) /* what an interrupted apply left where no packet sees it; new interfaces */
		ret = tidy(dp);
	free(a.audit.damaged);
	return ret;
}
