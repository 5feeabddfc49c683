/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lib_judge.c - compares a result with what it must be.
 */
#include "lib_judge.h"

#include <string.h>
#include <linux/bpf.h>

int judge_accounts(const struct pkt *in, const struct run_result *res, char *why)
{
	if (res->reasons != !res->forwarded) {
		snprintf(why, WHY_SIZE, "%s, but %u reasons were counted (%s)",
			 res->forwarded ? "forwarded" : "not forwarded", res->reasons,
			 run_reason_name(res->reason));
		return -1;
	}
	if (res->answered)
		return pkt_check_reset(in, &res->out, why, WHY_SIZE);
	if (res->dropped != run_reason_drops(res->reason)) {
		snprintf(why, WHY_SIZE, "%s for \"%s\"", res->dropped ? "dropped" : "not dropped",
			 run_reason_name(res->reason));
		return -1;
	}
	if (!res->forwarded &&
	    (in->len != res->out.len || memcmp(in->data, res->out.data, in->len) != 0)) {
		snprintf(why, WHY_SIZE, "changed, though not forwarded (%s)",
			 run_reason_name(res->reason));
		return -1;
	}
	return 0;
}

int judge_forwarded(const struct run *r, enum lb_hook hook, uint32_t ifindex, const struct pkt *in,
		    const struct run_result *res, const struct pkt_end *to, bool reverse, char *why)
{
	struct pkt_want want = {.reverse = reverse, .to = *to};
	struct net_hop hop;
	struct pkt_view v;

	if (judge_accounts(in, res, why))
		return -1;
	if (!res->forwarded) {
		snprintf(why, WHY_SIZE, "not forwarded: %s", run_reason_name(res->reason));
		return -1;
	}
	if (hook == LB_HOOK_XDP) { /* on tc the kernel writes the MACs, behind the program */
		pkt_parse(in->data, in->len, &v);
		if (!net_hop(&r->net, reverse ? &v.dst.addr : &to->addr, &hop)) {
			snprintf(why, WHY_SIZE, "XDP forwarded where there is no way");
			return -1;
		}
		want.dmac = hop.dmac;
		want.smac = hop.smac;
		if (res->verdict != (hop.ifindex == ifindex ? XDP_TX : XDP_REDIRECT)) {
			snprintf(why, WHY_SIZE, "verdict %d", res->verdict);
			return -1;
		}
	}
	return pkt_check(in, &res->out, &want, why, WHY_SIZE);
}

int judge_reason(const struct pkt *in, const struct run_result *res, int reason, char *why)
{
	if (judge_accounts(in, res, why))
		return -1;
	if (res->reason == reason)
		return 0;
	snprintf(why, WHY_SIZE, "%s, should be %s", run_reason_name(res->reason),
		 run_reason_name(reason));
	return -1;
}

int judge_row(const struct run *r, const struct row *row, enum lb_hook hook, const struct pkt *in,
	      const struct run_result *res, char *why)
{
	int reason = row->reason || !row->to ? row->reason : RUN_FORWARDED;
	struct pkt_end to;

	if (hook == LB_HOOK_TC && row->tc_differs)
		reason = row->tc_reason;
	if (hook == LB_HOOK_XDP && row->to_tc)
		reason = LB_REASON_TO_TC;
	if (reason != RUN_FORWARDED)
		return judge_reason(in, res, reason, why);
	to = pkt_end(row->to, row->to_port);
	return judge_forwarded(r, hook, row_ifindex(row, r), in, res, &to, row->from_backend, why);
}

void judge_report(const char *name, enum lb_hook hook, const char *why, const struct pkt *in,
		  const struct run_result *res)
{
	printf("FAILED: %s, %s: %s\n", name, hook == LB_HOOK_XDP ? "XDP" : "tc", why);
	pkt_hexdump(stdout, "in", in);
	if (res)
		pkt_hexdump(stdout, "out", &res->out);
}
