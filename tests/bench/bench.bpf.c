// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * bench.bpf.c - wrappers for BPF_PROG_TEST_RUN: each writes the next flow's headers into the packet
 * (repeat does not restore it) and tail-calls either the unmodified program or the floor.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "lb_abi.h"
#include "bench.h"

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, BENCH_SLOTS);
	__type(key, __u32);
	__type(value, __u32);
} bench_xdp_progs SEC(".maps"), bench_tc_progs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* set by the loader */
	__type(key, __u32);
	__type(value, struct bench_flow4);
} bench_flows4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bench_flow6);
} bench_flows6 SEC(".maps");

/* The connection table of the program that is measured. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lb_conn4_bucket);
} lb_conn4 SEC(".maps");

__u64 bench_frame[BENCH_FRAME_WORDS]; /* headers that are the same in all flows */
__u32 bench_slot;                     /* enum bench_slot */
__u32 bench_count;                    /* flows in the template */
__u32 bench_at;                       /* the next one */
__u32 bench_buckets;                  /* of lb_conn4 */
__u32 bench_serial;                   /* of the next client that was never seen */

static __always_inline __u32 bench_next(void)
{
	__u32 at = bench_at;

	bench_at = at + 1 < bench_count ? at + 1 : 0;
	return at;
}

/* A bijection of the serial number, so that neighbours in time are none in the table. */
static __always_inline __u32 bench_client(void)
{
	__u32 x = bench_serial++;

	x *= 0x9e3779b1;
	x ^= x >> 15;
	return x * 0x85ebca6b;
}

static __always_inline bool bench_write4(void *data, void *end, bool fresh)
{
	__u32 at = bench_next(), client;
	struct bench_flow4 *f = bpf_map_lookup_elem(&bench_flows4, &at);
	__u64 *word = data;

	if (!f || data + BENCH_FRAME4 > end)
		return false;
#pragma unroll
	for (int i = 0; i < BENCH_FRAME4 / 8; i++)
		word[i] = bench_frame[i];
	*(__u32 *)(data + 48) = bench_frame[6];
	*(__u16 *)(data + 52) = 0;
	*(__u16 *)(data + 24) = f->ip_check;
	*(__u32 *)(data + 26) = f->saddr;
	*(__u32 *)(data + 30) = f->daddr;
	*(__u32 *)(data + 34) = f->ports;
	*(__u16 *)(data + 50) = f->l4_check;
	if (fresh) { /* checksums are then those of another client: nobody looks */
		client = bench_client();
		*(__u32 *)(data + 26) = f->saddr | bpf_htonl(client >> 10);
		*(__u32 *)(data + 34) = f->ports | bpf_htons(client & 1023);
	}
	return true;
}

static __always_inline bool bench_write6(void *data, void *end, bool fresh)
{
	__u32 at = bench_next(), client;
	struct bench_flow6 *f = bpf_map_lookup_elem(&bench_flows6, &at);
	__u64 *word = data;

	if (!f || data + BENCH_FRAME6 > end)
		return false;
#pragma unroll
	for (int i = 0; i < BENCH_FRAME6 / 8; i++)
		word[i] = bench_frame[i];
	*(__u16 *)(data + 72) = 0;
	*(__u64 *)(data + 22) = f->saddr[0];
	*(__u64 *)(data + 30) = f->saddr[1];
	*(__u64 *)(data + 38) = f->daddr[0];
	*(__u64 *)(data + 46) = f->daddr[1];
	*(__u32 *)(data + 54) = f->ports;
	*(__u16 *)(data + 70) = f->l4_check;
	if (fresh) {
		client = bench_client();
		*(__u32 *)(data + 34) = bpf_htonl(client >> 10);
		*(__u32 *)(data + 54) = f->ports | bpf_htons(client & 1023);
	}
	return true;
}

/* Constant keys: the JIT makes direct jumps of them. */
#define BENCH_GO(ctx, progs)                                                                       \
	do {                                                                                       \
		if (bench_slot == BENCH_LINE)                                                      \
			bpf_tail_call(ctx, &progs, BENCH_LINE);                                    \
		else if (bench_slot == BENCH_FLOOR)                                                \
			bpf_tail_call(ctx, &progs, BENCH_FLOOR);                                   \
		else                                                                               \
			bpf_tail_call(ctx, &progs, BENCH_PROGRAM);                                 \
	} while (0)

