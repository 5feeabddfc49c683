/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_sweep.c - the timer that collects expired connections: it goes through both tables, again
 * and again, and takes exactly those whose time is over, also out of what their backends are
 * counted for.
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

#include "lib_run.h"

#define BUCKETS4 2500 /* several pieces each, and none of them whole */
#define BUCKETS6 1500
#define SLOTS4   (BUCKETS4 * LB_CONN4_SLOTS)
#define SLOTS    (SLOTS4 + BUCKETS6 * LB_CONN6_SLOTS)
#define VERSION  9
#define NOW      200000
#define PATIENCE 60 /* seconds */

static const struct run_service service = {
	"web", LB_SCHED_RR, .listens = {{"*", 80, LB_TCP}},
	.backends = {{"10.1.0.11", 8080, 1}, {"10.1.0.12", 8080, 1}, {"fd00:1::11", 8080, 1}}};

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
		uint32_t timeout = run.skel->data_timeouts->lb_timeouts.ticks[state];
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sweep),
		cmocka_unit_test(test_twice),
	};
	int rc = run_open(&run, BUCKETS4, BUCKETS6, 1);

	if (rc) {
		fprintf(stderr, "test_sweep: loading the programs: %s\n", strerror(-rc));
		return 1;
	}
	run_add_service(&run, &service);
	run_clock(&run, NOW);
	rc = cmocka_run_group_tests_name("sweep", tests, NULL, NULL);
	run_close(&run);
	return rc;
}
