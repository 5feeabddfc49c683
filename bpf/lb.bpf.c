/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lb.bpf.c - the programs: how each hook reads a packet, and the table that `cat` shows. */
#include "calls.h"
#include "common.h"
#include "fast.h"
#include "parse.h"
#include "show.h"
#include "slow.h"

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

/* A frame whose family is known, by the slow way. */
static __always_inline int lb_run_slow(const int hook, const int family, void *ctx,
				       struct lb_packet *p, void *data, void *end, __u32 frame)
{
	int rc;

	p->family = family;
	rc = family == LB_V4 ? lb_parse_ipv4(p, data, end, frame)
			     : lb_parse_ipv6(p, data, end, frame);
	if (rc)
		return lb_stop(hook, LB_STOP_REASON(rc));
	return lb_slow(hook, family, ctx, p);
}

static __always_inline __u32 lb_segments(const struct __sk_buff *skb)
{
	__u32 segments = skb->gso_segs, size = skb->gso_size;

	/* Not counted yet where a guest or a tun made the packet (SKB_GSO_DODGY). */
	if (unlikely(!segments && size))
		segments = (skb->len + size - 1) / size;
	return segments > 1 ? segments : 1;
}

static __always_inline int lb_xdp_slow(const int family, struct xdp_md *ctx)
{
	struct lb_packet p = {.segments = 1, .ifindex = ctx->ingress_ifindex};

	/* The whole frame: with xdp.frags the linear part may be but its beginning. */
	return lb_run_slow(LB_HOOK_XDP, family, ctx, &p, (void *)(long)ctx->data,
			   (void *)(long)ctx->data_end, bpf_xdp_get_buff_len(ctx));
}

static __always_inline int lb_tc_slow(const int family, struct __sk_buff *skb)
{
	struct lb_packet p = {.segments = lb_segments(skb), .ifindex = skb->ifindex};

	return lb_run_slow(LB_HOOK_TC, family, skb, &p, (void *)(long)skb->data,
			   (void *)(long)skb->data_end, skb->len);
}

SEC("xdp.frags")
int meshlb_xdp_slow4(struct xdp_md *ctx)
{
	return lb_xdp_slow(LB_V4, ctx);
}

SEC("xdp.frags")
int meshlb_xdp_slow6(struct xdp_md *ctx)
{
	return lb_xdp_slow(LB_V6, ctx);
}

SEC("tc")
int meshlb_tc_slow4(struct __sk_buff *skb)
{
	return lb_tc_slow(LB_V4, skb);
}

SEC("tc")
int meshlb_tc_slow6(struct __sk_buff *skb)
{
	return lb_tc_slow(LB_V6, skb);
}

SEC("xdp.frags")
int meshlb_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	int family, verdict;

	if (data + LB_ETH_LEN > end)
		return lb_stop(LB_HOOK_XDP, LB_REASON_NOT_IP);
	family = lb_parse_eth(data);
	if (family < 0)
		return lb_stop(LB_HOOK_XDP, LB_STOP_REASON(family));
	verdict = family == LB_V4 ? lb_fast(LB_HOOK_XDP, LB_V4, ctx, 1, data, end, end - data)
				  : lb_fast(LB_HOOK_XDP, LB_V6, ctx, 1, data, end, end - data);
	if (likely(verdict != LB_AGAIN))
		return verdict;
	LB_GO_SLOW(ctx, lb_slow_xdp, family);
	return lb_stop(LB_HOOK_XDP, LB_REASON_BAD_STATE);
}

/* Headers that the parser may need in the linear part. */
#define LB_PULL (LB_ETH_LEN + 60 + 20)

/* Since Linux 6.9 generic XDP may copy a packet (skb_pp_cow_data()) and forget skb->mac_len: then
 * the data begins at the IP header here. Puts an Ethernet header in front again. */
static __always_inline bool lb_tc_lacks_mac(struct __sk_buff *skb, const struct ethhdr *eth)
{
	return (skb->protocol == LB_ETH_P_IP || skb->protocol == LB_ETH_P_IPV6) &&
	       eth->h_proto != skb->protocol;
}

static __noinline int lb_tc_give_mac(struct __sk_buff *skb)
{
	__u16 protocol = skb->protocol;

	return bpf_skb_change_head(skb, LB_ETH_LEN, 0) ||
	       bpf_skb_store_bytes(skb, LB_ETH_LEN - 2, &protocol, 2, 0);
}

SEC("tc")
int meshlb_tc(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	int family, verdict;

	if (unlikely(data + LB_PULL > end && skb->len > end - data)) {
		bpf_skb_pull_data(skb, skb->len < LB_PULL ? skb->len : LB_PULL);
		data = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
	}
	if (data + LB_ETH_LEN > end)
		return lb_stop(LB_HOOK_TC, LB_REASON_NOT_IP);
	if (unlikely(lb_tc_lacks_mac(skb, data))) {
		if (lb_tc_give_mac(skb))
			return lb_stop(LB_HOOK_TC, LB_REASON_REWRITE_FAILED);
		data = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
		if (data + LB_ETH_LEN > end)
			return lb_stop(LB_HOOK_TC, LB_REASON_NOT_IP);
	}
	if (unlikely(skb->pkt_type)) /* not PACKET_HOST */
		return lb_stop(LB_HOOK_TC, LB_REASON_NOT_UNICAST);
	if (unlikely(skb->vlan_present))
		return lb_stop(LB_HOOK_TC, LB_REASON_VLAN);
	family = lb_parse_eth(data);
	if (family < 0)
		return lb_stop(LB_HOOK_TC, LB_STOP_REASON(family));
	verdict = family == LB_V4
			  ? lb_fast(LB_HOOK_TC, LB_V4, skb, lb_segments(skb), data, end, skb->len)
			  : lb_fast(LB_HOOK_TC, LB_V6, skb, lb_segments(skb), data, end, skb->len);
	if (likely(verdict != LB_AGAIN))
		return verdict;
	LB_GO_SLOW(skb, lb_slow_tc, family);
	return lb_stop(LB_HOOK_TC, LB_REASON_BAD_STATE);
}

SEC("tc")
int meshlb_sweeper(struct __sk_buff *skb)
{
	(void)skb;
	return lb_sweeper_start();
}
