// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ipvs.c - the ipvs datapath: its table of operations, the life of an instance, status and
 * counters.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipvs_internal.h"

/* ---------------------------------------------------------------- open and close */

static void dp_free(struct lb_dp *dp, bool removed)
{
	lb_lock_release(&dp->lock, removed);
	if (dp->ipvs_is_open)
		lb_ipvs_close(&dp->ipvs);
	lb_nft_table_fini(&dp->table);
	free(dp);
}

static void ipvs_close(struct lb_dp *dp)
{
	struct lb_err err;

	if (dp->fresh && (dp->has_table || dp->registered) && lb_ipvs_unmake(dp, false, &err))
		lb_warn("%s", err.text);
	dp_free(dp, dp->fresh);
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
	return lb_nft_table_init(&(*dp)->table, &lb_ipvs_kind, opt->instance, err);
}

static int lock(struct lb_dp *dp, struct lb_err *err)
{
	return lb_lock_take(&dp->lock, dp->table.instance, lb_dp_ipvs.name, err);
}

/* What is in the table, and IPVS. */
static int look_in(struct lb_dp *dp, struct lb_err *err)
{
	int ret = lb_nft_list(&dp->table, LB_NFT_MODEL, err);

	if (!ret) {
		dp->has_table = true;
		dp->number = lb_ipvs_number_read(&dp->table.state->elements, dp->table.instance);
		if (!lb_ipvs_record(dp->table.state, LB_IPVS_RECORD_NUMBER) &&
		    !lb_ipvs_is_registered(dp) && lb_nft_model_is_lost(&dp->table))
			return lb_err_set(
				err, ESTALE,
				"instance \"%s\": set \"model\" in table \"inet %s\" is empty, and "
				"the note in " LB_RUN_DIR
				" is gone: which virtual services are its own "
				"nobody knows: remove them (`ipvsadm`) and the table",
				dp->table.instance, dp->table.name);
		lb_nft_model_warn(&dp->table);
		ret = lb_ipvs_connect(&dp->ipvs, err);
		dp->ipvs_is_open = !ret;
	}
	return ret;
}

static bool is_half_made(const struct lb_dp *dp)
{
	return dp->has_table && lb_ipvs_record(dp->table.state, LB_IPVS_RECORD_NEW);
}

/* Without its table it is none, but what is left of it down() must be able to remove: its virtual
 * services, where somebody took the table away; the sysctls, where another datapath has it now. */
static int open_rest(struct lb_dp *dp, struct lb_err *err)
{
	if (!lb_ipvs_is_registered(dp))
		return -ENOENT;
	dp->ipvs_is_open = !lb_ipvs_connect(&dp->ipvs, err);
	return dp->ipvs_is_open ? 0 : -ENOENT;
}

/* The sysctls' note alone is no part that anybody left: it stays for the last `down`. */
static bool is_left(struct lb_dp *dp, struct lb_err *err)
{
	char rule[LB_IPVS_RULE_LEN];

	if (open_rest(dp, err))
		return false;
	const struct lb_firewall w = lb_ipvs_firewall(dp, rule);

	return lb_ipvs_has_services(dp) || lb_firewall_is_there(&w);
}

static int ipvs_dp_open(struct lb_dp **dp, const struct lb_dp_options *opt, struct lb_err *err)
{
	int ret = dp_make(dp, opt, err);
	bool rest = false;

	if (!ret && opt->write) /* not where there is nothing to write to */
		ret = lb_nft_table_is_there(&(*dp)->table) || lb_ipvs_is_registered(*dp)
			      ? lock(*dp, err)
			      : -ENOENT;
	if (!ret)
		ret = look_in(*dp, err);
	if (!ret && !is_half_made(*dp)) {
		(*dp)->state_is_new = true;
		return 0;
	}
	if (!ret || (ret == -ENOENT && opt->write && !open_rest(*dp, err)) ||
	    (ret == -ENOENT && opt->parts && is_left(*dp, err)))
		rest = true;
	if (rest || ret == -ENOENT)
		ret = lb_err_set(
			err, ENOENT,
			rest ? "instance \"%s\": only a part of it is there: `meshlb apply` "
			       "makes the rest, `meshlb down` removes it"
			     : "instance \"%s\": there is none: `meshlb apply` makes it",
			opt->instance);
	if (*dp && !rest) {
		dp_free(*dp, false);
		*dp = NULL;
	}
	return ret;
}

static int ipvs_dp_create(struct lb_dp **dp, const struct lb_dp_options *opt,
			  const struct lb_model *model, struct lb_err *err)
{
	int ret = dp_make(dp, opt, err);

	(void)model;
	if (!ret)
		ret = lock(*dp, err);
	if (!ret)
		ret = look_in(*dp, err);
	if (ret == -ENOENT) {
		(*dp)->fresh = true;
		ret = lb_ipvs_connect(&(*dp)->ipvs, err);
		(*dp)->ipvs_is_open = !ret;
	} else if (!ret) {
		(*dp)->fresh = is_half_made(*dp);
	}
	if (!ret)
		return 0;
	if (*dp)
		dp_free(*dp, (*dp)->fresh);
	*dp = NULL;
	return ret;
}

static void ipvs_await(const char *instance)
{
	lb_lock_wait(instance, lb_dp_ipvs.name);
}

