// SPDX-License-Identifier: GPL-2.0-or-later
/* test_rates.c - what `rates` may not be, and how a change of them is told. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "expect.h"

#define KEYS "per-cpu, per-source, source-mask, source-mask6"

static void test_refused(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"services: []\nrates: 5", "t:2: rates: \"rates: 5\": not a mapping: "
					   "write \"KEY: VALUE\" with the keys " KEYS},
		{"rates: { source: 5 }",
		 "t:1: key of rates: \"source\": unknown: write one of " KEYS},
		{"rates: { per-cpu: 5, per-cpu: 6 }",
		 "t:1: key of rates: \"per-cpu\": is there twice: write it once"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_refused(cases[i].text, strlen(cases[i].text), cases[i].message);
}

/* The range of each number, and what is no number. */
static void test_numbers(void **state)
{
	static const struct {
		const char *key, *value;
		unsigned int min, max;
	} cases[] = {
		{"per-cpu", "-1", 0, LB_RATE_MAX},
		{"per-cpu", "10000001", 0, LB_RATE_MAX},
		{"per-cpu", "100/s", 0, LB_RATE_MAX},
		{"per-source", "none", 0, LB_RATE_MAX},
		{"per-source", "10000001", 0, LB_RATE_MAX},
		{"source-mask", "0", 1, 32},
		{"source-mask", "33", 1, 32},
		{"source-mask", "255.255.255.0", 1, 32},
		{"source-mask6", "0", 1, 128},
		{"source-mask6", "129", 1, 128},
	};
	char text[100], start[100], right[100];
	struct lb_err err;
	struct lb_model m;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(text, sizeof(text), "rates: { %s: %s }\nservices: []", cases[i].key,
			 cases[i].value);
		assert_int_equal(lb_config_parse(&m, text, strlen(text), "t", &err), -EINVAL);
		snprintf(start, sizeof(start), "t:1: rates.%s: \"%s\": ", cases[i].key,
			 cases[i].value);
		assert_int_equal(strncmp(err.text, start, strlen(start)), 0);
		snprintf(right, sizeof(right), "%u to %u", cases[i].min, cases[i].max);
		assert_non_null(strstr(err.text, right));
		for (int k = 0; k < 2; k++) {
			snprintf(text, sizeof(text), "rates: { %s: %u }\nservices: []",
				 cases[i].key, k ? cases[i].max : cases[i].min);
			assert_int_equal(lb_config_parse(&m, text, strlen(text), "t", &err), 0);
			lb_model_free(&m);
		}
	}
}

static void test_told(void **state)
{
	struct lb_model a, b;

	(void)state;
	lb_model_init(&a);
	lb_model_init(&b);
	a.rates.per_source = 10;
	b.rates.per_cpu = 100000;
	b.rates.source_mask6 = 56;
	expect_text(&a, &b,
		    "~ defaults: rates.per-cpu none -> 100000, rates.per-source 10 "
		    "-> none, rates.source-mask6 64 -> 56\n");
	lb_model_free(&a);
	lb_model_free(&b);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
