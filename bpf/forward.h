/* SPDX-License-Identifier: GPL-2.0-or-later */
/* forward.h - a packet's way through the stages: one text for both hooks, a fast and a slow way. */
#ifndef LB_FORWARD_H
#define LB_FORWARD_H

#include "common.h"
#include "conn.h"
#include "nexthop.h"
#include "rewrite.h"
#include "track.h"

static __always_inline void lb_count(__u32 id, const int direction, const struct lb_packet *p)
{
	struct lb_counters *c = bpf_map_lookup_elem(&lb_backend_stats, &id);

	if (c) {
		c->packets[direction] += p->segments;
		c->bytes[direction] += p->ip_len;
	}
}

/* MACs of the next hop into the Ethernet header. */
static __always_inline void lb_set_macs(void *data, const struct lb_nexthop *nh)
{
	struct ethhdr *eth = data;

	__builtin_memcpy(eth->h_dest, nh->dmac, 6);
	__builtin_memcpy(eth->h_source, nh->smac, 6);
}

/* Can XDP itself send to this next hop? A veth may XMIT onto itself but not TX. */
static __always_inline bool lb_xdp_sends(const struct lb_packet *p, const struct lb_nexthop *nh)
{
	return nh->flags &
	       (nh->ifindex == p->ifindex ? LB_IFACE_XMIT | LB_IFACE_TX : LB_IFACE_XMIT);
}

static __always_inline int lb_emit_xdp(const int family, const bool reverse, struct xdp_md *ctx,
				       struct lb_packet *p, const struct lb_rewrite *r,
				       const struct lb_nexthop *nh, __u32 backend)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (!lb_rewrite_xdp(family, reverse, data, end, r))
		return lb_stop(LB_HOOK_XDP, LB_REASON_REWRITE_FAILED);
	lb_set_macs(data, nh);
	lb_count(backend, reverse, p);
	if (nh->ifindex == p->ifindex && (nh->flags & LB_IFACE_TX))
		return XDP_TX;
	return bpf_redirect(nh->ifindex, 0);
}

static __always_inline int lb_emit_tc(const int family, const bool reverse, struct __sk_buff *skb,
				      struct lb_packet *p, const struct lb_rewrite *r,
				      const struct lb_nexthop *nh, __u32 backend)
{
	struct bpf_redir_neigh to = {};

	if (!lb_rewrite_tc(family, reverse, skb, r))
		return lb_stop(LB_HOOK_TC, LB_REASON_REWRITE_FAILED);
	lb_count(backend, reverse, p);
	to.nh_family = nh->gateway_family == LB_V4 ? LB_AF_INET : LB_AF_INET6;
	if (nh->gateway_family == LB_V4)
		to.ipv4_nh = lb_addr_word(&nh->gateway, 3);
	else
		__builtin_memcpy(to.ipv6_nh, nh->gateway.b, 16);
	return bpf_redirect_neigh(nh->ifindex, &to, sizeof(to), 0);
}

/* Cannot be settled here: the packet, untouched and uncounted, starts again on the slow way. */
#define LB_AGAIN (-2)

/* Sends p, translated by r, to a next hop. `fast`: only if nothing is in the way. */
static __always_inline int lb_emit(const int hook, const int family, const bool reverse,
				   const bool fast, void *ctx, struct lb_packet *p,
				   const struct lb_rewrite *r, __u32 nexthop, __u32 backend)
{
	struct lb_nexthop *nh = lb_nexthop_get(nexthop & (LB_NEXTHOPS - 1));

	if (unlikely(!nh || !(nexthop & (LB_NEXTHOPS - 1)))) {
		/* More next hops than the table holds. */
		if (fast)
			return LB_AGAIN;
		return lb_stop(hook, hook == LB_HOOK_XDP ? LB_REASON_TO_TC : LB_REASON_NO_ROUTE);
	}
	/* A GSO packet leaves in segments that fitted the sender's MTU. */
	if (unlikely(p->segments == 1 && p->ip_len > nh->mtu))
		return fast ? LB_AGAIN : lb_stop(hook, LB_REASON_TOO_BIG);
	if (hook == LB_HOOK_TC)
		return lb_emit_tc(family, reverse, ctx, p, r, nh, backend);
	if (unlikely((nexthop & LB_NEXTHOP_VIA_TC) || !lb_xdp_sends(p, nh)))
		return fast ? LB_AGAIN : lb_stop(hook, LB_REASON_TO_TC);
	return lb_emit_xdp(family, reverse, ctx, p, r, nh, backend);
}

