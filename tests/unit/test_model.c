// SPDX-License-Identifier: GPL-2.0-or-later
/* test_model.c - the model's lists, their order, and the text forms of addresses. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/model.h"
#include "model_util.h"

/* ---------------------------------------------------------------------------- lists */

static struct lb_endpoint endpoint(const char *text)
{
	struct lb_endpoint at;
	const char *why;

	if (lb_endpoint_parse(&at, text, &why))
		fail_msg("endpoint \"%s\": %s", text, why);
	return at;
}

static struct lb_listen listen_of(const char *text)
{
	struct lb_listen l;
	const char *why;

	if (lb_listen_parse(&l, text, &why))
		fail_msg("listen \"%s\": %s", text, why);
	return l;
}

static void add_backend(struct lb_service_conf *s, const char *text, uint32_t weight)
{
	struct lb_backend_conf *b = lb_service_add_backend(s);

	assert_non_null(b);
	b->at = endpoint(text);
	b->weight = weight;
}

static struct lb_service_conf *add_service(struct lb_model *m, const char *name)
{
	struct lb_service_conf *s = lb_model_add_service(m);

	assert_non_null(s);
	snprintf(s->name, sizeof(s->name), "%s", name);
	return s;
}

static void test_init(void **state)
{
	struct lb_model m;

	(void)state;
	lb_model_init(&m);
	assert_int_equal(m.datapath, LB_DATAPATH_AUTO);
	assert_int_equal(m.default_scheduler, LB_SCHED_RR);
	assert_int_equal(m.default_maglev_size, 65537);
	assert_int_equal(m.limits.connections, 1000000);
	assert_int_equal(m.limits.connections6, 1000000);
	assert_int_equal(m.limits.services, 10000);
	assert_int_equal(m.limits.backends, 100000);
	assert_int_equal(m.limits.ring_slots, 16777216);
	assert_int_equal(m.n_services + m.n_interfaces, 0);
	lb_model_free(&m);
	assert_int_equal(m.limits.services, 0);
}

/* Every length from 0 to 40, so that each growth and each copy's capacity is met. */
static void test_lists_grow(void **state)
{
	struct lb_model m, copy;

	(void)state;
	lb_model_init(&m);
	for (uint32_t n = 0; n < 40; n++) {
		struct lb_service_conf *s = add_service(&m, "s");

		assert_null(s->backends);
		for (uint32_t i = 0; i < n; i++) {
			struct lb_backend_conf *b = lb_service_add_backend(s);

			assert_int_equal(b->weight + b->at.port + b->id, 0);
			assert_int_equal(b->override, LB_NO_OVERRIDE);
			b->weight = i;
			lb_service_add_listen(s)->at.port = (uint16_t)(i + 1);
			snprintf(lb_model_add_interface(&m)->name, LB_IFNAME_MAX, "%u-%u", n, i);
		}
		assert_int_equal(s->n_backends, n);
		assert_int_equal(s->n_listens, n);
		assert_int_equal(lb_model_copy(&copy, &m), 0);
		assert_true(model_equal(&copy, &m));
		/* The copy can grow, and is not the original. */
		lb_service_add_backend(&copy.services[n])->weight = 7;
		lb_service_add_listen(&copy.services[n]);
		lb_model_add_interface(&copy);
		lb_model_add_service(&copy);
		assert_int_equal(m.services[n].n_backends, n);
		assert_false(model_equal(&copy, &m));
		lb_model_free(&copy);
	}
	for (uint32_t i = 0; i < 39; i++)
		assert_int_equal(m.services[39].backends[i].weight, i);
	lb_model_free(&m);
}

static void test_remove_service(void **state)
{
	struct lb_model m;

	(void)state;
	lb_model_init(&m);
	for (const char *name = "abcde"; *name; name++)
		add_backend(add_service(&m, (char[]){*name, 0}), "10.0.0.1:80", *name);
	lb_model_remove_service(&m, 4);
	lb_model_remove_service(&m, 1);
	lb_model_remove_service(&m, 0);
	assert_int_equal(m.n_services, 2);
	assert_string_equal(m.services[0].name, "c");
	assert_int_equal(m.services[0].backends[0].weight, 'c');
	assert_string_equal(m.services[1].name, "d");
	for (const char *name = "fghi"; *name; name++)
		add_service(&m, (char[]){*name, 0});
	assert_string_equal(m.services[5].name, "i");
	assert_string_equal(m.services[1].name, "d");
	lb_model_free(&m);
}

static void test_weight_in_force(void **state)
{
	struct lb_backend_conf b = {.weight = 5, .override = LB_NO_OVERRIDE};

	(void)state;
	assert_int_equal(lb_backend_weight(&b), 5);
	b.override = 0;
	assert_int_equal(lb_backend_weight(&b), 0);
	b.override = 9;
	assert_int_equal(lb_backend_weight(&b), 9);
}

