/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_rates.c - how many new flows are let in, by CPU and by source: exactly as many as a bucket
 * has tokens; by both hooks, in both families.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <bpf/bpf.h>

#include "datapath/ebpf_internal.h"
#include "lib_flow.h"
#include "lib_group.h"

#define TICKS    10 /* in a second */
#define BUCKETS  4096
#define MANY     16384 /* sources: a quarter of a row's cells */
#define RACED    20000 /* flows that two processors want to be let in at once, each of them */
#define ANY_RATE (LB_RATES_DEFAULT)
#define DROPPED  (hook == LB_HOOK_XDP ? (__u32)XDP_DROP : 2) /* TC_ACT_SHOT */

enum { WEB = 1, DNS, HASHED }; /* ids of the services, in this order */
enum { WEB_PORT = 80, DNS_PORT = 53, HASHED_PORT = 83 };
static const struct run_service services[] = {
	{"web", LB_SCHED_RR, .listens = {{NET_VIP, WEB_PORT, LB_TCP}, {NET_VIP6, WEB_PORT, LB_TCP}},
	 .backends = {{"10.1.0.11", 8080, 1}, {"fd00:1::11", 8080, 1}}},
	{"dns", LB_SCHED_RR, .listens = {{NET_VIP, DNS_PORT, LB_UDP}, {NET_VIP6, DNS_PORT, LB_UDP}},
	 .backends = {{"10.1.0.11", 5353, 1}, {"fd00:1::11", 5353, 1}}},
	/* Takes up what it does not know in the middle. */
	{"hashed", LB_SCHED_SH,
	 .listens = {{NET_VIP, HASHED_PORT, LB_TCP}, {NET_VIP6, HASHED_PORT, LB_TCP}},
	 .backends = {{"10.1.0.12", 8080, 1}, {"fd00:1::12", 8080, 1}}},
};
static const struct run_service dns_moved = {
	"dns", LB_SCHED_RR, .backends = {{"10.1.0.12", 5353, 1}, {"fd00:1::12", 5353, 1}}};
static const struct run_service web_moved = {
	"web", LB_SCHED_RR, .backends = {{"10.1.0.12", 8080, 1}, {"fd00:1::12", 8080, 1}},
	.on_remove = LB_ON_REMOVE_REHASH};

static uint16_t next_port;

static void set_rates(struct lb_rates_conf conf)
{
	lb_rates_fill(&run.skel->data_rates->lb_rates, &conf);
}

static const char *client_here(void)
{
	return family == LB_V4 ? NET_CLIENT : NET_CLIENT6;
}

/* Text of an address that differs from the usual client's by `number` in its first four bytes, or
 * for IPv6 in those after the first two, counted up. */
static const char *client_other(char text[64], uint32_t number)
{
	struct pkt_addr a = pkt_addr(client_here());
	uint8_t *at = a.b + (family == LB_V4 ? 1 : 2);

	at[0] += number >> 16;
	at[1] += number >> 8;
	at[2] += number;
	return pkt_addr_str(text, &a);
}

static struct flow flow_of(const char *client, uint16_t port)
{
	struct flow f =
		flow_make(&run, hook, family, next_port++, port, port == DNS_PORT ? PKT_UDP : 0);

	f.client = client;
	return f;
}

/* How many of that many new flows are let in; the rest must be refused for this reason. */
static unsigned int let_in(const char *client, unsigned int tries, int reason)
{
	unsigned int in = 0;

	for (unsigned int i = 0; i < tries; i++) {
		struct flow f = flow_of(client, WEB_PORT);
		int rc = flow_send(&f, PKT_SYN);

		in += rc == RUN_FORWARDED;
		assert_int_equal(flow_state(&f), rc == RUN_FORWARDED ? LB_CONN_SYN_SENT : -1);
		if (rc != RUN_FORWARDED)
			assert_int_equal(rc, reason);
	}
	return in;
}

/* ---------------------------------------------------------------- what a rate allows */

static void test_off(void **state)
{
	(void)state;
	assert_int_equal(let_in(client_here(), 3000, RUN_FORWARDED), 3000);
	set_rates((struct lb_rates_conf){.source_mask = 1, .source_mask6 = 1});
	assert_int_equal(let_in(client_here(), 3000, RUN_FORWARDED), 3000);
}

