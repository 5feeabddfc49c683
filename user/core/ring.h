/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ring.h - a pool's ring: which member takes which turn or hash value.
 *
 * All schedulers use one shape, an array of positions in the pool's members; they differ in how it
 * is filled (here) and indexed (bpf/select.h). Members come in canonical order (lb_endpoint_cmp()),
 * so that every node with the same backends builds the same ring.
 */
#ifndef LB_RING_H
#define LB_RING_H

#include "model.h"

#define LB_RING_SIZE_MAX    65536u /* of those by weight: heavier weights are scaled to fit */
#define LB_RING_MEMBERS_MAX 65535u /* positions are 16 bits wide */

struct lb_ring_member {
	struct lb_endpoint at;
	uint32_t weight; /* in force; 0 gets no slot */
};

/* Do all members with a weight get the same number of slots? */
static inline bool lb_ring_is_even(unsigned int scheduler)
{
	return scheduler == LB_SCHED_RR || scheduler == LB_SCHED_LC;
}

/*
 * Slots that lb_ring_fill() will write; 0 where no member has a weight; -EINVAL for more than
 * LB_RING_MEMBERS_MAX members, or a maglev_size that is not a prime >= the weighted members.
 * rr, lc: one a member. wrr, random, sh, wlc: the weights divided by their gcd, added up, or
 * LB_RING_SIZE_MAX where that is more (each member then keeps at least one slot).
 */
int lb_ring_size(enum lb_scheduler scheduler, const struct lb_ring_member *members, size_t n,
		 uint32_t maglev_size);

/* Fills `size` slots, as lb_ring_size() gave. 0 or -ENOMEM. */
int lb_ring_fill(enum lb_scheduler scheduler, const struct lb_ring_member *members, size_t n,
		 uint16_t *slots, uint32_t size);

/*
 * Divides `total` slots by weight, exact to one slot (largest remainder; equal ones by position).
 * A member whose share is less than one slot gets one all the same; the others bear that by weight,
 * so that at most as many slots as there are such members are not where the weights want them.
 * Needs total >= the weighted members. 0 or -ENOMEM.
 */
int lb_ring_quotas(const struct lb_ring_member *members, size_t n, uint32_t total,
		   uint32_t *quotas);

/* The backends of a family, by their weights in force; to be freed. NULL: no memory. */
struct lb_ring_member *lb_ring_members(const struct lb_service_conf *s, enum lb_family family,
				       size_t *n);

/* How many slots of a ring of those members each backend has, by its place in the service; 0 for
 * those of the other family. */
void lb_ring_count(const struct lb_service_conf *s, enum lb_family family, const uint16_t *slots,
		   uint32_t size, uint32_t *counts);

/* Equal keys (64-bit hash of the ring's shape, weights, and of maglev the members' addresses) mean
 * equal rings. */
uint64_t lb_ring_key(enum lb_scheduler scheduler, const struct lb_ring_member *members, size_t n,
		     uint32_t size);

/* maglev.c. size: a prime >= the weighted members. 0 or -ENOMEM. */
int lb_maglev_fill(const struct lb_ring_member *members, size_t n, uint16_t *slots, uint32_t size);
bool lb_is_prime(uint32_t n);

#endif
