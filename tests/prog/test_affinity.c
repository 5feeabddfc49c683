/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_affinity.c - does a client get the same backend again, for as long as it should and no
 * longer, and does no packet take an affinity for its connection? By both hooks, in both families.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "lib_flow.h"
#include "lib_group.h"

#define SMALL 4 /* buckets, all of which are everybody's */
#define LARGE 256

enum { WEB = 80, NET, ACROSS, ACROSS2, APART, APART2, PLAIN, ALIAS, MIDWAY, DNS = 53, ACROSS3 };

/* On the three hosts, and in both families. */
#define ALL(port)                                                                                  \
	{                                                                                          \
		{"10.1.0.11", port, 1}, {"10.1.0.12", port, 1}, {"10.1.0.13", port, 1},            \
			{"fd00:1::11", port, 1}, {"fd00:1::12", port, 1},                          \
		{                                                                                  \
			"fd00:1::13", port, 1                                                      \
		}                                                                                  \
	}
#define BOTH(port, proto)                                                                          \
	{NET_VIP, port, proto},                                                                    \
	{                                                                                          \
		NET_VIP6, port, proto                                                              \
	}

static const struct run_service services[] = {
	{"web", LB_SCHED_RR, .listens = {BOTH(WEB, LB_TCP)}, .backends = ALL(8080),
	 .affinity = {32, 128}},
	{"net", LB_SCHED_RR, .listens = {BOTH(NET, LB_TCP)}, .backends = ALL(8081),
	 .affinity = {24, 68}},
	{"across", LB_SCHED_RR,
	 .listens = {BOTH(ACROSS, LB_TCP), BOTH(ACROSS2, LB_TCP), BOTH(ACROSS3, LB_UDP)},
	 .backends = ALL(8082), .affinity = {32, 128}, .across_ports = true},
	{"apart", LB_SCHED_RR,
	 .listens = {BOTH(APART, LB_TCP), BOTH(APART2, LB_TCP), BOTH(APART, LB_UDP)},
	 .backends = ALL(8083), .affinity = {32, 128}},
	{"plain", LB_SCHED_RR, .listens = {BOTH(PLAIN, LB_TCP)}, .backends = ALL(8084)},
	{"alias", LB_SCHED_RR, .listens = {BOTH(ALIAS, LB_TCP)}, .backends = ALL(8080),
	 .affinity = {32, 128}}, /* web's backends */
	{"midway", LB_SCHED_RR, .listens = {BOTH(MIDWAY, LB_TCP)}, .backends = ALL(8085),
	 .unknown = LB_UNKNOWN_HASH + 1, .affinity = {32, 128}},
	{"dns", LB_SCHED_RR, .listens = {BOTH(DNS, LB_UDP)}, .backends = ALL(5353),
	 .affinity = {32, 128}},
};
enum { WEB_ID = 1 };

static uint16_t next_port;

static const char *const clients[][LB_FAMILIES] = {
	{NET_CLIENT, NET_CLIENT6},
	{NET_FAR, NET_FAR6},
	{"198.51.100.200", "2001:db8:51:0:f00::1"}, /* of one network with it, by 24 and 68 */
	{"192.0.2.11", "2001:db8:51:0:1f00::1"},    /* of another one */
};
enum { NEAR, FAR, FAR_TOO, ELSEWHERE };

static struct flow flow_from(int client, uint16_t port)
{
	struct flow f = flow_make(&run, hook, family, next_port++, port,
				  port == DNS || port == ACROSS3 ? PKT_UDP : 0);

	f.client = clients[client][family];
	return f;
}

/* The last byte of the backend's address: 0x11 to 0x13 or 11 to 13. */
static int host_of(const struct flow *f)
{
	return f->backend.addr.b[family == LB_V4 ? 3 : 15];
}

/* A new connection's first packet; returns the backend. */
static int opens(int client, uint16_t port)
{
	struct flow f = flow_from(client, port);

	assert_int_equal(flow_send(&f, PKT_SYN), RUN_FORWARDED);
	return host_of(&f);
}

