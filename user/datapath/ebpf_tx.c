/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_tx.c - the next generation of services and listens, prepared where no packet looks until
 * lb_config.generation says so: inactive slots, unused ids, free space.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/affinity.h"
#include "ebpf_internal.h"

/* Who went first: an id that is given away ends what its backend still has to say to clients. */
static int gone_cmp(const void *a, const void *b, void *arg)
{
	const struct lb_tx *tx = arg;
	__u32 x = *(const __u32 *)a, y = *(const __u32 *)b;
	__u32 x_ago = tx->generation - tx->dp->backends[x].gone;
	__u32 y_ago = tx->generation - tx->dp->backends[y].gone;

	if (x_ago != y_ago)
		return x_ago > y_ago ? -1 : 1;
	return x < y ? -1 : 1;
}

static int spaces_make(struct lb_tx *tx)
{
	const struct lb_dp *dp = tx->dp;
	__u32 n_services = dp->max_entries[LB_MAP_SERVICES];
	struct lb_extent *members = calloc(n_services * LB_FAMILIES, sizeof(*members));
	struct lb_extent *rings = calloc(n_services * LB_FAMILIES, sizeof(*rings));
	int ret = members && rings ? 0 : -ENOMEM;
	size_t n = 0;

	for (__u32 id = 1; id < n_services && !ret; id++) {
		const struct lb_service_version *v = lb_service_in_force(dp, id, tx->generation);

		if (v)
			tx->sets |= 1 << v->timeouts % LB_TIMEOUT_SETS;
		for (int f = 0; v && f < LB_FAMILIES; f++) {
			const struct lb_pool *p = &v->pool[f];

			if (!lb_pool_is_sound(dp, p))
				continue;
			members[n] = (struct lb_extent){p->members, p->n_members};
			rings[n++] = (struct lb_extent){p->ring / LB_RING_LINE,
							(p->ring_size + LB_RING_LINE - 1) /
								LB_RING_LINE};
		}
	}
	tx->max_rings += n;
	if (!ret)
		ret = lb_space_init(&tx->members, members, n, dp->max_entries[LB_MAP_MEMBERS]);
	if (!ret)
		ret = lb_space_init(&tx->rings, rings, n, dp->max_entries[LB_MAP_RINGS]);
	free(members);
	free(rings);
	return ret;
}

static int ids_make(struct lb_tx *tx)
{
	const struct lb_dp *dp = tx->dp;
	__u32 n = dp->max_entries[LB_MAP_BACKENDS];

	tx->named = calloc(n, sizeof(*tx->named));
	tx->gone = calloc(n, sizeof(*tx->gone));
	if (!tx->named || !tx->gone)
		return -ENOMEM;
	lb_backends_named(dp, tx->named);
	for (__u32 id = 1; id < n; id++)
		if (dp->backends[id].state == LB_BACKEND_GONE)
			tx->gone[tx->n_gone++] = id;
	qsort_r(tx->gone, tx->n_gone, sizeof(*tx->gone), gone_cmp, tx);
	return 0;
}

int lb_tx_begin(struct lb_tx *tx, struct lb_dp *dp, const struct lb_limits *l, size_t services,
		struct lb_err *err)
{
	int ret;

	*tx = (struct lb_tx){.dp = dp,
			     .limits = l,
			     .generation = lb_generation(dp),
			     .max_rings = services * LB_FAMILIES,
			     .next_service = 1,
			     .next_backend = 1};
	tx->next = tx->generation + 1;
	ret = spaces_make(tx);
	if (!ret)
		ret = ids_make(tx);
	return ret ? lb_err_sys(err, -ret, "preparing the change") : 0;
}

void lb_tx_end(struct lb_tx *tx)
{
	lb_space_free(&tx->members);
	lb_space_free(&tx->rings);
	lb_ring_table_free(&tx->table);
	free(tx->named);
	free(tx->gone);
	free(tx->wants);
	free(tx->olds);
}

int lb_tx_full(struct lb_err *err, const char *what, __u32 limit, const char *service, __u32 more)
{
	return lb_err_set(
		err, ENOSPC,
		"limits.%s: \"%u\": full; service \"%s\" needs %u more (old and new stand "
		"side by side: raise it, or change less at a time)",
		what, limit, service, more);
}

/* ---------------------------------------------------------------- ids */

/* An id that was never used, else one that connections may still name: they tell by `reuse`. */
static __u32 backend_id(struct lb_tx *tx)
{
	const struct lb_dp *dp = tx->dp;

	for (; tx->next_backend < dp->max_entries[LB_MAP_BACKENDS]; tx->next_backend++)
		if (dp->backends[tx->next_backend].state == LB_BACKEND_FREE)
			return tx->next_backend++;
	return tx->next_gone < tx->n_gone ? tx->gone[tx->next_gone++] : 0;
}

