/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_blind.c - what somebody can do to a connection who only guesses its numbers, and how far off
 * its own may be; by both hooks and families.
 */
#include "lib_flow.h"
#include "lib_group.h"

#define BUCKETS 256

static const struct run_service services[] = {
	{"web", LB_SCHED_RR, .listens = {{NET_VIP, 80, LB_TCP}, {NET_VIP6, 80, LB_TCP}},
	 .backends = {{"10.1.0.11", 8080, 1},
		      {"10.1.0.12", 8080, 1},
		      {"fd00:1::11", 8080, 1},
		      {"fd00:1::12", 8080, 1}}},
};

static uint16_t next_port;

static struct flow tcp(void)
{
	return flow_make(&run, hook, family, next_port++, 80, 0);
}

static struct flow established(void)
{
	return flow_established(tcp());
}

#define UNIT (1u << 24)

/* What comes of one that is not believed: of an established connection's RST nobody knows. */
static int doubted(uint8_t flags, int state)
{
	return (flags & PKT_RST) && state == LB_CONN_ESTABLISHED ? LB_CONN_RESET : state;
}

/* Sent by somebody who knows addresses and ports, but is not in the connection, or makes its
 * backend say what is not of it: they are forwarded, and end nothing, nor do they keep it alive. */
static void test_blind(void **state)
{
	static const struct {
		uint8_t flags;
		bool backends;
		int end; /* by the right numbers */
	} ends[] = {{PKT_RST, false, LB_CONN_RESET},
		    {PKT_RST | PKT_ACK, false, LB_CONN_CLOSED},
		    {PKT_FIN | PKT_ACK, false, LB_CONN_FIN_CLIENT},
		    {PKT_FIN, false, LB_CONN_ESTABLISHED},
		    {PKT_RST, true, LB_CONN_RESET},
		    {PKT_FIN | PKT_ACK, true, LB_CONN_FIN_BACKEND},
		    {PKT_FIN, true, LB_CONN_ESTABLISHED}};

	(void)state;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		bool backends = ends[i].backends;
		void (*send)(struct flow * f, uint8_t flags) = backends ? answers : sends;
		struct flow f = tcp(), forged;

		f.seq = 200 * UNIT;
		f.backend_seq = 100 * UNIT;
		sends(&f, PKT_SYN);
		answers(&f, PKT_SYN | PKT_ACK);
		forged = f;
		forged.backend_seq += 1 << 17; /* does not know that answer */
		sends(&forged, PKT_ACK);
		sends(&forged, PKT_ACK | PKT_FIN);
		assert_int_equal(flow_state(&f), LB_CONN_SYN_RECV);
		sends(&f, PKT_ACK); /* the first look */
		run_later(&run, run_ticks(&run, LB_CONN_ESTABLISHED) - 1);
		forged = flow_guessed(&f);
		send(&forged, ends[i].flags);
		assert_int_equal(flow_state(&f), doubted(ends[i].flags, LB_CONN_ESTABLISHED));
		/* It lives on with its own packets, however far one side has come; of the client's
		 * it is the backend's answer that shows it. */
		*(backends ? &f.backend_seq : &f.seq) += 2 * UNIT;
		send(&f, PKT_ACK);
		answers(&f, PKT_ACK);
		sends(&f, PKT_ACK);
		assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
		run_later(&run, run_ticks(&run, LB_CONN_ESTABLISHED));
		if (ends[i].flags & PKT_ACK) /* one of the two may be further away */
			*(backends ? &f.seq : &f.backend_seq) += backends ? 77 * UNIT : UNIT;
		send(&f, ends[i].flags);
		assert_int_equal(flow_state(&f), ends[i].end);
		run_forget_connections(&run);
	}
}