static int establishes(int client, uint16_t port)
{
	struct flow f = flow_from(client, port);

	assert_int_equal(flow_establish(&f), RUN_FORWARDED);
	return host_of(&f);
}

/* An entry of the table. */
struct entry {
	uint32_t *meta;
	union lb_conn_key key;
	const uint8_t *client, *service;
};

static struct entry entry_at(uint32_t bucket, int slot)
{
	struct lb_conn4_bucket *b4 = &run.conn4[bucket];
	struct lb_conn6_bucket *b6 = &run.conn6[bucket];

	if (family == LB_V4)
		return (struct entry){&b4->meta[slot], b4->key[slot],
				      (void *)&b4->addr[slot].client,
				      (void *)&b4->addr[slot].service};
	return (struct entry){&b6->meta[slot], b6->key[slot], (void *)b6->addr[slot].client,
			      (void *)b6->addr[slot].service};
}

/* How many affinities there are; `last`: one of them. */
static unsigned int affinities_find(struct entry *last)
{
	uint32_t buckets = family == LB_V4 ? run.buckets4 : run.buckets6;
	int slots = family == LB_V4 ? LB_CONN4_SLOTS : LB_CONN6_SLOTS;
	unsigned int n = 0;

	for (uint32_t i = 0; i < buckets * slots; i++) {
		struct entry e = entry_at(i / slots, i % slots);

		if (LB_META_STATE(*e.meta) < LB_CONN_AFFINITY_NEW)
			continue;
		n++;
		*last = e;
	}
	return n;
}

static unsigned int affinities(void)
{
	struct entry ignored;

	return affinities_find(&ignored);
}

static unsigned int affinities_in(int state)
{
	uint32_t buckets = family == LB_V4 ? run.buckets4 : run.buckets6;
	int slots = family == LB_V4 ? LB_CONN4_SLOTS : LB_CONN6_SLOTS;
	unsigned int n = 0;

	for (uint32_t i = 0; i < buckets * slots; i++)
		n += (int)LB_META_STATE(*entry_at(i / slots, i % slots).meta) == state;
	return n;
}

static struct entry the_affinity(void)
{
	struct entry e = entry_at(0, 0);

	assert_int_equal(affinities_find(&e), 1);
	return e;
}

/* The state of the only one. */
static int state_of_one(void)
{
	return LB_META_STATE(*the_affinity().meta);
}

static void test_same_backend(void **state)
{
	int mine = establishes(NEAR, WEB), other = establishes(FAR, WEB);

	(void)state;
	assert_int_not_equal(mine, other);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(i % 2 ? opens(NEAR, WEB) : establishes(NEAR, WEB), mine);
		assert_int_equal(opens(FAR, WEB), other);
	}
	assert_int_equal(affinities(), 2);
}

static void test_without(void **state)
{
	int first = establishes(NEAR, PLAIN);

	(void)state;
	assert_int_not_equal(establishes(NEAR, PLAIN), first);
	assert_int_equal(affinities(), 0);
}

static void test_expiry(void **state)
{
	int mine = establishes(NEAR, WEB), other;

	(void)state;
	assert_int_equal(state_of_one(), LB_CONN_AFFINITY);
	run_later(&run, run_ticks(&run, LB_CONN_AFFINITY));
	assert_int_equal(opens(NEAR, WEB), mine); /* keeps it alive only when it is answered */
	run_later(&run, 1);
	other = opens(NEAR, WEB);
	assert_int_not_equal(other, mine);
	/* As long as nobody answers it ends sooner, but by the last SYN. */
	for (int i = 0; i < 5; i++) {
		run_later(&run, run_ticks(&run, LB_CONN_AFFINITY_NEW));
		assert_int_equal(opens(NEAR, WEB), other);
	}
	run_later(&run, run_ticks(&run, LB_CONN_AFFINITY_NEW) + 1);
	assert_int_not_equal(opens(NEAR, WEB), other);
}

