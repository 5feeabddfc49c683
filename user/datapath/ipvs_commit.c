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

#include "ipvs_internal.h"
#include "net/route.h"

/* Of more, an apply that has something else to do does not look at each destination. */
#define SMALL 1000

static bool model_is_small(const struct lb_model *m)
{
	size_t n = 0;

	for (size_t i = 0; i < m->n_services; i++)
		n += m->services[i].n_backends;
	return n <= SMALL;
}

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
	struct lb_nft_elements sysctls;  /* records of what they were before; sorted */
	bool new_table;
	bool repair; /* something is not as the model says: all is made anew */
};

static uint32_t id_of(const struct apply *a, const struct lb_service_conf *s)
{
	return a->ids[s - a->diff->desired->services];
}

/* IPVS stands where packets come in to this host itself. */
static int listens_check(const struct apply *a, struct lb_err *err)
{
	char at[LB_ENDPOINT_STRLEN], address[LB_ENDPOINT_STRLEN];
	const struct lb_diff *d = a->diff;
	struct lb_nl nl;
	int ret = lb_nl_open(&nl, NETLINK_ROUTE);

	if (ret)
		return lb_err_sys(err, -ret, "asking for routes (netlink)");
	for (size_t i = 0; i < d->n && !ret; i++) {
		const struct lb_service_conf *s = d->changes[i].to;

		for (size_t k = 0;
		     s && d->changes[i].kind == LB_CHANGE_SERVICE && k < s->n_listens && !ret;
		     k++) {
			const struct lb_listen *l = &s->listens[k];
			struct lb_route r;

			if (l->any ||
			    (!lb_route_get(&nl, &r, &l->at.addr, l->at.family) && r.local))
				continue;
			lb_addr_str(address, &l->at.addr, l->at.family);
			ret = lb_err_set(
				err, EADDRNOTAVAIL,
				"service \"%s\": listen: \"%s\": datapath ipvs serves "
				"addresses of this host alone: `ip addr add %s/%d dev lo`, "
				"or datapath nft or ebpf",
				s->name, lb_listen_str(at, l), address,
				l->at.family == LB_V4 ? 32 : 128);
		}
	}
	lb_nl_close(&nl);
	return ret;
}

static void say_random(const struct lb_diff *d)
{
	for (size_t i = 0; i < d->n; i++)
		if (d->changes[i].kind == LB_CHANGE_SERVICE && d->changes[i].to &&
		    d->changes[i].to->scheduler == LB_SCHED_RANDOM)
			lb_info("service \"%s\": IPVS has no scheduler random: wrr takes its "
				"place, "
				"with the same shares",
				d->changes[i].to->name);
}

/* All that a model means, with the ids of its services; sorted. NULL: their own ids; no sysctls but
 * those that are recorded. */
static int everything(const struct lb_dp *dp, const struct lb_model *m, const uint32_t *ids,
		      const struct lb_nft_elements *sysctls, struct lb_nft_elements *all,
		      struct lb_err *err)
{
	char text[32];
	int ret = 0;

	lb_ipvs_head_elements(all, m);
	for (size_t i = 0; i < m->n_services; i++)
		lb_ipvs_service_elements(dp, all, &m->services[i],
					 ids ? ids[i] : m->services[i].id);
	snprintf(text, sizeof(text), "marks %u", dp->number);
	lb_ipvs_record_add(all, LB_IPVS_RECORD_NUMBER, text);
	for (size_t i = 0; sysctls && i < sysctls->n; i++)
		lb_nft_element_add(all, LB_NFT_SET_MODEL, sysctls->list[i].key,
				   sysctls->list[i].value);
	if (!sysctls)
		ret = lb_ipvs_sysctl_records(dp, NULL, all, err);
	lb_nft_elements_sort(all);
	if (!ret && all->no_memory)
		ret = lb_err_sys(err, ENOMEM, "making the elements");
	return ret;
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

#define UNDONE "{ 0 . %d comment \"an apply is at work\" }\n"

/* A table without services, or in the one that is there a record, says that we are at work: what
 * that leaves in IPVS if it is killed the next apply finds by its marks. Sysctls are noted before
 * they are set. */
static int begin(struct apply *a, struct lb_err *err)
{
	struct lb_dp *dp = a->dp;
	struct lb_nft_elements to = {}, from = {};
	struct lb_text t = {};
	int ret = 0;

	if (dp->fresh) {
		if (dp->has_table)
			lb_text_add(&t, "delete table inet %s\n", dp->table.name);
		lb_ipvs_text_table(&t, dp->table.name);
		ret = everything(dp, a->diff->actual, NULL, &a->sysctls, &to, err);
	} else {
		ret = lb_ipvs_sysctl_records(dp, NULL, &from, err);
		lb_nft_elements_sort(&from);
	}
	lb_nft_text_elements(&t, dp->table.name, &from, &a->sysctls, false);
	lb_nft_text_elements(&t, dp->table.name, dp->fresh ? &to : &a->sysctls, &from, true);
	if (dp->fresh || !lb_ipvs_record(dp->table.state, LB_IPVS_RECORD_UNDONE))
		lb_text_add(&t, "add element inet %s " LB_NFT_SET_MODEL " " UNDONE, dp->table.name,
			    LB_IPVS_RECORD_UNDONE);
	if (!ret)
		ret = run(dp, &t, "beginning a change", err);
	free(t.s);
	lb_nft_elements_free(&from);
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
					   id_of(a, d->changes[i / 2].to), i % 2, false, err);
	/* In place: what was found there is nothing that anybody wants to keep. */
	for (size_t i = 0; a->repair && i < 2 * d->desired->n_services && !ret; i++)
		ret = lb_ipvs_sync(a->dp, &d->desired->services[i / 2], a->ids[i / 2], i % 2, false,
				   err);
	return ret;
}

