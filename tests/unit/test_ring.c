// SPDX-License-Identifier: GPL-2.0-or-later
/* test_ring.c - sizes, quotas, keys and the smooth order of the rings that are not maglev's. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/ring.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static const enum lb_scheduler weighted[] = {LB_SCHED_WRR, LB_SCHED_RANDOM, LB_SCHED_SH};

/* `n` members 10.0.x.y:80 with the given weights; the caller frees. */
static struct lb_ring_member *members_make(const uint32_t *weights, size_t n)
{
	struct lb_ring_member *m = calloc(n, sizeof(*m));

	assert_non_null(m);
	for (size_t i = 0; i < n; i++) {
		m[i].at.addr = (struct lb_addr){{[10] = 0xff,
						 [11] = 0xff,
						 [12] = 10,
						 [14] = (uint8_t)(i >> 8),
						 [15] = (uint8_t)i}};
		m[i].at.port = 80;
		m[i].at.family = LB_V4;
		m[i].weight = weights[i];
	}
	return m;
}

/* The size, and in *slots a filled ring behind which nothing was written; the caller frees. */
static int ring_make(enum lb_scheduler sched, const struct lb_ring_member *m, size_t n,
		     uint16_t **slots)
{
	int size = lb_ring_size(sched, m, n, LB_MAGLEV_SIZE_DEFAULT);

	assert_true(size >= 0);
	*slots = malloc(((size_t)size + 1) * sizeof(**slots));
	assert_non_null(*slots);
	memset(*slots, 0xee, ((size_t)size + 1) * sizeof(**slots));
	assert_int_equal(lb_ring_fill(sched, m, n, *slots, (uint32_t)size), 0);
	assert_int_equal((*slots)[size], 0xeeee);
	return size;
}

static void expect_ring(enum lb_scheduler sched, const uint32_t *weights, size_t n,
			const char *letters)
{
	struct lb_ring_member *m = members_make(weights, n);
	uint16_t *slots;
	int size = ring_make(sched, m, n, &slots);

	assert_int_equal(size, strlen(letters));
	for (int i = 0; i < size; i++)
		assert_int_equal('a' + slots[i], letters[i]);
	free(slots);
	free(m);
}

static void rr_has_one_slot_each(void **state)
{
	(void)state;
	expect_ring(LB_SCHED_RR, (uint32_t[]){1, 7, 65535}, 3, "abc");
	expect_ring(LB_SCHED_RR, (uint32_t[]){0, 2, 0, 1, 0}, 5, "bd");
	expect_ring(LB_SCHED_RR, (uint32_t[]){0, 0}, 2, "");
	expect_ring(LB_SCHED_RR, (uint32_t[]){0}, 0, "");
}

static void weighted_known_orders(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(weighted); i++) {
		expect_ring(weighted[i], (uint32_t[]){5, 1, 1}, 3, "aabacaa"); /* nginx's own */
		expect_ring(weighted[i], (uint32_t[]){1, 1, 1}, 3, "abc");
		expect_ring(weighted[i], (uint32_t[]){300, 100}, 2, "aaba");
		expect_ring(weighted[i], (uint32_t[]){0, 65535, 0}, 3, "b");
		expect_ring(weighted[i], (uint32_t[]){2, 1}, 2, "aba");
		expect_ring(weighted[i], (uint32_t[]){0, 0, 0}, 3, "");
	}
}

/* ngx_http_upstream_get_peer() as it is described, one step at a time. */
static void reference_fill(const uint32_t *weights, size_t n, uint16_t *slots, uint32_t size)
{
	int64_t *current = calloc(n + 1, sizeof(*current));

	assert_non_null(current);
	for (uint32_t t = 0; t < size; t++) {
		int64_t total = 0;
		size_t best = n;

		for (size_t i = 0; i < n; i++) {
			current[i] += weights[i];
			total += weights[i];
			if (weights[i] && (best == n || current[i] > current[best]))
				best = i;
		}
		current[best] -= total;
		slots[t] = (uint16_t)best;
	}
	free(current);
}

