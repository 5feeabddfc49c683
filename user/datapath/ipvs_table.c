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
/* Of all backends, from where answers come. */
static const char *const backends[LB_FAMILIES] = {[LB_V4] = "backends4", [LB_V6] = "backends6"};
#define MASQ       "masq" /* the marks of services that are masqueraded */
#define LINK_LOCAL "link-local"

static uint8_t address_field(int family)
{
	return family == LB_V4 ? LB_NFT_FIELD_V4 : LB_NFT_FIELD_V6;
}

static bool sets_format(const char *set, struct lb_nft_format *f)
{
	for (int k = 0; k < 6; k++) {
		const char *name = k < 4 ? maps[k / 2][k % 2] : backends[k % 2];
		uint8_t *field = f->key;

		if (strcmp(set, name) != 0)
			continue;
		if (k / 2 != 1) /* not `*` */
			*field++ = address_field(k % 2);
		*field++ = LB_NFT_FIELD_PROTO;
		*field++ = LB_NFT_FIELD_PORT;
		f->data[0] = k < 4 ? LB_NFT_FIELD_NUMBER : LB_NFT_FIELD_END;
		return true;
	}
	f->key[0] = LB_NFT_FIELD_NUMBER;
	return !strcmp(set, MASQ);
}

const struct lb_nft_kind lb_ipvs_kind = {
	.prefix = "meshlb-ipvs_",
	.magic = "meshlb ipvs 2",
	.oldest = 1, /* without masquerading */
	.format = sets_format,
};

/* ---------------------------------------------------------------- rules */

/* Behind where others mark (mangle, -150, where some put back the mark of each connection), and
 * before Docker's and others' DNAT at -100. IPVS stands in the way of packets to this host itself.
 */
static const struct lb_nft_chain chains[] = {
	{"prerouting", "filter", NF_INET_PRE_ROUTING, -110, NF_ACCEPT},
	{"forward", "filter", NF_INET_FORWARD, -5, NF_ACCEPT}, /* before iptables' */
	{"output", "filter", NF_INET_LOCAL_OUT, -5, NF_ACCEPT},
	{"postrouting", "nat", NF_INET_POST_ROUTING, 95, NF_ACCEPT},
};
#define CHAINS     (sizeof(chains) / sizeof(chains[0]))
#define MASQ_CHAIN 3

static void chain_text(struct lb_text *t, const char *table, const struct lb_nft_chain *c)
{
	lb_text_add(t, "add chain inet %s %s { type %s hook %s priority %d; policy accept; }\n",
		    table, c->name, c->type, c->name, c->priority);
}

static void mark_rule(struct lb_text *t, const char *table, enum lb_family family, bool any)
{
	const char *address = family == LB_V4 ? "ip daddr . " : "ip6 daddr . ";

	lb_text_add(t,
		    "add rule inet %s prerouting meta nfproto ipv%d meta mark set %smeta l4proto . "
		    "th dport map @%s return comment \"%s\"\n",
		    table, family == LB_V4 ? 4 : 6, any ? "" : address, maps[any][family],
		    maps[any][family]);
}

/* The answers, by which iptables lets them through if they belong to a connection, too. A bit
 * alone: what a backend sends otherwise has marks of others. */
static void answer_rule(struct lb_text *t, const char *table, enum lb_family family)
{
	lb_text_add(t,
		    "add rule inet %s forward %s saddr . meta l4proto . th sport @%s "
		    "meta mark set mark or " LB_IPVS_ANSWER_MARK " return comment \"%s\"\n",
		    table, family == LB_V4 ? "ip" : "ip6", backends[family], backends[family]);
}

