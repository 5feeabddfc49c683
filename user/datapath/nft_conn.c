// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * nft_conn.c - the connections: entries of the kernel's conntrack whose original destination is a
 * listen of ours, and which are answered by one of its backends.
 */
#include <string.h>

#include "conntrack_walk.h"
#include "nft_internal.h"

static int walk_all(struct lb_dp *dp, struct lb_ct_walk *w, bool flush, struct lb_err *err)
{
	struct lb_model m;
	int ret = lb_nft_model_read(&dp->table.state->elements, false, &m, err);

	if (ret)
		return ret;
	ret = lb_ct_walk_model(&m, w, flush, err);
	lb_model_free(&m);
	return ret;
}

int lb_nft_conn_list(struct lb_dp *dp, const struct lb_conn_filter *f, lb_conn_fn fn, void *arg,
		     uint64_t *n, struct lb_err *err)
{
	struct lb_ct_walk w = {.f = f, .fn = fn, .arg = arg};
	int ret = walk_all(dp, &w, false, err);

	*n = w.n[LB_V4] + w.n[LB_V6];
	return ret;
}

int lb_nft_conn_flush(struct lb_dp *dp, const struct lb_conn_filter *f, uint64_t *n,
		      struct lb_err *err)
{
	struct lb_ct_walk w = {.f = f};
	int ret = walk_all(dp, &w, true, err);

	*n = w.n[LB_V4] + w.n[LB_V6];
	return ret;
}

/* The exact listens of a service, with those of its backends that it still has. */
static int exact_add(struct lb_pairs *exact, const struct lb_service_conf *s,
		     const struct lb_service_conf *standing)
{
	int ret = 0;

	for (size_t b = 0; b < s->n_backends; b++)
		for (size_t l = 0; l < s->n_listens && !ret; l++)
			if (!s->listens[l].any &&
			    lb_service_find_backend(standing, &s->backends[b].at))
				ret = lb_pairs_add(exact, s, &s->listens[l], &s->backends[b]);
	return ret;
}

static bool has_any(const struct lb_model *m)
{
	for (size_t i = 0; i < m->n_services; i++)
		for (size_t l = 0; l < m->services[i].n_listens; l++)
			if (m->services[i].listens[l].any)
				return true;
	return false;
}

int lb_nft_conn_forget(const struct lb_model *gone, const struct lb_model *before,
		       const struct lb_model *standing, struct lb_err *err)
{
	bool any = has_any(gone); /* else nobody asks for exact ones, which are many */
	struct lb_ct_walk w = {};
	int ret = 0;

	for (size_t i = 0; i < standing->n_services && !ret; i++) {
		const struct lb_service_conf *s = &standing->services[i], *old;

		if (!before) {
			ret = lb_pairs_add_service(&w.standing, s);
		} else if (any) {
			old = lb_model_find_service(before, s->name);
			ret = exact_add(&w.exact, s, s);
			if (!ret && old)
				ret = exact_add(&w.exact, old, s);
		}
	}
	return ret ? lb_ct_walk(&w, ret, true, err) : lb_ct_walk_model(gone, &w, true, err);
}

int lb_nft_conn_usage(const struct lb_model *m, uint64_t used[LB_FAMILIES], struct lb_err *err)
{
	struct lb_ct_walk w = {};
	int ret = lb_ct_walk_model(m, &w, false, err);

	memcpy(used, w.n, sizeof(w.n));
	return ret;
}
