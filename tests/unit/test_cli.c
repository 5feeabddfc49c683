// SPDX-License-Identifier: GPL-2.0-or-later
/* test_cli.c - the command line's pure parts: times, sizes, filters, near misses, tables, rates. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/sample.h"
#include "cli/table.h"
#include "cli/text.h"

static void test_duration_parse(void **state)
{
	static const struct {
		const char *text;
		uint32_t seconds;
	} good[] = {
		{"1", 1},       {"90", 90},          {"60s", 60}, {"5m", 300}, {"1h30m", 5400},
		{"2d", 172800}, {"4294967295", ~0u}, {"1m1", 61}, {"1s1s", 2},
	};
	static const char *const bad[] = {
		"",
		"0",
		"0s",
		"-1",
		"+1",
		" 1",
		"1 ",
		"s",
		"1x",
		"1ms",
		"4294967296",
		"60000d",
		"99999999999999999999",
		"1h-5m",
	};
	uint32_t seconds;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(lb_duration_parse(&seconds, good[i].text), 0);
		assert_int_equal(seconds, good[i].seconds);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (lb_duration_parse(&seconds, bad[i]) != -EINVAL)
			fail_msg("\"%s\" was taken as %u s", bad[i], seconds);
}

static void test_duration_str(void **state)
{
	static const struct {
		uint64_t seconds;
		const char *text;
	} cases[] = {
		{0, "0s"},       {59, "59s"},        {60, "1m 0s"},    {3599, "59m 59s"},
		{3600, "1h 0m"}, {86399, "23h 59m"}, {86400, "1d 0h"}, {90061, "1d 1h"},
	};
	char buf[LB_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(lb_duration_str(buf, cases[i].seconds), cases[i].text);
	assert_string_equal(lb_age_str(buf, 0), "-");
	assert_string_equal(lb_age_str(buf, time(NULL) + 1000), "0s"); /* the clock was set back */
	assert_true(strlen(lb_duration_str(buf, UINT64_MAX)) < LB_TEXT_MAX - 1);
}

static void test_size_str(void **state)
{
	char buf[LB_TEXT_MAX];

	(void)state;
	assert_string_equal(lb_size_str(buf, 0), "0 B");
	assert_string_equal(lb_size_str(buf, 1023), "1023 B");
	assert_string_equal(lb_size_str(buf, 1024), "1.0 KiB");
	assert_string_equal(lb_size_str(buf, 1536), "1.5 KiB");
	assert_string_equal(lb_size_str(buf, 72ULL << 20), "72.0 MiB");
	assert_string_equal(lb_size_str(buf, 3ULL << 50), "3072.0 TiB");
}

static void test_nearest(void **state)
{
	static const char *const words[] = {"check",  "apply", "confirm", "export", "verify",
					    "status", "stats", "service", "down",   NULL};

	(void)state;
	assert_string_equal(lb_nearest("stauts", words), "status");
	assert_string_equal(lb_nearest("aply", words), "apply");
	assert_string_equal(lb_nearest("exprot", words), "export");
	assert_string_equal(lb_nearest("serv", words), "service");
	assert_string_equal(lb_nearest("services", words), "service");
	assert_string_equal(lb_nearest("donw", words), "down");
	assert_null(lb_nearest("xyzzy", words));
	assert_null(lb_nearest("", words));
	assert_null(lb_nearest("a-word-longer-than-any-command-could-ever-be", words));
}

static void check_match(const char *text, const char *endpoint, unsigned int bits)
{
	char buf[LB_ENDPOINT_STRLEN];
	struct lb_endpoint at;
	const char *why;
	uint8_t got;

	assert_int_equal(lb_match_parse(&at, &got, text, &why), 0);
	if (at.port)
		lb_endpoint_str(buf, &at);
	else
		lb_addr_str(buf, &at.addr, at.family);
	assert_string_equal(buf, endpoint);
	assert_int_equal(got, bits);
}

static void test_interval(void **state)
{
	static const struct {
		const char *text;
		uint32_t ms;
	} good[] = {{"0.5", 500}, {"0.1", 100}, {"2", 2000}, {"1.25", 1250}, {"1m30s", 90000}};
	static const char *const bad[] = {"",      ".",    "0",   "0.0",     "0.05",    "-1",
					  "1.2.3", "1.5s", "1e3", "86401.0", "99999999"};
	uint32_t ms;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(lb_interval_parse(&ms, good[i].text), 0);
		assert_int_equal(ms, good[i].ms);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (lb_interval_parse(&ms, bad[i]) != -EINVAL)
			fail_msg("\"%s\" was taken", bad[i]);
}

