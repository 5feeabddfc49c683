// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * nft_commit.c - apply. It is one transaction, so it is whole or not at all, also where the program
 * is killed. What must follow it, forgetting the connections of removed backends, stands as records
 * in the table until it is done: else the next apply does it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conntrack.h"
#include "nft_internal.h"

static bool is_gone_record(const struct lb_nft_element *e)
{
	return !strcmp(e->set, LB_NFT_SET_MODEL) && strtoul(e->key, NULL, 10) >= LB_NFT_GONE_ID;
}

static bool class_is_in(const struct lb_nft_classes *c, const struct lb_nft_class *one)
{
	return c->n && bsearch(one, c->list, c->n, sizeof(*one), lb_nft_class_cmp);
}

/* ---------------------------------------------------------------- apply */

struct apply {
	struct lb_dp *dp;
	const struct lb_diff *diff;
	struct lb_nft_elements from, to; /* what differs, or all */
	struct lb_nft_elements left;     /* of an earlier apply: what conntrack refuses still */
	struct lb_nft_classes classes_from, classes_to;
	struct lb_text text;
	uint32_t next_id, next_gone;
	bool whole; /* the table is made anew */
	bool new_rules;
};

static uint32_t ids_in_use(const struct lb_model *m)
{
	uint32_t last = 0;

	for (size_t i = 0; i < m->n_services; i++)
		last = m->services[i].id > last ? m->services[i].id : last;
	return last;
}

static int refuse(const struct lb_service_conf *s, int ret, struct lb_err *err)
{
	if (ret == -E2BIG)
		return lb_err_set(err, E2BIG, "service \"%s\": datapath nft %s", s->name,
				  lb_nft_service_why_not(s));
	return lb_err_sys(err, -ret, "service \"%s\": making its rings", s->name);
}

/* The backends that a service loses, as a service of its own. */
static int gone_add(struct apply *a, const struct lb_service_conf *from,
		    const struct lb_service_conf *to)
{
	struct lb_service_conf gone = *from;

	gone.backends = calloc(from->n_backends + 1, sizeof(*gone.backends));
	gone.n_backends = 0;
	if (!gone.backends)
		return -ENOMEM;
	for (size_t i = 0; i < from->n_backends; i++)
		if (!to || !lb_service_find_backend(to, &from->backends[i].at))
			gone.backends[gone.n_backends++] = from->backends[i];
	if (gone.n_backends)
		lb_nft_service_records(&a->to, &gone, a->next_gone++, true);
	free(gone.backends);
	return 0;
}

static int service_differs(struct apply *a, const struct lb_change *c, struct lb_err *err)
{
	int ret = 0;

	if (c->from)
		ret = lb_nft_service_elements(&a->from, c->from, c->from->id);
	if (!ret && c->to)
		ret = lb_nft_service_elements(&a->to, c->to, c->from ? c->from->id : ++a->next_id);
	return ret ? refuse(c->to ? c->to : c->from, ret, err) : 0;
}

/* Also where the table is made anew: connections know nothing of it. */
static int all_gone(struct apply *a, struct lb_err *err)
{
	const struct lb_diff *d = a->diff;
	int ret = 0;

	for (size_t i = 0; i < d->n && !ret; i++)
		if (d->changes[i].kind == LB_CHANGE_SERVICE && d->changes[i].from)
			ret = gone_add(a, d->changes[i].from, d->changes[i].to);
	return ret ? lb_err_sys(err, -ret, "listing the backends that go") : 0;
}

static int differences(struct apply *a, struct lb_err *err)
{
	const struct lb_diff *d = a->diff;
	int ret = 0;

	lb_nft_head_elements(&a->from, d->actual, lb_nft_kind.magic);
	lb_nft_head_elements(&a->to, d->desired, lb_nft_kind.magic);
	for (size_t i = 0; i < d->n && !ret; i++)
		if (d->changes[i].kind == LB_CHANGE_SERVICE)
			ret = service_differs(a, &d->changes[i], err);
	return ret;
}

/* All that a model means. Services that have no id get one. */
int lb_nft_everything(const struct lb_model *m, struct lb_nft_elements *all, struct lb_err *err)
{
	uint32_t next = ids_in_use(m);
	int ret = 0;

	lb_nft_head_elements(all, m, lb_nft_kind.magic);
	for (size_t i = 0; i < m->n_services && !ret; i++) {
		const struct lb_service_conf *s = &m->services[i];

		ret = lb_nft_service_elements(all, s, s->id ? s->id : ++next);
		if (ret)
			return refuse(s, ret, err);
	}
	lb_nft_elements_sort(all);
	return all->no_memory ? lb_err_sys(err, ENOMEM, "making the elements") : 0;
}

