/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_flood.c - a full table, through the whole program: who gives way to whom, that it is
 * counted, and that no flood pushes out what is established; by both hooks, in both families.
 */
#include <stdlib.h>
#include <string.h>

#include "lib_flow.h"
#include "lib_group.h"

#define SMALL     4 /* buckets, all of which are everybody's */
#define LARGE     256
#define SLOTS_MAX (SMALL * LB_CONN6_SLOTS)
#define TRIALS    50

enum { WEB = 80, DNS = 53, HASHED = 83 }; /* the services' ports */
static const struct run_service services[] = {
	{"web", LB_SCHED_RR, .listens = {{NET_VIP, WEB, LB_TCP}, {NET_VIP6, WEB, LB_TCP}},
	 .backends = {{"10.1.0.11", 8080, 1}, {"fd00:1::11", 8080, 1}}},
	{"dns", LB_SCHED_RR, .listens = {{NET_VIP, DNS, LB_UDP}, {NET_VIP6, DNS, LB_UDP}},
	 .backends = {{"10.1.0.11", 5353, 1}, {"fd00:1::11", 5353, 1}}},
	/* Takes up what it does not know in the middle. */
	{"hashed", LB_SCHED_SH, .listens = {{NET_VIP, HASHED, LB_TCP}, {NET_VIP6, HASHED, LB_TCP}},
	 .backends = {{"10.1.0.12", 8080, 1}, {"fd00:1::12", 8080, 1}}},
};

static uint16_t next_port;

static struct flow flow_to(uint16_t port)
{
	return flow_make(&run, hook, family, next_port++, port, port == DNS ? PKT_UDP : 0);
}

/* What is sent of a connection: c: by the client, b: by the backend; S: SYN, A: SYN-ACK, a: ACK, F,
 * R: with ACK; r: RST by numbers that are only guessed. */
static int flow_play(struct flow *f, const char *packets)
{
	int rc = RUN_FORWARDED;

	for (const char *p = packets; *p && rc == RUN_FORWARDED; p += 2) {
		uint8_t flags = p[1] == 'S'                  ? PKT_SYN
				: p[1] == 'A'                ? PKT_SYN | PKT_ACK
				: p[1] == 'F'                ? PKT_FIN | PKT_ACK
				: p[1] == 'R' || p[1] == 'r' ? PKT_RST | PKT_ACK
							     : PKT_ACK;

		struct flow guessed = flow_guessed(f), *by = p[1] == 'r' ? &guessed : f;

		rc = *p == 'c' ? flow_send(by, flags) : flow_answer(by, flags);
	}
	return rc;
}

/* In the order in which they are to give way; of each kind the one that is opened first. */
static const struct {
	uint16_t port;
	const char *packets;
	int state;
	int kind;  /* -1: expired by then, LB_EVICT_KINDS: never */
	bool last; /* made when all others have been silent for a while */
} entries[] = {
	{WEB, "cS", LB_CONN_SYN_SENT, -1, false},
	{WEB, "cSbAcabFcF", LB_CONN_CLOSING, LB_EVICT_CLOSING, false},
	{WEB, "cSbR", LB_CONN_CLOSED, LB_EVICT_CLOSING, true},
	{WEB, "cSbAcacR", LB_CONN_CLOSED, LB_EVICT_CLOSING, true},
	{WEB, "cS", LB_CONN_SYN_SENT, LB_EVICT_HALF_OPEN, false},
	{WEB, "cSbA", LB_CONN_SYN_RECV, LB_EVICT_HALF_OPEN, false},
	{HASHED, "ca", LB_CONN_SYN_SENT, LB_EVICT_HALF_OPEN, false},
	{DNS, "ca", LB_CONN_UDP_NEW, LB_EVICT_HALF_OPEN, false},
	{WEB, "cSbAcabFcF", LB_CONN_CLOSING, LB_EVICT_CLOSING, true},
	{DNS, "caba", LB_CONN_UDP, LB_EVICT_UDP, false},
	{WEB, "cSbAcacr", LB_CONN_RESET, LB_EVICT_RESET, false},
	{WEB, "cSbAca", LB_CONN_ESTABLISHED, LB_EVICT_KINDS, false},
	{WEB, "cSbAcacF", LB_CONN_FIN_CLIENT, LB_EVICT_KINDS, false},
	{WEB, "cSbAcabF", LB_CONN_FIN_BACKEND, LB_EVICT_KINDS, false},
	{HASHED, "cabaca", LB_CONN_ESTABLISHED, LB_EVICT_KINDS, false},
};
#define N_ENTRIES ((int)(sizeof(entries) / sizeof(entries[0])))

static int n_slots(void)
{
	return SMALL * (family == LB_V4 ? LB_CONN4_SLOTS : LB_CONN6_SLOTS);
}

/* Opens all that is to be pushed out, each in a tick of its own, and what stays, until all slots
 * are taken. `last`: those that come last, or all others. */
static void table_fill(struct flow flows[SLOTS_MAX], bool last)
{
	for (int i = 0; i < n_slots(); i++) {
		int e = i < N_ENTRIES ? i : N_ENTRIES - 1;

		if (entries[e].last != last)
			continue;
		flows[i] = flow_to(entries[e].port);
		assert_int_equal(flow_play(&flows[i], entries[e].packets), RUN_FORWARDED);
		assert_int_equal(flow_state(&flows[i]), entries[e].state);
		run_later(&run, (i ? 1 : 31)); /* the first one's timeout is 30 */
	}
}

/* Are the first ones gone, and all others as they were? */
static void check_gone(const struct flow *flows, int gone)
{
	for (int i = 0; i < n_slots(); i++) {
		int e = i < N_ENTRIES ? i : N_ENTRIES - 1;

		assert_int_equal(flow_state(&flows[i]), i < gone ? -1 : entries[e].state);
	}
}

