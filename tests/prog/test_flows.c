/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_flows.c - what becomes of connections: changes of services under them, next hops that
 * change; by both hooks. (Their states: test_states.c.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "lib_flow.h"

/* Ids are given in this order, from 1. */
enum { WEB = 1, DNS, OTHER, HASHED, PARTLY, ANY4 };
static const struct run_service services[] = {
	{"web", LB_SCHED_RR,
	 .listens = {{NET_VIP, 80, LB_TCP},
		     {NET_VIP6, 80, LB_TCP},
		     {NET_VIP_AWAY, 80, LB_TCP},
		     {NET_VIP6_AWAY, 80, LB_TCP}},
	 .backends = {{"10.1.0.11", 8080, 1}, {"fd00:1::11", 8080, 1}}},
	{"dns", LB_SCHED_RR, .listens = {{NET_VIP, 53, LB_UDP}, {NET_VIP6, 53, LB_UDP}},
	 .backends = {{"10.1.0.11", 5353, 1}, {"fd00:1::11", 5353, 1}}},
	/* These share a backend with web. */
	{"other", LB_SCHED_RR, .listens = {{NET_VIP, 81, LB_TCP}},
	 .backends = {{"10.1.0.11", 8080, 1}}},
	{"hashed", LB_SCHED_SH, .listens = {{NET_VIP, 83, LB_TCP}},
	 .backends = {{"10.1.0.11", 8080, 1}}},
	{"partly", LB_SCHED_RR, .listens = {{NET_VIP, 82, LB_TCP}},
	 .backends = {{"10.1.0.11", 8080, 1}, {"10.1.0.12", 8080, 1}}},
	{"any4", LB_SCHED_RR, .listens = {{"*", 8002, LB_TCP}}, .backends = {{"10.1.0.12", 80, 1}}},
};

static const struct run_service web_moved = {
	"web", LB_SCHED_RR, .backends = {{"10.1.0.12", 8080, 1}, {"fd00:1::12", 8080, 1}}};
static const struct run_service dns_moved = {
	"dns", LB_SCHED_RR, .backends = {{"10.1.0.12", 5353, 1}, {"fd00:1::12", 5353, 1}}};
static const struct run_service web_drained = {
	"web", LB_SCHED_RR, .backends = {{"10.1.0.11", 8080, 0}, {"fd00:1::11", 8080, 1}}};

static struct run run;
static enum lb_hook hook;
static uint16_t next_port = 20000;

static struct flow tcp(void)
{
	return flow_make(&run, hook, LB_V4, next_port++, 80, 0);
}

static struct flow udp(void)
{
	return flow_make(&run, hook, LB_V4, next_port++, 53, PKT_UDP);
}

/* A change is in force from its generation on, not before. */
static void test_commit(void **state)
{
	struct pkt_end old = pkt_end("10.1.0.11", 8080), new = pkt_end("10.1.0.12", 8080);
	struct flow before = tcp(), f = tcp();
	uint32_t generation = run.config->generation;

	(void)state;
	assert_int_equal(flow_establish(&before), RUN_FORWARDED);
	run_next_version(&run, WEB, &web_moved, generation + 1);
	assert_int_equal(flow_send(&f, PKT_SYN), RUN_FORWARDED);
	assert_true(pkt_addr_equal(&f.backend.addr, &old.addr));
	run.config->generation = generation + 1;
	f = tcp();
	assert_int_equal(flow_send(&f, PKT_SYN), RUN_FORWARDED);
	assert_true(pkt_addr_equal(&f.backend.addr, &new.addr));
	/* What is open stays where it is. */
	assert_int_equal(flow_send(&before, PKT_ACK), RUN_FORWARDED);
	assert_true(pkt_addr_equal(&before.backend.addr, &old.addr));
	run_next_version(&run, WEB, &services[WEB - 1], generation + 2);
	run.config->generation = generation + 2;
	f = tcp();
	assert_int_equal(flow_send(&f, PKT_SYN), RUN_FORWARDED);
	assert_true(pkt_addr_equal(&f.backend.addr, &old.addr));
}

static void test_drain(void **state)
{
	struct flow open = tcp(), f = tcp();

	(void)state;
	assert_int_equal(flow_establish(&open), RUN_FORWARDED);
	run_next_version(&run, WEB, &web_drained, ++run.config->generation);
	assert_int_equal(flow_send(&f, PKT_SYN), LB_REASON_NO_BACKEND);
	assert_int_equal(flow_send(&open, PKT_ACK), RUN_FORWARDED);
	assert_int_equal(flow_answer(&open, PKT_ACK), RUN_FORWARDED);
	run_next_version(&run, WEB, &services[WEB - 1], ++run.config->generation);
	assert_int_equal(flow_send(&f, PKT_SYN), RUN_FORWARDED);
}

static void test_removed_listen(void **state)
{
	const struct run_listen *l = &services[OTHER - 1].listens[0];
	struct flow open = tcp(), f = tcp();

	(void)state;
	open.sport = f.sport = l->port;
	assert_int_equal(flow_establish(&open), RUN_FORWARDED);
	run_remove_listen(&run, l, run.config->generation + 1);
	assert_int_equal(flow_send(&f, PKT_SYN), RUN_FORWARDED); /* not committed */
	f.cport = next_port++;
	run.config->generation++;
	assert_int_equal(flow_send(&f, PKT_SYN), LB_REASON_NO_SERVICE);
	assert_int_equal(flow_send(&open, PKT_ACK), RUN_FORWARDED);
	run_put_listen(&run, l, OTHER, ++run.config->generation);
	assert_int_equal(flow_send(&f, PKT_SYN), RUN_FORWARDED);
}

/* A connection that began elsewhere is open once the client knows what the backend answered;
 * packets with forged sources, to which it answers with a reset or not at all, leave nothing that
 * lasts. */
static void test_taken_up(void **state)
{
	struct flow f = tcp();

	(void)state;
	f.sport = 83;
	assert_int_equal(flow_send(&f, PKT_ACK), RUN_FORWARDED);
	assert_int_equal(flow_send(&f, PKT_ACK), RUN_FORWARDED);
	assert_int_equal(flow_send(&f, PKT_FIN | PKT_ACK), RUN_FORWARDED);
	assert_int_equal(flow_state(&f), LB_CONN_SYN_SENT);
	assert_int_equal(flow_answer(&f, PKT_ACK), RUN_FORWARDED);
	assert_int_equal(flow_state(&f), LB_CONN_SYN_RECV);
	assert_int_equal(flow_send(&f, PKT_ACK), RUN_FORWARDED);
	assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
	f.cport = next_port++;
	assert_int_equal(flow_send(&f, PKT_ACK), RUN_FORWARDED);
	assert_int_equal(flow_answer(&f, PKT_RST), RUN_FORWARDED);
	assert_int_equal(flow_state(&f), LB_CONN_CLOSED);
	f.cport = next_port++; /* taken up by its end */
	assert_int_equal(flow_send(&f, PKT_FIN | PKT_ACK), RUN_FORWARDED);
	assert_int_equal(flow_answer(&f, PKT_FIN | PKT_ACK), RUN_FORWARDED);
	assert_int_equal(flow_state(&f), LB_CONN_CLOSING);
}

/* TCP towards a removed backend ends; UDP, and a SYN, get another one. `reused`: and the id has
 * gone to another backend by now. */
static void remove_backend(bool reused)
{
	struct pkt_end old = pkt_end("10.1.0.11", 8080), old_dns = pkt_end("10.1.0.11", 5353);
	uint32_t ids[2] = {run_backend_id(&run, WEB, &old), run_backend_id(&run, DNS, &old_dns)};
	struct lb_backend saved[2] = {run.backends[ids[0]], run.backends[ids[1]]};
	struct flow data = tcp(), syn = tcp(), datagram = udp();

	assert_int_equal(flow_establish(&data), RUN_FORWARDED);
	assert_int_equal(flow_establish(&syn), RUN_FORWARDED);
	assert_int_equal(flow_establish(&datagram), RUN_FORWARDED);
	run_next_version(&run, WEB, &web_moved, ++run.config->generation);
	run_next_version(&run, DNS, &dns_moved, ++run.config->generation);
	for (int i = 0; i < 2; i++) {
		run.backends[ids[i]].state = reused ? LB_BACKEND_LIVE : LB_BACKEND_GONE;
		run.backends[ids[i]].addr.b[15] += reused; /* not 10.1.0.11 any more */
		run.backends[ids[i]].reuse += reused;
		run.backends[ids[i]].nexthop = 0;
	}
	if (reused) { /* what the id's new owner sends is not the old connection's */
		data.backend.addr.b[3]++;
		assert_int_equal(flow_answer(&data, PKT_ACK), LB_REASON_NO_SERVICE);
	}
	assert_int_equal(flow_send(&data, PKT_ACK), LB_REASON_BACKEND_GONE_RESET);
	assert_int_equal(flow_state(&data), LB_CONN_CLOSED);
	/* What was on its way: the client's is answered alike, the backend's must not come between.
	 */
	assert_int_equal(flow_send(&data, PKT_ACK), LB_REASON_BACKEND_GONE_RESET);
	assert_int_equal(flow_answer(&data, PKT_ACK),
			 reused ? LB_REASON_NO_SERVICE : LB_REASON_BACKEND_GONE);
	assert_int_equal(flow_send(&syn, PKT_SYN), RUN_FORWARDED);
	assert_int_equal(syn.backend.addr.b[3], 12);
	assert_int_equal(flow_answer(&syn, PKT_SYN | PKT_ACK), RUN_FORWARDED);
	assert_int_equal(flow_send(&datagram, 0), RUN_FORWARDED);
	assert_int_equal(datagram.backend.addr.b[3], 12);
	assert_int_equal(flow_answer(&datagram, 0), RUN_FORWARDED);
	for (int i = 0; i < 2; i++)
		run.backends[ids[i]] = saved[i];
	run_next_version(&run, WEB, &services[WEB - 1], ++run.config->generation);
	run_next_version(&run, DNS, &services[DNS - 1], ++run.config->generation);
}

static void test_removed_backend(void **state)
{
	(void)state;
	remove_backend(false);
}

static void test_reused_backend_id(void **state)
{
	(void)state;
	remove_backend(true);
}

/* A connection of the service whose backend is removed; what its next packets come to. */
static void remove_under(uint8_t on_remove, struct flow *f)
{
	const struct pkt_end old = pkt_end("10.1.0.11", 8080);
	uint32_t id = run_backend_id(&run, WEB, &old);
	struct run_service moved = web_moved;

	moved.on_remove = on_remove;
	*f = tcp();
	assert_int_equal(flow_establish(f), RUN_FORWARDED);
	run_next_version(&run, WEB, &moved, ++run.config->generation);
	run.backends[id].state = LB_BACKEND_GONE;
}

static void put_back(void)
{
	const struct pkt_end old = pkt_end("10.1.0.11", 8080);

	run.backends[run_backend_id(&run, WEB, &old)].state = LB_BACKEND_LIVE;
	run_next_version(&run, WEB, &services[WEB - 1], ++run.config->generation);
}

static void test_on_remove(void **state)
{
	struct flow f, never, guessed;

	(void)state;
	/* Resets are answered by none, nor is what has no ACK. */
	remove_under(LB_ON_REMOVE_RESET, &f);
	assert_int_equal(flow_send(&f, PKT_PSH), LB_REASON_BACKEND_GONE);
	assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
	assert_int_equal(flow_send(&f, PKT_RST | PKT_ACK), LB_REASON_BACKEND_GONE);
	assert_int_equal(flow_state(&f), LB_CONN_CLOSED);
	put_back();
	/* Whoever has forged one does not keep its client from being told. */
	remove_under(LB_ON_REMOVE_RESET, &f);
	guessed = flow_guessed(&f);
	assert_int_equal(flow_send(&guessed, PKT_RST | PKT_ACK), LB_REASON_BACKEND_GONE);
	assert_int_equal(flow_send(&guessed, PKT_RST), LB_REASON_BACKEND_GONE);
	assert_int_equal(flow_state(&f), LB_CONN_RESET);
	assert_int_equal(flow_send(&f, PKT_ACK), LB_REASON_BACKEND_GONE_RESET);
	put_back();

	/* Until it expires; a SYN is a new connection. */
	remove_under(LB_ON_REMOVE_DROP, &f);
	for (int i = 0; i < 3; i++)
		assert_int_equal(flow_send(&f, PKT_ACK), LB_REASON_BACKEND_GONE);
	assert_int_equal(flow_send(&f, PKT_RST | PKT_ACK), LB_REASON_BACKEND_GONE);
	assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED); /* nothing of it is noted */
	never = f;
	assert_int_equal(flow_send(&f, PKT_SYN), RUN_FORWARDED);
	assert_int_equal(f.backend.addr.b[3], 12);
	assert_int_equal(flow_answer(&never, PKT_ACK), LB_REASON_NO_SERVICE);
	put_back();

	remove_under(LB_ON_REMOVE_REHASH, &f);
	assert_int_equal(flow_send(&f, PKT_ACK), RUN_FORWARDED);
	assert_int_equal(f.backend.addr.b[3], 12);
	assert_int_equal(flow_answer(&f, PKT_ACK), RUN_FORWARDED);
	assert_int_equal(flow_send(&f, PKT_ACK), RUN_FORWARDED);
	assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
	put_back();
	remove_under(LB_ON_REMOVE_REHASH, &f);
	guessed = flow_guessed(&f);
	assert_int_equal(flow_send(&guessed, PKT_RST), LB_REASON_BACKEND_GONE);
	assert_int_equal(flow_send(&f, PKT_ACK), RUN_FORWARDED);
	assert_int_equal(f.backend.addr.b[3], 12);
	put_back();
}

