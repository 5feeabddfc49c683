/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lib_rows.c - services of the packet tables, and frames from rows.
 */
#include "lib_rows.h"

#include <string.h>

/* One backend each, where a table must know which one it gets. */
static const struct run_service services[] = {
	{"web", LB_SCHED_RR, .listens = {{NET_VIP, 80, LB_TCP}, {NET_VIP6, 80, LB_TCP}},
	 .backends = {{"10.1.0.11", 8080, 1}, {"fd00:1::11", 8080, 1}}},
	{"dns", LB_SCHED_RR, .listens = {{NET_VIP, 53, LB_UDP}, {NET_VIP6, 53, LB_UDP}},
	 .backends = {{"10.1.0.11", 5353, 1}, {"fd00:1::11", 5353, 1}}},
	{"same-interface", LB_SCHED_RR, .listens = {{NET_VIP, 81, LB_TCP}, {NET_VIP6, 81, LB_TCP}},
	 .backends = {{"192.0.2.20", 8080, 1}, {"2001:db8::20", 8080, 1}}},
	{"routed", LB_SCHED_RR, .listens = {{NET_VIP, 82, LB_TCP}, {NET_VIP6, 82, LB_TCP}},
	 .backends = {{"10.50.1.1", 80, 1}, {"fd00:50::1", 80, 1}}},
	{"v4-via-v6", LB_SCHED_RR, .listens = {{NET_VIP, 83, LB_TCP}},
	 .backends = {{"10.60.1.1", 80, 1}}},
	{"no-route", LB_SCHED_RR, .listens = {{NET_VIP, 84, LB_TCP}, {NET_VIP6, 84, LB_TCP}},
	 .backends = {{NET_NO_ROUTE, 80, 1}, {NET_NO_ROUTE6, 80, 1}}},
	{"blackhole", LB_SCHED_RR, .listens = {{NET_VIP, 85, LB_TCP}},
	 .backends = {{NET_BLACKHOLE, 80, 1}}},
	{"no-neighbour", LB_SCHED_RR, .listens = {{NET_VIP, 86, LB_TCP}, {NET_VIP6, 86, LB_TCP}},
	 .backends = {{NET_NO_NEIGH, 80, 1}, {NET_NO_NEIGH6, 80, 1}}},
	{"jumbo", LB_SCHED_RR,
	 .listens = {{NET_VIP, 87, LB_TCP}, {NET_VIP6, 87, LB_TCP}, {NET_VIP, 87, LB_UDP}},
	 .backends = {{"10.9.0.11", 80, 1}, {"fd00:9::11", 80, 1}}},
	{"drained", LB_SCHED_RR, .listens = {{NET_VIP, 88, LB_TCP}, {NET_VIP6, 88, LB_TCP}},
	 .backends = {{"10.1.0.11", 80, 0}, {"fd00:1::11", 80, 0}}},
	{"source-hash", LB_SCHED_SH, .listens = {{NET_VIP, 89, LB_TCP}, {NET_VIP6, 89, LB_TCP}},
	 .backends = {{"10.1.0.11", 80, 1}, {"fd00:1::11", 80, 1}}},
	{"maglev", LB_SCHED_MAGLEV, .listens = {{NET_VIP, 90, LB_TCP}, {NET_VIP6, 90, LB_TCP}},
	 .backends = {{"10.1.0.11", 90, 1}, {"fd00:1::11", 90, 1}}},
	{"star", LB_SCHED_RR, .listens = {{"*", 8000, LB_TCP}, {"*", 8000, LB_UDP}},
	 .backends = {{"10.1.0.12", 80, 1}, {"fd00:1::12", 80, 1}}},
	{"star-shared", LB_SCHED_RR, .listens = {{"*", 8001, LB_TCP}},
	 .backends = {{"10.1.0.12", 80, 1}, {"fd00:1::12", 80, 1}}},
	{"exact-shared", LB_SCHED_RR,
	 .listens = {{NET_VIP, 8001, LB_TCP}, {NET_VIP6, 8001, LB_TCP}},
	 .backends = {{"10.1.0.13", 80, 1}, {"fd00:1::13", 80, 1}}},
	{"star-v4-only", LB_SCHED_RR, .listens = {{"*", 8002, LB_TCP}},
	 .backends = {{"10.1.0.12", 80, 1}}},
	/* At an address that is not the host's. */
	{"away", LB_SCHED_RR, .listens = {{NET_VIP_AWAY, 91, LB_TCP}, {NET_VIP6_AWAY, 91, LB_TCP}},
	 .backends = {{"10.1.0.11", 80, 1}, {"fd00:1::11", 80, 1}}},
	{"away-dropping", LB_SCHED_RR, .unknown = LB_UNKNOWN_DROP + 1,
	 .listens = {{NET_VIP_AWAY, 92, LB_TCP}, {NET_VIP6_AWAY, 92, LB_TCP}},
	 .backends = {{"10.1.0.11", 80, 1}, {"fd00:1::11", 80, 1}}},
	{"full", LB_SCHED_LC,
	 .listens = {{NET_VIP, 93, LB_TCP},
		     {NET_VIP6, 93, LB_TCP},
		     {NET_VIP, 93, LB_UDP},
		     {NET_VIP6, 93, LB_UDP},
		     {NET_VIP_AWAY, 93, LB_UDP},
		     {NET_VIP6_AWAY, 93, LB_UDP}},
	 .backends = {{"10.1.0.11", 93, 1, 3, 3}, {"fd00:1::11", 93, 1, 3, 3}}},
	{"any-v4", LB_SCHED_RR, .listens = {{"0.0.0.0", 8003, LB_TCP}},
	 .backends = {{"10.1.0.12", 80, 1}}},
};

