/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_conn.c - the connection table from this side: lists, counts and forgets connections in the
 * same memory that the programs use, by the rules of bpf/conn.h, without a syscall per entry.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "ebpf_internal.h"

struct table {
	struct lb_dp *dp;
	enum lb_family family;
	void *buckets;
	__u32 n;
	int slots;
	__u32 now; /* ticks */
};

/* A copy of one entry. IPv4 addresses are in word 0. */
struct entry {
	__u32 *at; /* its meta in the table */
	__u32 meta, ref;
	__be16 cport, sport;
	__be32 client[4], service[4];
};

static int table_open(struct table *t, struct lb_dp *dp, enum lb_family family, struct lb_err *err)
{
	enum lb_map map = family == LB_V4 ? LB_MAP_CONN4 : LB_MAP_CONN6;
	int ret = lb_map_mmap(dp, map, err);

	if (ret)
		return ret;
	*t = (struct table){.dp = dp,
			    .family = family,
			    .buckets = dp->mem[map],
			    .n = dp->max_entries[map],
			    .slots = family == LB_V4 ? LB_CONN4_SLOTS : LB_CONN6_SLOTS};
	t->now = lb_clock_now();
	return 0;
}

/* Of what seems to have expired the clock is asked again, after the meta: by one of before a long
 * halt (who reads our output may take his time), all that was used since would look old. */
static bool is_live(struct table *t, __u32 meta)
{
	if (lb_meta_is_live(t->dp, meta, t->now))
		return true;
	if (LB_META_STATE(meta) <= LB_CONN_BUSY)
		return false;
	t->now = lb_clock_now();
	return lb_meta_is_live(t->dp, meta, t->now);
}

static void *bucket_at(const struct table *t, __u32 bucket)
{
	return t->family == LB_V4 ? (void *)((struct lb_conn4_bucket *)t->buckets + bucket)
				  : (void *)((struct lb_conn6_bucket *)t->buckets + bucket);
}

static __u32 *meta_at(const struct table *t, __u32 bucket, int slot)
{
	return &((struct lb_conn_head *)bucket_at(t, bucket))->meta[slot];
}

static union lb_conn_key key_read(const struct table *t, __u32 bucket, int slot)
{
	const struct lb_conn4_bucket *b4 = bucket_at(t, bucket);
	const struct lb_conn6_bucket *b6 = bucket_at(t, bucket);

	return (union lb_conn_key){.word = __atomic_load_n(t->family == LB_V4 ? &b4->key[slot].word
									      : &b6->key[slot].word,
							   __ATOMIC_RELAXED)};
}

static void addresses_copy(const struct table *t, __u32 bucket, int slot, struct entry *e)
{
	const struct lb_conn4_bucket *b4 = bucket_at(t, bucket);
	const struct lb_conn6_bucket *b6 = bucket_at(t, bucket);

	if (t->family == LB_V4) {
		e->client[0] = b4->addr[slot].client;
		e->service[0] = b4->addr[slot].service;
	} else {
		memcpy(e->client, b6->addr[slot].client, sizeof(e->client));
		memcpy(e->service, b6->addr[slot].service, sizeof(e->service));
	}
}

/* The version in meta is the same before and after: then all between is of one entry. */
static bool entry_read(struct table *t, __u32 bucket, int slot, struct entry *e)
{
	__u32 *at = meta_at(t, bucket, slot);
	__u32 meta = __atomic_load_n(at, __ATOMIC_ACQUIRE);
	union lb_conn_key key;

	if (!is_live(t, meta))
		return false;
	key = key_read(t, bucket, slot);
	*e = (struct entry){.at = at, .ref = key.ref, .cport = key.cport, .sport = key.sport};
	addresses_copy(t, bucket, slot, e);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	e->meta = __atomic_load_n(at, __ATOMIC_RELAXED);
	return LB_META_VERSION(e->meta) == LB_META_VERSION(meta) && is_live(t, e->meta) &&
	       LB_REF_BACKEND(e->ref) < t->dp->max_entries[LB_MAP_BACKENDS];
}

static const struct lb_backend *entry_backend(const struct table *t, const struct entry *e)
{
	return &t->dp->backends[LB_REF_BACKEND(e->ref)];
}

/* An id may have been given to another backend since the entry was made. */
static bool entry_is_stale(const struct table *t, const struct entry *e)
{
	const struct lb_backend *b = entry_backend(t, e);

	return b->state == LB_BACKEND_FREE || b->family != t->family ||
	       LB_REF_REUSE(b->reuse) != (e->ref & LB_REF_REUSE_MASK);
}

static void endpoint_make(enum lb_family family, const __be32 *addr, __be16 port,
			  struct lb_endpoint *at)
{
	*at = (struct lb_endpoint){.port = ntohs(port), .family = family};
	if (family == LB_V6) {
		memcpy(at->addr.b, addr, sizeof(at->addr.b));
		return;
	}
	at->addr.b[10] = at->addr.b[11] = 0xff;
	memcpy(&at->addr.b[12], addr, sizeof(*addr));
}

