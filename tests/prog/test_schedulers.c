/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_schedulers.c - which backend a new connection gets, by both hooks and families.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "lib_flow.h"

#define PORT_RR     81
#define PORT_WRR    82
#define PORT_RANDOM 83
#define PORT_SH     84
#define PORT_MAGLEV 85

#define MEMBERS(a, b, c)                                                                           \
	{                                                                                          \
		{"10.1.0.11", 80, a}, {"10.1.0.12", 80, b}, {"10.1.0.13", 80, c},                  \
			{"fd00:1::11", 80, a}, {"fd00:1::12", 80, b}, {"fd00:1::13", 80, c},       \
	}
#define LISTENS(port)                                                                              \
	{                                                                                          \
		{NET_VIP, port, LB_TCP}, {NET_VIP6, port, LB_TCP},                                 \
		{                                                                                  \
			NET_VIP, port, LB_UDP                                                      \
		}                                                                                  \
	}

static const struct run_service services[] = {
	{"rr", LB_SCHED_RR, .listens = LISTENS(PORT_RR), .backends = MEMBERS(1, 1, 1)},
	{"wrr", LB_SCHED_WRR, .listens = LISTENS(PORT_WRR), .backends = MEMBERS(37, 20, 10)},
	{"random", LB_SCHED_RANDOM, .listens = LISTENS(PORT_RANDOM), .backends = MEMBERS(2, 1, 0)},
	{"sh", LB_SCHED_SH, .listens = LISTENS(PORT_SH), .backends = MEMBERS(1, 1, 1)},
	{"maglev", LB_SCHED_MAGLEV, .listens = LISTENS(PORT_MAGLEV), .backends = MEMBERS(1, 1, 1)},
};

static struct run run;

/* A new connection; which of the three backends got it, 0 to 2. */
static int place(enum lb_hook hook, int family, uint16_t port, uint8_t client, uint16_t cport)
{
	char text[64];
	struct flow f = {.run = &run,
			 .hook = hook,
			 .client = text,
			 .cport = cport,
			 .service = family == LB_V4 ? NET_VIP : NET_VIP6,
			 .sport = port};

	snprintf(text, sizeof(text), family == LB_V4 ? "198.51.100.%u" : "2001:db8:51::%x", client);
	assert_int_equal(flow_send(&f, PKT_SYN), RUN_FORWARDED);
	return f.backend.addr.b[family == LB_V4 ? 3 : 15] - (family == LB_V4 ? 11 : 0x11);
}

static void each(void (*test)(enum lb_hook hook, int family))
{
	for (int hook = 0; hook < LB_HOOKS; hook++) {
		for (int family = 0; family < LB_FAMILIES; family++) {
			run_forget_connections(&run);
			test(hook, family);
		}
	}
}

static void check_rr(enum lb_hook hook, int family)
{
	int first = place(hook, family, PORT_RR, 1, 1000);

	for (int i = 1; i < 30; i++)
		assert_int_equal(place(hook, family, PORT_RR, 1 + i % 4, 1000 + i),
				 (first + i) % 3);
	/* A repeated SYN is no new connection: it takes no turn. */
	assert_int_equal(place(hook, family, PORT_RR, 2, 1029), (first + 29) % 3);
	assert_int_equal(place(hook, family, PORT_RR, 2, 2000), first);
}

static void test_rr_alternates(void **state)
{
	(void)state;
	each(check_rr);
}

/* Both hooks, and so all processors, take turns from one counter. */
static void test_rr_across_hooks(void **state)
{
	int last = place(LB_HOOK_TC, LB_V4, PORT_RR, 9, 999);

	(void)state;
	run_forget_connections(&run);
	for (int i = 0; i < 30; i++) {
		int now = place(i & 1, LB_V4, PORT_RR, 1, 3000 + i);

		assert_int_equal(now, (last + 1) % 3);
		last = now;
	}
}

/* Exactly the weights in one turn of the ring, which takes three lines of lb_rings. */
static void check_wrr(enum lb_hook hook, int family)
{
	int count[3] = {0}, last = -1, in_a_row = 0;

	for (int i = 0; i < 67; i++) {
		int b = place(hook, family, PORT_WRR, 1, 1000 + i);

		count[b]++;
		in_a_row = b == last ? in_a_row + 1 : 1;
		last = b;
		assert_true(in_a_row <= 3);
	}
	assert_int_equal(count[0], 37);
	assert_int_equal(count[1], 20);
	assert_int_equal(count[2], 10);
}

static void test_wrr_proportions(void **state)
{
	(void)state;
	each(check_wrr);
}

static void check_random(enum lb_hook hook, int family)
{
	int count[3] = {0}, changes = 0, last = 0;

	for (int i = 0; i < 600; i++) {
		int b = place(hook, family, PORT_RANDOM, 1, 1000 + i);

		count[b]++;
		changes += b != last;
		last = b;
	}
	/* 400 expected, sigma 11.5; and not in any regular order */
	assert_in_range(count[0], 400 - 70, 400 + 70);
	assert_int_equal(count[2], 0);
	assert_in_range(changes, 200, 340);
}

static void test_random_weights(void **state)
{
	(void)state;
	each(check_random);
}

static void check_sh(enum lb_hook hook, int family)
{
	int count[3] = {0}, of[200];

	for (int client = 0; client < 200; client++) {
		of[client] = place(hook, family, PORT_SH, client, 1000);
		count[of[client]]++;
	}
	for (int i = 0; i < 3; i++)
		assert_in_range(count[i], 30, 110);
	run_forget_connections(&run);
	for (int client = 199; client >= 0; client--)
		assert_int_equal(place(hook, family, PORT_SH, client, 2000 + client * 7),
				 of[client]);
}

static void test_sh_by_client(void **state)
{
	(void)state;
	each(check_sh);
}

static void check_maglev(enum lb_hook hook, int family)
{
	int count[3] = {0}, of[300];

	for (int i = 0; i < 300; i++) {
		of[i] = place(hook, family, PORT_MAGLEV, i % 3, 1000 + i);
		count[of[i]]++;
	}
	for (int i = 0; i < 3; i++)
		assert_in_range(count[i], 60, 150);
	run_forget_connections(&run);
	for (int i = 299; i >= 0; i--)
		assert_int_equal(place(hook, family, PORT_MAGLEV, i % 3, 1000 + i), of[i]);
}

static void test_maglev_by_flow(void **state)
{
	(void)state;
	each(check_maglev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rr_alternates),   cmocka_unit_test(test_rr_across_hooks),
		cmocka_unit_test(test_wrr_proportions), cmocka_unit_test(test_random_weights),
		cmocka_unit_test(test_sh_by_client),    cmocka_unit_test(test_maglev_by_flow),
	};
	int rc = run_open(&run, 1024, 512, 3);

	if (rc) {
		fprintf(stderr, "test_schedulers: loading the programs: %s\n", strerror(-rc));
		return 1;
	}
	for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++)
		run_add_service(&run, &services[i]);
	rc = cmocka_run_group_tests_name("schedulers", tests, NULL, NULL);
	run_close(&run);
	return rc;
}
