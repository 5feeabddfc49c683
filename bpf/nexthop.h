/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nexthop.h - where a packet leaves: the kernel's route and neighbour, remembered for one tick.
 *
 * lb_nexthops is open-addressed by (interface, gateway, MAC). An entry's fields never change while
 * somebody may use its id: a user confirms the id (which stamps the entry's tick) in the tick in
 * which it uses it, and an id is taken over only LB_NEXTHOP_GRACE ticks after that.
 */
#ifndef LB_NEXTHOP_H
#define LB_NEXTHOP_H

#include "common.h"

#define LB_NEXTHOP_PROBES 8
#define LB_NEXTHOP_BUSY   0xffffffff
/* In a tick whose number has these low bits, XDP leaves the packet that confirms a next hop to tc.
 */
#define LB_NEXTHOP_PROBE_TICKS 8

/* Set in an id: this packet should go by the kernel's neighbour code. */
#define LB_NEXTHOP_VIA_TC (1 << LB_NEXTHOP_BITS)

/* In place of an id: it is in lb_spare, for this packet alone. Its low bits are id 0's. */
#define LB_NEXTHOP_SPARE (1 << (LB_NEXTHOP_BITS + 1))

/* By an id, or a word whose low LB_NEXTHOP_BITS are one. */
static __always_inline struct lb_nexthop *lb_nexthop_get(__u32 id)
{
	return &lb_nexthops[id & (LB_NEXTHOPS - 1)];
}

/* backend->nexthop: tick and id in one word, so that both change together. */
static __always_inline __u32 lb_nexthop_pack(__u32 id, __u32 now)
{
	return now << LB_NEXTHOP_BITS | (id & (LB_NEXTHOPS - 1));
}

static __always_inline bool lb_nexthop_same(const struct lb_nexthop *a, const struct lb_nexthop *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	/* All before `tick`: 40 bytes. */
	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3] && x[4] == y[4];
}
_Static_assert(__builtin_offsetof(struct lb_nexthop, tick) == 40,
	       "lb_nexthop_same compares 40 bytes");

/* The id under which this next hop is known, confirmed for this tick; 0 where no slot is free. */
static __always_inline int lb_nexthop_intern(const struct lb_nexthop *want, __u32 now)
{
	const __u64 *w = (const __u64 *)want;
	__u64 hash = (w[0] ^ w[1]) * 0x9e3779b97f4a7c15ull;
	__u32 i;

	hash = (hash ^ hash >> 29 ^ w[2] ^ w[3] ^ w[4]) * 0xbf58476d1ce4e5b9ull;
	for (i = 0; i < LB_NEXTHOP_PROBES; i++) {
		__u32 id = ((hash >> 40) + i) & (LB_NEXTHOPS - 1);
		struct lb_nexthop *nh = lb_nexthop_get(id);
		__u32 tick;

		if (!id)
			continue;
		tick = READ_ONCE(nh->tick);
		if (tick == LB_NEXTHOP_BUSY)
			continue;
		if (nh->ifindex && lb_nexthop_same(nh, want)) {
			if (tick == now)
				return id;
			if (!__sync_bool_compare_and_swap(&nh->tick, tick, now))
				continue;
			return now % LB_NEXTHOP_PROBE_TICKS == id % LB_NEXTHOP_PROBE_TICKS
				       ? (int)id | LB_NEXTHOP_VIA_TC
				       : (int)id;
		}
		if (nh->ifindex && ((now - tick) & LB_META_TICK_MASK) <= LB_NEXTHOP_GRACE)
			continue;
		if (!__sync_bool_compare_and_swap(&nh->tick, tick, LB_NEXTHOP_BUSY))
			continue;
		__builtin_memcpy(nh, want, 40);
		__sync_lock_test_and_set(&nh->tick, now);
		return id;
	}
	return 0;
}

/* NOT_FWDED: one of this host's own addresses. */
static __always_inline int lb_fib_reason(long rc)
{
	if (rc == BPF_FIB_LKUP_RET_NOT_FWDED)
		return LB_STOP(LB_REASON_MARTIAN);
	return LB_STOP(rc == BPF_FIB_LKUP_RET_FWD_DISABLED ? LB_REASON_FORWARDING_OFF
							   : LB_REASON_NO_ROUTE);
}

/*
 * An id for it, or SPARE. Spare are those without a neighbour, which anybody can bring about by
 * forged addresses, and those for which the table has no room: they are asked for again and again,
 * but they are served, and keep nobody else out.
 */
static __always_inline int lb_nexthop_keep(const struct lb_nexthop *want, bool resolved, __u32 now)
{
	struct lb_nexthop *spare;
	__u32 zero = 0;
	int id = resolved ? lb_nexthop_intern(want, now) : 0;

	if (id)
		return id;
	spare = bpf_map_lookup_elem(&lb_spare, &zero);
	if (!spare)
		return LB_STOP(LB_REASON_BAD_STATE);
	__builtin_memcpy(spare, want, 40);
	return LB_NEXTHOP_SPARE;
}

