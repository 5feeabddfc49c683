/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_load.c - connections of each backend: that they are counted right whatever becomes of them,
 * who gets the next one by that (lc, wlc), and max-connections; by both hooks and families.
 */
#include <stdlib.h>
#include <string.h>

#include "lib_flow.h"
#include "lib_group.h"

#define BUCKETS  256
#define IN_SMALL 3
#define IN_LARGE 12

#define THREE(port, a, b, c, max)                                                                  \
	{                                                                                          \
		{"10.1.0.11", port, a, max}, {"10.1.0.12", port, b, max},                          \
			{"10.1.0.13", port, c, max}, {"fd00:1::11", port, a, max},                 \
			{"fd00:1::12", port, b, max}, {"fd00:1::13", port, c, max},                \
	}
#define LISTENS(port)                                                                              \
	{                                                                                          \
		{NET_VIP, port, LB_TCP}, {NET_VIP6, port, LB_TCP}, {NET_VIP, port, LB_UDP},        \
			{NET_VIP6, port, LB_UDP}, {NET_VIP_AWAY, port, LB_UDP},                    \
		{                                                                                  \
			NET_VIP6_AWAY, port, LB_UDP                                                \
		}                                                                                  \
	}
/* More than are looked at as a whole: ports tell them apart. */
#define FOUR(addr, port)                                                                           \
	{addr, port, 1}, {addr, (port) + 1, 1}, {addr, (port) + 2, 1},                             \
	{                                                                                          \
		addr, (port) + 3, 1                                                                \
	}

/* Ids are given in this order, from 1; the ports are those of the services. */
enum { LC = 1, WLC, MANY, FULL, HASH_FULL, TURNS, HASH_MANY };
static const struct run_service services[] = {
	{"lc", LB_SCHED_LC, .listens = LISTENS(80 + LC), .backends = THREE(8001, 1, 7, 1, 0)},
	{"wlc", LB_SCHED_WLC, .listens = LISTENS(80 + WLC), .backends = THREE(8002, 1, 2, 5, 0)},
	{"many", LB_SCHED_LC, .listens = LISTENS(80 + MANY),
	 .backends = {FOUR("10.1.0.11", 9001), FOUR("10.1.0.12", 9001), FOUR("10.1.0.13", 9001),
		      FOUR("fd00:1::11", 9001), FOUR("fd00:1::12", 9001)}},
	{"full", LB_SCHED_LC, .listens = LISTENS(80 + FULL), .backends = THREE(8004, 1, 1, 1, 2)},
	{"hash", LB_SCHED_SH, .listens = LISTENS(80 + HASH_FULL),
	 .backends = THREE(8005, 1, 1, 1, 2)},
	{"turns", LB_SCHED_RR, .listens = LISTENS(80 + TURNS), .backends = THREE(8006, 1, 1, 1, 2)},
	{"hash many", LB_SCHED_SH, .listens = LISTENS(80 + HASH_MANY),
	 .backends = {FOUR("10.1.0.11", 9011), FOUR("10.1.0.12", 9011), FOUR("10.1.0.13", 9011),
		      FOUR("fd00:1::11", 9011), FOUR("fd00:1::12", 9011)}},
};

static uint16_t next_port;

static struct flow flow_of(int service, uint8_t proto)
{
	return flow_make(&run, hook, family, next_port++, 80 + service, proto);
}

static uint32_t backend_of(int service, const struct flow *f)
{
	return run_backend_id(&run, service, &f->backend);
}

static uint32_t open_one(int service, struct flow *f)
{
	uint32_t id;

	*f = flow_of(service, 0);
	assert_int_equal(flow_establish(f), RUN_FORWARDED);
	id = backend_of(service, f);
	assert_true(id > 0);
	return id;
}

static int fresh(void **state)
{
	(void)state;
	next_port = 20000;
	run_forget_connections(&run);
	return 0;
}

