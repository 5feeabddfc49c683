/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_sweep.c - the timer that collects expired connections: it goes through both tables, again
 * and again, and takes exactly those whose time is over, also out of what their backends are
 * counted for; through the homes as often in a table of the default limits as its pieces let it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <bpf/bpf.h>

#include "lib_flow.h"

#define BUCKETS4 2500 /* several pieces each, and none of them whole */
#define BUCKETS6 1500
#define SLOTS4   (BUCKETS4 * LB_CONN4_SLOTS)
#define SLOTS    (SLOTS4 + BUCKETS6 * LB_CONN6_SLOTS)
#define VERSION  9
#define NOW      200000
#define PATIENCE 60      /* seconds */
#define LIMIT    1000000 /* of connections, by default, at least */
#define PIECE    1024    /* LB_SWEEPER_BUCKETS */

static const struct run_service service = {"web", LB_SCHED_RR, .listens = {{"*", 80, LB_TCP}},
					   .backends = {{"10.1.0.11", 8080, 1, 1},
							{"10.1.0.12", 8080, 1, 1},
							{"fd00:1::11", 8080, 1, 1}}};

static struct run run;
static uint32_t due[SLOTS]; /* each slot's meta, when all is collected */

static uint32_t *meta_of(uint32_t i)
{
	uint32_t j = i - SLOTS4;

	return i < SLOTS4 ? &run.conn4[i / LB_CONN4_SLOTS].meta[i % LB_CONN4_SLOTS]
			  : &run.conn6[j / LB_CONN6_SLOTS].meta[j % LB_CONN6_SLOTS];
}

static uint32_t *ref_of(uint32_t i)
{
	uint32_t j = i - SLOTS4;

	return i < SLOTS4 ? &run.conn4[i / LB_CONN4_SLOTS].key[i % LB_CONN4_SLOTS].ref
			  : &run.conn6[j / LB_CONN6_SLOTS].key[j % LB_CONN6_SLOTS].ref;
}

static bool is_used(uint32_t meta)
{
	return LB_META_STATE(meta) > LB_CONN_BUSY;
}

static uint32_t as_dead(uint32_t meta)
{
	return LB_META(VERSION, LB_CONN_DEAD, LB_META_TICK(meta));
}

/* All states in turn, in the last tick of their time, and one later. */
static void fill(void)
{
	for (uint32_t i = 0; i < SLOTS; i++) {
		uint32_t state = i % LB_CONN_STATES, id = 1 + i / LB_CONN_STATES % 3;
		bool over = i / 3 / LB_CONN_STATES % 2;
		uint32_t timeout = run_ticks(&run, state);
		uint32_t meta = LB_META(VERSION, state, NOW - timeout - over);

		*ref_of(i) = id;
		*meta_of(i) = meta;
		run.loads[id].connections += lb_conn_counts(state);
		due[i] = over && is_used(meta) ? as_dead(meta) : meta;
	}
}

static int timer_start(void)
{
	const uint8_t packet[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));
	int rc = bpf_prog_test_run_opts(bpf_program__fd(run.skel->progs.meshlb_sweeper), &opts);

	return rc ? rc : (int)opts.retval;
}

/* Slots that are not as they are due, and the first of them. */
static uint32_t wrong(uint32_t *first)
{
	uint32_t n = 0;

	for (uint32_t i = SLOTS; i--;) {
		if (__atomic_load_n(meta_of(i), __ATOMIC_ACQUIRE) == due[i])
			continue;
		*first = i;
		n++;
	}
	return n;
}

static void expect_due(void)
{
	const struct timespec pause = {.tv_nsec = 20000000};
	time_t end = time(NULL) + PATIENCE;
	uint32_t count[4] = {}, first = 0, n;

	while ((n = wrong(&first)) && time(NULL) < end)
		nanosleep(&pause, NULL);
	if (n)
		fail_msg("%u of %u slots are wrong; slot %u has %08x, where %08x is due", n, SLOTS,
			 first, *meta_of(first), due[first]);
	for (uint32_t i = 0; i < SLOTS; i++)
		count[*ref_of(i)] += lb_conn_counts(LB_META_STATE(due[i]));
	nanosleep(&pause, NULL); /* the last one is counted after it was collected */
	for (uint32_t id = 1; id < 4; id++)
		assert_int_equal(run.loads[id].connections, count[id]);
}

/* Connections are refused for expired ones of the homes just until each bucket of them was looked
 * at: that takes two refusals on one CPU. */
static void test_refusals(void **state)
{
	const uint32_t homes = LB_CONN_HOMES(BUCKETS4);
	struct flow f = {.run = &run,
			 .hook = LB_HOOK_XDP,
			 .client = NET_CLIENT,
			 .service = NET_VIP,
			 .cport = 20000,
			 .sport = 80};

	(void)state;
	for (uint32_t i = 0; i < homes; i++) {
		*ref_of(i * LB_CONN4_SLOTS) = 1 + i % 2;
		*meta_of(i * LB_CONN4_SLOTS) = LB_META(VERSION, LB_CONN_SYN_SENT, NOW - 5000);
		run.loads[1 + i % 2].connections++;
	}
	/* The first one that is let in lets out one that is too much for its backend. */
	run.loads[1].connections += 2;
	run.loads[2].connections += 2;
	for (int i = 0; i < run.cpus + 1; i++)
		assert_int_equal(flow_send(&f, PKT_SYN), LB_REASON_BACKENDS_FULL_RESET);
	for (uint32_t i = 0; i < homes; i++)
		assert_int_equal(LB_META_STATE(*meta_of(i * LB_CONN4_SLOTS)), LB_CONN_DEAD);
	run_forget_connections(&run);
}

