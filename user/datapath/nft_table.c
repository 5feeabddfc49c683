// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * nft_table.c - a table that holds an instance: commands run by libnftables, each a transaction,
 * and what was read of it.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nft_table.h"

int lb_nft_table_init(struct lb_nft_table *t, const struct lb_nft_kind *kind, const char *instance,
		      struct lb_err *err)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);

	*t = (struct lb_nft_table){.kind = kind};
	/* libnftables ends the process where it cannot have one. */
	if (fd < 0)
		return lb_err_sys(err, errno, "opening nftables (netlink)");
	close(fd);
	t->nft = nft_ctx_new(NFT_CTX_DEFAULT);
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

/* LB_NFT_MODEL_TYPE in the numbers that nft gives to types: of a mark, six bits for each of two. */
#define TYPE_MARK      19
#define MODEL_KEY_TYPE (TYPE_MARK << 6 | TYPE_MARK)

/* Somebody has emptied `model`: sets and chains still tell whose it is. */
static bool has_our_frame(const struct lb_nft_table *t)
{
	struct lb_nft_state *s = NULL;
	bool has = !lb_nft_state_read(t->name, &s) && s->model_key == MODEL_KEY_TYPE &&
		   lb_nft_state_has_set(s, LB_NFT_SET_INTERFACES) &&
		   lb_nft_chain_find(s, "prerouting") && lb_nft_chain_find(s, "forward");

	lb_nft_state_free(s);
	return has;
}

bool lb_nft_model_is_lost(const struct lb_nft_table *t)
{
	for (size_t i = 0; i < t->state->elements.n; i++)
		if (!strcmp(t->state->elements.list[i].set, LB_NFT_SET_MODEL))
			return false;
	return true;
}

void lb_nft_model_warn(const struct lb_nft_table *t)
{
	if (lb_nft_model_is_lost(t))
		lb_warn("instance \"%s\": " LB_NFT_MODEL_LOST
			" in table \"inet %s\": what it serves, "
			"and weights set by hand, nobody knows: `meshlb apply` makes it anew from "
			"the config",
			t->instance, t->name);
}

static int is_ours(const struct lb_nft_table *t, const struct lb_nft_state *s, struct lb_err *err)
{
	const struct lb_nft_element *e =
		lb_nft_element_find(&s->elements, LB_NFT_SET_MODEL, LB_NFT_KEY_MAGIC);
	const char *magic = t->kind->magic;
	size_t version = strrchr(magic, ' ') + 1 - magic;

	if (e && !strcmp(e->value, magic))
		return 0;
	if (e && !strncmp(e->value, magic, version) &&
	    strtoul(e->value + version, NULL, 10) >= t->kind->oldest &&
	    strtoul(e->value + version, NULL, 10) < strtoul(magic + version, NULL, 10))
		return 0;
	if (e && !strncmp(e->value, magic, version))
		return lb_err_set(
			err, ESTALE,
			"instance \"%s\": its table has the layout \"%s\", this meshlb "
			"makes \"%s\": run `nft delete table inet %s`, then `meshlb apply`",
			t->instance, e->value, magic, t->name);
	if (!e && has_our_frame(t))
		return 0;
	return lb_err_set(err, EEXIST,
			  "instance \"%s\": there is a table \"inet %s\" that meshlb has not made: "
			  "remove it (`nft delete table inet %s`), or use another --instance",
			  t->instance, t->name, t->name);
}

static int frame_list(struct lb_nft_table *t, struct lb_err *err)
{
	int ret = lb_nft_state_read(t->name, &t->state);

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

/* nfnetlink's answer about a part of it that it does not have. */
static bool is_missing(int ret)
{
	return ret == -EINVAL;
}

/* Also where it cannot be told. */
bool lb_nft_table_is_there(const struct lb_nft_table *t)
{
	struct lb_name_search s = {.name = t->instance};
	struct lb_err ignored;
	int ret = lb_nft_tables(t->kind, lb_name_search, &s, &ignored);

	return s.found || (ret && !is_missing(ret));
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
		if (ret && ret != -ENOENT && !is_missing(ret))
			return ret;
		if (!ret && t->state && t->state->elements.n)
			break;
		if (!lb_nft_table_is_there(t))
			return lb_err_set(err, ENOENT, "table \"inet %s\": there is none", t->name);
	}
	if (is_missing(ret))
		return ret;
	lb_nft_elements_sort(&t->state->elements);
	return is_ours(t, t->state, err); /* without the set `model` it is another's */
}

/* ---------------------------------------------------------------- probe */

static const struct lb_nft_kind probe_kind = {.prefix = "meshlb-"}; /* no instance's */

int lb_nft_probe(const char *datapath, void (*fn)(struct lb_text *t, const char *table),
		 struct lb_err *err)
{
	struct lb_nft_table table;
	struct lb_text t = {};
	char instance[32], doing[32];
	int ret = lb_nft_permitted(datapath, err);

	if (ret)
		return ret;
	snprintf(doing, sizeof(doing), "datapath \"%s\"", datapath);
	snprintf(instance, sizeof(instance), "probe-%d", getpid());
	if (is_missing(lb_nft_tables(&probe_kind, NULL, NULL, err)))
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