/* A RST that nobody believes does not let it live longer either, in what state it may be then. */
static void test_blind_keeps_nothing(void **state)
{
	const uint32_t lives = run_ticks(&run, LB_CONN_RESET);
	struct flow f = established(), forged = flow_guessed(&f);

	(void)state;
	run_later(&run, run_ticks(&run, LB_CONN_ESTABLISHED) - 1);
	sends(&forged, PKT_RST);
	assert_int_equal(flow_state(&f), LB_CONN_RESET);
	run_later(&run, lives - run_ticks(&run, LB_CONN_ESTABLISHED) + 2);
	assert_int_equal(flow_answer(&f, PKT_ACK), LB_REASON_NO_SERVICE);
}

/* A host that has no such connection says so with ACK, whatever numbers it was asked by; without it
 * repeats what somebody has acknowledged. */
static void test_backends_reset(void **state)
{
	(void)state;
	for (int end = 0; end < 3; end++) {
		struct flow f = established(), guessed = flow_guessed(&f);

		if (end)
			(end == 1 ? sends : answers)(&f, PKT_FIN | PKT_ACK);
		answers(&guessed, PKT_RST | PKT_ACK);
		assert_int_equal(flow_state(&f), LB_CONN_CLOSED);
	}
	for (int ack = 0; ack < 2; ack++) {
		struct flow f = tcp();

		sends(&f, PKT_SYN);
		answers(&f, PKT_SYN | PKT_ACK);
		answers(&f, ack ? PKT_RST | PKT_ACK : PKT_RST);
		assert_int_equal(flow_state(&f), ack ? LB_CONN_CLOSED : LB_CONN_SYN_RECV);
		sends(&f, PKT_ACK);
		assert_int_equal(flow_state(&f), ack ? LB_CONN_CLOSED : LB_CONN_ESTABLISHED);
	}
}

/* All numbers of one side are tried, in steps that do not hit what is near; the other side's are
 * guessed, too, and wrong. */
static void spray(const struct flow *f, uint8_t flags, bool backends)
{
	const uint32_t step = 1 << 22;

	for (uint64_t n = 0; n < 1ull << 32; n += step) {
		struct flow forged = *f;

		*(backends ? &forged.backend_seq : &forged.seq) += step / 2 + n;
		*(backends ? &forged.seq : &forged.backend_seq) += 1u << 31;
		sends(&forged, flags);
	}
}

/* Many guesses end nothing, and it is still its backend's. */
static void test_spray(void **state)
{
	static const uint8_t ends[] = {PKT_RST, PKT_RST | PKT_ACK, PKT_FIN | PKT_ACK};

	(void)state;
	for (size_t i = 0; i < sizeof(ends) * 2; i++) {
		struct flow f = tcp(), syn;
		int was = i % 2 ? LB_CONN_FIN_BACKEND : LB_CONN_ESTABLISHED;

		f.seq = 200 * UNIT;
		f.backend_seq = 100 * UNIT;
		assert_int_equal(flow_establish(&f), RUN_FORWARDED);
		if (i % 2)
			answers(&f, PKT_FIN | PKT_ACK);
		spray(&f, ends[i / 2], false);
		spray(&f, ends[i / 2], true);
		assert_int_equal(flow_state(&f), doubted(ends[i / 2], was));
		run_later(&run, run_ticks(&run, was) - run_unsettled(&run));
		sends(&f, PKT_ACK);
		assert_int_equal(flow_state(&f), was);
		syn = f;
		syn.seq = 1;
		sends(&syn, PKT_SYN);
		assert_int_equal(flow_state(&f), was);
		assert_true(pkt_addr_equal(&f.backend.addr, &syn.backend.addr));
		answers(&f, PKT_ACK);
		assert_int_equal(flow_state(&f), was);
		run_forget_connections(&run);
	}
}

/* What both sides have moved since they were looked at, and the client ends it: bytes, and whether
 * that is believed at once. A RST that is not keeps the entry, a FIN is confirmed. */