/* Whatever a test has done: are all counters what the table holds? */
static int check_counts(void **state)
{
	(void)state;
	for (uint32_t id = 1; id < run.next_backend; id++)
		if (run.loads[id].connections != run_count_backend(&run, id)) {
			print_error("backend %u: %u connections counted, %u in the table\n", id,
				    run.loads[id].connections, run_count_backend(&run, id));
			return -1;
		}
	return 0;
}

/* ---------------------------------------------------------------- counted */

static uint32_t load_of(int service, const struct flow *f)
{
	return run.loads[backend_of(service, f)].connections;
}

static void test_tcp_counted(void **state)
{
	struct flow f, guessed;

	(void)state;
	open_one(LC, &f);
	assert_int_equal(load_of(LC, &f), 1);
	assert_int_equal(flow_send(&f, PKT_FIN | PKT_ACK), RUN_FORWARDED);
	assert_int_equal(load_of(LC, &f), 1); /* half closed */
	assert_int_equal(flow_answer(&f, PKT_FIN | PKT_ACK), RUN_FORWARDED);
	assert_int_equal(load_of(LC, &f), 0);
	assert_int_equal(flow_send(&f, PKT_ACK), RUN_FORWARDED);
	assert_int_equal(load_of(LC, &f), 0);
	assert_int_equal(flow_send(&f, PKT_SYN), RUN_FORWARDED); /* its port once more */
	assert_int_equal(load_of(LC, &f), 1);
	assert_int_equal(flow_answer(&f, PKT_RST | PKT_ACK), RUN_FORWARDED);
	assert_int_equal(load_of(LC, &f), 0);
	open_one(LC, &f);
	assert_int_equal(flow_answer(&f, PKT_RST), RUN_FORWARDED);
	assert_int_equal(load_of(LC, &f), 0);
	open_one(LC, &f);
	guessed = flow_guessed(&f);
	assert_int_equal(flow_send(&guessed, PKT_RST), RUN_FORWARDED);
	assert_int_equal(load_of(LC, &f), 0);
	assert_int_equal(flow_send(&f, PKT_ACK), RUN_FORWARDED); /* the reset was forged */
	assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
	assert_int_equal(load_of(LC, &f), 1);
}

/* The client goes straight to the backend from a port of a connection that has ended: its entry is
 * removed, and nothing is counted off twice. */
static void test_retired(void **state)
{
	char addr[64];
	struct flow f, straight;

	(void)state;
	open_one(LC, &f);
	assert_int_equal(flow_send(&f, PKT_FIN | PKT_ACK), RUN_FORWARDED);
	assert_int_equal(flow_answer(&f, PKT_FIN | PKT_ACK), RUN_FORWARDED);
	assert_int_equal(load_of(LC, &f), 0);
	straight = f;
	straight.service = pkt_addr_str(addr, &f.backend.addr);
	straight.sport = f.backend.port;
	assert_int_equal(flow_send(&straight, PKT_SYN), LB_REASON_NO_SERVICE);
	assert_int_equal(flow_state(&f), -1);
	assert_int_equal(load_of(LC, &f), 0);
}

static void test_udp_counted(void **state)
{
	struct flow f = flow_of(LC, PKT_UDP);

	(void)state;
	assert_int_equal(flow_send(&f, 0), RUN_FORWARDED);
	assert_int_equal(load_of(LC, &f), 1);
	assert_int_equal(flow_answer(&f, 0), RUN_FORWARDED);
	assert_int_equal(load_of(LC, &f), 1);
}

