// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * nft_audit.c - the table against the model: sets and their elements, chains, rules. What the model
 * means is known element by element; rules by their names, what they look up, and a hash that the
 * apply which has made them has left.
 */
#include <netinet/in.h> /* before the kernel's headers, which else define the same */

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nft_internal.h"

/* Calls fn for each set and map that there should be. */
static void each_set(const struct lb_nft_classes *classes, void (*fn)(void *arg, const char *set),
		     void *arg)
{
	char name[LB_NFT_CLASS_LEN], ring[LB_NFT_CLASS_LEN + 8];

	fn(arg, LB_NFT_SET_MODEL);
	fn(arg, LB_NFT_SET_INTERFACES);
	for (int k = 0; k < LB_NFT_COUNTS * 4; k++)
		fn(arg, lb_nft_count_set(name, k >> 2, k & 1, k >> 1 & 1));
	for (int k = 0; k < 4; k++)
		fn(arg, lb_nft_masq_set(name, k & 1, k >> 1));
	for (size_t i = 0; i < classes->n; i++) {
		fn(arg, lb_nft_class_name(name, &classes->list[i]));
		snprintf(ring, sizeof(ring), "%s" LB_NFT_RING, name);
		if (classes->list[i].size)
			fn(arg, ring);
	}
}

struct set_audit {
	struct lb_findings *findings;
	const struct lb_nft_state *state;
	const char *name; /* of one that is looked for */
	bool wanted;
};

static void set_missing(void *arg, const char *set)
{
	struct set_audit *a = arg;

	if (!lb_nft_state_has_set(a->state, set))
		lb_found(a->findings, "set \"%s\" is missing", set);
}

static void set_wanted(void *arg, const char *set)
{
	struct set_audit *a = arg;

	a->wanted |= !strcmp(a->name, set);
}

static void sets_audit(struct lb_findings *f, const struct lb_nft_state *s,
		       const struct lb_nft_classes *classes)
{
	struct set_audit a = {.findings = f, .state = s};

	each_set(classes, set_missing, &a);
	for (size_t i = 0; i < s->n_sets; i++) {
		a.name = s->sets[i];
		a.wanted = !strncmp(a.name, "__set", 5); /* { tcp, udp } in a rule */
		each_set(classes, set_wanted, &a);
		if (!a.wanted)
			lb_found(f, "set \"%s\" is nobody's", a.name);
	}
}

static const struct lb_nft_chain chains[] = {
	{"prerouting", "nat", NF_INET_PRE_ROUTING, -105, NF_ACCEPT},
	{"forward", "filter", NF_INET_FORWARD, -5, NF_ACCEPT},
	{"output", "filter", NF_INET_LOCAL_OUT, -5, NF_ACCEPT},
	{"postrouting", "nat", NF_INET_POST_ROUTING, 95, NF_ACCEPT},
	{"masq4", "", -1, 0, 0},
	{"masq6", "", -1, 0, 0},
	{"masq4_any", "", -1, 0, 0},
	{"masq6_any", "", -1, 0, 0},
	{LB_NFT_EXACT, "", -1, 0, 0}, /* the last: it is not in every table */
};

/* Does a rule still look into the sets by whose name it goes, and do what it should? `c`: of the
 * class that it balances. */
static bool rule_is_sound(const struct lb_nft_rule *r, const struct lb_nft_class *c,
			  const char *name)
{
	static const struct {
		const char *name, *looks_at;
		int verdict;
	} others[] = {
		{LB_NFT_EXACT, "payload", NFT_JUMP},
		{LB_NFT_RULE_LOCAL, "fib", NFT_RETURN},
		{LB_NFT_RULE_LOOPBACK, "payload", NFT_RETURN},
		{LB_NFT_RULE_LINK_LOCAL, "payload", NFT_RETURN},
		{LB_NFT_RULE_RELATED, "ct", NFT_RETURN},
		{LB_NFT_RULE_KEPT, "payload", NFT_RETURN},
		{LB_NFT_RULE_REDIRECT "4", "payload", NF_DROP},
		{LB_NFT_RULE_REDIRECT "6", "payload", NF_DROP},
	};
	static const char verdict[] = "immediate %d; ";
	char set[LB_NFT_CLASS_LEN + 16], does[LB_NFT_CLASS_LEN + 64];
	int code = c ? NF_DROP : !strcmp(r->chain, LB_NFT_EXACT) ? NF_ACCEPT : NFT_RETURN;

	snprintf(set, sizeof(set), "lookup %s; ", name);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (!strcmp(name, others[i].name)) {
			snprintf(set, sizeof(set), "%s; ", others[i].looks_at);
			code = others[i].verdict;
		}
	if (c && c->index != LB_NFT_NONE)
		snprintf(does, sizeof(does), "%s %u; lookup %s" LB_NFT_RING "; nat; ",
			 c->index < LB_NFT_SH ? "numgen" : "hash", c->size, name);
	else if (!strncmp(name, "masq", 4))
		snprintf(does, sizeof(does), "masq; ");
	else if (!strcmp(name, LB_NFT_RULE_KEPT))
		snprintf(does, sizeof(does), "nat; ");
	else if (!strncmp(name, "conn", 4))
		snprintf(does, sizeof(does), verdict, NFT_GOTO);
	else
		snprintf(does, sizeof(does), verdict, code);
	return strstr(r->expr, set) && strstr(r->expr, does);
}