/* ---------------------------------------------------------------------------- order */

static const char *const endpoints_in_order[] = {
	"1.2.3.4:80",   "1.2.3.4:8080",  "9.255.255.255:1", "10.0.0.1:1",
	"223.1.1.1:80", "[::2]:65535",   "[1::]:1",         "[fd00::1]:80",
	"[fd00::2]:1",  "[fd00::2]:256", "[fd00:1::]:1",
};
#define ENDPOINTS (sizeof(endpoints_in_order) / sizeof(endpoints_in_order[0]))

static int sign(int n)
{
	return (n > 0) - (n < 0);
}

static void test_endpoint_order(void **state)
{
	(void)state;
	for (int i = 0; i < (int)ENDPOINTS; i++) {
		struct lb_endpoint a = endpoint(endpoints_in_order[i]);

		for (int j = 0; j < (int)ENDPOINTS; j++) {
			struct lb_endpoint b = endpoint(endpoints_in_order[j]);

			assert_int_equal(sign(lb_endpoint_cmp(&a, &b)), sign(i - j));
		}
	}
}

static void test_listen_order(void **state)
{
	static const char *const in_order[] = {
		"0.0.0.0:80/tcp",   "*:80/tcp",         "0.0.0.0:80/udp", "*:80/udp",        "*:81",
		"192.0.2.1:80/tcp", "192.0.2.1:80/udp", "[::]:1",         "[2001:db8::1]:1",
	};
	const int n = sizeof(in_order) / sizeof(in_order[0]);

	(void)state;
	for (int i = 0; i < n; i++) {
		for (int j = 0; j < n; j++) {
			struct lb_listen a = listen_of(in_order[i]), b = listen_of(in_order[j]);

			assert_int_equal(sign(lb_listen_cmp(&a, &b)), sign(i - j));
		}
	}
}

static void fill(struct lb_model *m, const int *order)
{
	lb_model_init(m);
	for (int i = 0; i < 5; i++) {
		char name[16];
		struct lb_service_conf *s;

		snprintf(name, sizeof(name), "s%d", order[i]);
		s = add_service(m, name);
		snprintf(lb_model_add_interface(m)->name, LB_IFNAME_MAX, "eth%d", order[i]);
		for (int j = 0; j < 5; j++) {
			add_backend(s, endpoints_in_order[2 * order[j]], order[j]);
			*lb_service_add_listen(s) = listen_of(endpoints_in_order[order[j]]);
		}
	}
}

static void test_sort(void **state)
{
	static const int orders[][5] = {{0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}, {2, 4, 0, 3, 1}};
	struct lb_model sorted, m;

	(void)state;
	fill(&sorted, orders[0]);
	for (int i = 0; i < 3; i++) {
		fill(&m, orders[i]);
		lb_model_sort(&m);
		assert_true(model_equal(&m, &sorted));
		lb_model_free(&m);
	}
	lb_model_free(&sorted);
	lb_model_init(&m);
	lb_model_sort(&m); /* an empty one too */
	lb_model_free(&m);
}

static void test_find(void **state)
{
	static const int order[5] = {3, 1, 4, 0, 2};
	struct lb_endpoint at;
	struct lb_model m;
	char name[16];

	(void)state;
	lb_model_init(&m);
	assert_null(lb_model_find_service(&m, "s0"));
	fill(&m, order);
	lb_model_sort(&m);
	for (int i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		assert_ptr_equal(lb_model_find_service(&m, name), &m.services[i]);
		at = endpoint(endpoints_in_order[2 * i]);
		assert_ptr_equal(lb_service_find_backend(&m.services[0], &at),
				 &m.services[0].backends[i]);
	}
	assert_null(lb_model_find_service(&m, "s"));
	assert_null(lb_model_find_service(&m, "s5"));
	at = endpoint("1.2.3.4:81");
	assert_null(lb_service_find_backend(&m.services[0], &at));
	lb_model_free(&m);
}

static void test_has_family(void **state)
{
	struct lb_service_conf s = {.n_backends = 0};

	(void)state;
	assert_false(lb_service_has_family(&s, LB_V4));
	add_backend(&s, "10.0.0.1:80", 1);
	assert_true(lb_service_has_family(&s, LB_V4));
	assert_false(lb_service_has_family(&s, LB_V6));
	add_backend(&s, "[fd00::1]:80", 1);
	assert_true(lb_service_has_family(&s, LB_V6));
	free(s.backends);
}

/* ---------------------------------------------------------------------------- text */

