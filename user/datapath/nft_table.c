// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * nft_table.c - commands run by libnftables, as one transaction; and a table as it is, by netlink
 * (libnftnl): names of sets, chains, rules.
 */
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
#include <unistd.h>

#include "core/list.h"
#include "net/nl.h"
#include "nft_table.h"

int lb_nft_table_init(struct lb_nft_table *t, const struct lb_nft_kind *kind, const char *instance,
		      struct lb_err *err)
{
	*t = (struct lb_nft_table){.kind = kind, .nft = nft_ctx_new(NFT_CTX_DEFAULT)};
	if (!t->nft)
		return lb_err_sys(err, ENOMEM, "opening nftables");
	nft_ctx_buffer_output(t->nft);
	nft_ctx_buffer_error(t->nft);
	snprintf(t->instance, sizeof(t->instance), "%s", instance);
	snprintf(t->name, sizeof(t->name), "%s%s", kind->prefix, t->instance);
	return 0;
}

void lb_nft_table_fini(struct lb_nft_table *t)
{
	lb_nft_state_free(t->state);
	t->state = NULL;
	if (t->nft)
		nft_ctx_free(t->nft);
	t->nft = NULL;
}

/* Of what nft says the first line tells what, the lines below show where. */
static int nft_failed(struct nft_ctx *nft, const char *doing, struct lb_err *err)
{
	const char *text = nft_ctx_get_error_buffer(nft);
	const char *what = text ? strstr(text, "Error: ") : NULL;

	lb_debug("%s", text ? text : "");
	what = what ? what + strlen("Error: ") : "nft gives no reason";
	return lb_err_set(err, EIO, "%s: nftables: %.*s", doing, (int)strcspn(what, "\n"), what);
}

int lb_nft_run(struct lb_nft_table *t, const char *commands, const char *doing, struct lb_err *err)
{
	return nft_run_cmd_from_buffer(t->nft, commands) ? nft_failed(t->nft, doing, err) : 0;
}

int lb_nft_status(struct lb_nft_table *t, enum lb_nft_part part, const char *datapath,
		  struct lb_dp_status *s, struct lb_model *m, struct lb_err *err)
{
	int ret = lb_nft_list(t, part, err);

	*s = (struct lb_dp_status){
		.datapath = datapath, .build_current = true, .generation = lb_nft_generation()};
	snprintf(s->instance, sizeof(s->instance), "%s", t->instance);
	return ret ? ret : lb_nft_model_read(&t->state->elements, false, m, err);
}

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

static int is_ours(const struct lb_nft_table *t, const struct lb_nft_state *s, struct lb_err *err)
{
	const struct lb_nft_element *e =
		lb_nft_element_find(&s->elements, LB_NFT_SET_MODEL, LB_NFT_KEY_MAGIC);
	const char *magic = t->kind->magic;
	size_t version = strrchr(magic, ' ') + 1 - magic;

	if (e && !strcmp(e->value, magic))
		return 0;
	if (e && !strncmp(e->value, magic, version))
		return lb_err_set(
			err, ESTALE,
			"instance \"%s\": its table has the layout \"%s\", this meshlb "
			"makes \"%s\": run `nft delete table inet %s`, then `meshlb apply`",
			t->instance, e->value, magic, t->name);
	return lb_err_set(err, EEXIST,
			  "instance \"%s\": there is a table \"inet %s\" that meshlb has not made: "
			  "remove it (`nft delete table inet %s`), or use another --instance",
			  t->instance, t->name, t->name);
}

struct search {
	const char *instance;
	bool found;
};

static void search_one(void *arg, const char *instance)
{
	struct search *s = arg;

	s->found |= !strcmp(s->instance, instance);
}

static int frame_list(struct lb_nft_table *t, struct lb_err *err)
{
	int ret = -EINTR;

	for (int i = 0; i < DUMP_TRIES && ret == -EINTR; i++) {
		struct reading r = {.table = t->name};

		lb_nft_state_free(t->state);
		t->state = r.state = calloc(1, sizeof(*t->state));
		ret = t->state ? frame_read(&r) : -ENOMEM;
	}
	return ret ? lb_err_sys(err, -ret, "listing table \"inet %s\"", t->name) : 0;
}

int lb_nft_frame(struct lb_nft_table *t, struct lb_err *err)
{
	struct lb_nft_elements model = {};
	int ret;

	if (!t->state || !t->state->elements.n)
		return lb_nft_list(t, LB_NFT_FRAME, err);
	model = t->state->elements;
	t->state->elements = (struct lb_nft_elements){};
	ret = frame_list(t, err);
	if (t->state)
		t->state->elements = model;
	else
		lb_nft_elements_free(&model);
	return ret;
}

