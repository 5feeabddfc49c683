/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_claims.c - the end of a connection that has moved much both ways since it was looked at: a
 * FIN is a claim, until the other side confirms it; by both hooks and families.
 */

#include "lib_flow.h"
#include "lib_group.h"

#define BUCKETS 256
#define BACKENDS                                                                                   \
	{                                                                                          \
		{"10.1.0.11", 8080, 1}, {"10.1.0.12", 8080, 1}, {"fd00:1::11", 8080, 1},           \
		{                                                                                  \
			"fd00:1::12", 8080, 1                                                      \
		}                                                                                  \
	}

static const struct run_service services[] = {
	{"web", LB_SCHED_RR, .listens = {{NET_VIP, 80, LB_TCP}, {NET_VIP6, 80, LB_TCP}},
	 .backends = BACKENDS},
	/* Takes up what it does not know. */
	{"hashed", LB_SCHED_SH, .listens = {{NET_VIP, 82, LB_TCP}, {NET_VIP6, 82, LB_TCP}},
	 .backends = BACKENDS},
};

static uint16_t next_port;

#define MIB (1u << 20)

/* Both sides have moved much since they were looked at: no end is believed at once. */
static struct flow busy_at(uint16_t port)
{
	struct flow f = flow_make(&run, hook, family, next_port++, port, 0);

	f.seq = 0xfff00000; /* it wraps */
	f.backend_seq = 0x7ff00000;
	assert_int_equal(flow_establish(&f), RUN_FORWARDED);
	f.seq += 40 * MIB;
	f.backend_seq += 40 * MIB;
	return f;
}

static struct flow busy(void)
{
	return busy_at(80);
}

static struct flow established(void)
{
	return flow_established(flow_make(&run, hook, family, next_port++, 80, 0));
}

/* The backend has not got the client's last `bytes` yet. */
static void answers_behind(struct flow *f, uint32_t bytes, uint8_t flags)
{
	f->seq -= bytes;
	answers(f, flags);
	f->seq += bytes;
}

/* For as long as its timeout nobody needs to look at it again: an unsettled one would be over. */
static void settled(struct flow *f)
{
	assert_int_equal(flow_state(f), LB_CONN_ESTABLISHED);
	run_later(&run, run_ticks(&run, LB_CONN_ESTABLISHED));
	answers(f, PKT_ACK);
	assert_int_equal(flow_state(f), LB_CONN_ESTABLISHED);
}

/* The other side's acknowledgement shows the FIN to be true. */
static void test_claim(void **state)
{
	(void)state;
	for (int at_once = 0; at_once < 2; at_once++) {
		struct flow f = busy();

		sends(&f, PKT_FIN | PKT_ACK);
		assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
		f.seq++;
		if (!at_once) {
			answers(&f, PKT_ACK);
			assert_int_equal(flow_state(&f), LB_CONN_FIN_CLIENT);
		}
		answers(&f, PKT_FIN | PKT_ACK);
		assert_int_equal(flow_state(&f), LB_CONN_CLOSING);
		f.backend_seq++;
		sends(&f, PKT_ACK);
		assert_int_equal(flow_state(&f), LB_CONN_CLOSING);

		f = busy();
		answers(&f, PKT_FIN | PKT_ACK);
		assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
		f.backend_seq++;
		if (!at_once) {
			sends(&f, PKT_ACK);
			assert_int_equal(flow_state(&f), LB_CONN_FIN_BACKEND);
		}
		sends(&f, PKT_FIN | PKT_ACK);
		assert_int_equal(flow_state(&f), LB_CONN_CLOSING);
	}
}

