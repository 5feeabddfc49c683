// SPDX-License-Identifier: GPL-2.0-or-later
/* nft_read.c - tables as they are, by netlink (libnftnl): names of sets, chains, rules. */
#include <netinet/in.h> /* before the kernel's headers, which else define the same */

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "core/list.h"
#include "net/nl.h"
#include "nft_table.h"

/* ---------------------------------------------------------------- messages to a state */

struct reading {
	const char *table; /* NULL: all of a kind */
	const char *prefix;
	struct lb_nft_state *state;
	void (*fn)(void *arg, const char *instance); /* of tables */
	void *arg;
};

static bool is_table(const struct reading *r, const char *table)
{
	return table && !strcmp(table, r->table);
}

static bool is_map(const struct nftnl_set *set)
{
	return nftnl_set_get_u32(set, NFTNL_SET_FLAGS) & (NFT_SET_MAP | NFT_SET_OBJECT);
}

static int set_read(const struct nlmsghdr *nlh, void *arg)
{
	struct nftnl_set *set = nftnl_set_alloc();
	struct reading *r = arg;
	int ret = MNL_CB_ERROR;
	char **name;

	if (!set || nftnl_set_nlmsg_parse(nlh, set))
		goto out;
	ret = MNL_CB_OK;
	if (!is_table(r, nftnl_set_get_str(set, NFTNL_SET_TABLE)))
		goto out;
	name = lb_list_add((void **)&r->state->sets, &r->state->n_sets, sizeof(*name));
	if (name)
		*name = strdup(nftnl_set_get_str(set, NFTNL_SET_NAME));
	ret = name && *name ? MNL_CB_OK : MNL_CB_ERROR;
	if (name && *name && !strcmp(*name, LB_NFT_SET_MODEL) && !is_map(set))
		r->state->model_key = nftnl_set_get_u32(set, NFTNL_SET_KEY_TYPE);
out:
	if (set)
		nftnl_set_free(set);
	return ret;
}

static int chain_read(const struct nlmsghdr *nlh, void *arg)
{
	struct nftnl_chain *chain = nftnl_chain_alloc();
	struct lb_nft_chain *c;
	struct reading *r = arg;
	int ret = MNL_CB_ERROR;
	const char *type;

	if (!chain || nftnl_chain_nlmsg_parse(nlh, chain))
		goto out;
	ret = MNL_CB_OK;
	if (!is_table(r, nftnl_chain_get_str(chain, NFTNL_CHAIN_TABLE)))
		goto out;
	c = lb_list_add((void **)&r->state->chains, &r->state->n_chains, sizeof(*c));
	type = nftnl_chain_get_str(chain, NFTNL_CHAIN_TYPE);
	if (!c) {
		ret = MNL_CB_ERROR;
		goto out;
	}
	c->hook = -1;
	c->name = strdup(nftnl_chain_get_str(chain, NFTNL_CHAIN_NAME));
	c->type = strdup(type ? type : "");
	if (nftnl_chain_is_set(chain, NFTNL_CHAIN_HOOKNUM)) {
		c->hook = (int)nftnl_chain_get_u32(chain, NFTNL_CHAIN_HOOKNUM);
		c->priority = nftnl_chain_get_s32(chain, NFTNL_CHAIN_PRIO);
		c->policy = nftnl_chain_get_u32(chain, NFTNL_CHAIN_POLICY);
	}
	ret = c->name && c->type ? MNL_CB_OK : MNL_CB_ERROR;
out:
	if (chain)
		nftnl_chain_free(chain);
	return ret;
}

