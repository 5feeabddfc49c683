/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conn.h - the connection table: find, insert, set, remove. Nobody else in bpf/ knows its layout.
 *
 * No locks. An entry's key (tuple, ref's backend) is written only while its state is BUSY and its
 * version new; from then until its slot is claimed again only meta changes, by compare-and-exchange
 * (and ref's aux bits, see lb_conn_set_aux()). A reader that sees the same version in meta before
 * and after has seen one entry. With another version in between the entry it matched has left the
 * table, so "absent" is the right answer.
 */
#ifndef LB_CONN_H
#define LB_CONN_H

#include "common.h"

struct lb_conn_found {
	__u32 pos; /* bucket << 2 | slot */
	__u32 meta;
	__u32 ref;
	__be16 sport; /* the service's side of the tuple, for a reverse entry */
	__be32 service[4];
};

#define LB_CONN_NONE (-1)

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

static __always_inline __u64 lb_tuple_hash(const int family, const struct lb_tuple *t, __u32 udp)
{
	return lb_conn_hash(family, lb_secret, t->saddr, t->daddr, lb_tuple_ports(t), udp);
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
	return lb_conn_choice(hash, which, lb_secret,
			      family == LB_V4 ? lb_conn4_buckets : lb_conn6_buckets);
}

#define lb_conn4_of(head) ((struct lb_conn4_bucket *)(head))
#define lb_conn6_of(head) ((struct lb_conn6_bucket *)(head))

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
	__u32 tags = *(__u32 *)h->tag;

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
#define LB_CONN_AHEAD 16
static __always_inline __u64 lb_conn_age(__u32 meta, __u32 now)
{
	__u64 age = (now - LB_META_TICK(meta)) & LB_META_TICK_MASK;

	return age & (lb_below(LB_META_TICK_MASK - LB_CONN_AHEAD, age) - 1);
}

static __always_inline bool lb_conn_expired(__u32 meta, __u32 now)
{
	return lb_conn_age(meta, now) > lb_timeouts[LB_META_STATE(meta)];
}

static __always_inline bool lb_conn_addr_is(const int family, const __be32 *a, const __be32 *b)
{
	return a[0] == b[0] && (family == LB_V4 || (a[1] == b[1] && a[2] == b[2] && a[3] == b[3]));
}

/* Is this backend the flow's source? */
static __always_inline bool lb_conn_backend_is(const int family, __u32 id, const struct lb_tuple *t)
{
	struct lb_backend *b = lb_backend_get(id);

	if (!b || b->port != t->ports[0] ||
	    lb_addr_word(&b->addr, 3) != t->saddr[family == LB_V4 ? 0 : 3])
		return false;
	if (family == LB_V4)
		return b->family == LB_V4;
	return lb_addr_word(&b->addr, 0) == t->saddr[0] &&
	       lb_addr_word(&b->addr, 1) == t->saddr[1] && lb_addr_word(&b->addr, 2) == t->saddr[2];
}

/* Does slot i hold the flow? Fills `out` if so. `fast`: only if it needs no more than that. */
static __always_inline bool lb_conn_match(const int family, const bool reverse, const bool fast,
					  struct lb_conn_head *h, __u64 i, const struct lb_tuple *t,
					  __u32 udp, __u32 now, struct lb_conn_found *out)
{
	const union lb_conn_key mask = {
		.ref = LB_REF_REVERSE | LB_REF_UDP, .cport = 0xffff, .sport = reverse ? 0 : 0xffff};
	union lb_conn_key key, want = {.ref = udp ? LB_REF_UDP : 0, .ports = lb_tuple_ports(t)};
	const __be32 *service = lb_conn_service_at(family, h, i);
	__u32 meta = lb_meta_read(&h->meta[i]), again;
	__be32 to[4] = {};

	if (reverse) {
		want.ref |= LB_REF_REVERSE;
		want.ports = 0;
		want.cport = t->ports[1];
	}
	key.word = READ_ONCE(lb_conn_key_at(family, h, i)->word);
	if (((key.word ^ want.word) & mask.word) ||
	    !lb_conn_addr_is(family, lb_conn_client_at(family, h, i),
			     reverse ? t->daddr : t->saddr))
		return false;
	if (reverse) {
		if (!lb_conn_backend_is(family, LB_REF_BACKEND(key.ref), t))
			return false;
		to[0] = READ_ONCE(service[0]);
		if (family == LB_V6) {
			to[1] = READ_ONCE(service[1]);
			to[2] = READ_ONCE(service[2]);
			to[3] = READ_ONCE(service[3]);
		}
	} else if (!lb_conn_addr_is(family, service, t->daddr)) {
		return false;
	}
	barrier();
	again = lb_meta_read(&h->meta[i]);
	if (fast && again != meta)
		return false;
	if (!fast && (LB_META_VERSION(again) != LB_META_VERSION(meta) ||
		      LB_META_STATE(again) <= LB_CONN_BUSY || LB_META_STATE(meta) <= LB_CONN_BUSY ||
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

/* Looks the flow up in one bucket. `fast` tries the first slot with its tag: one connection in some
 * hundreds lies behind another with the same tag, and always goes the slow way. */
static __always_inline bool lb_conn_find_in(const int family, const bool reverse, const bool fast,
					    struct lb_conn_head *h, __u32 bucket,
					    const struct lb_tuple *t, __u32 udp, __u64 hash,
					    __u32 now, struct lb_conn_found *out)
{
	const __u32 slots = family == LB_V4 ? LB_CONN4_SLOTS : LB_CONN6_SLOTS;
	__u32 tagged, i;
	__u64 slot;

	if (!fast) {
#pragma unroll
		for (i = 0; i < slots; i++) {
			if (h->tag[i] == lb_conn_tag(hash) &&
			    lb_conn_match(family, reverse, false, h, i, t, udp, now, out)) {
				out->pos = bucket << 2 | i;
				return true;
			}
		}
		return false;
	}
	tagged = lb_conn_tagged(family, h, lb_conn_tag(hash));
	if (!tagged)
		return false;
	slot = lb_conn_lowest(tagged);
	barrier_var(slot);
	if (slot >= slots || !lb_conn_match(family, reverse, true, h, slot, t, udp, now, out))
		return false;
	out->pos = bucket << 2 | slot;
	return true;
}

/*
 * Looks the flow up as a forward or a reverse one. The other buckets are asked only where the first
 * one has no FREE slot: a used slot never becomes FREE again. `fast` may miss what is there, needs
 * no `now`, and leaves it to the caller to look at meta: an entry may be BUSY, expired or dead.
 */
static __always_inline bool lb_conn_find(const int family, const bool reverse, const bool fast,
					 const struct lb_tuple *t, __u32 udp, __u64 hash, __u32 now,
					 struct lb_conn_found *out)
{
	const int last = (family == LB_V4 ? LB_CONN4_SLOTS : LB_CONN6_SLOTS) - 1;
	__u32 bucket = lb_conn_choose(family, hash, 0);
	struct lb_conn_head *h = lb_conn_bucket(family, bucket);
	int which;

	if (!h)
		return false;
	if (lb_conn_find_in(family, reverse, fast, h, bucket, t, udp, hash, now, out))
		return true;
	if (LB_META_STATE(READ_ONCE(h->meta[last])) == LB_CONN_FREE)
		return false;
	for (which = 1; which < LB_CONN_CHOICES; which++) {
		bucket = lb_conn_choose(family, hash, which);
		h = lb_conn_bucket(family, bucket);
		if (!h)
			return false;
		if (lb_conn_find_in(family, reverse, fast, h, bucket, t, udp, hash, now, out))
			return true;
	}
	return false;
}

/* NULL where there is no such slot. */
static __always_inline struct lb_conn_head *lb_conn_at(__u32 family, __u32 pos)
{
	if (family != LB_V4)
		return lb_conn_bucket(LB_V6, pos >> 2);
	return (pos & 3) < LB_CONN4_SLOTS ? lb_conn_bucket(LB_V4, pos >> 2) : NULL;
}

/* Changes of a found entry, by its position and the meta and ref that were found; global functions,
 * which the verifier checks once for any arguments. */

/* Gives it a state and a tick. False: it changed or left meanwhile. */
__noinline int lb_conn_set(__u32 family, __u32 pos, __u32 meta, __u32 state, __u32 now)
{
	struct lb_conn_head *h = lb_conn_at(family, pos);
	__u32 to = LB_META(LB_META_VERSION(meta), state, now);

	if (!h)
		return false;
	return meta == to || lb_meta_change(&h->meta[pos & 3], meta, to);
}

/* Stores a next hop's id in a reverse entry. Set it before the tick that vouches for it. */
__noinline int lb_conn_set_aux(__u32 family, __u32 pos, __u32 meta, __u32 ref, __u32 aux)
{
	struct lb_conn_head *h = lb_conn_at(family, pos);
	__u32 to = (ref & ~(((1u << LB_REF_AUX_BITS) - 1) << LB_REF_BACKEND_BITS)) |
		   aux << LB_REF_BACKEND_BITS;
	__u32 *at;

	if (!h || to == ref)
		return 0;
	at = family == LB_V4 ? &lb_conn_key_at(LB_V4, h, pos & 3)->ref
			     : &lb_conn_key_at(LB_V6, h, pos & 3)->ref;
	if (!lb_meta_change(at, ref, to))
		return 0;
	/* Another entry by now? Then it must not keep our next hop. */
	if (LB_META_VERSION(lb_meta_read(&h->meta[pos & 3])) != LB_META_VERSION(meta))
		lb_meta_change(at, to, ref);
	return 0;
}

/* Removes it, unless the slot already holds another one. */
__noinline int lb_conn_remove(__u32 family, __u32 pos, __u32 meta)
{
	struct lb_conn_head *h = lb_conn_at(family, pos);
	__u32 seen = meta;
	int i;

	if (!h)
		return 0;
	for (i = 0; i < 4; i++) {
		__u32 to = LB_META(LB_META_VERSION(seen), LB_CONN_DEAD, LB_META_TICK(seen));
		__u32 was = __sync_val_compare_and_swap(&h->meta[pos & 3], seen, to);

		if (was == seen || LB_META_VERSION(was) != LB_META_VERSION(meta))
			return 0;
		seen = was;
	}
	return 0;
}

/* Removes the entry that we have just put there, unless another one is there by now. */
static __always_inline void lb_conn_withdraw(__u32 family, __u32 pos, __u32 ref)
{
	struct lb_conn_head *h = lb_conn_at(family, pos);
	union lb_conn_key *key;

	if (!h)
		return;
	key = family == LB_V4 ? lb_conn_key_at(LB_V4, h, pos & 3)
			      : lb_conn_key_at(LB_V6, h, pos & 3);
	if (key->ref == ref)
		lb_conn_remove(family, pos, lb_meta_read(&h->meta[pos & 3]));
}

/* Kinds of entries by how readily they give way; 0: nothing to lose. */
#define LB_CONN_TAKEN_KIND 15
const volatile __u8 lb_conn_kinds[16] = {
	[LB_CONN_BUSY] = LB_CONN_TAKEN_KIND,         [LB_CONN_SYN_SENT] = 1 + LB_EVICT_HALF_OPEN,
	[LB_CONN_SYN_RECV] = 1 + LB_EVICT_HALF_OPEN, [LB_CONN_UDP_NEW] = 1 + LB_EVICT_HALF_OPEN,
	[LB_CONN_CLOSING] = 1 + LB_EVICT_CLOSING,    [LB_CONN_CLOSED] = 1 + LB_EVICT_CLOSING,
	[LB_CONN_ESTABLISHED] = 1 + LB_EVICT_OLDEST, [LB_CONN_FIN_CLIENT] = 1 + LB_EVICT_OLDEST,
	[LB_CONN_FIN_BACKEND] = 1 + LB_EVICT_OLDEST, [LB_CONN_UDP] = 1 + LB_EVICT_OLDEST,
};

/* How well a slot suits a new entry; less is better, 0 is empty, dead or expired. */
#define LB_CONN_TAKEN ((__u64)LB_CONN_TAKEN_KIND << LB_META_TICK_BITS)
static __always_inline __u64 lb_conn_rank(__u32 meta, __u32 now)
{
	__u64 age = lb_conn_age(meta, now), state = LB_META_STATE(meta);
	__u64 kind = lb_conn_kinds[state];
	__u64 in_use = lb_below(0, kind) & lb_below(age, lb_timeouts[state] + 1ull);

	return (kind << LB_META_TICK_BITS | (LB_META_TICK_MASK - age)) & -in_use;
}

static __always_inline void lb_conn_evicted(__u32 rank)
{
	__u32 zero = 0, kind = (rank >> LB_META_TICK_BITS) - 1;
	struct lb_reasons *r = bpf_map_lookup_elem(&lb_reasons, &zero);

	if (r && kind < LB_EVICT_KINDS)
		r->evicted[kind]++;
}

/* Key of a new entry: the tuple of forward packet p, whichever of its two entries it is. */
static __always_inline void lb_conn_write(const int family, struct lb_conn_head *h, __u64 i,
					  const struct lb_packet *p, __u32 ref, __u8 tag)
{
	union lb_conn_key key = {.ref = ref, .cport = p->flow.sport, .sport = p->flow.dport};
	__be32 *client = lb_conn_client_at(family, h, i);
	__be32 *service = lb_conn_service_at(family, h, i);

	h->tag[i] = tag;
	lb_conn_key_at(family, h, i)->word = key.word;
	client[0] = p->flow.saddr[0];
	service[0] = p->flow.daddr[0];
	if (family == LB_V6) {
		__builtin_memcpy(client + 1, p->flow.saddr + 1, 12);
		__builtin_memcpy(service + 1, p->flow.daddr + 1, 12);
	}
}

/* Claims the slot if it still has this meta, and fills it. */
static __always_inline bool lb_conn_claim(const int family, struct lb_conn_head *h, __u64 slot,
					  __u32 meta, const struct lb_packet *p, __u64 hash,
					  __u32 ref, __u32 state, __u32 now)
{
	__u32 version = (LB_META_VERSION(meta) + 1) & 0xff;

	if (!lb_meta_change(&h->meta[slot], meta, LB_META(version, LB_CONN_BUSY, now)))
		return false;
	lb_conn_write(family, h, slot, p, ref, lb_conn_tag(hash));
	/* An exchange is a full barrier: nobody sees the state before the key. */
	__sync_lock_test_and_set(&h->meta[slot], LB_META(version, state, now));
	return true;
}

/*
 * Where a new entry goes: to its home bucket if that has an empty slot (never used, dead or
 * expired), else to the emptiest of the others, else in place of the one that is missed least.
 * Slots as numbers that order them so: rank << 32 | slots in use << 16 | which << 2 | slot.
 */
static __always_inline __u64 lb_conn_least(__u64 a, __u64 b)
{
	return a ^ ((a ^ b) & -lb_below(b, a));
}

static __always_inline __u64 lb_conn_place(const int family, __u64 hash, __u32 now)
{
	const int slots = family == LB_V4 ? LB_CONN4_SLOTS : LB_CONN6_SLOTS;
	__u64 best = LB_CONN_TAKEN << 32;
	int which, i;

	for (which = 0; which < LB_CONN_CHOICES; which++) {
		struct lb_conn_head *h =
			lb_conn_bucket(family, lb_conn_choose(family, hash, which));
		__u64 first = LB_CONN_TAKEN << 32, used = 0;

		if (!h)
			break;
#pragma unroll
		for (i = 0; i < slots; i++) {
			__u64 rank = lb_conn_rank(READ_ONCE(h->meta[i]), now);

			used += lb_below(0, rank);
			first = lb_conn_least(first, rank << 32 | which << 2 | i);
		}
		best = lb_conn_least(best, first + (used << 16));
		if (!which && !(best >> 32))
			break;
	}
	return best;
}

/* Claims the best slot for an entry of forward packet p's connection and fills it. hash: of the
 * flow by which it will be looked up. Returns its position, or LB_CONN_NONE. */
static __always_inline int lb_conn_insert_family(const int family, const struct lb_packet *p,
						 __u64 hash, __u32 ref, __u32 state, __u32 now)
{
	const __u32 slots = family == LB_V4 ? LB_CONN4_SLOTS : LB_CONN6_SLOTS;
	int try;

	for (try = 0; try < 3; try++) {
		__u64 place = lb_conn_place(family, hash, now), slot = place & 3;
		__u32 bucket = lb_conn_choose(family, hash, place >> 2 & 3), meta;
		struct lb_conn_head *h = lb_conn_bucket(family, bucket);

		barrier_var(slot);
		if (!h || slot >= slots)
			return LB_CONN_NONE;
		if (place >> 32 >= LB_CONN_TAKEN)
			continue;
		meta = READ_ONCE(h->meta[slot]);
		if (lb_conn_rank(meta, now) > place >> 32 ||
		    !lb_conn_claim(family, h, slot, meta, p, hash, ref, state, now))
			continue;
		if (place >> 32)
			lb_conn_evicted(place >> 32);
		return (int)(bucket << 2 | slot);
	}
	return LB_CONN_NONE;
}

__noinline int lb_conn_insert4(const struct lb_packet *p, __u64 hash, __u32 ref, __u32 state,
			       __u32 now)
{
	return p ? lb_conn_insert_family(LB_V4, p, hash, ref, state, now) : LB_CONN_NONE;
}

__noinline int lb_conn_insert6(const struct lb_packet *p, __u64 hash, __u32 ref, __u32 state,
			       __u32 now)
{
	return p ? lb_conn_insert_family(LB_V6, p, hash, ref, state, now) : LB_CONN_NONE;
}

static __always_inline int lb_conn_insert(const int family, const struct lb_packet *p, __u64 hash,
					  __u32 ref, __u32 state, __u32 now)
{
	return family == LB_V4 ? lb_conn_insert4(p, hash, ref, state, now)
			       : lb_conn_insert6(p, hash, ref, state, now);
}

#endif