/* One who opens, ends, resets, is late, and whose entry is pushed out or used again: by chance. */
static void test_random(void **state)
{
	uint64_t evicted = run.seen.evicted[LB_EVICT_HALF_OPEN];
	static const int ports[] = {LC, WLC, MANY, TURNS};
	struct flow flows[64] = {};
	const char *full = getenv("TEST_FULL");
	long n = full && *full == '1' ? 250000 : 20000; /* a million by all hooks and families */

	(void)state;
	for (long i = 0; i < n; i++) {
		struct flow *f = &flows[rand() % 64], guessed = flow_guessed(f);
		static const uint8_t ends[] = {PKT_FIN | PKT_ACK, PKT_RST, PKT_ACK};

		if (!f->run || rand() % 3 == 0) {
			*f = flow_of(ports[rand() % 4], rand() % 4 ? 0 : PKT_UDP);
			f->cport = 20000 + rand() % 2000;
			rand() % 4 ? flow_send(f, PKT_SYN) : flow_establish(f);
			continue;
		}
		if (rand() % 2)
			flow_send(rand() % 4 ? f : &guessed, ends[rand() % 3]);
		else if (f->backend.port)
			flow_answer(f, rand() % 4 ? ends[rand() % 3] : PKT_SYN | PKT_ACK);
		if (rand() % 50 == 0)
			run_later(&run, rand() % 40);
	}
	assert_true(run.seen.evicted[LB_EVICT_HALF_OPEN] > evicted);
}

/* ---------------------------------------------------------------- chosen */

/* Never one more than another, and among equal ones each has its turn. */
static void test_lc(void **state)
{
	struct flow f[30], g;
	uint32_t first = open_one(LC, &f[0]), id;
	int lost = 0;

	(void)state;
	for (int i = 1; i < 30; i++)
		open_one(LC, &f[i]);
	for (uint32_t k = 0; k < IN_SMALL; k++)
		assert_int_equal(load_of(LC, &f[k]), 10);
	/* Whoever has lost connections gets the next ones. */
	for (int i = 0; i < 30; i++) {
		if (backend_of(LC, &f[i]) != first || lost == 4)
			continue;
		assert_int_equal(flow_send(&f[i], PKT_RST), RUN_FORWARDED);
		lost++;
	}
	for (int i = 0; i < lost; i++)
		assert_int_equal(open_one(LC, &g), first);
	id = open_one(LC, &g);
	for (int i = 0; i < 2; i++)
		assert_int_not_equal(open_one(LC, &g), id);
}

static void test_wlc(void **state)
{
	uint32_t count[64] = {0};
	struct flow f;

	(void)state;
	for (int i = 0; i < 80; i++)
		count[open_one(WLC, &f)]++;
	/* 1 : 2 : 5 */
	for (const char *const *a =
		     (const char *const[]){"10.1.0.11", "10.1.0.12", "10.1.0.13", "fd00:1::11",
					   "fd00:1::12", "fd00:1::13", NULL};
	     *a; a++) {
		struct pkt_end at = pkt_end(*a, 8002);
		static const uint32_t shares[] = {10, 20, 50};

		if ((at.addr.family == 4) == (family == LB_V4))
			assert_int_equal(count[run_backend_id(&run, WLC, &at)],
					 shares[(*a)[strlen(*a) - 1] - '1']);
	}
}

/* Of many two are looked at: all get their share, nearly. */
static void test_many(void **state)
{
	uint32_t n = family == LB_V4 ? IN_LARGE : 8, most = 0, least = ~0u;
	struct flow f;

	(void)state;
	for (int i = 0; i < 120; i++)
		open_one(MANY, &f);
	for (uint32_t id = 1; id < run.next_backend; id++) {
		if (run.backends[id].service != MANY || run.backends[id].family != family)
			continue;
		most = run.loads[id].connections > most ? run.loads[id].connections : most;
		least = run.loads[id].connections < least ? run.loads[id].connections : least;
	}
	assert_in_range(least, 120 / n - 2, 120 / n);
	assert_in_range(most, 120 / n, 120 / n + 2);
}

/* ---------------------------------------------------------------- limited */

