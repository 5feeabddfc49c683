// SPDX-License-Identifier: GPL-2.0-or-later
/* test_timeouts.c - lengths of time as text, what `timeouts:` may not be, and which set of them a
 * service gets. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "expect.h"
#include "core/duration.h"
#include "datapath/ebpf_internal.h"

static void test_durations(void **state)
{
	static const struct {
		const char *text;
		uint32_t seconds; /* 0: refused */
		const char *exact;
	} cases[] = {
		{"1", 1, "1s"},           {"90", 90, "1m30s"},
		{"60s", 60, "1m"},        {"4h", 14400, "4h"},
		{"1h30m", 5400, "1h30m"}, {"2d1s", 172801, "48h1s"},
		{"0", 0, NULL},           {"", 0, NULL},
		{"5x", 0, NULL},          {"-5s", 0, NULL},
		{"1.5h", 0, NULL},        {" 5s", 0, NULL},
		{"4294967296", 0, NULL},  {"4294967295d", 0, NULL},
	};
	char text[LB_DURATION_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint32_t seconds = 0, again = 0;
		int ret = lb_duration_parse(&seconds, cases[i].text);

		assert_int_equal(ret, cases[i].seconds ? 0 : -EINVAL);
		if (ret)
			continue;
		assert_int_equal(seconds, cases[i].seconds);
		assert_string_equal(lb_duration_exact(text, seconds), cases[i].exact);
		assert_int_equal(lb_duration_parse(&again, text), 0);
		assert_int_equal(again, seconds);
	}
}

#define KEYS "syn, established, half-closed, closing, closed, udp-new, udp"

static void test_refused(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"services: []\ntimeouts: 5s", "t:2: timeouts: \"timeouts: 5s\": not a mapping: "
					       "write \"KEY: VALUE\" with the keys " KEYS},
		{"timeouts: { tcp: 5s }",
		 "t:1: key of timeouts: \"tcp\": unknown: write one of " KEYS},
		{"timeouts: { syn: 5s, syn: 6s }",
		 "t:1: key of timeouts: \"syn\": is there twice: write it once"},
		{"timeouts: { syn: soon }",
		 "t:1: timeouts.syn: \"soon\": not a length of time: write "
		 "1s to 48h, as 90s, 5m, 1h30m"},
		{"timeouts: { syn: }",
		 "t:1: timeouts.syn: \"\": is empty: write 1s to 48h, as 90s, 5m, 1h30m"},
		{"timeouts: { syn: 0 }",
		 "t:1: timeouts.syn: \"0\": not a length of time: write 1s to "
		 "48h, as 90s, 5m, 1h30m"},
		{"timeouts: { established: 59s }",
		 "t:1: timeouts.established: \"59s\": out of range: "
		 "write 1m to 48h, as 90s, 5m, 1h30m"},
		{"timeouts: { udp: 9s }",
		 "t:1: timeouts.udp: \"9s\": out of range: write 10s to 48h, as 90s, 5m, 1h30m"},
		{"timeouts: { closing: 172801 }",
		 "t:1: timeouts.closing: \"172801\": out of range: "
		 "write 1s to 48h, as 90s, 5m, 1h30m"},
		{"services:\n- name: a\n  listen: '*:80'\n  timeouts: { udp: 9s }",
		 "t:4: timeouts.udp: \"9s\": out of range: write 10s to 48h, as 90s, 5m, 1h30m"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_refused(cases[i].text, strlen(cases[i].text), cases[i].message);
}

/* Fifteen services each with timeouts of its own, and some that share theirs; `more` such. */
static char *with_sets(int more)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	fprintf(out, "services:\n");
	for (int i = 0; i < LB_TIMEOUT_SETS - 1 + more; i++)
		fprintf(out,
			"- { name: s%02d, listen: '*:%d', timeouts: { closed: %d } }\n"
			"- { name: t%02d, listen: '*:%d', timeouts: { closed: %d } }\n"
			"- { name: u%02d, listen: '*:%d', affinity: { timeout: 5m } }\n",
			i, 1000 + i, i + 1, i, 2000 + i, i + 1, i, 3000 + i);
	fclose(out);
	return text;
}

static void test_too_many(void **state)
{
	char *text = with_sets(0);
	struct lb_err err;
	struct lb_model m;

	(void)state;
	assert_int_equal(lb_config_parse(&m, text, strlen(text), "t", &err), 0);
	lb_model_free(&m);
	free(text);
	text = with_sets(1);
	expect_refused(text, strlen(text),
		       "t:47: timeouts of service: \"s15\": unlike those of 15 others, "
		       "affinity.timeout included: services may have 15 different ones: "
		       "make some alike");
	free(text);
}

/* ---------------------------------------------------------------- sets */

#define BUCKETS 4

/* An instance, as far as sets are concerned: its backend 1 is IPv4, 2 is IPv6. */
static struct {
	struct lb_timeouts timeouts;
	struct lb_conn4_bucket conn4[BUCKETS];
	struct lb_conn6_bucket conn6[BUCKETS];
	struct lb_backend backends[3];
	struct lb_load loads[3];
} maps;
static struct lb_dp dp;
static struct lb_err err;