void lb_ipvs_text_table(struct lb_text *t, const struct lb_dp *dp)
{
	const char *table = dp->table.name;

	lb_text_add(t, "add table inet %s\n", table);
	lb_text_add(t, "add set inet %s " LB_NFT_SET_MODEL " { type " LB_NFT_MODEL_TYPE "; }\n",
		    table);
	lb_text_add(t, "add set inet %s " LB_NFT_SET_INTERFACES " { type ifname; }\n", table);
	for (int k = 0; k < 4; k++)
		lb_text_add(t, "add map inet %s %s { type %sinet_proto . inet_service : mark; }\n",
			    table, maps[k / 2][k % 2],
			    k > 1            ? ""
			    : k % 2 == LB_V4 ? "ipv4_addr . "
					     : "ipv6_addr . ");
	for (int family = 0; family < LB_FAMILIES; family++)
		lb_text_add(t, "add set inet %s %s { type %s . inet_proto . inet_service; }\n",
			    table, backends[family], family == LB_V4 ? "ipv4_addr" : "ipv6_addr");
	lb_text_add(t, "add set inet %s " MASQ " { type mark; }\n", table);
	for (size_t k = 0; k < MASQ_CHAIN; k++)
		chain_text(t, table, &chains[k]);
	lb_nft_text_output(t, table);
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
	/* Which goes by no other interface. */
	lb_text_add(t,
		    "add rule inet %s prerouting ip6 daddr fe80::/10 return "
		    "comment \"" LINK_LOCAL "\"\n",
		    table);
	mark_rule(t, table, LB_V4, true);
	mark_rule(t, table, LB_V6, true);
	answer_rule(t, table, LB_V4);
	answer_rule(t, table, LB_V6);
}

bool lb_ipvs_has_masq(const struct lb_model *m)
{
	for (size_t i = 0; i < m->n_services; i++)
		if (m->services[i].forwarding == LB_FORWARDING_MASQ)
			return true;
	return false;
}

/* A chain of NAT costs each packet of the host a look: 5.8 us of 19.8 in the guest. Once there it
 * stays with the table: without it the kernel would end what it has masqueraded. */
void lb_ipvs_text_masq(struct lb_text *t, const char *table)
{
	const char *name = chains[MASQ_CHAIN].name;

	chain_text(t, table, &chains[MASQ_CHAIN]);
	lb_text_add(t, "flush chain inet %s %s\n", table, name);
	lb_text_add(t, "add rule inet %s %s meta mark @" MASQ " masquerade comment \"" MASQ "\"\n",
		    table, name);
}

struct lb_firewall lb_ipvs_firewall(const struct lb_dp *dp, char rule[LB_IPVS_RULE_LEN])
{
	struct lb_firewall w = {
		.prefix = LB_FIREWALL_PREFIX "IPVS:",
		.instance = dp->table.instance,
		.fresh = dp->fresh,
		.host = true,
		.rules = {"-m mark --mark " LB_IPVS_ANSWER_MARK "/" LB_IPVS_ANSWER_MARK
			  " -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
			  rule},
	};

	/* The kernel's spelling: what is there is compared with it. Clients' packets come to IPVS
	 * by INPUT, and leave by OUTPUT. */
	snprintf(w.mark, sizeof(w.mark), "%#x/%#x", lb_ipvs_mark(dp, 0), ~(LB_IPVS_IDS - 1));
	snprintf(rule, LB_IPVS_RULE_LEN, "-m mark --mark %s -j ACCEPT", w.mark);
	return w;
}

static bool set_is_ours(const char *name)
{
	struct lb_nft_format ignored = {};

	return !strcmp(name, LB_NFT_SET_MODEL) || !strcmp(name, LB_NFT_SET_INTERFACES) ||
	       sets_format(name, &ignored);
}

/* Rules are as their apply has made them; an older program's lack the newest. */
static bool has_rule(const struct lb_nft_state *s, const char *comment)
{
	for (size_t i = 0; i < s->n_rules; i++)
		if (!strcmp(s->rules[i].comment, comment))
			return true;
	return false;
}

