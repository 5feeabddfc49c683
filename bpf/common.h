/* SPDX-License-Identifier: GPL-2.0-or-later */
/* common.h - what every stage needs: the packet, the verdicts, the clock, the counters. */
#ifndef LB_COMMON_H
#define LB_COMMON_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "maps.h"

#define likely(x)        __builtin_expect(!!(x), 1)
#define unlikely(x)      __builtin_expect(!!(x), 0)
#define READ_ONCE(x)     (*(volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile typeof(x) *)&(x) = (v))

#define LB_ETH_P_IP     bpf_htons(0x0800)
#define LB_ETH_P_IPV6   bpf_htons(0x86dd)
#define LB_ETH_P_8021Q  bpf_htons(0x8100)
#define LB_ETH_P_8021AD bpf_htons(0x88a8)
#define LB_ETH_LEN      14
#define LB_TC_NEXT      (-1) /* TC_ACT_UNSPEC and TCX_NEXT: the next program decides */
#define LB_TC_DROP      2
#define LB_AF_INET      2
#define LB_AF_INET6     10

#define LB_TCP_FIN 1
#define LB_TCP_SYN 2
#define LB_TCP_RST 4
#define LB_TCP_ACK 16

/* A flow as seen on the wire. IPv4 addresses are in word 0. */
struct lb_flow {
	__be32 saddr[4] __attribute__((aligned(8)));
	__be32 daddr[4];
	union {
		struct {
			__be16 sport, dport;
		};
		__u32 ports;
	};
};

/* The same by reference, be it in a packet: one word of each address for IPv4, four for IPv6. */
struct lb_tuple {
	const __be32 *saddr, *daddr;
	const __be16 *ports; /* source, destination */
	bool affinity;       /* not a packet's: the key of an affinity */
};

static __always_inline struct lb_tuple lb_tuple_of(const struct lb_flow *f)
{
	return (struct lb_tuple){.saddr = f->saddr, .daddr = f->daddr, .ports = &f->sport};
}

static __always_inline __u32 lb_tuple_ports(const struct lb_tuple *t)
{
	return *(const __u32 *)t->ports;
}

struct lb_packet {
	struct lb_flow flow;
	__u32 ip_len;   /* IP header and payload, bytes */
	__u32 segments; /* packets on the wire: more than 1 for GSO */
	__u32 ifindex;  /* it came in by */
	__be32 seq;     /* TCP's */
	__be32 ack;
	__u16 l4;    /* offset of the TCP or UDP header from the frame's start */
	__u8 family; /* enum lb_family */
	__u8 udp;    /* 0: TCP, 1: UDP, as enum lb_proto */
	__u8 tcp_flags;
	__u8 ttl;      /* or hop limit, before we count it down */
	__u8 affinity; /* 1: no packet, but the key of an affinity */
};

static __always_inline bool lb_is_syn(const struct lb_packet *p)
{
	return !p->udp && (p->tcp_flags & (LB_TCP_SYN | LB_TCP_ACK | LB_TCP_RST)) == LB_TCP_SYN;
}

/* May it be the first of a connection? */
static __always_inline bool lb_opens(const struct lb_packet *p)
{
	return p->udp || lb_is_syn(p);
}

/* Where TCP begins behind a plain IP header. */
#define LB_TCP_AT(family)                                                                          \
	(LB_ETH_LEN + ((family) == LB_V4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)))

/* Without IP options or extension headers: with longer headers than ours a reset's partial checksum
 * would be completed at another place. */
static __always_inline bool lb_is_plain(const struct lb_packet *p)
{
	return p->l4 == (p->family == LB_V4 ? LB_TCP_AT(LB_V4) : LB_TCP_AT(LB_V6));
}

/* May it be answered by a reset, in the middle of a connection? */
static __always_inline bool lb_is_resettable(const struct lb_packet *p)
{
	return (p->tcp_flags & (LB_TCP_ACK | LB_TCP_RST)) == LB_TCP_ACK && lb_is_plain(p);
}

