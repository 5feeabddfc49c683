// SPDX-License-Identifier: GPL-2.0-or-later
/* test_maglev.c - Maglev tables: load by weight, few changes, the same on every node. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/hash.h"
#include "core/ring.h"

#define SIZE        LB_MAGLEV_SIZE_DEFAULT
#define MEMBERS_MAX 2000

enum weights { EQUAL, ONE_TO_TEN, HEAVY_AND_LIGHT, ANY };
static const char *const weights_name[] = {"equal", "1..10", "1 and 50", "random"};

static struct lb_ring_member members[MEMBERS_MAX];
static uint16_t table[LB_MAGLEV_SIZE_MAX + 1], other[LB_MAGLEV_SIZE_MAX];
static uint32_t count[LB_RING_MEMBERS_MAX];

/* What operators have: neighbours in a subnet on one port, ports of one host, IPv6, anything. */
static void members_make(size_t n, enum weights weights, unsigned int seed)
{
	srand(seed * 1000 + (unsigned int)n);
	for (uint32_t i = 0; i < n; i++) {
		struct lb_ring_member *m = &members[i];
		uint32_t id = seed << 16 | i;

		*m = (struct lb_ring_member){.at = {.port = 80}};
		m->at.addr = (struct lb_addr){{[10] = 0xff, [11] = 0xff, [12] = 10}};
		if (seed % 4 == 1)
			m->at.port = (uint16_t)(8000 + i);
		if (seed % 4 == 2) {
			m->at.family = LB_V6;
			m->at.addr = (struct lb_addr){{0xfd, [4] = (uint8_t)seed}};
		}
		if (seed % 4 == 3)
			id = (uint32_t)lb_hash_word(seed, i);
		if (seed % 4 != 1)
			for (int b = 0; b < 3; b++)
				m->at.addr.b[15 - b] = (uint8_t)(id >> 8 * b);
		m->weight = weights == ONE_TO_TEN        ? 1 + i % 10
			    : weights == HEAVY_AND_LIGHT ? (i % 2 ? 50 : 1)
			    : weights == ANY             ? 1000 + (uint32_t)rand() % 64536
							 : 1;
	}
}

/* Fills `into`, checks that each entry names one of the `n` members, counts those of each. */
static void fill(const struct lb_ring_member *m, size_t n, uint16_t *into, uint32_t size)
{
	memset(into, 0xee, size * sizeof(*into));
	assert_int_equal(lb_maglev_fill(m, n, into, size), 0);
	memset(count, 0, n * sizeof(*count));
	for (uint32_t i = 0; i < size; i++) {
		assert_true(into[i] < n);
		count[into[i]]++;
	}
}

static void load_is_exact(void **state)
{
	static const size_t sizes[] = {1, 2, 3, 10, 100, 655};

	(void)state;
	for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++) {
		for (unsigned int w = EQUAL; w <= ANY; w++) {
			uint64_t sum = 0;
			double worst = 0;

			members_make(sizes[s], w, w);
			for (size_t i = 0; i < sizes[s]; i++)
				sum += members[i].weight;
			fill(members, sizes[s], table, SIZE);
			for (size_t i = 0; i < sizes[s]; i++) {
				double share = (double)SIZE * members[i].weight / (double)sum;
				double off = count[i] - share;

				off = off < 0 ? -off : off;
				assert_true(off < 1); /* one entry */
				worst = off / share > worst ? off / share : worst;
			}
			/* The bound, where one entry is less than that. */
			if (sizes[s] <= 100 && w != HEAVY_AND_LIGHT)
				assert_true(worst < .01);
		}
	}
}

/* Largest remainders, by the same function as the rings (test_ring.c proves it). */
static void load_is_the_quotas(void **state)
{
	static uint32_t quotas[MEMBERS_MAX];

	(void)state;
	for (unsigned int seed = 0; seed < 12; seed++) {
		size_t n = 1 + seed * 150;

		members_make(n, seed % 4, seed);
		members[n / 2].weight = seed % 3 ? 0 : members[n / 2].weight;
		if (n == 1)
			members[0].weight = 7;
		fill(members, n, table, SIZE);
		assert_int_equal(lb_ring_quotas(members, n, SIZE, quotas), 0);
		assert_memory_equal(count, quotas, n * sizeof(*quotas));
	}
}