/* A service's policy of packets that belong to no connection, at an address that is not the host's:
 * there the host would not answer. */
static void test_unknown(void **state)
{
	struct run_service web = services[WEB - 1];
	struct flow f = tcp(), f6 = tcp();
	struct pkt_end backend;

	(void)state;
	f.service = NET_VIP_AWAY;
	f6.client = NET_CLIENT6;
	f6.service = NET_VIP6_AWAY;
	assert_int_equal(flow_send(&f, PKT_ACK), LB_REASON_NO_CONNECTION_RESET);
	assert_int_equal(flow_send(&f, PKT_SYN | PKT_ACK), LB_REASON_NO_CONNECTION_RESET);
	assert_int_equal(flow_send(&f, PKT_FIN | PKT_ACK), LB_REASON_NO_CONNECTION_RESET);
	assert_int_equal(flow_send(&f, PKT_RST | PKT_ACK), LB_REASON_NO_CONNECTION);
	assert_int_equal(flow_send(&f, PKT_PSH), LB_REASON_NO_CONNECTION);
	assert_int_equal(flow_send(&f6, PKT_ACK), LB_REASON_NO_CONNECTION_RESET);
	assert_int_equal(flow_state(&f), -1);

	web.unknown = LB_UNKNOWN_DROP + 1;
	run_next_version(&run, WEB, &web, ++run.config->generation);
	assert_int_equal(flow_send(&f, PKT_ACK), LB_REASON_NO_CONNECTION_DROP);
	assert_int_equal(flow_send(&f6, PKT_ACK), LB_REASON_NO_CONNECTION_DROP);
	assert_int_equal(flow_send(&f, PKT_RST), LB_REASON_NO_CONNECTION);

	web.unknown = LB_UNKNOWN_HASH + 1; /* also of a service that takes turns */
	web.backends[2] = web.backends[1];
	web.backends[1] = (struct run_backend){"10.1.0.12", 8080, 1, 0, 0};
	run_next_version(&run, WEB, &web, ++run.config->generation);
	assert_int_equal(flow_send(&f, PKT_ACK), RUN_FORWARDED);
	assert_int_equal(flow_answer(&f, PKT_ACK), RUN_FORWARDED);
	assert_int_equal(flow_send(&f, PKT_ACK), RUN_FORWARDED);
	assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
	backend = f.backend;
	for (int i = 0; i < 6; i++) { /* but it is nobody's turn: each node must choose the same */
		run_forget_connections(&run);
		assert_int_equal(flow_send(&f, PKT_ACK), RUN_FORWARDED);
		assert_memory_equal(&f.backend, &backend, sizeof(backend));
	}
	run_next_version(&run, WEB, &services[WEB - 1], ++run.config->generation);
}

