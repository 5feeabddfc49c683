// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * nft_rules.c - the table as text for libnftables: its sets, chains and rules.
 *
 * A rule for each class of rings, none for a service: a listen is an element of its class's set,
 * and a slot of its ring one of the class's map. That a rule looks into the set first has a reason:
 * `numgen inc` counts each time it is evaluated. Every rule has its name as its comment.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "nft_internal.h"

/* Before Docker's and others' DNAT at -100 and masquerading at 100: who binds a connection first
 * has it, and chains behind are not asked. */
#define PREROUTING  "type nat hook prerouting priority -105"
#define POSTROUTING "type nat hook postrouting priority 95"
#define FORWARD     "type filter hook forward priority -5"
#define OUTPUT      "type filter hook output priority -5"
#define HASH_SEED   "0x6d657368" /* fixed: the same choice on every node */
#define SYN_FLAGS   "tcp flags & (fin | syn | rst | ack) "

/* ---------------------------------------------------------------- classes */

static const char *class_key(char buf[64], const struct lb_nft_class *c)
{
	const char *ip = c->family == LB_V4 ? "ip" : "ip6", *proto = lb_proto_name(c->proto);

	if (c->any)
		snprintf(buf, 64, "%s dport", proto);
	else
		snprintf(buf, 64, "%s daddr . %s dport", ip, proto);
	return buf;
}

static const char *class_index(char buf[96], const struct lb_nft_class *c)
{
	const char *ip = c->family == LB_V4 ? "ip" : "ip6";

	switch (c->index) {
	case LB_NFT_SH:
		snprintf(buf, 96, "jhash %s saddr mod %u seed " HASH_SEED, ip, c->size);
		break;
	case LB_NFT_MAGLEV:
		snprintf(buf, 96, "jhash %s saddr . %s sport mod %u seed " HASH_SEED, ip,
			 lb_proto_name(c->proto), c->size);
		break;
	default:
		snprintf(buf, 96, "numgen %s mod %u", c->index == LB_NFT_INC ? "inc" : "random",
			 c->size);
	}
	return buf;
}

/* ---------------------------------------------------------------- sets */

void lb_nft_text_sets(struct lb_text *t, const char *table, const struct lb_nft_class *c)
{
	const char *ip = c->family == LB_V4 ? "ip" : "ip6";
	char name[LB_NFT_CLASS_LEN], key[64];

	lb_nft_class_name(name, c);
	class_key(key, c);
	lb_text_add(t, "add set inet %s %s { typeof %s; }\n", table, name, key);
	if (c->index != LB_NFT_NONE)
		lb_text_add(t,
			    "add map inet %s %s" LB_NFT_RING
			    " { typeof %s . numgen inc mod 2 : %s daddr . %s dport; }\n",
			    table, name, key, ip, lb_proto_name(c->proto));
}

void lb_nft_text_unset(struct lb_text *t, const char *table, const struct lb_nft_class *c)
{
	char name[LB_NFT_CLASS_LEN];

	lb_nft_class_name(name, c);
	lb_text_add(t, "delete set inet %s %s\n", table, name);
	if (c->index != LB_NFT_NONE)
		lb_text_add(t, "delete map inet %s %s" LB_NFT_RING "\n", table, name);
}

static void count_set_text(struct lb_text *t, const char *table, enum lb_nft_count what,
			   enum lb_family family, bool any)
{
	const char *address = family == LB_V4 ? "ipv4_addr" : "ipv6_addr";
	char name[32];

	lb_text_add(t,
		    "add set inet %s %s { type %s%sinet_proto . inet_service . %s . "
		    "inet_service; counter; }\n",
		    table, lb_nft_count_set(name, what, family, any), any ? "" : address,
		    any ? "" : " . ", address);
}

/* ---------------------------------------------------------------- counting */

static void count_rule(struct lb_text *t, const char *table, enum lb_nft_count what,
		       enum lb_family family, bool any)
{
	const char *ip = family == LB_V4 ? "ip" : "ip6", *backend = "daddr", *port = "dport";
	char name[32], masq[32], verdict[64], original[32] = "";

