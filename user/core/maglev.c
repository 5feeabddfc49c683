// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * maglev.c - a Maglev table: shares exact to one entry, and few entries change their member when
 * another one comes or goes.
 */

#include "ring.h"

#include <errno.h>
#include <stdlib.h>

#include "hash.h"

/*
 * In the paper's population (Eisenbud et al., NSDI 2016, 3.4) a member takes at its turn the next
 * free entry of its own permutation. So who gets an entry depends on which others were free, and
 * one missing member shuffles the end of the table: with 100 equal members and 65,537 entries 1.59
 * times as many entries change as must, and up to 2.9 times where two permutations run alike.
 *
 * Here a member tries one random entry at its turn, and if that is taken the turn is lost. An entry
 * then goes to the member that comes to it first, whoever else there is: weighted rendezvous
 * hashing. Only members that have reached their quota step aside. Same case: 1.32 times, 1.40 at
 * worst; with 10 members 1.02 and 1.04 (tests/unit/test_maglev.c measures it).
 *
 * After TRIES tries for each entry of its share a member looks for the rest as in the paper, which
 * ends sooner. A round, in which all have their turns one after another, is at least a
 * ROUND_MIN'th of the table: that saves time with few members and changes little else. 65,537
 * entries take 1.4 ms with 10 members, 2 to 3 ms with 100 to 2,000 (2.6 GHz EPYC).
 */
#define TRIES     9
#define ROUND_MIN 2048

#define FREE 0xffff /* no position: LB_RING_MEMBERS_MAX are fewer */

struct player {
	uint64_t random; /* state of a generator */
	uint64_t credit; /* of tries, in sums of weights */
	uint32_t weight;
	uint32_t quota;    /* entries to take yet */
	uint32_t at, skip; /* its permutation's place and step */
	uint16_t member;
};

static struct player player_make(const struct lb_ring_member *m, size_t position, uint32_t quota,
				 uint32_t size)
{
	uint64_t hash = lb_hash_endpoint(0, &m->at);

	return (struct player){
		.random = hash,
		.weight = m->weight,
		.quota = quota,
		.at = (uint32_t)(hash >> 32) % size,
		.skip = (uint32_t)hash % (size - 1) + 1,
		.member = (uint16_t)position,
	};
}

/* Its turn: a random entry for each `sum` of its credit. (Knuth's MMIX generator, whose low bits
 * are poor.) */
static void player_try(struct player *p, uint64_t sum, uint16_t *slots, uint32_t size)
{
	uint64_t random = p->random;

	for (; p->credit >= sum && p->quota; p->credit -= sum) {
		uint16_t *slot;

		random = random * 6364136223846793005 + 1442695040888963407;
		slot = &slots[(random >> 32) * size >> 32];
		if (*slot == FREE) {
			*slot = p->member;
			p->quota--;
		}
	}
	p->random = random;
}

/* Its turn: the next free entry. There is one, for the quotas add up to `size`. */
static void player_take(struct player *p, uint16_t *slots, uint32_t size)
{
	while (slots[p->at] != FREE) {
		p->at += p->skip;
		if (p->at >= size)
			p->at -= size;
	}
	slots[p->at] = p->member;
	p->quota--;
}

static void table_fill(struct player *players, size_t n, uint16_t *slots, uint32_t size)
{
	uint64_t round = n > size / ROUND_MIN ? n : size / ROUND_MIN;
	uint64_t rounds = TRIES * (uint64_t)size / round, sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += players[i].weight;
	for (uint64_t r = 0; n; r++) {
		size_t left = 0;

		for (size_t i = 0; i < n; i++) {
			struct player *p = &players[i];

			p->credit += p->weight * round;
			if (r < rounds)
				player_try(p, sum, slots, size);
			else
				player_take(p, slots, size);
			if (!p->quota)
				continue;
			if (p != &players[left])
				players[left] = *p;
			left++;
		}
		n = left;
	}
}

int lb_maglev_fill(const struct lb_ring_member *members, size_t n, uint16_t *slots, uint32_t size)
{
	struct player *players = calloc(n, sizeof(*players));
	uint32_t *quotas = calloc(n, sizeof(*quotas));
	size_t n_players = 0;
	int err = -ENOMEM;

	if (players && quotas)
		err = lb_ring_quotas(members, n, size, quotas);
	if (!err) {
		memset(slots, 0xff, size * sizeof(*slots));
		for (size_t i = 0; i < n; i++)
			if (quotas[i])
				players[n_players++] = player_make(&members[i], i, quotas[i], size);
		table_fill(players, n_players, slots, size);
	}
	free(players);
	free(quotas);
	return err;
}

bool lb_is_prime(uint32_t n)
{
	if (n < 2)
		return false;
	for (uint32_t i = 2; (uint64_t)i * i <= n; i++)
		if (n % i == 0)
			return false;
	return true;
}