/* One client address and port towards one backend by two services: the answers could not be told
 * apart. */
static void test_collision(void **state)
{
	struct flow web = tcp(), other = web, partly = web;

	(void)state;
	other.sport = 81;
	partly.sport = 82;
	assert_int_equal(flow_establish(&web), RUN_FORWARDED);
	assert_int_equal(flow_send(&other, PKT_SYN), LB_REASON_COLLISION);
	for (int i = 0; i < 2; i++) { /* whoever's turn it is */
		assert_int_equal(flow_establish(&partly), RUN_FORWARDED);
		assert_int_equal(partly.backend.addr.b[3], 12);
		partly.cport = web.cport = next_port++;
		assert_int_equal(flow_establish(&web), RUN_FORWARDED);
	}
	assert_int_equal(flow_answer(&web, PKT_ACK), RUN_FORWARDED);
	/* Once the first one is over, the second may have the backend. */
	other.cport = web.cport;
	assert_int_equal(flow_send(&other, PKT_SYN), LB_REASON_COLLISION);
	run_clock(&run, run_now(&run) + run_ticks(&run, LB_CONN_ESTABLISHED) + 1);
	assert_int_equal(flow_send(&other, PKT_SYN), RUN_FORWARDED);
}

/* A removed backend keeps nothing from another service that has the same one. */
static void test_collision_with_removed(void **state)
{
	struct flow web = tcp(), other = web;
	struct lb_backend saved;
	uint32_t id;

	(void)state;
	other.sport = 81;
	assert_int_equal(flow_establish(&web), RUN_FORWARDED);
	assert_int_equal(flow_send(&other, PKT_SYN), LB_REASON_COLLISION);
	id = run_backend_id(&run, WEB, &web.backend);
	saved = run.backends[id];
	run.backends[id].state = LB_BACKEND_GONE;
	assert_int_equal(flow_send(&other, PKT_SYN), RUN_FORWARDED);
	run.backends[id] = saved;
}