/* What of a rule tells one from another: the sets that it looks into, sizes of rings, verdicts. */
static int expr_read(struct nftnl_expr *e, void *arg)
{
	const char *name = nftnl_expr_get_str(e, NFTNL_EXPR_NAME);
	struct lb_text *t = arg;

	lb_text_add(t, "%s", name);
	if (!strcmp(name, "lookup"))
		lb_text_add(t, " %s", nftnl_expr_get_str(e, NFTNL_EXPR_LOOKUP_SET));
	else if (!strcmp(name, "numgen"))
		lb_text_add(t, " %u", nftnl_expr_get_u32(e, NFTNL_EXPR_NG_MODULUS));
	else if (!strcmp(name, "hash"))
		lb_text_add(t, " %u", nftnl_expr_get_u32(e, NFTNL_EXPR_HASH_MODULUS));
	else if (!strcmp(name, "immediate") && nftnl_expr_is_set(e, NFTNL_EXPR_IMM_VERDICT))
		lb_text_add(t, " %d", (int)nftnl_expr_get_u32(e, NFTNL_EXPR_IMM_VERDICT));
	lb_text_add(t, "; ");
	return 0;
}

static void hash_text(uint64_t *hash, const char *text)
{
	do
		*hash = (*hash ^ (unsigned char)*text) * 0x100000001b3; /* FNV-1a */
	while (*text++);
}

static int expr_hash(struct nftnl_expr *e, void *hash)
{
	char text[512] = "";

	nftnl_expr_snprintf(text, sizeof(text), e, NFTNL_OUTPUT_DEFAULT, 0);
	hash_text(hash, nftnl_expr_get_str(e, NFTNL_EXPR_NAME));
	hash_text(hash, text);
	return 0;
}

static int comment_read(const struct nftnl_udata *attr, void *arg)
{
	if (nftnl_udata_type(attr) == NFTNL_UDATA_RULE_COMMENT)
		snprintf(arg, NFTNL_UDATA_COMMENT_MAXLEN + 1, "%.*s", nftnl_udata_len(attr),
			 (const char *)nftnl_udata_get(attr));
	return 0;
}

static int rule_read(const struct nlmsghdr *nlh, void *arg)
{
	char comment[NFTNL_UDATA_COMMENT_MAXLEN + 1] = "";
	struct nftnl_rule *rule = nftnl_rule_alloc();
	struct lb_nft_rule *out;
	struct reading *r = arg;
	struct lb_text expr = {};
	int ret = MNL_CB_ERROR;
	const void *udata;
	uint32_t len;

	if (!rule || nftnl_rule_nlmsg_parse(nlh, rule))
		goto out;
	ret = MNL_CB_OK;
	if (!is_table(r, nftnl_rule_get_str(rule, NFTNL_RULE_TABLE)))
		goto out;
	udata = nftnl_rule_get_data(rule, NFTNL_RULE_USERDATA, &len);
	if (udata)
		nftnl_udata_parse(udata, len, comment_read, comment);
	nftnl_expr_foreach(rule, expr_read, &expr);
	hash_text(&r->state->rules_hash, nftnl_rule_get_str(rule, NFTNL_RULE_CHAIN));
	nftnl_expr_foreach(rule, expr_hash, &r->state->rules_hash);
	out = lb_list_add((void **)&r->state->rules, &r->state->n_rules, sizeof(*out));
	if (out) {
		out->chain = strdup(nftnl_rule_get_str(rule, NFTNL_RULE_CHAIN));
		out->comment = strdup(comment);
		out->expr = expr.s;
		expr.s = NULL;
	}
	ret = out && out->chain && out->comment && out->expr ? MNL_CB_OK : MNL_CB_ERROR;
out:
	free(expr.s);
	if (rule)
		nftnl_rule_free(rule);
	return ret;
}

static int table_read(const struct nlmsghdr *nlh, void *arg)
{
	struct nftnl_table *table = nftnl_table_alloc();
	struct reading *r = arg;
	const char *name;

	if (table && !nftnl_table_nlmsg_parse(nlh, table)) {
		name = nftnl_table_get_str(table, NFTNL_TABLE_NAME);
		if (r->table && is_table(r, name))
			r->state->flags = nftnl_table_get_u32(table, NFTNL_TABLE_FLAGS);
		else if (r->fn && !strncmp(name, r->prefix, strlen(r->prefix)))
			r->fn(r->arg, name + strlen(r->prefix));
	}
	if (table)
		nftnl_table_free(table);
	return MNL_CB_OK;
}