static void differences(struct apply *a)
{
	const struct lb_diff *d = a->diff;

	lb_ipvs_head_elements(&a->from, d->actual);
	lb_ipvs_head_elements(&a->to, d->desired);
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
	const char *table = a->dp->table.name;
	struct lb_text t = {};
	int ret = 0;

	if (a->repair) {
		lb_text_add(&t, "delete table inet %s\n", table);
		lb_ipvs_text_table(&t, table);
		ret = everything(a->dp, a->diff->desired, a->ids, &a->sysctls, &a->to, err);
		lb_text_add(&t, "add element inet %s " LB_NFT_SET_MODEL " " UNDONE, table,
			    LB_IPVS_RECORD_UNDONE);
	} else {
		differences(a);
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
	if (!ret && a->new_table)
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
	ret = lb_ipvs_settle(a->dp, a->diff->actual, &err);
	if (!ret)
		ret = undone_remove(a->dp, &err);
	if (ret)
		lb_warn("%s", err.text);
}

static int change(struct apply *a, struct lb_err *err)
{
	const struct lb_diff *d = a->diff;
	struct lb_err left;
	int ret;

	a->ids = calloc(d->desired->n_services + 1, sizeof(*a->ids));
	ret = a->ids ? ids_make(d, a->ids) : -ENOMEM;
	if (ret)
		return lb_err_sys(err, -ret, "numbering the services");
	a->new_table = a->dp->fresh || a->repair;
	ret = listens_check(a, err);
	if (!ret)
		ret = lb_ipvs_sysctl_records(a->dp, d->desired, &a->sysctls, err);
	lb_nft_elements_sort(&a->sysctls);
	if (!ret && a->dp->fresh && !a->dp->has_table)
		ret = lb_ipvs_number_choose(a->dp, err);
	if (!ret)
		ret = begin(a, err);
	if (ret)
		return ret;
	ret = lb_ipvs_sysctls_set(d->desired, err);
	if (!ret)
		ret = build(a, err);
	if (!ret)
		ret = commit(a, err);
	if (ret) {
		undo(a);
		return ret;
	}
	say_random(d);
	if (finish(a, &left)) /* the change is made, and what is left verify names */
		lb_warn("%s", left.text);
	return 0;
}

/* ---------------------------------------------------------------- looked at */

static int look(struct lb_dp *dp, const struct lb_model *m, bool all, struct lb_findings *f,
		struct lb_err *err)
{
	struct lb_nft_elements wanted = {};
	int ret = all ? lb_nft_list(&dp->table, LB_NFT_ALL, err) : lb_nft_frame(&dp->table, err);

	if (ret)
		return ret;
	lb_ipvs_frame_audit(f, &dp->table);
	if (lb_ipvs_record(dp->table.state, LB_IPVS_RECORD_UNDONE))
		lb_found(f, "an earlier apply was interrupted");
	lb_ipvs_sysctls_audit(f, m);
	if (all)
		ret = everything(dp, m, NULL, NULL, &wanted, err);
	if (all && !ret) {
		lb_nft_elements_audit(f, &wanted, &dp->table.state->elements);
		ret = lb_ipvs_services_audit(dp, m, f, err);
	}
	lb_nft_elements_free(&wanted);
	return ret;
}

int lb_ipvs_audit(struct lb_dp *dp, const struct lb_model *m, lb_finding_fn fn, void *arg,
		  struct lb_err *err)
{
	struct lb_findings f = {.fn = fn, .arg = arg};
	int ret = look(dp, m, true, &f, err);

	return ret ? ret : (int)f.n;
}

int lb_ipvs_apply(struct lb_dp *dp, const struct lb_diff *d, lb_finding_fn fn, void *arg,
		  struct lb_err *err)
{
	struct apply a = {.dp = dp, .diff = d};
	struct lb_findings f = {.fn = fn, .arg = arg};
	int ret = 0;

	if (!dp->fresh)
		ret = look(dp, d->actual, !d->n || model_is_small(d->actual), &f, err);
	a.repair = f.n || dp->has_table;
	if (!ret && (dp->fresh || a.repair || d->n))
		ret = change(&a, err);
	free(a.ids);
	lb_nft_elements_free(&a.from);
	lb_nft_elements_free(&a.to);
	lb_nft_elements_free(&a.sysctls);
	return ret;
}

int lb_ipvs_unmake(struct lb_dp *dp, bool moves, struct lb_err *err)
{
	char command[128];
	int ret = lb_ipvs_settle(dp, NULL, err);
	struct lb_err ignored;

	if (ret)
		return ret;
	lb_nft_list(&dp->table, LB_NFT_MODEL, &ignored); /* an apply may have added records */
	lb_ipvs_sysctls_restore(dp, moves);
	snprintf(command, sizeof(command), "delete table inet %s", dp->table.name);
	return lb_nft_run(&dp->table, command, command, err);
}
