/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * reset.h - a TCP reset in place of the packet at hand, back the way by which it came.
 *
 * A segment with ACK is answered by <SEQ=SEG.ACK><CTL=RST> (RFC 9293, 3.10.7.1): just what its
 * sender waits for, so that it believes it at once (RFC 5961, 3.2); a SYN by
 * <SEQ=0><ACK=SEG.SEQ+1><CTL=RST,ACK>. In the middle of a connection one without ACK is never
 * answered: a host drops it, too.
 */
#ifndef LB_RESET_H
#define LB_RESET_H

#include "common.h"
#include "conn.h"
#include "emit.h"
#include "rewrite.h"

#define LB_RESET_TTL         64
#define LB_RESET_LEN(family) (LB_TCP_AT(family) + sizeof(struct tcphdr))

/* The whole frame, as 16-bit words (Ethernet's header is 7 of them). */
struct lb_reset {
	__u16 word[LB_RESET_LEN(LB_V6) / 2];
} __attribute__((aligned(8)));

/* May one more be sent in this tick, by this CPU? Who floods us gets no flood back. Those that end
 * a connection of ours, the first of each, have a number of their own: anybody can bring the others
 * about, and whoever was told may go on sending. */
static __always_inline bool lb_reset_allowed(bool ours, __u32 now)
{
	__u32 zero = 0;
	struct lb_sent *s = bpf_map_lookup_elem(&lb_sent, &zero);

	if (!s)
		return false;
	if (s->tick != now) {
		s->tick = now;
		s->resets[0] = s->resets[1] = 0;
	}
	return s->resets[ours]++ < lb_resets_max;
}

static __always_inline __u32 lb_sum_words(const __u16 *word, const int n)
{
	__u32 sum = 0;
	int i;

#pragma unroll
	for (i = 0; i < n; i++)
		sum += word[i];
	return sum;
}

/* IP header with the packet's addresses turned round. Returns the sum of TCP's pseudo header. */
static __always_inline __u32 lb_reset_ip(const int family, const struct lb_packet *p, __u16 *ip)
{
	const __u16 *from = (const __u16 *)p->flow.daddr, *to = (const __u16 *)p->flow.saddr;
	const int words = family == LB_V4 ? 2 : 8, at = family == LB_V4 ? 6 : 4;

	if (family == LB_V4) {
		ip[0] = bpf_htons(0x4500);
		ip[1] = bpf_htons(sizeof(struct iphdr) + sizeof(struct tcphdr));
		ip[2] = 0;
		ip[3] = bpf_htons(0x4000); /* don't fragment */
		ip[4] = bpf_htons(LB_RESET_TTL << 8 | IPPROTO_TCP);
		ip[5] = 0;
	} else {
		ip[0] = bpf_htons(0x6000);
		ip[1] = 0;
		ip[2] = bpf_htons(sizeof(struct tcphdr));
		ip[3] = bpf_htons(IPPROTO_TCP << 8 | LB_RESET_TTL);
	}
	__builtin_memcpy(ip + at, from, words * 2);
	__builtin_memcpy(ip + at + words, to, words * 2);
	if (family == LB_V4)
		ip[5] = lb_csum_fold(lb_sum_words(ip, 10));
	return lb_sum_words(ip + at, 2 * words) + bpf_htons(IPPROTO_TCP) +
	       bpf_htons(sizeof(struct tcphdr));
}

/* All but MACs and TCP's checksum. Returns the sum of the pseudo header; *sum: of that and TCP. */
static __always_inline __u32 lb_reset_make(const int family, const struct lb_packet *p,
					   struct lb_reset *r, __u32 *sum)
{
	__u32 pseudo, opens = lb_is_syn(p), seq = opens ? 0 : p->ack;
	__u32 ack = opens ? bpf_htonl(bpf_ntohl(p->seq) + 1) : 0;
	__u16 *tcp = r->word + LB_TCP_AT(family) / 2;

	r->word[6] = family == LB_V4 ? LB_ETH_P_IP : LB_ETH_P_IPV6;
	pseudo = lb_reset_ip(family, p, r->word + LB_ETH_LEN / 2);
	tcp[0] = p->flow.dport;
	tcp[1] = p->flow.sport;
	tcp[2] = seq & 0xffff;
	tcp[3] = seq >> 16;
	tcp[4] = ack & 0xffff;
	tcp[5] = ack >> 16;
	tcp[6] = bpf_htons(sizeof(struct tcphdr) / 4 << 12 | LB_TCP_RST | (opens ? LB_TCP_ACK : 0));
	tcp[7] = 0;
	tcp[8] = 0;
	tcp[9] = 0;
	*sum = pseudo + lb_sum_words(tcp, sizeof(struct tcphdr) / 2);
	return pseudo;
}

static __always_inline void lb_reset_macs(struct lb_reset *r, const __u16 *eth)
{
	__builtin_memcpy(r->word, eth + 3, 6);
	__builtin_memcpy(r->word + 3, eth, 6);
}