static void test_believed(void **state)
{
	static const struct {
		uint32_t client, backend;
		bool believed;
	} moved[] = {{500, 500, true},          {500, 10 << 20, true},    {10 << 20, 500, true},
		     {100000, 600000, true},    {240000, 240000, true},   {500, 12 << 20, false},
		     {12 << 20, 500, false},    {500, 100 << 20, false},  {300000, 300000, false},
		     {4 << 20, 4 << 20, false}, {300000, 50 << 20, false}};

	(void)state;
	for (size_t i = 0; i < sizeof(moved) / sizeof(moved[0]) * 3; i++) {
		bool believed = moved[i / 3].believed;
		struct flow f = tcp();

		f.seq = 0xfffffff0; /* it wraps */
		f.backend_seq = 0x7ffffff0;
		assert_int_equal(flow_establish(&f), RUN_FORWARDED);
		f.seq += moved[i / 3].client;
		f.backend_seq += moved[i / 3].backend;
		if (i % 3 == 0) {
			sends(&f, PKT_RST | PKT_ACK);
			assert_int_equal(flow_state(&f), believed ? LB_CONN_CLOSED : LB_CONN_RESET);
		} else if (i % 3 == 1) {
			sends(&f, PKT_FIN | PKT_ACK);
			assert_int_equal(flow_state(&f),
					 believed ? LB_CONN_FIN_CLIENT : LB_CONN_ESTABLISHED);
			answers(&f, PKT_FIN | PKT_ACK);
			assert_int_equal(flow_state(&f), LB_CONN_CLOSING);
		} else {
			answers(&f, PKT_FIN | PKT_ACK);
			assert_int_equal(flow_state(&f), LB_CONN_FIN_BACKEND);
			sends(&f, PKT_FIN | PKT_ACK);
			assert_int_equal(flow_state(&f), LB_CONN_CLOSING);
		}
	}
}

/* Who forges a handshake does not know what the backend says, be it to the SYN or to another one
 * later: nothing is established; and who forges a reset into somebody's, ends nothing. */