/* Client to service: the destination becomes the backend. */
static __always_inline void lb_rewrite_forward(const int family, const struct lb_packet *p,
					       const struct lb_backend *b, struct lb_rewrite *r)
{
	r->from[0] = p->flow.daddr[0];
	r->to[0] = lb_addr_word(&b->addr, family == LB_V4 ? 3 : 0);
	if (family == LB_V6) {
		r->from[1] = p->flow.daddr[1];
		r->from[2] = p->flow.daddr[2];
		r->from[3] = p->flow.daddr[3];
		r->to[1] = lb_addr_word(&b->addr, 1);
		r->to[2] = lb_addr_word(&b->addr, 2);
		r->to[3] = lb_addr_word(&b->addr, 3);
	}
	r->from_port = p->flow.dport;
	r->to_port = b->port;
	r->l4 = p->l4;
	r->udp = p->udp;
}

/* Backend to client: the source becomes the service again. */
static __always_inline void lb_rewrite_reverse(const int family, const struct lb_packet *p,
					       const struct lb_conn_found *e, struct lb_rewrite *r)
{
	r->from[0] = p->flow.saddr[0];
	r->to[0] = e->service[0];
	if (family == LB_V6) {
		r->from[1] = p->flow.saddr[1];
		r->from[2] = p->flow.saddr[2];
		r->from[3] = p->flow.saddr[3];
		r->to[1] = e->service[1];
		r->to[2] = e->service[2];
		r->to[3] = e->service[3];
	}
	r->from_port = p->flow.sport;
	r->to_port = e->sport;
	r->l4 = p->l4;
	r->udp = p->udp;
}

/* Nothing to note about a packet of this connection but that it was there, in this tick already? A
 * UDP flow that nobody answers (syslog, RTP) stays new: only an answer would be news. */
static __always_inline bool lb_conn_settled(const bool reverse, const struct lb_packet *p,
					    __u32 meta, __u32 now)
{
	__u32 state = LB_META_STATE(meta);

	if (LB_META_TICK(meta) != now)
		return false;
	if (p->udp)
		return state == LB_CONN_UDP || (!reverse && state == LB_CONN_UDP_NEW);
	return state == LB_CONN_ESTABLISHED &&
	       !(p->tcp_flags & (LB_TCP_FIN | LB_TCP_SYN | LB_TCP_RST));
}

/* lb_ports' flags of one port (network order). */
static __always_inline __u8 lb_port_flags(__u32 proto, __be16 port)
{
	__u32 zero = 0, at = bpf_ntohs(port);
	struct lb_ports *ports = bpf_map_lookup_elem(&lb_ports, &zero);

	if (!ports)
		return 0;
	barrier_var(at); /* Linux 6.1 does not know that a byte swap of 16 bits leaves 16 */
	return ports->flags[proto & 1][at & 0xffff];
}

/* May it be for a service, or from a backend? */
static __always_inline __u8 lb_port_to(const struct lb_packet *p)
{
	return lb_port_flags(p->udp, p->flow.dport) & (LB_PORT_EXACT | LB_PORT_ANY);
}

static __always_inline __u8 lb_port_from(const struct lb_packet *p)
{
	return lb_port_flags(p->udp, p->flow.sport) & LB_PORT_BACKEND;
}

/*
 * The fast way: nobody's packets, and packets of open connections about which nothing is to be
 * noted. It calls nothing that takes an address, so that the packet stays in registers.
 */
