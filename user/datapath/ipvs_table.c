// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ipvs_table.c - the table of an instance on IPVS: its model, and the rules that give packets to
 * its listens their service's mark. The rules are always the same: listens are elements of maps.
 */
#include <netinet/in.h> /* before the kernel's headers, which else define the same */

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipvs_internal.h"

/* Of exact addresses and of `*`, by family. */
static const char *const maps[2][LB_FAMILIES] = {
	{[LB_V4] = "marks4", [LB_V6] = "marks6"},
	{[LB_V4] = "marks4_any", [LB_V6] = "marks6_any"},
};

static bool map_format(const char *set, struct lb_nft_format *f)
{
	for (int k = 0; k < 4; k++) {
		uint8_t *field = f->key;

		if (strcmp(set, maps[k / 2][k % 2]) != 0)
			continue;
		if (k < 2)
			*field++ = k % 2 == LB_V4 ? LB_NFT_FIELD_V4 : LB_NFT_FIELD_V6;
		*field++ = LB_NFT_FIELD_PROTO;
		*field++ = LB_NFT_FIELD_PORT;
		f->data[0] = LB_NFT_FIELD_NUMBER;
		return true;
	}
	return false;
}

const struct lb_nft_kind lb_ipvs_kind = {
	.prefix = "meshlb-ipvs_",
	.magic = "meshlb ipvs 1",
	.format = map_format,
};

/* ---------------------------------------------------------------- rules */

/* As others mark (mangle), and before Docker's and others' DNAT. IPVS stands in the way of packets
 * to this host itself. */
static const struct lb_nft_chain chain = {"prerouting", "filter", NF_INET_PRE_ROUTING, -150,
					  NF_ACCEPT};

static void mark_rule(struct lb_text *t, const char *table, enum lb_family family, bool any)
{
	const char *address = family == LB_V4 ? "ip daddr . " : "ip6 daddr . ";

	lb_text_add(t,
		    "add rule inet %s prerouting meta nfproto ipv%d meta mark set %smeta l4proto . "
		    "th dport map @%s return comment \"%s\"\n",
		    table, family == LB_V4 ? 4 : 6, any ? "" : address, maps[any][family],
		    maps[any][family]);
}

void lb_ipvs_text_table(struct lb_text *t, const char *table)
{
	lb_text_add(t, "add table inet %s\n", table);
	lb_text_add(t, "add set inet %s " LB_NFT_SET_MODEL " { type mark . mark; }\n", table);
	lb_text_add(t, "add set inet %s " LB_NFT_SET_INTERFACES " { type ifname; }\n", table);
	for (int k = 0; k < 4; k++)
		lb_text_add(t, "add map inet %s %s { type %sinet_proto . inet_service : mark; }\n",
			    table, maps[k / 2][k % 2],
			    k > 1            ? ""
			    : k % 2 == LB_V4 ? "ipv4_addr . "
					     : "ipv6_addr . ");
	lb_text_add(t,
		    "add chain inet %s prerouting { type filter hook prerouting priority %d; "
		    "policy accept; }\n",
		    table, chain.priority);
	lb_text_add(t,
		    "add rule inet %s prerouting iifname != @" LB_NFT_SET_INTERFACES
		    " return comment \"interfaces\"\n",
		    table);
	mark_rule(t, table, LB_V4, false);
	mark_rule(t, table, LB_V6, false);
	lb_text_add(t,
		    "add rule inet %s prerouting fib daddr type != local return "
		    "comment \"local\"\n",
		    table);
	mark_rule(t, table, LB_V4, true);
	mark_rule(t, table, LB_V6, true);
}

static bool set_is_ours(const char *name)
{
	struct lb_nft_format ignored = {};

	return !strcmp(name, LB_NFT_SET_MODEL) || !strcmp(name, LB_NFT_SET_INTERFACES) ||
	       map_format(name, &ignored);
}

void lb_ipvs_frame_audit(struct lb_findings *f, const struct lb_nft_table *t)
{
	const struct lb_nft_state *s = t->state;
	size_t before = f->n;

	for (int k = 0; k < 4; k++)
		if (!lb_nft_state_has_set(s, maps[k / 2][k % 2]))
			lb_found(f, "map \"%s\" is missing", maps[k / 2][k % 2]);
	if (!lb_nft_state_has_set(s, LB_NFT_SET_INTERFACES))
		lb_found(f, "set \"" LB_NFT_SET_INTERFACES "\" is missing");
	for (size_t i = 0; i < s->n_sets; i++)
		if (!set_is_ours(s->sets[i]))
			lb_found(f, "set \"%s\" is nobody's", s->sets[i]);
	lb_nft_chains_audit(f, s, &chain, 1);
	if (f->n == before && !lb_nft_rules_are_noted(t))
		lb_found(f, "rules: they are not as the last apply has made them");
}

/* ---------------------------------------------------------------- elements */

void lb_ipvs_record_add(struct lb_nft_elements *all, uint32_t record, const char *text)
{
	lb_nft_record_add(all, 0, record, text);
}

static const char *record_in(const struct lb_nft_elements *all, uint32_t record)
{
	const struct lb_nft_element *e;
	char key[32];

	snprintf(key, sizeof(key), "0 . %u", record);
	e = lb_nft_element_find(all, LB_NFT_SET_MODEL, key);
	return e ? e->value : NULL;
}