/* Each takes two, whatever the scheduler; the seventh is refused, and let in when one has ended. */
static void fill_and_refuse(int service)
{
	struct flow f[6], g;

	for (int i = 0; i < 6; i++)
		open_one(service, &f[i]);
	for (int i = 0; i < 6; i++)
		assert_int_equal(load_of(service, &f[i]), 2);
	g = flow_of(service, 0);
	assert_int_equal(flow_send(&g, PKT_SYN), LB_REASON_BACKENDS_FULL_RESET);
	assert_int_equal(flow_state(&g), -1);
	for (int i = 0; i < 6; i++)
		assert_int_equal(flow_send(&f[i], PKT_ACK), RUN_FORWARDED);
	assert_int_equal(flow_send(&f[3], PKT_FIN | PKT_ACK), RUN_FORWARDED);
	assert_int_equal(flow_send(&g, PKT_SYN), LB_REASON_BACKENDS_FULL_RESET);
	assert_int_equal(flow_answer(&f[3], PKT_FIN | PKT_ACK), RUN_FORWARDED);
	assert_int_equal(open_one(service, &g), backend_of(service, &f[3]));
}

/* Refused until one of six of FULL, whose time is over, is taken out; how often it was tried. */
static int tries_until_let_in(void)
{
	struct flow f;
	int tries = 0;

	do {
		f = flow_of(FULL, 0);
		tries++;
	} while (flow_send(&f, PKT_SYN) == LB_REASON_BACKENDS_FULL_RESET);
	assert_int_equal(load_of(FULL, &f), 1);
	return tries;
}

static void fill_and_expire(void)
{
	for (int i = 0; i < 6; i++) {
		struct flow f = flow_of(FULL, 0);

		assert_int_equal(flow_send(&f, PKT_SYN), RUN_FORWARDED);
	}
	run_later(&run, 31);
}

/* Those whose time is over keep nobody out: a refusal looks at the homes, where they nearly all
 * are, and that so small a table has but a few of. */
static void test_expired_full(void **state)
{
	(void)state;
	fill_and_expire();
	assert_int_equal(tries_until_let_in(), 2);
	run_later(&run, 31);
}

/* Moves all entries to the table's end. */
static void move_away(void)
{
	uint32_t to = BUCKETS;

	for (uint32_t i = 0; i < LB_CONN_HOMES(BUCKETS); i++) {
		if (run.conn4[i].tags || run.conn4[i].meta[0])
			run.conn4[--to] = run.conn4[i];
		if (run.conn6[i].tags || run.conn6[i].meta[0])
			run.conn6[--to] = run.conn6[i];
		memset(&run.conn4[i], 0, sizeof(run.conn4[i]));
		memset(&run.conn6[i], 0, sizeof(run.conn6[i]));
	}
}

/* Nor for long where they are elsewhere. */
static void test_expired_away(void **state)
{
	int tries;

	(void)state;
	fill_and_expire();
	move_away();
	tries = tries_until_let_in();
	assert_in_range(tries, 2, run.cpus * (BUCKETS / 16) + 1); /* each CPU begins by itself */
	run_later(&run, 31);
	run_forget_connections(&run);
}

/* Ports that were reset and are used again are not more than it may have. */
static void test_reset_full(void **state)
{
	struct flow f[12];
	int refused = 0;

	(void)state;
	for (int i = 0; i < 12; i++) {
		open_one(FULL, &f[i]);
		assert_int_equal(flow_send(&f[i], PKT_RST | PKT_ACK), RUN_FORWARDED);
	}
	for (int i = 0; i < 12; i++)
		refused += flow_establish(&f[i]) == LB_REASON_BACKENDS_FULL_RESET;
	assert_int_equal(refused, 6);
	for (int i = 0; i < 12; i++)
		assert_in_range(load_of(FULL, &f[i]), 0, 2);
}

static void test_full(void **state)
{
	(void)state;
	fill_and_refuse(FULL);
	fill_and_refuse(HASH_FULL);
	fill_and_refuse(TURNS);
}

static void set_max(int service, uint32_t max)
{
	for (uint32_t id = 1; id < run.next_backend; id++)
		if (run.backends[id].service == (uint32_t)service)
			run.loads[id].max[0] = max;
}