bool lb_nft_table_is_there(const struct lb_nft_table *t)
{
	struct search s = {.instance = t->instance};
	struct lb_err ignored;

	return lb_nft_tables(t->kind, search_one, &s, &ignored) || s.found;
}

static int elements_list(struct lb_nft_table *t, enum lb_nft_part part, struct lb_err *err)
{
	struct lb_nft_state *s = t->state;
	int ret = 0;

	if (part != LB_NFT_ALL)
		return lb_nft_set_read(t, LB_NFT_SET_MODEL, &s->elements, err);
	for (size_t i = 0; i < s->n_sets && !ret; i++)
		ret = lb_nft_set_read(t, s->sets[i], &s->elements, err);
	return ret;
}

int lb_nft_list(struct lb_nft_table *t, enum lb_nft_part part, struct lb_err *err)
{
	int ret = 0;

	/* Once more where it has been made or removed while we looked. */
	for (int i = 0; i < 3; i++) {
		if (part != LB_NFT_MODEL) {
			ret = frame_list(t, err);
		} else {
			lb_nft_state_free(t->state);
			t->state = calloc(1, sizeof(*t->state));
			ret = t->state ? 0 : lb_err_sys(err, ENOMEM, "listing the table");
		}
		if (!ret)
			ret = elements_list(t, part, err);
		if (ret && ret != -ENOENT)
			return ret;
		if (!ret && t->state->elements.n)
			break;
		if (!lb_nft_table_is_there(t))
			return lb_err_set(err, ENOENT, "table \"inet %s\": there is none", t->name);
	}
	lb_nft_elements_sort(&t->state->elements);
	return is_ours(t, t->state, err); /* without the set `model` it is another's */
}

static int generation_read(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *attr;

	mnl_attr_for_each(attr, nlh,
			  sizeof(struct nfgenmsg)) if (mnl_attr_get_type(attr) == NFTA_GEN_ID) *
		(uint32_t *)arg = ntohl(mnl_attr_get_u32(attr));
	return MNL_CB_OK;
}

uint32_t lb_nft_generation(void)
{
	struct nlmsghdr *req;
	uint32_t id = 0;
	char buf[128];
	struct lb_nl nl;

	if (lb_nl_open(&nl, NETLINK_NETFILTER))
		return 0;
	req = nftnl_nlmsg_build_hdr(buf, NFT_MSG_GETGEN, AF_UNSPEC, 0, 0);
	lb_nl_request(&nl, req, generation_read, &id);
	lb_nl_close(&nl);
	return id;
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

struct chain_search {
	const char *table, *chain;
	bool found;
};

static int chain_search(const struct nlmsghdr *nlh, void *arg)
{
	struct nftnl_chain *chain = nftnl_chain_alloc();
	struct chain_search *s = arg;

	if (chain && !nftnl_chain_nlmsg_parse(nlh, chain))
		s->found |= !strcmp(nftnl_chain_get_str(chain, NFTNL_CHAIN_TABLE), s->table) &&
			    !strcmp(nftnl_chain_get_str(chain, NFTNL_CHAIN_NAME), s->chain);
	if (chain)
		nftnl_chain_free(chain);
	return MNL_CB_OK;
}

bool lb_nft_has_chain(uint8_t family, const char *table, const char *chain)
{
	struct chain_search s = {.table = table, .chain = chain};
	int ret = -EINTR;

	for (int i = 0; i < DUMP_TRIES && ret == -EINTR; i++)
		ret = dump_of(family, NFT_MSG_GETCHAIN, chain_search, &s);
	return s.found;
}

/* ---------------------------------------------------------------- probe */

static const struct lb_nft_kind probe_kind = {.prefix = "meshlb-"}; /* no instance's */

int lb_nft_probe(const char *datapath, void (*fn)(struct lb_text *t, const char *table),
		 struct lb_err *err)
{
	struct lb_nft_table table;
	struct lb_text t = {};
	char instance[32], doing[32];
	int ret;

	snprintf(doing, sizeof(doing), "datapath \"%s\"", datapath);
	snprintf(instance, sizeof(instance), "probe-%d", getpid());
	/* nfnetlink's answer about a part of it that it does not have. */
	if (lb_nft_tables(&probe_kind, NULL, NULL, err) == -EINVAL)
		return lb_err_set(
			err, EOPNOTSUPP,
			"%s: this kernel has no nftables, nor is there a module nf_tables that "
			"can be loaded",
			doing);
	ret = lb_nft_table_init(&table, &probe_kind, instance, err);
	if (ret)
		return ret;
	fn(&t, table.name);
	lb_text_add(&t, "delete table inet %s\n", table.name);
	ret = t.no_memory ? lb_err_sys(err, ENOMEM, "%s", doing)
			  : lb_nft_run(&table, t.s, doing, err);
	free(t.s);
	lb_nft_table_fini(&table);
	return ret;
}
