/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place.h - where a new entry goes in the connection table, and whom it pushes out. */
#ifndef LB_PLACE_H
#define LB_PLACE_H

#include "conn.h"

/* Kinds of entries by how readily they give way; 0: nothing to lose. What is over goes before what
 * may become a connection: else a flood that is reset, by a backend that refuses or by its sender,
 * would leave a table in which each handshake is the first to go. */
#define LB_CONN_OVER_KIND   1
#define LB_CONN_KIND(evict) (2 + (evict))
#define LB_CONN_TAKEN_KIND  15
#define LB_CONN_KINDS(closing)                                                                     \
	{                                                                                          \
		[LB_CONN_BUSY] = LB_CONN_TAKEN_KIND,                                               \
		[LB_CONN_SYN_SENT] = LB_CONN_KIND(LB_EVICT_HALF_OPEN),                             \
		[LB_CONN_SYN_RECV] = LB_CONN_KIND(LB_EVICT_HALF_OPEN),                             \
		[LB_CONN_UDP_NEW] = LB_CONN_KIND(LB_EVICT_HALF_OPEN),                              \
		[LB_CONN_CLOSING] = (closing), [LB_CONN_CLOSED] = LB_CONN_OVER_KIND,               \
		[LB_CONN_ESTABLISHED] = LB_CONN_KIND(LB_EVICT_ESTABLISHED),                        \
		[LB_CONN_FIN_CLIENT] = LB_CONN_KIND(LB_EVICT_ESTABLISHED),                         \
		[LB_CONN_FIN_BACKEND] = LB_CONN_KIND(LB_EVICT_ESTABLISHED),                        \
		[LB_CONN_UDP] = LB_CONN_KIND(LB_EVICT_UDP),                                        \
		[LB_CONN_RESET] = LB_CONN_KIND(LB_EVICT_RESET),                                    \
		[LB_CONN_AFFINITY_NEW] = LB_CONN_KIND(LB_EVICT_HALF_OPEN),                         \
		[LB_CONN_AFFINITY_UDP] = LB_CONN_KIND(LB_EVICT_UDP),                               \
		[LB_CONN_AFFINITY] = LB_CONN_KIND(LB_EVICT_ESTABLISHED),                           \
	}

/* What is closing and was silent for longer is over: else a table of what was served in the last
 * two minutes would have handshakes pay for each new one. Its backend may still send again what was
 * lost, all of its answer where the client has closed first: in gaps of 6.4 s after an outage of 6
 * s. */
#define LB_CONN_LINGER 8
const volatile __u8 lb_conn_kinds[2][16] = {LB_CONN_KINDS(LB_CONN_KIND(LB_EVICT_CLOSING)),
					    LB_CONN_KINDS(LB_CONN_OVER_KIND)};

/* How well a slot suits a new entry; less is better, 0 is empty, dead or expired. */
#define LB_CONN_TAKEN ((__u64)LB_CONN_TAKEN_KIND << LB_META_TICK_BITS)
static __always_inline __u64 lb_conn_rank(__u32 meta, __u32 now)
{
	__u64 age = lb_conn_age(meta, now), silent = lb_below(LB_CONN_LINGER, age);
	__u64 kind = lb_conn_kinds[silent][LB_META_STATE(meta)];
	__u64 lives = lb_timeouts.ticks[LB_META_LIFE(meta)] + 1ull;
	__u64 in_use = lb_below(0, kind) & lb_below(age, lives);

	return (kind << LB_META_TICK_BITS | (LB_META_TICK_MASK - age)) & -in_use;
}

/* A new entry takes a slot of a lower rank than this. Whatever is new is half-open, and anybody can
 * open connections halfway, from any address: nobody who is established gives way. */
#define LB_CONN_REACH ((__u64)LB_CONN_KIND(LB_EVICT_ESTABLISHED) << LB_META_TICK_BITS)

static __always_inline void lb_conn_evicted(__u32 rank)
{
	__u32 zero = 0, kind = rank >> LB_META_TICK_BITS;
	struct lb_reasons *r = bpf_map_lookup_elem(&lb_reasons, &zero);

	kind = kind == LB_CONN_OVER_KIND ? LB_EVICT_CLOSING : kind - LB_CONN_KIND(0);
	if (r && kind < LB_EVICT_KINDS)
		r->evicted[kind]++;
}

/* Key of the entry of forward packet p. */
static __always_inline void lb_conn_write(const int family, struct lb_conn_head *h, __u64 i,
					  const struct lb_packet *p, __u32 ref, __u8 tag)
{
	union lb_conn_key key = {.ref = ref, .cport = p->flow.sport, .sport = p->flow.dport};
	__be32 *client = lb_conn_client_at(family, h, i);
	__be32 *service = lb_conn_service_at(family, h, i);

	*lb_conn_tag_at(family, h, i) = tag;
	lb_conn_key_at(family, h, i)->word = key.word;
	client[0] = p->flow.saddr[0];
	service[0] = p->flow.daddr[0];
	if (family == LB_V6) {
		__builtin_memcpy(client + 1, p->flow.saddr + 1, 12);
		__builtin_memcpy(service + 1, p->flow.daddr + 1, 12);
	}
}

/* `more`: 1 or -1. */
static __always_inline void lb_conn_home_add(const int family, __u64 hash, int more)
{
	struct lb_conn_head *home = lb_conn_bucket(family, lb_conn_choose(family, hash, 0));

	if (home)
		lb_conn_away_add(family, home, more);
}