static void rules_audit(struct lb_findings *a, const struct lb_nft_state *s,
			const struct lb_nft_classes *classes, const char *chain)
{
	char buf[LB_NFT_CLASS_LEN];
	const char *name;
	size_t n = 0;

	for (size_t i = 0; i < s->n_rules; i++) {
		const struct lb_nft_rule *r = &s->rules[i];
		struct lb_nft_class c;
		bool balances;

		if (strcmp(r->chain, chain) != 0)
			continue;
		name = lb_nft_rule_name(buf, classes, chain, n);
		if (!name || strcmp(r->comment, name) != 0) {
			lb_found(a, "chain \"%s\": rule %zu is \"%s\", should be %s", chain, n + 1,
				 r->comment, name ? name : "none");
			return;
		}
		balances = !strcmp(chain, "prerouting") && lb_nft_class_parse(&c, name);
		if (!rule_is_sound(r, balances ? &c : NULL, name))
			lb_found(a, "chain \"%s\": rule \"%s\" was changed", chain, name);
		n++;
	}
	name = lb_nft_rule_name(buf, classes, chain, n);
	if (name)
		lb_found(a, "chain \"%s\": rule \"%s\" is missing", chain, name);
}

#define CHAINS (sizeof(chains) / sizeof(chains[0]))

static void chains_audit(struct lb_findings *a, const struct lb_nft_table *t,
			 const struct lb_nft_classes *classes)
{
	size_t before = a->n, n = CHAINS - !lb_nft_has_exact(classes);

	lb_nft_chains_audit(a, t->state, chains, n);
	for (size_t i = 0; i < n; i++)
		if (lb_nft_chain_find(t->state, chains[i].name))
			rules_audit(a, t->state, classes, chains[i].name);
	if (a->n == before && !lb_nft_rules_are_noted(t))
		lb_found(a, "rules: they are not as the last apply has made them");
}

int lb_nft_look(struct lb_dp *dp, const struct lb_model *m, bool elements, lb_finding_fn fn,
		void *arg, struct lb_err *err)
{
	struct lb_findings a = {.fn = fn, .arg = arg};
	struct lb_nft_elements wanted = {};
	struct lb_nft_classes classes = {};
	int ret =
		elements ? lb_nft_list(&dp->table, LB_NFT_ALL, err) : lb_nft_frame(&dp->table, err);

	if (!ret && lb_nft_model_is_lost(&dp->table)) { /* of the rest there is nothing to tell */
		lb_found(&a, LB_NFT_MODEL_LOST);
		return (int)a.n;
	}
	if (!ret && elements)
		ret = lb_nft_everything(m, &wanted, err);
	if (!ret && lb_nft_classes_of(m, &classes))
		ret = lb_err_sys(err, ENOMEM, "comparing rings");
	if (!ret) {
		sets_audit(&a, dp->table.state, &classes);
		chains_audit(&a, &dp->table, &classes);
	}
	if (!ret && elements)
		lb_nft_elements_audit(&a, &wanted, &dp->table.state->elements);
	lb_nft_elements_free(&wanted);
	free(classes.list);
	return ret ? ret : (int)a.n;
}

int lb_nft_audit(struct lb_dp *dp, const struct lb_model *m, lb_finding_fn fn, void *arg,
		 struct lb_err *err)
{
	const struct lb_firewall w = lb_nft_firewall(dp);
	struct lb_findings f = {.fn = fn, .arg = arg};
	int ret;

	if (dp->lock.fd < 0 && lb_nft_is_undone(&dp->table.state->elements))
		lb_lock_wait(dp->table.instance, lb_dp_nft.name);
	ret = lb_nft_look(dp, m, true, fn, arg, err);
	if (ret >= 0) {
		if (lb_nft_is_undone(&dp->table.state->elements))
			lb_found(&f, "an earlier apply was interrupted: connections to backends "
				     "that it has removed may live on");
		lb_firewall_audit(&f, &w);
		lb_interfaces_audit(&f, m);
	}
	return ret < 0 ? ret : ret + (int)f.n;
}
