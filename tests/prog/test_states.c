/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_states.c - a connection's states: how it opens and ends, also by a SYN, and when it expires;
 * by both hooks and families.
 */
#include "lib_flow.h"
#include "lib_group.h"

#define BUCKETS 256
#define TWO(p, weight)                                                                             \
	{                                                                                          \
		{"10.1.0.11", p, weight}, {"10.1.0.12", p, 1}, {"fd00:1::11", p, weight},          \
		{                                                                                  \
			"fd00:1::12", p, 1                                                         \
		}                                                                                  \
	}

/* Ids are given in this order, from 1. */
enum { WEB = 1, DNS, OTHER, HASHED };
static const struct run_service services[] = {
	{"web", LB_SCHED_RR, .listens = {{NET_VIP, 80, LB_TCP}, {NET_VIP6, 80, LB_TCP}},
	 .backends = TWO(8080, 1)},
	{"dns", LB_SCHED_RR, .listens = {{NET_VIP, 53, LB_UDP}, {NET_VIP6, 53, LB_UDP}},
	 .backends = TWO(5353, 1)},
	/* Shares its backends with web. */
	{"other", LB_SCHED_RR, .listens = {{NET_VIP, 81, LB_TCP}, {NET_VIP6, 81, LB_TCP}},
	 .backends = TWO(8080, 1)},
	{"hashed", LB_SCHED_SH, .listens = {{NET_VIP, 82, LB_TCP}, {NET_VIP6, 82, LB_TCP}},
	 .backends = TWO(8082, 1)},
};
static uint16_t next_port;

static struct flow tcp(void)
{
	return flow_make(&run, hook, family, next_port++, 80, 0);
}

static struct flow udp(void)
{
	return flow_make(&run, hook, family, next_port++, 53, PKT_UDP);
}

static struct flow established(void)
{
	return flow_established(tcp());
}

