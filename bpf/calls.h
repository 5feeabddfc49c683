/* SPDX-License-Identifier: GPL-2.0-or-later */
/* calls.h - programs that are reached by a tail call. */
#ifndef LB_CALLS_H
#define LB_CALLS_H

#include "common.h"

/*
 * The slow way is programs of their own, one for each family, reached by a tail call: they have the
 * whole stack, and the fast one no function call at all (with the CPU's return mitigations one
 * costs as much as a third of the hit path).
 */
int meshlb_xdp_slow4(struct xdp_md *ctx);
int meshlb_xdp_slow6(struct xdp_md *ctx);
int meshlb_tc_slow4(struct __sk_buff *skb);
int meshlb_tc_slow6(struct __sk_buff *skb);

/* Programs by enum lb_call. One for each hook: such a map holds programs of one type. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, LB_CALLS);
	__uint(key_size, sizeof(__u32));
	__array(values, int(void *));
} lb_slow_xdp SEC(".maps") = {
	.values = {(void *)&meshlb_xdp_slow4, (void *)&meshlb_xdp_slow6},
};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, LB_CALLS);
	__uint(key_size, sizeof(__u32));
	__array(values, int(void *));
} lb_slow_tc SEC(".maps") = {
	.values = {(void *)&meshlb_tc_slow4, (void *)&meshlb_tc_slow6},
};

/* Constant keys: the JIT makes direct jumps of them. */
#define LB_GO_SLOW(ctx, progs, family)                                                             \
	do {                                                                                       \
		if ((family) == LB_V4)                                                             \
			bpf_tail_call(ctx, &(progs), LB_V4);                                       \
		else                                                                               \
			bpf_tail_call(ctx, &(progs), LB_V6);                                       \
	} while (0)

/*
 * A packet that finds no connection while an instance of an older ABI is taken over: that one's
 * program has it, where it is still asked. Returns only if it is not.
 */
static __always_inline void lb_go_former(const int hook, void *ctx, bool opens)
{
	if (hook == LB_HOOK_XDP && opens)
		bpf_tail_call(ctx, &lb_slow_xdp, LB_CALL_FORMER_OPENS);
	else if (hook == LB_HOOK_XDP)
		bpf_tail_call(ctx, &lb_slow_xdp, LB_CALL_FORMER);
	else if (opens)
		bpf_tail_call(ctx, &lb_slow_tc, LB_CALL_FORMER_OPENS);
	else
		bpf_tail_call(ctx, &lb_slow_tc, LB_CALL_FORMER);
}

#endif