static void test_counters(void **state)
{
	struct pkt_end at = pkt_end("10.1.0.11", 8080);
	uint32_t id = run_backend_id(&run, WEB, &at);
	struct lb_counters before, after;
	struct flow f = tcp();

	(void)state;
	run_counters(&run, id, &before);
	assert_int_equal(flow_establish(&f), RUN_FORWARDED);
	assert_int_equal(flow_answer(&f, PKT_ACK), RUN_FORWARDED);
	assert_int_equal(flow_answer(&f, PKT_ACK), RUN_FORWARDED);
	run_counters(&run, id, &after);
	assert_int_equal(after.connections - before.connections, 1);
	assert_int_equal(after.packets[0] - before.packets[0], 2);
	assert_int_equal(after.packets[1] - before.packets[1], 3);
	assert_int_equal(after.bytes[0] - before.bytes[0], 2 * (40 + 11));
	assert_int_equal(after.bytes[1] - before.bytes[1], 3 * (40 + 7));
}

/* What leaves in segments may be larger than the MTU, and counts as these; also where a guest or a
 * tun made it and nobody has counted them yet. */
static void test_gso(void **state)
{
	struct pkt_spec s = {.src = NET_CLIENT,
			     .dst = NET_VIP,
			     .sport = next_port++,
			     .dport = 53,
			     .proto = PKT_UDP,
			     .payload = 2900};
	struct pkt_end at = pkt_end("10.1.0.11", 5353);
	uint32_t id = run_backend_id(&run, DNS, &at);
	static struct run_result res;
	struct lb_counters before, after;
	struct pkt p;

	(void)state;
	pkt_build(&p, &s);
	if (hook == LB_HOOK_XDP)
		return; /* it sees no GSO packets */
	for (uint32_t segs = 0; segs <= 3; segs += 3) {
		run.gso_size = 1400;
		run.gso_segs = segs;
		run_counters(&run, id, &before);
		assert_int_equal(run_packet(&run, LB_HOOK_TC, run.net.c0, &p, &res), 0);
		run.gso_size = run.gso_segs = 0;
		run_counters(&run, id, &after);
		assert_true(res.forwarded);
		assert_int_equal(after.packets[0] - before.packets[0], 3);
	}
	assert_int_equal(run_packet(&run, LB_HOOK_TC, run.net.c0, &p, &res), 0);
	assert_int_equal(res.reason, LB_REASON_TOO_BIG);
}