/* ---------------------------------------------------------------- dumps */

#define DUMP_TRIES 20 /* one that a change has come between must be begun anew */

static int dump_of(uint8_t family, uint16_t message, mnl_cb_t fn, void *arg)
{
	char buf[256];
	struct nlmsghdr *req;
	struct lb_nl nl;
	int ret = lb_nl_open(&nl, NETLINK_NETFILTER);

	if (ret)
		return ret;
	req = nftnl_nlmsg_build_hdr(buf, message, family, NLM_F_DUMP, 0);
	ret = lb_nl_request(&nl, req, fn, arg);
	lb_nl_close(&nl);
	return ret;
}

static int dump(uint16_t message, mnl_cb_t fn, struct reading *r)
{
	return dump_of(NFPROTO_INET, message, fn, r);
}

static int frame_read(struct reading *r)
{
	int ret = dump(NFT_MSG_GETSET, set_read, r);

	if (!ret)
		ret = dump(NFT_MSG_GETCHAIN, chain_read, r);
	if (!ret)
		ret = dump(NFT_MSG_GETRULE, rule_read, r);
	return ret ? ret : dump(NFT_MSG_GETTABLE, table_read, r);
}

int lb_nft_state_read(const char *table, struct lb_nft_state **s)
{
	int ret = -EINTR;

	for (int i = 0; i < DUMP_TRIES && ret == -EINTR; i++) {
		struct reading r = {.table = table};

		lb_nft_state_free(*s);
		*s = r.state = calloc(1, sizeof(**s));
		ret = *s ? frame_read(&r) : -ENOMEM;
	}
	return ret;
}

/* ---------------------------------------------------------------- other things */

static int generation_read(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *attr;

	mnl_attr_for_each(attr, nlh,
			  sizeof(struct nfgenmsg)) if (mnl_attr_get_type(attr) == NFTA_GEN_ID) *
		(uint32_t *)arg = ntohl(mnl_attr_get_u32(attr));
	return MNL_CB_OK;
}

static int generation_ask(uint32_t *id)
{
	struct nlmsghdr *req;
	char buf[128];
	struct lb_nl nl;
	int ret = lb_nl_open(&nl, NETLINK_NETFILTER);

	if (ret)
		return ret;
	req = nftnl_nlmsg_build_hdr(buf, NFT_MSG_GETGEN, AF_UNSPEC, 0, 0);
	ret = lb_nl_request(&nl, req, generation_read, id);
	lb_nl_close(&nl);
	return ret;
}

uint32_t lb_nft_generation(void)
{
	uint32_t id = 0;

	generation_ask(&id);
	return id;
}

int lb_nft_permitted(const char *datapath, struct lb_err *err)
{
	uint32_t id;

	return generation_ask(&id) == -EPERM
		       ? lb_err_sys(err, EPERM, "datapath \"%s\": asking nftables", datapath)
		       : 0;
}

bool lb_nft_state_has_set(const struct lb_nft_state *s, const char *name)
{
	for (size_t i = 0; i < s->n_sets; i++)
		if (!strcmp(s->sets[i], name))
			return true;
	return false;
}

void lb_nft_state_free(struct lb_nft_state *s)
{
	if (!s)
		return;
	lb_nft_elements_free(&s->elements);
	for (size_t i = 0; i < s->n_sets; i++)
		free(s->sets[i]);
	for (size_t i = 0; i < s->n_chains; i++) {
		free(s->chains[i].name);
		free(s->chains[i].type);
	}
	for (size_t i = 0; i < s->n_rules; i++) {
		free(s->rules[i].chain);
		free(s->rules[i].comment);
		free(s->rules[i].expr);
	}
	free(s->sets);
	free(s->chains);
	free(s->rules);
	free(s);
}

int lb_nft_tables(const struct lb_nft_kind *kind, void (*fn)(void *arg, const char *instance),
		  void *arg, struct lb_err *err)
{
	struct reading r = {.prefix = kind->prefix, .fn = fn, .arg = arg};
	int ret = dump(NFT_MSG_GETTABLE, table_read, &r);

	return ret ? lb_err_sys(err, -ret, "listing the tables of nftables") : 0;
}

