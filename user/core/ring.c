// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ring.c - sizes, quotas and keys of rings, and the rings of all schedulers but maglev: one slot a
 * member (rr, lc), or slots by weight, interleaved as smoothly as nginx does (wrr, random, sh,
 * wlc).
 */

#include "ring.h"

#include <errno.h>
#include <stdlib.h>

#include "hash.h"

/* ---------------------------------------------------------------------------- weights */

struct weights {
	uint64_t sum;
	uint64_t reduced; /* the sum, divided by */
	uint32_t gcd;
	uint32_t n; /* members with a weight */
};

static struct weights weights_of(const struct lb_ring_member *members, size_t n)
{
	struct weights w = {0};

	for (size_t i = 0; i < n; i++) {
		uint32_t a = members[i].weight;

		w.sum += a;
		w.n += a != 0;
		while (a) {
			uint32_t rest = w.gcd % a;

			w.gcd = a;
			a = rest;
		}
	}
	w.reduced = w.gcd ? w.sum / w.gcd : 0;
	return w;
}

/* ---------------------------------------------------------------------------- quotas */

struct remainder {
	uint64_t value;
	uint32_t member;
};

/* Largest first; equal ones by position, since qsort() promises no order of its own. */
static int remainder_order(const void *a, const void *b)
{
	const struct remainder *x = a, *y = b;

	if (x->value != y->value)
		return x->value > y->value ? -1 : 1;
	return x->member < y->member ? -1 : 1;
}

/*
 * Gives one slot to each member whose share is less than that, and takes it and its weight out of
 * *sum and *total. That makes a slot dearer for the others, so again until nobody is left.
 */
static void quotas_lift(const struct lb_ring_member *members, size_t n, uint32_t *quotas,
			uint64_t *sum, uint32_t *total)
{
	bool again = true;

	while (again) {
		uint64_t was_sum = *sum;
		uint32_t was_total = *total;

		again = false;
		for (size_t i = 0; i < n; i++) {
			if (quotas[i] || !members[i].weight ||
			    members[i].weight * (uint64_t)was_total >= was_sum)
				continue;
			quotas[i] = 1;
			*sum -= members[i].weight;
			--*total;
			again = true;
		}
	}
}

int lb_ring_quotas(const struct lb_ring_member *members, size_t n, uint32_t total, uint32_t *quotas)
{
	uint64_t sum = weights_of(members, n).sum;
	struct remainder *rest;
	uint32_t shared, n_rest = 0;

	memset(quotas, 0, n * sizeof(*quotas));
	if (!sum)
		return 0;
	rest = malloc(n * sizeof(*rest));
	if (!rest)
		return -ENOMEM;
	quotas_lift(members, n, quotas, &sum, &total);
	shared = total;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t share = members[i].weight * (uint64_t)total;

		if (quotas[i] || !members[i].weight)
			continue;
		quotas[i] = (uint32_t)(share / sum);
		shared -= quotas[i];
		rest[n_rest++] = (struct remainder){share % sum, i};
	}
	qsort(rest, n_rest, sizeof(*rest), remainder_order);
	for (uint32_t i = 0; i < shared; i++)
		quotas[rest[i].member]++;
	free(rest);
	return 0;
}

/* ------------------------------------------------------------------- smooth interleaving */

/*
 * nginx's smooth weighted round robin: at each turn every member gains its weight, the member with
 * the most takes the turn and pays the sum. Members of equal weight differ only in how often they
 * paid, so they take turns among themselves, and one gain for all of them is enough: a turn costs
 * the number of different weights (361 at most in LB_RING_SIZE_MAX slots), not of members.
 */
struct peers {
	int64_t gain; /* of those who have not had their turn in this round */
	uint32_t weight;
	uint32_t first, n; /* in struct smooth.members */
	uint32_t next;     /* the member whose turn it is */
};

struct peer {
	uint32_t weight, member;
};

struct smooth {
	struct peer *members; /* by weight, then position */
	struct peers *peers;
	uint32_t n_members, n_peers;
};

static int peer_order(const void *a, const void *b)
{
	const struct peer *x = a, *y = b;

	if (x->weight != y->weight)
		return x->weight < y->weight ? -1 : 1;
	return x->member < y->member ? -1 : 1;
}

static void smooth_group(struct smooth *s)
{
	struct peers *p = NULL;

	qsort(s->members, s->n_members, sizeof(*s->members), peer_order);
	for (uint32_t i = 0; i < s->n_members; i++) {
		uint32_t weight = s->members[i].weight;

		if (!p || p->weight != weight) {
			p = &s->peers[s->n_peers++];
			*p = (struct peers){.weight = weight, .first = i};
		}
		p->n++;
	}
}

static uint32_t peers_next(const struct smooth *s, const struct peers *p)
{
	return s->members[p->first + p->next].member;
}