static void test_forwarding_off(void **state)
{
	struct flow f = tcp(), new = tcp();

	(void)state;
	assert_int_equal(flow_establish(&f), RUN_FORWARDED);
	run_later(&run, 1); /* what is known of the way is known for a tick */
	assert_int_equal(net_sysctl("ipv4/conf/c0/forwarding", 0), 0);
	assert_int_equal(flow_send(&f, PKT_ACK), LB_REASON_FORWARDING_OFF);
	assert_int_equal(flow_send(&new, PKT_SYN), LB_REASON_FORWARDING_OFF);
	assert_int_equal(net_sysctl("ipv4/conf/c0/forwarding", 1), 0);
	assert_int_equal(flow_send(&f, PKT_ACK), RUN_FORWARDED);
}

/* What is passed anyway needs no forwarding: by default IPv6's is off, and a `*` service's port may
 * be a local program's in the other family. */
static void test_forwarding_off_passes(void **state)
{
	struct flow family = tcp(), middle = tcp();

	(void)state;
	family.client = NET_CLIENT6;
	family.service = NET_VIP6;
	family.sport = middle.sport = 8002;
	assert_int_equal(net_sysctl("ipv6/conf/c0/forwarding", 0), 0);
	assert_int_equal(net_sysctl("ipv4/conf/c0/forwarding", 0), 0);
	assert_int_equal(flow_send(&family, PKT_SYN), LB_REASON_NO_FAMILY);
	assert_int_equal(flow_send(&middle, PKT_ACK), LB_REASON_NO_CONNECTION);
	assert_int_equal(flow_send(&middle, PKT_SYN), LB_REASON_FORWARDING_OFF);
	assert_int_equal(net_sysctl("ipv6/conf/c0/forwarding", 1), 0);
	assert_int_equal(net_sysctl("ipv4/conf/c0/forwarding", 1), 0);
}

