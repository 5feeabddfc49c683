// SPDX-License-Identifier: GPL-2.0-or-later
/* test_affinity.c - `affinity:` of a service: read, refused, compared, printed, written. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/affinity.h"
#include "expect.h"

/* A config with one service, and that as its affinity (NULL: none). */
static int parse(struct lb_model *m, const char *affinity, struct lb_err *err)
{
	char text[512];

	snprintf(text, sizeof(text), "services:\n- name: a\n  listen: '*:80'\n%s%s\n",
		 affinity ? "  affinity: " : "", affinity ? affinity : "");
	return lb_config_parse(m, text, strlen(text), "t", err);
}

static void test_read(void **state)
{
	static const struct {
		const char *text, *shown;
	} cases[] = {
		{NULL, "none"},
		{"{}", "5m mask 32 mask6 128"},
		{"300s", "5m mask 32 mask6 128"},
		{"{ timeout: 300 }", "5m mask 32 mask6 128"},
		{"1h", "1h mask 32 mask6 128"},
		{"{ mask: 24 }", "5m mask 24 mask6 128"},
		{"{ mask: 1, mask6: 1, across-ports: false, timeout: 10 }", "10s mask 1 mask6 1"},
		{"{ timeout: 48h, mask6: 64, across-ports: true }",
		 "48h mask 32 mask6 64 across-ports"},
	};
	char shown[LB_AFFINITY_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct lb_err err = {.text = ""};
		struct lb_model m, again;
		char *text = NULL;
		size_t len;
		FILE *out = open_memstream(&text, &len);

		if (parse(&m, cases[i].text, &err))
			fail_msg("%s", err.text);
		assert_string_equal(lb_affinity_str(shown, &m.services[0]), cases[i].shown);
		assert_int_equal(lb_config_write(&m, out), 0);
		fclose(out);
		assert_int_equal(lb_config_parse(&again, text, len, "t", &err), 0);
		assert_string_equal(lb_affinity_str(shown, &again.services[0]), cases[i].shown);
		assert_memory_equal(m.services[0].timeouts, again.services[0].timeouts,
				    sizeof(m.services[0].timeouts));
		assert_false(lb_service_has_timeouts(&m.services[0]));
		lb_model_free(&m);
		lb_model_free(&again);
		free(text);
	}
}

static void test_refused(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"[]", "t:4: affinity: \"affinity: []\": not a mapping: write \"KEY: VALUE\" with "
		       "the keys timeout, mask, mask6, across-ports"},
		{"{ bits: 5 }", "t:4: key of affinity: \"bits\": unknown: write one of timeout, "
				"mask, mask6, across-ports"},
		{"client", "t:4: affinity.timeout: \"client\": not a length of time: write 10s to "
			   "48h, as 90s, 5m, 1h30m"},
		{"{ timeout: 9s }", "t:4: affinity.timeout: \"9s\": out of range: write 10s to "
				    "48h, as 90s, 5m, 1h30m"},
		{"{ mask: 0 }",
		 "t:4: affinity.mask: \"0\": out of range: write a number from 1 to 32"},
		{"{ mask: 33 }",
		 "t:4: affinity.mask: \"33\": out of range: write a number from 1 to 32"},
		{"{ mask6: 129 }",
		 "t:4: affinity.mask6: \"129\": out of range: write a number from 1 to 128"},
		{"{ mask: 255.255.255.0 }", "t:4: affinity.mask: \"255.255.255.0\": not a plain "
					    "decimal number: write a number from 1 to 32"},
		{"{ across-ports: yes }",
		 "t:4: affinity.across-ports: \"yes\": write true or false"},
		{"{ across-ports: }", "t:4: affinity.across-ports: \"\": is empty: write true or "
				      "false"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct lb_err err = {.text = ""};
		struct lb_model m;

		assert_int_equal(parse(&m, cases[i].text, &err), -EINVAL);
		assert_string_equal(err.text, cases[i].message);
	}
}

static void test_difference(void **state)
{
	static const struct {
		const char *from, *to, *printed;
	} cases[] = {
		{"{}", "300s", ""},
		{NULL, "300s", "~ service a: affinity none -> 5m mask 32 mask6 128\n"},
		{"{}", "{ mask6: 64 }",
		 "~ service a: affinity 5m mask 32 mask6 128 -> 5m mask 32 mask6 64\n"},
		{"{}", "{ mask: 24 }",
		 "~ service a: affinity 5m mask 32 mask6 128 -> 5m mask 24 mask6 128\n"},
		{"{ across-ports: true }", "10m",
		 "~ service a: affinity 5m mask 32 mask6 128 across-ports -> 10m mask 32 mask6 "
		 "128\n"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct lb_model from, to;
		struct lb_err err;

		assert_int_equal(parse(&from, cases[i].from, &err), 0);
		assert_int_equal(parse(&to, cases[i].to, &err), 0);
		expect_text(&from, &to, cases[i].printed);
		lb_model_free(&from);
		lb_model_free(&to);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_difference),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
