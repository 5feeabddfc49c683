// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * nft_commit.c - apply and audit. An apply is one transaction, so it is whole or not at all, also
 * where the program is killed. What must follow it, forgetting the connections of removed backends,
 * stands as records in the table until it is done: else the next apply does it.
 */
#include <netinet/in.h> /* before the kernel's headers, which else define the same */

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nft_internal.h"

#define GONE_ID 1000000000u /* services' ids are below, those of gone backends above */

static bool is_gone_record(const struct lb_nft_element *e)
{
	return !strcmp(e->set, LB_NFT_SET_MODEL) && strtoul(e->key, NULL, 10) >= GONE_ID;
}

/* ---------------------------------------------------------------- elements to commands */

static bool same_value(const struct lb_nft_element *a, const struct lb_nft_element *b)
{
	return a && b && !strcmp(a->value, b->value);
}

static void element_text(struct lb_text *t, const struct lb_nft_element *e, bool add)
{
	bool quoted = !strcmp(e->set, LB_NFT_SET_INTERFACES);
	bool comment = !strcmp(e->set, LB_NFT_SET_MODEL);

	lb_text_add(t, quoted ? "\"%s\"" : "%s", e->key);
	if (add && *e->value)
		lb_text_add(t, comment ? " comment \"%s\"" : " : %s", e->value);
}

/* One command for all the elements of a set that are in `a` and not, or otherwise, in `b`. */
static void elements_text(struct lb_text *t, const char *table, const struct lb_nft_elements *a,
			  const struct lb_nft_elements *b, bool add)
{
	const char *set = "";

	for (size_t i = 0; i < a->n; i++) {
		const struct lb_nft_element *e = &a->list[i];

		if (same_value(e, lb_nft_element_find(b, e->set, e->key)))
			continue;
		if (strcmp(set, e->set) != 0)
			lb_text_add(t, "%s%s element inet %s %s { ", *set ? " }\n" : "",
				    add ? "add" : "delete", table, e->set);
		else
			lb_text_add(t, ", ");
		element_text(t, e, add);
		set = e->set;
	}
	if (*set)
		lb_text_add(t, " }\n");
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
	struct lb_nft_classes classes_from, classes_to;
	struct lb_text text;
	uint32_t next_id, next_gone;
	bool whole; /* the table is made anew */
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
		return lb_err_set(
			err, E2BIG,
			"service \"%s\": datapath nft has room for 1024 weighted backends "
			"a service",
			s->name);
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

	if (c->from) {
		ret = lb_nft_service_elements(&a->from, c->from, c->from->id);
		if (!ret)
			ret = gone_add(a, c->from, c->to);
	}
	if (!ret && c->to)
		ret = lb_nft_service_elements(&a->to, c->to, c->from ? c->from->id : ++a->next_id);
	return ret ? refuse(c->to ? c->to : c->from, ret, err) : 0;
}

static int differences(struct apply *a, struct lb_err *err)
{
	const struct lb_diff *d = a->diff;
	int ret = 0;

	lb_nft_head_elements(&a->from, d->actual);
	lb_nft_head_elements(&a->to, d->desired);
	for (size_t i = 0; i < d->n && !ret; i++)
		if (d->changes[i].kind == LB_CHANGE_SERVICE)
			ret = service_differs(a, &d->changes[i], err);
	return ret;
}

/* All that a model means. Services that have no id get one. */
static int everything(const struct lb_model *m, struct lb_nft_elements *all, struct lb_err *err)
{
	uint32_t next = ids_in_use(m);
	int ret = 0;

	lb_nft_head_elements(all, m);
	for (size_t i = 0; i < m->n_services && !ret; i++) {
		const struct lb_service_conf *s = &m->services[i];

		ret = lb_nft_service_elements(all, s, s->id ? s->id : ++next);
		if (ret)
			return refuse(s, ret, err);
	}
	lb_nft_elements_sort(all);
	return all->no_memory ? lb_err_sys(err, ENOMEM, "making the elements") : 0;
}