/* The route to the backend goes away and comes back. */
static void test_route_changes(void **state)
{
	struct flow f = tcp();

	(void)state;
	assert_int_equal(flow_establish(&f), RUN_FORWARDED);
	assert_int_equal(system("ip route add unreachable 10.1.0.11/32"), 0);
	run_later(&run, 1);
	assert_int_equal(flow_send(&f, PKT_ACK), LB_REASON_NO_ROUTE);
	assert_int_equal(system("ip route del unreachable 10.1.0.11/32"), 0);
	run_later(&run, 1);
	assert_int_equal(flow_send(&f, PKT_ACK), RUN_FORWARDED);
}

/* The way back to a client follows its route: after at most LB_NEXTHOP_GRACE ticks where other
 * clients stay on the old way, in the next tick where nobody does. */
static void test_client_route_changes(void **state)
{
	struct flow f = tcp(), other = tcp();

	(void)state;
	f.client = "198.51.100.1"; /* both behind one router */
	other.client = "198.51.100.2";
	for (int alone = 0; alone < 2; alone++) {
		int late = 0;

		f.cport = next_port++;
		assert_int_equal(flow_establish(&f), RUN_FORWARDED);
		assert_int_equal(flow_establish(&other), RUN_FORWARDED);
		run_later(&run, 1);
		assert_int_equal(flow_answer(&f, PKT_ACK), RUN_FORWARDED);
		assert_int_equal(system("ip route add unreachable 198.51.100.1/32"), 0);
		do {
			run_later(&run, 1);
			if (!alone) {
				assert_int_equal(flow_answer(&other, PKT_ACK), RUN_FORWARDED);
				assert_int_equal(flow_send(&f, PKT_ACK), RUN_FORWARDED);
			}
			late++;
		} while (flow_answer(&f, PKT_ACK) == RUN_FORWARDED && late < 100);
		assert_true(late <= (alone ? 1 : LB_NEXTHOP_GRACE + 1));
		assert_int_equal(flow_answer(&f, PKT_ACK), LB_REASON_NO_ROUTE);
		assert_int_equal(system("ip route del unreachable 198.51.100.1/32"), 0);
		assert_int_equal(flow_answer(&f, PKT_ACK), RUN_FORWARDED);
	}
}

