/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * parse.h - frame to struct lb_packet. Each function returns 0, or LB_STOP(reason).
 *
 * `data` and `end` bound the linear part; `frame` is the whole frame's length, which is more where
 * a driver keeps the rest in fragments. Lengths are taken from the IP header, once checked.
 */
#ifndef LB_PARSE_H
#define LB_PARSE_H

#include "common.h"

#define LB_IP_MF     bpf_htons(0x2000)
#define LB_IP_OFFSET bpf_htons(0x1fff)

static __always_inline int lb_parse_tcp(struct lb_packet *p, struct tcphdr *tcp, void *end,
					__u32 room)
{
	if ((void *)(tcp + 1) > end || room < sizeof(*tcp))
		return LB_STOP(LB_REASON_MALFORMED);
	p->udp = 0;
	p->flow.ports = *(__u32 *)tcp;
	p->tcp_flags = ((__u8 *)tcp)[13];
	p->seq = tcp->seq;
	p->ack = tcp->ack_seq;
	if (unlikely(((__u8 *)tcp)[12] < 5 << 4 || (((__u8 *)tcp)[12] >> 4) * 4u > room))
		return LB_STOP(LB_REASON_MALFORMED);
	return 0;
}

static __always_inline int lb_parse_udp(struct lb_packet *p, struct udphdr *udp, void *end,
					__u32 room)
{
	if ((void *)(udp + 1) > end || room < sizeof(*udp))
		return LB_STOP(LB_REASON_MALFORMED);
	p->udp = 1;
	p->flow.ports = *(__u32 *)udp;
	p->tcp_flags = 0;
	/* 0 is the length of a GSO packet above 64 KiB (RFC 2675's convention). */
	if (!udp->len && p->segments > 1)
		return 0;
	if (unlikely(bpf_ntohs(udp->len) < sizeof(*udp) || bpf_ntohs(udp->len) > room))
		return LB_STOP(LB_REASON_MALFORMED);
	return 0;
}

static __always_inline int lb_parse_ipv4(struct lb_packet *p, void *data, void *end, __u32 frame)
{
	struct iphdr *ip = data + LB_ETH_LEN;
	__u32 header;

	if ((void *)(ip + 1) > end)
		return LB_STOP(LB_REASON_MALFORMED);
	header = *(__u8 *)ip;
	if (unlikely(header < 0x45 || header > 0x4f)) /* version 4, at least 5 words */
		return LB_STOP(LB_REASON_MALFORMED);
	barrier_var(header);
	header = (header & 15) * 4;
	p->ip_len = bpf_ntohs(ip->tot_len);
	if (unlikely(!p->ip_len && p->segments > 1))
		p->ip_len = frame - LB_ETH_LEN;
	if (unlikely(p->ip_len > frame - LB_ETH_LEN || p->ip_len < header))
		return LB_STOP(LB_REASON_MALFORMED);
	if (unlikely(ip->frag_off & (LB_IP_MF | LB_IP_OFFSET)))
		return LB_STOP(LB_REASON_FRAGMENT);
	p->flow.saddr[0] = ip->saddr;
	p->flow.daddr[0] = ip->daddr;
	p->ttl = ip->ttl;
	p->l4 = LB_ETH_LEN + header;
	if (likely(ip->protocol == IPPROTO_TCP))
		return lb_parse_tcp(p, (void *)ip + header, end, p->ip_len - header);
	if (ip->protocol == IPPROTO_UDP)
		return lb_parse_udp(p, (void *)ip + header, end, p->ip_len - header);
	return LB_STOP(LB_REASON_NOT_TCP_UDP);
}

#define LB_EXT_HOPOPTS  0
#define LB_EXT_ROUTING  43
#define LB_EXT_FRAGMENT 44
#define LB_EXT_DSTOPTS  60
#define LB_EXT_MAX      4   /* headers that are skipped */
#define LB_EXT_BYTES    256 /* that they may take together */

/* Skips extension headers (RFC 8200, 4). Returns the upper protocol with *at set to its offset. */
static __always_inline int lb_parse_ext(void *data, void *end, __u8 next, __u32 *at)
{
	__u32 off = LB_ETH_LEN + sizeof(struct ipv6hdr);
	int i;

	for (i = 0; i < LB_EXT_MAX + 1; i++) {
		__u8 *ext = data + off;

		if (next == IPPROTO_TCP || next == IPPROTO_UDP) {
			*at = off;
			return next;
		}
		if (next != LB_EXT_HOPOPTS && next != LB_EXT_ROUTING && next != LB_EXT_DSTOPTS &&
		    next != LB_EXT_FRAGMENT)
			return LB_STOP(LB_REASON_NOT_TCP_UDP);
		if ((void *)(ext + 8) > end)
			return LB_STOP(LB_REASON_MALFORMED);
		if (next == LB_EXT_FRAGMENT)
			return LB_STOP(LB_REASON_FRAGMENT);
		if (next == LB_EXT_ROUTING && ext[3]) /* segments left: not its last stop */
			return LB_STOP(LB_REASON_EXT_HEADER);
		next = ext[0];
		off += (ext[1] + 1) * 8;
		if (off > LB_ETH_LEN + sizeof(struct ipv6hdr) + LB_EXT_BYTES)
			break;
	}
	return LB_STOP(LB_REASON_EXT_HEADER);
}

static __always_inline int lb_parse_ipv6(struct lb_packet *p, void *data, void *end, __u32 frame)
{
	struct ipv6hdr *ip = data + LB_ETH_LEN;
	__u32 at = LB_ETH_LEN + sizeof(*ip), room;
	int next;

	if ((void *)(ip + 1) > end)
		return LB_STOP(LB_REASON_MALFORMED);
	if (unlikely(*(__u8 *)ip >> 4 != 6))
		return LB_STOP(LB_REASON_MALFORMED);
	p->ip_len = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	if (unlikely(!ip->payload_len && p->segments > 1))
		p->ip_len = frame - LB_ETH_LEN;
	if (unlikely(p->ip_len > frame - LB_ETH_LEN))
		return LB_STOP(LB_REASON_MALFORMED);
	__builtin_memcpy(p->flow.saddr, &ip->saddr, 32);
	p->ttl = ip->hop_limit;
	next = ip->nexthdr;
	if (unlikely(next != IPPROTO_TCP && next != IPPROTO_UDP)) {
		next = lb_parse_ext(data, end, next, &at);
		if (next < 0)
			return next;
		if (at > LB_ETH_LEN + sizeof(*ip) + LB_EXT_BYTES)
			return LB_STOP(LB_REASON_EXT_HEADER);
	}
	p->l4 = at;
	room = p->ip_len + LB_ETH_LEN - at;
	if (unlikely(p->ip_len + LB_ETH_LEN < at))
		return LB_STOP(LB_REASON_MALFORMED);
	if (likely(next == IPPROTO_TCP))
		return lb_parse_tcp(p, data + at, end, room);
	return lb_parse_udp(p, data + at, end, room);
}

#endif