static uint32_t gcd_of(const uint32_t *weights, size_t n)
{
	uint32_t g = 0;

	for (size_t i = 0; i < n; i++)
		for (uint32_t a = weights[i], rest; a; a = rest) {
			rest = g % a;
			g = a;
		}
	return g;
}

static void weighted_equals_reference(void **state)
{
	uint32_t weights[40], reduced[40];

	(void)state;
	srand(1);
	for (int round = 0; round < 400; round++) {
		size_t n = 1 + (size_t)rand() % ARRAY_SIZE(weights);
		uint32_t gcd, most = (uint32_t[]){2, 5, 100, 65535}[round % 4],
			      factor = 1 + rand() % 3;
		struct lb_ring_member *m;
		uint16_t *slots, *expected;
		int size;

		for (size_t i = 0; i < n; i++)
			weights[i] = (uint32_t)rand() % (most / factor + 1) * factor;
		gcd = gcd_of(weights, n);
		m = members_make(weights, n);
		size = ring_make(weighted[round % 3], m, n, &slots);
		memcpy(reduced, weights, sizeof(reduced));
		if (size == (int)LB_RING_SIZE_MAX)
			assert_int_equal(lb_ring_quotas(m, n, LB_RING_SIZE_MAX, reduced), 0);
		else
			for (size_t i = 0; i < n && gcd; i++)
				reduced[i] = weights[i] / gcd;
		expected = calloc((size_t)size + 1, sizeof(*expected));
		assert_non_null(expected);
		reference_fill(reduced, n, expected, (uint32_t)size);
		assert_memory_equal(slots, expected, (size_t)size * sizeof(*slots));
		free(expected);
		free(slots);
		free(m);
	}
}

/* Exact to one slot of the share by weight, and the larger remainders are those rounded up. */
static void quotas_are_largest_remainders(void **state)
{
	uint32_t weights[100], quotas[100];

	(void)state;
	srand(2);
	for (int round = 0; round < 500; round++) {
		size_t n = 1 + (size_t)rand() % ARRAY_SIZE(weights);
		uint32_t total = round % 2 ? 65537 : LB_RING_SIZE_MAX, sum = 0, got = 0;
		uint32_t down_most = 0, up_least = UINT32_MAX;
		struct lb_ring_member *m;

		for (size_t i = 0; i < n; i++)
			sum += weights[i] = 1000 + (uint32_t)rand() % 9000; /* no share below 1 */
		m = members_make(weights, n);
		assert_int_equal(lb_ring_quotas(m, n, total, quotas), 0);
		for (size_t i = 0; i < n; i++) {
			uint64_t share = (uint64_t)weights[i] * total;
			uint32_t rest = (uint32_t)(share % sum);

			got += quotas[i];
			if (quotas[i] == share / sum) {
				down_most = rest > down_most ? rest : down_most;
			} else {
				assert_int_equal(quotas[i], share / sum + 1);
				up_least = rest < up_least ? rest : up_least;
			}
		}
		assert_int_equal(got, total);
		assert_true(up_least >= down_most);
		free(m);
	}
}

