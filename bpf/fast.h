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

/* Is the entry alive in this tick already, and the packet no news? A UDP flow that nobody answers
 * (syslog, RTP) stays new: only an answer would be news. */
static __always_inline bool lb_conn_settled(const bool reverse, const bool udp,
					    const struct lb_packet *p, __u32 meta, __u32 now)
{
	__u32 at = LB_META(0, LB_META_STATE(meta), LB_META_TICK(meta));

	if (!udp)
		return at == LB_META(0, LB_CONN_ESTABLISHED, now) &&
		       !(p->tcp_flags & (LB_TCP_FIN | LB_TCP_SYN | LB_TCP_RST));
	return at == LB_META(0, LB_CONN_UDP, now) ||
	       (!reverse && at == LB_META(0, LB_CONN_UDP_NEW, now));
}

static __always_inline int lb_fast_emit_xdp(const int family, const bool reverse, const bool udp,
					    struct xdp_md *ctx, void *data, struct lb_packet *p,
					    const struct lb_rewrite *r, const struct lb_nexthop *nh,
					    __u32 backend)
{
	void *l4 = data + p->l4;
	__u32 sum = lb_csum_halves(lb_csum_addr(family, r));
	bool turns = lb_xdp_turns(ctx, nh);

	if (unlikely(!turns && !(nh->flags & LB_IFACE_XMIT)))
		return LB_AGAIN;
	if (udp)
		lb_rewrite_udp(reverse, l4, sum, r);
	else
		lb_rewrite_l4(reverse, l4, &((struct tcphdr *)l4)->check, sum, r);
	lb_rewrite_ip(family, reverse, data + LB_ETH_LEN, sum, r);
	lb_set_macs(data, nh);
	lb_count(backend, reverse, p);
	return lb_xdp_send(nh, turns);
}

static __always_inline int lb_fast_emit(const int hook, const int family, const bool reverse,
					const bool udp, void *ctx, void *data, struct lb_packet *p,
					const struct lb_rewrite *r, __u32 nexthop, __u32 backend)
{
	struct lb_nexthop *nh = lb_nexthop_get(nexthop & (LB_NEXTHOPS - 1));

	/* A GSO packet leaves in segments that fitted the sender's MTU. Id 0 has the MTU 0. */
	if (unlikely(!nh || (p->segments == 1 && p->ip_len > nh->mtu)))
		return LB_AGAIN;
	if (hook == LB_HOOK_XDP)
		return lb_fast_emit_xdp(family, reverse, udp, ctx, data, p, r, nh, backend);
	return nh->mtu ? lb_emit_tc(family, reverse, ctx, p, r, nh, backend) : LB_AGAIN;
}

static __always_inline int lb_fast_forward(const int hook, const int family, const bool udp,
					   void *ctx, void *data, struct lb_packet *p,
					   const struct lb_conn_found *e, __u32 now)
{
	__u32 id = LB_REF_BACKEND(e->ref), nexthop;
	struct lb_backend *b = lb_backend_get(id);
	struct lb_rewrite r;

	if (unlikely(!b || !lb_backend_holds(b, e->ref) ||
		     !lb_conn_settled(false, udp, p, e->meta, now)))
		return LB_AGAIN;
	nexthop = READ_ONCE(b->nexthop);
	if (unlikely(nexthop >> LB_NEXTHOP_BITS != now))
		return LB_AGAIN;
	lb_rewrite_forward(family, p, b, &r);
	return lb_fast_emit(hook, family, false, udp, ctx, data, p, &r, nexthop, id);
}

static __always_inline int lb_fast_reverse(const int hook, const int family, const bool udp,
					   void *ctx, void *data, struct lb_packet *p,
					   const struct lb_conn_found *e, __u32 now)
{
	struct lb_rewrite r;

	if (unlikely(!lb_conn_settled(true, udp, p, e->meta, now)))
		return LB_AGAIN;
	lb_rewrite_reverse(family, p, e, &r);
	return lb_fast_emit(hook, family, true, udp, ctx, data, p, &r, LB_REF_AUX(e->ref),
			    LB_REF_BACKEND(e->ref));
}

