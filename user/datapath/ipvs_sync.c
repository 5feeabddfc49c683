// SPDX-License-Identifier: GPL-2.0-or-later
/* ipvs_sync.c - virtual services of IPVS made as the model says, and compared with it. */
#include <errno.h>
#include <linux/ip_vs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/ring.h"
#include "ipvs_internal.h"

static const struct {
	const char *name;
	uint32_t flags;
} schedulers[LB_SCHEDULERS] = {
	[LB_SCHED_RR] = {"rr", 0},
	[LB_SCHED_WRR] = {"wrr", 0},
	[LB_SCHED_RANDOM] = {"wrr", 0}, /* it has none by chance; the shares are the same */
	[LB_SCHED_SH] = {"sh", IP_VS_SVC_F_SCHED_SH_FALLBACK}, /* or a drained one's clients wait */
	/* By address and port; also mh would let a drained one's clients wait. */
	[LB_SCHED_MAGLEV] = {"mh", IP_VS_SVC_F_SCHED1 | IP_VS_SVC_F_SCHED2},
	[LB_SCHED_LC] = {"lc", 0},
	[LB_SCHED_WLC] = {"wlc", 0},
};

const char *lb_ipvs_scheduler(const struct lb_service_conf *s, uint32_t *flags)
{
	*flags = schedulers[s->scheduler].flags;
	return schedulers[s->scheduler].name;
}

static struct lb_ipvs_service service_of(const struct lb_dp *dp, const struct lb_service_conf *s,
					 uint32_t id, enum lb_family family)
{
	struct lb_ipvs_service v = {.mark = lb_ipvs_mark(dp, id), .family = family};

	snprintf(v.scheduler, sizeof(v.scheduler), "%s", lb_ipvs_scheduler(s, &v.flags));
	return v;
}

static struct lb_ipvs_dest dest_of(const struct lb_backend_conf *b, uint32_t weight)
{
	return (struct lb_ipvs_dest){.at = b->at, .method = IP_VS_CONN_F_MASQ, .weight = weight};
}

/* sh gives each destination as many buckets as its weight says, in turn, until none of them is left
 * (kernel: IP_VS_SH_TAB_SIZE). */
#define SH_BUCKETS 256

static int sh_weights(const struct lb_service_conf *s, enum lb_family family, uint32_t *weights)
{
	size_t n, weighted = 0, total = 0;
	struct lb_ring_member *members = lb_ring_members(s, family, &n);
	uint32_t *quotas = calloc(n + 1, sizeof(*quotas)), *quota = quotas;
	int ret = members && quotas ? 0 : -ENOMEM;

	for (size_t i = 0; i < n && !ret; i++) {
		weighted += members[i].weight > 0;
		total += members[i].weight;
	}
	if (weighted > SH_BUCKETS)
		ret = -E2BIG;
	if (!ret && total > SH_BUCKETS) {
		ret = lb_ring_quotas(members, n, SH_BUCKETS, quotas);
		for (size_t i = 0; i < s->n_backends && !ret; i++)
			if (s->backends[i].at.family == family)
				weights[i] = *quota++;
	}
	free(members);
	free(quotas);
	return ret;
}

int lb_ipvs_weights(const struct lb_service_conf *s, enum lb_family family, uint32_t *weights)
{
	for (size_t i = 0; i < s->n_backends; i++)
		weights[i] = lb_backend_weight(&s->backends[i]);
	return s->scheduler == LB_SCHED_SH ? sh_weights(s, family, weights) : 0;
}

/* The same, in an array of its own, to be freed. */
static int weights_of(const struct lb_service_conf *s, enum lb_family family, uint32_t **weights)
{
	*weights = calloc(s->n_backends + 1, sizeof(**weights));
	return *weights ? lb_ipvs_weights(s, family, *weights) : -ENOMEM;
}

const char *lb_ipvs_service_why_not(const struct lb_service_conf *s)
{
	int ret = 0;

	for (int family = 0; family < LB_FAMILIES && s->n_backends > SH_BUCKETS && !ret; family++) {
		uint32_t *weights;

		ret = weights_of(s, family, &weights);
		free(weights);
	}
	return ret == -E2BIG ? "has room for 256 backends of scheduler sh: use maglev" : NULL;
}

