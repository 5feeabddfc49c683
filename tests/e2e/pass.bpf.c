// SPDX-License-Identifier: GPL-2.0-or-later
/* pass.bpf.c - a program that passes everything: a foreign one, and for the other end of a veth. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

SEC("xdp")
int foreign_xdp(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}

SEC("tc")
int foreign_tc(struct __sk_buff *skb)
{
	(void)skb;
	return -1; /* TC_ACT_UNSPEC, TCX_NEXT */
}