/* A connection keeps it alive, by either side's packets. */
static void test_kept_alive(void **state)
{
	(void)state;
	for (int side = 0; side < 2; side++) {
		struct flow f = flow_from(NEAR, WEB);

		assert_int_equal(flow_establish(&f), RUN_FORWARDED);
		for (uint32_t i = 0; i < run_ticks(&run, LB_CONN_AFFINITY); i++) {
			run_later(&run, 3);
			assert_int_equal(side ? flow_answer(&f, PKT_ACK) : flow_send(&f, PKT_ACK),
					 RUN_FORWARDED);
		}
		assert_int_equal(opens(NEAR, WEB), host_of(&f));
		run_forget_connections(&run);
	}
}

/* Pushed out, or never made: the next packet that is noted makes it. */
static void test_made_again(void **state)
{
	struct flow f = flow_from(NEAR, WEB);
	struct entry e;

	(void)state;
	assert_int_equal(flow_establish(&f), RUN_FORWARDED);
	e = the_affinity();
	*e.meta = LB_META(LB_META_VERSION(*e.meta), LB_CONN_DEAD, run_now(&run));
	assert_int_equal(affinities(), 0);
	run_later(&run, 9);
	assert_int_equal(flow_answer(&f, PKT_ACK), RUN_FORWARDED);
	assert_int_equal(state_of_one(), LB_CONN_AFFINITY);
	assert_int_equal(opens(NEAR, WEB), host_of(&f));
}

/* What a connection that ends leaves: the backend's reset shows that it was forged, if it has no
 * ACK. With ACK it was true, and ends: a host so refuses the rest of an upload. */
static void test_ends(void **state)
{
	struct flow f = flow_from(NEAR, WEB);

	(void)state;
	assert_int_equal(flow_send(&f, PKT_SYN), RUN_FORWARDED);
	assert_int_equal(flow_answer(&f, PKT_SYN | PKT_ACK), RUN_FORWARDED);
	assert_int_equal(state_of_one(), LB_CONN_AFFINITY_NEW);
	assert_int_equal(flow_send(&f, PKT_ACK), RUN_FORWARDED);
	assert_int_equal(state_of_one(), LB_CONN_AFFINITY);
	assert_int_equal(flow_answer(&f, PKT_RST), RUN_FORWARDED);
	assert_int_equal(state_of_one(), LB_CONN_AFFINITY_NEW);
	f = flow_from(NEAR, WEB);
	assert_int_equal(flow_establish(&f), RUN_FORWARDED);
	assert_int_equal(flow_send(&f, PKT_RST), RUN_FORWARDED);
	assert_int_equal(state_of_one(), LB_CONN_AFFINITY);
	f = flow_from(NEAR, WEB);
	assert_int_equal(flow_send(&f, PKT_SYN), RUN_FORWARDED);
	assert_int_equal(flow_answer(&f, PKT_RST | PKT_ACK), RUN_FORWARDED); /* refused */
	assert_int_equal(state_of_one(), LB_CONN_AFFINITY);
	f = flow_from(NEAR, WEB);
	assert_int_equal(flow_establish(&f), RUN_FORWARDED);
	assert_int_equal(flow_answer(&f, PKT_RST | PKT_ACK), RUN_FORWARDED);
	assert_int_equal(flow_state(&f), LB_CONN_CLOSED);
	assert_int_equal(state_of_one(), LB_CONN_AFFINITY);
}

static void test_mask(void **state)
{
	int far = establishes(FAR, NET);

	(void)state;
	assert_int_equal(opens(FAR_TOO, NET), far);
	assert_int_not_equal(opens(ELSEWHERE, NET), far);
	assert_int_equal(affinities(), 2);
	assert_int_not_equal(establishes(FAR, WEB), establishes(FAR_TOO, WEB));
}

static void test_ports(void **state)
{
	int mine = establishes(NEAR, ACROSS), apart = establishes(NEAR, APART);

	(void)state;
	assert_int_equal(opens(NEAR, ACROSS2), mine);
	assert_int_equal(opens(NEAR, ACROSS3), mine); /* of UDP */
	assert_int_not_equal(opens(FAR, ACROSS2), mine);
	assert_int_not_equal(opens(NEAR, APART2), apart);
	assert_int_equal(affinities(), 4);
}