#define BENCH_XDP(name, family, fresh)                                                             \
	SEC("xdp.frags")                                                                           \
	int name(struct xdp_md *ctx)                                                               \
	{                                                                                          \
		void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;          \
                                                                                                   \
		if (bench_write##family(data, end, fresh))                                         \
			BENCH_GO(ctx, bench_xdp_progs);                                            \
		return XDP_ABORTED;                                                                \
	}

#define BENCH_TC(name, family)                                                                     \
	SEC("tc")                                                                                  \
	int name(struct __sk_buff *skb)                                                            \
	{                                                                                          \
		void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;          \
                                                                                                   \
		if (bench_write##family(data, end, false))                                         \
			BENCH_GO(skb, bench_tc_progs);                                             \
		return 2; /* TC_ACT_SHOT */                                                        \
	}

BENCH_XDP(bench_xdp4, 4, false)
BENCH_XDP(bench_xdp6, 6, false)
BENCH_XDP(bench_xdp4_new, 4, true)
BENCH_XDP(bench_xdp6_new, 6, true)
BENCH_TC(bench_tc4, 4)
BENCH_TC(bench_tc6, 6)

/* The same flow, new each time: the whole table, BENCH_SAME_BUCKETS of it, is wiped before. */
SEC("xdp.frags")
int bench_xdp4_same(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

#pragma unroll
	for (int i = 0; i < BENCH_SAME_BUCKETS; i++) {
		__u32 key = i;
		struct lb_conn4_bucket *b = bpf_map_lookup_elem(&lb_conn4, &key);

		if (b)
			__builtin_memset(b, 0, sizeof(*b));
	}
	if (bench_write4(data, end, false))
		BENCH_GO(ctx, bench_xdp_progs);
	return XDP_ABORTED;
}

/* The floor: what any program must do to know a TCP packet. */
static __always_inline bool bench_parse(void *data, void *end)
{
	struct ethhdr *eth = data;
	struct ipv6hdr *ip6 = data + 14;
	struct iphdr *ip = data + 14;
	struct tcphdr *tcp;

	if ((void *)(eth + 1) > end)
		return false;
	if (eth->h_proto == bpf_htons(0x0800)) {
		if ((void *)(ip + 1) > end || ip->version != 4 || ip->protocol != IPPROTO_TCP)
			return false;
		tcp = (void *)ip + ip->ihl * 4;
	} else if (eth->h_proto == bpf_htons(0x86dd)) {
		if ((void *)(ip6 + 1) > end || ip6->version != 6 || ip6->nexthdr != IPPROTO_TCP)
			return false;
		tcp = (void *)(ip6 + 1);
	} else {
		return false;
	}
	return (void *)(tcp + 1) <= end && tcp->doff >= 5;
}

SEC("xdp.frags")
int bench_xdp_floor(struct xdp_md *ctx)
{
	return bench_parse((void *)(long)ctx->data, (void *)(long)ctx->data_end) ? XDP_TX
										 : XDP_PASS;
}

/* The floor and one random line of the table, which goes into the packet: what no table can beat.
 */
SEC("xdp.frags")
int bench_xdp_line(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct lb_conn4_bucket *b;
	__u64 hash;
	__u32 at;

	if (!bench_parse(data, end) || data + BENCH_FRAME4 > end)
		return XDP_PASS;
	hash = *(__u32 *)(data + 26) * 0x9e3779b97f4a7c15ull +
	       *(__u32 *)(data + 34) * 0xbf58476d1ce4e5b9ull;
	at = (hash >> 32) * bench_buckets >> 32;
	b = bpf_map_lookup_elem(&lb_conn4, &at);
	if (!b)
		return XDP_ABORTED;
	*(__u32 *)(data + 30) = b->addr[0].service;
	return XDP_TX;
}

SEC("tc")
int bench_tc_floor(struct __sk_buff *skb)
{
	return bench_parse((void *)(long)skb->data, (void *)(long)skb->data_end)
		       ? 7 /* TC_ACT_REDIRECT */
		       : -1;
}
