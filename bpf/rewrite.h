/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rewrite.h - gives a packet its new address and port, counts down its TTL, keeps checksums right.
 *
 * XDP computes checksums itself, incrementally (RFC 1624). tc leaves the L4 one to the kernel's
 * helpers, which know of partial and complete ones (skb->ip_summed), and sets the rest directly.
 */
#ifndef LB_REWRITE_H
#define LB_REWRITE_H

#include "common.h"

/* L4 headers begin within 511 bytes: 14 + 40 + LB_EXT_BYTES and some. */
#define LB_L4_MASK 511

/* What a translation changes: the destination of a forward packet, the source of a reverse one. */
struct lb_rewrite {
	__be32 from[4], to[4];
	__be16 from_port, to_port;
	__u16 l4;
	__u8 udp;
};

/* A sum of a few 32-bit words as one of 16-bit words, below 2^18. */
static __always_inline __u32 lb_csum_halves(__u64 sum)
{
	return (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
}

/* A sum below 2^20 as the checksum that goes into a header. */
static __always_inline __u16 lb_csum_fold(__u32 sum)
{
	sum = (sum >> 16) + (sum & 0xffff);
	return ~((sum >> 16) + sum);
}

/* The sum to add for the changed address: ~from + to, in 32-bit words (RFC 1624, eqn. 3). */
static __always_inline __u64 lb_csum_addr(const int family, const struct lb_rewrite *r)
{
	__u64 sum = (__u64)(__u32)~r->from[0] + r->to[0];

	if (family == LB_V6) {
		sum += (__u64)(__u32)~r->from[1] + r->to[1];
		sum += (__u64)(__u32)~r->from[2] + r->to[2];
		sum += (__u64)(__u32)~r->from[3] + r->to[3];
	}
	return sum;
}

/* Address, TTL and IP checksum in place. The caller has checked the bounds of the IP header. `sum`:
 * of the change of address, by lb_csum_halves(). */
static __always_inline void lb_rewrite_ip(const int family, const bool reverse, void *l3, __u32 sum,
					  const struct lb_rewrite *r)
{
	if (family == LB_V4) {
		struct iphdr *ip = l3;

		/* TTL - 1 is ~old + new = 0xfeff in network order. */
		ip->check = lb_csum_fold(sum + (ip->check ^ 0xffff) + bpf_htons(0xfeff));
		ip->ttl--;
		if (reverse)
			ip->saddr = r->to[0];
		else
			ip->daddr = r->to[0];
	} else {
		struct ipv6hdr *ip = l3;

		ip->hop_limit--;
		__builtin_memcpy(reverse ? &ip->saddr : &ip->daddr, r->to, 16);
	}
}

/* Port and checksum of the L4 header, whose bounds were checked. `ports`: its first word. */
static __always_inline void lb_rewrite_l4(const bool reverse, __u16 *ports, __u16 *check, __u32 sum,
					  const struct lb_rewrite *r)
{
	*check = lb_csum_fold(sum + (*check ^ 0xffff) + (r->from_port ^ 0xffff) + r->to_port);
	ports[reverse ? 0 : 1] = r->to_port;
}

/* UDP's checksum is optional over IPv4: 0 says that the sender computed none (RFC 768). */
static __always_inline void lb_rewrite_udp(const bool reverse, struct udphdr *udp, __u32 sum,
					   const struct lb_rewrite *r)
{
	bool summed = udp->check;

	lb_rewrite_l4(reverse, (__u16 *)udp, &udp->check, sum, r);
	if (!summed)
		udp->check = 0;
	else if (!udp->check)
		udp->check = 0xffff;
}

/* The whole change for XDP. False: the L4 header is not where it was parsed. */
static __always_inline bool lb_rewrite_xdp(const int family, const bool reverse, void *data,
					   void *end, const struct lb_rewrite *r)
{
	const __u32 l3_len = family == LB_V4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	void *l4 = data + (r->l4 & LB_L4_MASK);
	__u32 sum = lb_csum_halves(lb_csum_addr(family, r));

	if (data + LB_ETH_LEN + l3_len > end)
		return false;
	if (r->udp) {
		if (l4 + sizeof(struct udphdr) > end)
			return false;
		lb_rewrite_udp(reverse, l4, sum, r);
	} else {
		if (l4 + sizeof(struct tcphdr) > end)
			return false;
		lb_rewrite_l4(reverse, l4, &((struct tcphdr *)l4)->check, sum, r);
	}
	lb_rewrite_ip(family, reverse, data + LB_ETH_LEN, sum, r);
	return true;
}

/* For IPv6 the address is not balanced by a header checksum, so skb->csum (CHECKSUM_COMPLETE) must
 * stay; kernels without BPF_F_IPV6 change it, which is taken back. */
static __always_inline long lb_csum_addr_tc(const int family, struct __sk_buff *skb, __u32 at,
					    __u64 diff, __u64 flags)
{
	long rc;

	diff = (diff & 0xffffffff) + (diff >> 32);
	diff = (diff & 0xffffffff) + (diff >> 32);
	if (family == LB_V4)
		return bpf_l4_csum_replace(skb, at, 0, diff, flags | BPF_F_PSEUDO_HDR);
	rc = bpf_l4_csum_replace(skb, at, 0, diff, flags | BPF_F_PSEUDO_HDR | 1ull << 7);
	if (rc != -22)
		return rc;
	rc = bpf_l4_csum_replace(skb, at, 0, diff, flags | BPF_F_PSEUDO_HDR);
	bpf_csum_update(skb, diff); /* fails where there is nothing to take back */
	return rc;
}

static __always_inline bool lb_rewrite_tc(const int family, const bool reverse,
					  struct __sk_buff *skb, const struct lb_rewrite *r)
{
	const __u32 l3_len = family == LB_V4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	__u64 flags = r->udp ? BPF_F_MARK_MANGLED_0 : 0;
	__u32 at = r->l4 + (r->udp ? 6 : 16);
	void *data, *end;
	__u16 *ports;

	if (lb_csum_addr_tc(family, skb, at, lb_csum_addr(family, r), flags))
		return false;
	if (bpf_l4_csum_replace(skb, at, r->from_port, r->to_port, flags | 2))
		return false;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	ports = data + (r->l4 & LB_L4_MASK);
	if (data + LB_ETH_LEN + l3_len > end || (void *)(ports + 2) > end)
		return false;
	ports[reverse ? 0 : 1] = r->to_port;
	lb_rewrite_ip(family, reverse, data + LB_ETH_LEN, lb_csum_halves(lb_csum_addr(family, r)),
		      r);
	return true;
}

#endif