/* A bucket of 20 tokens, two more in a tick, whatever is tried and when. */
static void check_bucket(int reason)
{
	unsigned int tokens = 20;

	for (int i = 0; i < 300; i++) {
		unsigned int ticks = rand() % (i % 50 ? 4 : 40), tries = rand() % 12, in;

		run_later(&run, ticks);
		tokens = tokens + 2 * ticks < 20 ? tokens + 2 * ticks : 20;
		in = tries < tokens ? tries : tokens;
		assert_int_equal(let_in(client_here(), tries, reason), in);
		tokens -= in;
	}
	run_later(&run, 100);
	assert_int_equal(let_in(client_here(), 100, reason), 20);
	run_later(&run, 1);
	assert_int_equal(let_in(client_here(), 100, reason), 2);
}

static void test_source(void **state)
{
	struct lb_rates_conf rates = ANY_RATE;

	(void)state;
	rates.per_source = 20;
	set_rates(rates);
	check_bucket(LB_REASON_RATE_SOURCE);
}

static void test_cpu(void **state)
{
	struct lb_rates_conf rates = ANY_RATE;

	(void)state;
	rates.per_cpu = 20;
	set_rates(rates);
	check_bucket(LB_REASON_RATE_CPU);
}

/* One in a second, and the most there can be. */
static void test_extremes(void **state)
{
	struct lb_rates_conf rates = ANY_RATE;

	(void)state;
	rates.per_cpu = rates.per_source = 1;
	set_rates(rates);
	assert_int_equal(let_in(client_here(), 10, LB_REASON_RATE_CPU), 1);
	run_later(&run, TICKS - 1);
	assert_int_equal(let_in(client_here(), 10, LB_REASON_RATE_CPU), 0);
	run_later(&run, 1);
	assert_int_equal(let_in(client_here(), 10, LB_REASON_RATE_CPU), 1);
	run_later(&run, TICKS);
	rates.per_cpu = rates.per_source = LB_RATE_MAX;
	set_rates(rates);
	assert_int_equal(let_in(client_here(), 3000, RUN_FORWARDED), 3000);
}

/* Who is refused for the one reason takes nothing of the other. */
static void test_refused_pay_nothing(void **state)
{
	struct lb_rates_conf rates = ANY_RATE;
	char other[64], third[64];

	(void)state;
	rates.per_cpu = 5;
	rates.per_source = 10;
	set_rates(rates);
	assert_int_equal(let_in(client_here(), 100, LB_REASON_RATE_CPU), 5);
	rates.per_cpu = 0;
	set_rates(rates);
	assert_int_equal(let_in(client_here(), 100, LB_REASON_RATE_SOURCE), 5);
	run_later(&run, TICKS);
	rates.per_cpu = 10;
	rates.per_source = 6;
	set_rates(rates);
	assert_int_equal(let_in(client_here(), 100, LB_REASON_RATE_SOURCE), 6);
	assert_int_equal(let_in(client_other(other, 1), 100, LB_REASON_RATE_CPU), 4);
	assert_int_equal(let_in(client_other(third, 2), 100, LB_REASON_RATE_CPU), 0);
}

/* A rate that is changed holds at once. */
static void test_changed(void **state)
{
	struct lb_rates_conf rates = ANY_RATE;

	(void)state;
	rates.per_source = 10;
	set_rates(rates);
	assert_int_equal(let_in(client_here(), 100, LB_REASON_RATE_SOURCE), 10);
	rates.per_source = 1000; /* of which a second is owed */
	set_rates(rates);
	run_later(&run, 1);
	assert_int_equal(let_in(client_here(), 200, LB_REASON_RATE_SOURCE), 100);
	rates.per_source = 0;
	set_rates(rates);
	assert_int_equal(let_in(client_here(), 200, RUN_FORWARDED), 200);
}

/* Each CPU has a bucket of its own; a source has one on all of them. */
static void test_cpus(void **state)
{
	struct lb_rates_conf rates = ANY_RATE;

	(void)state;
	if (run.cpus < 2)
		skip();
	rates.per_cpu = 7;
	set_rates(rates);
	assert_int_equal(let_in(client_here(), 20, LB_REASON_RATE_CPU), 7);
	assert_int_equal(run_stay_on(1), 0);
	assert_int_equal(let_in(client_here(), 20, LB_REASON_RATE_CPU), 7);
	run_later(&run, TICKS);
	rates = ANY_RATE;
	rates.per_source = 9;
	set_rates(rates);
	assert_int_equal(let_in(client_here(), 5, LB_REASON_RATE_SOURCE), 5);
	assert_int_equal(run_stay_on(0), 0);
	assert_int_equal(let_in(client_here(), 20, LB_REASON_RATE_SOURCE), 4);
}

