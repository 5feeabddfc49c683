// SPDX-License-Identifier: GPL-2.0-or-later
/* test_nft.c - the nft datapath without a kernel: a model as elements and records, and back. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/config.h"
#include "datapath/nft_internal.h"
#include "model_util.h"

static void parse(struct lb_model *m, const char *text)
{
	struct lb_err err = {};

	if (lb_config_parse(m, text, strlen(text), "t", &err))
		fail_msg("%s", err.text);
}

static void elements(struct lb_nft_elements *all, const struct lb_model *m)
{
	*all = (struct lb_nft_elements){};
	lb_nft_head_elements(all, m, lb_nft_kind.magic);
	for (size_t i = 0; i < m->n_services; i++)
		assert_int_equal(lb_nft_service_elements(all, &m->services[i], i + 1), 0);
	lb_nft_elements_sort(all);
	assert_false(all->no_memory);
}

static size_t count(const struct lb_nft_elements *all, const char *set)
{
	size_t n = 0;

	for (size_t i = 0; i < all->n; i++)
		n += !strcmp(all->list[i].set, set);
	return n;
}

static void has(const struct lb_nft_elements *all, const char *set, const char *key,
		const char *value)
{
	const struct lb_nft_element *e = lb_nft_element_find(all, set, key);

	if (!e)
		fail_msg("set %s has no element { %s }", set, key);
	else
		assert_string_equal(e->value, value);
}

static void test_class_names(void **state)
{
	char name[LB_NFT_CLASS_LEN];
	struct lb_nft_class c, back;

	(void)state;
	for (unsigned int k = 0; k < 2u * 2 * 2 * LB_NFT_INDEXES; k++) {
		c = (struct lb_nft_class){.proto = k & 1,
					  .family = k >> 1 & 1,
					  .any = k >> 2 & 1,
					  .index = k >> 3,
					  .size = k >> 3 ? 17 : 0};
		assert_true(lb_nft_class_parse(&back, lb_nft_class_name(name, &c)));
		assert_int_equal(lb_nft_class_cmp(&c, &back), 0);
	}
	assert_string_equal(name, "udp6_any_maglev17");
	assert_false(lb_nft_class_parse(&c, "tcp4_inc2_ring"));
	assert_false(lb_nft_class_parse(&c, "tcp4_inc02"));
	assert_false(lb_nft_class_parse(&c, "tcp5_inc2"));
	assert_false(lb_nft_class_parse(&c, "model"));
	assert_false(lb_nft_class_parse(&c, "in4_any"));
	assert_false(lb_nft_class_parse(&c, ""));
}

static void test_elements(void **state)
{
	struct lb_nft_elements all;
	struct lb_model m;

	(void)state;
	parse(&m, "interfaces: [eth0]\nservices:\n"
		  "  - name: a\n    listen: ['192.0.2.1:80', '*:81/udp']\n    scheduler: wrr\n"
		  "    forwarding: masq\n    backends:\n"
		  "      - { address: '10.0.0.1:8080', weight: 4 }\n"
		  "      - { address: '10.0.0.2:8080', weight: 2 }\n"
		  "      - { address: '[fd00::1]:8080', weight: 0 }\n");
	elements(&all, &m);
	has(&all, "interfaces", "eth0", "");
	has(&all, "tcp4_inc3", "192.0.2.1 . 80", "");
	assert_int_equal(count(&all, "tcp4_inc3_ring"), 3);
	has(&all, "tcp4_inc3_ring", "192.0.2.1 . 80 . 1", "10.0.0.2 . 8080");
	has(&all, "udp4_any_inc3", "81", "");
	has(&all, "udp4_any_inc3_ring", "81 . 0", "10.0.0.1 . 8080");
	has(&all, "udp6_any_none", "81", ""); /* drained: dropped */
	has(&all, "conn4", "192.0.2.1 . tcp . 80 . 10.0.0.1 . 8080", "");
	has(&all, "out6_any", "udp . 81 . fd00::1 . 8080", "");
	has(&all, "masq4", "192.0.2.1 . tcp . 80", "");
	has(&all, "masq4_any", "udp . 81", "");
	has(&all, "masq6_any", "udp . 81", "");
	assert_int_equal(count(&all, "masq6"), 0);
	assert_int_equal(count(&all, "in4"), 2);
	assert_int_equal(count(&all, "in6"), 0);
	lb_nft_elements_free(&all);
	lb_model_free(&m);
}