static void test_endpoint_bytes(void **state)
{
	static const uint8_t v4[16] = {[10] = 255, [11] = 255, 192, 0, 2, 1};
	static const uint8_t v6[16] = {0x20, 1, 0xd, 0xb8, [15] = 1};
	struct lb_endpoint at = endpoint("192.0.2.1:8080");

	(void)state;
	assert_int_equal(at.family, LB_V4);
	assert_int_equal(at.port, 8080);
	assert_memory_equal(at.addr.b, v4, 16);
	at = endpoint("[2001:db8::1]:65535");
	assert_int_equal(at.family, LB_V6);
	assert_int_equal(at.port, 65535);
	assert_memory_equal(at.addr.b, v6, 16);
}

static void test_endpoint_text(void **state)
{
	static const char *const same[] = {
		"0.0.0.0:1",
		"10.0.1.3:80",
		"255.255.255.255:65535",
		"[::]:1",
		"[::1]:80",
		"[2001:db8::1]:8080",
		"[2001:db8:1111:2222:3333:4444:5555:6666]:65535", /* the longest */
	};
	char buf[LB_ENDPOINT_STRLEN];
	struct lb_endpoint at;

	(void)state;
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		at = endpoint(same[i]);
		assert_string_equal(lb_endpoint_str(buf, &at), same[i]);
	}
	at = endpoint("[2001:0DB8:0:0::1]:80");
	assert_string_equal(lb_endpoint_str(buf, &at), "[2001:db8::1]:80");
}

static void test_endpoint_refused(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{"", "no port"},
		{"10.0.0.1", "no port"},
		{"10.0.0.300:80", "not an IP address"},
		{"10.0.0:80", "not an IP address"},
		{"10.0.0.01:80", "not an IP address"},
		{" 10.0.0.1:80", "not an IP address"},
		{"node1:80", "not an IP address"},
		{":80", "not an IP address"},
		{"*:80", "not an IP address"},
		{"10.0.0.1:", "from 1 to 65535"},
		{"10.0.0.1:0", "from 1 to 65535"},
		{"10.0.0.1:080", "without leading zeroes"},
		{"10.0.0.1:65536", "from 1 to 65535"},
		{"10.0.0.1:99999999999999999999", "from 1 to 65535"},
		{"10.0.0.1:+80", "from 1 to 65535"},
		{"10.0.0.1:80 ", "from 1 to 65535"},
		{"10.0.0.1:http", "from 1 to 65535"},
		{"10.0.0.1:80/tcp", "write no /tcp"},
		{"10.0.0.1:80,10.0.0.2:80", "write a list"},
		{"2001:db8::1:80", "needs brackets"},
		{"[2001:db8::1:80", "no `]`"},
		{"[2001:db8::1]", "no port"},
		{"[2001:db8::1]80", "no port"},
		{"[2001:db8::1]:0", "from 1 to 65535"},
		{"[2001:db8::12345]:80", "not an IP address"},
		{"[fe80::1%eth0]:80", "not an IP address"},
		{"[]:80", "not an IP address"},
		{"[10.0.0.1]:80", "brackets are for IPv6"},
		{"[::ffff:10.0.0.1]:80", "IPv4-mapped"},
		{"[::ffff:a00:1]:80", "IPv4-mapped"},
		{"[2001:db8:1111:2222:3333:4444:5555:6666]:655350000000000000000000",
		 "not an IP address"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct lb_endpoint at = {.port = 1};
		const char *why = NULL;

		if (lb_endpoint_parse(&at, cases[i].text, &why) != -EINVAL)
			fail_msg("\"%s\" was taken", cases[i].text);
		if (!strstr(why, cases[i].why))
			fail_msg("\"%s\": \"%s\", not \"%s\"", cases[i].text, why, cases[i].why);
		assert_int_equal(at.port, 1);
	}
}

static void test_listen_text(void **state)
{
	static const struct {
		const char *text, *same;
		enum lb_family family;
		enum lb_proto proto;
		enum lb_any any;
	} cases[] = {
		{"*:8080", "*:8080/tcp", LB_V4, LB_TCP, LB_ANY_BOTH},
		{"*:53/udp", "*:53/udp", LB_V4, LB_UDP, LB_ANY_BOTH},
		{"0.0.0.0:80", "0.0.0.0:80/tcp", LB_V4, LB_TCP, LB_ANY_ONE},
		{"[::]:80/udp", "[::]:80/udp", LB_V6, LB_UDP, LB_ANY_ONE},
		{"192.0.2.1:53/tcp", "192.0.2.1:53/tcp", LB_V4, LB_TCP, LB_ANY_NOT},
		{"[2001:db8:1111:2222:3333:4444:5555:6666]:65535/udp",
		 "[2001:db8:1111:2222:3333:4444:5555:6666]:65535/udp", LB_V6, LB_UDP, LB_ANY_NOT},
	};
	static const uint8_t any4[16] = {[10] = 255, [11] = 255};
	char buf[LB_ENDPOINT_STRLEN];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct lb_listen l = listen_of(cases[i].text);

		assert_string_equal(lb_listen_str(buf, &l), cases[i].same);
		assert_int_equal(l.at.family, cases[i].family);
		assert_int_equal(l.proto, cases[i].proto);
		assert_int_equal(l.any, cases[i].any);
		if (l.any == LB_ANY_BOTH)
			assert_memory_equal(l.at.addr.b, any4, 16);
	}
}