/* ---------------------------------------------------------------- sources */

/* Of two addresses that differ in one bit: within the prefix one source, behind it as well. */
static void check_mask(uint32_t mask)
{
	struct pkt_addr a = pkt_addr(client_here());
	char text[64];

	run_later(&run, 10 * TICKS);
	set_rates(
		(struct lb_rates_conf){.per_source = 3, .source_mask = mask, .source_mask6 = mask});
	assert_int_equal(let_in(client_here(), 10, LB_REASON_RATE_SOURCE), 3);
	if (mask < (family == LB_V4 ? 32 : 128)) {
		a.b[mask / 8] ^= 0x80 >> mask % 8;
		assert_int_equal(let_in(pkt_addr_str(text, &a), 10, LB_REASON_RATE_SOURCE), 0);
		a.b[mask / 8] ^= 0x80 >> mask % 8;
	}
	a.b[(mask - 1) / 8] ^= 0x80 >> (mask - 1) % 8;
	assert_int_equal(let_in(pkt_addr_str(text, &a), 10, LB_REASON_RATE_SOURCE), 3);
}

static void test_masks(void **state)
{
	static const uint32_t masks[] = {1, 9, 16, 24, 31, 32, 33, 48, 63, 64, 65, 96, 127, 128};

	(void)state;
	for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++)
		if (family == LB_V6 || masks[i] <= 32)
			check_mask(masks[i]);
}

/* One source that floods, and many others: they get what is theirs. */
static void test_others(void **state)
{
	struct lb_rates_conf rates = ANY_RATE;
	char text[64];

	(void)state;
	rates.per_source = 3;
	set_rates(rates);
	assert_int_equal(let_in(client_here(), 1000, LB_REASON_RATE_SOURCE), 3);
	for (uint32_t i = 1; i <= 500; i++)
		assert_int_equal(let_in(client_other(text, i), 5, LB_REASON_RATE_SOURCE), 3);
	assert_int_equal(let_in(client_here(), 1000, LB_REASON_RATE_SOURCE), 0);
}

/* Sources share cells: of as many as a quarter of a row, each with all of its rate, the last ones
 * find both of theirs in use with a probability of (1 - e^(-1/4))^2, and with one row it were
 * 1 - e^(-1/4). It is arithmetic, the same on each kernel. */
static void test_sharing(void **state)
{
	struct lb_rates_conf rates = ANY_RATE;
	unsigned int in = 0;
	char text[64];

	(void)state;
	if (getenv("TEST_GUEST"))
		skip();
	rates.per_source = 2;
	set_rates(rates);
	for (uint32_t i = 0; i < MANY; i++)
		in += let_in(client_other(text, i), 2, LB_REASON_RATE_SOURCE);
	printf("  IPv%d: of %d flows of sources that keep to their rate %u are refused\n",
	       family == LB_V4 ? 4 : 6, 2 * MANY, 2 * MANY - in);
	assert_true(2 * MANY - in <= 2 * MANY * 3 / 100);
}

/* ---------------------------------------------------------------- what counts */

static int begin(uint16_t port)
{
	struct flow f = flow_of(client_here(), port);

	return flow_send(&f, port == WEB_PORT ? PKT_SYN : PKT_ACK);
}

/* SYNs, datagrams, and what is taken up in the middle; not what opens nothing. */
static void test_kinds(void **state)
{
	static const uint16_t ports[] = {WEB_PORT, DNS_PORT, HASHED_PORT};
	struct lb_rates_conf rates = ANY_RATE;
	struct flow f;

	(void)state;
	rates.per_source = 3;
	set_rates(rates);
	for (int i = 0; i < 3; i++) {
		for (int k = 0; k < 10; k++) {
			f = flow_of(client_here(), HASHED_PORT);
			assert_int_equal(flow_send(&f, PKT_RST), LB_REASON_NO_CONNECTION);
			f = flow_of(client_here(), 444);
			assert_int_equal(flow_send(&f, PKT_SYN), LB_REASON_NO_SERVICE);
		}
		for (int k = 0; k < 3; k++)
			assert_int_equal(begin(ports[k]), RUN_FORWARDED);
		assert_int_equal(begin(ports[i]), LB_REASON_RATE_SOURCE);
		run_later(&run, TICKS);
	}
}

