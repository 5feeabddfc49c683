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

/* The candidate buckets. An entry is in the first one that had room. */
#define LB_CONN_CHOICES 3
struct lb_conn_hash {
	__u32 bucket[LB_CONN_CHOICES];
};

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

static __always_inline __u32 lb_conn_reduce(__u32 hash, __u32 buckets)
{
	return (__u64)hash * buckets >> 32;
}

/* Vector multiply-shift (Thorup, "High Speed Hashing for Integers and Strings", 2.3), pairwise for
 * IPv6 (2.5). The multipliers are secret: nobody without them makes flows collide on purpose. */
static __always_inline struct lb_conn_hash lb_conn_hash(const int family, const struct lb_flow *f,
							__u32 udp)
{
	const volatile __u64 *k = lb_secret;
	__u32 buckets = family == LB_V4 ? lb_conn4_buckets : lb_conn6_buckets;
	__u64 h = k[1] * f->ports + (udp ? k[4] : k[0]);

	if (family == LB_V4) {
		h += k[2] * f->saddr[0] + k[3] * f->daddr[0];
	} else {
		h += (k[2] + f->saddr[0]) * (k[3] + f->saddr[1]);
		h += (k[5] + f->saddr[2]) * (k[6] + f->saddr[3]);
		h += (k[7] + f->daddr[0]) * (k[8] + f->daddr[1]);
		h += (k[9] + f->daddr[2]) * (k[10] + f->daddr[3]);
	}
	return (struct lb_conn_hash){{
		lb_conn_reduce(h >> 32, buckets),
		lb_conn_reduce(((h ^ h >> 31) * (k[11] | 1)) >> 32, buckets),
		lb_conn_reduce(((h ^ h >> 33) * (k[10] | 1)) >> 32, buckets),
	}};
}

/* The bucket's heads; its addresses follow. NULL only for an index beyond the table. */
static __always_inline struct lb_conn_head *lb_conn_bucket(const int family, __u32 index)
{
	if (family == LB_V4)
		return bpf_map_lookup_elem(&lb_conn4, &index);
	return bpf_map_lookup_elem(&lb_conn6, &index);
}

#define lb_conn4_of(head) ((struct lb_conn4_bucket *)(head))
#define lb_conn6_of(head) ((struct lb_conn6_bucket *)(head))

/* Ticks since an entry's last packet. One that seems to lie ahead of `now` was touched by another
 * CPU after we read the clock: its age is 0. */
#define LB_CONN_AHEAD 16
static __always_inline __u64 lb_conn_age(__u32 meta, __u32 now)
{
	__u64 age = (now - LB_META_TICK(meta)) & LB_META_TICK_MASK;
	__u64 ahead = (LB_META_TICK_MASK - LB_CONN_AHEAD - age) >> 63;

	return age & (ahead - 1);
}

static __always_inline bool lb_conn_expired(__u32 meta, __u32 now)
{
	return lb_conn_age(meta, now) > lb_timeouts[LB_META_STATE(meta)];
}

static __always_inline bool lb_conn_client_is(const int family, struct lb_conn_head *heads, int i,
					      const __be32 *a)
{
	if (family == LB_V4)
		return lb_conn4_of(heads)->addr[i].client == a[0];
	return lb_conn6_of(heads)->addr[i].client[0] == a[0] &&
	       lb_conn6_of(heads)->addr[i].client[1] == a[1] &&
	       lb_conn6_of(heads)->addr[i].client[2] == a[2] &&
	       lb_conn6_of(heads)->addr[i].client[3] == a[3];
}

static __always_inline bool lb_conn_service_is(const int family, struct lb_conn_head *heads, int i,
					       const __be32 *a)
{
	if (family == LB_V4)
		return lb_conn4_of(heads)->addr[i].service == a[0];
	return lb_conn6_of(heads)->addr[i].service[0] == a[0] &&
	       lb_conn6_of(heads)->addr[i].service[1] == a[1] &&
	       lb_conn6_of(heads)->addr[i].service[2] == a[2] &&
	       lb_conn6_of(heads)->addr[i].service[3] == a[3];
}

/* Is this backend the flow's source? */
static __always_inline bool lb_conn_backend_is(const int family, __u32 id, const struct lb_flow *f)
{
	struct lb_backend *b = lb_backend_get(id);

	if (!b || b->port != f->sport ||
	    lb_addr_word(&b->addr, 3) != f->saddr[family == LB_V4 ? 0 : 3])
		return false;
	if (family == LB_V4)
		return b->family == LB_V4;
	return lb_addr_word(&b->addr, 0) == f->saddr[0] &&
	       lb_addr_word(&b->addr, 1) == f->saddr[1] && lb_addr_word(&b->addr, 2) == f->saddr[2];
}

