/* SPDX-License-Identifier: GPL-2.0-or-later */
/* emit.h - what both ways share at their end: the translation, the counters, the way out. */
#ifndef LB_EMIT_H
#define LB_EMIT_H

#include "common.h"
#include "conn.h"
#include "nexthop.h"
#include "rewrite.h"

/* segments: packets on the wire. */
static __always_inline void lb_count(__u32 id, const int direction, __u32 segments, __u32 ip_len)
{
	struct lb_counters *c = bpf_map_lookup_elem(&lb_backend_stats, &id);

	if (c) {
		c->packets[direction] += segments;
		c->bytes[direction] += ip_len;
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

/* How XDP sends out of an interface: XDP_TX back to where the packet came from, XDP_REDIRECT, or 0:
 * it cannot. `flags`: LB_IFACE_*. A veth may XMIT onto itself but not TX. */
static __always_inline int lb_xdp_way(const struct xdp_md *ctx, __u32 ifindex, __u8 flags)
{
	if ((flags & LB_IFACE_TX) && ifindex == ctx->ingress_ifindex)
		return XDP_TX;
	return flags & LB_IFACE_XMIT ? XDP_REDIRECT : 0;
}

static __always_inline int lb_xdp_send(int way, const struct lb_nexthop *nh)
{
	return way == XDP_TX ? XDP_TX : (int)bpf_redirect(nh->ifindex, 0);
}

static __always_inline int lb_emit_tc(const int family, const bool reverse, struct __sk_buff *skb,
				      __u32 segments, __u32 ip_len, const struct lb_rewrite *r,
				      const struct lb_nexthop *nh, __u32 backend)
{
	struct bpf_redir_neigh to = {};

	if (!lb_rewrite_tc(family, reverse, skb, r))
		return lb_stop(LB_HOOK_TC, LB_REASON_REWRITE_FAILED);
	lb_count(backend, reverse, segments, ip_len);
	to.nh_family = nh->gateway_family == LB_V4 ? LB_AF_INET : LB_AF_INET6;
	if (nh->gateway_family == LB_V4)
		to.ipv4_nh = lb_addr_word(&nh->gateway, 3);
	else
		__builtin_memcpy(to.ipv6_nh, nh->gateway.b, 16);
	return bpf_redirect_neigh(nh->ifindex, &to, sizeof(to), 0);
}

/* Client to service: the destination becomes the backend. */
static __always_inline void lb_rewrite_forward(const int family, const struct lb_tuple *t,
					       const struct lb_backend *b, struct lb_rewrite *r)
{
	r->from[0] = t->daddr[0];
	r->to[0] = lb_addr_word(&b->addr, family == LB_V4 ? 3 : 0);
	if (family == LB_V6) {
		r->from[1] = t->daddr[1];
		r->from[2] = t->daddr[2];
		r->from[3] = t->daddr[3];
		r->to[1] = lb_addr_word(&b->addr, 1);
		r->to[2] = lb_addr_word(&b->addr, 2);
		r->to[3] = lb_addr_word(&b->addr, 3);
	}
	r->from_port = t->ports[1];
	r->to_port = b->port;
}

/* Backend to client: the source becomes the service again. */
static __always_inline void lb_rewrite_reverse(const int family, const struct lb_tuple *t,
					       const struct lb_conn_found *e, struct lb_rewrite *r)
{
	r->from[0] = t->saddr[0];
	r->to[0] = e->service[0];
	if (family == LB_V6) {
		r->from[1] = t->saddr[1];
		r->from[2] = t->saddr[2];
		r->from[3] = t->saddr[3];
		r->to[1] = e->service[1];
		r->to[2] = e->service[2];
		r->to[3] = e->service[3];
	}
	r->from_port = t->ports[0];
	r->to_port = e->sport;
}

#endif