static void test_listen_refused(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{"", "no port"},
		{"*", "no port"},
		{"*:", "from 1 to 65535"},
		{"*:0", "from 1 to 65535"},
		{"*:65536", "from 1 to 65535"},
		{"*1:80", "not an IP address"},
		{"**:80", "not an IP address"},
		{"*:80/sctp", "/tcp or /udp"},
		{"*:80/TCP", "/tcp or /udp"},
		{"*:80/", "/tcp or /udp"},
		{"*:80/tcp/udp", "/tcp or /udp"},
		{"224.0.0.1:80", "group address"},
		{"239.255.255.255:80/udp", "group address"},
		{"[ff02::1]:80", "group address"},
		{"127.0.0.1:80", "loopback address"},
		{"[::1]:80", "loopback address"},
		{"255.255.255.255:80", "reserved address"},
		{"240.0.0.1:80", "reserved address"},
		{"0.0.0.1:80", "reserved address"},
		{"*:80,*:81", "write a list"},
		{"*:80/udp,*:81", "write a list"},
		{"[::ffff:0.0.0.0]:80", "IPv4-mapped"},
		{"2001:db8::1:80", "needs brackets"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct lb_listen l;
		const char *why = NULL;

		if (lb_listen_parse(&l, cases[i].text, &why) != -EINVAL)
			fail_msg("\"%s\" was taken", cases[i].text);
		if (!strstr(why, cases[i].why))
			fail_msg("\"%s\": \"%s\", not \"%s\"", cases[i].text, why, cases[i].why);
	}
}

/* The first and the last of what is refused, and their neighbours. */
static void test_why_not(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{"0.0.0.0", NULL},
		{"0.0.0.1", "reserved"},
		{"0.255.255.255", "reserved"},
		{"1.0.0.0", NULL},
		{"126.255.255.255", NULL},
		{"127.0.0.0", "loopback"},
		{"127.255.255.255", "loopback"},
		{"128.0.0.0", NULL},
		{"223.255.255.255", NULL},
		{"224.0.0.0", "group"},
		{"239.255.255.255", "group"},
		{"240.0.0.0", "reserved"},
		{"255.255.255.255", "reserved"},
		{"::", NULL},
		{"::1", "loopback"},
		{"::2", NULL},
		{"fe80::1", NULL},
		{"feff::1", NULL},
		{"ff00::", "group"},
		{"ffff::", "group"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct lb_addr addr;
		uint8_t family;
		const char *why;

		assert_int_equal(lb_addr_parse(&addr, &family, cases[i].text), 0);
		why = lb_addr_why_not(&addr, family);
		if (!why != !cases[i].why || (why && !strstr(why, cases[i].why)))
			fail_msg("%s: %s", cases[i].text, why ? why : "taken");
	}
}

static void test_addr(void **state)
{
	struct lb_addr addr;
	uint8_t family;
	char buf[LB_ENDPOINT_STRLEN];

	(void)state;
	assert_int_equal(lb_addr_parse(&addr, &family, "10.1.2.3"), 0);
	assert_int_equal(family, LB_V4);
	assert_string_equal(lb_addr_str(buf, &addr, family), "10.1.2.3");
	assert_false(lb_addr_is_any(&addr, LB_V4));
	assert_int_equal(lb_addr_parse(&addr, &family, "::"), 0);
	assert_int_equal(family, LB_V6);
	assert_true(lb_addr_is_any(&addr, LB_V6));
	assert_int_equal(lb_addr_parse(&addr, &family, "::2"), 0);
	assert_false(lb_addr_is_any(&addr, LB_V6));
	assert_int_equal(lb_addr_parse(&addr, &family, "::ffff:10.1.2.3"), -EINVAL);
	assert_int_equal(lb_addr_parse(&addr, &family, ""), -EINVAL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_init),           cmocka_unit_test(test_lists_grow),
		cmocka_unit_test(test_remove_service), cmocka_unit_test(test_weight_in_force),
		cmocka_unit_test(test_endpoint_order), cmocka_unit_test(test_listen_order),
		cmocka_unit_test(test_sort),           cmocka_unit_test(test_find),
		cmocka_unit_test(test_has_family),     cmocka_unit_test(test_endpoint_bytes),
		cmocka_unit_test(test_endpoint_text),  cmocka_unit_test(test_endpoint_refused),
		cmocka_unit_test(test_listen_text),    cmocka_unit_test(test_listen_refused),
		cmocka_unit_test(test_why_not),        cmocka_unit_test(test_addr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