static __always_inline int lb_fast(const int hook, const int family, void *ctx, struct lb_packet *p)
{
	struct lb_conn_found e;
	struct lb_conn_hash hash;
	struct lb_backend *b;
	struct lb_rewrite r;
	__u32 now, nexthop, id;
	__u8 to = lb_port_to(p);

	if (!to && !lb_port_from(p))
		return lb_stop(hook, LB_REASON_NO_SERVICE);
	hash = lb_conn_hash(family, &p->flow, p->udp);
	now = lb_now();
	if (to && lb_conn_find_fast(family, false, &p->flow, p->udp, &hash, now, &e)) {
		id = LB_REF_BACKEND(e.ref);
		b = lb_backend_get(id);
		if (unlikely(!b || !lb_backend_holds(b, e.ref) ||
			     !lb_conn_settled(false, p, e.meta, now)))
			return LB_AGAIN;
		nexthop = READ_ONCE(b->nexthop);
		if (unlikely(nexthop >> LB_NEXTHOP_BITS != now))
			return LB_AGAIN;
		lb_rewrite_forward(family, p, b, &r);
		return lb_emit(hook, family, false, true, ctx, p, &r, nexthop & (LB_NEXTHOPS - 1),
			       id);
	}
	if ((!to || lb_port_from(p)) &&
	    lb_conn_find_fast(family, true, &p->flow, p->udp, &hash, now, &e)) {
		if (unlikely(!lb_conn_settled(true, p, e.meta, now)))
			return LB_AGAIN;
		lb_rewrite_reverse(family, p, &e, &r);
		return lb_emit(hook, family, true, true, ctx, p, &r, LB_REF_AUX(e.ref),
			       LB_REF_BACKEND(e.ref));
	}
	return LB_AGAIN;
}

/* The slow way from client to service. `e`: the connection's entry, or NULL for a new one. */
static __always_inline int lb_slow_forward(const int hook, const int family, void *ctx,
					   struct lb_packet *p, struct lb_conn_found *e,
					   __u32 ports, __u32 now)
{
	struct lb_backend *b;
	struct lb_rewrite r;
	int id, nexthop;

	id = e ? lb_track_forward(p, e, now) : 0;
	if (!id)
		id = lb_conn_open(ctx, p, ports, now);
	if (id < 0)
		return lb_stop(hook, LB_STOP_REASON(id));
	b = lb_backend_get(id);
	if (!b)
		return lb_stop(hook, LB_REASON_BAD_STATE);
	nexthop = READ_ONCE(b->nexthop);
	if (nexthop && (__u32)nexthop >> LB_NEXTHOP_BITS == now) {
		nexthop &= LB_NEXTHOPS - 1;
	} else {
		nexthop = lb_backend_nexthop(ctx, p, id, now);
		if (nexthop < 0)
			return lb_stop(hook, LB_STOP_REASON(nexthop));
	}
	lb_rewrite_forward(family, p, b, &r);
	return lb_emit(hook, family, false, false, ctx, p, &r, nexthop, id);
}

static __always_inline int lb_slow_reverse(const int hook, const int family, void *ctx,
					   struct lb_packet *p, struct lb_conn_found *e, __u32 now)
{
	struct lb_rewrite r;
	int nexthop = lb_track_reverse(ctx, p, e, now);

	if (nexthop < 0)
		return lb_stop(hook, LB_STOP_REASON(nexthop));
	lb_rewrite_reverse(family, p, e, &r);
	return lb_emit(hook, family, true, false, ctx, p, &r, nexthop, LB_REF_BACKEND(e->ref));
}

/* The slow way settles whatever comes: first packets, changes of state, the first of a tick. */
static __always_inline int lb_slow(const int hook, const int family, void *ctx, struct lb_packet *p)
{
	__u8 ports = lb_port_to(p);
	struct lb_conn_found e = {};
	struct lb_conn_hash hash = {};
	__u32 now = lb_now();
	bool to, from = false;

	to = ports && lb_find(&p->flow, lb_find_kind(p, false), now, &hash, &e);
	if (!to && lb_port_from(p))
		from = lb_find(&p->flow, lb_find_kind(p, true), now, &hash, &e);
	if (!to && !from && !ports)
		return lb_stop(hook, LB_REASON_NO_SERVICE);
	if ((to || from) && p->ttl <= 1)
		return lb_stop(hook, LB_REASON_TTL_EXPIRED);
	if (from)
		return lb_slow_reverse(hook, family, ctx, p, &e, now);
	return lb_slow_forward(hook, family, ctx, p, to ? &e : NULL, ports, now);
}

#endif