static void check_evicted(uint64_t expected[LB_EVICT_KINDS])
{
	assert_memory_equal(run.seen.evicted, expected, sizeof(run.seen.evicted));
}

/* Each new connection takes the place of the next one in the list and is established itself, until
 * all are: then nobody is let in any more. */
static void test_order(void **state)
{
	struct flow flows[SLOTS_MAX], f;
	uint64_t evicted[LB_EVICT_KINDS];
	int i;

	(void)state;
	memcpy(evicted, run.seen.evicted, sizeof(evicted));
	table_fill(flows, false);
	table_fill(flows, true);
	check_evicted(evicted);
	for (i = 0; entries[i].kind < LB_EVICT_KINDS; i++) {
		f = flow_to(WEB);
		assert_int_equal(flow_establish(&f), RUN_FORWARDED);
		if (entries[i].kind >= 0)
			evicted[entries[i].kind]++;
		check_gone(flows, i + 1);
		check_evicted(evicted);
	}
	for (int n = 0; n < 1000; n++) {
		static const uint16_t ports[] = {WEB, HASHED, DNS};

		f = flow_to(ports[n % 3]);
		assert_int_equal(flow_send(&f, f.sport == WEB ? PKT_SYN : PKT_ACK),
				 LB_REASON_TABLE_FULL);
		assert_int_equal(flow_state(&f), -1);
	}
	check_gone(flows, i);
	check_evicted(evicted);
}

/* What a flood brings pushes out its own kind alone, and one slot is enough to let somebody in. */
static void test_one_slot_left(void **state)
{
	struct flow flows[SLOTS_MAX], f;
	uint64_t evicted[LB_EVICT_KINDS];

	(void)state;
	for (int i = 0; i < n_slots() - 1; i++) {
		flows[i] = flow_to(WEB);
		assert_int_equal(flow_establish(&flows[i]), RUN_FORWARDED);
	}
	memcpy(evicted, run.seen.evicted, sizeof(evicted));
	for (int n = 0; n < 1000; n++) {
		static const uint16_t ports[] = {WEB, HASHED, DNS};

		f = flow_to(ports[n % 3]);
		assert_int_equal(flow_send(&f, f.sport == WEB ? PKT_SYN : PKT_ACK), RUN_FORWARDED);
	}
	f = flow_to(WEB);
	assert_int_equal(flow_establish(&f), RUN_FORWARDED);
	evicted[LB_EVICT_HALF_OPEN] += 1000;
	check_evicted(evicted);
	for (int i = 0; i < n_slots() - 1; i++)
		assert_int_equal(flow_state(&flows[i]), LB_CONN_ESTABLISHED);
	assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
}

/* What comes of each connection of a flood, as flow_play() has it. */
static const struct {
	const char *what, *packets;
	uint16_t port;
	int ticks; /* how long before */
} floods[] = {
	{"unanswered", "cS", WEB, 0},
	{"refused", "cSbR", WEB, 0},
	{"reset by who began", "cSbAcR", WEB, 0},
	{"taken up and reset", "cabR", HASHED, 0},
	{"served some seconds ago", "cSbAcabFcF", WEB, 3},
};
#define N_FLOODS (sizeof(floods) / sizeof(floods[0]))

/* A flood that fills the table, most within a tick: all half-open ones are of one age. Who has just
 * come must not be the next to go, for its handshake takes a while. Returns how many of TRIALS
 * outlive as many others as fill a quarter of the table; if all were alike, e^(-1/4), 78 %. */
static int handshakes_in(int flood)
{
	const int slots = LARGE * (family == LB_V4 ? LB_CONN4_SLOTS : LB_CONN6_SLOTS);
	struct flow f = flow_to(floods[flood].port), mine = flow_to(WEB), one;
	int survivors = 0;

	for (int n = 0; n < 3 * slots; n++, f.cport++) {
		one = f;
		assert_int_equal(flow_play(&one, floods[flood].packets), RUN_FORWARDED);
	}
	for (int i = 0; i < TRIALS; i++) {
		run_later(&run, floods[flood].ticks);
		mine.cport = f.cport++;
		assert_int_equal(flow_send(&mine, PKT_SYN), RUN_FORWARDED);
		for (int n = 0; n < slots / 4; n++, f.cport++) {
			one = f;
			assert_int_equal(flow_play(&one, floods[flood].packets), RUN_FORWARDED);
		}
		survivors += flow_answer(&mine, PKT_SYN | PKT_ACK) == RUN_FORWARDED;
	}
	return survivors;
}

static void test_handshake_in_flood(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_FLOODS; i++) {
		int survivors;

		run_fresh(&run);
		survivors = handshakes_in(i);
		printf("  IPv%d, %s: %d of %d handshakes outlive as many others as fill 1/4 of the "
		       "table\n",
		       family == LB_V4 ? 4 : 6, floods[i].what, survivors, TRIALS);
		assert_true(survivors >= TRIALS / 2);
	}
}

static int fresh(void **state)
{
	(void)state;
	run_fresh(&run);
	next_port = 1024;
	return 0;
}

#define FLOOD_TEST(f) cmocka_unit_test_setup(f, fresh)

static const struct CMUnitTest small[] = {
	FLOOD_TEST(test_order),
	FLOOD_TEST(test_one_slot_left),
};
static const struct CMUnitTest large[] = {
	FLOOD_TEST(test_handshake_in_flood),
};

int main(void)
{
	return group_run("flood", services, SMALL, 11, small) +
	       group_run("flood", services, LARGE, 11, large);
}