static void quotas_leave_nobody_out(void **state)
{
	uint32_t weights[1000], quotas[1000];
	struct lb_ring_member *m;

	(void)state;
	for (size_t i = 0; i < 1000; i++)
		weights[i] = i < 10 ? 65535 : i == 10 ? 0 : 1 + (uint32_t)i % 20;
	m = members_make(weights, 1000);
	assert_int_equal(lb_ring_quotas(m, 1000, LB_RING_SIZE_MAX, quotas), 0);
	for (size_t i = 10, sum = 0; i < 1000; i++) {
		/* One slot is worth more than ten: 665,145 by weight in 65,536 slots. */
		assert_int_equal(quotas[i], i == 10 ? 0 : weights[i] < 11 ? 1 : quotas[i]);
		assert_in_range(quotas[i], i == 10 ? 0 : 1, 2);
		sum += quotas[i];
		if (i == 999)
			for (size_t k = 0; k < 10; k++)
				assert_in_range(quotas[k], (65536 - sum) / 10,
						(65536 - sum + 9) / 10);
	}
	free(m);

	m = members_make((uint32_t[]){65535, 1, 1, 1}, 4); /* as many slots as members */
	assert_int_equal(lb_ring_quotas(m, 4, 4, quotas), 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(quotas[i], 1);
	assert_int_equal(lb_ring_quotas(m, 4, 7, quotas), 0);
	assert_int_equal(quotas[0], 4);
	free(m);
}

static void sizes(void **state)
{
	static struct lb_ring_member many[LB_RING_MEMBERS_MAX + 1];
	struct lb_ring_member *m = members_make((uint32_t[]){40000, 30000, 0, 1}, 4);

	(void)state;
	assert_int_equal(lb_ring_size(LB_SCHED_RR, m, 4, 0), 3);
	assert_int_equal(lb_ring_size(LB_SCHED_WRR, m, 4, 0), LB_RING_SIZE_MAX);
	assert_int_equal(lb_ring_size(LB_SCHED_WRR, m, 3, 0), 7);
	m[3].weight = 65536 - 40000 - 30000 + 10000; /* just what fits, once not */
	m[0].weight = 30000;
	assert_int_equal(lb_ring_size(LB_SCHED_WRR, m, 4, 0), 65536 / 16);
	m[3].weight = 5535;
	assert_int_equal(lb_ring_size(LB_SCHED_WRR, m, 4, 0), 65535 / 15);
	m[3].weight = 5537;
	assert_int_equal(lb_ring_size(LB_SCHED_WRR, m, 4, 0), LB_RING_SIZE_MAX);

	assert_int_equal(lb_ring_size(LB_SCHED_MAGLEV, m, 4, 65537), 65537);
	assert_int_equal(lb_ring_size(LB_SCHED_MAGLEV, m, 4, 3), 3);
	assert_int_equal(lb_ring_size(LB_SCHED_MAGLEV, m, 4, 2), -EINVAL); /* three with a weight */
	assert_int_equal(lb_ring_size(LB_SCHED_MAGLEV, m, 4, 65536), -EINVAL);
	assert_int_equal(lb_ring_size(LB_SCHED_MAGLEV, m, 4, 0), -EINVAL);
	assert_int_equal(lb_ring_size(LB_SCHED_MAGLEV, m, 4, 655379),
			 -EINVAL); /* prime, too large */
	assert_int_equal(lb_ring_size(LB_SCHED_MAGLEV, m, 0, 65537), 0);
	assert_int_equal(lb_ring_size(LB_SCHED_MAGLEV, m + 2, 1, 65537), 0);

	assert_int_equal(lb_ring_size(LB_SCHED_RR, many, ARRAY_SIZE(many), 0), -EINVAL);
	for (size_t i = 0; i < LB_RING_MEMBERS_MAX; i++)
		many[i].weight = i % 2 ? 65535 : 1;
	assert_int_equal(lb_ring_size(LB_SCHED_RR, many, LB_RING_MEMBERS_MAX, 0),
			 LB_RING_MEMBERS_MAX);
	assert_int_equal(lb_ring_size(LB_SCHED_WRR, many, LB_RING_MEMBERS_MAX, 0),
			 LB_RING_SIZE_MAX);
	free(m);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* As many different weights as 65,536 slots can hold, and a thousand and 65,535 members. */
static void large_rings(void **state)
{
	static uint32_t weights[LB_RING_MEMBERS_MAX];
	static const size_t sizes[] = {10, 361, 1000, LB_RING_MEMBERS_MAX};

	(void)state;
	for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
		struct lb_ring_member *m;
		uint16_t *slots;
		double start;
		int size;
		uint32_t *seen = calloc(sizes[s], sizeof(*seen));

		assert_non_null(seen);
		for (size_t i = 0; i < sizes[s]; i++)
			weights[i] =
				sizes[s] == 361 ? (uint32_t)i + 1 : 1 + (uint32_t)i * 7919 % 65535;
		m = members_make(weights, sizes[s]);
		start = seconds();
		size = ring_make(LB_SCHED_WRR, m, sizes[s], &slots);
		start = seconds() - start;
		assert_int_equal(size, sizes[s] == 361 ? 361 * 362 / 2 : LB_RING_SIZE_MAX);
		print_message("           %zu members, %d slots: %.1f ms\n", sizes[s], size,
			      start * 1e3);
		for (int i = 0; i < size; i++)
			seen[slots[i]]++;
		for (size_t i = 0; i < sizes[s]; i++)
			assert_true(seen[i]);
		free(seen);
		free(slots);
		free(m);
	}
}

static int u64_order(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Pools that differ in one thing: an address bit, port, family, weight, number, order, size. */
static void keys_differ(void **state)
{
	enum { N = 20, PER = 2000 };
	static uint64_t keys[N * PER];
	uint32_t weights[N];
	size_t n = 0;

	(void)state;
	for (size_t i = 0; i < N; i++)
		weights[i] = 1;
	for (size_t members = 1; members <= N; members++) {
		struct lb_ring_member *m = members_make(weights, members), was;

		for (size_t k = 0; k < PER / 4; k++) {
			struct lb_ring_member *one = &m[k % members];
			uint32_t step = 1 + (uint32_t)(k / members);

			was = *one;
			one->weight += step;
			keys[n++] = lb_ring_key(LB_SCHED_MAGLEV, m, members, 100);
			*one = was;
			one->at.port = (uint16_t)(one->at.port + step);
			keys[n++] = lb_ring_key(LB_SCHED_MAGLEV, m, members, 100);
			*one = was;
			one->at.addr.b[12] ^= (uint8_t)step;
			one->at.addr.b[9] ^= (uint8_t)(step >> 8);
			keys[n++] = lb_ring_key(LB_SCHED_MAGLEV, m, members, 100);
			*one = was;
			keys[n++] = lb_ring_key(LB_SCHED_MAGLEV, m, members, 101 + (uint32_t)k);
		}
		free(m);
	}
	assert_int_equal(n, ARRAY_SIZE(keys));
	qsort(keys, n, sizeof(*keys), u64_order);
	for (size_t i = 1; i < n; i++)
		assert_true(keys[i] != keys[i - 1]);
}

static void keys_share(void **state)
{
	struct lb_ring_member *m = members_make((uint32_t[]){2, 1}, 2), swapped[2];
	uint64_t key = lb_ring_key(LB_SCHED_WRR, m, 2, 3);

	(void)state;
	swapped[0] = m[1];
	swapped[1] = m[0];
	assert_true(key == lb_ring_key(LB_SCHED_RANDOM, m, 2, 3));
	assert_true(key == lb_ring_key(LB_SCHED_SH, m, 2, 3));
	assert_true(key != lb_ring_key(LB_SCHED_RR, m, 2, 3));
	assert_true(key != lb_ring_key(LB_SCHED_MAGLEV, m, 2, 3));
	assert_true(key != lb_ring_key(LB_SCHED_WRR, swapped, 2, 3));
	assert_true(key != lb_ring_key(LB_SCHED_WRR, m, 1, 3));
	m[0].at.family = LB_V6; /* which rings that hold positions do not show */
	m[1].at.port++;
	assert_true(key == lb_ring_key(LB_SCHED_WRR, m, 2, 3));
	m[0].weight++;
	assert_true(key != lb_ring_key(LB_SCHED_WRR, m, 2, 3));
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rr_has_one_slot_each),
		cmocka_unit_test(weighted_known_orders),
		cmocka_unit_test(weighted_equals_reference),
		cmocka_unit_test(quotas_are_largest_remainders),
		cmocka_unit_test(quotas_leave_nobody_out),
		cmocka_unit_test(sizes),
		cmocka_unit_test(large_rings),
		cmocka_unit_test(keys_differ),
		cmocka_unit_test(keys_share),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