static void test_known(void **state)
{
	struct lb_rates_conf rates = ANY_RATE;
	struct flow f = flow_of(client_here(), WEB_PORT), half = flow_of(client_here(), WEB_PORT),
		    dns = flow_of(client_here(), DNS_PORT),
		    reset = flow_of(client_here(), WEB_PORT),
		    doubt = flow_of(client_here(), WEB_PORT), guessed;

	(void)state;
	assert_int_equal(flow_establish(&f), RUN_FORWARDED);
	assert_int_equal(flow_establish(&reset), RUN_FORWARDED);
	assert_int_equal(flow_establish(&doubt), RUN_FORWARDED);
	assert_int_equal(flow_send(&half, PKT_SYN), RUN_FORWARDED);
	assert_int_equal(flow_send(&dns, 0), RUN_FORWARDED);
	rates.per_source = rates.per_cpu = 1;
	set_rates(rates);
	assert_int_equal(begin(DNS_PORT), RUN_FORWARDED);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(flow_send(&f, PKT_ACK), RUN_FORWARDED);
		assert_int_equal(flow_answer(&f, PKT_ACK), RUN_FORWARDED);
		assert_int_equal(flow_send(&half, PKT_SYN), RUN_FORWARDED); /* repeated */
		assert_int_equal(flow_send(&dns, 0), RUN_FORWARDED);
		assert_int_equal(flow_answer(&dns, 0), RUN_FORWARDED);
	}
	assert_int_equal(begin(WEB_PORT), LB_REASON_RATE_CPU);
	assert_int_equal(flow_send(&f, PKT_FIN | PKT_ACK), RUN_FORWARDED);
	assert_int_equal(flow_answer(&f, PKT_FIN | PKT_ACK), RUN_FORWARDED);
	assert_int_equal(flow_send(&f, PKT_ACK), RUN_FORWARDED);
	/* Its port again, a new connection. */
	assert_int_equal(flow_send(&f, PKT_SYN), LB_REASON_RATE_CPU);
	run_later(&run, TICKS);
	assert_int_equal(flow_send(&f, PKT_SYN), RUN_FORWARDED);
	assert_int_equal(flow_send(&reset, PKT_RST | PKT_ACK), RUN_FORWARDED);
	assert_int_equal(flow_send(&reset, PKT_SYN), LB_REASON_RATE_CPU);
	run_later(&run, TICKS);
	assert_int_equal(flow_send(&reset, PKT_SYN), RUN_FORWARDED);
	/* So if only its backend knows whether the old one is over. */
	guessed = flow_guessed(&doubt);
	assert_int_equal(flow_send(&doubt, PKT_SYN), LB_REASON_RATE_CPU);
	assert_int_equal(flow_send(&guessed, PKT_RST), RUN_FORWARDED);
	assert_int_equal(flow_state(&doubt), LB_CONN_RESET);
	assert_int_equal(flow_send(&doubt, PKT_SYN), LB_REASON_RATE_CPU);
	run_later(&run, TICKS);
	assert_int_equal(flow_send(&doubt, PKT_SYN), RUN_FORWARDED);
	assert_int_equal(begin(WEB_PORT), LB_REASON_RATE_CPU);
}

static void backend_set(uint32_t service, const char *addr, uint16_t port, uint8_t to)
{
	struct pkt_end end = pkt_end(addr, port);

	run.backends[run_backend_id(&run, service, &end)].state = to;
}

static void backends_set(uint8_t to)
{
	backend_set(WEB, family == LB_V4 ? "10.1.0.11" : "fd00:1::11", 8080, to);
	backend_set(DNS, family == LB_V4 ? "10.1.0.11" : "fd00:1::11", 5353, to);
}

