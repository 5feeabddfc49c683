// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * nft.c - the nft datapath: its table of operations, the life of an instance, status and counters.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/sysctl.h"
#include "conntrack.h"
#include "conntrack_walk.h"
#include "nft_internal.h"

/* ---------------------------------------------------------------- open and close */

static void nft_close(struct lb_dp *dp)
{
	const struct lb_firewall w = lb_nft_firewall(dp);
	struct lb_err err;

	if (dp->fresh && lb_firewall_remove(&w, &err)) /* what an apply that failed has put there */
		lb_warn("%s", err.text);
	lb_lock_release(&dp->lock, dp->fresh);
	lb_nft_table_fini(&dp->table);
	free(dp);
}

static int lock(struct lb_dp *dp, struct lb_err *err)
{
	return lb_lock_take(&dp->lock, dp->table.instance, lb_dp_nft.name, err);
}

static int dp_make(struct lb_dp **dp, const struct lb_dp_options *opt, struct lb_err *err)
{
	*dp = NULL;
	if (lb_instance_check(opt->instance, err))
		return -EINVAL;
	*dp = calloc(1, sizeof(**dp));
	if (!*dp) {
		lb_err_sys(err, ENOMEM, "opening instance \"%s\"", opt->instance);
		return -ENOMEM;
	}
	(*dp)->lock = LB_LOCK_NONE;
	return lb_nft_table_init(&(*dp)->table, &lb_nft_kind, opt->instance, err);
}

static int open_failed(struct lb_dp **dp, int ret)
{
	if (*dp)
		nft_close(*dp);
	*dp = NULL;
	return ret;
}

/* An apply or a down was killed between its chain in iptables and its table. */
static bool firewall_is_left(const struct lb_dp *dp)
{
	const struct lb_firewall w = lb_nft_firewall(dp);

	return lb_firewall_is_there(&w);
}

static int nft_dp_open(struct lb_dp **dp, const struct lb_dp_options *opt, struct lb_err *err)
{
	int ret = dp_make(dp, opt, err);

	if (!ret && opt->write) /* not where there is nothing to write to */
		ret = lb_nft_table_is_there(&(*dp)->table) || firewall_is_left(*dp) ? lock(*dp, err)
										    : -ENOENT;
	if (!ret)
		ret = lb_nft_list(&(*dp)->table, LB_NFT_MODEL, err);
	if (!ret) {
		lb_nft_model_warn(&(*dp)->table);
		(*dp)->state_is_new = true;
	}
	if (ret == -ENOENT)
		lb_err_set(err, ENOENT, "instance \"%s\": there is none: `meshlb apply` makes it",
			   opt->instance);
	if (ret == -ENOENT && *dp && ((*dp)->lock.fd >= 0 || opt->parts) && firewall_is_left(*dp)) {
		(*dp)->fresh = opt->write; /* a part of one: a writer's close() removes it, too */
		return ret;
	}
	return ret ? open_failed(dp, ret) : 0;
}

/* The table is made by the first apply, in the same transaction as all that is in it. */
static int nft_dp_create(struct lb_dp **dp, const struct lb_dp_options *opt,
			 const struct lb_model *model, struct lb_err *err)
{
	int ret = dp_make(dp, opt, err);

	(void)model;
	if (!ret)
		ret = lock(*dp, err);
	if (!ret)
		ret = lb_nft_list(&(*dp)->table, LB_NFT_MODEL, err);
	if (ret == -ENOENT) {
		(*dp)->fresh = true;
		ret = 0;
	}
	return ret ? open_failed(dp, ret) : 0;
}

static void nft_await(const char *instance)
{
	lb_lock_wait(instance, lb_dp_nft.name);
}

static int nft_read(struct lb_dp *dp, struct lb_model *m, struct lb_err *err)
{
	int ret = dp->fresh || dp->state_is_new ? 0 : lb_nft_list(&dp->table, LB_NFT_MODEL, err);

	dp->state_is_new = false;
	if (ret)
		return ret;
	if (!dp->fresh)
		return lb_nft_model_read(&dp->table.state->elements, false, m, err);
	lb_model_init(m);
	return 0;
}

/* `moves`: what stands lives on; not what removed backends have left. */
static int nft_down(struct lb_dp *dp, bool moves, struct lb_err *err)
{
	const struct lb_firewall w = lb_nft_firewall(dp);
	struct lb_model m = {}, gone = {};
	const struct lb_model none = {};
	char command[128];
	bool left = false;
	int ret = 0;

	if (!dp->fresh)
		ret = lb_nft_model_read(&dp->table.state->elements, false, &m, err);
	if (!ret && !dp->fresh)
		ret = lb_nft_model_read(&dp->table.state->elements, true, &gone, err);
	snprintf(command, sizeof(command), "delete table inet %s", dp->table.name);
	if (!ret && !dp->fresh)
		ret = lb_nft_run(&dp->table, command, command, err);
	if (!ret && gone.n_services)
		left = lb_nft_conn_forget(&gone, NULL, moves ? &m : &none, err);
	if (!ret && m.n_services && !moves)
		left |= lb_nft_conn_forget(&m, NULL, &none, err) != 0;
	lb_model_free(&gone);
	lb_model_free(&m);
	if (!ret)
		left |= lb_firewall_remove(&w, err) != 0;
	lb_lock_release(&dp->lock, !ret);
	dp->fresh = false;
	nft_close(dp);
	return ret ? ret : left;
}

/* ---------------------------------------------------------------- probe */