static int instance_make(void **state)
{
	uint32_t seconds[LB_TIMEOUTS];

	(void)state;
	memset(&maps, 0, sizeof(maps));
	lb_timeouts_default(seconds);
	lb_timeouts_fill(&maps.timeouts, seconds);
	for (int family = 0; family < LB_FAMILIES; family++) {
		maps.backends[1 + family].state = LB_BACKEND_LIVE;
		maps.backends[1 + family].family = family;
	}
	dp = (struct lb_dp){
		.timeouts = &maps.timeouts, .backends = maps.backends, .loads = maps.loads};
	dp.mem[LB_MAP_CONN4] = maps.conn4;
	dp.mem[LB_MAP_CONN6] = maps.conn6;
	dp.max_entries[LB_MAP_CONN4] = dp.max_entries[LB_MAP_CONN6] = BUCKETS;
	dp.max_entries[LB_MAP_BACKENDS] = dp.max_entries[LB_MAP_LOADS] = 3;
	return 0;
}

/* In a change: a service's set, of which `established` takes that long. 0: refused. */
static uint32_t take(struct lb_tx *tx, uint32_t established)
{
	struct lb_service_conf s = {.name = "web",
				    .timeouts = {[LB_TIMEOUT_ESTABLISHED] = established}};
	__u8 set = 0;

	if (lb_timeouts_take(tx, &s, &set, &err))
		return 0;
	assert_int_equal(maps.timeouts.seconds[set][LB_TIMEOUT_ESTABLISHED], established);
	assert_int_equal(maps.timeouts.ticks[LB_LIFE(set, LB_CONN_ESTABLISHED)],
			 lb_clock_ticks(established));
	return set;
}

/* The same in a change of its own, with `sets` in force, by bit. */
static uint32_t change(uint16_t sets, uint32_t established)
{
	struct lb_tx tx = {.dp = &dp, .sets = sets};

	return take(&tx, established);
}

static uint32_t established_at(uint32_t set, uint32_t ago)
{
	return LB_META(1, LB_LIFE(set, LB_CONN_ESTABLISHED), lb_clock_now() - lb_clock_ticks(ago));
}

/* All sets were used: the one of number n for n minutes. Sets 3 and 7 have a connection. */
static void sets_use(void)
{
	for (uint32_t set = 1; set < LB_TIMEOUT_SETS; set++)
		assert_int_equal(change(0, set * 60), set);
	maps.conn4[2].key[1].ref = 1;
	maps.conn4[2].meta[1] = established_at(3, 0);
	maps.conn6[3].key[2].ref = 2;
	maps.conn6[3].meta[2] = established_at(7, 0);
}

static void test_sets_shared(void **state)
{
	struct lb_tx tx = {.dp = &dp};

	(void)state;
	assert_int_equal(take(&tx, 600), 1);
	assert_int_equal(take(&tx, 700), 2);
	assert_int_equal(take(&tx, 600), 1);
	/* In force, from former times, never used. */
	maps.timeouts.seconds[1][LB_TIMEOUT_ESTABLISHED] = 700;
	assert_int_equal(change(1 << 2, 700), 2);
	assert_int_equal(change(1 << 3, 700), 1);
	assert_int_equal(change(1 << 1 | 1 << 3, 800), 4);
}

static void test_sets_of_connections(void **state)
{
	const uint16_t in_force = 1 << 1 | 1 << 2;
	struct lb_tx tx = {.dp = &dp, .sets = in_force};

	(void)state;
	sets_use();
	assert_int_equal(change(in_force, 180), 3); /* its own */
	for (uint32_t i = 0; i < LB_TIMEOUT_SETS - 1 - 4; i++) {
		uint32_t set = take(&tx, 7000 + i);

		assert_int_not_equal(set, 0);
		assert_int_equal((in_force | 1 << 3 | 1 << 7) >> set & 1, 0);
	}
	assert_int_equal(take(&tx, 8000), 0);
	assert_non_null(strstr(err.text, "service \"web\": 15 different ones are in use"));
	assert_int_equal(maps.timeouts.seconds[3][LB_TIMEOUT_ESTABLISHED], 180);
	assert_int_equal(maps.timeouts.seconds[7][LB_TIMEOUT_ESTABLISHED], 420);
	assert_int_equal(take(&tx, 420), 7);
}

/* A set is given away once its last connection has gone: what has expired must not live again. */
static void test_sets_of_expired(void **state)
{
	const uint16_t in_force = (uint16_t) ~(1 << 3 | 1 << 7);

	(void)state;
	sets_use();
	maps.loads[1].connections = maps.loads[2].connections = 1;
	assert_int_equal(change(in_force, 9000), 0);
	maps.conn4[2].meta[1] = established_at(3, 180) - 2;
	assert_int_equal(change(in_force, 9000), 3);
	assert_int_equal(LB_META_STATE(maps.conn4[2].meta[1]), LB_CONN_DEAD);
	assert_int_equal(maps.loads[1].connections, 0);
	assert_int_equal(change(in_force | 1 << 3, 9001), 0);
	maps.conn6[3].meta[2] = LB_META(1, LB_CONN_BUSY, 0);
	assert_int_equal(change(in_force | 1 << 3, 9001), 7);
	assert_int_equal(maps.loads[2].connections, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test_setup(test_sets_shared, instance_make),
		cmocka_unit_test_setup(test_sets_of_connections, instance_make),
		cmocka_unit_test_setup(test_sets_of_expired, instance_make),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