/* Another protocol of a port is another one. */
static void test_protocols(void **state)
{
	struct flow f = flow_from(NEAR, APART);
	int tcp = establishes(NEAR, APART);

	(void)state;
	f.proto = PKT_UDP;
	assert_int_equal(flow_send(&f, 0), RUN_FORWARDED);
	assert_int_not_equal(host_of(&f), tcp);
	assert_int_equal(affinities(), 2);
}

static void test_udp(void **state)
{
	struct flow f = flow_from(NEAR, DNS);

	(void)state;
	assert_int_equal(flow_send(&f, 0), RUN_FORWARDED);
	for (int i = 0; i < 50; i++) { /* nobody answers */
		run_later(&run, 5);
		assert_int_equal(flow_send(&f, 0), RUN_FORWARDED);
	}
	assert_int_equal(state_of_one(), LB_CONN_AFFINITY_NEW);
	assert_int_equal(opens(NEAR, DNS), host_of(&f));
	assert_int_equal(flow_answer(&f, 0), RUN_FORWARDED);
	assert_int_equal(state_of_one(), LB_CONN_AFFINITY_UDP);
	run_later(&run, run_ticks(&run, LB_CONN_AFFINITY_UDP));
	assert_int_equal(opens(NEAR, DNS), host_of(&f));
	run_later(&run, 1);
	assert_int_not_equal(opens(NEAR, DNS), host_of(&f));
}

/* Web without one of its backends, or with one drained. */
static struct run_service web_with(int host, uint32_t weight, bool removed)
{
	struct run_service s = services[WEB_ID - 1];
	int n = 0;

	for (const struct run_backend *b = services[WEB_ID - 1].backends; b->addr; b++) {
		bool it = pkt_addr(b->addr).family == (family == LB_V4 ? 4 : 6) &&
			  pkt_addr(b->addr).b[family == LB_V4 ? 3 : 15] == host;

		if (it && removed)
			continue;
		s.backends[n] = *b;
		if (it)
			s.backends[n].weight = weight;
		n++;
	}
	s.backends[n] = (struct run_backend){};
	return s;
}

static void web_becomes(const struct run_service *s)
{
	run_next_version(&run, WEB_ID, s, run.config->generation + 1);
	run.config->generation++;
}

static void test_drained(void **state)
{
	int mine = establishes(FAR, WEB), other;
	struct run_service drained = web_with(mine, 0, false);
	struct flow f;

	(void)state;
	opens(FAR_TOO, WEB);
	opens(ELSEWHERE, WEB);
	f = flow_from(NEAR, WEB);
	assert_int_equal(flow_establish(&f), RUN_FORWARDED);
	assert_int_equal(host_of(&f), mine); /* its turn again */
	run_next_version(&run, WEB_ID, &drained, run.config->generation + 1);
	assert_int_equal(flow_send(&f, PKT_ACK), RUN_FORWARDED);
	assert_int_equal(opens(NEAR, WEB), mine); /* not committed */
	run.config->generation++;
	other = establishes(NEAR, WEB);
	assert_int_not_equal(other, mine);
	/* The connection lives on, and does not bind the client again. */
	for (int i = 0; i < 5; i++) {
		run_later(&run, 10);
		assert_int_equal(flow_send(&f, PKT_ACK), RUN_FORWARDED);
		assert_int_equal(host_of(&f), mine);
		assert_int_equal(opens(NEAR, WEB), other);
	}
	/* Who came meanwhile stays where he is, who did not comes back. */
	web_becomes(&services[WEB_ID - 1]);
	assert_int_equal(opens(NEAR, WEB), other);
	assert_int_equal(opens(FAR, WEB), mine);
}