static void test_forged_handshake(void **state)
{
	struct flow f = tcp(), forged;

	(void)state;
	f.seq = 200 * UNIT;
	f.backend_seq = 100 * UNIT;
	sends(&f, PKT_SYN);
	forged = f;
	forged.seq = 7 * UNIT;
	forged.backend_seq = 9 * UNIT;
	sends(&forged, PKT_RST);
	assert_int_equal(flow_state(&f), LB_CONN_SYN_SENT);
	answers(&f, PKT_SYN | PKT_ACK);
	sends(&forged, PKT_RST);
	sends(&forged, PKT_RST | PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_SYN_RECV);
	sends(&f, PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
	/* The backend's number was right by chance: the client's does not become known by that. */
	f.cport = forged.cport = next_port++;
	sends(&f, PKT_SYN);
	answers(&f, PKT_SYN | PKT_ACK);
	forged.backend_seq = f.backend_seq;
	sends(&forged, PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
	sends(&forged, PKT_RST | PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_RESET);
	forged.backend_seq = 9 * UNIT;
	/* A SYN of an entry that is gone by now: the backend asks for the one that it knows. */
	run_forget_connections(&run);
	sends(&forged, PKT_SYN);
	f.backend = forged.backend;
	answers(&f, PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_SYN_RECV);
	sends(&forged, PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_SYN_RECV);
	sends(&f, PKT_RST); /* it was the client's, that knows of none */
	assert_int_equal(flow_state(&f), LB_CONN_CLOSED);
}

/* How far off is near: of a RST without ACK, where that counts, and of a handshake's answer. */
static void test_edges(void **state)
{
	(void)state;
	for (uint32_t off = 1; off <= 2; off++) {
		struct flow f = tcp(), g;

		f.seq = 1000000;
		assert_int_equal(flow_establish(&f), RUN_FORWARDED);
		sends(&f, PKT_FIN | PKT_ACK);
		f.seq += off << 12;
		sends(&f, PKT_RST);
		assert_int_equal(flow_state(&f), off == 1 ? LB_CONN_CLOSING : LB_CONN_FIN_CLIENT);
		g = tcp();
		g.backend_seq = 2000000;
		sends(&g, PKT_SYN);
		answers(&g, PKT_SYN | PKT_ACK);
		g.backend_seq += (15 + off) << 12;
		sends(&g, PKT_ACK);
		assert_int_equal(flow_state(&g), off == 1 ? LB_CONN_ESTABLISHED : LB_CONN_SYN_RECV);
	}
}

/* Numbers of nobody's must not become the connection's, be they near or not, whatever came first:
 * who guesses would be right with the next ones. What is near keeps it alive, no more. */
static void poisoned_by(uint8_t first, uint32_t backend_ahead, bool keeps)
{
	struct flow f = tcp(), forged;

	f.seq = 200 * UNIT;
	f.backend_seq = 100 * UNIT;
	assert_int_equal(flow_establish(&f), RUN_FORWARDED);
	forged = f;
	forged.seq += UNIT / 2; /* that one is near */
	forged.backend_seq += backend_ahead;
	run_later(&run, run_ticks(&run, LB_CONN_ESTABLISHED) / 2); /* it is looked at again */
	for (int times = 0; times < 2; times++) {
		sends(&forged, first);
		sends(&forged, PKT_ACK);
		forged.seq += 1;
		sends(&forged, PKT_RST | PKT_ACK);
		sends(&forged, PKT_RST);
		assert_int_equal(flow_state(&f), LB_CONN_RESET);
		sends(&f, PKT_ACK);
		assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
	}
	run_later(&run, run_ticks(&run, LB_CONN_ESTABLISHED) / 2);
	sends(&forged, PKT_ACK);
	run_later(&run, run_ticks(&run, LB_CONN_ESTABLISHED) / 2 + 2);
	assert_int_equal(flow_answer(&f, PKT_ACK), keeps ? RUN_FORWARDED : LB_REASON_NO_SERVICE);
}

static void test_poison(void **state)
{
	static const uint8_t first[] = {PKT_ACK, PKT_SYN, PKT_SYN | PKT_ACK, PKT_ACK | PKT_FIN,
					PKT_ACK | PKT_RST};

	(void)state;
	for (size_t i = 0; i < sizeof(first); i++) {
		poisoned_by(first[i], 50 * UNIT, false);
		poisoned_by(first[i], UNIT / 2, true);
		poisoned_by(first[i], -(UNIT / 2), true);
	}
}

/* The client is heard of first, after a while: what its backend answers is looked at all the same.
 */
static void test_answer_noted(void **state)
{
	struct flow f = established(), other = established();

	(void)state;
	run_later(&run, 20);
	answers(&other, PKT_ACK); /* their client's next hop is known, for this tick */
	sends(&f, PKT_ACK);
	f.seq = 40 * UNIT;
	f.backend_seq = 70 * UNIT;
	answers(&f, PKT_ACK);
	sends(&f, PKT_RST | PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_CLOSED);
}

/* Somebody before the backend answers every SYN (SYNPROXY): by one that is forged its numbers do
 * not become the connection's. */
static void test_syn_answered(void **state)
{
	struct flow f = established(), forged = flow_guessed(&f);

	(void)state;
	sends(&forged, PKT_SYN);
	answers(&forged, PKT_SYN | PKT_ACK);
	sends(&forged, PKT_RST | PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_RESET);
	sends(&f, PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
	/* What its own backend says then is looked at. */
	answers(&f, PKT_ACK);
	sends(&f, PKT_RST | PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_CLOSED);
}

/* Flags that do not go together open and end nothing. */
static void test_odd_flags(void **state)
{
	static const uint8_t odd[] = {PKT_SYN | PKT_FIN, PKT_SYN | PKT_RST, PKT_SYN | PKT_ACK,
				      PKT_SYN | PKT_FIN | PKT_RST | PKT_ACK};

	(void)state;
	for (size_t i = 0; i < sizeof(odd); i++) {
		struct flow f = established(), forged = f;

		forged.seq = 77 * UNIT;
		forged.backend_seq = 99 * UNIT;
		sends(&forged, odd[i]);
		assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
		sends(&forged, PKT_RST | PKT_ACK);
		assert_int_equal(flow_state(&f), LB_CONN_RESET);
		sends(&f, PKT_ACK);
		sends(&f, PKT_SYN | PKT_FIN | PKT_ACK); /* nor where the numbers are right */
		answers(&f, PKT_SYN | PKT_FIN | PKT_ACK);
		assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
	}
}

/* A reset that is not believed: what its client sends then shows that it was none, but not what the
 * backend had sent before. That tells where both are. */
static void test_revived(void **state)
{
	struct flow f = established(), forged = flow_guessed(&f);

	(void)state;
	sends(&forged, PKT_RST);
	answers(&f, PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_RESET);
	sends(&f, PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
	answers(&forged, PKT_RST);
	assert_int_equal(flow_state(&f), LB_CONN_RESET);
	sends(&forged, PKT_ACK); /* not by anybody's */
	assert_int_equal(flow_state(&f), LB_CONN_RESET);
	f.seq = 1000000 + 9 * UNIT;
	f.backend_seq = 2000000 + 9 * UNIT;
	sends(&f, PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_RESET);
	answers(&f, PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_RESET);
	sends(&f, PKT_FIN | PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_FIN_CLIENT);
}

/* And here it was one: what was on its way is answered by further ones. */
static void test_not_revived(void **state)
{
	struct flow f = established();

	(void)state;
	f.seq = 1000000 + 9 * UNIT;
	f.backend_seq = 2000000 + 9 * UNIT;
	sends(&f, PKT_RST | PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_RESET);
	answers(&f, PKT_ACK);
	sends(&f, PKT_RST);
	assert_int_equal(flow_state(&f), LB_CONN_RESET);
	sends(&f, PKT_RST | PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_CLOSED);
}

/* More is on its way than a look knows of. Where the one is right the other may be forged: it is
 * not known by that. */
static void test_revived_ahead(void **state)
{
	(void)state;
	for (int side = 0; side < 2; side++) {
		struct flow f = established(), forged = flow_guessed(&f), ahead;

		f.seq = 1000000 + 9 * UNIT;
		f.backend_seq = 2000000 + 9 * UNIT;
		sends(&forged, PKT_RST);
		answers(&f, PKT_ACK);
		ahead = f;
		*(side ? &ahead.seq : &ahead.backend_seq) += 3 * UNIT;
		sends(&ahead, PKT_ACK);
		assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
		sends(&ahead, PKT_RST | PKT_ACK);
		assert_int_equal(flow_state(&f), LB_CONN_RESET);
	}
}

/* What the backend closes meanwhile is not forgotten. */
static void test_revived_closed(void **state)
{
	struct flow f = established(), forged = flow_guessed(&f);

	(void)state;
	sends(&forged, PKT_RST);
	answers(&f, PKT_FIN | PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_RESET);
	sends(&f, PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_FIN_BACKEND);
	sends(&f, PKT_FIN | PKT_ACK);
	assert_int_equal(flow_state(&f), LB_CONN_CLOSING);
}

static int fresh(void **state)
{
	(void)state;
	next_port = 20000;
	run_fresh(&run);
	return 0;
}

#define BLIND_TEST(f) cmocka_unit_test_setup(f, fresh)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		BLIND_TEST(test_blind),
		BLIND_TEST(test_blind_keeps_nothing),
		BLIND_TEST(test_spray),
		BLIND_TEST(test_believed),
		BLIND_TEST(test_forged_handshake),
		BLIND_TEST(test_edges),
		BLIND_TEST(test_poison),
		BLIND_TEST(test_answer_noted),
		BLIND_TEST(test_syn_answered),
		BLIND_TEST(test_odd_flags),
		BLIND_TEST(test_revived),
		BLIND_TEST(test_not_revived),
		BLIND_TEST(test_revived_ahead),
		BLIND_TEST(test_revived_closed),
		BLIND_TEST(test_backends_reset),
	};

	return group_run("blind", services, BUCKETS, 1, tests);
}