/* As iptables-nft makes them, which takes no others with these names for its own. */
static bool is_iptables(const struct nftnl_chain *c)
{
	static const struct {
		const char *name;
		uint32_t hook;
	} builtin[] = {
		{"INPUT", NF_INET_LOCAL_IN},
		{"FORWARD", NF_INET_FORWARD},
		{"OUTPUT", NF_INET_LOCAL_OUT},
	};
	const char *type = nftnl_chain_get_str(c, NFTNL_CHAIN_TYPE);

	if (strcmp(nftnl_chain_get_str(c, NFTNL_CHAIN_TABLE), "filter") != 0 || !type ||
	    strcmp(type, "filter") != 0 || nftnl_chain_get_s32(c, NFTNL_CHAIN_PRIO) != 0)
		return false;
	for (size_t i = 0; i < sizeof(builtin) / sizeof(builtin[0]); i++)
		if (!strcmp(nftnl_chain_get_str(c, NFTNL_CHAIN_NAME), builtin[i].name))
			return nftnl_chain_get_u32(c, NFTNL_CHAIN_HOOKNUM) == builtin[i].hook;
	return false;
}

struct chain_search {
	const char *table, *const *chains;
	size_t n;
	bool others; /* only those that are at a hook, and not iptables' */
	bool found;
};

static bool is_looked_for(const struct chain_search *s, const struct nftnl_chain *c)
{
	if (strcmp(nftnl_chain_get_str(c, NFTNL_CHAIN_TABLE), s->table) != 0)
		return false;
	if (s->others && (!nftnl_chain_is_set(c, NFTNL_CHAIN_HOOKNUM) || is_iptables(c)))
		return false;
	for (size_t i = 0; i < s->n; i++)
		if (!strcmp(nftnl_chain_get_str(c, NFTNL_CHAIN_NAME), s->chains[i]))
			return true;
	return false;
}

static int chain_search(const struct nlmsghdr *nlh, void *arg)
{
	struct nftnl_chain *chain = nftnl_chain_alloc();
	struct chain_search *s = arg;

	if (chain && !nftnl_chain_nlmsg_parse(nlh, chain))
		s->found |= is_looked_for(s, chain);
	if (chain)
		nftnl_chain_free(chain);
	return MNL_CB_OK;
}

static bool search_chains(uint8_t family, struct chain_search *s)
{
	int ret = -EINTR;

	for (int i = 0; i < DUMP_TRIES && ret == -EINTR; i++)
		ret = dump_of(family, NFT_MSG_GETCHAIN, chain_search, s);
	return s->found;
}

bool lb_nft_has_chain(uint8_t family, const char *table, const char *const *chains, size_t n)
{
	return search_chains(family,
			     &(struct chain_search){.table = table, .chains = chains, .n = n});
}

bool lb_nft_filter_is_others(uint8_t family, const char *const *chains, size_t n)
{
	return search_chains(family,
			     &(struct chain_search){
				     .table = "filter", .chains = chains, .n = n, .others = true});
}

/* ---------------------------------------------------------------- chains of others that drop */

struct drops_search {
	uint32_t hook; /* NF_INET_* */
	struct lb_nft_drop *list;
	size_t n;
};

/* Does it see packets that are forwarded here? Not iptables-nft's, whose commands tell more. */
static bool is_others(const struct nftnl_chain *c)
{
	uint32_t family = nftnl_chain_get_u32(c, NFTNL_CHAIN_FAMILY);

	if (family == NFPROTO_INET)
		return true;
	return (family == NFPROTO_IPV4 || family == NFPROTO_IPV6) && !is_iptables(c);
}