static void test_match(void **state)
{
	static const char *const bad[] = {"",           "10.0.0",        "10.0.0.1/33",
					  "10.0.0.1/",  "10.0.0.1/-1",   "10.0.0.1/8x",
					  "::1/129",    "10.0.0.1:0",    "10.0.0.1:80/8",
					  "[10.0.0.1]", "[::1",          "[::1]/129",
					  "name:80",    "10.0.0.1:",     "/8",
					  ":80",        "10.0.0.1:65536"};
	struct lb_endpoint at;
	const char *why;
	uint8_t bits;

	(void)state;
	check_match("10.0.0.1", "10.0.0.1", 32);
	check_match("10.0.0.0/8", "10.0.0.0", 8);
	check_match("0.0.0.0/0", "0.0.0.0", 0);
	check_match("10.0.0.1:80", "10.0.0.1:80", 32);
	check_match("2001:db8::1", "2001:db8::1", 128);
	check_match("2001:db8::/64", "2001:db8::", 64);
	check_match("[2001:db8::1]", "2001:db8::1", 128);
	check_match("[2001:db8::]/64", "2001:db8::", 64);
	check_match("[2001:db8::1]:443", "[2001:db8::1]:443", 128);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		why = NULL;
		if (lb_match_parse(&at, &bits, bad[i], &why) != -EINVAL || !why)
			fail_msg("\"%s\" was taken, or refused without a reason", bad[i]);
	}
	/* A backend is no network. */
	assert_int_equal(lb_match_parse(&at, NULL, "10.0.0.1", &why), 0);
	assert_int_equal(at.port, 0);
	assert_int_equal(lb_match_parse(&at, NULL, "10.0.0.1:80", &why), 0);
	assert_int_equal(at.port, 80);
	assert_int_equal(lb_match_parse(&at, NULL, "10.0.0.0/8", &why), -EINVAL);
}

static void test_table(void **state)
{
	struct lb_table t = LB_TABLE("NAME", ">N", "LAST");
	size_t size;
	char *text;
	FILE *out;

	(void)state;
	for (int i = 0; i < 3; i++) { /* past the first growths of the list */
		lb_table_add(&t, "%s", i ? "b" : "a-long-one");
		lb_table_add(&t, "%d", i * 1000);
		lb_table_add(&t, "x");
	}
	out = open_memstream(&text, &size);
	assert_non_null(out);
	lb_table_print(&t, out);
	fclose(out);
	assert_string_equal(text, "NAME           N  LAST\n"
				  "a-long-one     0  x\n"
				  "b           1000  x\n"
				  "b           2000  x\n");
	free(text);
	lb_table_free(&t);
}

/* A sample of services with these names, each with backends 10.0.0.<its place>:80 and :81, whose
 * counters all are `base` plus their number. */
static void make_sample(struct lb_sample *s, const char *const *names, size_t n, uint64_t base)
{
	*s = (struct lb_sample){};
	lb_model_init(&s->s.model);
	s->stats.n_services = n;
	s->stats.n_backends = 2 * n;
	s->stats.services = calloc(n, sizeof(*s->stats.services));
	s->stats.backends = calloc(2 * n, sizeof(*s->stats.backends));
	for (size_t i = 0; i < n; i++) {
		struct lb_service_conf *conf = lb_model_add_service(&s->s.model);

		snprintf(conf->name, sizeof(conf->name), "%s", names[i]);
		s->stats.services[i].connections = base + i;
		for (int j = 0; j < 2; j++) {
			struct lb_backend_conf *b = lb_service_add_backend(conf);
			const char *why;

			assert_int_equal(
				lb_endpoint_parse(&b->at, j ? "10.0.0.1:81" : "10.0.0.1:80", &why),
				0);
			b->override = LB_NO_OVERRIDE;
			s->stats.backends[2 * i + j].packets[1] = 10 * base + 2 * i + j;
		}
	}
	lb_model_sort(&s->s.model);
}

static void free_sample(struct lb_sample *s)
{
	lb_model_free(&s->s.model);
	free(s->stats.services);
	free(s->stats.backends);
}

/* Between the samples `b` went, `c` came, and `d` was made anew: its counters are smaller. */
static void test_delta(void **state)
{
	static const char *const then[] = {"a", "b", "d"}, *const later[] = {"a", "c", "d"};
	struct lb_sample before, now;
	struct lb_dp_stats delta;

	(void)state;
	make_sample(&before, then, 3, 1000);
	make_sample(&now, later, 3, 1500);
	now.at.tv_sec = 3;
	now.at.tv_nsec = 250000000;
	before.at.tv_sec = 1;
	before.at.tv_nsec = 750000000;
	now.stats.services[2].connections = 7;
	now.stats.reasons[LB_HOOK_TC][LB_REASON_NO_ROUTE] = 12;
	before.stats.reasons[LB_HOOK_TC][LB_REASON_NO_ROUTE] = 2;
	now.stats.evicted[LB_EVICT_ESTABLISHED] = 5;

	assert_int_equal(lb_delta_make(&delta, &now, &before), 0);
	assert_int_equal(delta.services[0].connections, 500);
	assert_int_equal(delta.services[1].connections, 1501);
	assert_int_equal(delta.services[2].connections, 7);
	assert_int_equal(delta.backends[1].packets[1], 5000);
	assert_int_equal(delta.backends[3].packets[1], 15003);
	assert_int_equal(delta.backends[5].packets[1], 5000);
	assert_int_equal(delta.reasons[LB_HOOK_TC][LB_REASON_NO_ROUTE], 10);
	assert_int_equal(delta.evicted[LB_EVICT_ESTABLISHED], 5);
	assert_int_equal(now.stats.services[0].connections,
			 1500); /* untouched: the next `before` */
	assert_true(lb_sample_seconds(&now, &before) == 1.5);
	lb_delta_free(&delta);
	free_sample(&before);
	free_sample(&now);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_duration_parse), cmocka_unit_test(test_duration_str),
		cmocka_unit_test(test_size_str),       cmocka_unit_test(test_nearest),
		cmocka_unit_test(test_interval),       cmocka_unit_test(test_match),
		cmocka_unit_test(test_table),          cmocka_unit_test(test_delta),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
