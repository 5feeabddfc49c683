/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_drained.c - what a drained backend keeps, and SYNs on it: of clients that begin anew by the
 * same port, or forged; by both hooks and families.
 */
#include "lib_flow.h"
#include "lib_group.h"

#define BUCKETS 256
#define UNIT    (1u << 24)
#define TWO(weight)                                                                                \
	{                                                                                          \
		{"10.1.0.11", 8080, weight}, {"10.1.0.12", 8080, 1}, {"fd00:1::11", 8080, weight}, \
		{                                                                                  \
			"fd00:1::12", 8080, 1                                                      \
		}                                                                                  \
	}

#define WEB 1 /* its id */
static const struct run_service services[] = {
	{"web", LB_SCHED_RR, .listens = {{NET_VIP, 80, LB_TCP}, {NET_VIP6, 80, LB_TCP}},
	 .backends = TWO(1)},
};
/* Its first backend is. */
static const struct run_service web_drained = {"web", LB_SCHED_RR, .backends = TWO(0)};

static uint16_t next_port;

static struct flow tcp(void)
{
	return flow_make(&run, hook, family, next_port++, 80, 0);
}

static struct flow established(void)
{
	return flow_established(tcp());
}

/* The first backend. */
static void drain(void)
{
	run_next_version(&run, WEB, &web_drained, ++run.config->generation);
}

static void undrain(void)
{
	run_next_version(&run, WEB, &services[WEB - 1], ++run.config->generation);
}

static bool is_at_first(const struct flow *f)
{
	struct pkt_end first = pkt_end(family == LB_V4 ? "10.1.0.11" : "fd00:1::11", 8080);

	return pkt_addr_equal(&f->backend.addr, &first.addr);
}

/* By the backend that drain() drains. */
static struct flow established_at_first(void)
{
	struct flow f;

	do
		f = established();
	while (!is_at_first(&f));
	return f;
}

static struct flow half_open_at_first(void)
{
	struct flow f;

	do {
		f = tcp();
		sends(&f, PKT_SYN);
		answers(&f, PKT_SYN | PKT_ACK);
	} while (!is_at_first(&f));
	return f;
}

/* The RST was forged, and so is the SYN: it goes on, though its client says nothing for long, and
 * the backend asks who has sent the SYN. */
static void test_syn_on_forged_reset(void **state)
{
	(void)state;
	for (int drained = 0; drained < 2; drained++) {
		struct flow f = established_at_first(), forged = flow_guessed(&f);
		struct pkt_end backend = f.backend;

		if (drained)
			drain();
		sends(&forged, PKT_RST);
		sends(&forged, PKT_SYN);
		answers(&f, PKT_ACK);
		sends(&forged, PKT_RST);
		sends(&forged, PKT_SYN);
		run_later(&run, run_ticks(&run, LB_CONN_ESTABLISHED));
		sends(&f, PKT_ACK);
		assert_true(pkt_addr_equal(&f.backend.addr, &backend.addr));
		assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
	}
	undrain();
}

/* Its backend takes no new ones any more: then to another one, unless the old one may be alive. */
static void test_syn_on_drained(void **state)
{
	struct flow half = established_at_first(), f = half, unanswered;

	(void)state;
	sends(&half, PKT_FIN | PKT_ACK);
	do { /* nor has it answered this one yet */
		unanswered = tcp();
		sends(&unanswered, PKT_SYN);
	} while (!is_at_first(&unanswered));
	drain();
	sends(&unanswered, PKT_SYN);
	assert_false(pkt_addr_equal(&unanswered.backend.addr, &half.backend.addr));
	assert_int_equal(flow_state(&unanswered), LB_CONN_SYN_SENT);
	sends(&f, PKT_SYN);
	assert_true(pkt_addr_equal(&f.backend.addr, &half.backend.addr));
	assert_int_equal(flow_state(&f), LB_CONN_FIN_CLIENT);
	answers(&half, PKT_FIN | PKT_ACK); /* now it is over */
	sends(&f, PKT_SYN);
	assert_false(pkt_addr_equal(&f.backend.addr, &half.backend.addr));
	assert_int_equal(flow_state(&f), LB_CONN_SYN_SENT);
	undrain();
}

/* Established, half-closed by either side, or reset, by the backend that drain() drains. */
static struct flow guarded_at_first(uint32_t in)
{
	struct flow f = established_at_first();

	if (in == LB_CONN_FIN_CLIENT)
		sends(&f, PKT_FIN | PKT_ACK);
	else if (in == LB_CONN_FIN_BACKEND)
		answers(&f, PKT_FIN | PKT_ACK);
	else if (in == LB_CONN_RESET)
		sends(&f, PKT_RST);
	assert_int_equal(flow_state(&f), in);
	return f;
}

/* The drained backend has forgotten a connection, and would take its client's next one: that is
 * balanced anew, as soon as the backend shows it. */