static int drop_chain_read(const struct nlmsghdr *nlh, void *arg)
{
	struct nftnl_chain *c = nftnl_chain_alloc();
	struct drops_search *s = arg;
	int ret = MNL_CB_OK;
	struct lb_nft_drop *d;

	if (c && !nftnl_chain_nlmsg_parse(nlh, c) && nftnl_chain_is_set(c, NFTNL_CHAIN_HOOKNUM) &&
	    nftnl_chain_get_u32(c, NFTNL_CHAIN_HOOKNUM) == s->hook && is_others(c)) {
		d = lb_list_add((void **)&s->list, &s->n, sizeof(*d));
		if (d) {
			d->family = nftnl_chain_get_u32(c, NFTNL_CHAIN_FAMILY);
			snprintf(d->table, sizeof(d->table), "%s",
				 nftnl_chain_get_str(c, NFTNL_CHAIN_TABLE));
			snprintf(d->chain, sizeof(d->chain), "%s",
				 nftnl_chain_get_str(c, NFTNL_CHAIN_NAME));
			d->drops = nftnl_chain_get_u32(c, NFTNL_CHAIN_POLICY) == NF_DROP;
		}
		ret = d ? MNL_CB_OK : MNL_CB_ERROR;
	}
	if (c)
		nftnl_chain_free(c);
	return ret;
}

static struct lb_nft_drop *drop_find(struct drops_search *s, const struct nftnl_rule *r)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->list[i].family == nftnl_rule_get_u32(r, NFTNL_RULE_FAMILY) &&
		    !strcmp(s->list[i].table, nftnl_rule_get_str(r, NFTNL_RULE_TABLE)) &&
		    !strcmp(s->list[i].chain, nftnl_rule_get_str(r, NFTNL_RULE_CHAIN)))
			return &s->list[i];
	return NULL;
}

/* What a rule of others comes to: a condition, and a verdict. */
struct rule_look {
	bool conditions, dnat, drops, accepts;
};

static int rule_look(struct nftnl_expr *e, void *arg)
{
	const char *name = nftnl_expr_get_str(e, NFTNL_EXPR_NAME);
	struct rule_look *look = arg;

	if (!strcmp(name, "reject")) {
		look->drops = true;
	} else if (!strcmp(name, "immediate") && nftnl_expr_is_set(e, NFTNL_EXPR_IMM_VERDICT)) {
		look->drops = nftnl_expr_get_u32(e, NFTNL_EXPR_IMM_VERDICT) == NF_DROP;
		look->accepts = nftnl_expr_get_u32(e, NFTNL_EXPR_IMM_VERDICT) == NF_ACCEPT;
	} else if (strcmp(name, "counter") != 0 && strcmp(name, "log") != 0) {
		look->conditions = true;
		look->dnat |= !strcmp(name, "ct") &&
			      nftnl_expr_get_u32(e, NFTNL_EXPR_CT_KEY) == NFT_CT_STATUS;
	}
	return 0;
}

static int drop_rule_read(const struct nlmsghdr *nlh, void *arg)
{
	struct nftnl_rule *r = nftnl_rule_alloc();
	struct rule_look look = {};
	struct lb_nft_drop *d = NULL;

	if (r && !nftnl_rule_nlmsg_parse(nlh, r))
		d = drop_find(arg, r);
	if (d) {
		nftnl_expr_foreach(r, rule_look, &look);
		d->passes_dnat |= look.accepts && look.dnat;
		d->drops |= look.drops && !look.conditions;
	}
	if (r)
		nftnl_rule_free(r);
	return MNL_CB_OK;
}

int lb_nft_drops(uint32_t hook, struct lb_nft_drop **list, size_t *n)
{
	struct drops_search s = {.hook = hook};
	int ret = dump_of(NFPROTO_UNSPEC, NFT_MSG_GETCHAIN, drop_chain_read, &s);

	if (!ret && s.n)
		ret = dump_of(NFPROTO_UNSPEC, NFT_MSG_GETRULE, drop_rule_read, &s);
	*list = s.list;
	*n = 0;
	for (size_t i = 0; i < s.n && !ret; i++)
		if (s.list[i].drops)
			s.list[(*n)++] = s.list[i];
	return ret;
}