/* Slow-path functions return an id >= 0, or LB_STOP(reason). */
#define LB_STOP(reason)        (-1 - (int)(reason))
#define LB_STOP_REASON(result) ((__u32)(-1 - (result)))

#define LB_REASON_DROP_BIT(name, text, drop, help) | (drop##ull << LB_REASON_##name)
#define LB_REASON_DROPS                            (0 LB_REASON_LIST(LB_REASON_DROP_BIT))
_Static_assert(LB_REASONS <= 64, "the drop mask has 64 bits");

/* Counts why a packet is not forwarded and returns the hook's verdict for it. */
static __always_inline int lb_stop(const int hook, __u32 reason)
{
	__u32 zero = 0;
	struct lb_reasons *r = bpf_map_lookup_elem(&lb_reasons, &zero);
	__u64 at = reason; /* or it is copied to be widened, and the bound is the copy's */
	bool drop;

	barrier_var(at); /* or the check below is merged with others and the bound lost */
	if (r && at < LB_REASONS)
		r->count[hook][at]++;
	drop = LB_REASON_DROPS >> at & 1;
	if (hook == LB_HOOK_XDP)
		return drop ? XDP_DROP : XDP_PASS;
	return drop ? LB_TC_DROP : LB_TC_NEXT;
}

/* Now, in ticks modulo 2^LB_META_TICK_BITS. jiffies, because the verifier inlines them: a load,
 * where any clock helper is a call that costs as much as the rest of the hit path. */
static __always_inline __u32 lb_now(void)
{
	if (lb_tick_shift == LB_TEST_CLOCK)
		return READ_ONCE(lb_clock) & LB_META_TICK_MASK;
	return (bpf_jiffies64() >> lb_tick_shift) & LB_META_TICK_MASK;
}

/* lb_ports' flags of a protocol, by lb_port(). */
static __always_inline const __u8 *lb_ports_of(__u32 proto)
{
	return lb_ports.flags[proto & 1];
}

static __always_inline __u32 lb_port(__be16 port)
{
	__u32 at = bpf_ntohs(port);

	barrier_var(at); /* Linux 6.1 does not know that a byte swap of 16 bits leaves 16 */
	return at & 0xffff;
}

static __always_inline struct lb_backend *lb_backend_get(__u32 id)
{
	return bpf_map_lookup_elem(&lb_backends, &id);
}

/* Is it still the backend that an entry's ref names, and in service? */
static __always_inline bool lb_backend_holds(const struct lb_backend *b, __u32 ref)
{
	return b->state == LB_BACKEND_LIVE && LB_REF_REUSE(b->reuse) == (ref & LB_REF_REUSE_MASK);
}

/* IPv4's word of an address that is stored as ::ffff:a.b.c.d, or word i of an IPv6 one. */
static __always_inline __be32 lb_addr_word(const struct lb_addr *a, int i)
{
	return ((const __be32 *)a->b)[i];
}

static __always_inline void lb_addr_set(struct lb_addr *a, const int family, const __be32 *w)
{
	__be32 *out = (__be32 *)a->b;

	if (family == LB_V4) {
		out[0] = 0;
		out[1] = 0;
		out[2] = bpf_htonl(0xffff);
		out[3] = w[0];
	} else {
		out[0] = w[0];
		out[1] = w[1];
		out[2] = w[2];
		out[3] = w[3];
	}
}

/* May a service listen on a packet's destination? A node forwards other packets to its services'
 * ports, too. */
static __always_inline bool lb_listen_maybe(const int family, const struct lb_tuple *t, __u32 proto)
{
	__u8 flags = lb_ports_of(proto)[lb_port(t->ports[1])];
	struct lb_addr addr;
	__u32 bit;

	if (flags & LB_PORT_ANY)
		return true;
	if (!(flags & LB_PORT_EXACT))
		return false;
	lb_addr_set(&addr, family, t->daddr);
	bit = lb_listen_bit(&addr, t->ports[1], proto);
	return lb_ports.listens[bit >> 3 & (sizeof(lb_ports.listens) - 1)] >> (bit & 7) & 1;
}

#endif