/* A hash names one of many, and those behind it, in turn, take what is too much for it. */
static void test_overflow(void **state)
{
	uint32_t n = family == LB_V4 ? IN_LARGE : 8;
	struct flow f;

	(void)state;
	set_max(HASH_MANY, 1);
	for (uint32_t i = 0; i < n; i++) {
		open_one(HASH_MANY, &f);
		assert_int_equal(load_of(HASH_MANY, &f), 1);
	}
	f = flow_of(HASH_MANY, 0);
	assert_int_equal(flow_send(&f, PKT_SYN), LB_REASON_BACKENDS_FULL_RESET);
	set_max(HASH_MANY, 0);
}

static void test_udp_full(void **state)
{
	struct flow f;

	(void)state;
	for (int i = 0; i < 6; i++) {
		f = flow_of(FULL, PKT_UDP);
		assert_int_equal(flow_send(&f, 0), RUN_FORWARDED);
	}
	f = flow_of(FULL, PKT_UDP);
	assert_int_equal(flow_send(&f, 0), LB_REASON_BACKENDS_FULL_LOCAL);
	f.service = family == LB_V4 ? NET_VIP_AWAY : NET_VIP6_AWAY;
	assert_int_equal(flow_send(&f, 0), LB_REASON_BACKENDS_FULL);
}

/* Those that were taken up in the middle, and have a backend already, are never sent elsewhere. */
static void test_middle_full(void **state)
{
	struct flow f[7];

	(void)state;
	for (int i = 0; i < 7; i++) {
		f[i] = flow_of(HASH_FULL, 0);
		assert_int_equal(flow_send(&f[i], PKT_ACK), RUN_FORWARDED);
		assert_int_equal(backend_of(HASH_FULL, &f[i]), backend_of(HASH_FULL, &f[0]));
	}
}

/* A new max is in force with the generation that brings it. */
static void test_generation(void **state)
{
	struct flow f;
	uint32_t id = open_one(LC, &f), generation = run.config->generation;
	struct lb_load *l = &run.loads[id];

	(void)state;
	for (int i = 0; i < 5; i++)
		open_one(LC, &f);
	l->max[1] = 2;
	l->select = (generation + 1) << 1 | 1;
	for (int i = 0; i < 3; i++)
		open_one(LC, &f);
	assert_int_equal(l->connections, 3);
	run.config->generation++;
	for (int i = 0; i < 6; i++)
		assert_int_not_equal(open_one(LC, &f), id);
	assert_int_equal(l->connections, 3);
	l->select = 0;
}

/* An id that was given away: what ends of its former connections is not counted off. */
static void test_given_away(void **state)
{
	struct flow f;
	uint32_t id = open_one(LC, &f);

	(void)state;
	run.backends[id].reuse++;
	run.loads[id].connections = 0;
	flow_send(&f, PKT_FIN | PKT_ACK);
	flow_send(&f, PKT_SYN);
	assert_true(run.loads[id].connections <= 1);
	run.backends[id].reuse--;
	run_forget_connections(&run);
}

#define LOAD_TEST(f) cmocka_unit_test_setup_teardown(f, fresh, check_counts)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		LOAD_TEST(test_tcp_counted),  LOAD_TEST(test_udp_counted),
		LOAD_TEST(test_random),       LOAD_TEST(test_lc),
		LOAD_TEST(test_wlc),          LOAD_TEST(test_many),
		LOAD_TEST(test_expired_full), LOAD_TEST(test_full),
		LOAD_TEST(test_udp_full),     LOAD_TEST(test_middle_full),
		LOAD_TEST(test_generation),   LOAD_TEST(test_given_away),
		LOAD_TEST(test_overflow),     LOAD_TEST(test_retired),
		LOAD_TEST(test_expired_away), LOAD_TEST(test_reset_full),
	};

	return group_run("load", services, BUCKETS, 1, tests);
}