void rows_add_services(struct run *r)
{
	for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++)
		run_add_service(r, &services[i]);
}

static bool listen_matches(const struct run_listen *l, const struct pkt_end *at, uint8_t proto)
{
	struct pkt_addr a;

	if (l->port != at->port || (l->proto == LB_UDP) != (proto == PKT_UDP))
		return false;
	if (!strcmp(l->addr, "*"))
		return true;
	if (!strcmp(l->addr, "0.0.0.0"))
		return at->addr.family == 4;
	a = pkt_addr(l->addr);
	return pkt_addr_equal(&a, &at->addr);
}

bool rows_serve(const struct pkt_end *at, uint8_t proto, const struct pkt_end *backend)
{
	for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++) {
		const struct run_listen *l = services[i].listens;
		const struct run_backend *b = services[i].backends;

		while (l->addr && !listen_matches(l, at, proto))
			l++;
		for (; l->addr && b->addr; b++) {
			struct pkt_addr a = pkt_addr(b->addr);

			if (b->port == backend->port && pkt_addr_equal(&a, &backend->addr))
				return true;
		}
	}
	return false;
}

void row_build(const struct row *row, struct pkt *p)
{
	static const uint8_t b0_mac[6] = NET_B0_MAC;
	struct pkt_spec s = row->p;

	if (row->from_backend)
		s.dmac = b0_mac;
	pkt_build(p, &s);
	for (size_t i = 0; i < 2; i++)
		memcpy(p->data + row->edit[i].at, row->edit[i].bytes, row->edit[i].n);
	if (row->fix_csum)
		pkt_fix_csums(p);
}

void row_opener(const struct row *row, struct pkt *p)
{
	struct pkt_spec s = {
		.src = row->from_backend ? row->p.dst : row->p.src,
		.dst = row->from_backend ? row->to : row->p.dst,
		.sport = row->from_backend ? row->p.dport : row->p.sport,
		.dport = row->from_backend ? row->to_port : row->p.dport,
		.proto = row->p.proto,
		.flags = PKT_SYN,
	};

	pkt_build(p, &s);
}

uint32_t row_ifindex(const struct row *row, const struct run *r)
{
	return row->from_backend ? r->net.b0 : r->net.c0;
}