/* The packet becomes the reset. False: the kernel refused. */
static __always_inline bool lb_reset_xdp(const int family, struct xdp_md *ctx,
					 const struct lb_packet *p)
{
	const int len = LB_RESET_LEN(family);
	void *data = (void *)(long)ctx->data;
	struct lb_reset r = {};
	__u32 sum;
	int i;

	if (data + LB_ETH_LEN > (void *)(long)ctx->data_end)
		return false;
	lb_reset_make(family, p, &r, &sum);
	lb_reset_macs(&r, data);
	r.word[LB_TCP_AT(family) / 2 + 8] = lb_csum_fold(sum);
	if (bpf_xdp_adjust_tail(ctx, len - (int)bpf_xdp_get_buff_len(ctx)))
		return false;
	data = (void *)(long)ctx->data;
	if (data + len > (void *)(long)ctx->data_end)
		return false;
#pragma unroll
	for (i = 0; i < len / 2; i++)
		((__u16 *)data)[i] = r.word[i];
	return true;
}

/*
 * The same for tc. Of a packet whose checksum the kernel was yet to complete (CHECKSUM_PARTIAL) the
 * field must hold the pseudo header's sum, of others the checksum; the helper tells them apart:
 * what it is asked to add without BPF_F_PSEUDO_HDR it adds to a complete one alone.
 */
static __always_inline bool lb_reset_tc(const int family, struct __sk_buff *skb,
					const struct lb_packet *p, bool *has_mac)
{
	const __u32 len = LB_RESET_LEN(family), check = LB_TCP_AT(family) + 16;
	void *data = (void *)(long)skb->data;
	struct lb_reset r = {};
	__u32 pseudo, sum;

	*has_mac = false;
	if (data + LB_ETH_LEN > (void *)(long)skb->data_end)
		return false;
	*has_mac = ((__u16 *)data)[3] | ((__u16 *)data)[4] | ((__u16 *)data)[5];
	pseudo = (__u16)~lb_csum_fold(lb_reset_make(family, p, &r, &sum));
	lb_reset_macs(&r, data);
	r.word[check / 2] = pseudo;
	return !bpf_skb_change_tail(skb, len, 0) &&
	       !bpf_skb_store_bytes(skb, 0, r.word, len, BPF_F_RECOMPUTE_CSUM) &&
	       !bpf_l4_csum_replace(skb, check, 0, sum + pseudo, 4);
}

/* Functions that the verifier checks once. 0: refused. LB_RESET_BACK: to be sent back to the MAC
 * from which the packet came; LB_RESET_ROUTED: that was lost (lb_tc_give_mac()), the kernel is to
 * find it. */
#define LB_RESET_BACK   1
#define LB_RESET_ROUTED 2

__noinline int lb_reset_xdp4(struct xdp_md *ctx, const struct lb_packet *p)
{
	return p && lb_reset_xdp(LB_V4, ctx, p) ? LB_RESET_BACK : 0;
}

__noinline int lb_reset_xdp6(struct xdp_md *ctx, const struct lb_packet *p)
{
	return p && lb_reset_xdp(LB_V6, ctx, p) ? LB_RESET_BACK : 0;
}

__noinline int lb_reset_tc4(struct __sk_buff *skb, const struct lb_packet *p)
{
	bool has_mac;

	if (!p || !lb_reset_tc(LB_V4, skb, p, &has_mac))
		return 0;
	return has_mac ? LB_RESET_BACK : LB_RESET_ROUTED;
}

__noinline int lb_reset_tc6(struct __sk_buff *skb, const struct lb_packet *p)
{
	bool has_mac;

	if (!p || !lb_reset_tc(LB_V6, skb, p, &has_mac))
		return 0;
	return has_mac ? LB_RESET_BACK : LB_RESET_ROUTED;
}

/*
 * Answers p by a reset, for `reason`, and closes its connection `e` (or NULL). Returns the hook's
 * verdict. XDP leaves the packet as it is to the tc program behind it where it cannot send.
 */
static __always_inline int lb_reset(const int hook, const int family, void *ctx,
				    const struct lb_packet *p, const struct lb_conn_found *e,
				    __u32 reason, __u32 now)
{
	__u32 ifindex = p->ifindex;
	struct lb_iface *iface =
		hook == LB_HOOK_XDP ? bpf_map_lookup_elem(&lb_ifaces, &ifindex) : NULL;
	int way = iface ? lb_xdp_way(ctx, ifindex, iface->flags) : 0, made;
	bool ours = (reason == LB_REASON_BACKEND_GONE_RESET ||
		     reason == LB_REASON_BACKEND_DRAINED_RESET) &&
		    e && LB_META_STATE(e->meta) != LB_CONN_CLOSED;

	if (hook == LB_HOOK_XDP && !way)
		return lb_stop(hook, LB_REASON_TO_TC);
	if (!lb_reset_allowed(ours, now))
		return lb_stop(hook, LB_REASON_RESET_LIMITED);
	if (hook == LB_HOOK_XDP)
		made = family == LB_V4 ? lb_reset_xdp4(ctx, p) : lb_reset_xdp6(ctx, p);
	else
		made = family == LB_V4 ? lb_reset_tc4(ctx, p) : lb_reset_tc6(ctx, p);
	if (!made)
		return lb_stop(hook, LB_REASON_REWRITE_FAILED);
	barrier_var(e); /* or its fields' addresses are made by `or`, which the verifier refuses */
	if (e)
		lb_conn_close(family, e->pos, e->meta, e->ref, now);
	lb_stop(hook, reason);
	if (way == XDP_TX)
		return XDP_TX;
	if (hook == LB_HOOK_TC && made == LB_RESET_ROUTED)
		return bpf_redirect_neigh(ifindex, NULL, 0, 0);
	return bpf_redirect(ifindex, 0);
}

#endif