const char *lb_ipvs_scheduler_why_not(unsigned int scheduler)
{
	return lb_ipvs_lacks_scheduler(schedulers[scheduler].name);
}

static bool same_service(const struct lb_ipvs_service *a, const struct lb_ipvs_service *b)
{
	return !strcmp(a->scheduler, b->scheduler) && a->flags == b->flags &&
	       a->timeout == b->timeout;
}

static bool same_dest(const struct lb_ipvs_dest *a, const struct lb_ipvs_dest *b)
{
	return a->method == b->method && a->weight == b->weight && a->upper == b->upper &&
	       a->lower == b->lower;
}

static const char *where(char buf[64], uint32_t mark, enum lb_family family)
{
	snprintf(buf, 64, "firewall mark %u, IPv%d", mark, family == LB_V4 ? 4 : 6);
	return buf;
}

static int failed(struct lb_err *err, int ret, const char *doing, const struct lb_service_conf *s,
		  const struct lb_ipvs_service *v)
{
	char buf[64];

	return lb_err_sys(err, -ret, "service \"%s\": %s (IPVS, %s, scheduler %s)", s->name, doing,
			  where(buf, v->mark, v->family), v->scheduler);
}

/* ---------------------------------------------------------------- made */

static int service_put(struct lb_dp *dp, const struct lb_service_conf *s,
		       const struct lb_ipvs_service *v, struct lb_err *err)
{
	struct lb_ipvs_service is;
	int ret = lb_ipvs_service_read(&dp->ipvs, v->mark, v->family, &is);

	if (ret == -ESRCH)
		ret = lb_ipvs_service_add(&dp->ipvs, v);
	else if (!ret && !same_service(&is, v))
		ret = lb_ipvs_service_set(&dp->ipvs, v);
	return ret ? failed(err, ret, "making its virtual service", s, v) : 0;
}

static int dests_put(struct lb_dp *dp, const struct lb_service_conf *s, uint32_t mark,
		     enum lb_family family, const struct lb_ipvs_dests *is)
{
	uint32_t *weights;
	int ret = weights_of(s, family, &weights);

	for (size_t i = 0; i < s->n_backends && !ret; i++) {
		const struct lb_ipvs_dest d = dest_of(&s->backends[i], weights[i]);
		const struct lb_ipvs_dest *there = lb_ipvs_dest_find(is, &d.at);

		if (d.at.family != family)
			continue;
		if (!there)
			ret = lb_ipvs_dest_add(&dp->ipvs, mark, &d);
		else if (!same_dest(there, &d))
			ret = lb_ipvs_dest_set(&dp->ipvs, mark, &d);
	}
	free(weights);
	return ret;
}

/* With `remove` connections end, and their next packet is answered as nobody's. */
static int dests_take(struct lb_dp *dp, const struct lb_service_conf *s, uint32_t mark,
		      const struct lb_ipvs_dests *is, bool remove)
{
	int ret = 0;

	for (size_t i = 0; i < is->n && !ret; i++) {
		struct lb_ipvs_dest d = is->list[i];

		if (lb_service_find_backend(s, &d.at))
			continue;
		if (remove)
			ret = lb_ipvs_dest_remove(&dp->ipvs, mark, &d);
		else if (d.weight) {
			d.weight = 0;
			ret = lb_ipvs_dest_set(&dp->ipvs, mark, &d);
		}
	}
	return ret;
}

int lb_ipvs_sync(struct lb_dp *dp, const struct lb_service_conf *s, uint32_t id,
		 enum lb_family family, struct lb_err *err)
{
	const struct lb_ipvs_service v = service_of(dp, s, id, family);
	struct lb_ipvs_dests is = {};
	int ret;