/* What was on its way is acknowledged before; or both close at the same time. */
static void test_claim_behind(void **state)
{
	struct flow f = busy();

	(void)state;
	sends(&f, PKT_FIN | PKT_ACK);
	for (uint32_t behind = 12 * MIB; behind >= 3 * MIB; behind -= 3 * MIB) {
		answers_behind(&f, behind, PKT_ACK);
		f.backend_seq += MIB;
		sends(&f, PKT_ACK);
		assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
	}
	answers(&f, PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_FIN_CLIENT);

	f = busy();
	sends(&f, PKT_FIN | PKT_ACK);
	answers_behind(&f, 3 * MIB, PKT_FIN | PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
	sends(&f, PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_FIN_BACKEND);
	answers(&f, PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_CLOSING);
}

/* Nor has the client come so far when it is established (RFC 7413, or taken up in the middle). */
static void test_claim_in_handshake(void **state)
{
	(void)state;
	for (int behind = 0; behind < 2; behind++) {
		struct flow f = flow_make(&run, hook, family, next_port++, 80, 0);

		f.seq = 1000000;
		f.backend_seq = 2000000;
		sends(&f, PKT_SYN);
		answers(&f, PKT_SYN | PKT_ACK);
		f.backend_seq += 3 * MIB;
		answers(&f, PKT_FIN | PKT_ACK);
		assert_int_equal(flow_state(&f), LB_CONN_SYN_RECV);
		if (behind) {
			f.backend_seq -= 3 * MIB;
			sends(&f, PKT_ACK);
			assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
			f.backend_seq += 3 * MIB;
		}
		sends(&f, PKT_ACK);
		assert_int_equal(flow_state(&f), LB_CONN_FIN_BACKEND);
		sends(&f, PKT_FIN | PKT_ACK);
		assert_int_equal(flow_state(&f), LB_CONN_CLOSING);
	}
}

/* The backend's next packet shows that it was none of theirs, and it is forgotten. */
static void test_claim_far(void **state)
{
	struct flow f = established(), forged;

	(void)state;
	f.seq = 1000000;
	f.backend_seq = 2000000;
	forged = flow_guessed(&f);
	sends(&forged, PKT_FIN | PKT_ACK);
	sends(&f, PKT_ACK); /* which anybody may send */
	answers(&f, PKT_ACK);
	settled(&f);
	run_later(&run, run_unsettled(&run)); /* looked at again */
	answers(&forged, PKT_ACK);
	settled(&forged);
}

/* It may have been theirs, until they have gone far beyond it: meanwhile it lives. */
static void test_claim_near(void **state)
{
	struct flow f = established(), forged;

	(void)state;
	f.seq = 1000000;
	f.backend_seq = 2000000;
	forged = f;
	forged.seq += 10 * MIB;
	forged.backend_seq += 10 * MIB;
	sends(&forged, PKT_FIN | PKT_ACK);
	for (int i = 0; i < 4; i++) {
		sends(&f, PKT_ACK);
		answers(&f, PKT_ACK);
		assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
		run_later(&run, run_ticks(&run, LB_CONN_ESTABLISHED) - run_unsettled(&run));
	}
	f.seq += 30 * MIB;
	f.backend_seq += 30 * MIB;
	answers(&f, PKT_ACK);
	settled(&f);
}

/* Of a backend's FIN nobody can make us forget by packets of its client. */
static void test_claim_defied(void **state)
{
	struct flow f = busy(), forged = flow_guessed(&f);

	(void)state;
	answers(&f, PKT_FIN | PKT_ACK);
	sends(&forged, PKT_ACK);
	sends(&forged, PKT_FIN | PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
	sends(&f, PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_FIN_BACKEND);
}

/* Nor is it a later connection's, be it by another entry, or by the same. */
static void test_claim_of_former(void **state)
{
	struct flow f = busy_at(82), forged;

	(void)state;
	sends(&f, PKT_FIN | PKT_ACK);
	run_later(&run, run_ticks(&run, LB_CONN_ESTABLISHED) + 1);
	sends(&f, PKT_ACK); /* taken up */
	answers(&f, PKT_ACK);
	sends(&f, PKT_ACK);
	run_later(&run, run_unsettled(&run));
	answers(&f, PKT_ACK);
	settled(&f);

	f = busy();
	sends(&f, PKT_FIN | PKT_ACK);
	answers_behind(&f, 3 * MIB, PKT_ACK);
	forged = flow_guessed(&f);
	sends(&forged, PKT_RST | PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_RESET);
	f.seq -= MIB;
	assert_int_equal(flow_establish(&f), RUN_FORWARDED);
	f.seq += MIB;
	run_later(&run, run_unsettled(&run));
	answers(&f, PKT_ACK);
	settled(&f);
}

static int fresh(void **state)
{
	(void)state;
	next_port = 20000;
	run_fresh(&run);
	return 0;
}

#define CLAIM_TEST(f) cmocka_unit_test_setup(f, fresh)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		CLAIM_TEST(test_claim),
		CLAIM_TEST(test_claim_behind),
		CLAIM_TEST(test_claim_in_handshake),
		CLAIM_TEST(test_claim_far),
		CLAIM_TEST(test_claim_near),
		CLAIM_TEST(test_claim_defied),
		CLAIM_TEST(test_claim_of_former),
	};

	return group_run("claims", services, BUCKETS, 1, tests);
}