/* `reused`: and the id is another backend's by now. */
static void remove_backend(bool reused)
{
	struct run_service without;
	struct lb_backend saved;
	uint32_t id;
	int mine = establishes(NEAR, WEB);

	id = LB_REF_BACKEND(the_affinity().key.ref);
	saved = run.backends[id];
	without = web_with(mine, 0, true);
	web_becomes(&without);
	run.backends[id].state = reused ? LB_BACKEND_LIVE : LB_BACKEND_GONE;
	run.backends[id].reuse += reused;
	assert_int_not_equal(opens(NEAR, WEB), mine);
	assert_int_equal(affinities(), 1);
	run.backends[id] = saved;
	web_becomes(&services[WEB_ID - 1]);
}

static void test_removed(void **state)
{
	(void)state;
	remove_backend(false);
}

static void test_reused_id(void **state)
{
	(void)state;
	remove_backend(true);
}

/* The client's port is in use towards its backend: another one for this time. */
static void test_collision(void **state)
{
	struct flow f = flow_from(NEAR, WEB), g;
	int mine, bound;

	(void)state;
	assert_int_equal(flow_establish(&f), RUN_FORWARDED);
	mine = host_of(&f);
	for (bound = 0; bound != mine;) { /* alias comes to the same host */
		bound = opens(NEAR, ALIAS);
		run_later(&run, bound == mine ? 0 : run_ticks(&run, LB_CONN_AFFINITY_NEW) + 1);
	}
	g = flow_from(NEAR, ALIAS);
	g.cport = f.cport;
	assert_int_equal(flow_establish(&g), RUN_FORWARDED);
	assert_int_not_equal(host_of(&g), mine);
	assert_int_equal(affinities_in(LB_CONN_AFFINITY), 1); /* web's: g confirms none */
	assert_int_equal(opens(NEAR, ALIAS), mine);
}

/* A connection taken up in the middle goes by its hash, and then binds its client. */
static void test_taken_up(void **state)
{
	bool elsewhere = false;
	int bound = establishes(NEAR, MIDWAY);
	struct flow f;

	(void)state;
	for (int i = 0; i < 20; i++) {
		f = flow_from(NEAR, MIDWAY);
		assert_int_equal(flow_send(&f, PKT_ACK), RUN_FORWARDED);
		elsewhere |= host_of(&f) != bound;
	}
	assert_true(elsewhere);
	assert_int_equal(opens(NEAR, MIDWAY), bound);
	run_later(&run, run_ticks(&run, LB_CONN_AFFINITY) + 1);
	for (int i = 0; i < 2; i++) {
		f = flow_from(FAR, MIDWAY);
		assert_int_equal(flow_send(&f, PKT_ACK), RUN_FORWARDED);
		assert_int_equal(flow_answer(&f, PKT_ACK), RUN_FORWARDED);
		assert_int_equal(flow_send(&f, PKT_ACK), RUN_FORWARDED);
		assert_int_equal(opens(FAR, MIDWAY), host_of(&f));
		run_forget_connections(&run);
	}
}

/* The very packet whose key an affinity's is; and what its backend would answer to that. */
static void test_no_packets(void **state)
{
	int mine = establishes(NEAR, WEB);
	struct flow f = flow_from(NEAR, WEB);
	char service[64];
	struct pkt_addr to = {.family = family == LB_V4 ? 4 : 6};
	uint32_t before;
	struct entry e;

	(void)state;
	e = the_affinity();
	before = *e.meta;
	memcpy(to.b, e.service, family == LB_V4 ? 4 : 16);
	f.service = pkt_addr_str(service, &to);
	f.cport = ntohs(e.key.cport);
	f.sport = ntohs(e.key.sport);
	for (int i = 0; i < 3; i++) {
		static const uint8_t flags[] = {PKT_ACK, PKT_SYN, PKT_FIN | PKT_ACK};

		assert_int_equal(flow_send(&f, flags[i]), LB_REASON_NO_SERVICE);
		f.backend = pkt_end(family == LB_V4 ? "10.1.0.11" : "fd00:1::11", 8080);
		f.backend.addr.b[family == LB_V4 ? 3 : 15] = mine;
		assert_int_equal(flow_answer(&f, flags[i]), LB_REASON_NO_SERVICE);
		assert_int_equal(*e.meta, before);
	}
}