/* A flow that is given to another backend is no new one, whatever the rate; a SYN is. */
static void test_moved(void **state)
{
	struct lb_rates_conf rates = ANY_RATE;
	struct flow f = flow_of(client_here(), WEB_PORT), g = flow_of(client_here(), WEB_PORT),
		    dns = flow_of(client_here(), DNS_PORT);

	(void)state;
	assert_int_equal(flow_establish(&f), RUN_FORWARDED);
	assert_int_equal(flow_establish(&g), RUN_FORWARDED);
	assert_int_equal(flow_establish(&dns), RUN_FORWARDED);
	rates.per_source = 1;
	set_rates(rates);
	assert_int_equal(begin(HASHED_PORT), RUN_FORWARDED);
	run_next_version(&run, WEB, &web_moved, ++run.config->generation);
	run_next_version(&run, DNS, &dns_moved, ++run.config->generation);
	backends_set(LB_BACKEND_GONE);
	assert_int_equal(flow_send(&f, PKT_ACK), RUN_FORWARDED);
	assert_int_equal(flow_send(&dns, 0), RUN_FORWARDED);
	assert_int_equal(flow_send(&g, PKT_SYN), LB_REASON_RATE_SOURCE);
	backends_set(LB_BACKEND_LIVE);
	run_next_version(&run, WEB, &services[WEB - 1], ++run.config->generation);
	run_next_version(&run, DNS, &services[DNS - 1], ++run.config->generation);
}

/* ---------------------------------------------------------------- CPUs at once */

struct racer {
	pthread_t thread;
	unsigned int cpu, in;
	int rc;
};

/* As run_packet(), which is one thread's. */
static void *race(void *arg)
{
	struct racer *r = arg;
	struct pkt_spec s = {.src = client_here(),
			     .dst = family == LB_V4 ? NET_VIP : NET_VIP6,
			     .sport = 1000 + r->cpu * RACED,
			     .dport = WEB_PORT,
			     .flags = PKT_SYN,
			     .payload = 11};
	struct __sk_buff skb = {.ifindex = run.net.c0, .ingress_ifindex = run.net.c0};
	struct pkt p;
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = p.data, .repeat = 1);

	if (hook == LB_HOOK_TC) {
		opts.ctx_in = &skb;
		opts.ctx_size_in = sizeof(skb);
	}
	assert_int_equal(run_stay_on(r->cpu), 0);
	for (int i = 0; i < RACED && !r->rc; i++, s.sport++) {
		pkt_build(&p, &s);
		opts.data_size_in = p.len;
		r->rc = bpf_prog_test_run_opts(run.prog[hook], &opts);
		r->in += opts.retval != DROPPED;
	}
	return NULL;
}

/* How often a reason was counted by others since the last packet of ours. */
static uint64_t count_others(int reason)
{
	struct lb_reasons before = run.seen;
	struct run_result res;
	struct pkt p;

	pkt_build(&p, &(struct pkt_spec){.src = NET_CLIENT, .dst = NET_VIP, .dport = 444});
	assert_int_equal(run_packet(&run, hook, run.net.c0, &p, &res), 0);
	return run.seen.count[hook][reason] - before.count[hook][reason];
}

/* Two that let in flows of one source at the same time let in no more of them together. */
static void test_race(void **state)
{
	struct racer racers[2] = {{.cpu = 0}, {.cpu = 1}};
	struct lb_rates_conf rates = ANY_RATE;

	(void)state;
	if (run.cpus < 2)
		skip();
	rates.per_source = RACED;
	set_rates(rates);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(racers[i].thread, NULL);
	assert_int_equal(racers[0].rc || racers[1].rc, 0);
	assert_int_equal(racers[0].in + racers[1].in, RACED);
	assert_int_equal(count_others(LB_REASON_RATE_SOURCE), RACED);
}

static int fresh(void **state)
{
	(void)state;
	run_forget_connections(&run);
	run_later(&run, 100000);
	set_rates(ANY_RATE);
	assert_int_equal(run_stay_on(0), 0);
	next_port = 1024;
	srand(1);
	return 0;
}

#define RATE_TEST(f) cmocka_unit_test_setup(f, fresh)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		RATE_TEST(test_off),     RATE_TEST(test_source),
		RATE_TEST(test_cpu),     RATE_TEST(test_extremes),
		RATE_TEST(test_changed), RATE_TEST(test_refused_pay_nothing),
		RATE_TEST(test_cpus),    RATE_TEST(test_masks),
		RATE_TEST(test_others),  RATE_TEST(test_sharing),
		RATE_TEST(test_kinds),   RATE_TEST(test_known),
		RATE_TEST(test_moved),   RATE_TEST(test_race),
	};

	run_tick_ns = 1000000000 / TICKS;
	return group_run("rates", services, BUCKETS, 12, tests);
}
