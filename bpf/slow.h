/* SPDX-License-Identifier: GPL-2.0-or-later */
/* slow.h - the slow way settles whatever comes: first packets, changes of state, the first packet
 * of a tick, unusual shapes. */
#ifndef LB_SLOW_H
#define LB_SLOW_H

#include "calls.h"
#include "common.h"
#include "conn.h"
#include "emit.h"
#include "nexthop.h"
#include "open.h"
#include "reset.h"
#include "track.h"

static __always_inline int lb_slow_emit_xdp(const int family, const bool reverse,
					    struct xdp_md *ctx, struct lb_packet *p,
					    const struct lb_rewrite *r, const struct lb_nexthop *nh,
					    __u32 backend)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	int way = lb_xdp_way(ctx, nh->ifindex, nh->flags);

	if (!way)
		return lb_stop(LB_HOOK_XDP, LB_REASON_TO_TC);
	if (!lb_rewrite_xdp(family, reverse, data, end, r))
		return lb_stop(LB_HOOK_XDP, LB_REASON_REWRITE_FAILED);
	lb_set_macs(data, nh);
	lb_count(backend, reverse, p->segments, p->ip_len);
	return lb_xdp_send(way, nh);
}

/* Sends p, translated by r, to a next hop. */
static __always_inline int lb_slow_emit(const int hook, const int family, const bool reverse,
					void *ctx, struct lb_packet *p, const struct lb_rewrite *r,
					__u32 nexthop, __u32 backend)
{
	struct lb_nexthop *nh = lb_nexthop_get(nexthop);
	__u32 zero = 0;

	if (nexthop & LB_NEXTHOP_SPARE)
		nh = bpf_map_lookup_elem(&lb_spare, &zero);
	if (!nh)
		return lb_stop(hook, LB_REASON_BAD_STATE);
	/* A GSO packet leaves in segments that fitted the sender's MTU. Generic XDP does not see
	 * whether it is one. */
	if (p->segments == 1 && p->ip_len > nh->mtu)
		return lb_stop(hook, hook == LB_HOOK_XDP ? LB_REASON_TO_TC : LB_REASON_TOO_BIG);
	if (hook == LB_HOOK_TC)
		return lb_emit_tc(family, reverse, ctx, p->segments, p->ip_len, r, nh, backend);
	if (nexthop & LB_NEXTHOP_VIA_TC)
		return lb_stop(hook, LB_REASON_TO_TC);
	return lb_slow_emit_xdp(family, reverse, ctx, p, r, nh, backend);
}

/* A packet that is not for us. A SYN straight to a backend, past the service, takes its flow over
 * from a connection that has ended: the answers would be taken for that one's. */
static __always_inline int lb_slow_stop(const int hook, const int family, struct lb_packet *p,
					__u32 reason, __u32 now)
{
	if ((reason == LB_REASON_NO_SERVICE || reason == LB_REASON_NOT_LOCAL) && lb_is_syn(p) &&
	    (lb_ports_of(0)[lb_port(p->flow.dport)] & LB_PORT_BACKEND))
		family == LB_V4 ? lb_conn_retire4(p, now) : lb_conn_retire6(p, now);
	return lb_stop(hook, reason);
}

/* The slow way from client to service. `e`: the connection's entry, or NULL for a new one. */
static __always_inline int lb_slow_forward(const int hook, const int family, void *ctx,
					   struct lb_packet *p, struct lb_conn_found *e,
					   __u32 ports, __u32 now)
{
	struct lb_rewrite r = {.l4 = p->l4, .udp = p->udp};
	struct lb_backend *b;
	struct lb_tuple t;
	int id = 0, nexthop;

	if (e) {
		__u32 was = e->meta;

		id = lb_track_forward(p, e, now);
		lb_affinity_note(family, p, e, false, was, now);
	}
	if (!id)
		id = lb_conn_open(family, ctx, p, ports, e != NULL, now);
	if (id == LB_STOP(LB_REASON_BACKEND_GONE_RESET) ||
	    id == LB_STOP(LB_REASON_NO_CONNECTION_RESET) ||
	    id == LB_STOP(LB_REASON_BACKENDS_FULL_RESET))
		return lb_reset(hook, family, ctx, p, e, LB_STOP_REASON(id), now);
	if (id < 0)
		return lb_slow_stop(hook, family, p, LB_STOP_REASON(id), now);
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
	t = lb_tuple_of(&p->flow);
	lb_rewrite_forward(family, &t, b, &r);
	return lb_slow_emit(hook, family, false, ctx, p, &r, nexthop, id);
}

static __always_inline int lb_slow_reverse(const int hook, const int family, void *ctx,
					   struct lb_packet *p, struct lb_conn_found *e, __u32 now)
{
	struct lb_rewrite r = {.l4 = p->l4, .udp = p->udp};
	struct lb_tuple t = lb_tuple_of(&p->flow);
	__u32 was = e->meta;
	int nexthop = lb_track_reverse(ctx, p, e, now);

	lb_affinity_note(family, p, e, true, was, now);
	if (nexthop == LB_STOP(LB_REASON_BACKEND_DRAINED_RESET))
		return lb_reset(hook, family, ctx, p, e, LB_REASON_BACKEND_DRAINED_RESET, now);
	if (nexthop < 0)
		return lb_stop(hook, LB_STOP_REASON(nexthop));
	lb_rewrite_reverse(family, &t, e, &r);
	return lb_slow_emit(hook, family, true, ctx, p, &r, nexthop, LB_REF_BACKEND(e->ref));
}

/* The slow way settles whatever comes: first packets, changes of state, the first of a tick. */
static __always_inline int lb_slow(const int hook, const int family, void *ctx, struct lb_packet *p)
{
	const __u8 *flags = lb_ports_of(p->udp);
	__u8 ports = flags[lb_port(p->flow.dport)] & (LB_PORT_EXACT | LB_PORT_ANY);
	bool from = flags[lb_port(p->flow.sport)] & LB_PORT_BACKEND, to, answers;
	struct lb_conn_found e = {};
	__u32 now = lb_now();

	to = ports && lb_find(family, p, false, now, &e);
	answers = from;
	from = !to && from && lb_find(family, p, true, now, &e);
	/* What may be an answer opens nothing: an older program may have its connection. */
	if (!to && !from)
		lb_go_former(hook, ctx, lb_is_syn(p) || (p->udp && !answers));
	if (!to && !from && !ports)
		return lb_slow_stop(hook, family, p, LB_REASON_NO_SERVICE, now);
	if ((to || from) && p->ttl <= 1)
		return lb_stop(hook, LB_REASON_TTL_EXPIRED);
	if (from)
		return lb_slow_reverse(hook, family, ctx, p, &e, now);
	return lb_slow_forward(hook, family, ctx, p, to ? &e : NULL, ports, now);
}

#endif