/* A client of many services has an affinity to each, though its connections by one port would share
 * a few slots. */
static void test_many_services(void **state)
{
	static const uint32_t n = 30;
	int mine[30];

	(void)state;
	for (uint32_t i = 0; i < n; i++) {
		uint16_t port = 1000 + i;
		struct run_service s = {"many", LB_SCHED_RR, .listens = {BOTH(port, LB_TCP)},
					.backends = ALL(port), .affinity = {32, 128}};

		if (hook == LB_HOOK_XDP && family == LB_V4)
			run_add_service(&run, &s);
		mine[i] = establishes(NEAR, port);
	}
	assert_int_equal(affinities(), n);
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(opens(NEAR, 1000 + i), mine[i]);
}

/* A flood of forged packets, to services with affinity: one that TCP has confirmed stays, and so do
 * connections; another client's first one still finds room. */
static void test_flood(void **state)
{
	struct flow f = flow_from(NEAR, WEB), forged;

	(void)state;
	assert_int_equal(flow_establish(&f), RUN_FORWARDED);
	for (int i = 0; i < 3000; i++) {
		char source[64];

		forged = flow_from(FAR, i % 2 ? WEB : DNS);
		snprintf(source, sizeof(source),
			 family == LB_V4 ? "198.51.100.%d" : "2001:db8:51::%x", 1 + i % 250);
		forged.client = source;
		assert_int_equal(flow_send(&forged, PKT_SYN), RUN_FORWARDED);
		if (i % 3 == 0)
			flow_answer(&forged, PKT_SYN | PKT_ACK);
	}
	assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
	assert_int_equal(opens(NEAR, WEB), host_of(&f));
	assert_true(affinities() > 1);
	forged = flow_from(ELSEWHERE, WEB);
	assert_int_equal(flow_establish(&forged), RUN_FORWARDED);
}

/* Where nobody gives way there is no affinity, and the flow is balanced as without. */
static void test_full(void **state)
{
	int slots = SMALL * (family == LB_V4 ? LB_CONN4_SLOTS : LB_CONN6_SLOTS);
	struct flow f;

	(void)state;
	for (int i = 0; i < slots - 1; i++) {
		f = flow_from(NEAR, PLAIN);
		assert_int_equal(flow_establish(&f), RUN_FORWARDED);
	}
	/* The connection pushes its own affinity out, which comes back once there is room. */
	f = flow_from(NEAR, WEB);
	assert_int_equal(flow_establish(&f), RUN_FORWARDED);
	assert_int_equal(affinities(), 0);
	f = flow_from(FAR, WEB);
	assert_int_equal(flow_send(&f, PKT_SYN), LB_REASON_TABLE_FULL);
}

static int fresh(void **state)
{
	(void)state;
	run_fresh(&run);
	next_port = 20000;
	return 0;
}

#define AFFINITY_TEST(f) cmocka_unit_test_setup(f, fresh)

static const struct CMUnitTest large[] = {
	AFFINITY_TEST(test_same_backend),  AFFINITY_TEST(test_without),
	AFFINITY_TEST(test_expiry),        AFFINITY_TEST(test_kept_alive),
	AFFINITY_TEST(test_made_again),    AFFINITY_TEST(test_ends),
	AFFINITY_TEST(test_mask),          AFFINITY_TEST(test_ports),
	AFFINITY_TEST(test_protocols),     AFFINITY_TEST(test_udp),
	AFFINITY_TEST(test_drained),       AFFINITY_TEST(test_removed),
	AFFINITY_TEST(test_reused_id),     AFFINITY_TEST(test_collision),
	AFFINITY_TEST(test_taken_up),      AFFINITY_TEST(test_no_packets),
	AFFINITY_TEST(test_many_services),
};
static const struct CMUnitTest small[] = {
	AFFINITY_TEST(test_flood),
	AFFINITY_TEST(test_full),
};

int main(void)
{
	return group_run("affinity", services, LARGE, 5, large) +
	       group_run("affinity", services, SMALL, 5, small);
}
