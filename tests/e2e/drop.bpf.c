// SPDX-License-Identifier: GPL-2.0-or-later
/* drop.bpf.c - foreign programs that drop everything; the second one has the name of meshlb's. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

SEC("xdp")
int foreign_drop(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_DROP;
}

SEC("tc")
int meshlb_tc(struct __sk_buff *skb)
{
	(void)skb;
	return 2; /* TC_ACT_SHOT, TCX_DROP */
}
