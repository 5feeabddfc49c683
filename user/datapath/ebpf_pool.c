/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_pool.c - one address family of a service's next version: its members and its ring, written
 * into space that nothing in force refers to.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/ring.h"
#include "ebpf_internal.h"

/* Rings in force, by what they are made of. */
static int table_make(struct lb_tx *tx)
{
	struct lb_dp *dp = tx->dp;
	int ret;

	if (tx->table.entries)
		return 0;
	ret = lb_ring_table_init(&tx->table, tx->max_rings);
	for (__u32 id = 1; id < dp->max_entries[LB_MAP_SERVICES] && !ret; id++) {
		const struct lb_service_version *v = lb_service_in_force(dp, id, tx->generation);

		for (int f = 0; v && f < LB_FAMILIES && !ret; f++) {
			const struct lb_pool *pool = &v->pool[f];
			struct lb_ring_member *members;
			struct lb_ring_entry *e;

			if (!pool->ring_size || !lb_pool_is_sound(dp, pool) ||
			    v->scheduler >= LB_SCHEDULERS)
				continue;
			members = lb_pool_members(dp, pool);
			if (!members)
				return -ENOMEM;
			e = lb_ring_table_at(&tx->table,
					     lb_ring_key(v->scheduler, members, pool->n_members,
							 pool->ring_size));
			if (!e->used)
				*e = (struct lb_ring_entry){
					.key = e->key, .ring = pool->ring, .used = true};
			free(members);
		}
	}
	return ret;
}

/* A ring in force may have been tampered with: it is shared only if it is what it should be. */
static bool ring_is(const struct lb_dp *dp, __u32 ring, const __u16 *slots, __u32 size)
{
	return !memcmp(lb_ring_slots(dp, ring), slots, size * sizeof(*slots));
}

static int ring_place(struct lb_tx *tx, const struct lb_service_conf *s, struct lb_ring_entry *e,
		      const __u16 *slots, __u32 size, struct lb_err *err)
{
	__u32 line;

	e->checked = true;
	if (e->used && ring_is(tx->dp, e->ring, slots, size))
		return 0;
	if (lb_space_take(&tx->rings, (size + LB_RING_LINE - 1) / LB_RING_LINE, &line))
		return lb_tx_full(err, "ring-slots", tx->limits->ring_slots, s->name, size);
	e->used = true;
	e->ring = line * LB_RING_LINE;
	memcpy(lb_ring_slots(tx->dp, e->ring), slots, size * sizeof(*slots));
	return 0;
}

static int ring_make(struct lb_tx *tx, const struct lb_service_conf *s,
		     const struct lb_ring_member *members, struct lb_pool *pool, struct lb_err *err)
{
	int size = lb_ring_size(s->scheduler, members, pool->n_members, s->maglev_size);
	struct lb_ring_entry *e;
	__u16 *slots;
	int ret = 0;

	if (size < 0)
		return lb_err_set(err, -size,
				  "service \"%s\": no ring of scheduler \"%s\" for %u backends: "
				  "at most %u, and with maglev a prime size that is not less",
				  s->name, lb_scheduler_name(s->scheduler), pool->n_members,
				  LB_RING_MEMBERS_MAX);
	pool->ring_size = size;
	if (!size)
		return 0;
	if (table_make(tx))
		return lb_err_sys(err, ENOMEM, "service \"%s\": making its ring", s->name);
	e = lb_ring_table_at(&tx->table, lb_ring_key(s->scheduler, members, pool->n_members, size));
	if (!e->used || !e->checked) {
		slots = calloc(size, sizeof(*slots));
		ret = slots ? lb_ring_fill(s->scheduler, members, pool->n_members, slots, size)
			    : -ENOMEM;
		ret = ret ? lb_err_sys(err, -ret, "service \"%s\": making its ring", s->name)
			  : ring_place(tx, s, e, slots, size, err);
		free(slots);
	}
	pool->ring = e->ring;
	return ret;
}

