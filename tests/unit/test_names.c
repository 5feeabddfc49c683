// SPDX-License-Identifier: GPL-2.0-or-later
/* test_names.c - no enum value is without a name of its own. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "core/model.h"

/* Each value's name is there and its own, and what is no value has none. */
static void check_names(const char *(*name)(unsigned int), unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		assert_non_null(name(i));
		assert_true(strlen(name(i)) > 0);
		assert_string_not_equal(name(i), "unknown");
		for (unsigned int j = 0; j < i; j++)
			assert_string_not_equal(name(i), name(j));
	}
	assert_string_equal(name(n), "unknown");
	assert_string_equal(name(~0u), "unknown");
}

static void test_names(void **state)
{
	(void)state;
	check_names(lb_scheduler_name, LB_SCHEDULERS);
	check_names(lb_forwarding_name, LB_FORWARDINGS);
	check_names(lb_proto_name, LB_PROTOS);
	check_names(lb_hook_kind_name, LB_KINDS);
	check_names(lb_datapath_kind_name, LB_DATAPATHS);
	check_names(lb_source_name, LB_SOURCES);
	check_names(lb_conn_state_name, LB_CONN_STATES);
	check_names(lb_reason_name, LB_REASONS);
	assert_string_equal(lb_scheduler_name(LB_SCHED_MAGLEV), "maglev");
	assert_string_equal(lb_hook_kind_name(LB_KIND_XDP_GENERIC), "xdp-generic");
	assert_string_equal(lb_source_name(LB_SOURCE_FILE), "file");
	assert_string_equal(lb_conn_state_name(LB_CONN_ESTABLISHED), "established");
	assert_string_equal(lb_reason_name(LB_REASON_NO_ROUTE), "no-route");
}

static void test_from_name(void **state)
{
	(void)state;
	for (int i = 0; i < LB_SCHEDULERS; i++)
		assert_int_equal(lb_scheduler_from_name(lb_scheduler_name(i)), i);
	for (int i = 0; i < LB_KINDS; i++)
		assert_int_equal(lb_hook_kind_from_name(lb_hook_kind_name(i)), i);
	for (int i = 0; i < LB_DATAPATHS; i++)
		assert_int_equal(lb_datapath_kind_from_name(lb_datapath_kind_name(i)), i);
	for (int i = 0; i < LB_FORWARDINGS; i++)
		assert_int_equal(lb_forwarding_from_name(lb_forwarding_name(i)), i);
	assert_int_equal(lb_scheduler_from_name("dh"), -1);
	assert_int_equal(lb_name_hash(""), 0);
	assert_int_equal(lb_name_hash("default"), 0x5c13d641); /* in marks and names of chains */
	assert_int_equal(lb_scheduler_from_name("RR"), -1);
	assert_int_equal(lb_scheduler_from_name(""), -1);
	assert_int_equal(lb_hook_kind_from_name("xd"), -1);
	assert_int_equal(lb_datapath_kind_from_name("xdp"), -1);
}

static void test_reasons(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < LB_REASONS; i++)
		assert_true(strlen(lb_reason_help(i)) > 5);
	assert_false(lb_reason_is_drop(LB_REASON_NOT_IP));
	assert_false(lb_reason_is_drop(LB_REASON_TO_TC));
	assert_true(lb_reason_is_drop(LB_REASON_NO_BACKEND));
	assert_true(lb_reason_is_drop(LB_REASON_BAD_STATE));
	assert_false(lb_reason_is_drop(LB_REASONS));
}

static void test_mend(void **state)
{
	char name[] = "a\x1b[31m~ \x7f\xff\n";

	(void)state;
	lb_name_mend(name);
	assert_string_equal(name, "a?[31m~ ???");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mend),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_from_name),
		cmocka_unit_test(test_reasons),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
