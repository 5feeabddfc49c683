// SPDX-License-Identifier: GPL-2.0-or-later
/* test_ipvs.c - the ipvs datapath without a kernel: a model as marks and records, and back. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/config.h"
#include "datapath/ipvs_internal.h"
#include "model_util.h"

static const char config[] =
	"datapath: ipvs\n"
	"interfaces: [{ name: eth0 }]\n"
	"services:\n"
	"  - name: star\n"
	"    listen: [\"*:80\", \"*:53/udp\"]\n"
	"    scheduler: random\n"
	"    backends: [{ address: \"10.0.0.2:80\" }, { address: \"[fd00::2]:80\", weight: 3 }]\n"
	"  - name: v4\n"
	"    listen: [\"192.0.2.1:443\", \"*:81\"]\n"
	"    scheduler: maglev\n"
	"    backends: [{ address: \"10.0.0.3:80\" }]\n"
	"  - name: v6\n"
	"    listen: [\"[2001:db8::1]:443\", \"[::]:82\"]\n"
	"    backends: [{ address: \"[fd00::3]:80\" }]\n";

static void parse(struct lb_model *m)
{
	struct lb_err err = {};

	if (lb_config_parse(m, config, strlen(config), "t", &err))
		fail_msg("%s", err.text);
}

static void has(const struct lb_nft_elements *all, const char *set, const char *key, uint32_t mark)
{
	const struct lb_nft_element *e = lb_nft_element_find(all, set, key);
	char text[16];

	snprintf(text, sizeof(text), "%u", mark);
	if (!e)
		fail_msg("map %s has no element { %s }", set, key);
	else
		assert_string_equal(e->value, text);
}

static size_t count(const struct lb_nft_elements *all, const char *prefix)
{
	size_t n = 0;

	for (size_t i = 0; i < all->n; i++)
		n += !strncmp(all->list[i].set, prefix, strlen(prefix));
	return n;
}

static void test_marks(void **state)
{
	struct lb_dp dp = {.number = 3};
	struct lb_nft_elements all = {};
	struct lb_model m, back;
	struct lb_err err;

	(void)state;
	parse(&m);
	lb_nft_head_elements(&all, &m, lb_ipvs_kind.magic);
	for (size_t i = 0; i < m.n_services; i++) {
		m.services[i].id = 2 * (i + 1) + i % 2;
		lb_ipvs_service_elements(&dp, &all, &m.services[i], m.services[i].id);
	}
	lb_nft_elements_sort(&all);
	assert_false(all.no_memory);
	/* A family without backends is nobody's. */
	has(&all, "marks4_any", "tcp . 80", 0x40c00002);
	has(&all, "marks6_any", "tcp . 80", 0x40c00002);
	has(&all, "marks4_any", "udp . 53", 0x40c00002);
	has(&all, "marks6_any", "udp . 53", 0x40c00002);
	has(&all, "marks4", "192.0.2.1 . tcp . 443", 0x40c00005);
	has(&all, "marks4_any", "tcp . 81", 0x40c00005);
	has(&all, "marks6", "2001:db8::1 . tcp . 443", 0x40c00006);
	has(&all, "marks6_any", "tcp . 82", 0x40c00006);
	assert_int_equal(count(&all, "marks"), 8);
	lb_ipvs_backends_elements(&all, &m);
	lb_nft_elements_sort(&all);
	assert_non_null(lb_nft_element_find(&all, "backends4", "10.0.0.2 . tcp . 80"));
	assert_non_null(lb_nft_element_find(&all, "backends4", "10.0.0.2 . udp . 80"));
	assert_non_null(lb_nft_element_find(&all, "backends6", "fd00::3 . tcp . 80"));
	assert_int_equal(count(&all, "backends"), 6);
	assert_int_equal(count(&all, LB_NFT_SET_INTERFACES), 1);

	assert_int_equal(lb_nft_model_read(&all, false, &back, &err), 0);
	assert_int_equal(back.datapath, LB_DATAPATH_IPVS);
	assert_true(model_equal(&m, &back));
	for (size_t i = 0; i < m.n_services; i++)
		assert_int_equal(back.services[i].id, m.services[i].id);
	lb_model_free(&back);
	lb_model_free(&m);
	lb_nft_elements_free(&all);
}