	if (!lb_service_has_family(s, family))
		return 0;
	ret = service_put(dp, s, &v, err);
	if (ret)
		return ret;
	ret = lb_ipvs_dests_read(&dp->ipvs, v.mark, family, &is);
	if (!ret)
		ret = dests_take(dp, s, v.mark, &is, false);
	if (!ret)
		ret = dests_put(dp, s, v.mark, family, &is);
	lb_ipvs_dests_free(&is);
	if (ret == -E2BIG)
		return lb_err_set(err, E2BIG, "service \"%s\": datapath ipvs %s", s->name,
				  lb_ipvs_service_why_not(s));
	return ret ? failed(err, ret, "making its destinations", s, &v) : 0;
}

/* ---------------------------------------------------------------- taken away */

static int service_remove(struct lb_dp *dp, uint32_t mark, enum lb_family family)
{
	int ret = lb_ipvs_service_remove(&dp->ipvs, mark, family);

	return ret == -ESRCH ? 0 : ret;
}

static int prune_one(struct lb_dp *dp, const struct lb_service_conf *s, uint32_t mark,
		     enum lb_family family)
{
	struct lb_ipvs_dests is;
	int ret;

	if (!s || !lb_service_has_family(s, family))
		return service_remove(dp, mark, family);
	ret = lb_ipvs_dests_read(&dp->ipvs, mark, family, &is);
	if (!ret)
		ret = dests_take(dp, s, mark, &is, true);
	lb_ipvs_dests_free(&is);
	return ret;
}

int lb_ipvs_prune(struct lb_dp *dp, const struct lb_service_conf *s, uint32_t id,
		  struct lb_err *err)
{
	int ret = 0;

	for (uint32_t k = 0; k < 4 && !ret; k++)
		ret = prune_one(dp, s, lb_ipvs_mark(dp, LB_IPVS_SERVICE(id) | k / 2), k % 2);
	return ret ? lb_err_sys(err, -ret, "removing destinations from IPVS, firewall mark %u",
				lb_ipvs_mark(dp, id))
		   : 0;
}

/* The service of a mark, whichever of its two; NULL: nobody's. */
static const struct lb_service_conf *service_at(const struct lb_dp *dp, const struct lb_model *m,
						uint32_t mark)
{
	for (size_t i = 0; m && i < m->n_services; i++)
		if (lb_ipvs_mark(dp, LB_IPVS_SERVICE(m->services[i].id)) == LB_IPVS_SERVICE(mark))
			return &m->services[i];
	return NULL;
}

int lb_ipvs_settle(struct lb_dp *dp, const struct lb_model *m, struct lb_err *err)
{
	struct lb_ipvs_services all = {};
	int ret = lb_ipvs_services_read(&dp->ipvs, &all);

	for (size_t i = 0; !ret && i < all.n; i++)
		if (lb_ipvs_mark_is_of(dp->number, all.list[i].mark))
			ret = prune_one(dp, service_at(dp, m, all.list[i].mark), all.list[i].mark,
					all.list[i].family);
	lb_ipvs_services_free(&all);
	return ret ? lb_err_sys(err, -ret, "removing what is nobody's from IPVS") : 0;
}

bool lb_ipvs_has_services(struct lb_dp *dp)
{
	struct lb_ipvs_services all = {};
	bool has = false;

	if (lb_ipvs_services_read(&dp->ipvs, &all))
		return false;
	for (size_t i = 0; i < all.n && !has; i++)
		has = lb_ipvs_mark_is_of(dp->number, all.list[i].mark);
	lb_ipvs_services_free(&all);
	return has;
}

/* ---------------------------------------------------------------- compared */

struct services_audit {
	struct lb_dp *dp;
	struct lb_findings *findings;
	const struct lb_ipvs_services *all;
	bool dests; /* each one */
};

static const struct lb_ipvs_service *find(const struct lb_ipvs_services *all, uint32_t mark,
					  enum lb_family family)
{
	for (size_t i = 0; i < all->n; i++)
		if (all->list[i].mark == mark && all->list[i].family == family)
			return &all->list[i];
	return NULL;
}