/* All rules that an instance may need. */
static void probe_text(struct lb_text *t, const char *table)
{
	struct lb_nft_class c = {.family = LB_V6, .size = 2};
	struct lb_nft_classes all = {.list = &c, .n = 1}, none = {};

	lb_nft_text_table(t, table);
	for (c.index = LB_NFT_INC; c.index < LB_NFT_INDEXES; c.index++) {
		lb_nft_text_sets(t, table, &c);
		lb_nft_text_rules(t, table, &none, &all);
	}
}

static int nft_probe(struct lb_err *err)
{
	int ret = lb_nft_probe(lb_dp_nft.name, probe_text, err);

	return ret ? ret : lb_conntrack_probe(lb_dp_nft.name, err);
}

static void nft_capabilities(lb_capability_fn fn, void *arg)
{
	struct lb_err err;
	int ret = lb_nft_probe(lb_dp_nft.name, probe_text, &err);

	fn(arg, "nftables with NAT, maps, numgen, jhash, fib", -ret, ret ? err.text : "");
	ret = lb_conntrack_probe(lb_dp_nft.name, &err);
	fn(arg, "conntrack by netlink (module nf_conntrack_netlink)", -ret, ret ? err.text : "");
}

/* ---------------------------------------------------------------- status and counters */

static int model_status(struct lb_dp *dp, const struct lb_model *m, struct lb_dp_status *s,
			struct lb_err *err)
{
	int max = lb_sysctl_get("net/netfilter/nf_conntrack_max");
	uint64_t used[LB_FAMILIES];
	int ret = lb_nft_conn_usage(m, used, err);

	if (ret)
		return ret;
	s->connections4 = (struct lb_usage){.used = used[LB_V4], .limit = max > 0 ? max : 0};
	s->connections6 = (struct lb_usage){.used = used[LB_V6], .limit = max > 0 ? max : 0};
	lb_status_model(s, m);
	for (size_t i = 0; i < dp->table.state->elements.n; i++) {
		const char *set = dp->table.state->elements.list[i].set;
		size_t len = strlen(set), end = strlen(LB_NFT_RING);

		s->ring_slots.used += len > end && !strcmp(set + len - end, LB_NFT_RING);
	}
	return lb_status_interfaces(s, m, "nftables", dp->table.name, err);
}

static int nft_status(struct lb_dp *dp, struct lb_dp_status *s, struct lb_err *err)
{
	struct lb_model m;
	int ret = lb_nft_status(&dp->table, LB_NFT_ALL, lb_dp_nft.name, s, &m, err);

	if (ret)
		return ret;
	ret = model_status(dp, &m, s, err);
	lb_model_free(&m);
	if (ret)
		lb_status_free(s);
	return ret;
}

static void counters_add(const struct lb_nft_elements *all, const struct lb_listen *l,
			 const struct lb_endpoint *b, struct lb_counters *sum)
{
	char set[32], key[192];

	lb_nft_count_key(key, l, b);
	for (int what = 0; what < LB_NFT_COUNTS; what++) {
		const struct lb_nft_element *e = lb_nft_element_find(
			all, lb_nft_count_set(set, what, b->family, l->any), key);

		if (!e)
			continue;
		if (what == LB_NFT_CONN) {
			sum->connections += e->packets;
		} else {
			sum->packets[what] += e->packets;
			sum->bytes[what] += e->bytes;
		}
	}
}

static void service_stats(const struct lb_nft_elements *all, const struct lb_service_conf *s,
			  struct lb_counters *sum, struct lb_counters *each)
{
	for (size_t b = 0; b < s->n_backends; b++) {
		for (size_t l = 0; l < s->n_listens; l++)
			if (lb_listen_in(&s->listens[l], s->backends[b].at.family))
				counters_add(all, &s->listens[l], &s->backends[b].at, &each[b]);
		sum->connections += each[b].connections;
		for (int d = 0; d < 2; d++) {
			sum->packets[d] += each[b].packets[d];
			sum->bytes[d] += each[b].bytes[d];
		}
	}
}

static int nft_stats(struct lb_dp *dp, const struct lb_model *m, struct lb_dp_stats *s,
		     struct lb_err *err)
{
	struct lb_counters *each;
	int ret = lb_nft_list(&dp->table, LB_NFT_ALL, err);

	*s = (struct lb_dp_stats){};
	if (!ret)
		ret = lb_stats_make(s, m, err);
	if (ret)
		return ret;
	each = s->backends;
	for (size_t i = 0; i < m->n_services; each += m->services[i++].n_backends)
		service_stats(&dp->table.state->elements, &m->services[i], &s->services[i], each);
	return 0;
}

static int nft_instances(lb_finding_fn fn, void *arg, struct lb_err *err)
{
	return lb_nft_tables(&lb_nft_kind, fn, arg, err);
}

const struct lb_dp_ops lb_dp_nft = {
	.name = "nft",
	.forwardings = 1 << LB_FORWARDING_NAT | 1 << LB_FORWARDING_MASQ,
	.schedulers = 1 << LB_SCHED_RR | 1 << LB_SCHED_WRR | 1 << LB_SCHED_RANDOM |
		      1 << LB_SCHED_SH | 1 << LB_SCHED_MAGLEV,
	.interface_why_not = lb_nft_interface_why_not,
	.service_why_not = lb_nft_service_why_not,
	.portions = lb_nft_portions,
	.probe = nft_probe,
	.capabilities = nft_capabilities,
	.open = nft_dp_open,
	.create = nft_dp_create,
	.close = nft_close,
	.await = nft_await,
	.read = nft_read,
	.apply = lb_nft_apply,
	.audit = lb_nft_audit,
	.status = nft_status,
	.status_free = lb_status_free,
	.stats = nft_stats,
	.stats_free = lb_stats_free,
	.conn_list = lb_nft_conn_list,
	.conn_flush = lb_nft_conn_flush,
	.list = nft_instances,
	.down = nft_down,
};