static void test_tcp_states(void **state)
{
	struct flow f = tcp();

	(void)state;
	sends(&f, PKT_SYN);
	assert_int_equal(flow_state(&f), LB_CONN_SYN_SENT);
	answers(&f, PKT_SYN | PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_SYN_RECV);
	sends(&f, PKT_SYN); /* repeated: no change */
	assert_int_equal(flow_state(&f), LB_CONN_SYN_RECV);
	sends(&f, PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
	answers(&f, PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
	sends(&f, PKT_FIN | PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_FIN_CLIENT);
	answers(&f, PKT_ACK); /* it may send on */
	assert_int_equal(flow_state(&f), LB_CONN_FIN_CLIENT);
	answers(&f, PKT_FIN | PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_CLOSING);
	sends(&f, PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_CLOSING);
	/* The client uses the port again. */
	sends(&f, PKT_SYN);
	assert_int_equal(flow_state(&f), LB_CONN_SYN_SENT);
}

static void test_tcp_other_ends(void **state)
{
	struct flow f = established();

	(void)state;
	answers(&f, PKT_FIN | PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_FIN_BACKEND);
	sends(&f, PKT_FIN | PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_CLOSING);
	answers(&f, PKT_RST); /* it has ended anyway */
	assert_int_equal(flow_state(&f), LB_CONN_CLOSING);
	f = established();
	for (int end = 0; end < 3; end++) {
		f = established();
		if (end)
			(end == 1 ? sends : answers)(&f, PKT_FIN | PKT_ACK);
		sends(&f, PKT_RST | PKT_ACK);
		assert_int_equal(flow_state(&f), LB_CONN_CLOSED);
		sends(&f, PKT_ACK);
		answers(&f, PKT_ACK);
		sends(&f, PKT_RST);
		assert_int_equal(flow_state(&f), LB_CONN_CLOSED);
		f = established();
		if (end)
			(end == 1 ? sends : answers)(&f, PKT_FIN | PKT_ACK);
		sends(&f, PKT_RST); /* by one number alone */
		assert_int_equal(flow_state(&f), end == 1 ? LB_CONN_CLOSING : LB_CONN_RESET);
	}
	f = tcp();
	sends(&f, PKT_SYN);
	answers(&f, PKT_RST | PKT_ACK); /* refused */
	assert_int_equal(flow_state(&f), LB_CONN_CLOSED);
	sends(&f, PKT_SYN);
	assert_int_equal(flow_state(&f), LB_CONN_SYN_SENT);
}

#define UNIT  (1u << 24)
#define SMALL (1u << 12) /* what is noted of a number is multiples of it */

/* The client may have forgotten the connection, or somebody forges it: its backend is asked. */
static void test_syn_on_half_closed(void **state)
{
	(void)state;
	for (int side = 0; side < 2; side++) {
		struct flow f = established(), again;
		int half = side ? LB_CONN_FIN_BACKEND : LB_CONN_FIN_CLIENT;

		if (side)
			answers(&f, PKT_FIN | PKT_ACK);
		else
			sends(&f, PKT_FIN | PKT_ACK);
		again = f;
		again.seq = 3 * UNIT;
		sends(&again, PKT_SYN);
		assert_true(pkt_addr_equal(&f.backend.addr, &again.backend.addr));
		assert_int_equal(flow_state(&f), half);
		answers(&f, PKT_ACK); /* RFC 5961, 4.2 */
		assert_int_equal(flow_state(&f), half);
		sends(&f, PKT_RST); /* then it was the client's */
		assert_int_equal(flow_state(&f), side ? LB_CONN_RESET : LB_CONN_CLOSING);
		/* Or the backend knows nothing of it any more. */
		f = established();
		sends(&f, PKT_FIN | PKT_ACK);
		f.seq = 3 * UNIT;
		f.backend_seq = 5 * UNIT;
		sends(&f, PKT_SYN);
		answers(&f, PKT_SYN | PKT_ACK);
		assert_int_equal(flow_state(&f), LB_CONN_SYN_RECV);
		sends(&f, PKT_ACK);
		assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
	}
}

/* At once, and in turn. */
static void test_syn_on_closed(void **state)
{
	struct flow f = established();

	(void)state;
	for (int i = 0; i < 4; i++) {
		struct pkt_end backend = f.backend;

		sends(&f, PKT_RST | PKT_ACK);
		sends(&f, PKT_SYN);
		assert_int_equal(flow_state(&f), LB_CONN_SYN_SENT);
		assert_false(pkt_addr_equal(&f.backend.addr, &backend.addr));
		assert_int_equal(flow_establish(&f), RUN_FORWARDED);
	}
}

/* The backend knows whether there was a reset. */
static void test_syn_on_reset(void **state)
{
	struct flow f = established(), forged = flow_guessed(&f);
	struct pkt_end backend = f.backend;

	(void)state;
	sends(&forged, PKT_RST);
	f.seq = 3 * UNIT;
	f.backend_seq = 5 * UNIT;
	run_later(&run, run_ticks(&run, LB_CONN_RESET));
	sends(&f, PKT_SYN);
	assert_int_equal(flow_state(&f), LB_CONN_RESET);
	assert_true(pkt_addr_equal(&f.backend.addr, &backend.addr));
	answers(&f, PKT_SYN | PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_SYN_RECV);
	sends(&f, PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
}

/* The number of a RST is behind the last segment, be that long (of 64 KiB, on tc). */
static void test_reset_behind_segment(void **state)
{
	struct flow f = tcp();

	(void)state;
	f.seq = 1000000;
	f.backend_seq = 2 * SMALL - 1;
	assert_int_equal(flow_establish(&f), RUN_FORWARDED);
	f.payload = 1400;
	answers(&f, PKT_FIN | PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_FIN_BACKEND);
	f.payload = 0;
	f.backend_seq = 3 * SMALL;
	answers(&f, PKT_RST);
	assert_int_equal(flow_state(&f), LB_CONN_CLOSING);
}

/* Who has closed answers so what still comes: both have ended, from now on. Not by a guess, nor by
 * who has not closed; and no further one ends it sooner. */
static void test_reset_of_who_has_closed(void **state)
{
	(void)state;
	for (int side = 0; side < 2; side++) {
		struct flow f = established(), forged;
		void (*closer)(struct flow *, uint8_t) = side ? answers : sends;
		void (*other)(struct flow *, uint8_t) = side ? sends : answers;

		closer(&f, PKT_FIN | PKT_ACK);
		other(&f, PKT_ACK);
		forged = flow_guessed(&f);
		closer(&forged, PKT_RST);
		assert_int_equal(flow_state(&f), side ? LB_CONN_FIN_BACKEND : LB_CONN_FIN_CLIENT);
		run_later(&run, 2 * run_ticks(&run, LB_CONN_CLOSING));
		closer(&f, PKT_RST);
		closer(&forged, PKT_RST);
		assert_int_equal(flow_state(&f), LB_CONN_CLOSING);
		run_later(&run, run_ticks(&run, LB_CONN_CLOSING) - 1);
		assert_int_equal(flow_state(&f), LB_CONN_CLOSING);
		sends(&f, PKT_SYN);
		assert_int_equal(flow_state(&f), LB_CONN_SYN_SENT);
		f = established();
		closer(&f, PKT_FIN | PKT_ACK);
		other(&f, PKT_RST);
		assert_int_equal(flow_state(&f), LB_CONN_RESET);
	}
}

/* A SYN-ACK that comes again may cross the client's FIN: it opens nothing. */
static void test_syn_ack_again(void **state)
{
	(void)state;
	for (int reset = 0; reset < 2; reset++) {
		struct flow f = tcp(), first, forged;
		int was = reset ? LB_CONN_RESET : LB_CONN_FIN_CLIENT;

		f.seq = 1000000;
		f.backend_seq = 2000000;
		sends(&f, PKT_SYN);
		first = f;
		answers(&first, PKT_SYN | PKT_ACK);
		sends(&f, PKT_ACK);
		forged = flow_guessed(&f);
		sends(reset ? &forged : &f, reset ? PKT_RST : PKT_FIN | PKT_ACK);
		assert_int_equal(flow_state(&f), was);
		answers(&first, PKT_SYN | PKT_ACK);
		assert_int_equal(flow_state(&f), was);
		first.backend_seq += UNIT; /* of another connection */
		answers(&first, PKT_SYN | PKT_ACK);
		assert_int_equal(flow_state(&f), LB_CONN_SYN_RECV);
	}
}

/* A SYN keeps nothing alive that its backend has answered: that does, while it knows it. */
static void test_syn_keeps_nothing(void **state)
{
	const uint32_t lives = run_ticks(&run, LB_CONN_SYN_RECV);
	struct flow f = tcp();

	(void)state;
	sends(&f, PKT_SYN);
	answers(&f, PKT_SYN | PKT_ACK);
	run_later(&run, lives - lives / 8 - 1);
	sends(&f, PKT_SYN);
	run_later(&run, lives / 8 + 2);
	assert_int_equal(flow_answer(&f, PKT_SYN | PKT_ACK), LB_REASON_NO_SERVICE);
}

/* One that comes when the entry's end is near begins anew: its answer finds it. */
static void test_syn_at_last(void **state)
{
	(void)state;
	for (int answered = 0; answered < 2; answered++) {
		const uint32_t lives =
			run_ticks(&run, answered ? LB_CONN_SYN_RECV : LB_CONN_SYN_SENT);

		for (uint32_t left = 0; left <= lives / 8; left++) {
			struct flow f = tcp();

			sends(&f, PKT_SYN);
			if (answered)
				answers(&f, PKT_SYN | PKT_ACK);
			run_later(&run, lives - left);
			sends(&f, PKT_SYN);
			assert_int_equal(flow_state(&f), LB_CONN_SYN_SENT);
			run_later(&run, left + 1);
			answers(&f, PKT_SYN | PKT_ACK);
		}
	}
}

/* Without ACK a host drops what is no SYN and no RST, and says nothing: whatever its numbers are it
 * shows nothing. */
static void test_without_ack(void **state)
{
	struct flow f = tcp();

	(void)state;
	f.backend_seq = 2000000;
	sends(&f, PKT_SYN);
	answers(&f, PKT_SYN | PKT_ACK);
	sends(&f, PKT_PSH);
	assert_int_equal(flow_state(&f), LB_CONN_SYN_RECV);
	sends(&f, PKT_ACK);
	sends(&f, PKT_RST);
	assert_int_equal(flow_state(&f), LB_CONN_RESET);
	sends(&f, PKT_PSH);
	assert_int_equal(flow_state(&f), LB_CONN_RESET);
	sends(&f, PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
}

/* In a handshake its backend asks for the client's number alone, whatever the reset acknowledges.
 */
static void test_reset_in_handshake(void **state)
{
	struct flow f = tcp(), wrong;

	(void)state;
	f.seq = 1000000;
	f.backend_seq = 2000000;
	sends(&f, PKT_SYN);
	answers(&f, PKT_SYN | PKT_ACK);
	wrong = f;
	wrong.backend_seq += 1u << 30;
	wrong.seq += 1u << 30;
	sends(&wrong, PKT_RST | PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_SYN_RECV);
	wrong.seq = f.seq;
	sends(&wrong, PKT_RST | PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_CLOSED);
}

/* Nor does it end by a SYN to another service of its backend, or straight to that. */
static void test_syn_elsewhere(void **state)
{
	char addr[64];

	(void)state;
	for (int end = 0; end < 2; end++) {
		struct flow f = established(), other = f, straight = f, forged = flow_guessed(&f);
		int was;

		sends(end ? &f : &forged, end ? PKT_FIN | PKT_ACK : PKT_RST);
		was = flow_state(&f);
		other.sport = 81;
		for (int i = 0; i < 4; i++) { /* in turn */
			sends(&other, PKT_SYN);
			assert_false(pkt_addr_equal(&other.backend.addr, &f.backend.addr));
			sends(&other, PKT_ACK);
			answers(&other, PKT_RST);
		}
		straight.service = pkt_addr_str(addr, &f.backend.addr);
		straight.sport = f.backend.port;
		assert_int_equal(flow_send(&straight, PKT_SYN), LB_REASON_NO_SERVICE);
		assert_int_equal(flow_state(&f), was);
	}
}

/* Taken up while it downloads: what the client acknowledges is always behind what comes to it. */
static void test_taken_up_behind(void **state)
{
	const uint32_t behind = 1 << 20, more = 30000;
	uint64_t taken_up = run.seen.taken_up;
	struct flow f = flow_make(&run, hook, family, next_port++, 82, 0);

	(void)state;
	f.seq = 200 * UNIT;
	f.backend_seq = 100 * UNIT;
	sends(&f, PKT_ACK);
	assert_int_equal(run.seen.taken_up, taken_up + 1);
	for (uint32_t sent = 0; sent < 2 * behind; sent += more) {
		f.backend_seq += behind;
		answers(&f, PKT_ACK);
		f.backend_seq -= behind;
		sends(&f, PKT_ACK);
		f.backend_seq += more;
	}
	assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
	assert_int_equal(run.seen.taken_up, taken_up + 1);
	/* One that pauses between ticks is asked about anew. */
	run_forget_connections(&run);
	sends(&f, PKT_ACK);
	answers(&f, PKT_ACK);
	f.backend_seq += 40 * UNIT;
	answers(&f, PKT_ACK);
	sends(&f, PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_SYN_RECV);
	run_later(&run, 1);
	answers(&f, PKT_ACK);
	sends(&f, PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
}

static void test_udp_states(void **state)
{
	struct flow f = udp();

	(void)state;
	sends(&f, 0);
	assert_int_equal(flow_state(&f), LB_CONN_UDP_NEW);
	sends(&f, 0);
	assert_int_equal(flow_state(&f), LB_CONN_UDP_NEW);
	answers(&f, 0);
	assert_int_equal(flow_state(&f), LB_CONN_UDP);
}

/* Drives a connection to a state that it keeps when nothing more comes. */
static struct flow reach(int wanted)
{
	bool is_udp = wanted == LB_CONN_UDP || wanted == LB_CONN_UDP_NEW;
	struct flow f = is_udp ? udp() : tcp();

	if (wanted == LB_CONN_SYN_SENT || wanted == LB_CONN_SYN_RECV || wanted == LB_CONN_CLOSED ||
	    wanted == LB_CONN_UDP_NEW)
		sends(&f, PKT_SYN);
	else
		assert_int_equal(flow_establish(&f), RUN_FORWARDED);
	if (wanted == LB_CONN_SYN_RECV)
		flow_answer(&f, PKT_SYN | PKT_ACK);
	if (wanted == LB_CONN_FIN_CLIENT || wanted == LB_CONN_CLOSING)
		flow_send(&f, PKT_FIN | PKT_ACK);
	if (wanted == LB_CONN_FIN_BACKEND || wanted == LB_CONN_CLOSING)
		flow_answer(&f, PKT_FIN | PKT_ACK);
	if (wanted == LB_CONN_CLOSED)
		flow_answer(&f, PKT_RST);
	if (wanted == LB_CONN_RESET) {
		struct flow forged = flow_guessed(&f);

		flow_answer(&forged, PKT_RST);
	}
	assert_int_equal(flow_state(&f), wanted);
	return f;
}

static void test_expiry(void **state)
{
	(void)state;
	assert_int_equal(run_ticks(&run, LB_CONN_RESET), run_ticks(&run, LB_CONN_ESTABLISHED));
	assert_true(run_ticks(&run, LB_CONN_RESET) > run_ticks(&run, LB_CONN_FIN_CLIENT));
	for (int s = LB_CONN_SYN_SENT; s < LB_CONN_AFFINITY_NEW; s++) {
		uint32_t timeout = run_ticks(&run, s);
		struct flow f = reach(s);

		run_later(&run, timeout);
		answers(&f, PKT_ACK);
		f = reach(s);
		run_later(&run, timeout + 1);
		assert_int_equal(flow_answer(&f, PKT_ACK), LB_REASON_NO_SERVICE);
		if (f.proto != PKT_UDP)
			assert_int_equal(flow_send(&f, PKT_ACK), LB_REASON_NO_CONNECTION);
		else
			sends(&f, 0); /* anew */
		run_forget_connections(&run);
	}
}

/* Packets of one side keep the connection alive for both. */
static void test_one_side_keeps_both(void **state)
{
	(void)state;
	for (int side = 0; side < 2; side++) {
		struct flow f = udp();

		assert_int_equal(flow_establish(&f), RUN_FORWARDED);
		for (int i = 0; i < 200; i++) {
			run_later(&run, 1 + i % 7);
			assert_int_equal(side ? flow_answer(&f, 0) : flow_send(&f, 0),
					 RUN_FORWARDED);
		}
		assert_int_equal(side ? flow_send(&f, 0) : flow_answer(&f, 0), RUN_FORWARDED);
		assert_int_equal(flow_state(&f), LB_CONN_UDP);
	}
}

static int fresh(void **state)
{
	(void)state;
	next_port = 20000;
	run_fresh(&run);
	return 0;
}

#define STATE_TEST(f) cmocka_unit_test_setup(f, fresh)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		STATE_TEST(test_tcp_states),
		STATE_TEST(test_tcp_other_ends),
		STATE_TEST(test_syn_on_half_closed),
		STATE_TEST(test_syn_on_closed),
		STATE_TEST(test_syn_on_reset),
		STATE_TEST(test_reset_behind_segment),
		STATE_TEST(test_reset_of_who_has_closed),
		STATE_TEST(test_syn_ack_again),
		STATE_TEST(test_syn_keeps_nothing),
		STATE_TEST(test_syn_at_last),
		STATE_TEST(test_without_ack),
		STATE_TEST(test_reset_in_handshake),
		STATE_TEST(test_syn_elsewhere),
		STATE_TEST(test_taken_up_behind),
		STATE_TEST(test_udp_states),
		STATE_TEST(test_expiry),
		STATE_TEST(test_one_side_keeps_both),
	};

	return group_run("states", services, BUCKETS, 1, tests);
}