static void drained_forgets(struct flow f)
{
	struct pkt_end backend = f.backend;
	struct flow again = flow_guessed(&f);
	int was = flow_state(&f);

	sends(&again, PKT_SYN);
	assert_true(pkt_addr_equal(&again.backend.addr, &backend.addr));
	answers(&f, PKT_ACK); /* it knows it still */
	assert_int_equal(flow_state(&f), was);
	assert_int_equal(flow_answer(&again, PKT_SYN | PKT_ACK), LB_REASON_BACKEND_DRAINED_RESET);
	assert_int_equal(flow_state(&f), LB_CONN_CLOSED);
	sends(&again, PKT_SYN);
	assert_false(pkt_addr_equal(&again.backend.addr, &backend.addr));
	assert_int_equal(flow_state(&again), LB_CONN_SYN_SENT);
}

static void test_drained_forgets(void **state)
{
	static const uint32_t in[] = {LB_CONN_ESTABLISHED, LB_CONN_FIN_CLIENT, LB_CONN_FIN_BACKEND,
				      LB_CONN_RESET};

	(void)state;
	for (size_t i = 0; i < sizeof(in) / sizeof(in[0]); i++) {
		struct flow f = guarded_at_first(in[i]), again;

		drain();
		drained_forgets(f);
		undrain();
		f = guarded_at_first(in[i]);
		again = flow_guessed(&f);
		sends(&again, PKT_SYN);
		answers(&again, PKT_SYN | PKT_ACK); /* it takes new ones */
		assert_int_equal(flow_state(&f), in[i] == LB_CONN_ESTABLISHED ? LB_CONN_ESTABLISHED
									      : LB_CONN_SYN_RECV);
	}
}

/* The same of a connection that was half-open when its backend was drained; and that one may still
 * be established, though its SYN-ACK comes again, by another cookie or when its client has answered
 * already. */
static void test_drained_half_open(void **state)
{
	struct flow f[] = {half_open_at_first(), half_open_at_first()}, cookie;

	(void)state;
	drain();
	drained_forgets(f[0]);
	cookie = f[1];
	cookie.seq = 1000000;
	cookie.backend_seq = 40 * UNIT;
	sends(&f[1], PKT_SYN);
	answers(&cookie, PKT_SYN | PKT_ACK);
	sends(&cookie, PKT_ACK);
	assert_int_equal(flow_state(&f[1]), LB_CONN_ESTABLISHED);
	answers(&cookie, PKT_SYN | PKT_ACK);
	assert_int_equal(flow_state(&f[1]), LB_CONN_ESTABLISHED);
	undrain();
}

/* The same SYN again and again, and a drained backend that answers each: what was half-open when it
 * was drained is over in its time. */
static void test_drained_waits_for_none(void **state)
{
	struct flow f = half_open_at_first();

	(void)state;
	drain();
	for (uint32_t ticks = run_ticks(&run, LB_CONN_SYN_RECV); ticks; ticks--) {
		sends(&f, PKT_SYN);
		answers(&f, PKT_SYN | PKT_ACK);
		run_later(&run, 1);
	}
	run_later(&run, 1);
	sends(&f, PKT_SYN);
	assert_false(is_at_first(&f));
	undrain();
}

/* Whatever somebody sends as its client meanwhile, and though its backend answers each SYN: again,
 * or by asking who has sent it. */
static void half_open_is_over_in_time(uint8_t flags, bool answered)
{
	struct flow f = tcp();
	int state = answered ? LB_CONN_SYN_RECV : LB_CONN_SYN_SENT;

	sends(&f, PKT_SYN);
	for (uint32_t ticks = 0; ticks <= run_ticks(&run, state); ticks++) {
		struct flow forged = flow_guessed(&f);

		if (answered)
			answers(&f, ticks % 2 ? PKT_ACK : PKT_SYN | PKT_ACK);
		assert_int_equal(flow_state(&f), state);
		/* a SYN in the last eighth begins anew */
		if (flags != PKT_SYN || ticks < run_ticks(&run, state) * 7 / 8)
			sends(&forged, flags);
		run_later(&run, 1);
	}
	assert_int_equal(flow_send(&f, PKT_ACK), LB_REASON_NO_CONNECTION);
}

static void test_half_open_is_over(void **state)
{
	static const uint8_t flags[] = {PKT_SYN, PKT_ACK,           PKT_RST,
					PKT_PSH, PKT_FIN | PKT_ACK, PKT_RST | PKT_ACK};

	(void)state;
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		half_open_is_over_in_time(flags[i], false);
		half_open_is_over_in_time(flags[i], true);
	}
}

static int fresh(void **state)
{
	(void)state;
	next_port = 20000;
	run_fresh(&run);
	return 0;
}

#define DRAINED_TEST(f) cmocka_unit_test_setup(f, fresh)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		DRAINED_TEST(test_syn_on_forged_reset),    DRAINED_TEST(test_syn_on_drained),
		DRAINED_TEST(test_drained_forgets),        DRAINED_TEST(test_drained_half_open),
		DRAINED_TEST(test_drained_waits_for_none), DRAINED_TEST(test_half_open_is_over),
	};

	return group_run("drained", services, BUCKETS, 1, tests);
}
