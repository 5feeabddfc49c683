// SPDX-License-Identifier: GPL-2.0-or-later
/* nft_list.c - libnftables: commands run as one transaction, and a table listed, from JSON. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nft_internal.h"

/* Of what nft says the first line tells what, the lines below show where. */
static int nft_failed(struct nft_ctx *nft, const char *doing, struct lb_err *err)
{
	const char *text = nft_ctx_get_error_buffer(nft);
	const char *what = text ? strstr(text, "Error: ") : NULL;

	lb_debug("%s", text ? text : "");
	what = what ? what + strlen("Error: ") : "nft gives no reason";
	return lb_err_set(err, strstr(what, "No such file") ? ENOENT : EIO, "%s: nftables: %.*s",
			  doing, (int)strcspn(what, "\n"), what);
}

int lb_nft_run(struct lb_dp *dp, const char *commands, const char *doing, struct lb_err *err)
{
	nft_ctx_output_set_flags(dp->nft, 0);
	if (!nft_run_cmd_from_buffer(dp->nft, commands))
		return 0;
	nft_failed(dp->nft, doing, err);
	return -EIO;
}

static int list_json(struct nft_ctx *nft, const char *command, json_t **out, struct lb_err *err)
{
	json_error_t why;
	int ret;

	nft_ctx_output_set_flags(nft, NFT_CTX_OUTPUT_JSON | NFT_CTX_OUTPUT_NUMERIC_PRIO);
	if (nft_run_cmd_from_buffer(nft, command)) {
		ret = nft_failed(nft, command, err);
		return ret;
	}
	*out = json_loads(nft_ctx_get_output_buffer(nft), 0, &why);
	if (!*out)
		return lb_err_set(err, EPROTO, "%s: nftables: its JSON: %s", command, why.text);
	return 0;
}

/* ---------------------------------------------------------------- JSON to elements */

static void word_add(struct lb_text *t, const json_t *v)
{
	const json_t *part;
	size_t i;

	if (json_is_string(v)) {
		lb_text_add(t, "%s", json_string_value(v));
	} else if (json_is_integer(v)) {
		lb_text_add(t, "%lld", (long long)json_integer_value(v));
	} else if (json_is_array(json_object_get(v, "concat"))) {
		json_array_foreach(json_object_get(v, "concat"), i, part)
		{
			if (i)
				lb_text_add(t, " . ");
			word_add(t, part);
		}
	} else {
		lb_text_add(t, "?");
	}
}

static void element_read(struct lb_nft_elements *all, const char *set, const json_t *v)
{
	const json_t *data = NULL, *outer = v, *inner, *counter;
	struct lb_text key = {}, value = {};

	if (json_is_array(v)) { /* of a map: key and data */
		outer = json_array_get(v, 0);
		data = json_array_get(v, 1);
	}
	inner = json_object_get(outer, "elem");
	word_add(&key, inner ? json_object_get(inner, "val") : outer);
	if (data)
		word_add(&value, data);
	else if (inner && json_object_get(inner, "comment"))
		word_add(&value, json_object_get(inner, "comment"));
	counter = json_object_get(inner, "counter");
	lb_nft_element_add(all, set, key.s ? key.s : "", value.s ? value.s : "");
	if (counter && !all->no_memory) {
		struct lb_nft_element *e = &all->list[all->n - 1];

		e->packets = json_integer_value(json_object_get(counter, "packets"));
		e->bytes = json_integer_value(json_object_get(counter, "bytes"));
	}
	all->no_memory |= key.no_memory || value.no_memory;
	free(key.s);
	free(value.s);
}

/* ---------------------------------------------------------------- JSON to a state */

static const char *text_of(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text ? text : "";
}

/* Room for one more; NULL without memory. */
static void *grow(void **list, size_t *n, size_t size)
{
	void *bigger = realloc(*list, (*n + 1) * size);

	if (!bigger)
		return NULL;
	*list = bigger;
	return memset((char *)bigger + size * (*n)++, 0, size);
}

static bool set_read(struct lb_nft_state *s, const json_t *o)
{
	char **name = grow((void **)&s->sets, &s->n_sets, sizeof(*name));
	const json_t *v;
	size_t i;

	if (!name)
		return false;
	*name = strdup(text_of(o, "name"));
	json_array_foreach(json_object_get(o, "elem"), i, v)
		element_read(&s->elements, text_of(o, "name"), v);
	return *name && !s->elements.no_memory;
}