static int backend_recycle(struct lb_tx *tx, __u32 id, struct lb_err *err)
{
	struct lb_backend *b = &tx->dp->backends[id];
	int ret = lb_backend_counters_retire(tx->dp, id, err);

	/* The bits of `reuse` that an entry holds begin anew: older entries would fit again. */
	if (!ret && !LB_REF_REUSE(b->reuse + 1))
		ret = lb_conn_forget_backend(tx->dp, id, err);
	if (!ret)
		b->reuse++;
	return ret;
}

int lb_tx_backend(struct lb_tx *tx, const struct lb_service_conf *s,
		  const struct lb_backend_conf *c, __u32 service, __u32 *id, struct lb_err *err)
{
	struct lb_backend *b;
	int ret;

	*id = backend_id(tx);
	if (!*id)
		return lb_tx_full(err, "backends", tx->limits->backends, s->name, 1);
	b = &tx->dp->backends[*id];
	ret = b->state == LB_BACKEND_GONE ? backend_recycle(tx, *id, err) : 0;
	if (ret)
		return ret;
	lb_load_begin(tx->dp, *id, c->max_connections);
	b->addr = c->at.addr;
	b->port = htons(c->at.port);
	b->family = c->at.family;
	b->service = service;
	b->nexthop = 0;
	__atomic_store_n(&b->state, LB_BACKEND_LIVE, __ATOMIC_RELEASE);
	return 0;
}

static __u32 service_id(struct lb_tx *tx)
{
	const struct lb_dp *dp = tx->dp;

	for (; tx->next_service < dp->max_entries[LB_MAP_SERVICES]; tx->next_service++) {
		const struct lb_service *s = &dp->services[tx->next_service];

		if (s->select >> 1 <= tx->generation &&
		    !lb_service_in_force(dp, tx->next_service, tx->generation))
			return tx->next_service++;
	}
	return 0;
}

/* ---------------------------------------------------------------- services */

static bool pool_is_same(const struct lb_service_conf *from, const struct lb_service_conf *to,
			 enum lb_family family)
{
	size_t i = 0, j = 0;

	for (;;) {
		const struct lb_backend_conf *a, *b;

		while (i < from->n_backends && from->backends[i].at.family != family)
			i++;
		while (j < to->n_backends && to->backends[j].at.family != family)
			j++;
		if (i == from->n_backends || j == to->n_backends)
			return i == from->n_backends && j == to->n_backends;
		a = &from->backends[i++];
		b = &to->backends[j++];
		if (lb_endpoint_cmp(&a->at, &b->at) || !lb_backend_equal(a, b) ||
		    a->override_since != b->override_since)
			return false;
	}
}

static int version_make(struct lb_tx *tx, const struct lb_service_conf *from,
			const struct lb_service_conf *to, __u32 id, bool rebuild,
			struct lb_err *err)
{
	struct lb_service *s = &tx->dp->services[id];
	__u32 slot = !lb_slot(s->select, tx->generation);
	const struct lb_service_version *now = &s->version[!slot];
	struct lb_service_version *v = &s->version[slot];
	bool keep = from && !rebuild && from->scheduler == to->scheduler &&
		    from->maglev_size == to->maglev_size,
	     same = keep && from->source == to->source && from->unknown == to->unknown &&
		    from->on_remove == to->on_remove &&
		    lb_affinity_equal(&from->affinity, &to->affinity) &&
		    !memcmp(from->timeouts, to->timeouts, sizeof(to->timeouts));
	int ret = 0;

	for (int f = 0; f < LB_FAMILIES; f++) {
		bool keep_pool = keep && pool_is_same(from, to, f);

		same &= keep_pool;
		if (keep_pool)
			v->pool[f] = now->pool[f];
		else
			ret = lb_pool_make(tx, from, to, id, f, &v->pool[f], err);
		if (ret)
			return ret;
	}
	if (same) /* only listens differ */
		return 0;
	ret = lb_timeouts_take(tx, to, &v->timeouts, err);
	if (ret)
		return ret;
	v->scheduler = to->scheduler;
	v->source = to->source;
	v->maglev_size = to->maglev_size;
	v->unknown = to->unknown;
	v->on_remove = to->on_remove;
	memcpy(v->affinity, to->affinity.mask, sizeof(v->affinity));
	v->across_ports = to->affinity.across_ports;
	v->present = 1;
	lb_select_store(&s->select, tx->next << 1 | slot);
	return 0;
}

static void service_begin(struct lb_service *s, const char *name)
{
	s->version[0].present = s->version[1].present = 0;
	snprintf(s->name, sizeof(s->name), "%s", name);
	s->retired = (struct lb_counters){};
	memset(s->next, 0, sizeof(s->next));
}

