// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_former.c - programs that have taken the place of those of another instance, and still ask
 * these about packets that find no connection.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <bpf/bpf.h>

#include "lib_flow.h"

static const struct run_service services[] = {
	{"web", LB_SCHED_RR, .listens = {{NET_VIP, 80, LB_TCP}, {NET_VIP6, 80, LB_TCP}},
	 .backends = {{"10.1.0.11", 8080, 1}, {"fd00:1::11", 8080, 1}}},
	{"dns", LB_SCHED_RR, .listens = {{NET_VIP, 53, LB_UDP}, {NET_VIP6, 53, LB_UDP}},
	 .backends = {{"10.1.0.11", 5353, 1}, {"fd00:1::11", 5353, 1}}},
};

/* Packets come to run's programs. By `former` they are judged that its programs are to forward: it
 * has programs of its own, in `former_progs`, and run's stand in its place. */
static struct run run, former;
static int former_progs[LB_HOOKS];
static enum lb_hook hook;
static uint16_t next_port = 20000;

static int open_one(struct run *r)
{
	int rc = run_open(r, 1024, 2048, 4);

	for (size_t i = 0; !rc && i < sizeof(services) / sizeof(services[0]); i++)
		run_add_service(r, &services[i]);
	return rc;
}

static void calls_set(enum lb_call call, bool asks)
{
	const struct bpf_map *const arrays[LB_HOOKS] = {
		[LB_HOOK_XDP] = run.skel->maps.lb_slow_xdp,
		[LB_HOOK_TC] = run.skel->maps.lb_slow_tc,
	};

	for (int h = 0; h < LB_HOOKS; h++) {
		int fd = bpf_map__fd(arrays[h]);

		if (asks)
			assert_int_equal(bpf_map_update_elem(fd, &call, &former_progs[h], BPF_ANY),
					 0);
		else
			assert_int_equal(bpf_map_delete_elem(fd, &call), 0);
	}
}

static struct flow flow(bool v6, bool udp, struct run *of)
{
	return (struct flow){.run = of,
			     .hook = hook,
			     .client = v6 ? NET_CLIENT6 : NET_CLIENT,
			     .service = v6 ? NET_VIP6 : NET_VIP,
			     .cport = next_port++,
			     .sport = udp ? 53 : 80,
			     .proto = udp ? PKT_UDP : 0};
}

static int state_in(struct run *r, struct flow f)
{
	f.run = r;
	return flow_state(&f);
}

static void established(struct flow *f, int state)
{
	struct run *other = f->run == &run ? &former : &run;

	assert_int_equal(flow_establish(f), RUN_FORWARDED);
	assert_int_equal(flow_state(f), state);
	assert_int_equal(state_in(other, *f), -1);
}

static void goes_on(struct flow *f, uint8_t flags)
{
	assert_int_equal(flow_send(f, flags), RUN_FORWARDED);
	assert_int_equal(flow_answer(f, flags), RUN_FORWARDED);
}

static void test_former(bool v6)
{
	struct flow tcp = flow(v6, false, &former), udp = flow(v6, true, &former);
	struct flow later = flow(v6, false, &run), later_udp = flow(v6, true, &run);
	struct flow lost = flow(v6, false, &former);

	calls_set(LB_CALL_FORMER_OPENS, true);
	calls_set(LB_CALL_FORMER, true);
	established(&tcp, LB_CONN_ESTABLISHED);
	established(&lost, LB_CONN_ESTABLISHED);
	established(&udp, LB_CONN_UDP);

	/* It opens no more, and is still asked about what it has. */
	calls_set(LB_CALL_FORMER_OPENS, false);
	established(&later, LB_CONN_ESTABLISHED);
	established(&later_udp, LB_CONN_UDP);
	goes_on(&tcp, PKT_ACK);
	assert_int_equal(flow_answer(&udp, 0), RUN_FORWARDED);
	goes_on(&later, PKT_ACK);
	goes_on(&later_udp, 0);

	calls_set(LB_CALL_FORMER, false);
	goes_on(&later, PKT_ACK);
	lost.run = &run;
	assert_int_equal(flow_send(&lost, PKT_ACK), LB_REASON_NO_CONNECTION);
}

static void test_ipv4(void **state)
{
	(void)state;
	test_former(false);
}

static void test_ipv6(void **state)
{
	(void)state;
	test_former(true);
}

/* As an apply does that takes an instance over: all that has ports goes the slow way. */
static void ports_raise(void)
{
	for (int proto = 0; proto < LB_PROTOS; proto++)
		for (int port = 0; port < 65536; port++)
			run.ports->flags[proto][port] |= LB_PORT_ANY;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ipv4),
		cmocka_unit_test(test_ipv6),
	};
	int rc = open_one(&former), failed = 0;

	if (!rc)
		rc = open_one(&run);
	if (rc) {
		fprintf(stderr, "test_former: loading the programs: %s\n", strerror(-rc));
		return 1;
	}
	memcpy(former_progs, former.prog, sizeof(former_progs));
	memcpy(former.prog, run.prog, sizeof(former.prog));
	ports_raise();
	for (int h = 0; h < LB_HOOKS; h++) {
		hook = h;
		failed += cmocka_run_group_tests_name(
			h == LB_HOOK_XDP ? "former, XDP" : "former, tc", tests, NULL, NULL);
	}
	run_close(&run);
	run_close(&former);
	return failed;
}