/* `in_force`: all must be there; else only what is not the model's is told. */
static int dests_audit(const struct services_audit *a, const struct lb_service_conf *s,
		       uint32_t mark, enum lb_family family, bool in_force)
{
	char at[LB_ENDPOINT_STRLEN];
	struct lb_ipvs_dests is = {};
	uint32_t *weights;
	int ret = weights_of(s, family, &weights);

	if (!ret)
		ret = lb_ipvs_dests_read(&a->dp->ipvs, mark, family, &is);
	for (size_t i = 0; !ret && i < is.n; i++)
		if (!lb_service_find_backend(s, &is.list[i].at))
			lb_found(a->findings, "service \"%s\": destination %s is nobody's", s->name,
				 lb_endpoint_str(at, &is.list[i].at));
	for (size_t i = 0; !ret && in_force && i < s->n_backends; i++) {
		const struct lb_ipvs_dest d = dest_of(&s->backends[i], weights[i]);
		const struct lb_ipvs_dest *there = lb_ipvs_dest_find(&is, &d.at);

		if (d.at.family != family)
			continue;
		if (!there)
			lb_found(a->findings, "service \"%s\": destination %s is missing", s->name,
				 lb_endpoint_str(at, &d.at));
		else if (there->weight != d.weight)
			lb_found(a->findings,
				 "service \"%s\": destination %s has weight %u, should be %u",
				 s->name, lb_endpoint_str(at, &d.at), there->weight, d.weight);
		else if (!same_dest(there, &d))
			lb_found(a->findings, "service \"%s\": destination %s was changed", s->name,
				 lb_endpoint_str(at, &d.at));
	}
	lb_ipvs_dests_free(&is);
	free(weights);
	return ret;
}

static int service_audit(const struct services_audit *a, const struct lb_service_conf *s,
			 enum lb_family family)
{
	const struct lb_ipvs_service v = service_of(a->dp, s, s->id, family);
	const struct lb_ipvs_service *is = find(a->all, v.mark, family);
	uint32_t other = lb_ipvs_mark(a->dp, LB_IPVS_OTHER(s->id));
	char buf[64];
	int ret = 0;

	if (!lb_service_has_family(s, family)) {
		if (is || find(a->all, other, family))
			lb_found(a->findings, "service \"%s\": a virtual service for IPv%d",
				 s->name, family == LB_V4 ? 4 : 6);
		return 0;
	}
	if (!is)
		lb_found(a->findings, "service \"%s\": its virtual service (%s) is missing",
			 s->name, where(buf, v.mark, family));
	else if (!same_service(is, &v))
		lb_found(a->findings,
			 "service \"%s\": its virtual service (%s) has scheduler %s, flags %#x, "
			 "timeout %u, should have %s, %#x, 0",
			 s->name, where(buf, v.mark, family), is->scheduler, is->flags, is->timeout,
			 v.scheduler, v.flags);
	if (is && a->dests)
		ret = dests_audit(a, s, v.mark, family, true);
	if (!ret && a->dests && find(a->all, other, family))
		ret = dests_audit(a, s, other, family, false);
	return ret;
}

int lb_ipvs_services_audit(struct lb_dp *dp, const struct lb_model *m, bool dests,
			   struct lb_findings *f, struct lb_err *err)
{
	struct lb_ipvs_services all = {};
	struct services_audit a = {.dp = dp, .findings = f, .all = &all, .dests = dests};
	int ret = lb_ipvs_services_read(&dp->ipvs, &all);
	char buf[64];

	for (size_t i = 0; !ret && i < 2 * m->n_services; i++)
		ret = service_audit(&a, &m->services[i / 2], i % 2);
	for (size_t i = 0; !ret && i < all.n; i++)
		if (lb_ipvs_mark_is_of(dp->number, all.list[i].mark) &&
		    !service_at(dp, m, all.list[i].mark))
			lb_found(f, "virtual service (%s) is nobody's",
				 where(buf, all.list[i].mark, all.list[i].family));
	lb_ipvs_services_free(&all);
	return ret ? lb_err_sys(err, -ret, "reading the virtual services of IPVS") : 0;
}