static int listens_add(struct lb_tx_listen **list, size_t *n, size_t *max,
		       const struct lb_service_conf *s, __u32 service)
{
	for (size_t i = 0; i < s->n_listens; i++) {
		struct lb_listen_key keys[2];
		size_t n_keys = lb_listen_keys(&s->listens[i], keys);

		if (*n + 2 > *max) {
			size_t more = *max * 2 + 64;
			void *bigger = realloc(*list, more * sizeof(**list));

			if (!bigger)
				return -ENOMEM;
			*list = bigger;
			*max = more;
		}
		for (size_t k = 0; k < n_keys; k++)
			(*list)[(*n)++] = (struct lb_tx_listen){
				.key = keys[k],
				.service = service,
				.flags = n_keys == 2 ? LB_LISTEN_BOTH : 0,
			};
	}
	return 0;
}

/* `from`: as read back, NULL where it is new; `to`: NULL where it goes. */
int lb_tx_service(struct lb_tx *tx, const struct lb_service_conf *from,
		  const struct lb_service_conf *to, bool rebuild, struct lb_err *err)
{
	__u32 id = from ? from->id : service_id(tx);
	struct lb_service *s = &tx->dp->services[id];
	int ret = 0;

	/* Packets that were on their way at the last commit may still look at what it left. */
	lb_grace_end(&tx->dp->grace);
	if (!id)
		return lb_tx_full(err, "services", tx->limits->services, to->name, 1);
	if (!from)
		service_begin(s, to->name);
	if (to)
		ret = version_make(tx, from, to, id, rebuild, err);
	if (ret)
		return ret;
	if (!to) {
		__u32 slot = !lb_slot(s->select, tx->generation);

		s->version[slot].present = 0;
		lb_select_store(&s->select, tx->next << 1 | slot);
	}
	if (from)
		ret = listens_add(&tx->olds, &tx->n_olds, &tx->max_olds, from, id);
	if (to && !ret) {
		ret = listens_add(&tx->wants, &tx->n_wants, &tx->max_wants, to, id);
		lb_ports_need(tx->dp, to, NULL);
	}
	return ret ? lb_err_sys(err, -ret, "preparing the change") : 0;
}

/* ---------------------------------------------------------------- listens */

/* Makes the key go to `service` (0: to none) from the next generation on. */
static int listen_point(struct lb_tx *tx, struct lb_tx_listen *l, __u32 service, struct lb_err *err)
{
	int fd = tx->dp->map_fd[LB_MAP_LISTENS], ret;
	struct lb_listen_value v = {.flags = l->flags};
	bool there = !bpf_map_lookup_elem(fd, &l->key, &v);
	__u32 slot = there ? lb_slot(v.select, tx->generation) : 0;

	l->fix_flags = v.flags != l->flags; /* also where it was another service's */
	if (there && v.service[slot] == service && v.select >> 1 <= tx->generation)
		return 0;
	v.service[slot ^ 1] = service;
	v.select = tx->next << 1 | (slot ^ 1);
	ret = lb_listen_put(tx->dp, &l->key, &v);
	if (ret == -E2BIG)
		return lb_err_set(err, ENOSPC,
				  "limits.services: \"%u\": room for %u listens (`*` takes two), "
				  "and there are more",
				  tx->limits->services, tx->dp->max_entries[LB_MAP_LISTENS]);
	return ret ? lb_err_sys(err, -ret, "writing to \"lb_listens\"") : 0;
}

int lb_tx_listens(struct lb_tx *tx, struct lb_err *err)
{
	int ret = 0;

	if (tx->n_wants)
		qsort(tx->wants, tx->n_wants, sizeof(*tx->wants), lb_listen_key_cmp);
	for (size_t i = 0; i < tx->n_wants && !ret; i++)
		ret = listen_point(tx, &tx->wants[i], tx->wants[i].service, err);
	for (size_t i = 0; i < tx->n_olds && !ret; i++)
		if (!tx->n_wants || !bsearch(&tx->olds[i], tx->wants, tx->n_wants,
					     sizeof(*tx->wants), lb_listen_key_cmp))
			ret = listen_point(tx, &tx->olds[i], 0, err);
	return ret;
}

void lb_tx_listen_flags(const struct lb_tx *tx)
{
	int fd = tx->dp->map_fd[LB_MAP_LISTENS];

	for (size_t i = 0; i < tx->n_wants; i++) {
		const struct lb_tx_listen *l = &tx->wants[i];
		struct lb_listen_value v;

		if (!l->fix_flags || bpf_map_lookup_elem(fd, &l->key, &v))
			continue;
		v.flags = l->flags;
		lb_listen_put(tx->dp, &l->key, &v);
	}
}
