// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ipvs_commit.c - apply and audit. IPVS knows no transaction, nftables does: what changes is made
 * at the mark of its service that is not in force, and one transaction of the table leads new
 * connections there, all services at once, with the model that says so. Before it all is as it was,
 * after it all as it should be; a record in the table tells of an apply that was killed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conntrack.h"
#include "ipvs_internal.h"

/* ---------------------------------------------------------------- ids */

static int id_order(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* Where each service of `desired` will be: an unchanged one where it is, a changed one at its other
 * mark, a new one at the first that is free. */
static int ids_make(const struct lb_diff *d, uint32_t *ids)
{
	const struct lb_model *m = d->desired;
	uint32_t *used = calloc(d->actual->n_services + 1, sizeof(*used)), next = LB_IPVS_FIRST_ID;
	size_t k = 0;

	if (!used)
		return -ENOMEM;
	for (size_t i = 0; i < d->actual->n_services; i++)
		used[i] = LB_IPVS_SERVICE(d->actual->services[i].id);
	qsort(used, d->actual->n_services, sizeof(*used), id_order);
	for (size_t i = 0; i < m->n_services; i++) {
		const struct lb_service_conf *was =
			lb_model_find_service(d->actual, m->services[i].name);

		if (was) {
			ids[i] = was->id;
			continue;
		}
		for (; k < d->actual->n_services && used[k] <= next; k++)
			next += used[k] == next ? 2 : 0;
		ids[i] = next;
		next += 2;
	}
	for (size_t i = 0; i < d->n; i++)
		if (d->changes[i].kind == LB_CHANGE_SERVICE && d->changes[i].from &&
		    d->changes[i].to) {
			size_t at = d->changes[i].to - m->services;

			ids[at] = LB_IPVS_OTHER(ids[at]);
		}
	free(used);
	return next < LB_IPVS_IDS ? 0 : -ENOSPC;
}

/* ---------------------------------------------------------------- apply */

struct apply {
	struct lb_dp *dp;
	const struct lb_diff *diff;
	uint32_t *ids;                   /* of diff->desired's services */
	struct lb_nft_elements from, to; /* the table's elements that differ, or all */
	struct lb_firewall firewall;
	char rule[LB_IPVS_RULE_LEN];
	bool new_table, new_rules;
	bool repair; /* something is not as the model says: all is made anew */
};

static uint32_t id_of(const struct apply *a, const struct lb_service_conf *s)
{
	return a->ids[s - a->diff->desired->services];
}

#define MH_SLOTS 4093 /* kernel: primes[IP_VS_MH_TAB_INDEX], by its default configuration */

/* Where IPVS's scheduler is not quite what the config asks for. */
static void say_scheduler(const struct lb_service_conf *s)
{
	if (s->scheduler == LB_SCHED_RANDOM)
		lb_info("service \"%s\": IPVS has no scheduler random: wrr takes its place, with "
			"the same shares",
			s->name);
	if (s->scheduler == LB_SCHED_MAGLEV && s->maglev_size != MH_SLOTS)
		lb_info("service \"%s\": maglev-size %u: IPVS's mh has a table of %d", s->name,
			s->maglev_size, MH_SLOTS);
}

/* All that a model means, with the ids of its services (NULL: their own); sorted. */
static int everything(const struct lb_dp *dp, const struct lb_model *m, const uint32_t *ids,
		      struct lb_nft_elements *all, struct lb_err *err)
{
	char text[32];

	lb_nft_head_elements(all, m, lb_ipvs_kind.magic);
	for (size_t i = 0; i < m->n_services; i++)
		lb_ipvs_service_elements(dp, all, &m->services[i],
					 ids ? ids[i] : m->services[i].id);
	lb_ipvs_backends_elements(all, m);
	snprintf(text, sizeof(text), "marks %u", dp->number);
	lb_nft_record_add(all, 0, LB_IPVS_RECORD_NUMBER, text);
	lb_nft_elements_sort(all);
	return all->no_memory ? lb_err_sys(err, ENOMEM, "making the elements") : 0;
}

static int run(struct lb_dp *dp, struct lb_text *t, const char *doing, struct lb_err *err)
{
	int ret = 0;

	if (t->no_memory)
		ret = lb_err_sys(err, ENOMEM, "%s", doing);
	else if (t->len)
		ret = lb_nft_run(&dp->table, t->s, doing, err);
	free(t->s);
	*t = (struct lb_text){};
	return ret;
}

static void record_text(struct lb_text *t, const struct lb_dp *dp, enum lb_ipvs_record record)
{
	lb_text_add(t, "add element inet %s " LB_NFT_SET_MODEL " { 0 . %d comment \"%s\" }\n",
		    dp->table.name, record,
		    record == LB_IPVS_RECORD_NEW ? "an apply makes it" : "an apply is at work");
}

/* A table without services, or in the one that is there a record, says that we are at work: what
 * that leaves in IPVS if it is killed the next apply finds by its marks. */
static int begin(struct apply *a, struct lb_err *err)
{
	struct lb_dp *dp = a->dp;
	struct lb_nft_elements to = {}, none = {};
	struct lb_text t = {};
	int ret = 0;

	if (dp->fresh) {
		if (dp->has_table)
			lb_text_add(&t, "delete table inet %s\n", dp->table.name);
		lb_ipvs_text_table(&t, dp);
		ret = everything(dp, a->diff->actual, NULL, &to, err);
		lb_nft_text_elements(&t, dp->table.name, &to, &none, true);
		record_text(&t, dp, LB_IPVS_RECORD_NEW);
	}
	if (dp->fresh || !lb_ipvs_record(dp->table.state, LB_IPVS_RECORD_UNDONE))
		record_text(&t, dp, LB_IPVS_RECORD_UNDONE);
	if (!ret)
		ret = run(dp, &t, "beginning a change", err);
	free(t.s);
	lb_nft_elements_free(&to);
	dp->has_table |= !ret;
	return ret;
}

static int build(struct apply *a, struct lb_err *err)
{
	const struct lb_diff *d = a->diff;
	int ret = 0;

	for (size_t i = 0; i < 2 * d->n && !ret; i++)
		if (d->changes[i / 2].kind == LB_CHANGE_SERVICE && d->changes[i / 2].to)
			ret = lb_ipvs_sync(a->dp, d->changes[i / 2].to,
					   id_of(a, d->changes[i / 2].to), i % 2, err);
	/* In place: what was found there is nothing that anybody wants to keep. */
	for (size_t i = 0; a->repair && i < 2 * d->desired->n_services && !ret; i++)
		ret = lb_ipvs_sync(a->dp, &d->desired->services[i / 2], a->ids[i / 2], i % 2, err);
	return ret;
}

static void differences(struct apply *a)
{
	const struct lb_diff *d = a->diff;

	lb_nft_head_elements(&a->from, d->actual, lb_ipvs_kind.magic);
	lb_nft_head_elements(&a->to, d->desired, lb_ipvs_kind.magic);
	lb_ipvs_backends_elements(&a->from, d->actual);
	lb_ipvs_backends_elements(&a->to, d->desired);
	for (size_t i = 0; i < d->n; i++) {
		const struct lb_change *c = &d->changes[i];

		if (c->kind == LB_CHANGE_SERVICE && c->from)
			lb_ipvs_service_elements(a->dp, &a->from, c->from, c->from->id);
		if (c->kind == LB_CHANGE_SERVICE && c->to)
			lb_ipvs_service_elements(a->dp, &a->to, c->to, id_of(a, c->to));
	}
}

static int commit(struct apply *a, struct lb_err *err)
{
	bool masq = lb_ipvs_has_masq(a->diff->desired);
	const char *table = a->dp->table.name;
	struct lb_text t = {};
	int ret = 0;

	if (a->repair) {
		lb_text_add(&t, "delete table inet %s\n", table);
		lb_ipvs_text_table(&t, a->dp);
		ret = everything(a->dp, a->diff->desired, a->ids, &a->to, err);
		record_text(&t, a->dp, LB_IPVS_RECORD_UNDONE);
		if (masq)
			lb_ipvs_text_masq(&t, table);
	} else {
		a->new_rules = masq && !lb_ipvs_has_masq(a->diff->actual);
		if (a->new_rules)
			lb_ipvs_text_masq(&t, table);
		differences(a);
		if (a->dp->fresh)
			lb_text_add(&t, "delete element inet %s " LB_NFT_SET_MODEL " { 0 . %d }\n",
				    table, LB_IPVS_RECORD_NEW);
	}
	lb_nft_elements_sort(&a->from);
	lb_nft_elements_sort(&a->to);
	t.no_memory |= a->from.no_memory || a->to.no_memory;
	lb_nft_text_elements(&t, table, &a->from, &a->to, false);
	lb_nft_text_elements(&t, table, &a->to, &a->from, true);
	if (!ret)
		ret = run(a->dp, &t, "changing what leads to the services", err);
	free(t.s);
	if (!ret)
		a->dp->fresh = false;
	return ret;
}

static int undone_remove(struct lb_dp *dp, struct lb_err *err)
{
	struct lb_text t = {};

	lb_text_add(&t, "delete element inet %s " LB_NFT_SET_MODEL " { 0 . %d }\n", dp->table.name,
		    LB_IPVS_RECORD_UNDONE);
	return run(dp, &t, "ending a change", err);
}

/* `m`: with ids. What is not its goes; then nothing is left to be done. */
static int finish(struct apply *a, struct lb_err *err)
{
	const struct lb_diff *d = a->diff;
	struct lb_model m = {};
	int ret = 0;

	for (size_t i = 0; i < d->n && !a->repair && !ret; i++)
		if (d->changes[i].kind == LB_CHANGE_SERVICE && d->changes[i].from)
			ret = lb_ipvs_prune(a->dp, d->changes[i].to, d->changes[i].from->id, err);
	if (a->repair)
		ret = lb_model_copy(&m, d->desired) ? lb_err_sys(err, ENOMEM, "ending a change")
						    : 0;
	for (size_t i = 0; i < m.n_services; i++)
		m.services[i].id = a->ids[i];
	if (!ret && a->repair)
		ret = lb_ipvs_settle(a->dp, &m, err);
	lb_model_free(&m);
	if (!ret && (a->new_table || a->new_rules))
		ret = lb_nft_rules_note(&a->dp->table, err);
	return ret ? ret : undone_remove(a->dp, err);
}

/* Nobody has come to what we made: it goes, and all is as it was. */
static void undo(struct apply *a)
{
	struct lb_err err;
	int ret;

	if (a->dp->fresh) /* close() takes all away */
		return;
	lb_ipvs_register_undo(a->dp);
	ret = lb_ipvs_settle(a->dp, a->diff->actual, &err);
	if (!ret)
		ret = undone_remove(a->dp, &err);
	if (ret)
		lb_warn("%s", err.text);
}

/* The change is made: what finish() leaves verify names, and the next apply does it. */
static bool follow_up(struct apply *a)
{
	const struct lb_diff *d = a->diff;
	struct lb_err err;
	bool left;

	lb_diff_each_wanted(d, say_scheduler);
	left = lb_warned(lb_conntrack_forget_new(d, a->new_table, &err), &err);
	left |= lb_warned(lb_conntrack_forget_gone(d, &err), &err);
	return lb_warned(finish(a, &err), &err) || left;
}

static int change(struct apply *a, struct lb_err *err)
{
	const struct lb_diff *d = a->diff;
	int ret;

	a->ids = calloc(d->desired->n_services + 1, sizeof(*a->ids));
	ret = a->ids ? ids_make(d, a->ids) : -ENOMEM;
	if (ret)
		return lb_err_sys(err, -ret, "numbering the services");
	ret = lb_ipvs_register(a->dp, d->desired, err);
	if (ret)
		return ret;
	a->repair |= a->dp->fresh && a->dp->was_registered; /* somebody took its table away */
	a->new_table = a->dp->fresh || a->repair;
	a->firewall = lb_ipvs_firewall(a->dp, a->rule); /* of its number */
	ret = begin(a, err);
	if (ret && !a->dp->fresh)
		lb_ipvs_register_undo(a->dp);
	if (ret)
		return ret;
	if (a->dp->fresh) {
		lb_firewall_warn(&a->firewall);
		ret = lb_firewall_put(&a->firewall, &(struct lb_findings){}, err);
	}
	if (!ret)
		ret = build(a, err);
	if (!ret)
		ret = commit(a, err);
	if (ret) {
		undo(a);
		return ret;
	}
	return follow_up(a);
}

/* ---------------------------------------------------------------- looked at */

static int look(struct lb_dp *dp, const struct lb_model *m, bool all, struct lb_findings *f,
		struct lb_err *err)
{
	struct lb_nft_elements wanted = {};
	int ret = all ? lb_nft_list(&dp->table, LB_NFT_ALL, err) : lb_nft_frame(&dp->table, err);

	if (ret)
		return ret;
	if (lb_nft_model_is_lost(&dp->table)) { /* of the rest there is nothing to tell */
		lb_found(f, LB_NFT_MODEL_LOST);
		return 0;
	}
	lb_ipvs_frame_audit(f, &dp->table, m);
	if (lb_ipvs_record(dp->table.state, LB_IPVS_RECORD_UNDONE))
		lb_found(f, "an earlier apply was interrupted");
	lb_ipvs_note_audit(f, dp);
	lb_ipvs_sysctls_audit(f, m);
	if (all)
		ret = everything(dp, m, NULL, &wanted, err);
	if (all && !ret) {
		if (lb_ipvs_record(dp->table.state, LB_IPVS_RECORD_UNDONE)) /* is told already */
			lb_nft_record_add(&wanted, 0, LB_IPVS_RECORD_UNDONE, "an apply is at work");
		lb_nft_elements_sort(&wanted);
		lb_nft_elements_audit(f, &wanted, &dp->table.state->elements);
	}
	if (!ret)
		ret = lb_ipvs_services_audit(dp, m, all, f, err);
	lb_nft_elements_free(&wanted);
	return ret;
}

int lb_ipvs_audit(struct lb_dp *dp, const struct lb_model *m, lb_finding_fn fn, void *arg,
		  struct lb_err *err)
{
	struct lb_findings f = {.fn = fn, .arg = arg};
	char rule[LB_IPVS_RULE_LEN];
	const struct lb_firewall w = lb_ipvs_firewall(dp, rule);
	int ret;

	if (dp->lock.fd < 0 && lb_ipvs_record(dp->table.state, LB_IPVS_RECORD_UNDONE))
		lb_lock_wait(dp->table.instance, lb_dp_ipvs.name);
	ret = look(dp, m, true, &f, err);
	if (!ret) {
		lb_firewall_audit(&f, &w);
		lb_interfaces_audit(&f, m);
	}
	return ret ? ret : (int)f.n;
}

/* What has a table or a note may have put its chain. */
static int firewall_refuse(struct lb_dp *dp, struct lb_err *err)
{
	char rule[LB_IPVS_RULE_LEN];
	const struct lb_firewall w = lb_ipvs_firewall(dp, rule);

	return dp->has_table || lb_ipvs_is_registered(dp) ? 0 : lb_firewall_refuse(&w, err);
}

/* Of an instance that stands. */
static int firewall_repair(struct apply *a, struct lb_findings *f, struct lb_err *err)
{
	a->firewall = lb_ipvs_firewall(a->dp, a->rule);
	return lb_firewall_put(&a->firewall, f, err);
}

static void apply_free(struct apply *a)
{
	free(a->ids);
	lb_nft_elements_free(&a->from);
	lb_nft_elements_free(&a->to);
	a->ids = NULL;
}

int lb_ipvs_apply(struct lb_dp *dp, const struct lb_diff *d, lb_finding_fn fn, void *arg,
		  struct lb_err *err)
{
	struct apply a = {.dp = dp, .diff = d};
	struct lb_findings f = {.fn = fn, .arg = arg};
	bool all = !d->n || lb_model_pairs(d->actual) <= LB_LOOK_AT_ALL;
	struct lb_err ignored;
	int ret = firewall_refuse(dp, err);

	if (!ret && !dp->fresh)
		ret = look(dp, d->actual, all, &f, err);
	a.repair = f.n || (dp->fresh && dp->has_table);
	if (!ret && !dp->fresh)
		ret = firewall_repair(&a, &f, err);
	if (!ret && (dp->fresh || a.repair || d->n))
		ret = change(&a, err);
	/* Where not all was looked at: what should be changed may not have been as it should be. */
	if (ret < 0 && !dp->fresh && !all && !a.repair &&
	    !look(dp, d->actual, true, &f, &ignored) && f.n) {
		apply_free(&a);
		a.repair = true;
		ret = change(&a, err);
	}
	apply_free(&a);
	return ret;
}

int lb_ipvs_unmake(struct lb_dp *dp, bool moves, struct lb_err *err)
{
	char command[128], rule[LB_IPVS_RULE_LEN];
	const struct lb_firewall w = lb_ipvs_firewall(dp, rule);
	struct lb_err filter;
	int ret = 0, left;

	/* First what leads there, and last the note: who is killed in between is seen to be here.
	 */
	snprintf(command, sizeof(command), "delete table inet %s", dp->table.name);
	if (dp->has_table)
		ret = lb_nft_run(&dp->table, command, command, err);
	if (ret)
		return ret;
	left = lb_firewall_remove(&w, &filter);
	ret = moves ? lb_ipvs_settle(dp, NULL, err) : lb_ipvs_unregister(dp, err);
	if (!ret && left)
		*err = filter;
	return ret ? ret : left != 0;
}