/* How much of a client's address an affinity to the backend holds. */
static __u8 mask_of(const struct table *t, const struct lb_backend *b)
{
	const struct lb_service_version *v = NULL;

	if (b->service < t->dp->max_entries[LB_MAP_SERVICES])
		v = lb_service_in_force(t->dp, b->service, lb_generation(t->dp));
	if (v && v->affinity[t->family])
		return v->affinity[t->family];
	return t->family == LB_V4 ? 32 : 128;
}

static void conn_make(const struct table *t, const struct entry *e, struct lb_conn *c)
{
	const struct lb_backend *b = entry_backend(t, e);
	*c = (struct lb_conn){.proto = (e->ref & LB_REF_UDP) ? LB_UDP : LB_TCP,
			      .state = LB_META_STATE(e->meta),
			      .age = lb_clock_seconds(lb_meta_age(e->meta, t->now)),
			      .backend_id = LB_REF_BACKEND(e->ref),
			      .service_id = b->service,
			      .gone = b->state != LB_BACKEND_LIVE};
	endpoint_make(t->family, e->client, e->cport, &c->client);
	endpoint_make(t->family, e->service, e->sport, &c->service);
	c->backend =
		(struct lb_endpoint){.addr = b->addr, .port = ntohs(b->port), .family = b->family};
	if (!lb_conn_is_affinity(c->state))
		return;
	c->mask = mask_of(t, b);
	c->client.port = 0; /* its key's is not the client's, nor is the address the service's */
	c->service.addr = (struct lb_addr){};
}

/* ---------------------------------------------------------------- walk */

/* Calls fn for each slot of both tables. */
static int slots_walk(struct lb_dp *dp,
		      void (*fn)(struct table *t, __u32 bucket, int slot, void *arg), void *arg,
		      struct lb_err *err)
{
	for (int family = 0; family < LB_FAMILIES; family++) {
		struct table t;
		int ret = table_open(&t, dp, family, err);

		if (ret)
			return ret;
		for (__u32 bucket = 0; bucket < t.n; bucket++)
			for (int slot = 0; slot < t.slots; slot++)
				fn(&t, bucket, slot, arg);
	}
	return 0;
}

static int service_find(struct lb_dp *dp, const char *name, __u32 *id, struct lb_err *err)
{
	*id = 0;
	if (!name)
		return 0;
	for (__u32 i = 1; i < dp->max_entries[LB_MAP_SERVICES]; i++) {
		if (!lb_service_in_force(dp, i, lb_generation(dp)) ||
		    strncmp(dp->services[i].name, name, LB_NAME_MAX) != 0)
			continue;
		*id = i;
		return 0;
	}
	return lb_err_set(err, ENOENT, "service \"%s\": there is none of this name", name);
}

struct conn_walk {
	const struct lb_conn_filter *f;
	__u32 service;
	lb_conn_fn fn;
	void *arg;
	bool flush;
	uint64_t n;
};

/* Of this meta alone: a packet that has come meanwhile keeps the entry. Else *meta is the present
 * one. */