/* Slot i of a bucket: does it hold the flow? Fills `out` if so. */
static __always_inline bool lb_conn_match(const int family, const bool reverse,
					  struct lb_conn_head *heads, int i,
					  const struct lb_flow *f, __u32 udp, __u32 now,
					  struct lb_conn_found *out)
{
	const __u32 kind = (reverse ? LB_REF_REVERSE : 0) | (udp ? LB_REF_UDP : 0);
	struct lb_conn_head *h = &heads[i];
	__u32 meta = lb_meta_read(&h->meta), again;

	if (reverse) {
		if (h->cport != f->dport || !lb_conn_client_is(family, heads, i, f->daddr))
			return false;
	} else {
		if (*(__u32 *)&h->cport != f->ports ||
		    !lb_conn_client_is(family, heads, i, f->saddr) ||
		    !lb_conn_service_is(family, heads, i, f->daddr))
			return false;
	}
	out->ref = READ_ONCE(h->ref);
	if ((out->ref & (LB_REF_REVERSE | LB_REF_UDP)) != kind)
		return false;
	if (reverse) {
		if (!lb_conn_backend_is(family, LB_REF_BACKEND(out->ref), f))
			return false;
		out->sport = h->sport;
		if (family == LB_V4) {
			out->service[0] = lb_conn4_of(heads)->addr[i].service;
		} else {
			out->service[0] = lb_conn6_of(heads)->addr[i].service[0];
			out->service[1] = lb_conn6_of(heads)->addr[i].service[1];
			out->service[2] = lb_conn6_of(heads)->addr[i].service[2];
			out->service[3] = lb_conn6_of(heads)->addr[i].service[3];
		}
	}
	barrier();
	again = lb_meta_read(&h->meta);
	if (LB_META_VERSION(again) != LB_META_VERSION(meta) ||
	    LB_META_STATE(again) <= LB_CONN_BUSY || LB_META_STATE(meta) <= LB_CONN_BUSY ||
	    lb_conn_expired(again, now))
		return false;
	out->meta = again;
	return true;
}

/* Looks the flow up as a forward or a reverse one. A bucket is asked only where those before it
 * have no FREE slot: a used slot never becomes FREE again. */
static __always_inline bool lb_conn_find(const int family, const bool reverse,
					 const struct lb_flow *f, __u32 udp,
					 const struct lb_conn_hash *hash, __u32 now,
					 struct lb_conn_found *out)
{
	const int slots = family == LB_V4 ? LB_CONN4_SLOTS : LB_CONN6_SLOTS;
	int choice, i;

	for (choice = 0; choice < LB_CONN_CHOICES; choice++) {
		__u32 bucket = hash->bucket[choice];
		struct lb_conn_head *heads = lb_conn_bucket(family, bucket);

		if (!heads)
			return false;
#pragma unroll
		for (i = 0; i < slots; i++) {
			if (lb_conn_match(family, reverse, heads, i, f, udp, now, out)) {
				out->pos = bucket << 2 | i;
				return true;
			}
		}
		if (LB_META_STATE(READ_ONCE(heads[slots - 1].meta)) == LB_CONN_FREE)
			return false;
	}
	return false;
}

/* 0 where a slot may hold the flow: its key's differences, with the fields that are cheap to get.
 */
static __always_inline __u32 lb_conn_differs(const int family, const bool reverse,
					     struct lb_conn_head *heads, int i,
					     const struct lb_flow *f, __u32 kind)
{
	struct lb_conn_head *h = &heads[i];
	__u32 d = (h->ref ^ kind) & (LB_REF_REVERSE | LB_REF_UDP);
	const __be32 *client = reverse ? f->daddr : f->saddr;

	d |= reverse ? (__u32)(h->cport ^ f->dport) : *(__u32 *)&h->cport ^ f->ports;
	if (family == LB_V4) {
		d |= lb_conn4_of(heads)->addr[i].client ^ client[0];
		if (!reverse)
			d |= lb_conn4_of(heads)->addr[i].service ^ f->daddr[0];
	} else {
		/* One word of the address: the rest is compared with the one slot that is left. */
		d |= lb_conn6_of(heads)->addr[i].client[3] ^ client[3];
	}
	barrier_var(
		d); /* keep it a number: a branch per slot is mispredicted, and waits for memory */
	return d;
}