static int ipvs_read(struct lb_dp *dp, struct lb_model *m, struct lb_err *err)
{
	int ret = dp->fresh || dp->state_is_new ? 0 : lb_nft_list(&dp->table, LB_NFT_MODEL, err);

	dp->state_is_new = false;
	if (ret)
		return ret;
	if (!dp->fresh)
		return lb_nft_model_read(&dp->table.state->elements, false, m, err);
	lb_model_init(m);
	m->limits_free = true;
	return 0;
}

static int ipvs_down(struct lb_dp *dp, bool moves, struct lb_err *err)
{
	int ret = lb_ipvs_unmake(dp, moves, err);

	dp_free(dp, ret >= 0);
	return ret;
}

static int ipvs_instances(lb_finding_fn fn, void *arg, struct lb_err *err)
{
	return lb_nft_tables(&lb_ipvs_kind, fn, arg, err);
}

/* ---------------------------------------------------------------- status and counters */

static int model_status(struct lb_dp *dp, const struct lb_model *m, struct lb_dp_status *s,
			struct lb_err *err)
{
	uint64_t used[LB_FAMILIES];
	int ret = lb_ipvs_conn_usage(dp, m, used, err);

	if (ret)
		return ret;
	s->connections4.used = used[LB_V4]; /* no limit but memory */
	s->connections6.used = used[LB_V6];
	lb_status_model(s, m);
	return lb_status_interfaces(s, m, "ipvs", dp->table.name, err);
}

static int ipvs_status(struct lb_dp *dp, struct lb_dp_status *s, struct lb_err *err)
{
	struct lb_model m;
	int ret = lb_nft_status(&dp->table, LB_NFT_MODEL, lb_dp_ipvs.name, s, &m, err);

	if (ret)
		return ret;
	ret = model_status(dp, &m, s, err);
	lb_model_free(&m);
	if (ret)
		lb_status_free(s);
	return ret;
}

static void stats_add(struct lb_counters *to, const struct lb_ipvs_stats *s)
{
	to->connections += s->connections;
	for (int i = 0; i < 2; i++) {
		to->packets[i] += s->packets[i];
		to->bytes[i] += s->bytes[i];
	}
}

/* Of a service at one of its marks. A backend that was removed counts for the service still. */
static int mark_stats(struct lb_dp *dp, const struct lb_service_conf *s, uint32_t mark,
		      enum lb_family family, struct lb_counters *sum, struct lb_counters *each)
{
	struct lb_ipvs_service v;
	struct lb_ipvs_dests dests;
	int ret = lb_ipvs_service_read(&dp->ipvs, mark, family, &v);

	if (ret)
		return ret == -ESRCH ? 0 : ret;
	stats_add(sum, &v.stats);
	ret = lb_ipvs_dests_read(&dp->ipvs, mark, family, &dests);
	for (size_t i = 0; !ret && i < dests.n; i++) {
		const struct lb_backend_conf *b = lb_service_find_backend(s, &dests.list[i].at);

		if (b)
			stats_add(&each[b - s->backends], &dests.list[i].stats);
	}
	lb_ipvs_dests_free(&dests);
	return ret;
}

static int ipvs_stats(struct lb_dp *dp, const struct lb_model *m, struct lb_dp_stats *s,
		      struct lb_err *err)
{
	struct lb_counters *each;
	int ret = lb_stats_make(s, m, err);

	if (ret)
		return ret;
	each = s->backends;
	for (size_t i = 0; i < m->n_services && !ret; each += m->services[i++].n_backends)
		for (int k = 0; k < 4 && !ret; k++)
			ret = mark_stats(dp, &m->services[i],
					 lb_ipvs_mark(dp, m->services[i].id ^ (k / 2)), k % 2,
					 &s->services[i], each);
	if (!ret)
		return 0;
	lb_stats_free(s);
	return lb_err_sys(err, -ret, "reading the counters of IPVS");
}

const struct lb_dp_ops lb_dp_ipvs = {
	.name = "ipvs",
	.sets_sysctls = true,
	.own_addresses = true,
	.resets_unknown = true,
	.forwardings = 1 << LB_FORWARDING_NAT | 1 << LB_FORWARDING_MASQ,
	.schedulers = (1 << LB_SCHEDULERS) - 1,
	.interface_why_not = lb_nft_interface_why_not,
	.scheduler_why_not = lb_ipvs_scheduler_why_not,
	.service_why_not = lb_ipvs_service_why_not,
	.portions = lb_ipvs_weights,
	.probe = lb_ipvs_probe,
	.probe_model = lb_ipvs_sysctls_probe,
	.capabilities = lb_ipvs_capabilities,
	.open = ipvs_dp_open,
	.create = ipvs_dp_create,
	.close = ipvs_close,
	.await = ipvs_await,
	.read = ipvs_read,
	.apply = lb_ipvs_apply,
	.audit = lb_ipvs_audit,
	.status = ipvs_status,
	.status_free = lb_status_free,
	.stats = ipvs_stats,
	.stats_free = lb_stats_free,
	.conn_list = lb_ipvs_conn_list,
	.conn_flush = lb_ipvs_conn_flush,
	.list = ipvs_instances,
	.down = ipvs_down,
};