/* IP header fields that the kernel's lookup wants, in the family's own places. */
static __always_inline void lb_fib_params(struct bpf_fib_lookup *fib, const struct lb_packet *p,
					  const __be32 *src, const __be32 *dst)
{
	__builtin_memset(fib, 0, sizeof(*fib));
	fib->ifindex = p->ifindex;
	fib->l4_protocol = p->udp ? IPPROTO_UDP : IPPROTO_TCP;
	fib->tot_len = 1; /* asks for the path's MTU, too small to be refused by it */
	if (p->family == LB_V4) {
		fib->family = LB_AF_INET;
		fib->ipv4_src = src[0];
		fib->ipv4_dst = dst[0];
	} else {
		fib->family = LB_AF_INET6;
		__builtin_memcpy(fib->ipv6_src, src, 16);
		__builtin_memcpy(fib->ipv6_dst, dst, 16);
	}
}

/* Asks the kernel for the way to dst. Returns a next hop's id, SPARE or LB_STOP(). src and dst: one
 * word for IPv4, four for IPv6. */
static __noinline int lb_nexthop_find(void *ctx, const struct lb_packet *p, const __be32 *src,
				      const __be32 *dst, __u32 now)
{
	struct bpf_fib_lookup fib;
	struct lb_nexthop want = {};
	struct lb_iface *iface;
	__u32 ifindex;
	long rc;

	if (!p || !src || !dst)
		return LB_STOP(LB_REASON_BAD_STATE);
	lb_fib_params(&fib, p, src, dst);
	rc = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	if (rc != BPF_FIB_LKUP_RET_SUCCESS && rc != BPF_FIB_LKUP_RET_NO_NEIGH)
		return lb_fib_reason(rc);
	ifindex = fib.ifindex;
	want.ifindex = ifindex;
	/* Without a neighbour the kernel says no MTU; it will, as the packet resolves one. */
	want.mtu = rc == BPF_FIB_LKUP_RET_SUCCESS ? fib.mtu_result : 0xffff;
	want.gateway_family = fib.family == LB_AF_INET ? LB_V4 : LB_V6;
	if (want.gateway_family == LB_V4)
		lb_addr_set(&want.gateway, LB_V4, &fib.ipv4_dst);
	else
		lb_addr_set(&want.gateway, LB_V6, fib.ipv6_dst);
	if (rc == BPF_FIB_LKUP_RET_SUCCESS) {
		__builtin_memcpy(want.dmac, fib.dmac, 6);
		__builtin_memcpy(want.smac, fib.smac, 6);
		iface = bpf_map_lookup_elem(&lb_ifaces, &ifindex);
		if (iface)
			want.flags = iface->flags;
	}
	return lb_nexthop_keep(&want, rc == BPF_FIB_LKUP_RET_SUCCESS, now);
}

/* IPv4: 0/8, 127/8, multicast and above. IPv6: unspecified, loopback, link-local, multicast. None
 * of them is forwarded by a router, either way. */
static __always_inline bool lb_addr_is_martian(const int family, const __be32 *addr)
{
	__u32 first = bpf_ntohl(addr[0]);

	if (family == LB_V4)
		return first >> 24 == 0 || first >> 24 == 127 || first >> 29 == 7;
	return first >> 24 == 0xff || first >> 22 == 0xfe80 >> 6 ||
	       (!addr[0] && !addr[1] && !addr[2] && bpf_ntohl(addr[3]) <= 1);
}

/* Is `addr` an address of this host? Asks the routing table, once a tick per address and CPU: 0
 * yes, LB_STOP() no or not to be known. */
static __noinline int lb_addr_local(void *ctx, const struct lb_packet *p, __u32 now)
{
	struct bpf_fib_lookup fib;
	struct lb_local *l;
	__u32 slot;
	long rc;

	if (!p)
		return LB_STOP(LB_REASON_BAD_STATE);
	slot = p->flow.daddr[0];
	if (p->family == LB_V6)
		slot ^= p->flow.daddr[1] ^ p->flow.daddr[2] ^ p->flow.daddr[3];
	slot = (slot ^ slot >> 24) % LB_LOCALS;
	l = bpf_map_lookup_elem(&lb_locals, &slot);
	if (!l)
		return LB_STOP(LB_REASON_BAD_STATE);
	if (l->tick == now + 1) { /* 0 is "never" */
		struct lb_addr want;
		const __u64 *a = (const __u64 *)&want, *b = (const __u64 *)l;

		lb_addr_set(&want, p->family == LB_V4 ? LB_V4 : LB_V6, p->flow.daddr);
		if (a[0] == b[0] && a[1] == b[1])
			return 0;
	}
	lb_fib_params(&fib, p, p->flow.saddr, p->flow.daddr);
	rc = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	if (rc == BPF_FIB_LKUP_RET_FWD_DISABLED)
		return LB_STOP(LB_REASON_FORWARDING_OFF);
	if (rc != BPF_FIB_LKUP_RET_NOT_FWDED)
		return LB_STOP(LB_REASON_NOT_LOCAL);
	l->tick = now + 1;
	lb_addr_set(&l->addr, p->family == LB_V4 ? LB_V4 : LB_V6, p->flow.daddr);
	return 0;
}

#endif
