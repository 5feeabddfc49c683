/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_fuzz.c - random packets through both hooks, against an oracle that holds for every packet.
 *
 * FUZZ_COUNT packets (1,000,000; in the guest 20,000), each through both hooks; FUZZ_SEED repeats a
 * run. From time to time the world changes for a while: a sysctl, a removed backend, a full table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <bpf/bpf.h>

#include "lib_judge.h"
#include "lib_mutate.h"

#define REACH_PERCENT 30
#define SPELL         2000 /* packets that a changed world lasts at most */
#define KNOWN         256  /* packets of connections: so many are remembered */

/* Reasons that no packet can have here, and why. */
static const struct {
	int reason;
	const char *why;
} unreachable[] = {
	{LB_REASON_REWRITE_FAILED,
	 "the packets of BPF_PROG_TEST_RUN are linear and nobody else's: no helper can refuse"},
};

/* Reasons that come after a service or a connection was found. */
static const int reached_by[] = {
	LB_REASON_TO_TC,
	LB_REASON_NO_BACKEND,
	LB_REASON_BACKEND_GONE,
	LB_REASON_COLLISION,
	LB_REASON_TABLE_FULL,
	LB_REASON_NO_ROUTE,
	LB_REASON_TOO_BIG,
	LB_REASON_NO_FAMILY,
	LB_REASON_NO_CONNECTION,
	LB_REASON_MARTIAN,
	LB_REASON_BACKEND_GONE_RESET,
	LB_REASON_BACKEND_DRAINED_RESET,
	LB_REASON_NO_CONNECTION_DROP,
	LB_REASON_NO_CONNECTION_RESET,
	LB_REASON_RESET_LIMITED,
	LB_REASON_RATE_CPU,
	LB_REASON_RATE_SOURCE,
};

enum world {
	NORMAL,
	FORWARDING_OFF,
	BACKENDS_GONE,
	BACKENDS_DRAINED,
	TABLE_BUSY,
	RINGS_BROKEN,
	RATED,
	WORLDS
};

static struct run run;
static struct mutate mutate;
static struct run_result result;
static enum world world;
static struct known {
	struct pkt p;
	struct pkt_end client, backend;
} known[KNOWN];
static uint32_t n_known;
static uint64_t hits[LB_HOOKS][LB_REASONS], forwarded[LB_HOOKS], ran[LB_HOOKS], reached;

static uint64_t env_number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

/* Every slot of the table is being written by somebody, or was only used once. */
static void set_table(enum lb_conn_state state)
{
	uint32_t i;

	for (i = 0; i < run.buckets4 * LB_CONN4_SLOTS; i++)
		run.conn4[i / LB_CONN4_SLOTS].meta[i % LB_CONN4_SLOTS] = LB_META(9, state, 0);
	for (i = 0; i < run.buckets6 * LB_CONN6_SLOTS; i++)
		run.conn6[i / LB_CONN6_SLOTS].meta[i % LB_CONN6_SLOTS] = LB_META(9, state, 0);
}

/* What hardly one in a million packets at random does. */
static void establish(uint32_t *meta)
{
	if (LB_META_STATE(*meta) == LB_CONN_SYN_SENT)
		*meta = LB_META(LB_META_VERSION(*meta),
				LB_LIFE_IN(LB_META_LIFE(*meta), LB_CONN_ESTABLISHED),
				LB_META_TICK(*meta));
}

static void establish_all(void)
{
	for (uint32_t i = 0; i < run.buckets4 * LB_CONN4_SLOTS; i++)
		establish(&run.conn4[i / LB_CONN4_SLOTS].meta[i % LB_CONN4_SLOTS]);
	for (uint32_t i = 0; i < run.buckets6 * LB_CONN6_SLOTS; i++)
		establish(&run.conn6[i / LB_CONN6_SLOTS].meta[i % LB_CONN6_SLOTS]);
}

static void change_services(void (*change)(struct lb_service_version *v))
{
	int fd = bpf_map__fd(run.skel->maps.lb_services);
	struct lb_service s;

	for (uint32_t id = 1; id < run.services; id++) {
		if (bpf_map_lookup_elem(fd, &id, &s))
			continue;
		change(&s.version[0]);
		bpf_map_update_elem(fd, &id, &s, BPF_ANY);
	}
}

/* Rings far beyond the end, and back: what no apply may ever leave. */
static void break_rings(struct lb_service_version *v)
{
	v->pool[LB_V4].ring ^= 1 << 30;
	v->pool[LB_V6].ring ^= 1 << 30;
}

