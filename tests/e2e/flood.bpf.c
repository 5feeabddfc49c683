// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * flood.bpf.c - a generator for BPF_F_TEST_XDP_LIVE_FRAMES: each frame becomes a TCP SYN of another
 * client, with checksums that are right. All of it is written each time, for pages come back with
 * the balancer's changes in them.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "flood.h"

char LICENSE[] SEC("license") = "GPL";

/* Zeroes where the frames differ, and sums of the rest for their checksums, not folded. */
__u64 flood_frame[FLOOD_WORDS];
__u32 flood_ip_sum, flood_tcp_sum;
__u64 flood_count;

static __always_inline __u32 halves(__u32 word)
{
	return (word & 0xffff) + (word >> 16);
}

static __always_inline __u16 fold(__u32 sum)
{
	return ~halves(halves(sum));
}

SEC("xdp")
int flood4(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 client, random = bpf_get_prandom_u32();
	__u64 *word = data;
	__u16 port = random;

	if (data + FLOOD_FRAME4 > end)
		return XDP_ABORTED;
	/* 16.0.0.0 to 79.255.255.255: nobody's in a lab, and no address that cannot be. */
	client = bpf_htonl((bpf_get_prandom_u32() & 0x3fffffff) + (16 << 24));
#pragma unroll
	for (int i = 0; i < FLOOD_FRAME4 / 8; i++)
		word[i] = flood_frame[i];
	*(__u32 *)(data + 56) = 0;
	*(__u16 *)(data + 24) = fold(flood_ip_sum + halves(client));
	*(__u32 *)(data + 26) = client;
	*(__u16 *)(data + 34) = port;
	*(__u16 *)(data + 50) = fold(flood_tcp_sum + halves(client) + port);
	flood_count++;
	return XDP_TX;
}

SEC("xdp")
int flood6(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 high = bpf_get_prandom_u32(), low = bpf_get_prandom_u32();
	__u64 *word = data;
	__u16 port = bpf_get_prandom_u32();

	if (data + FLOOD_FRAME6 > end)
		return XDP_ABORTED;
#pragma unroll
	for (int i = 0; i < FLOOD_FRAME6 / 8; i++)
		word[i] = flood_frame[i];
	*(__u32 *)(data + 30) = high; /* the other half of the address is the network's */
	*(__u32 *)(data + 34) = low;
	*(__u16 *)(data + 54) = port;
	*(__u16 *)(data + 70) = fold(flood_tcp_sum + halves(high) + halves(low) + port);
	*(__u16 *)(data + 72) = 0;
	flood_count++;
	return XDP_TX;
}

/* A veth has the receive queue that a run needs only under a program. */
SEC("xdp")
int flood_pass(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}