static __always_inline int lb_fast_flow(const int hook, const int family, const bool udp, void *ctx,
					void *data, struct lb_packet *p)
{
	const __u8 *ports = lb_ports_of(udp);
	struct lb_tuple t = lb_tuple_of(&p->flow);
	struct lb_conn_found e;
	bool to, from;
	__u32 now;
	__u64 hash;

	if (unlikely(!ports))
		return LB_AGAIN;
	to = ports[lb_port(p->flow.dport)] & (LB_PORT_EXACT | LB_PORT_ANY);
	from = ports[lb_port(p->flow.sport)] & LB_PORT_BACKEND;
	if (!to && !from)
		return lb_stop(hook, LB_REASON_NO_SERVICE);
	now = lb_now();
	hash = lb_tuple_hash(family, &t, udp);
	if (to && lb_conn_find(family, false, true, &t, udp, hash, now, &e))
		return lb_fast_forward(hook, family, udp, ctx, data, p, &e, now);
	if (from && lb_conn_find(family, true, true, &t, udp, hash, now, &e))
		return lb_fast_reverse(hook, family, udp, ctx, data, p, &e, now);
	return LB_AGAIN;
}

static __always_inline bool lb_fast_tcp(struct lb_packet *p, const void *l4, __u32 len)
{
	const __u8 *tcp = l4;
	__u32 header = tcp[12] >> 2 & 60;

	p->udp = 0;
	p->flow.ports = *(const __u32 *)l4;
	p->tcp_flags = tcp[13];
	return header >= sizeof(struct tcphdr) && header <= len;
}

static __always_inline bool lb_fast_udp(struct lb_packet *p, const void *l4, __u32 len)
{
	const struct udphdr *udp = l4;

	p->udp = 1;
	p->flow.ports = *(const __u32 *)l4;
	p->tcp_flags = 0;
	return len >= sizeof(*udp) && bpf_ntohs(udp->len) == len;
}

static __always_inline bool lb_fast_ip(const int family, struct lb_packet *p, void *l3, __u32 room)
{
	if (family == LB_V4) {
		struct iphdr *ip = l3;

		p->ip_len = bpf_ntohs(ip->tot_len);
		p->flow.saddr[0] = ip->saddr;
		p->flow.daddr[0] = ip->daddr;
		return *(__u8 *)ip == 0x45 && !(ip->frag_off & (LB_IP_MF | LB_IP_OFFSET)) &&
		       ip->ttl > 1 && p->ip_len >= sizeof(*ip) && p->ip_len <= room;
	} else {
		struct ipv6hdr *ip = l3;

		p->ip_len = bpf_ntohs(ip->payload_len) + sizeof(*ip);
		__builtin_memcpy(p->flow.saddr, &ip->saddr, 32);
		return *(__u8 *)ip >> 4 == 6 && ip->hop_limit > 1 && p->ip_len <= room;
	}
}

/* A verdict, or LB_AGAIN. `frame`: the whole frame's length. */
static __always_inline int lb_fast(const int hook, const int family, void *ctx, struct lb_packet *p,
				   void *data, void *end, __u32 frame)
{
	const __u32 header = family == LB_V4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	void *l3 = data + LB_ETH_LEN, *l4 = l3 + header;
	__u8 proto;

	p->family = family;
	p->l4 = LB_ETH_LEN + header;
	if (l4 + sizeof(struct tcphdr) > end || !lb_fast_ip(family, p, l3, frame - LB_ETH_LEN))
		return LB_AGAIN;
	proto = family == LB_V4 ? ((struct iphdr *)l3)->protocol : ((struct ipv6hdr *)l3)->nexthdr;
	if (likely(proto == IPPROTO_TCP)) {
		if (unlikely(!lb_fast_tcp(p, l4, p->ip_len - header)))
			return LB_AGAIN;
		return lb_fast_flow(hook, family, false, ctx, data, p);
	}
	if (proto != IPPROTO_UDP || !lb_fast_udp(p, l4, p->ip_len - header))
		return LB_AGAIN;
	return lb_fast_flow(hook, family, true, ctx, data, p);
}

#endif