	lb_nft_count_set(name, what, family, any);
	if (what == LB_NFT_CONN)
		snprintf(verdict, sizeof(verdict), "goto %s", lb_nft_masq_set(masq, family, any));
	else
		snprintf(verdict, sizeof(verdict),
			 "meta mark set mark or " LB_NFT_PASS_MARK " return");
	if (!any)
		snprintf(original, sizeof(original), "ct original %s daddr . ", ip);
	if (what == LB_NFT_OUT) {
		backend = "saddr";
		port = "sport";
	}
	lb_text_add(t,
		    "add rule inet %s %s ct status dnat meta l4proto { tcp, udp } ct direction %s "
		    "%smeta l4proto . ct original proto-dst . %s %s . th %s @%s %s "
		    "comment \"%s\"\n",
		    table, what == LB_NFT_CONN ? "postrouting" : "forward",
		    what == LB_NFT_OUT ? "reply" : "original", original, ip, backend, port, name,
		    verdict, name);
}

/* A chain of its own for each kind of listen, to which the rule leads that counts a connection: so
 * the one that goes first, the exact address, says what becomes of it. Who is not masqueraded is
 * bound to its own address, or else somebody's rule behind ours would masquerade it. */
static void masq_text(struct lb_text *t, const char *table, enum lb_family family, bool any)
{
	const char *ip = family == LB_V4 ? "ip" : "ip6";
	char name[32], type[32] = "", daddr[32] = "";

	lb_nft_masq_set(name, family, any);
	if (!any) {
		snprintf(type, sizeof(type), "%s . ", family == LB_V4 ? "ipv4_addr" : "ipv6_addr");
		snprintf(daddr, sizeof(daddr), "ct original %s daddr . ", ip);
	}
	lb_text_add(t, "add set inet %s %s { type %sinet_proto . inet_service; }\n", table, name,
		    type);
	lb_text_add(t, "add chain inet %s %s\n", table, name);
	lb_text_add(t,
		    "add rule inet %s %s meta l4proto { tcp, udp } %smeta l4proto . "
		    "ct original proto-dst @%s masquerade "
		    "comment \"%s\"\n",
		    table, name, daddr, name, name);
	lb_text_add(t, "add rule inet %s %s snat %s to %s saddr comment \"" LB_NFT_RULE_KEPT "\"\n",
		    table, name, ip, ip);
}

/* In the order of the rules: who counts by address is not counted by port as well. */
static const struct count {
	uint8_t what, family, any;
} counts[] = {
	{LB_NFT_IN, LB_V4, 0},   {LB_NFT_OUT, LB_V4, 0},  {LB_NFT_IN, LB_V6, 0},
	{LB_NFT_OUT, LB_V6, 0},  {LB_NFT_IN, LB_V4, 1},   {LB_NFT_OUT, LB_V4, 1},
	{LB_NFT_IN, LB_V6, 1},   {LB_NFT_OUT, LB_V6, 1},  {LB_NFT_CONN, LB_V4, 0},
	{LB_NFT_CONN, LB_V6, 0}, {LB_NFT_CONN, LB_V4, 1}, {LB_NFT_CONN, LB_V6, 1},
};
#define COUNT_RULES   (sizeof(counts) / sizeof(counts[0]))
#define FORWARD_RULES 8