static void table_commands(struct apply *a)
{
	const char *table = a->dp->table.name;
	const struct lb_nft_elements none = {};

	if (!a->dp->fresh)
		lb_text_add(&a->text, "delete table inet %s\n", table);
	lb_nft_text_table(&a->text, table);
	lb_nft_text_elements(&a->text, table, &a->left, &none, true);
}

static void commands(struct apply *a)
{
	const char *table = a->dp->table.name;
	struct lb_text *t = &a->text;

	if (a->whole)
		table_commands(a);
	for (size_t i = 0; i < a->classes_to.n; i++)
		if (!class_is_in(&a->classes_from, &a->classes_to.list[i]))
			lb_nft_text_sets(t, table, &a->classes_to.list[i]);
	lb_nft_text_elements(t, table, &a->from, &a->to, false);
	lb_nft_text_elements(t, table, &a->to, &a->from, true);
	a->new_rules = a->whole || !lb_nft_classes_equal(&a->classes_from, &a->classes_to);
	if (a->new_rules)
		lb_nft_text_rules(t, table, &a->classes_from, &a->classes_to);
	for (size_t i = 0; i < a->classes_from.n; i++)
		if (!class_is_in(&a->classes_to, &a->classes_from.list[i]))
			lb_nft_text_unset(t, table, &a->classes_from.list[i]);
}

static int transact(struct apply *a, struct lb_err *err)
{
	char doing[96];

	lb_nft_elements_sort(&a->from);
	lb_nft_elements_sort(&a->to);
	commands(a);
	if (a->text.no_memory || a->from.no_memory || a->to.no_memory || a->left.no_memory)
		return lb_err_sys(err, ENOMEM, "writing the rules");
	if (!a->text.len)
		return 0;
	snprintf(doing, sizeof(doing), "changing table \"inet %.63s\"", a->dp->table.name);
	return lb_nft_run(&a->dp->table, a->text.s, doing, err);
}

/* Also those that nobody can read. */
static void gone_records(const struct lb_nft_elements *all, struct lb_nft_elements *records)
{
	for (size_t i = 0; i < all->n; i++) {
		const struct lb_nft_element *e = &all->list[i];

		if (is_gone_record(e))
			lb_nft_element_add(records, e->set, e->key, e->value);
	}
}

/* What a transaction has left to be done after it, as records among `all`: forgets connections,
 * then the records of that. */
static int finish(struct lb_dp *dp, const struct lb_nft_elements *all,
		  const struct lb_model *before, const struct lb_model *standing,
		  struct lb_err *err)
{
	struct lb_nft_elements none = {}, records = {};
	struct lb_text t = {};
	struct lb_model gone;
	int ret = lb_nft_model_read(all, true, &gone, err);

	if (ret)
		return ret;
	if (gone.n_services)
		ret = lb_nft_conn_forget(&gone, before, standing, err);
	gone_records(all, &records);
	lb_nft_text_elements(&t, dp->table.name, &records, &none, false);
	if (!ret && t.len)
		ret = lb_nft_run(&dp->table, t.s, "forgetting removed backends", err);
	lb_nft_elements_free(&records);
	free(t.s);
	lb_model_free(&gone);
	return ret;
}

static void apply_free(struct apply *a)
{
	lb_nft_elements_free(&a->from);
	lb_nft_elements_free(&a->to);
	free(a->classes_from.list);
	free(a->classes_to.list);
	free(a->text.s);
}

static int change(struct apply *a, struct lb_err *err)
{
	const struct lb_diff *d = a->diff;
	int ret;

	if (a->whole)
		ret = lb_nft_everything(d->desired, &a->to, err);
	else
		ret = differences(a, err);
	if (!ret)
		ret = all_gone(a, err);
	if (!ret && !a->whole && lb_nft_classes_of(d->actual, &a->classes_from))
		ret = lb_err_sys(err, ENOMEM, "comparing rings");
	if (!ret && lb_nft_classes_of(d->desired, &a->classes_to))
		ret = lb_err_sys(err, ENOMEM, "comparing rings");
	if (!ret)
		ret = transact(a, err);
	if (!ret)
		a->dp->fresh = false;
	return ret;
}

