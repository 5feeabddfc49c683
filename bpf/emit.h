/* SPDX-License-Identifier: GPL-2.0-or-later */
/* emit.h - what both ways share at their end: the translation, the counters, the way out. */
#ifndef LB_EMIT_H
#define LB_EMIT_H

#include "common.h"
#include "conn.h"
#include "nexthop.h"
#include "rewrite.h"

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
	*(__u64 *)data = *(const __u64 *)nh->dmac;
	*(__u32 *)(data + 8) = *(const __u32 *)(nh->dmac + 8);
}
_Static_assert(__builtin_offsetof(struct lb_nexthop, dmac) % 8 == 0 &&
		       __builtin_offsetof(struct lb_nexthop, smac) ==
			       __builtin_offsetof(struct lb_nexthop, dmac) + 6,
	       "lb_set_macs copies both at once");

/* How XDP sends to this next hop. A veth may XMIT onto itself but not TX. */
static __always_inline bool lb_xdp_turns(const struct xdp_md *ctx, const struct lb_nexthop *nh)
{
	return (nh->flags & LB_IFACE_TX) && nh->ifindex == ctx->ingress_ifindex;
}

static __always_inline int lb_xdp_send(const struct lb_nexthop *nh, bool turns)
{
	return turns ? XDP_TX : (int)bpf_redirect(nh->ifindex, 0);
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

#endif
