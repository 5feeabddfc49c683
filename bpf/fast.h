/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fast.h - the fast way: nobody's packets, and packets of open connections about which nothing is
 * to be noted.
 *
 * What it costs is counted in instructions (docs/design.md). It takes packets of the usual shape
 * only, at constant offsets; it calls nothing that takes an address, so that a packet stays in
 * registers; and family, protocol and direction are constants in it, each with a text of its own.
 */
#ifndef LB_FAST_H
#define LB_FAST_H

#include "common.h"
#include "conn.h"
#include "emit.h"
#include "nexthop.h"
#include "parse.h"
#include "rewrite.h"

/* Cannot be settled here: the packet, untouched and uncounted, starts again on the slow way. */
#define LB_AGAIN (-2)

/* Was the entry touched lately? A UDP flow that nobody answers (syslog, RTP) stays new: only an
 * answer would be news. */
static __always_inline bool lb_conn_settled(const bool reverse, const bool udp, __u32 meta,
					    __u32 now)
{
	__u32 age = (now - meta) & LB_META_TICK_MASK, state = LB_META_STATE(meta);

	if (!udp)
		return state == LB_CONN_ESTABLISHED && age <= lb_fresh[LB_CONN_ESTABLISHED];
	return (state == LB_CONN_UDP && age <= lb_fresh[LB_CONN_UDP]) ||
	       (!reverse && state == LB_CONN_UDP_NEW && !age);
}

/* What is known of a packet: where it lies, and that its headers are within bounds. */
struct lb_fast {
	void *data;
	struct lb_tuple t; /* in the packet itself: dearer to keep than to read again */
	__u32 ip_len, segments;
};

static __always_inline int lb_fast_emit_xdp(const int family, const bool reverse, const bool udp,
					    struct xdp_md *ctx, const struct lb_fast *p,
					    const struct lb_rewrite *r, const struct lb_nexthop *nh,
					    __u32 backend)
{
	void *l4 = p->data + r->l4;
	__u32 sum = lb_csum_halves(lb_csum_addr(family, r));
	int way = lb_xdp_way(ctx, nh->ifindex, nh->flags);

	if (unlikely(!way))
		return LB_AGAIN;
	if (udp)
		lb_rewrite_udp(reverse, l4, sum, r);
	else
		lb_rewrite_l4(reverse, l4, &((struct tcphdr *)l4)->check, sum, r);
	lb_rewrite_ip(family, reverse, p->data + LB_ETH_LEN, sum, r);
	lb_set_macs(p->data, nh);
	lb_count(backend, reverse, 1, p->ip_len);
	return lb_xdp_send(way, nh);
}

static __always_inline int lb_fast_emit(const int hook, const int family, const bool reverse,
					const bool udp, void *ctx, const struct lb_fast *p,
					const struct lb_rewrite *r, __u32 nexthop, __u32 backend,
					__u32 now)
{
	struct lb_nexthop *nh = lb_nexthop_get(nexthop);

	barrier_var(nh); /* or its address is computed again for each use */
	/* A GSO packet leaves in segments that fitted the sender's MTU. Id 0 has the MTU 0. */
	if (unlikely((p->segments == 1 && p->ip_len > nh->mtu) || (reverse && nh->tick != now)))
		return LB_AGAIN;
	if (hook == LB_HOOK_XDP)
		return lb_fast_emit_xdp(family, reverse, udp, ctx, p, r, nh, backend);
	return nh->mtu ? lb_emit_tc(family, reverse, ctx, p->segments, p->ip_len, r, nh, backend)
		       : LB_AGAIN;
}

static __always_inline int lb_fast_forward(const int hook, const int family, const bool udp,
					   void *ctx, const struct lb_fast *p,
					   const struct lb_conn_found *e, struct lb_rewrite *r)
{
	__u32 id = LB_REF_BACKEND(e->ref), now = lb_now(), nexthop;
	struct lb_backend *b = lb_backend_get(id);

	if (unlikely(!b || !lb_backend_holds(b, e->ref) ||
		     !lb_conn_settled(false, udp, e->meta, now)))
		return LB_AGAIN;
	nexthop = READ_ONCE(b->nexthop);
	if (unlikely(nexthop >> LB_NEXTHOP_BITS != now))
		return LB_AGAIN;
	lb_rewrite_forward(family, &p->t, b, r);
	return lb_fast_emit(hook, family, false, udp, ctx, p, r, nexthop, id, now);
}

static __always_inline int lb_fast_reverse(const int hook, const int family, const bool udp,
					   void *ctx, const struct lb_fast *p,
					   const struct lb_conn_found *e, struct lb_rewrite *r)
{
	__u32 now = lb_now();

	if (unlikely(!lb_conn_settled(true, udp, e->meta, now)))
		return LB_AGAIN;
	lb_rewrite_reverse(family, &p->t, e, r);
	return lb_fast_emit(hook, family, true, udp, ctx, p, r, LB_REF_NEXTHOP(e->ref),
			    LB_REF_BACKEND(e->ref), now);
}