static void test_sizes(void **state)
{
	struct lb_nft_classes c;
	struct lb_model m;

	(void)state;
	parse(&m, "services:\n"
		  "  - name: heavy\n    listen: ['192.0.2.1:80']\n    scheduler: random\n"
		  "    backends: [ { address: '10.0.0.1:1', weight: 65535 }, "
		  "{ address: '10.0.0.2:1', weight: 1 } ]\n"
		  "  - name: table\n    listen: ['192.0.2.1:81']\n    scheduler: maglev\n"
		  "    backends: [ { address: '10.0.0.1:1' } ]\n"
		  "  - name: small\n    listen: ['192.0.2.1:82']\n    scheduler: maglev\n"
		  "    maglev-size: 13\n    backends: [ { address: '10.0.0.1:1' } ]\n");
	assert_int_equal(lb_nft_classes_of(&m, &c), 0);
	assert_int_equal(c.n, 3);
	assert_int_equal(c.list[0].size, 1024);
	assert_int_equal(c.list[1].size, 13);
	assert_int_equal(c.list[2].size, 251);
	free(c.list);
	lb_model_free(&m);
}

/* All that a model has comes back, whatever the names are made of. */
static void test_model(void **state)
{
	struct lb_nft_elements all;
	struct lb_model m, back;
	struct lb_err err;

	(void)state;
	parse(&m, "datapath: nft\ninterfaces: [ { name: 'e\"%th', hook: tc }, eth1 ]\n"
		  "limits: { connections: 2048, services: 20, backends: 70 }\n"
		  "defaults: { scheduler: sh }\nservices:\n"
		  "  - name: long-name-of-sixty-characters-and-some-more-so-that-it-splits\n"
		  "    listen: ['*:80', '0.0.0.0:81', '[::]:82/udp', '[2001:db8::1]:83']\n"
		  "    backends: [ { address: '10.0.0.1:1', weight: 7 }, '[fd00::1]:2' ]\n"
		  "  - name: b\n    listen: ['192.0.2.1:84']\n    scheduler: maglev\n"
		  "    maglev-size: 1021\n    forwarding: masq\n    backends: ['10.0.0.1:1']\n");
	m.services[0].backends[0].override = 0;
	m.services[0].backends[0].override_since = 1234567890;
	m.services[1].source = LB_SOURCE_SWARM;
	elements(&all, &m);
	for (size_t i = 0; i < all.n; i++)
		if (!strcmp(all.list[i].set, "model")) {
			assert_true(strlen(all.list[i].value) < 128);
			assert_null(strpbrk(all.list[i].value, "\"\\\n"));
		}
	assert_int_equal(lb_nft_model_read(&all, false, &back, &err), 0);
	assert_true(model_equal(&back, &m));
	for (size_t i = 0; i < m.n_services; i++)
		assert_int_equal(back.services[i].source, m.services[i].source);
	/* Sorted: "b" comes first. */
	assert_int_equal(back.services[1].backends[0].override, LB_NO_OVERRIDE);
	assert_int_equal(back.services[0].backends[0].override, 0);
	assert_int_equal(back.services[0].backends[0].override_since, 1234567890);
	lb_model_free(&back);
	assert_int_equal(lb_nft_model_read(&all, true, &back, &err), 0);
	assert_int_equal(back.n_services, 0); /* nothing is gone */
	lb_model_free(&back);
	lb_nft_elements_free(&all);
	lb_model_free(&m);
}

/* Records that somebody has written lead nowhere, and past no bound. */
static void test_garbage(void **state)
{
	static const char too_long[] =
		"name 0123456789012345678901234567890123456789012345678901234"
		"56789012345678901234567890";
	static const char *const texts[] = {
		"service",
		"service 99 99 4294967295",
		"name %",
		"name %4",
		"name %00%ff",
		"listen",
		"listen *:0",
		"listen x",
		"backend",
		"backend 10.0.0.1:1 70000 - 0",
		"backend 10.0.0.1:1 1 99999999999 0",
		"interface 99 x",
		"interface 0 %",
		"limits 1",
		"defaults 77 77 77",
		"gone 0 0 0",
		"",
		"\xff",
		too_long,
	};
	struct lb_nft_elements all = {};
	struct lb_model m;
	struct lb_err err;
	char key[32];

	(void)state;
	for (unsigned int id = 0; id < 3; id++)
		for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
			snprintf(key, sizeof(key), "%u . %zu", id, i + 1);
			lb_nft_element_add(&all, "model", key, texts[i]);
		}
	lb_nft_element_add(&all, "model", "x . y", "service 0 1 2");
	lb_nft_elements_sort(&all);
	for (int gone = 0; gone < 2; gone++) {
		assert_int_equal(lb_nft_model_read(&all, gone, &m, &err), 0);
		lb_model_free(&m);
	}
	lb_nft_elements_free(&all);
}