void lb_nft_text_table(struct lb_text *t, const char *table)
{
	lb_text_add(t, "add table inet %s\n", table);
	lb_text_add(t, "add set inet %s " LB_NFT_SET_MODEL " { type " LB_NFT_MODEL_TYPE "; }\n",
		    table);
	lb_text_add(t, "add set inet %s " LB_NFT_SET_INTERFACES " { type ifname; }\n", table);
	lb_text_add(t, "add chain inet %s prerouting { " PREROUTING "; policy accept; }\n", table);
	lb_text_add(t, "add chain inet %s forward { " FORWARD "; policy accept; }\n", table);
	lb_text_add(t, "add chain inet %s output { " OUTPUT "; policy accept; }\n", table);
	lb_text_add(t, "add chain inet %s postrouting { " POSTROUTING "; policy accept; }\n",
		    table);
	lb_nft_text_output(t, table);
	for (size_t i = 0; i < COUNT_RULES; i++)
		count_set_text(t, table, counts[i].what, counts[i].family, counts[i].any);
	for (int k = 0; k < 4; k++)
		masq_text(t, table, k & 1, k >> 1);
	for (size_t i = 0; i < COUNT_RULES; i++)
		count_rule(t, table, counts[i].what, counts[i].family, counts[i].any);
	/* Errors of routers, as of a packet too big, which are of no port. */
	lb_text_add(t,
		    "add rule inet %s forward ct status dnat ct state related meta l4proto "
		    "{ icmp, ipv6-icmp } meta mark set mark or " LB_NFT_PASS_MARK
		    " return comment \"" LB_NFT_RULE_RELATED "\"\n",
		    table);
}

/* ---------------------------------------------------------------- balancing */

static bool is_hash(const struct lb_nft_class *c)
{
	return c->index == LB_NFT_SH || c->index == LB_NFT_MAGLEV;
}

static bool wants_syn(const struct lb_nft_class *c)
{
	return c->proto == LB_TCP && !is_hash(c);
}

/* The n-th of the exact classes that want a SYN; NULL behind the last. */
static const struct lb_nft_class *exact_class(const struct lb_nft_classes *c, size_t n)
{
	for (size_t i = 0; i < c->n; i++)
		if (!c->list[i].any && wants_syn(&c->list[i]) && !n--)
			return &c->list[i];
	return NULL;
}

/* The class before whose rule it must be settled whether an exact listen is meant; c->n: none. */
static size_t exact_before(const struct lb_nft_classes *c)
{
	size_t i = exact_class(c, 0) ? 0 : c->n;

	while (i < c->n && (!c->list[i].any || c->list[i].proto != LB_TCP || !is_hash(&c->list[i])))
		i++;
	return i;
}

bool lb_nft_has_exact(const struct lb_nft_classes *c)
{
	return exact_before(c) < c->n;
}

/* The middle of a connection passes the rules of addresses that want a SYN. It is not for a hash on
 * `*` to take it up: the exact address wins. A rule for each class, since the kernel limits how
 * long one rule can be, in a chain that no SYN comes to. */
static void exact_text(struct lb_text *t, const char *table, const struct lb_nft_classes *c)
{
	const struct lb_nft_class *exact;
	char name[LB_NFT_CLASS_LEN], key[64];

	lb_text_add(t, "add chain inet %s " LB_NFT_EXACT "\n", table);
	lb_text_add(t, "flush chain inet %s " LB_NFT_EXACT "\n", table);
	for (size_t i = 0; (exact = exact_class(c, i)); i++) {
		lb_nft_class_name(name, exact);
		lb_text_add(t, "add rule inet %s " LB_NFT_EXACT " %s @%s accept comment \"%s\"\n",
			    table, class_key(key, exact), name, name);
	}
}

static void class_rule(struct lb_text *t, const char *table, const struct lb_nft_class *c)
{
	const char *ip = c->family == LB_V4 ? "ip" : "ip6";
	char name[LB_NFT_CLASS_LEN], key[64], index[96];

	lb_nft_class_name(name, c);
	class_key(key, c);
	lb_text_add(t, "add rule inet %s prerouting ", table);
	if (c->any)
		lb_text_add(t, "meta nfproto ipv%d ", c->family == LB_V4 ? 4 : 6);
	/* conntrack takes up a TCP connection in its middle; a hash finds its backend again, a turn
	 * does not: then our own stack answers with a reset. */
	if (wants_syn(c))
		lb_text_add(t, SYN_FLAGS "== syn ");
	lb_text_add(t, "%s @%s ", key, name);
	if (c->index == LB_NFT_NONE)
		lb_text_add(t, "drop ");
	else
		lb_text_add(t, "dnat %s to %s . %s map @%s" LB_NFT_RING " ", ip, key,
			    class_index(index, c), name);
	lb_text_add(t, "comment \"%s\"\n", name);
}