struct moves {
	double worst, sum; /* moved entries / the leaver's */
	double extra;      /* most entries moved beyond the leaver's / a mean member's */
	size_t n;
};

/* Each member leaves in turn (or is drained, which leaves it in its place with weight 0). */
static void measure(struct moves *moves, size_t n, enum weights weights, unsigned int seed)
{
	members_make(n, weights, seed);
	fill(members, n, table, SIZE);
	for (size_t leaver = 0; leaver < n; leaver++) {
		struct lb_ring_member left = members[leaver];
		uint32_t moved = 0, least = 0;
		double ratio, extra;

		members[leaver].weight = 0;
		fill(members, n, other, SIZE);
		members[leaver] = left;
		for (uint32_t i = 0; i < SIZE; i++) {
			moved += table[i] != other[i];
			least += table[i] == leaver;
		}
		assert_true(least > 0 && moved >= least);
		ratio = (double)moved / least;
		extra = (double)(moved - least) * (double)n / SIZE;
		moves->worst = ratio > moves->worst ? ratio : moves->worst;
		moves->extra = extra > moves->extra ? extra : moves->extra;
		moves->sum += ratio;
		moves->n++;
	}
}

static struct moves measure_seeds(size_t n, enum weights weights, unsigned int seeds)
{
	struct moves m = {0};

	for (unsigned int seed = 0; seed < seeds; seed++)
		measure(&m, n, weights, seed);
	print_message("           %zu members, weights %s: moved %.3f x the minimum, worst %.3f, "
		      "extra <= %.3f of a mean share\n",
		      n, weights_name[weights], m.sum / (double)m.n, m.worst, m.extra);
	return m;
}

static void few_move_of_ten(void **state)
{
	(void)state;
	assert_true(measure_seeds(10, EQUAL, 24).worst <= 1.1);
	assert_true(measure_seeds(10, ONE_TO_TEN, 24).worst <= 1.1);
	assert_true(measure_seeds(10, ANY, 24).extra <= .1);
}

static void few_move_of_hundred(void **state)
{
	struct moves m;

	(void)state;
	assert_true(measure_seeds(100, EQUAL, 8).worst <= 1.75);
	/* With weights a leaver may have a tenth of the others' entries, while what the others
	 * exchange to meet their new quotas depends on their number. So: the same slack in entries,
	 * and the ratio on average over the leavers. */
	m = measure_seeds(100, ONE_TO_TEN, 4);
	assert_true(m.extra <= .75 && m.sum / (double)m.n <= 1.75);
	m = measure_seeds(100, ANY, 4);
	assert_true(m.extra <= .75 && m.sum / (double)m.n <= 1.75);
}

/* A drained member and one that is not there are the same to the others: two nodes
 * of which one has a backend more, at weight 0, differ by no more than its place. */
static void drained_is_absent(void **state)
{
	(void)state;
	members_make(50, ONE_TO_TEN, 5);
	members[20].weight = 0;
	fill(members, 50, table, SIZE);
	memmove(&members[20], &members[21], 29 * sizeof(*members));
	fill(members, 49, other, SIZE);
	for (uint32_t i = 0; i < SIZE; i++)
		assert_int_equal(table[i], other[i] + (other[i] >= 20));
}

/* Weights mean their proportion. */
static void weights_scale(void **state)
{
	(void)state;
	members_make(20, ONE_TO_TEN, 3);
	fill(members, 20, table, SIZE);
	for (size_t i = 0; i < 20; i++)
		members[i].weight *= 6553;
	fill(members, 20, other, SIZE);
	assert_memory_equal(table, other, SIZE * sizeof(*table));
}