static bool meta_collect(struct table *t, __u32 *at, __u32 *meta, __u32 ref)
{
	__u32 dead = LB_META(LB_META_VERSION(*meta), LB_CONN_DEAD, LB_META_TICK(*meta));

	if (!__atomic_compare_exchange_n(at, meta, dead, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return false;
	lb_load_leave(t->dp, ref, LB_META_STATE(*meta));
	return true;
}

/* Only meta changes, and only as long as it is the same entry (and `doubtful`). */
static void entry_forget(struct table *t, const struct entry *e, bool doubtful)
{
	__u32 meta = e->meta;

	while (LB_META_VERSION(meta) == LB_META_VERSION(e->meta) &&
	       LB_META_STATE(meta) > LB_CONN_BUSY &&
	       (!doubtful || LB_META_STATE(meta) == LB_CONN_RESET))
		if (meta_collect(t, e->at, &meta, e->ref))
			return;
}

static void walk_slot(struct table *t, __u32 bucket, int slot, void *arg)
{
	struct conn_walk *w = arg;
	struct entry e;
	struct lb_conn c;

	if (!entry_read(t, bucket, slot, &e) || entry_is_stale(t, &e))
		return;
	conn_make(t, &e, &c);
	if (!lb_conn_filter_holds(w->f, w->service, &c))
		return;
	if (w->fn)
		w->fn(w->arg, &c);
	if (w->flush)
		entry_forget(t, &e, w->f->doubtful);
	w->n++;
}

static int walk(struct lb_dp *dp, struct conn_walk *w, struct lb_err *err)
{
	int ret = service_find(dp, w->f->service, &w->service, err);

	return ret ? ret : slots_walk(dp, walk_slot, w, err);
}

int lb_ebpf_conn_list(struct lb_dp *dp, const struct lb_conn_filter *f, lb_conn_fn fn, void *arg,
		      uint64_t *n, struct lb_err *err)
{
	struct conn_walk w = {.f = f, .fn = fn, .arg = arg};
	int ret = walk(dp, &w, err);

	*n = w.n;
	return ret;
}

int lb_ebpf_conn_flush(struct lb_dp *dp, const struct lb_conn_filter *f, uint64_t *n,
		       struct lb_err *err)
{
	struct conn_walk w = {.f = f, .flush = true};
	int ret = walk(dp, &w, err);

	*n = w.n;
	return ret;
}

static bool collect(struct table *t, __u32 bucket, int slot)
{
	__u32 *at = meta_at(t, bucket, slot), meta = __atomic_load_n(at, __ATOMIC_ACQUIRE);
	__u32 ref = key_read(t, bucket, slot).ref; /* the meta's, if it has not changed */
	struct entry e;

	if (LB_META_STATE(meta) > LB_CONN_BUSY && !is_live(t, meta))
		return meta_collect(t, at, &meta, ref);
	return entry_read(t, bucket, slot, &e) && entry_is_stale(t, &e) &&
	       meta_collect(t, at, &e.meta, e.ref);
}

static void collect_slot(struct table *t, __u32 bucket, int slot, void *arg)
{
	*(uint64_t *)arg += collect(t, bucket, slot);
}

int lb_ebpf_conn_gc(struct lb_dp *dp, uint64_t *n, struct lb_err *err)
{
	int ret;

	*n = 0;
	ret = slots_walk(dp, collect_slot, n, err);
	return ret ? ret : lb_loads_recount(dp, err);
}

struct sets_walk {
	__u32 asked, named;
};

static void sets_slot(struct table *t, __u32 bucket, int slot, void *arg)
{
	__u32 *at = meta_at(t, bucket, slot), meta = __atomic_load_n(at, __ATOMIC_ACQUIRE);
	struct sets_walk *w = arg;

	if (LB_META_STATE(meta) <= LB_CONN_BUSY || !(w->asked >> (LB_META_LIFE(meta) >> 4) & 1))
		return;
	/* One that has expired does not stay: by another's timeouts it might live again, and a
	 * packet that found it just before may still note itself in it, as long as it is as it was.
	 */
	if (collect(t, bucket, slot))
		return;
	meta = __atomic_load_n(at, __ATOMIC_ACQUIRE);
	if (LB_META_STATE(meta) > LB_CONN_BUSY)
		w->named |= 1u << (LB_META_LIFE(meta) >> 4);
}

int lb_conn_sets(struct lb_dp *dp, __u32 asked, __u32 *named, struct lb_err *err)
{
	struct sets_walk w = {.asked = asked};
	int ret = slots_walk(dp, sets_slot, &w, err);

	*named = w.named;
	return ret;
}

/* Also those that have expired: nobody has taken them away yet. */
static void count_backend_slot(struct table *t, __u32 bucket, int slot, void *arg)
{
	__u32 *at = meta_at(t, bucket, slot), meta = __atomic_load_n(at, __ATOMIC_ACQUIRE);
	struct entry e = {.ref = key_read(t, bucket, slot).ref};

	if (lb_conn_counts(LB_META_STATE(meta)) &&
	    LB_REF_BACKEND(e.ref) < t->dp->max_entries[LB_MAP_BACKENDS] && !entry_is_stale(t, &e))
		((__u32 *)arg)[LB_REF_BACKEND(e.ref)]++;
}

int lb_conn_count_backends(struct lb_dp *dp, __u32 *by_id, struct lb_err *err)
{
	return slots_walk(dp, count_backend_slot, by_id, err);
}

static void forget_slot(struct table *t, __u32 bucket, int slot, void *arg)
{
	__u32 *at = meta_at(t, bucket, slot);
	struct entry e = {.at = at, .meta = __atomic_load_n(at, __ATOMIC_ACQUIRE)};

	/* Expired ones, too: they would seem to be its next's. */
	e.ref = key_read(t, bucket, slot).ref;
	if (LB_META_STATE(e.meta) > LB_CONN_BUSY && LB_REF_BACKEND(e.ref) == *(__u32 *)arg)
		entry_forget(t, &e, false);
}

/* Forgets whatever names the backend, stale or not. */
int lb_conn_forget_backend(struct lb_dp *dp, __u32 id, struct lb_err *err)
{
	return slots_walk(dp, forget_slot, &id, err);
}

static void count_slot(struct table *t, __u32 bucket, int slot, void *arg)
{
	__u32 meta = *meta_at(t, bucket, slot);
	struct lb_conn_used *used = arg;

	if (is_live(t, meta))
		(lb_conn_is_affinity(LB_META_STATE(meta)) ? used->affinities
							  : used->connections)[t->family]++;
}

int lb_conn_usage(struct lb_dp *dp, struct lb_conn_used *used, struct lb_err *err)
{
	*used = (struct lb_conn_used){};
	return slots_walk(dp, count_slot, used, err);
}