void lb_nft_text_rules(struct lb_text *t, const char *table, const struct lb_nft_classes *from,
		       const struct lb_nft_classes *c)
{
	size_t i = 0, exact = exact_before(c);

	lb_text_add(t, "flush chain inet %s prerouting\n", table);
	if (exact < c->n)
		exact_text(t, table, c);
	else if (lb_nft_has_exact(from))
		lb_text_add(t, "delete chain inet %s " LB_NFT_EXACT "\n", table);
	lb_text_add(t,
		    "add rule inet %s prerouting iifname != @" LB_NFT_SET_INTERFACES
		    " return comment \"interfaces\"\n",
		    table);
	for (; i < c->n && !c->list[i].any; i++)
		class_rule(t, table, &c->list[i]);
	lb_text_add(t,
		    "add rule inet %s prerouting fib daddr type != local return "
		    "comment \"" LB_NFT_RULE_LOCAL "\"\n",
		    table);
	/* Local, too, but what must not come in by an interface, or goes by no other one. */
	lb_text_add(t,
		    "add rule inet %s prerouting ip daddr 127.0.0.0/8 return "
		    "comment \"" LB_NFT_RULE_LOOPBACK "\"\n",
		    table);
	lb_text_add(t,
		    "add rule inet %s prerouting ip6 daddr fe80::/10 return "
		    "comment \"" LB_NFT_RULE_LINK_LOCAL "\"\n",
		    table);
	for (; i < c->n; i++) {
		if (i == exact)
			lb_text_add(t,
				    "add rule inet %s prerouting " SYN_FLAGS
				    "!= syn jump " LB_NFT_EXACT " comment \"" LB_NFT_EXACT "\"\n",
				    table);
		class_rule(t, table, &c->list[i]);
	}
}

static const char *prerouting_rule_name(char buf[LB_NFT_CLASS_LEN], const struct lb_nft_classes *c,
					size_t n)
{
	size_t exact = 0, before = exact_before(c);

	while (exact < c->n && !c->list[exact].any)
		exact++;
	if (n == 0)
		return "interfaces";
	if (n == exact + 1)
		return LB_NFT_RULE_LOCAL;
	if (n == exact + 2)
		return LB_NFT_RULE_LOOPBACK;
	if (n == exact + 3)
		return LB_NFT_RULE_LINK_LOCAL;
	n -= n > exact ? 4 : 1;
	if (n == before && before < c->n)
		return LB_NFT_EXACT;
	n -= n > before;
	return n < c->n ? lb_nft_class_name(buf, &c->list[n]) : NULL;
}

const char *lb_nft_rule_name(char buf[LB_NFT_CLASS_LEN], const struct lb_nft_classes *c,
			     const char *chain, size_t n)
{
	size_t first = strcmp(chain, "forward") ? FORWARD_RULES : 0;
	size_t end = first ? COUNT_RULES : FORWARD_RULES;
	const struct count *k;

	for (int i = 0; i < 4; i++)
		if (!strcmp(chain, lb_nft_masq_set(buf, i & 1, i >> 1)))
			return n > 1 ? NULL : n ? LB_NFT_RULE_KEPT : buf;
	if (!strcmp(chain, "output")) {
		snprintf(buf, LB_NFT_CLASS_LEN, LB_NFT_RULE_REDIRECT "%d", n ? 6 : 4);
		return n < 2 ? buf : NULL;
	}
	if (!strcmp(chain, "prerouting"))
		return prerouting_rule_name(buf, c, n);
	if (!strcmp(chain, LB_NFT_EXACT)) {
		const struct lb_nft_class *exact = exact_class(c, n);

		return exact ? lb_nft_class_name(buf, exact) : NULL;
	}
	if (!first && n == FORWARD_RULES)
		return LB_NFT_RULE_RELATED;
	k = &counts[first + n];
	return first + n < end ? lb_nft_count_set(buf, k->what, k->family, k->any) : NULL;
}