static void test_sweep(void **state)
{
	(void)state;
	fill();
	assert_int_equal(timer_start(), 0);
	expect_due();

	/* The timer goes on. */
	for (uint32_t i = 0; i < SLOTS; i++)
		due[i] = is_used(due[i]) ? as_dead(due[i]) : due[i];
	run_clock(&run, NOW + 1);
	expect_due();
}

static void test_twice(void **state)
{
	(void)state;
	assert_int_equal(timer_start(), -EBUSY); /* one map, one timer */
}

/* ---------------------------------------------------------------- default limits */

/* As bpf/sweep.h has it. */
struct part {
	uint32_t next, passes;
};
struct sweeper {
	uint64_t timer[2];
	struct part homes, rest;
};

static struct sweeper sweeper(void)
{
	struct sweeper s = {};
	uint32_t zero = 0;

	assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(run.skel->maps.lb_sweeper), &zero, &s), 0);
	return s;
}

/* The meta in bucket `at` of the homes, or of the rest, as the timer goes through them. */
static uint32_t *part_meta(bool homes, uint32_t at)
{
	uint32_t homes4 = LB_CONN_HOMES(run.buckets4), homes6 = LB_CONN_HOMES(run.buckets6);
	uint32_t n4 = homes ? homes4 : run.buckets4 - homes4, i = at - n4;

	if (at < n4)
		return &run.conn4[homes ? at : homes4 + at].meta[at % LB_CONN4_SLOTS];
	return &run.conn6[homes ? i : homes6 + i].meta[i % LB_CONN6_SLOTS];
}

static uint32_t part_size(bool homes)
{
	uint32_t n = LB_CONN_HOMES(run.buckets4) + LB_CONN_HOMES(run.buckets6);

	return homes ? n : run.buckets4 + run.buckets6 - n;
}

static uint32_t runs_of(struct part part, uint32_t buckets)
{
	return part.passes * ((buckets + PIECE - 1) / PIECE) + part.next / PIECE;
}

static bool homes_are_through(void)
{
	return sweeper().homes.passes > 0;
}

static bool rest_is_through(void)
{
	return sweeper().rest.passes > 0;
}

/* However late this looks: each run has taken a piece of the homes and one of the rest. */
static bool runs_are_even(void)
{
	struct sweeper s = sweeper();

	return runs_of(s.homes, part_size(true)) == runs_of(s.rest, part_size(false));
}

static void wait_for(bool (*what)(void))
{
	const struct timespec pause = {.tv_nsec = 20000000};
	time_t end = time(NULL) + PATIENCE;

	while (!what() && time(NULL) < end)
		nanosleep(&pause, NULL);
	assert_true(what());
}

static void expect_dead(bool homes, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (LB_META_STATE(__atomic_load_n(part_meta(homes, i), __ATOMIC_ACQUIRE)) !=
		    LB_CONN_DEAD)
			fail_msg("bucket %u of the %s has an expired entry", i,
				 homes ? "homes" : "rest");
}

static void test_homes(void **state)
{
	const char *full = getenv("TEST_FULL");
	struct sweeper s;

	(void)state;
	for (int homes = 0; homes < 2; homes++)
		for (uint32_t i = 0; i < part_size(homes); i++)
			*part_meta(homes, i) = LB_META(VERSION, LB_CONN_CLOSED, NOW - 5000);
	assert_int_equal(timer_start(), 0);
	wait_for(homes_are_through);
	s = sweeper();
	expect_dead(true, part_size(true));
	expect_dead(false, s.rest.passes ? part_size(false) : s.rest.next);
	wait_for(runs_are_even);
	if (!full || *full != '1')
		return;
	wait_for(rest_is_through); /* 35 seconds */
	expect_dead(false, part_size(false));
}

static int sweep_group(const char *name, uint32_t buckets4, uint32_t buckets6,
		       const struct CMUnitTest *tests, size_t n)
{
	int rc = run_open(&run, buckets4, buckets6, 1);

	if (rc) {
		fprintf(stderr, "test_sweep: loading the programs: %s\n", strerror(-rc));
		return 1;
	}
	run_add_service(&run, &service);
	run_clock(&run, NOW);
	rc = _cmocka_run_group_tests(name, tests, n, NULL, NULL);
	run_close(&run);
	return rc;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_sweep),
		cmocka_unit_test(test_twice),
	};
	static const struct CMUnitTest large[] = {cmocka_unit_test(test_homes)};
	int failed = sweep_group("sweep", BUCKETS4, BUCKETS6, tests, 3);

	return failed + sweep_group("sweep, default limits", LB_CONN4_BUCKETS(LIMIT),
				    LB_CONN6_BUCKETS(LIMIT), large, 1);
}
