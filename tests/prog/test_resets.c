/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_resets.c - how many resets a CPU makes in a tick: so many that end connections of ours, and
 * as many others; by both hooks and families.
 */

#include "lib_flow.h"
#include "lib_group.h"

#define BUCKETS 256
#define MAX     5
#define BACKENDS                                                                                   \
	{                                                                                          \
		{"10.1.0.11", 8080, 1},                                                            \
		{                                                                                  \
			"fd00:1::11", 8080, 1                                                      \
		}                                                                                  \
	}

/* At an address that is not the host's, which would answer itself. */
static const struct run_service services[] = {
	{"web", LB_SCHED_RR, .listens = {{NET_VIP_AWAY, 80, LB_TCP}, {NET_VIP6_AWAY, 80, LB_TCP}},
	 .backends = BACKENDS},
};

static uint16_t next_port;

static struct flow tcp(void)
{
	struct flow f = flow_make(&run, hook, family, next_port++, 80, 0);

	f.service = family == LB_V4 ? NET_VIP_AWAY : NET_VIP6_AWAY;
	return f;
}

/* All that one CPU makes in this tick for connections that nobody knows. */
static void use_up_unknown(void)
{
	for (int i = 0; i < 3 * MAX; i++) {
		struct flow f = tcp();

		assert_int_equal(flow_send(&f, PKT_ACK),
				 i < MAX ? LB_REASON_NO_CONNECTION_RESET : LB_REASON_RESET_LIMITED);
	}
}

static void test_unknown(void **state)
{
	(void)state;
	for (int tick = 0; tick < 3; tick++) {
		for (int cpu = 0; cpu < 2 && cpu < run.cpus; cpu++) {
			assert_int_equal(run_stay_on(cpu), 0);
			use_up_unknown();
		}
		run_later(&run, 1);
	}
}

/* Connections whose backend is removed, while others have used up theirs: each gets its reset, and
 * those that are too many keep their entries for when they ask again. */
static void test_gone(void **state)
{
	struct flow flows[2 * MAX];
	uint32_t id;

	(void)state;
	assert_int_equal(run_stay_on(0), 0);
	for (int i = 0; i < 2 * MAX; i++) {
		flows[i] = tcp();
		assert_int_equal(flow_establish(&flows[i]), RUN_FORWARDED);
	}
	id = run_backend_id(&run, 1, &flows[0].backend);
	run.backends[id].state = LB_BACKEND_GONE;
	use_up_unknown();
	for (int i = 0; i < 2 * MAX; i++) {
		assert_int_equal(flow_send(&flows[i], PKT_ACK),
				 i < MAX ? LB_REASON_BACKEND_GONE_RESET : LB_REASON_RESET_LIMITED);
		assert_int_equal(flow_state(&flows[i]),
				 i < MAX ? LB_CONN_CLOSED : LB_CONN_ESTABLISHED);
	}
	run_later(&run, 1);
	for (int i = 0; i < 3 * MAX; i++) /* who was told already keeps nobody from it */
		assert_int_equal(flow_send(&flows[0], PKT_ACK),
				 i < MAX ? LB_REASON_BACKEND_GONE_RESET : LB_REASON_RESET_LIMITED);
	for (int i = MAX; i < 2 * MAX; i++)
		assert_int_equal(flow_send(&flows[i], PKT_ACK), LB_REASON_BACKEND_GONE_RESET);
	run.backends[id].state = LB_BACKEND_LIVE;
}

static int fresh(void **state)
{
	(void)state;
	next_port = 20000;
	run_forget_connections(&run);
	run_later(&run, 1000);
	return 0;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_unknown, fresh),
		cmocka_unit_test_setup(test_gone, fresh),
	};

	run_resets_max = MAX;
	return group_run("resets", services, BUCKETS, 13, tests);
}