static uint32_t smooth_turn(struct smooth *s, uint32_t sum)
{
	struct peers *best = s->peers;
	uint32_t member;

	best->gain += best->weight;
	for (struct peers *p = best + 1; p < s->peers + s->n_peers; p++) {
		p->gain += p->weight;
		if (p->gain > best->gain ||
		    (p->gain == best->gain && peers_next(s, p) < peers_next(s, best)))
			best = p;
	}
	member = peers_next(s, best);
	if (++best->next == best->n) {
		best->next = 0;
		best->gain -= sum;
	}
	return member;
}

/* Weights as the ring has them: reduced by their gcd, or scaled where their sum is too large. */
static int smooth_weights(struct smooth *s, const struct lb_ring_member *members, size_t n,
			  uint32_t size)
{
	struct weights w = weights_of(members, n);
	uint32_t *quotas = NULL;

	if (w.reduced > LB_RING_SIZE_MAX) {
		quotas = malloc(n * sizeof(*quotas));
		if (!quotas || lb_ring_quotas(members, n, size, quotas)) {
			free(quotas);
			return -ENOMEM;
		}
	}
	for (uint32_t i = 0; i < n; i++) {
		if (members[i].weight)
			s->members[s->n_members++] =
				(struct peer){quotas ? quotas[i] : members[i].weight / w.gcd, i};
	}
	free(quotas);
	return 0;
}

static int smooth_fill(const struct lb_ring_member *members, size_t n, uint16_t *slots,
		       uint32_t size)
{
	struct smooth s = {0};
	int err = -ENOMEM;

	s.members = malloc(n * sizeof(*s.members));
	s.peers = calloc(n, sizeof(*s.peers));
	if (s.members && s.peers)
		err = smooth_weights(&s, members, n, size);
	if (!err) {
		smooth_group(&s);
		for (uint32_t i = 0; i < size; i++)
			slots[i] = (uint16_t)smooth_turn(&s, size);
	}
	free(s.members);
	free(s.peers);
	return err;
}

/* ---------------------------------------------------------------------------- rings */

int lb_ring_size(enum lb_scheduler scheduler, const struct lb_ring_member *members, size_t n,
		 uint32_t maglev_size)
{
	struct weights w;

	if (n > LB_RING_MEMBERS_MAX)
		return -EINVAL;
	w = weights_of(members, n);
	if (scheduler == LB_SCHED_MAGLEV) {
		if (maglev_size < w.n || maglev_size > LB_MAGLEV_SIZE_MAX ||
		    !lb_is_prime(maglev_size))
			return -EINVAL;
		return w.n ? (int)maglev_size : 0;
	}
	if (lb_ring_is_even(scheduler))
		return (int)w.n;
	return w.reduced > LB_RING_SIZE_MAX ? (int)LB_RING_SIZE_MAX : (int)w.reduced;
}

int lb_ring_fill(enum lb_scheduler scheduler, const struct lb_ring_member *members, size_t n,
		 uint16_t *slots, uint32_t size)
{
	if (!size)
		return 0;
	if (scheduler == LB_SCHED_MAGLEV)
		return lb_maglev_fill(members, n, slots, size);
	if (!lb_ring_is_even(scheduler))
		return smooth_fill(members, n, slots, size);
	for (size_t i = 0; i < n; i++)
		if (members[i].weight)
			*slots++ = (uint16_t)i;
	return 0;
}

struct lb_ring_member *lb_ring_members(const struct lb_service_conf *s, enum lb_family family,
				       size_t *n)
{
	struct lb_ring_member *members = calloc(s->n_backends + 1, sizeof(*members));

	*n = 0;
	for (size_t i = 0; members && i < s->n_backends; i++)
		if (s->backends[i].at.family == family)
			members[(*n)++] = (struct lb_ring_member){
				.at = s->backends[i].at,
				.weight = lb_backend_weight(&s->backends[i])};
	return members;
}

void lb_ring_count(const struct lb_service_conf *s, enum lb_family family, const uint16_t *slots,
		   uint32_t size, uint32_t *counts)
{
	size_t members = 0;

	for (size_t i = 0; i < s->n_backends; i++) {
		members += s->backends[i].at.family == family;
		counts[i] = 0;
	}
	for (uint32_t i = 0; i < size; i++)
		counts[slots[i]]++;
	/* From members' places to those of backends, which are not before them: the last first. */
	for (size_t i = s->n_backends; i--;)
		counts[i] = s->backends[i].at.family == family ? counts[--members] : 0;
}

uint64_t lb_ring_key(enum lb_scheduler scheduler, const struct lb_ring_member *members, size_t n,
		     uint32_t size)
{
	/* Those by weight fill alike, so they can share, as do the even ones; and but for maglev by
	 * positions and weights alone. */
	bool maglev = scheduler == LB_SCHED_MAGLEV;
	enum lb_scheduler like = maglev                       ? LB_SCHED_MAGLEV
				 : lb_ring_is_even(scheduler) ? LB_SCHED_RR
							      : LB_SCHED_WRR;
	uint64_t key = lb_hash_word(like, n);

	key = lb_hash_word(key, size);
	for (size_t i = 0; i < n; i++) {
		if (maglev)
			key = lb_hash_endpoint(key, &members[i].at);
		key = lb_hash_word(key, members[i].weight);
	}
	return key;
}