/* An interface to which XDP cannot transmit: tc does it. */
static void test_no_xmit(void **state)
{
	struct flow f = tcp();

	(void)state;
	f.alone = true;
	run_iface_flags(&run, run.net.b0, LB_IFACE_ATTACHED);
	run_later(&run, 10);
	for (int i = 0; i < 3; i++) {
		f.hook = LB_HOOK_XDP;
		assert_int_equal(flow_send(&f, PKT_SYN), LB_REASON_TO_TC);
		f.hook = LB_HOOK_TC;
		assert_int_equal(flow_send(&f, PKT_SYN), RUN_FORWARDED);
	}
	run_iface_flags(&run, run.net.b0, LB_IFACE_XMIT | LB_IFACE_TX | LB_IFACE_ATTACHED);
	run_later(&run, 10);
	f.hook = LB_HOOK_XDP;
	flow_send(&f, PKT_SYN); /* it may be the tick's probe, see below */
	assert_int_equal(flow_send(&f, PKT_SYN), RUN_FORWARDED);
}

/* One packet of a next hop every 8 ticks goes by tc, so that the kernel probes the neighbour. */
static void test_neighbour_probes(void **state)
{
	struct flow f = tcp();
	int to_tc = 0, other = 0;

	(void)state;
	f.hook = LB_HOOK_XDP;
	assert_int_equal(flow_establish(&f), RUN_FORWARDED);
	f.alone = true;
	for (int i = 0; i < 80 * 4; i++) {
		int rc;

		if (i % 4 == 0)
			run_later(&run, 1);
		rc = flow_send(&f, PKT_ACK);
		to_tc += rc == LB_REASON_TO_TC;
		other += rc != LB_REASON_TO_TC && rc != RUN_FORWARDED;
	}
	assert_int_equal(other, 0);
	assert_int_equal(to_tc, 80 / 8);
}

/* More clients in a tick than the table of next hops has room for, each a neighbour of its own. */
#define NEIGHBOURS 1500

static void neighbours_add(void)
{
	FILE *f = popen("ip -batch -", "w");

	assert_non_null(f);
	for (int i = 0; i < NEIGHBOURS; i++)
		fprintf(f,
			"neigh replace 2001:db8::5:%x dev c0 lladdr 06:00:00:00:%02x:%02x nud "
			"permanent\n",
			i, i >> 8, i & 255);
	assert_int_equal(pclose(f), 0);
}