static void commands(struct apply *a)
{
	const char *table = a->dp->table;
	struct lb_text *t = &a->text;

	if (a->whole) {
		if (!a->dp->fresh)
			lb_text_add(t, "delete table inet %s\n", table);
		lb_nft_text_table(t, table);
	}
	for (size_t i = 0; i < a->classes_to.n; i++)
		if (!class_is_in(&a->classes_from, &a->classes_to.list[i]))
			lb_nft_text_sets(t, table, &a->classes_to.list[i]);
	elements_text(t, table, &a->from, &a->to, false);
	elements_text(t, table, &a->to, &a->from, true);
	if (a->whole || !lb_nft_classes_equal(&a->classes_from, &a->classes_to))
		lb_nft_text_rules(t, table, &a->classes_to);
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
	if (a->text.no_memory || a->from.no_memory || a->to.no_memory)
		return lb_err_sys(err, ENOMEM, "writing the rules");
	if (!a->text.len)
		return 0;
	snprintf(doing, sizeof(doing), "changing table \"inet %.63s\"", a->dp->table);
	return lb_nft_run(a->dp, a->text.s, doing, err);
}

/* What a transaction has left to be done after it, as records among `all`: forgets connections,
 * then the records of that. */
static int finish(struct lb_dp *dp, const struct lb_nft_elements *all, struct lb_err *err)
{
	struct lb_nft_elements none = {}, records = {};
	struct lb_text t = {};
	struct lb_model gone;
	int ret = lb_nft_model_read(all, true, &gone, err);

	if (ret)
		return ret;
	if (gone.n_services)
		ret = lb_nft_conn_forget(&gone, err);
	for (size_t i = 0; i < gone.n_services && !ret; i++)
		lb_nft_service_records(&records, &gone.services[i], gone.services[i].id, true);
	lb_nft_elements_sort(&records);
	elements_text(&t, dp->table, &records, &none, false);
	if (!ret && t.len)
		ret = lb_nft_run(dp, t.s, "forgetting removed backends", err);
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
		ret = everything(d->desired, &a->to, err);
	else
		ret = differences(a, err);
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

static bool has_gone(const struct lb_nft_elements *all)
{
	for (size_t i = 0; i < all->n; i++)
		if (is_gone_record(&all->list[i]))
			return true;
	return false;
}

int lb_nft_apply(struct lb_dp *dp, const struct lb_diff *d, lb_finding_fn fn, void *arg,
		 struct lb_err *err)
{
	struct apply a = {.dp = dp,
			  .diff = d,
			  .next_id = ids_in_use(d->actual),
			  .next_gone = GONE_ID,
			  .whole = dp->fresh};
	struct lb_err later;
	int ret = 0;

	if (dp->state && has_gone(&dp->state->elements)) /* what a killed apply has left */
		ret = finish(dp, &dp->state->elements, err);
	if (!ret && !dp->fresh && !d->n) {
		ret = lb_nft_audit(dp, d->actual, fn, arg, err);
		a.whole = ret > 0;
	}
	if (ret >= 0 && (a.whole || d->n))
		ret = change(&a, err);
	/* The change is made: what is left to do is tried again by the next apply. */
	if (ret >= 0 && has_gone(&a.to) && finish(dp, &a.to, &later))
		lb_warn("%s", later.text);
	apply_free(&a);
	return ret < 0 ? ret : 0;
}

/* ---------------------------------------------------------------- audit */

static void found(struct lb_findings *a, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static void found(struct lb_findings *a, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	lb_findings_add(a, fmt, args);
	va_end(args);
}

#define SAID_MAX 5 /* of a set: a table that somebody emptied is not told element by element */

/* What is in `a` and not so in `b`. */
static void compare(struct lb_findings *audit, const struct lb_nft_elements *a,
		    const struct lb_nft_elements *b, bool missing)
{
	const char *set = "";
	size_t said = 0;

	for (size_t i = 0; i < a->n; i++) {
		const struct lb_nft_element *e = &a->list[i];
		const struct lb_nft_element *other = lb_nft_element_find(b, e->set, e->key);

		if (same_value(e, other) || (!missing && (other || is_gone_record(e))))
			continue;
		said = strcmp(set, e->set) ? 0 : said + 1;
		set = e->set;
		if (said >= SAID_MAX)
			continue;
		if (other)
			found(audit, "set \"%s\": element { %s } is \"%s\", should be \"%s\"",
			      e->set, e->key, other->value, e->value);
		else
			found(audit, "set \"%s\": element { %s } %s", e->set, e->key,
			      missing ? "is missing" : "is nobody's");
	}
}

static void sets_audit(struct lb_findings *a, const struct lb_nft_state *s,
		       const struct lb_nft_classes *classes)
{
	char name[LB_NFT_CLASS_LEN], ring[LB_NFT_CLASS_LEN + 8];

	for (size_t i = 0; i < classes->n; i++) {
		lb_nft_class_name(name, &classes->list[i]);
		snprintf(ring, sizeof(ring), "%s" LB_NFT_RING, name);
		if (!lb_nft_state_has_set(s, name))
			found(a, "set \"%s\" is missing", name);
		if (classes->list[i].size && !lb_nft_state_has_set(s, ring))
			found(a, "map \"%s\" is missing", ring);
	}
	for (int what = 0; what < LB_NFT_COUNTS; what++)
		for (int k = 0; k < 4; k++)
			if (!lb_nft_state_has_set(s, lb_nft_count_set(name, what, k & 1, k >> 1)))
				found(a, "set \"%s\" is missing", name);
}

static const struct lb_nft_chain chains[] = {
	{"prerouting", "nat", NF_INET_PRE_ROUTING, -105},
	{"forward", "filter", NF_INET_FORWARD, -5},
	{"postrouting", "nat", NF_INET_POST_ROUTING, 95},
};

static const struct lb_nft_chain *chain_find(const struct lb_nft_state *s, const char *name)
{
	for (size_t i = 0; i < s->n_chains; i++)
		if (!strcmp(s->chains[i].name, name))
			return &s->chains[i];
	return NULL;
}

/* Does a rule still look into the sets by whose name it goes, and do what it should? */
static bool rule_is_sound(const struct lb_nft_rule *r, const struct lb_nft_class *c,
			  const char *name)
{
	static const char verdict[] = "immediate %d; ";
	char set[LB_NFT_CLASS_LEN + 16], does[LB_NFT_CLASS_LEN + 64];

	snprintf(set, sizeof(set), "lookup %s; ", name);
	if (!strcmp(name, "local"))
		snprintf(set, sizeof(set), "fib; ");
	if (c && c->index != LB_NFT_NONE)
		snprintf(does, sizeof(does), "%s %u; lookup %s" LB_NFT_RING "; nat; ",
			 c->index < LB_NFT_SH ? "numgen" : "hash", c->size, name);
	else
		snprintf(does, sizeof(does), verdict, c ? NF_DROP : NFT_RETURN);
	return strstr(r->expr, set) && strstr(r->expr, does);
}

static void chain_audit(struct lb_findings *a, const struct lb_nft_state *s,
			const struct lb_nft_classes *classes, const struct lb_nft_chain *should)
{
	const struct lb_nft_chain *is = chain_find(s, should->name);
	char buf[LB_NFT_CLASS_LEN];
	const char *name;
	size_t n = 0;

	if (!is || is->hook != should->hook || strcmp(is->type, should->type) != 0 ||
	    is->priority != should->priority) {
		found(a, "chain \"%s\" %s", should->name, is ? "is another's" : "is missing");
		return;
	}
	for (size_t i = 0; i < s->n_rules; i++) {
		const struct lb_nft_rule *r = &s->rules[i];
		struct lb_nft_class c;

		if (strcmp(r->chain, should->name) != 0)
			continue;
		name = lb_nft_rule_name(buf, classes, should->name, n);
		if (!name || strcmp(r->comment, name) != 0) {
			found(a, "chain \"%s\": rule %zu is \"%s\", should be %s", should->name,
			      n + 1, r->comment, name ? name : "none");
			return;
		}
		if (!rule_is_sound(r, lb_nft_class_parse(&c, name) ? &c : NULL, name))
			found(a, "chain \"%s\": rule \"%s\" was changed", should->name, name);
		n++;
	}
	name = lb_nft_rule_name(buf, classes, should->name, n);
	if (name)
		found(a, "chain \"%s\": rule \"%s\" is missing", should->name, name);
}

int lb_nft_audit(struct lb_dp *dp, const struct lb_model *m, lb_finding_fn fn, void *arg,
		 struct lb_err *err)
{
	struct lb_findings a = {.fn = fn, .arg = arg};
	struct lb_nft_elements wanted = {};
	struct lb_nft_classes classes = {};
	int ret = lb_nft_list(dp, false, err);

	if (!ret)
		ret = everything(m, &wanted, err);
	if (!ret && lb_nft_classes_of(m, &classes))
		ret = lb_err_sys(err, ENOMEM, "comparing rings");
	if (!ret) {
		sets_audit(&a, dp->state, &classes);
		compare(&a, &wanted, &dp->state->elements, true);
		compare(&a, &dp->state->elements, &wanted, false);
		for (size_t i = 0; i < sizeof(chains) / sizeof(chains[0]); i++)
			chain_audit(&a, dp->state, &classes, &chains[i]);
	}
	lb_nft_elements_free(&wanted);
	free(classes.list);
	return ret ? ret : (int)a.n;
}