/* Two services with the same member have nothing else in common; a port is a difference. */
static void tables_are_independent(void **state)
{
	uint32_t same = 0;

	(void)state;
	members_make(10, EQUAL, 0);
	fill(members, 10, table, SIZE);
	for (size_t i = 0; i < 10; i++)
		members[i].at.port++;
	fill(members, 10, other, SIZE);
	for (uint32_t i = 0; i < SIZE; i++)
		same += table[i] == other[i];
	assert_in_range(same, SIZE / 10 - 400, SIZE / 10 + 400); /* 5 standard deviations */
}

/* Every node must build this very table: if this fails, old and new nodes choose differently. */
static void table_is_known(void **state)
{
	uint64_t hash = 0;

	(void)state;
	members_make(10, ONE_TO_TEN, 0);
	fill(members, 10, table, SIZE);
	for (uint32_t i = 0; i < SIZE; i++)
		hash = lb_hash_word(hash, table[i]);
	assert_true(hash == 0x7369d929a3b23117);
}

static void small_and_crowded(void **state)
{
	static const uint32_t sizes[] = {2, 3, 5, 7, 13, 101, 1009};

	(void)state;
	for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++) {
		for (size_t n = 1; n <= sizes[s]; n += 1 + n / 8) {
			members_make(n, ONE_TO_TEN, (unsigned int)n);
			table[sizes[s]] = 0xabcd;
			fill(members, n, table, sizes[s]);
			assert_int_equal(table[sizes[s]], 0xabcd);
			for (size_t i = 0; i < n; i++)
				assert_true(count[i] > 0);
		}
	}
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void large_tables(void **state)
{
	static const struct {
		size_t n;
		enum weights weights;
		uint32_t size;
	} cases[] = {
		{2, EQUAL, SIZE},
		{10, EQUAL, SIZE},
		{10, ONE_TO_TEN, SIZE},
		{100, EQUAL, SIZE},
		{100, ANY, SIZE},
		{1000, EQUAL, SIZE},
		{1000, HEAVY_AND_LIGHT, SIZE},
		{2000, ANY, SIZE},
		{1000, ANY, LB_MAGLEV_SIZE_MAX},
	};

	(void)state;
	for (size_t c = 0; c < sizeof(cases) / sizeof(*cases); c++) {
		double best = 1e9;

		members_make(cases[c].n, cases[c].weights, 3);
		for (int i = 0; i < 5; i++) {
			double start = seconds();

			assert_int_equal(lb_maglev_fill(members, cases[c].n, table, cases[c].size),
					 0);
			start = seconds() - start;
			best = start < best ? start : best;
		}
		print_message("           %u entries, %zu members, weights %s: %.2f ms\n",
			      cases[c].size, cases[c].n, weights_name[cases[c].weights],
			      best * 1e3);
	}
}

static void primes(void **state)
{
	static bool composite[LB_MAGLEV_SIZE_MAX + 1];

	(void)state;
	for (uint32_t i = 2; i <= LB_MAGLEV_SIZE_MAX; i++) {
		for (uint32_t k = 2 * i; !composite[i] && k <= LB_MAGLEV_SIZE_MAX; k += i)
			composite[k] = true;
		assert_int_equal(lb_is_prime(i), !composite[i]);
	}
	assert_false(lb_is_prime(0));
	assert_false(lb_is_prime(1));
	assert_true(lb_is_prime(LB_MAGLEV_SIZE_MAX));
	assert_true(lb_is_prime(4294967291u)); /* the largest of 32 bits */
	assert_false(lb_is_prime(4294967295u));
	assert_false(lb_is_prime(65521u * 65521u));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(load_is_exact),
		cmocka_unit_test(load_is_the_quotas),
		cmocka_unit_test(few_move_of_ten),
		cmocka_unit_test(few_move_of_hundred),
		cmocka_unit_test(drained_is_absent),
		cmocka_unit_test(weights_scale),
		cmocka_unit_test(tables_are_independent),
		cmocka_unit_test(table_is_known),
		cmocka_unit_test(small_and_crowded),
		cmocka_unit_test(large_tables),
		cmocka_unit_test(primes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