static void turn_on_remove(struct lb_service_version *v)
{
	v->on_remove = (v->on_remove + 1) % LB_ON_REMOVES;
}

static void change_world(enum world to)
{
	static uint32_t gone_before; /* each other time the other half of them */
	static const char *const paths[] = {"ipv4/conf/c0/forwarding", "ipv6/conf/c0/forwarding",
					    "ipv4/conf/b0/forwarding", "ipv6/conf/b0/forwarding"};

	if (world == FORWARDING_OFF || to == FORWARDING_OFF) {
		for (int i = 0; i < 4; i++)
			net_sysctl(paths[i], to != FORWARDING_OFF);
	}
	for (uint32_t id = 1; id < run.next_backend; id++) {
		bool gone = to == BACKENDS_GONE && (id + gone_before) % 2;

		run.backends[id].state = gone ? LB_BACKEND_GONE : LB_BACKEND_LIVE;
		run.backends[id].drained = run.config->generation << 1 | (to == BACKENDS_DRAINED);
	}
	gone_before += to == BACKENDS_GONE;
	if (world == TABLE_BUSY || to == TABLE_BUSY)
		set_table(to == TABLE_BUSY ? LB_CONN_BUSY : LB_CONN_DEAD);
	if (to == BACKENDS_DRAINED)
		establish_all();
	if ((world == RINGS_BROKEN) != (to == RINGS_BROKEN))
		change_services(break_rings);
	world = to;
}

static void pass_time(uint64_t i)
{
	if (world != NORMAL && i % SPELL == SPELL / 4)
		change_world(NORMAL);
	if (i % SPELL == 0)
		change_world(i / SPELL % WORLDS);
	if (world == BACKENDS_GONE && i % 64 == 0)
		change_services(turn_on_remove);
	run.skel->data_rates->lb_rates.per_cpu = world == RATED && i & 128;
	run.skel->data_rates->lb_rates.per_source = world == RATED && !(i & 128);
	if (mutate_one_in(&mutate, world == BACKENDS_GONE ? 20 : 200)) /* some resets a tick */
		run_later(&run, 1);
	if (mutate_one_in(&mutate, 20000))
		run_later(&run, mutate_random(&mutate, 20000));
	if (mutate_one_in(&mutate, 50000))
		run_forget_connections(&run);
}

/* Forwarded: from a service to one of its backends, or back. */
static int judge_translation(enum lb_hook hook, uint32_t ifindex, const struct pkt *p, char *why)
{
	struct pkt_view in, out;
	char other[WHY_SIZE];

	pkt_parse(p->data, p->len, &in);
	pkt_parse(result.out.data, result.out.len, &out);
	if (rows_serve(&in.dst, in.proto, &out.dst) &&
	    !judge_forwarded(&run, hook, ifindex, p, &result, &out.dst, false, why))
		return 0;
	if (rows_serve(&out.src, in.proto, &in.src) &&
	    !judge_forwarded(&run, hook, ifindex, p, &result, &out.src, true, other))
		return 0;
	if (!rows_serve(&in.dst, in.proto, &out.dst))
		snprintf(why, WHY_SIZE, "forwarded, but not from a service to its backend or back");
	return -1;
}

static bool is_reached(void)
{
	for (size_t i = 0; i < sizeof(reached_by) / sizeof(reached_by[0]); i++) {
		if (result.reason == reached_by[i])
			return true;
	}
	return result.forwarded;
}

/* TCP in the middle of a connection. */
static void remember(const struct pkt *p)
{
	struct pkt_view in, out;

	pkt_parse(p->data, p->len, &in);
	pkt_parse(result.out.data, result.out.len, &out);
	if (in.proto == PKT_TCP && !(p->data[in.l4_off + 13] & PKT_SYN))
		known[n_known++ % KNOWN] = (struct known){*p, in.src, out.dst};
}

static int fuzz_one(enum lb_hook hook, uint32_t ifindex, const struct pkt *p, char *why)
{
	if (!run_accepts(hook, p))
		return 0;
	if (run_packet(&run, hook, ifindex, p, &result)) {
		snprintf(why, WHY_SIZE, "did not run, or verdict %d: %s", result.verdict,
			 strerror(errno));
		return -1;
	}
	ran[hook]++;
	if (judge_accounts(p, &result, why))
		return -1;
	reached += is_reached();
	if (!result.forwarded) {
		hits[hook][result.reason]++;
		return 0;
	}
	forwarded[hook]++;
	if (ifindex == run.net.c0 && world != BACKENDS_GONE)
		remember(p);
	return judge_translation(hook, ifindex, p, why);
}

