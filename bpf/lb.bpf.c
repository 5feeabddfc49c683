/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lb.bpf.c - the programs: how each hook reads a packet, and the table that `cat` shows. */
#include "common.h"
#include "forward.h"
#include "parse.h"
#include "show.h"

char LICENSE[] SEC("license") = "GPL";

/* Ethernet header to family, or LB_STOP(). */
static __always_inline int lb_parse_eth(const struct ethhdr *eth)
{
	if (unlikely(eth->h_dest[0] & 1))
		return LB_STOP(LB_REASON_NOT_UNICAST);
	if (eth->h_proto == LB_ETH_P_IP)
		return LB_V4;
	if (eth->h_proto == LB_ETH_P_IPV6)
		return LB_V6;
	if (eth->h_proto == LB_ETH_P_8021Q || eth->h_proto == LB_ETH_P_8021AD)
		return LB_STOP(LB_REASON_VLAN);
	return LB_STOP(LB_REASON_NOT_IP);
}

static __always_inline int lb_handle_family(const int hook, const int family, void *ctx,
					    struct lb_packet *p, void *data, void *end, __u32 frame)
{
	int rc;

	p->family = family;
	p->hook = hook;
	rc = family == LB_V4 ? lb_parse_ipv4(p, data, end, frame) :
			       lb_parse_ipv6(p, data, end, frame);
	if (unlikely(rc))
		return lb_stop(hook, LB_STOP_REASON(rc));
	/* A GSO packet leaves in segments that fitted the sender's MTU. */
	if (p->segments == 1)
		p->segment_len = p->ip_len;
	return lb_handle(hook, family, ctx, p, lb_ttl_ok(family, data));
}

SEC("xdp.frags")
int meshlb_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct lb_packet p = { .segments = 1 };
	struct ethhdr *eth = data;
	__u32 frame = end - data;
	int family;

	if ((void *)(eth + 1) > end)
		return lb_stop(LB_HOOK_XDP, LB_REASON_NOT_IP);
	p.ifindex = ctx->ingress_ifindex;
	family = lb_parse_eth(eth);
	if (family == LB_V4)
		return lb_handle_family(LB_HOOK_XDP, LB_V4, ctx, &p, data, end, frame);
	if (family == LB_V6)
		return lb_handle_family(LB_HOOK_XDP, LB_V6, ctx, &p, data, end, frame);
	return lb_stop(LB_HOOK_XDP, LB_STOP_REASON(family));
}

/* Headers that the parser may need in the linear part. */
#define LB_PULL (LB_ETH_LEN + 60 + 20)

SEC("tc")
int meshlb_tc(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct lb_packet p = { .segments = 1 };
	struct ethhdr *eth = data;
	int family;

	if (unlikely(data + LB_PULL > end && skb->len > end - data)) {
		bpf_skb_pull_data(skb, skb->len < LB_PULL ? skb->len : LB_PULL);
		data = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
		eth = data;
	}
	if ((void *)(eth + 1) > end)
		return lb_stop(LB_HOOK_TC, LB_REASON_NOT_IP);
	if (unlikely(skb->pkt_type)) /* not PACKET_HOST */
		return lb_stop(LB_HOOK_TC, LB_REASON_NOT_UNICAST);
	if (unlikely(skb->vlan_present))
		return lb_stop(LB_HOOK_TC, LB_REASON_VLAN);
	p.ifindex = skb->ifindex;
	if (skb->gso_segs > 1)
		p.segments = skb->gso_segs;
	family = lb_parse_eth(eth);
	if (family == LB_V4)
		return lb_handle_family(LB_HOOK_TC, LB_V4, skb, &p, data, end, skb->len);
	if (family == LB_V6)
		return lb_handle_family(LB_HOOK_TC, LB_V6, skb, &p, data, end, skb->len);
	return lb_stop(LB_HOOK_TC, LB_STOP_REASON(family));
}