/* Of a listen that is its backend the kernel tells nothing; of `*`, another port or the backend of
 * another service it does. */
static void test_own_backend(void **state)
{
	struct lb_model m;

	(void)state;
	parse(&m, "services:\n"
		  "  - { name: four, listen: ['192.0.2.1:80', '10.0.0.2:80/udp'],"
		  " backends: ['10.0.0.1:80', '10.0.0.2:80'] }\n"
		  "  - { name: six, listen: '[fd00::2]:80', backends: ['[fd00::2]:80'] }\n"
		  "  - { name: any, listen: '*:81', backends: ['10.0.0.1:81'] }\n"
		  "  - { name: port, listen: '10.0.0.1:82', backends: ['10.0.0.1:83'] }\n"
		  "  - { name: other, listen: '10.0.0.1:80', backends: ['10.0.0.3:80'] }\n");
	for (size_t i = 0; i < m.n_services; i++) {
		const char *name = m.services[i].name;
		bool own = !strcmp(name, "four") || !strcmp(name, "six");
		const char *why = lb_nft_service_why_not(&m.services[i]);

		assert_int_equal(why && strstr(why, "a backend that is itself the listen"), own);
		assert_int_equal(why != NULL, own);
	}
	lb_model_free(&m);
}

/* Of so many connections each backend gets what its slots are, on each datapath. */
static void test_portions(void **state)
{
	static const struct {
		const struct lb_dp_ops *ops;
		uint32_t heavy[3], table[3];
	} expected[] = {
		{&lb_dp_nft, {1023, 1, 0}, {9, 4, 0}},
		{&lb_dp_ebpf, {65535, 1, 0}, {9, 4, 0}},
	};
	struct lb_model m;

	(void)state;
	parse(&m,
	      "services:\n"
	      "  - { name: heavy, listen: '*:80', scheduler: wrr, backends: ["
	      "{ address: '10.0.0.1:1', weight: 65535 }, { address: '10.0.0.2:1' }, "
	      "{ address: '[fd00::1]:1', weight: 7 }, { address: '[fd00::2]:1', weight: 0 } ] }\n"
	      "  - { name: table, listen: '*:81', scheduler: maglev, maglev-size: 13, backends: ["
	      "{ address: '10.0.0.1:1', weight: 2 }, { address: '10.0.0.2:1' }, "
	      "{ address: '[fd00::1]:1' } ] }\n");
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		uint32_t got[4];

		assert_int_equal(expected[i].ops->portions(&m.services[0], LB_V4, got), 0);
		assert_memory_equal(got, expected[i].heavy, sizeof(expected[i].heavy));
		assert_int_equal(expected[i].ops->portions(&m.services[0], LB_V6, got), 0);
		assert_int_equal(got[0] + got[1], 0);
		assert_int_equal(got[2], 1);
		assert_int_equal(got[3], 0);
		assert_int_equal(expected[i].ops->portions(&m.services[1], LB_V4, got), 0);
		assert_memory_equal(got, expected[i].table, sizeof(expected[i].table));
	}
	lb_model_free(&m);
}

