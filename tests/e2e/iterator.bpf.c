// SPDX-License-Identifier: GPL-2.0-or-later
/* iterator.bpf.c - the least iterator over a map's elements: does this kernel let root load one? */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

SEC("iter/bpf_map_elem")
int nothing(struct bpf_iter__bpf_map_elem *ctx)
{
	(void)ctx;
	return 0;
}