int lb_ebpf_portions(const struct lb_service_conf *s, enum lb_family family, uint32_t *portions)
{
	size_t n;
	struct lb_ring_member *members = lb_ring_members(s, family, &n);
	int size = members ? lb_ring_size(s->scheduler, members, n, s->maglev_size) : -ENOMEM;
	__u16 *slots = size < 0 ? NULL : calloc(size + 1, sizeof(*slots));
	int ret = size < 0 ? size : -ENOMEM;

	if (slots)
		ret = lb_ring_fill(s->scheduler, members, n, slots, size);
	if (!ret)
		lb_ring_count(s, family, slots, size, portions);
	free(slots);
	free(members);
	return ret;
}

/* Backends that stay keep their id, and with it connections and counters. */
static int member_id(struct lb_tx *tx, const struct lb_service_conf *from,
		     const struct lb_service_conf *to, __u32 service,
		     const struct lb_backend_conf *b, __u32 *id, struct lb_err *err)
{
	const struct lb_backend_conf *old = from ? lb_service_find_backend(from, &b->at) : NULL;
	struct lb_backend *record = old ? &tx->dp->backends[old->id] : NULL;

	if (!record || (record->service != service && tx->named[old->id] > 1))
		return lb_tx_backend(tx, to, b, service, id, err);
	*id = old->id;
	lb_load_limit(tx, *id, b->max_connections);
	record->service = service; /* all as they are, unless somebody tampered with them */
	record->family = b->at.family;
	record->state = LB_BACKEND_LIVE;
	return 0;
}

static int member_make(struct lb_tx *tx, const struct lb_service_conf *from,
		       const struct lb_service_conf *to, __u32 service,
		       const struct lb_backend_conf *b, struct lb_member *member,
		       struct lb_err *err)
{
	bool drained = !lb_backend_weight(b);
	int ret = member_id(tx, from, to, service, b, &member->backend, err);

	if (ret)
		return ret;
	member->weight = b->weight;
	member->override = b->override;
	member->override_since = b->override_since;
	if (lb_drained_set(tx, member->backend, drained) && drained)
		tx->drains = true;
	return 0;
}

/* Those that the pool loses are LIVE until it has been cleaned up, even after a kill. */
static void removed_drain(const struct lb_tx *tx, const struct lb_service_conf *from,
			  const struct lb_service_conf *to, enum lb_family family)
{
	for (size_t i = 0; from && i < from->n_backends; i++)
		if (from->backends[i].at.family == family &&
		    !lb_service_find_backend(to, &from->backends[i].at))
			lb_drained_set(tx, from->backends[i].id, true);
}

int lb_pool_make(struct lb_tx *tx, const struct lb_service_conf *from,
		 const struct lb_service_conf *to, __u32 service, enum lb_family family,
		 struct lb_pool *pool, struct lb_err *err)
{
	struct lb_ring_member *members;
	__u32 n = 0;
	int ret;

	*pool = (struct lb_pool){};
	removed_drain(tx, from, to, family);
	for (size_t i = 0; i < to->n_backends; i++)
		pool->n_members += to->backends[i].at.family == family;
	if (!pool->n_members)
		return 0;
	if (lb_space_take(&tx->members, pool->n_members, &pool->members))
		return lb_tx_full(err, "backends", tx->limits->backends, to->name, pool->n_members);
	members = calloc(pool->n_members, sizeof(*members));
	if (!members)
		return lb_err_sys(err, ENOMEM, "service \"%s\": making its ring", to->name);
	for (size_t i = 0; i < to->n_backends; i++) {
		const struct lb_backend_conf *b = &to->backends[i];

		if (b->at.family != family)
			continue;
		members[n] = (struct lb_ring_member){.at = b->at, .weight = lb_backend_weight(b)};
		ret = member_make(tx, from, to, service, b, &tx->dp->members[pool->members + n++],
				  err);
		if (ret)
			goto out;
	}
	ret = ring_make(tx, to, members, pool, err);
out:
	free(members);
	return ret;
}
