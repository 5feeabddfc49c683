/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conn.h - the connection table: find, set, remove. Its layout is known here, and where entries are
 * made (place.h), collected (sweep.h) and shown (show.h).
 *
 * No locks. An entry's key (addresses, ports, ref's backend) is written only while its state is
 * BUSY and its version new; from then until its slot is claimed again only meta changes, by
 * compare-and-exchange (and ref's next hop, see lb_conn_set_nexthop()). A reader that sees the same
 * version in meta before and after has seen one entry. With another version in between the entry it
 * matched has left the table, so "absent" is the right answer.
 *
 * An entry has its place by the client alone, and serves the packets of both directions.
 */
#ifndef LB_CONN_H
#define LB_CONN_H

#include "common.h"
#include "load.h"

struct lb_conn_found {
	__u32 pos; /* bucket << 2 | slot */
	__u32 meta;
	__u32 ref;
	__be16 sport; /* the service's side, for a packet from the backend */
	__be32 service[4];
};

/* What a lookup knows. */
enum lb_conn_answer { LB_CONN_MISS = 0, LB_CONN_HIT = 1, LB_CONN_UNSURE = 2 };

/* Orders loads of an entry against those of its meta: x86 keeps the order of loads and of stores by
 * itself (TSO); elsewhere an atomic operation with fetch is a full barrier (BPF has no plain one).
 */
static __always_inline __u32 lb_meta_read(__u32 *meta)
{
#ifdef __TARGET_ARCH_x86
	__u32 m = READ_ONCE(*meta);

	barrier();
	return m;
#else
	return __sync_fetch_and_or(meta, 0);
#endif
}

static __always_inline bool lb_meta_change(__u32 *meta, __u32 from, __u32 to)
{
	return __sync_val_compare_and_swap(meta, from, to) == from;
}

/* `reverse`: of a packet from the backend. */
static __always_inline __u64 lb_tuple_hash(const int family, const bool reverse,
					   const struct lb_tuple *t, __u32 udp)
{
	return lb_conn_hash(family, lb_secret, reverse ? t->daddr : t->saddr,
			    t->ports[reverse ? 1 : 0], udp);
}

/* NULL only for an index beyond the table. */
static __always_inline struct lb_conn_head *lb_conn_bucket(const int family, __u32 index)
{
	if (family == LB_V4)
		return bpf_map_lookup_elem(&lb_conn4, &index);
	return bpf_map_lookup_elem(&lb_conn6, &index);
}

static __always_inline __u32 lb_conn_choose(const int family, __u64 hash, int which)
{
	__u32 homes = family == LB_V4 ? lb_conn4_homes : lb_conn6_homes, buckets = homes;

	if (which > 1) /* a home is found without this load */
		buckets = family == LB_V4 ? lb_conn4_buckets : lb_conn6_buckets;
	return lb_conn_choice(hash, which, lb_secret, buckets, homes);
}

#define lb_conn4_of(head) ((struct lb_conn4_bucket *)(head))
#define lb_conn6_of(head) ((struct lb_conn6_bucket *)(head))

static __always_inline __u8 *lb_conn_tag_at(const int family, struct lb_conn_head *h, int i)
{
	return family == LB_V4 ? &lb_conn4_of(h)->tag[i] : &lb_conn6_of(h)->tag[i];
}

/* Entries whose home this is and that lie elsewhere: never too few. */
static __always_inline __u32 lb_conn_away(const int family, struct lb_conn_head *h)
{
	return family == LB_V4 ? READ_ONCE(lb_conn4_of(h)->away) : READ_ONCE(lb_conn6_of(h)->away);
}

/* One more or one less. There are at most as many as there are slots elsewhere, so a byte holds
 * them; as part of its word, for BPF has no atomic operations on bytes. */
static __always_inline void lb_conn_away_add(const int family, struct lb_conn_head *h, int more)
{
	const int shift = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 24 : 0;

	if (family == LB_V4)
		__sync_fetch_and_add(&h->tags, (__u32)more << shift);
	else
		__sync_fetch_and_add(&lb_conn6_of(h)->away, more);
}

static __always_inline union lb_conn_key *lb_conn_key_at(const int family, struct lb_conn_head *h,
							 int i)
{
	return family == LB_V4 ? &lb_conn4_of(h)->key[i] : &lb_conn6_of(h)->key[i];
}

static __always_inline __be32 *lb_conn_client_at(const int family, struct lb_conn_head *h, int i)
{
	return family == LB_V4 ? &lb_conn4_of(h)->addr[i].client : lb_conn6_of(h)->addr[i].client;
}

static __always_inline __be32 *lb_conn_service_at(const int family, struct lb_conn_head *h, int i)
{
	return family == LB_V4 ? &lb_conn4_of(h)->addr[i].service : lb_conn6_of(h)->addr[i].service;
}

/*
 * The slots whose tag is `tag`: bit 7 of byte i for slot i. The lowest bit is right, one above it
 * may be too many (the borrow of "has a zero byte"). Which slot it is nobody can predict, and a
 * mispredicted branch that hangs on a line from memory keeps the CPU from running ahead into the
 * next packet; so it is computed.
 */
static __always_inline __u32 lb_conn_tagged(const int family, struct lb_conn_head *h, __u8 tag)
{
	__u32 tags = READ_ONCE(h->tags);

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	tags = __builtin_bswap32(tags);
#endif
	tags ^= tag * 0x01010101u;
	return (tags - 0x01010101) & ~tags & (family == LB_V4 ? 0x808080 : 0x80808080);
}

/* The lowest slot of those; 64 bits, as Linux 6.1 forgets the bounds of a shorter spilled number.
 */
static __always_inline __u64 lb_conn_lowest(__u32 tagged)
{
	__u64 lowest = tagged & -tagged;

	return lowest * 0x00010203 >> 31 & 3;
}

/* Is a < b? 1 or 0, of numbers below 2^63, and no branch: a dozen are too many for the verifier. */
static __always_inline __u64 lb_below(__u64 a, __u64 b)
{
	__u64 below = a - b;

	barrier_var(below);
	below >>= 63;
	barrier_var(below);
	return below;
}

/* Ticks since an entry's last packet. One that seems to lie ahead of `now` was touched by another
 * CPU after we read the clock: its age is 0. */
static __always_inline __u64 lb_conn_age(__u32 meta, __u32 now)
{
	__u64 age = (now - LB_META_TICK(meta)) & LB_META_TICK_MASK;

	return age & (lb_below(LB_META_TICK_MASK - LB_CONN_AHEAD, age) - 1);
}

static __always_inline bool lb_conn_expired(__u32 meta, __u32 now)
{
	return lb_conn_age(meta, now) > lb_timeouts.ticks[LB_META_LIFE(meta)];
}

static __always_inline bool lb_conn_addr_is(const int family, const __be32 *a, const __be32 *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	return family == LB_V4 ? a[0] == b[0] : x[0] == y[0] && x[1] == y[1];
}

/* Are the entry's client and service a packet's source and destination? In the packet as in the
 * entry they stand side by side. */
static __always_inline bool lb_conn_pair_is(const int family, const __be32 *client,
					    const __be32 *saddr)
{
	const __u64 *x = (const __u64 *)client, *y = (const __u64 *)saddr;

	return x[0] == y[0] && (family == LB_V4 || (x[1] == y[1] && x[2] == y[2] && x[3] == y[3]));
}

/* Is the backend that ref names, and not another one by its id, the packet's source? */
static __always_inline bool lb_conn_backend_is(const int family, __u32 ref,
					       const struct lb_tuple *t)
{
	struct lb_backend *b = lb_backend_get(LB_REF_BACKEND(ref));

	if (!b || b->port != t->ports[0] || b->family != family ||
	    LB_REF_REUSE(b->reuse) != (ref & LB_REF_REUSE_MASK))
		return false;
	return lb_conn_addr_is(family, (const __be32 *)b->addr.b + (family == LB_V4 ? 3 : 0),
			       t->saddr);
}

/* Does slot i hold the packet's connection? Fills `out` if so. `fast`: only if it needs no more
 * than that, and then the caller looks at meta: the entry may be BUSY, expired or dead. */
static __always_inline bool lb_conn_match(const int family, const bool reverse, const bool fast,
					  struct lb_conn_head *h, __u64 i, const struct lb_tuple *t,
					  __u32 udp, __u32 now, struct lb_conn_found *out)
{
	const union lb_conn_key mask = {
		.ref = LB_REF_UDP, .cport = 0xffff, .sport = reverse ? 0 : 0xffff};
	union lb_conn_key key, want = {.ref = udp ? LB_REF_UDP : 0, .ports = lb_tuple_ports(t)};
	const __be32 *client = lb_conn_client_at(family, h, i);
	const __be32 *service = lb_conn_service_at(family, h, i);
	__u32 meta = lb_meta_read(&h->meta[i]), again;
	__be32 to[4] = {};

	if (reverse) {
		want.ports = 0;
		want.cport = t->ports[1];
	}
	key.word = READ_ONCE(lb_conn_key_at(family, h, i)->word);
	if ((key.word ^ want.word) & mask.word)
		return false;
	if (reverse) {
		if (!lb_conn_addr_is(family, client, t->daddr) ||
		    !lb_conn_backend_is(family, key.ref, t))
			return false;
		to[0] = READ_ONCE(service[0]);
		if (family == LB_V6) {
			to[1] = READ_ONCE(service[1]);
			to[2] = READ_ONCE(service[2]);
			to[3] = READ_ONCE(service[3]);
		}
	} else if (fast ? !lb_conn_pair_is(family, client, t->saddr)
			: !lb_conn_addr_is(family, client, t->saddr) ||
				   !lb_conn_addr_is(family, service, t->daddr)) {
		return false;
	}
	barrier();
	again = lb_meta_read(&h->meta[i]);
	if (fast && again != meta)
		return false;
	if (!fast && (LB_META_VERSION(again) != LB_META_VERSION(meta) ||
		      LB_META_STATE(again) <= LB_CONN_BUSY || LB_META_STATE(meta) <= LB_CONN_BUSY ||
		      lb_conn_is_affinity(LB_META_STATE(again)) != t->affinity ||
		      lb_conn_expired(again, now)))
		return false;
	out->ref = key.ref;
	out->meta = again;
	if (reverse) {
		out->sport = key.sport;
		out->service[0] = to[0];
		if (family == LB_V6) {
			out->service[1] = to[1];
			out->service[2] = to[2];
			out->service[3] = to[3];
		}
	}
	return true;
}

/* Looks in one bucket. `fast` tries the first slot with the tag: one connection in some hundreds
 * lies behind another with the same tag, and always goes the slow way. */
static __always_inline int lb_conn_find_in(const int family, const bool reverse, const bool fast,
					   struct lb_conn_head *h, __u32 bucket,
					   const struct lb_tuple *t, __u32 udp, __u64 hash,
					   __u32 now, struct lb_conn_found *out)
{
	const __u32 slots = family == LB_V4 ? LB_CONN4_SLOTS : LB_CONN6_SLOTS;
	__u32 tagged = lb_conn_tagged(family, h, lb_conn_tag(hash)), tries;

	for (tries = fast ? 1 : slots; tries && tagged; tries--, tagged &= tagged - 1) {
		__u64 slot = lb_conn_lowest(tagged);

		barrier_var(slot);
		if (slot < slots &&
		    lb_conn_match(family, reverse, fast, h, slot, t, udp, now, out)) {
			out->pos = bucket << 2 | slot;
			return LB_CONN_HIT;
		}
		if (fast)
			return LB_CONN_UNSURE;
	}
	return LB_CONN_MISS;
}

/*
 * Looks up the connection of a packet from the client, or from the backend (`reverse`). The other
 * buckets are asked only where the first one says that somebody lies there. `fast` needs no `now`,
 * and may not know (UNSURE); otherwise the answer is HIT (not 0) or MISS (0).
 */
static __always_inline int lb_conn_find(const int family, const bool reverse, const bool fast,
					const struct lb_tuple *t, __u32 udp, __u64 hash, __u32 now,
					struct lb_conn_found *out)
{
	__u32 bucket = lb_conn_choose(family, hash, 0);
	struct lb_conn_head *h = lb_conn_bucket(family, bucket);
	int which, rc;

	if (!h)
		return LB_CONN_MISS;
	rc = lb_conn_find_in(family, reverse, fast, h, bucket, t, udp, hash, now, out);
	if (rc != LB_CONN_MISS || likely(!lb_conn_away(family, h)))
		return rc;
	for (which = 1; which < LB_CONN_CHOICES; which++) {
		bucket = lb_conn_choose(family, hash, which);
		h = lb_conn_bucket(family, bucket);
		if (!h)
			return LB_CONN_MISS;
		rc = lb_conn_find_in(family, reverse, fast, h, bucket, t, udp, hash, now, out);
		if (rc != LB_CONN_MISS)
			return rc;
	}
	return LB_CONN_MISS;
}

/* NULL where there is no such slot. */
static __always_inline struct lb_conn_head *lb_conn_at(__u32 family, __u32 pos)
{
	if (family != LB_V4)
		return lb_conn_bucket(LB_V6, pos >> 2);
	return (pos & 3) < LB_CONN4_SLOTS ? lb_conn_bucket(LB_V4, pos >> 2) : NULL;
}

/* Changes of a found entry, by its position and the meta and ref that were found; those that are
 * global functions the verifier checks once for any arguments. */

static __always_inline __u32 *lb_conn_ref_at(__u32 family, struct lb_conn_head *h, int i)
{
	return family == LB_V4 ? &lb_conn_key_at(LB_V4, h, i)->ref
			       : &lb_conn_key_at(LB_V6, h, i)->ref;
}

/* Tries to give it a life and a tick. Returns its meta as it was: if that is `meta`, it is done. */
static __always_inline __u32 lb_conn_set(__u32 family, __u32 pos, __u32 meta, __u32 life, __u32 now)
{
	struct lb_conn_head *h = lb_conn_at(family, pos);
	__u32 to = LB_META(LB_META_VERSION(meta), life, now);

	if (!h)
		return 0;
	return meta == to ? meta : __sync_val_compare_and_swap(&h->meta[pos & 3], meta, to);
}

/* The same, and counts it by its state; its ref is known. */
static __always_inline __u32 lb_conn_become(__u32 family, __u32 pos, __u32 meta, __u32 ref,
					    __u32 life, __u32 now)
{
	__u32 was = lb_conn_set(family, pos, meta, life, now);

	if (was == meta)
		lb_load_change(ref, LB_META_STATE(meta), life & 15);
	return was;
}

/* Ends it: what is on its way is answered alike, until it expires. */
__noinline int lb_conn_close(__u32 family, __u32 pos, __u32 meta, __u32 ref, __u32 now)
{
	lb_conn_become(family, pos, meta, ref, LB_LIFE_IN(LB_META_LIFE(meta), LB_CONN_CLOSED), now);
	return 0;
}

/* Stores the client's next hop's id. Set it before the tick that vouches for it. */
__noinline int lb_conn_set_nexthop(__u32 family, __u32 pos, __u32 meta, __u32 ref, __u32 id)
{
	struct lb_conn_head *h = lb_conn_at(family, pos);
	__u32 to = (ref & ~LB_REF_NEXTHOP_MASK) | (id & (LB_NEXTHOPS - 1)) << LB_REF_NEXTHOP_SHIFT;
	__u32 *at;

	if (!h || to == ref)
		return 0;
	at = lb_conn_ref_at(family, h, pos & 3);
	if (!lb_meta_change(at, ref, to))
		return 0;
	/* Another entry by now? Then it must not keep our next hop. */
	if (LB_META_VERSION(lb_meta_read(&h->meta[pos & 3])) != LB_META_VERSION(meta))
		lb_meta_change(at, to, ref);
	return 0;
}

/* Makes slot i of h dead, and counts it off, if it still has this meta, whose ref is known. Returns
 * the meta that it had. */
static __always_inline __u32 lb_conn_kill(struct lb_conn_head *h, int i, __u32 meta, __u32 ref)
{
	__u32 to = LB_META(LB_META_VERSION(meta), LB_CONN_DEAD, LB_META_TICK(meta));
	__u32 was = __sync_val_compare_and_swap(&h->meta[i], meta, to);

	if (was == meta)
		lb_load_change(ref, LB_META_STATE(meta), LB_CONN_DEAD);
	return was;
}

/* Removes it, unless the slot already holds another one. */
__noinline int lb_conn_remove(__u32 family, __u32 pos, __u32 meta)
{
	struct lb_conn_head *h = lb_conn_at(family, pos);
	__u32 seen = meta, ref;
	int i;

	if (!h)
		return 0;
	ref = READ_ONCE(*lb_conn_ref_at(family, h, pos & 3));
	for (i = 0; i < 4; i++) {
		__u32 was = lb_conn_kill(h, pos & 3, seen, ref);

		if (was == seen || LB_META_VERSION(was) != LB_META_VERSION(meta))
			return 0;
		seen = was;
	}
	return 0;
}

/* Looks up the connection of a packet from the client, or from the backend; or an affinity. */
static __always_inline int lb_find_family(const int family, const struct lb_packet *p,
					  __u32 reverse, __u32 now, struct lb_conn_found *out)
{
	struct lb_tuple t;

	if (!p || !out)
		return 0;
	t = lb_tuple_of(&p->flow);
	t.affinity = p->affinity;
	return reverse ? lb_conn_find(family, true, false, &t, p->udp,
				      lb_tuple_hash(family, true, &t, p->udp), now, out)
		       : lb_conn_find(family, false, false, &t, p->udp,
				      lb_tuple_hash(family, false, &t, p->udp), now, out);
}

__noinline int lb_find4(const struct lb_packet *p, __u32 reverse, __u32 now,
			struct lb_conn_found *out)
{
	return lb_find_family(LB_V4, p, reverse, now, out);
}

__noinline int lb_find6(const struct lb_packet *p, __u32 reverse, __u32 now,
			struct lb_conn_found *out)
{
	return lb_find_family(LB_V6, p, reverse, now, out);
}

static __always_inline int lb_find(const int family, const struct lb_packet *p, __u32 reverse,
				   __u32 now, struct lb_conn_found *out)
{
	return family == LB_V4 ? lb_find4(p, reverse, now, out) : lb_find6(p, reverse, now, out);
}

#endif