/* The entry in slot i of h is overwritten: its home has one less away. */
static __always_inline void lb_conn_home_leave(const int family, struct lb_conn_head *h, __u64 i)
{
	const union lb_conn_key *key = lb_conn_key_at(family, h, i);
	__u64 hash = lb_conn_hash(family, lb_secret, lb_conn_client_at(family, h, i), key->cport,
				  !!(key->ref & LB_REF_UDP));

	if (lb_conn_bucket(family, lb_conn_choose(family, hash, 0)) != h)
		lb_conn_home_add(family, hash, -1);
}

/* Claims the slot if it still has this meta, and fills it. Returns its new meta, or 0. */
static __always_inline __u32 lb_conn_claim(const int family, struct lb_conn_head *h, __u64 slot,
					   __u32 meta, const struct lb_packet *p, __u64 hash,
					   __u32 ref, __u32 life, __u32 now)
{
	__u32 version = LB_META_VERSION(meta) + 1, to = LB_META(version, life, now);

	if (!lb_meta_change(&h->meta[slot], meta, LB_META(version, LB_CONN_BUSY, now)))
		return 0;
	if (LB_META_STATE(meta) != LB_CONN_FREE)
		lb_conn_home_leave(family, h, slot);
	lb_load_change(lb_conn_key_at(family, h, slot)->ref, LB_META_STATE(meta), LB_CONN_DEAD);
	lb_conn_write(family, h, slot, p, ref, lb_conn_tag(hash));
	/* An exchange is a full barrier: nobody sees the state before the key. */
	__sync_lock_test_and_set(&h->meta[slot], to);
	return to;
}

/*
 * Where a new entry goes: to an empty slot (never used, dead or expired) of the first of its
 * buckets that has one, else in place of the entry that is missed least. Slots as numbers that
 * order them so: rank << 32 | (which << 2 | slot) ^ ties.
 */
static __always_inline __u64 lb_conn_least(__u64 a, __u64 b)
{
	return a ^ ((a ^ b) & -lb_below(b, a));
}

/*
 * Of entries of one rank each flow prefers another, outside the homes, where most of the room is.
 * In a flood nearly all are of one rank: if it were always the first, whoever has just come would
 * be the next to go.
 */
static __always_inline __u64 lb_conn_ties(const int family, __u64 hash)
{
	const __u32 slots = family == LB_V4 ? LB_CONN4_SLOTS : LB_CONN6_SLOTS;

	return 2 << 2 | (hash >> 31 & 1) << 2 | (hash >> 16 & 0x7fff) * slots >> 15;
}

static __always_inline __u64 lb_conn_place(const int family, __u64 hash, __u32 now)
{
	const int slots = family == LB_V4 ? LB_CONN4_SLOTS : LB_CONN6_SLOTS;
	const __u64 ties = lb_conn_ties(family, hash);
	__u64 best = LB_CONN_TAKEN << 32 | ties;
	__u32 away = 0;
	int which, i;

	for (which = 0; which < LB_CONN_CHOICES; which++) {
		struct lb_conn_head *h =
			lb_conn_bucket(family, lb_conn_choose(family, hash, which));

		if (!h)
			break;
		if (!which)
			away = lb_conn_away(family, h);
#pragma unroll
		for (i = 0; i < slots; i++) {
			__u64 rank = lb_conn_rank(READ_ONCE(h->meta[i]), now);

			best = lb_conn_least(best, rank << 32 | ((which << 2 | i) ^ ties));
		}
		if (!(best >> 32) || away >= LB_CONN_AWAY_MAX)
			break;
	}
	return best ^ ties;
}

/* Claims the best slot for the connection of forward packet p and fills it. True: `out` says where
 * (pos, meta, ref). */
static __always_inline bool lb_conn_insert(const int family, const struct lb_packet *p, __u64 hash,
					   __u32 ref, __u32 life, __u32 now,
					   struct lb_conn_found *out)
{
	const __u32 slots = family == LB_V4 ? LB_CONN4_SLOTS : LB_CONN6_SLOTS;
	int try;

	for (try = 0; try < 3; try++) {
		__u64 place = lb_conn_place(family, hash, now), slot = place & 3;
		__u32 bucket = lb_conn_choose(family, hash, place >> 2 & 3), meta;
		bool away = bucket != lb_conn_choose(family, hash, 0);
		struct lb_conn_head *h = lb_conn_bucket(family, bucket);
		__u64 rank;

		barrier_var(slot);
		if (!h || slot >= slots)
			return false;
		if (place >> 32 >= LB_CONN_REACH)
			continue;
		meta = READ_ONCE(h->meta[slot]);
		rank = lb_conn_rank(meta, now);
		if (rank > place >> 32)
			continue;
		/* Whoever looks for it must not miss it: first the count, then the entry. */
		if (away)
			lb_conn_home_add(family, hash, 1);
		out->meta = lb_conn_claim(family, h, slot, meta, p, hash, ref, life, now);
		if (!out->meta) {
			if (away)
				lb_conn_home_add(family, hash, -1);
			continue;
		}
		if (rank)
			lb_conn_evicted(rank);
		out->pos = bucket << 2 | slot;
		out->ref = ref;
		return true;
	}
	return false;
}

#endif