static void test_rules(void **state)
{
	struct lb_nft_class list[] = {
		{.family = LB_V4, .index = LB_NFT_SH, .size = 5},
		{.family = LB_V6, .index = LB_NFT_INC, .size = 2, .any = 1},
	};
	const struct lb_nft_classes c = {list, 2};
	static const char *const names[] = {"interfaces", "tcp4_sh5",   "local",
					    "loopback",   "link-local", "tcp6_any_inc2"};
	char buf[LB_NFT_CLASS_LEN];
	struct lb_text t = {};

	(void)state;
	lb_nft_text_rules(&t, "x", &c, &c);
	assert_non_null(strstr(t.s, "jhash ip saddr mod 5 seed 0x6d657368 map @tcp4_sh5_ring"));
	assert_non_null(strstr(
		t.s, "== syn tcp dport @tcp6_any_inc2 dnat ip6 to tcp dport . numgen inc mod 2"));
	for (size_t i = 0; i < 6; i++)
		assert_string_equal(lb_nft_rule_name(buf, &c, "prerouting", i), names[i]);
	assert_null(lb_nft_rule_name(buf, &c, "prerouting", 6));
	assert_string_equal(lb_nft_rule_name(buf, &c, "forward", 7), "out6_any");
	assert_string_equal(lb_nft_rule_name(buf, &c, "forward", 8), "related");
	assert_null(lb_nft_rule_name(buf, &c, "forward", 9));
	assert_string_equal(lb_nft_rule_name(buf, &c, "masq6", 0), "masq6");
	assert_string_equal(lb_nft_rule_name(buf, &c, "masq6", 1), "kept");
	assert_null(lb_nft_rule_name(buf, &c, "masq6", 2));
	assert_string_equal(lb_nft_rule_name(buf, &c, "postrouting", 3), "conn6_any");
	assert_null(lb_nft_rule_name(buf, &c, "postrouting", 4));
	free(t.s);
}

/* The kernel limits how long a rule can be: with so many classes, too, each looks into a set and a
 * map at most. */
static void test_many_sizes(void **state)
{
	enum { SIZES = 60 };
	struct lb_nft_class list[SIZES + 3] = {};
	const struct lb_nft_classes c = {list, SIZES + 3}, exact = {list, SIZES}, none = {};
	char buf[LB_NFT_CLASS_LEN];
	struct lb_text t = {};

	(void)state;
	for (uint32_t i = 0; i < SIZES; i++)
		list[i] = (struct lb_nft_class){.index = LB_NFT_INC, .size = i + 1};
	list[SIZES] = (struct lb_nft_class){.index = LB_NFT_SH, .size = 2};
	list[SIZES + 1] = (struct lb_nft_class){.index = LB_NFT_INC, .size = 2, .any = 1};
	list[SIZES + 2] = (struct lb_nft_class){.index = LB_NFT_SH, .size = 2, .any = 1};
	assert_true(lb_nft_has_exact(&c));
	lb_nft_text_rules(&t, "x", &none, &c);
	for (const char *line = t.s; *line; line = strchr(line, '\n') + 1)
		assert_true(strchr(line, '\n') - line < 256);
	assert_non_null(strstr(t.s, "x exact ip daddr . tcp dport @tcp4_inc1 accept comment"));
	assert_non_null(strstr(t.s, "x exact ip daddr . tcp dport @tcp4_inc60 accept comment"));
	assert_null(strstr(t.s, "delete chain"));
	assert_string_equal(lb_nft_rule_name(buf, &c, "exact", SIZES - 1), "tcp4_inc60");
	assert_null(lb_nft_rule_name(buf, &c, "exact", SIZES)); /* a hash finds its own itself */
	assert_string_equal(lb_nft_rule_name(buf, &c, "prerouting", SIZES + 5), "tcp4_any_inc2");
	assert_string_equal(lb_nft_rule_name(buf, &c, "prerouting", SIZES + 6), "exact");
	assert_string_equal(lb_nft_rule_name(buf, &c, "prerouting", SIZES + 7), "tcp4_any_sh2");
	assert_null(lb_nft_rule_name(buf, &c, "prerouting", SIZES + 8));
	free(t.s);
	t = (struct lb_text){};
	assert_false(lb_nft_has_exact(&exact));
	lb_nft_text_rules(&t, "x", &c, &exact);
	assert_non_null(strstr(t.s, "delete chain inet x exact\n"));
	assert_null(strstr(t.s, "jump"));
	free(t.s);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_class_names), cmocka_unit_test(test_elements),
		cmocka_unit_test(test_sizes),       cmocka_unit_test(test_model),
		cmocka_unit_test(test_garbage),     cmocka_unit_test(test_rules),
		cmocka_unit_test(test_many_sizes),  cmocka_unit_test(test_own_backend),
		cmocka_unit_test(test_portions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