const char *lb_ipvs_record(const struct lb_nft_state *s, uint32_t record)
{
	return record_in(&s->elements, record);
}

void lb_ipvs_head_elements(struct lb_nft_elements *all, const struct lb_model *m)
{
	lb_nft_head_records(all, m, lb_ipvs_kind.magic);
	for (size_t i = 0; i < m->n_interfaces; i++)
		lb_nft_element_add(all, LB_NFT_SET_INTERFACES, m->interfaces[i].name, "");
}

static void listen_add(struct lb_nft_elements *all, const struct lb_listen *l,
		       enum lb_family family, const char *mark)
{
	char key[128], address[LB_ENDPOINT_STRLEN];
	bool any = l->any != LB_ANY_NOT;

	snprintf(key, sizeof(key), "%s%s%s . %u",
		 any ? "" : lb_addr_str(address, &l->at.addr, l->at.family), any ? "" : " . ",
		 lb_proto_name(l->proto), l->at.port);
	lb_nft_element_add(all, maps[any][family], key, mark);
}

void lb_ipvs_service_elements(const struct lb_dp *dp, struct lb_nft_elements *all,
			      const struct lb_service_conf *s, uint32_t id)
{
	char mark[16];

	snprintf(mark, sizeof(mark), "%u", lb_ipvs_mark(dp, id));
	lb_nft_service_records(all, s, id, false);
	for (int family = 0; family < LB_FAMILIES; family++) {
		if (!lb_service_has_family(s, family)) /* it passes */
			continue;
		for (size_t i = 0; i < s->n_listens; i++)
			if (s->listens[i].any == LB_ANY_BOTH || s->listens[i].at.family == family)
				listen_add(all, &s->listens[i], family, mark);
	}
}

/* ---------------------------------------------------------------- instances beside each other */

/* Begins where the name says, so that an instance has the same marks each time. */
static uint32_t number_of_name(const char *instance)
{
	uint32_t hash = 0;

	while (*instance)
		hash = hash * 31 + (unsigned char)*instance++;
	return hash % LB_IPVS_NUMBERS;
}

uint32_t lb_ipvs_number_read(const struct lb_nft_elements *all, const char *instance)
{
	const char *text = record_in(all, LB_IPVS_RECORD_NUMBER);
	unsigned int number;

	return text && sscanf(text, "marks %u", &number) == 1 && number < LB_IPVS_NUMBERS
		       ? number
		       : number_of_name(instance);
}

struct others {
	const struct lb_dp *dp;
	void (*fn)(void *arg, const char *instance, const struct lb_nft_elements *records);
	void *arg;
};

static void other_read(void *arg, const char *instance)
{
	const struct others *o = arg;
	struct lb_nft_elements records = {};
	struct lb_nft_table t = {.kind = &lb_ipvs_kind};
	struct lb_err ignored;

	if (!strcmp(instance, o->dp->table.instance))
		return;
	snprintf(t.name, sizeof(t.name), "%s%s", t.kind->prefix, instance);
	if (!lb_nft_set_read(&t, LB_NFT_SET_MODEL, &records, &ignored)) {
		lb_nft_elements_sort(&records);
		o->fn(o->arg, instance, &records);
	}
	lb_nft_elements_free(&records);
}

int lb_ipvs_others(const struct lb_dp *dp,
		   void (*fn)(void *arg, const char *instance,
			      const struct lb_nft_elements *records),
		   void *arg, struct lb_err *err)
{
	struct others o = {.dp = dp, .fn = fn, .arg = arg};

	return lb_nft_tables(&lb_ipvs_kind, other_read, &o, err);
}

static void number_taken(void *taken, const char *instance, const struct lb_nft_elements *records)
{
	((bool *)taken)[lb_ipvs_number_read(records, instance)] = true;
}

/* Not what another instance, or anybody else's mark, has. */
int lb_ipvs_number_choose(struct lb_dp *dp, struct lb_err *err)
{
	bool taken[LB_IPVS_NUMBERS] = {};
	struct lb_ipvs_services all;
	int ret = lb_ipvs_services_read(&dp->ipvs, &all);

	if (ret)
		return lb_err_sys(err, -ret, "listing the virtual services of IPVS");
	for (size_t i = 0; i < all.n; i++)
		if (all.list[i].mark >= LB_IPVS_MARK && all.list[i].mark < 2 * LB_IPVS_MARK)
			taken[all.list[i].mark >> LB_IPVS_NUMBER_BIT & (LB_IPVS_NUMBERS - 1)] =
				true;
	lb_ipvs_services_free(&all);
	ret = lb_ipvs_others(dp, number_taken, taken, err);
	if (ret)
		return ret;
	for (uint32_t i = 0; i < LB_IPVS_NUMBERS; i++) {
		dp->number = (number_of_name(dp->table.instance) + i) % LB_IPVS_NUMBERS;
		if (!taken[dp->number])
			return 0;
	}
	return lb_err_set(err, ENOSPC, "instance \"%s\": datapath ipvs has room for %d instances",
			  dp->table.instance, LB_IPVS_NUMBERS);
}