static bool chain_read(struct lb_nft_state *s, const json_t *o)
{
	struct lb_nft_chain *c = grow((void **)&s->chains, &s->n_chains, sizeof(*c));

	if (!c)
		return false;
	c->name = strdup(text_of(o, "name"));
	c->hook = strdup(text_of(o, "hook"));
	c->type = strdup(text_of(o, "type"));
	c->priority = json_integer_value(json_object_get(o, "prio"));
	return c->name && c->hook && c->type;
}

static bool rule_read(struct lb_nft_state *s, const json_t *o)
{
	struct lb_nft_rule *r = grow((void **)&s->rules, &s->n_rules, sizeof(*r));

	if (!r)
		return false;
	r->chain = strdup(text_of(o, "chain"));
	r->comment = strdup(text_of(o, "comment"));
	r->expr = json_dumps(json_object_get(o, "expr"), JSON_COMPACT);
	return r->chain && r->comment && r->expr;
}

static int state_read(struct lb_nft_state *s, const json_t *root)
{
	const json_t *one, *o;
	bool ok = true;
	size_t i;

	json_array_foreach(json_object_get(root, "nftables"), i, one)
	{
		if ((o = json_object_get(one, "set")) || (o = json_object_get(one, "map")))
			ok = ok && set_read(s, o);
		else if ((o = json_object_get(one, "chain")))
			ok = ok && chain_read(s, o);
		else if ((o = json_object_get(one, "rule")))
			ok = ok && rule_read(s, o);
	}
	lb_nft_elements_sort(&s->elements);
	return ok ? 0 : -ENOMEM;
}

static int is_ours(const struct lb_dp *dp, const struct lb_nft_state *s, struct lb_err *err)
{
	const struct lb_nft_element *e =
		lb_nft_element_find(&s->elements, LB_NFT_SET_MODEL, "0 . 0");

	if (e && !strcmp(e->value, LB_NFT_MAGIC))
		return 0;
	if (e && !strncmp(e->value, "meshlb nft ", 11))
		return lb_err_set(err, ESTALE,
				  "instance \"%s\": its table has the layout \"%s\", this meshlb "
				  "makes \"" LB_NFT_MAGIC
				  "\": run `nft delete table inet %s`, then "
				  "`meshlb apply`",
				  dp->instance, e->value, dp->table);
	return lb_err_set(err, EEXIST,
			  "instance \"%s\": there is a table \"inet %s\" that meshlb has not made: "
			  "remove it (`nft delete table inet %s`), or use another --instance",
			  dp->instance, dp->table, dp->table);
}

static int list(struct lb_dp *dp, const char *what, struct lb_err *err)
{
	char command[128];
	json_t *root;
	int ret;

	lb_nft_state_free(dp->state);
	dp->state = calloc(1, sizeof(*dp->state));
	if (!dp->state)
		return lb_err_sys(err, ENOMEM, "listing the table");
	snprintf(command, sizeof(command), what, dp->table);
	ret = list_json(dp->nft, command, &root, err);
	if (ret)
		return ret;
	ret = state_read(dp->state, root);
	json_decref(root);
	return ret ? lb_err_sys(err, -ret, "%s", command) : is_ours(dp, dp->state, err);
}

int lb_nft_list(struct lb_dp *dp, bool model_only, struct lb_err *err)
{
	int ret = -ENOENT;

	if (model_only)
		ret = list(dp, "list set inet %s " LB_NFT_SET_MODEL, err);
	/* Without that set it may be another's table. */
	return ret == -ENOENT ? list(dp, "list table inet %s", err) : ret;
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
		free(s->chains[i].hook);
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

int lb_nft_tables(void (*fn)(void *arg, const char *instance), void *arg, struct lb_err *err)
{
	struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
	const json_t *one;
	json_t *root;
	size_t i;
	int ret;

	if (!nft)
		return lb_err_sys(err, ENOMEM, "opening nftables");
	nft_ctx_buffer_output(nft);
	nft_ctx_buffer_error(nft);
	ret = list_json(nft, "list tables", &root, err);
	if (!ret) {
		json_array_foreach(json_object_get(root, "nftables"), i, one)
		{
			const json_t *table = json_object_get(one, "table");

			if (!strcmp(text_of(table, "family"), "inet") &&
			    !strncmp(text_of(table, "name"), LB_NFT_PREFIX, strlen(LB_NFT_PREFIX)))
				fn(arg, text_of(table, "name") + strlen(LB_NFT_PREFIX));
		}
		json_decref(root);
	}
	nft_ctx_free(nft);
	return ret;
}