/* Its backend opens another connection in its place. */
static void reopen(const struct known *k, struct pkt *p)
{
	static const uint8_t b0_mac[6] = NET_B0_MAC;
	char from[64], to[64];
	struct pkt_spec s = {.src = pkt_addr_str(from, &k->backend.addr),
			     .dst = pkt_addr_str(to, &k->client.addr),
			     .sport = k->backend.port,
			     .dport = k->client.port,
			     .flags = PKT_SYN | PKT_ACK,
			     .seq = mutate_random(&mutate, UINT32_MAX),
			     .dmac = b0_mac};

	pkt_build(p, &s);
}

/* While backends are gone or drained, half of the packets are of connections that had one. */
static void next_packet(struct pkt *p, bool *from_backend)
{
	const struct known *k = &known[mutate_random(&mutate, KNOWN)];

	mutate_next(&mutate, p, from_backend);
	if ((world != BACKENDS_GONE && world != BACKENDS_DRAINED) || n_known < KNOWN ||
	    mutate_one_in(&mutate, 2))
		return;
	*from_backend = world == BACKENDS_DRAINED;
	if (*from_backend)
		reopen(k, p);
	else
		*p = k->p;
}

static void print_reasons(void)
{
	printf("  %-16s %10s %10s\n", "", "XDP", "tc");
	printf("  %-16s %10" PRIu64 " %10" PRIu64 "\n", "(run)", ran[0], ran[1]);
	printf("  %-16s %10" PRIu64 " %10" PRIu64 "\n", "(forwarded)", forwarded[0], forwarded[1]);
	for (int i = 0; i < LB_REASONS; i++)
		printf("  %-16s %10" PRIu64 " %10" PRIu64 "\n", run_reason_name(i), hits[0][i],
		       hits[1][i]);
}

static void test_fuzz(void **state)
{
	uint64_t count = env_number("FUZZ_COUNT", getenv("TEST_GUEST") ? 20000 : 1000000);
	uint64_t seed = env_number("FUZZ_SEED", (uint64_t)time(NULL)), i;
	char why[WHY_SIZE], name[64];
	bool from_backend;
	struct pkt p;

	(void)state;
	printf("FUZZ_SEED=%" PRIu64 " FUZZ_COUNT=%" PRIu64 "\n", seed, count);
	fflush(stdout);
	assert_int_equal(mutate_open(&mutate, seed), 0);
	for (i = 0; i < count; i++) {
		pass_time(i);
		next_packet(&p, &from_backend);
		for (int hook = 0; hook < LB_HOOKS; hook++) {
			if (!fuzz_one(hook, from_backend ? run.net.b0 : run.net.c0, &p, why))
				continue;
			snprintf(name, sizeof(name), "FUZZ_SEED=%" PRIu64 ", packet %" PRIu64, seed,
				 i);
			judge_report(name, hook, why, &p, &result);
			fail();
		}
	}
	change_world(NORMAL);
	print_reasons();
	mutate_close(&mutate);
}

/* After test_fuzz(). */
static void test_reach(void **state)
{
	uint64_t all = ran[0] + ran[1];

	(void)state;
	printf("  %" PRIu64 " of %" PRIu64 " reached a service or a connection\n", reached, all);
	assert_true(all && reached * 100 >= all * REACH_PERCENT);
}

static void test_every_reason(void **state)
{
	unsigned int missing = 0;

	(void)state;
	for (int reason = 0; reason < LB_REASONS; reason++) {
		const char *why = NULL;
		bool hit = hits[0][reason] || hits[1][reason];

		for (size_t i = 0; i < sizeof(unreachable) / sizeof(unreachable[0]); i++) {
			if (unreachable[i].reason == reason)
				why = unreachable[i].why;
		}
		if (why)
			printf("  %s cannot be hit here: %s\n", run_reason_name(reason), why);
		if (hit == !!why) {
			printf("FAILED: %s was %s\n", run_reason_name(reason),
			       hit ? "hit, though listed as unreachable" : "never hit");
			missing++;
		}
	}
	assert_int_equal(missing, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fuzz),
		cmocka_unit_test(test_reach),
		cmocka_unit_test(test_every_reason),
	};
	int rc;

	run_resets_max = 4;
	rc = run_open(&run, 512, 256, 2);
	if (rc) {
		fprintf(stderr, "test_fuzz: loading the programs: %s\n", strerror(-rc));
		return 1;
	}
	rows_add_services(&run);
	rc = cmocka_run_group_tests_name("fuzz", tests, NULL, NULL);
	run_close(&run);
	return rc;
}