void lb_ipvs_frame_audit(struct lb_findings *f, const struct lb_nft_table *t,
			 const struct lb_model *m)
{
	const struct lb_nft_state *s = t->state;
	size_t before = f->n;
	bool masq;

	for (int k = 0; k < 4; k++)
		if (!lb_nft_state_has_set(s, maps[k / 2][k % 2]))
			lb_found(f, "map \"%s\" is missing", maps[k / 2][k % 2]);
	for (int k = 0; k < LB_FAMILIES; k++)
		if (!lb_nft_state_has_set(s, backends[k]))
			lb_found(f, "set \"%s\" is missing", backends[k]);
	if (!lb_nft_state_has_set(s, LB_NFT_SET_INTERFACES))
		lb_found(f, "set \"" LB_NFT_SET_INTERFACES "\" is missing");
	if (!lb_nft_state_has_set(s, MASQ))
		lb_found(f, "set \"" MASQ "\" is missing");
	for (size_t i = 0; i < s->n_sets; i++)
		if (!set_is_ours(s->sets[i]))
			lb_found(f, "set \"%s\" is nobody's", s->sets[i]);
	masq = lb_ipvs_has_masq(m) || lb_nft_chain_find(s, chains[MASQ_CHAIN].name);
	lb_nft_chains_audit(f, s, chains, masq ? CHAINS : MASQ_CHAIN);
	if (f->n == before && !lb_nft_rules_are_noted(t))
		lb_found(f, "rules: they are not as the last apply has made them");
	if (!has_rule(s, LINK_LOCAL))
		lb_found(f, "chain \"prerouting\": rule \"" LINK_LOCAL "\" is missing");
}

/* ---------------------------------------------------------------- elements */

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

/* Services may share a backend: so these are of the whole model, and each is there once. */
void lb_ipvs_backends_elements(struct lb_nft_elements *all, const struct lb_model *m)
{
	char key[128], address[LB_ENDPOINT_STRLEN];

	for (size_t i = 0; i < m->n_services; i++) {
		const struct lb_service_conf *s = &m->services[i];
		bool protos[LB_PROTOS] = {};

		for (size_t k = 0; k < s->n_listens; k++)
			protos[s->listens[k].proto] = true;
		for (size_t k = 0; k < s->n_backends * LB_PROTOS; k++) {
			const struct lb_endpoint *at = &s->backends[k / LB_PROTOS].at;

			if (!protos[k % LB_PROTOS])
				continue;
			snprintf(key, sizeof(key), "%s . %s . %u",
				 lb_addr_str(address, &at->addr, at->family),
				 lb_proto_name(k % LB_PROTOS), at->port);
			lb_nft_element_add(all, backends[at->family], key, "");
		}
	}
}

void lb_ipvs_service_elements(const struct lb_dp *dp, struct lb_nft_elements *all,
			      const struct lb_service_conf *s, uint32_t id)
{
	char mark[16];

	snprintf(mark, sizeof(mark), "%u", lb_ipvs_mark(dp, id));
	lb_nft_service_records(all, s, id, false);
	if (s->forwarding == LB_FORWARDING_MASQ)
		lb_nft_element_add(all, MASQ, mark, "");
	for (int family = 0; family < LB_FAMILIES; family++) {
		if (!lb_service_has_family(s, family)) /* it passes */
			continue;
		for (size_t i = 0; i < s->n_listens; i++)
			if (lb_listen_in(&s->listens[i], family))
				listen_add(all, &s->listens[i], family, mark);
	}
}

/* ---------------------------------------------------------------- the instance's number */

uint32_t lb_ipvs_number_of_name(const char *instance)
{
	return lb_name_hash(instance) % LB_IPVS_NUMBERS;
}

uint32_t lb_ipvs_number_read(const struct lb_nft_elements *all, const char *instance)
{
	static const char word[] = "marks ";
	const char *text = record_in(all, LB_IPVS_RECORD_NUMBER);
	unsigned long number = LB_IPVS_NUMBERS;

	if (text && !strncmp(text, word, strlen(word)))
		number = strtoul(text + strlen(word), NULL, 10);
	return number < LB_IPVS_NUMBERS ? number : lb_ipvs_number_of_name(instance);
}