static __always_inline int lb_fast_flow(const int hook, const int family, const bool udp, void *ctx,
					const struct lb_fast *p)
{
	const __u32 l3_len = family == LB_V4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	struct lb_rewrite r = {.l4 = LB_ETH_LEN + l3_len, .udp = udp};
	const __u8 *ports = lb_ports_of(udp), *l4 = (const __u8 *)p->t.ports;
	const bool news = !udp && (l4[13] & (LB_TCP_FIN | LB_TCP_SYN | LB_TCP_RST));
	struct lb_conn_found e;
	int found;

	if (ports[lb_port(p->t.ports[1])] & (LB_PORT_EXACT | LB_PORT_ANY)) {
		if (news)
			return LB_AGAIN;
		if (lb_conn_find(family, false, true, &p->t, udp,
				 lb_tuple_hash(family, false, &p->t, udp), 0, &e) == LB_CONN_HIT)
			return lb_fast_forward(hook, family, udp, ctx, p, &e, &r);
	}
	if (ports[lb_port(p->t.ports[0])] & LB_PORT_BACKEND) {
		if (news)
			return LB_AGAIN;
		found = lb_conn_find(family, true, true, &p->t, udp,
				     lb_tuple_hash(family, true, &p->t, udp), 0, &e);
		if (found == LB_CONN_HIT)
			return lb_fast_reverse(hook, family, udp, ctx, p, &e, &r);
		if (found == LB_CONN_UNSURE)
			return LB_AGAIN;
	}
	if (lb_listen_maybe(family, &p->t, udp))
		return LB_AGAIN;
	/* Straight to a backend: see lb_slow_stop(). */
	if (news && (ports[lb_port(p->t.ports[1])] & LB_PORT_BACKEND))
		return LB_AGAIN;
	return lb_stop(hook, LB_REASON_NO_SERVICE);
}

/* `room`: what the frame holds from the IP header on. */
static __always_inline bool lb_fast_ip(const int family, struct lb_fast *p, void *l3, __u32 room)
{
	if (family == LB_V4) {
		struct iphdr *ip = l3;

		p->ip_len = bpf_ntohs(ip->tot_len);
		p->t.saddr = &ip->saddr;
		p->t.daddr = &ip->daddr;
		p->t.ports = (__be16 *)(ip + 1);
		return *(__u8 *)ip == 0x45 && !(ip->frag_off & (LB_IP_MF | LB_IP_OFFSET)) &&
		       ip->ttl > 1 && p->ip_len <= room;
	} else {
		struct ipv6hdr *ip = l3;

		p->ip_len = bpf_ntohs(ip->payload_len) + sizeof(*ip);
		p->t.saddr = (__be32 *)&ip->saddr;
		p->t.daddr = (__be32 *)&ip->daddr;
		p->t.ports = (__be16 *)(ip + 1);
		return *(__u8 *)ip >> 4 == 6 && ip->hop_limit > 1 && p->ip_len <= room;
	}
}

/* Do the L4 header's lengths agree with the IP header's? */
static __always_inline bool lb_fast_tcp(const struct lb_fast *p, __u32 l3_len)
{
	__u32 header = ((const __u8 *)p->t.ports)[12] >> 2 & 60;

	return header >= sizeof(struct tcphdr) && header + l3_len <= p->ip_len;
}

static __always_inline bool lb_fast_udp(const struct lb_fast *p, __u32 l3_len)
{
	__u32 len = bpf_ntohs(((const struct udphdr *)p->t.ports)->len);

	return len >= sizeof(struct udphdr) && len + l3_len == p->ip_len;
}

/* A verdict, or LB_AGAIN. `frame`: the whole frame's length. */
static __always_inline int lb_fast(const int hook, const int family, void *ctx, __u32 segments,
				   void *data, void *end, __u32 frame)
{
	const __u32 l3_len = family == LB_V4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	struct lb_fast p = {.data = data, .segments = segments};
	void *l3 = data + LB_ETH_LEN;
	__u8 proto;

	if (l3 + l3_len + sizeof(struct tcphdr) > end ||
	    !lb_fast_ip(family, &p, l3, frame - LB_ETH_LEN))
		return LB_AGAIN;
	proto = family == LB_V4 ? ((struct iphdr *)l3)->protocol : ((struct ipv6hdr *)l3)->nexthdr;
	if (likely(proto == IPPROTO_TCP))
		return likely(lb_fast_tcp(&p, l3_len)) ? lb_fast_flow(hook, family, false, ctx, &p)
						       : LB_AGAIN;
	if (proto != IPPROTO_UDP || !lb_fast_udp(&p, l3_len))
		return LB_AGAIN;
	return lb_fast_flow(hook, family, true, ctx, &p);
}

#endif