static void test_mark_is_of(void **state)
{
	struct lb_dp dp = {};

	(void)state;
	for (dp.number = 0; dp.number < LB_IPVS_NUMBERS; dp.number++) {
		assert_true(lb_ipvs_mark_is_of(dp.number, lb_ipvs_mark(&dp, LB_IPVS_FIRST_ID)));
		assert_true(lb_ipvs_mark_is_of(dp.number, lb_ipvs_mark(&dp, LB_IPVS_IDS - 1)));
		assert_false(
			lb_ipvs_mark_is_of(dp.number + 1, lb_ipvs_mark(&dp, LB_IPVS_FIRST_ID)));
		/* Others' may have any of these bits. */
		assert_false(lb_ipvs_mark_is_of(dp.number, 1U << 31 | lb_ipvs_mark(&dp, 2)));
		assert_false(lb_ipvs_mark_is_of(dp.number, ~LB_IPVS_MARK & lb_ipvs_mark(&dp, 2)));
	}
	assert_int_equal(LB_IPVS_OTHER(LB_IPVS_OTHER(6)), 6);
	assert_int_equal(LB_IPVS_SERVICE(LB_IPVS_OTHER(6)), 6);
}

/* The number is what a record says; where that is lost, the name's. */
static void test_number(void **state)
{
	struct lb_nft_elements all = {};
	uint32_t by_name;

	(void)state;
	by_name = lb_ipvs_number_read(&all, "default");
	assert_in_range(by_name, 0, LB_IPVS_NUMBERS - 1);
	assert_int_equal(lb_ipvs_number_read(&all, "default"), by_name);
	lb_nft_record_add(&all, 0, LB_IPVS_RECORD_NUMBER, "marks 77");
	lb_nft_elements_sort(&all);
	assert_int_equal(lb_ipvs_number_read(&all, "default"), 77);
	lb_nft_elements_free(&all);
	lb_nft_record_add(&all, 0, LB_IPVS_RECORD_NUMBER, "marks 255");
	lb_nft_elements_sort(&all);
	assert_int_equal(lb_ipvs_number_read(&all, "default"), by_name);
	lb_nft_elements_free(&all);
}

static void test_schedulers(void **state)
{
	struct lb_service_conf s = {};
	uint32_t flags;

	(void)state;
	for (s.scheduler = 0; s.scheduler < LB_SCHEDULERS; s.scheduler++)
		assert_non_null(lb_ipvs_scheduler(&s, &flags));
	s.scheduler = LB_SCHED_MAGLEV;
	assert_string_equal(lb_ipvs_scheduler(&s, &flags), "mh");
	assert_int_equal(flags, 0x18); /* the others serve a drained one's; by port, too */
}

/* sh has 256 buckets: more weight than that would leave the last ones none. */
static void test_weights(void **state)
{
	static const char text[] =
		"services:\n  - name: s\n    listen: [\"*:80\"]\n    scheduler: sh\n"
		"    backends:\n"
		"      - { address: \"10.0.0.1:80\", weight: 60000 }\n"
		"      - { address: \"10.0.0.2:80\", weight: 30000 }\n"
		"      - { address: \"10.0.0.3:80\", weight: 1 }\n"
		"      - { address: \"10.0.0.4:80\", weight: 0 }\n"
		"      - { address: \"[fd00::1]:80\", weight: 200 }\n";
	struct lb_err err;
	struct lb_model m;
	uint32_t w[5];

	(void)state;
	assert_int_equal(lb_config_parse(&m, text, strlen(text), "t", &err), 0);
	assert_int_equal(lb_ipvs_weights(&m.services[0], LB_V4, w), 0);
	assert_in_range(w[0], 169, 171);
	assert_in_range(w[1], 84, 86);
	assert_int_equal(w[2], 1);
	assert_int_equal(w[3], 0);
	assert_in_range(w[0] + w[1] + w[2], 255, 257);
	assert_int_equal(lb_ipvs_weights(&m.services[0], LB_V6, w), 0);
	assert_int_equal(w[4], 200);
	m.services[0].scheduler = LB_SCHED_WRR;
	assert_int_equal(lb_ipvs_weights(&m.services[0], LB_V4, w), 0);
	assert_int_equal(w[0], 60000);
	lb_model_free(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_marks),   cmocka_unit_test(test_mark_is_of),
		cmocka_unit_test(test_number),  cmocka_unit_test(test_schedulers),
		cmocka_unit_test(test_weights),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
