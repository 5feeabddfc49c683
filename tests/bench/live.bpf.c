// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * live.bpf.c - the ends of the live test: a generator for BPF_F_TEST_XDP_LIVE_FRAMES, which writes
 * all headers each time (pages come back with the last changes in them), and the sink.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "live.h"

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LIVE_FLOWS_MAX);
	__type(key, __u32);
	__type(value, struct live_flow);
} live_flows SEC(".maps");

__u64 live_frame[LIVE_FRAME_WORDS];
__u32 live_count, live_at;
__u32 live_way_out;  /* live_direct's; 0: back where it came from */
__be32 live_backend; /* whose packets the sink counts apart */
__be16 live_port;
__u64 live_right, live_other; /* what came to the sink; all runs on one processor */

SEC("xdp")
int live_generate(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 at = live_at;
	struct live_flow *f = bpf_map_lookup_elem(&live_flows, &at);
	__u64 *word = data;

	if (!f || data + LIVE_FRAME > end)
		return XDP_ABORTED;
	live_at = at + 1 < live_count ? at + 1 : 0;
#pragma unroll
	for (int i = 0; i < LIVE_HEADERS / 8; i++)
		word[i] = live_frame[i];
	*(__u16 *)(data + 24) = f->ip_check;
	*(__u32 *)(data + 26) = f->saddr;
	*(__u16 *)(data + 34) = f->sport;
	*(__u16 *)(data + 40) = f->udp_check;
	return XDP_TX;
}

static __always_inline bool live_is_udp(void *data, void *end)
{
	struct ethhdr *eth = data;
	struct iphdr *ip = data + 14;

	return data + LIVE_HEADERS <= end && eth->h_proto == bpf_htons(0x0800) &&
	       ip->protocol == IPPROTO_UDP;
}

SEC("xdp")
int live_sink(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (!live_is_udp(data, end))
		return XDP_PASS;
	if (data + LIVE_HEADERS > end)
		return XDP_PASS;
	if (*(__u32 *)(data + 30) == live_backend && *(__u16 *)(data + 36) == live_port)
		live_right++;
	else
		live_other++;
	return XDP_DROP;
}

/* The least that a balancer can do: what generator, veths and sink cost without one. */
SEC("xdp")
int live_direct(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (!live_is_udp(data, end) || data + LIVE_HEADERS > end)
		return XDP_PASS;
	*(__u32 *)(data + 30) = live_backend;
	*(__u16 *)(data + 36) = live_port;
	return live_way_out ? bpf_redirect(live_way_out, 0) : XDP_TX;
}
