// SPDX-License-Identifier: GPL-2.0-or-later
/* test_timeouts.c - lengths of time as text, and what `timeouts:` may not be. */

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