static void test_many_neighbours(void **state)
{
	const uint8_t b0_mac[6] = NET_B0_MAC;
	static struct run_result res;
	int forwarded = 0;
	char client[64];
	struct pkt p;

	(void)state;
	neighbours_add();
	for (int i = 0; i < NEIGHBOURS; i++) {
		struct pkt_spec open = {.src = client,
					.dst = NET_VIP6,
					.sport = 9,
					.dport = 53,
					.proto = PKT_UDP,
					.payload = 1};
		struct pkt_spec answer = {.src = "fd00:1::11",
					  .dst = client,
					  .sport = 5353,
					  .dport = 9,
					  .proto = PKT_UDP,
					  .payload = 1,
					  .dmac = b0_mac};

		snprintf(client, sizeof(client), "2001:db8::5:%x", i);
		pkt_build(&p, &open);
		assert_int_equal(run_packet(&run, hook, run.net.c0, &p, &res), 0);
		pkt_build(&p, &answer);
		assert_int_equal(run_packet(&run, hook, run.net.b0, &p, &res), 0);
		forwarded +=
			res.forwarded || (hook == LB_HOOK_XDP && res.reason == LB_REASON_TO_TC);
	}
	assert_int_equal(forwarded, NEIGHBOURS);
}

/* A client that has used the service, and then its port again, past the service, to the replica. */
static void test_past_the_service(void **state)
{
	struct flow f = tcp(), direct;
	char backend[64];

	(void)state;
	assert_int_equal(flow_establish(&f), RUN_FORWARDED);
	direct = f;
	direct.service = pkt_addr_str(backend, &f.backend.addr);
	direct.sport = f.backend.port;
	/* While the connection stands the port is in use. */
	assert_int_equal(flow_send(&direct, PKT_SYN), LB_REASON_NO_SERVICE);
	assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
	assert_int_equal(flow_send(&f, PKT_FIN | PKT_ACK), RUN_FORWARDED);
	assert_int_equal(flow_answer(&f, PKT_FIN | PKT_ACK), RUN_FORWARDED);
	assert_int_equal(flow_state(&f), LB_CONN_CLOSING);
	assert_int_equal(flow_send(&direct, PKT_ACK), LB_REASON_NO_SERVICE);
	assert_int_equal(flow_state(&f), LB_CONN_CLOSING);
	assert_int_equal(flow_send(&direct, PKT_SYN), LB_REASON_NO_SERVICE);
	assert_int_equal(flow_state(&f), -1);
	assert_int_equal(flow_answer(&f, PKT_SYN | PKT_ACK), LB_REASON_NO_SERVICE);
}

static int fresh(void **state)
{
	(void)state;
	run_forget_connections(&run);
	/* Time never goes back: a backend remembers in which tick it asked for its way. */
	run_later(&run, 10000);
	return 0;
}

#define FLOW_TEST(f) cmocka_unit_test_setup(f, fresh)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FLOW_TEST(test_commit),           FLOW_TEST(test_drain),
		FLOW_TEST(test_removed_listen),   FLOW_TEST(test_taken_up),
		FLOW_TEST(test_removed_backend),  FLOW_TEST(test_on_remove),
		FLOW_TEST(test_unknown),          FLOW_TEST(test_reused_backend_id),
		FLOW_TEST(test_collision),        FLOW_TEST(test_collision_with_removed),
		FLOW_TEST(test_counters),         FLOW_TEST(test_gso),
		FLOW_TEST(test_forwarding_off),   FLOW_TEST(test_forwarding_off_passes),
		FLOW_TEST(test_route_changes),    FLOW_TEST(test_client_route_changes),
		FLOW_TEST(test_no_xmit),          FLOW_TEST(test_neighbour_probes),
		FLOW_TEST(test_past_the_service), FLOW_TEST(test_many_neighbours),
	};
	int rc = run_open(&run, 1024, 2048, 4), failed = 0;

	if (rc) {
		fprintf(stderr, "test_flows: loading the programs: %s\n", strerror(-rc));
		return 1;
	}
	for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++)
		run_add_service(&run, &services[i]);
	for (int h = 0; h < LB_HOOKS; h++) {
		hook = h;
		failed += cmocka_run_group_tests_name(h == LB_HOOK_XDP ? "flows, XDP" : "flows, tc",
						      tests, NULL, NULL);
	}
	run_close(&run);
	return failed;
}