/*
 * The same for the fast way, which may miss what the slow way finds. Which slot it is nobody can
 * predict, and a mispredicted branch that hangs on a line from memory keeps the CPU from running
 * ahead into the next packet; so the slot is computed, and only "is it in this bucket" is a branch.
 */
static __always_inline bool lb_conn_find_fast(const int family, const bool reverse,
					      const struct lb_flow *f, __u32 udp,
					      const struct lb_conn_hash *hash, __u32 now,
					      struct lb_conn_found *out)
{
	const __u32 slots = family == LB_V4 ? LB_CONN4_SLOTS : LB_CONN6_SLOTS;
	const __u32 kind = (reverse ? LB_REF_REVERSE : 0) | (udp ? LB_REF_UDP : 0);
	__u32 choice, i, found;
	__u64 slot; /* 64 bits: Linux 6.1 forgets the bounds of a shorter spilled number */

#pragma unroll
	for (choice = 0; choice < 2; choice++) {
		struct lb_conn_head *heads = lb_conn_bucket(family, hash->bucket[choice]);

		if (!heads)
			return false;
		slot = 0;
		found = 0;
#pragma unroll
		for (i = 0; i < slots; i++) {
			__u64 d = lb_conn_differs(family, reverse, heads, i, f, kind);
			__u32 zero = (d - 1) >> 63;

			found |= zero;
			slot += zero * i;
		}
		if (found) {
			slot &= 3;
			barrier_var(slot);
			if (slot >= slots)
				return false;
			out->pos = hash->bucket[choice] << 2 | slot;
			return lb_conn_match(family, reverse, heads, slot, f, udp, now, out);
		}
	}
	return false;
}

static __always_inline struct lb_conn_head *lb_conn_at(__u32 family, __u32 pos)
{
	__u32 slot = pos & 3;
	struct lb_conn_head *heads;

	if (family == LB_V4 && slot < LB_CONN4_SLOTS)
		heads = lb_conn_bucket(LB_V4, pos >> 2);
	else
		heads = lb_conn_bucket(LB_V6, pos >> 2);
	if (!heads)
		return NULL;
	barrier_var(slot); /* or the compiler adds it before the check */
	return &heads[slot & 3];
}

/*
 * Changes of a found entry, by its position and the meta and ref that were found; global functions,
 * which the verifier checks once for any arguments.
 */

/* Gives it a state and a tick. False: it changed or left meanwhile. */
__noinline int lb_conn_set(__u32 family, __u32 pos, __u32 meta, __u32 state, __u32 now)
{
	struct lb_conn_head *h = lb_conn_at(family, pos);
	__u32 to = LB_META(LB_META_VERSION(meta), state, now);

	if (!h)
		return false;
	return meta == to || lb_meta_change(&h->meta, meta, to);
}

/* Stores a next hop's id in a reverse entry. Set it before the tick that vouches for it. */
__noinline int lb_conn_set_aux(__u32 family, __u32 pos, __u32 meta, __u32 ref, __u32 aux)
{
	struct lb_conn_head *h = lb_conn_at(family, pos);
	__u32 to = (ref & ~(((1u << LB_REF_AUX_BITS) - 1) << LB_REF_BACKEND_BITS)) |
		   aux << LB_REF_BACKEND_BITS;

	if (!h || to == ref || !lb_meta_change(&h->ref, ref, to))
		return 0;
	/* Another entry by now? Then it must not keep our next hop. */
	if (LB_META_VERSION(lb_meta_read(&h->meta)) != LB_META_VERSION(meta))
		lb_meta_change(&h->ref, to, ref);
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
		__u32 was = __sync_val_compare_and_swap(&h->meta, seen, to);

		if (was == seen || LB_META_VERSION(was) != LB_META_VERSION(meta))
			return 0;
		seen = was;
	}
	return 0;
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

/* How well a slot suits a new entry; less is better, 0 is empty, dead or expired. Without branches,
 * of which a dozen slots would give the verifier (and the CPU) too many ways. */
#define LB_CONN_TAKEN ((__u64)LB_CONN_TAKEN_KIND << LB_META_TICK_BITS)
static __always_inline __u64 lb_conn_rank(__u32 meta, __u32 now)
{
	__u64 age = lb_conn_age(meta, now), state = LB_META_STATE(meta);
	__u64 kind = lb_conn_kinds[state], alive, some;

	alive = (age - lb_timeouts[state] - 1) >> 63;
	some = -kind >> 63;
	barrier_var(alive);
	barrier_var(some);
	return (kind << LB_META_TICK_BITS | (LB_META_TICK_MASK - age)) & -(alive & some);
}