bool lb_nft_is_undone(const struct lb_nft_elements *all)
{
	for (size_t i = 0; i < all->n; i++)
		if (is_gone_record(&all->list[i]))
			return true;
	return false;
}

/* The change is made: of what could not be done verify names all but new UDP, and the next apply
 * does it. */
static bool follow_up(struct apply *a)
{
	const struct lb_diff *d = a->diff;
	bool left = false;
	struct lb_err err;

	lb_diff_each_wanted(d, lb_nft_say_ring);
	if (a->new_rules)
		left |= lb_warned(lb_nft_rules_note(&a->dp->table, &err), &err);
	if (lb_nft_is_undone(&a->to))
		left |= lb_warned(finish(a->dp, &a->to, d->actual, d->desired, &err), &err);
	return lb_warned(lb_conntrack_forget_new(d, a->whole, &err), &err) || left;
}

static void apply_reset(struct apply *a)
{
	apply_free(a);
	a->from = a->to = (struct lb_nft_elements){};
	a->classes_from = a->classes_to = (struct lb_nft_classes){};
	a->text = (struct lb_text){};
}

struct lb_firewall lb_nft_firewall(const struct lb_dp *dp)
{
	return (struct lb_firewall){
		.prefix = LB_FIREWALL_PREFIX,
		.instance = dp->table.instance,
		.fresh = dp->fresh,
		.dnat = true,
		.mark = LB_NFT_PASS_MARK "/" LB_NFT_PASS_MARK,
		.rules = {"-m mark --mark " LB_NFT_PASS_MARK "/" LB_NFT_PASS_MARK
			  " -m conntrack --ctstate DNAT -j ACCEPT"},
	};
}

/* Before a change, which may bring connections that it must let through. */
static int firewall(struct lb_dp *dp, lb_finding_fn fn, void *arg, struct lb_err *err)
{
	const struct lb_firewall w = lb_nft_firewall(dp);
	struct lb_findings f = {.fn = dp->fresh ? NULL : fn, .arg = arg};
	int ret = dp->fresh ? lb_firewall_refuse(&w, err) : 0;

	if (!ret && dp->fresh)
		lb_firewall_warn(&w);
	return ret ? ret : lb_firewall_put(&w, &f, err);
}

/* What a killed apply has left, or one that conntrack refused. What cannot be done now either
 * stays, also where the table is made anew. */
static bool finish_earlier(struct apply *a, struct lb_err *err)
{
	const struct lb_nft_elements *all = &a->dp->table.state->elements;

	if (!lb_nft_is_undone(all) ||
	    !lb_warned(finish(a->dp, all, NULL, a->diff->actual, err), err))
		return false;
	gone_records(all, &a->left);
	for (size_t i = 0; i < a->left.n; i++) {
		uint32_t id = strtoul(a->left.list[i].key, NULL, 10);

		a->next_gone = id >= a->next_gone ? id + 1 : a->next_gone;
	}
	return true;
}

int lb_nft_apply(struct lb_dp *dp, const struct lb_diff *d, lb_finding_fn fn, void *arg,
		 struct lb_err *err)
{
	struct apply a = {.dp = dp,
			  .diff = d,
			  .next_id = ids_in_use(d->actual),
			  .next_gone = LB_NFT_GONE_ID,
			  .whole = dp->fresh};
	bool all = !d->n || lb_model_pairs(d->actual) <= LB_LOOK_AT_ALL, left = false;
	int ret = firewall(dp, fn, arg, err);

	if (ret)
		return ret;
	if (dp->table.state)
		left = finish_earlier(&a, err);
	if (!dp->fresh) {
		ret = lb_nft_look(dp, d->actual, all, fn, arg, err);
		a.whole = ret > 0;
	}
	if (ret >= 0 && (a.whole || d->n))
		ret = change(&a, err);
	/* Where not all was looked at: what should be changed may not have been as it should be. */
	if (ret < 0 && !all && !a.whole) {
		struct lb_err ignored;

		a.whole = lb_nft_look(dp, d->actual, true, fn, arg, &ignored) > 0;
		if (a.whole) {
			apply_reset(&a);
			ret = change(&a, err);
		}
	}
	if (ret >= 0)
		ret = ((a.whole || d->n) && follow_up(&a)) || left;
	apply_free(&a);
	lb_nft_elements_free(&a.left);
	return ret;
}