static __always_inline void lb_conn_evicted(__u32 rank)
{
	__u32 zero = 0, kind = (rank >> LB_META_TICK_BITS) - 1;
	struct lb_reasons *r = bpf_map_lookup_elem(&lb_reasons, &zero);

	if (r && kind < LB_EVICT_KINDS)
		r->evicted[kind]++;
}

/* Key of a new entry: the tuple of forward packet p, whichever of its two entries it is. */
static __always_inline void lb_conn_write(const int family, struct lb_conn_head *heads, int slot,
					  const struct lb_packet *p, __u32 ref)
{
	struct lb_conn_head *h = &heads[slot];

	h->ref = ref;
	h->cport = p->flow.sport;
	h->sport = p->flow.dport;
	if (family == LB_V4) {
		lb_conn4_of(heads)->addr[slot].client = p->flow.saddr[0];
		lb_conn4_of(heads)->addr[slot].service = p->flow.daddr[0];
	} else {
		__builtin_memcpy(lb_conn6_of(heads)->addr[slot].client, p->flow.saddr, 16);
		__builtin_memcpy(lb_conn6_of(heads)->addr[slot].service, p->flow.daddr, 16);
	}
}

static __always_inline int lb_conn_insert_family(const int family, const struct lb_packet *p,
						 const struct lb_conn_hash *hash, __u32 ref,
						 __u32 state, __u32 now)
{
	const __u32 slots = family == LB_V4 ? LB_CONN4_SLOTS : LB_CONN6_SLOTS;
	__u32 try, which, i;

	for (try = 0; try < 3; try++) {
		/* rank, and where: rank << 32 | choice << 2 | slot orders both at once */
		__u64 best = LB_CONN_TAKEN << 32;
		__u32 best_meta, best_slot, bucket;
		struct lb_conn_head *heads;
		__u32 version;

		for (which = 0; which < LB_CONN_CHOICES && best >> 32; which++) {
			heads = lb_conn_bucket(family, hash->bucket[which]);
			if (!heads)
				return LB_CONN_NONE;
#pragma unroll
			for (i = 0; i < slots; i++) {
				__u64 rank = lb_conn_rank(READ_ONCE(heads[i].meta), now) << 32 |
					     which << 2 | i;
				__u64 less = (__s64)(rank - best) >> 63;

				barrier_var(less);
				best ^= (best ^ rank) & less;
			}
		}
		if (best >> 32 >= LB_CONN_TAKEN)
			continue;
		which = best >> 2 & 3;
		best_slot = best & 3;
		bucket = hash->bucket[0];
		if (which == 1)
			bucket = hash->bucket[1];
		else if (which == 2)
			bucket = hash->bucket[2];
		heads = lb_conn_bucket(family, bucket);
		if (!heads)
			return LB_CONN_NONE;
		barrier_var(best_slot);
		if (best_slot >= slots)
			return LB_CONN_NONE;
		best_meta = READ_ONCE(heads[best_slot].meta);
		if (lb_conn_rank(best_meta, now) > best >> 32)
			continue;
		version = (LB_META_VERSION(best_meta) + 1) & 0xff;
		if (!lb_meta_change(&heads[best_slot].meta, best_meta,
				    LB_META(version, LB_CONN_BUSY, now)))
			continue;
		lb_conn_write(family, heads, best_slot, p, ref);
		/* An exchange is a full barrier: nobody sees the state before the key. */
		__sync_lock_test_and_set(&heads[best_slot].meta, LB_META(version, state, now));
		if (best >> 32)
			lb_conn_evicted(best >> 32);
		return (int)(bucket << 2 | best_slot);
	}
	return LB_CONN_NONE;
}

/* Claims the best slot of the candidate buckets and fills it with an entry of forward packet p's
 * connection. Returns its position, or LB_CONN_NONE. */
__noinline int lb_conn_insert(const struct lb_packet *p, const struct lb_conn_hash *hash, __u32 ref,
			      __u32 state, __u32 now)
{
	if (!p || !hash)
		return LB_CONN_NONE;
	if (p->family == LB_V4)
		return lb_conn_insert_family(LB_V4, p, hash, ref, state, now);
	return lb_conn_insert_family(LB_V6, p, hash, ref, state, now);
}

#endif
