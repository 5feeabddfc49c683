// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * live.c - packets per second through real interfaces, by meshlb and by what else does the same
 * DNAT. Each datapath has a lab of its own, so that the rounds can go round all of them.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <bpf/libbpf.h>

#include "bench_report.h"
#include "bench_rows.h"
#include "live_lab.h"
#include "lb.skel.h"

struct live {
	const struct datapath *datapath;
	struct live_lab lab;
	struct bench_env env;
};

/* ---------------------------------------------------------------------------- datapaths */

static int direct_start(struct live *l)
{
	return live_lab_direct(&l->lab);
}

static int tc_start(struct live *l)
{
	const struct bench_services one = {.n = 1,
					   .scheduler = LB_SCHED_RR,
					   .backends = 1,
					   .proto = LB_UDP,
					   .redirect = !l->lab.one_armed};
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = l->lab.net.c0, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = 1);
	int rc;

	bench_env_open(&l->env, &l->lab.net, BENCH_FLOWS_MAX);
	bench_services_set(&l->env, &one);
	opts.prog_fd = bpf_program__fd(l->env.lb->progs.meshlb_tc);
	rc = bpf_tc_hook_create(&hook);
	return rc ? rc : bpf_tc_attach(&hook, &opts);
}

static int xdp_start(struct live *l)
{
	int rc = tc_start(l); /* behind XDP, as always */

	return rc ? rc : live_lab_attach(&l->lab, l->env.lb->progs.meshlb_xdp);
}

static int iptables_start(struct live *l)
{
	return live_lab_iptables(&l->lab);
}

static int nft_start(struct live *l)
{
	return live_lab_nft(&l->lab);
}

enum { DIRECT, XDP, TC, NFT, IPTABLES, DATAPATHS };

static const struct datapath {
	const char *name;
	int (*start)(struct live *l); /* in the balancer's namespace */
} datapaths[DATAPATHS] = {
	[DIRECT] = {"no balancer: bare XDP", direct_start},
	[XDP] = {"meshlb XDP", xdp_start},
	[TC] = {"meshlb tc", tc_start},
	[NFT] = {"nftables", nft_start},
	[IPTABLES] = {"iptables", iptables_start},
};

static struct live lives[2][DATAPATHS]; /* two-armed, one-armed */

/* ---------------------------------------------------------------------------- rates */

/* Packets per second of the whole chain, and of the balancer alone. */
struct live_rate {
	double chain, balancer;
};

static struct live_rate rate(struct live *l, uint32_t flows, uint32_t packets)
{
	struct live_sample s = live_lab_sample(&l->lab, flows, packets);

	if (s.right < packets - packets / 100 || s.other)
		bench_die("%s: of %u packets %lu came to the sink as they should, %lu otherwise",
			  l->datapath->name, packets, s.right, s.other);
	return (struct live_rate){s.right / (s.generator + s.balancer + s.sink),
				  s.right / s.balancer};
}

static void rates_rows(struct live *labs, uint32_t flows, bool quick,
		       struct live_rate result[DATAPATHS])
{
	const unsigned int rounds = quick ? 5 : 11;
	const uint32_t packets = quick ? 50000 : 200000;
	double chain[DATAPATHS][rounds], balancer[DATAPATHS][rounds];
	struct live_rate r;
	char text[80];

	for (unsigned int i = 0; i < rounds; i++) {
		for (int d = 0; d < DATAPATHS; d++) {
			r = rate(&labs[d], flows, packets);
			chain[d][i] = r.chain;
			balancer[d][i] = r.balancer;
		}
	}
	for (int d = 0; d < DATAPATHS; d++) {
		result[d].chain = bench_median(chain[d], rounds);
		result[d].balancer = bench_median(balancer[d], rounds);
		snprintf(text, sizeof(text), "%s, %u flow%s", datapaths[d].name, flows,
			 flows > 1 ? "s" : "");
		bench_report_rate(labs->lab.one_armed ? "live one-armed" : "live", text,
				  result[d].chain, result[d].balancer);
	}
}

static void arms_rows(bool one_armed, bool quick)
{
	struct live_rate one[DATAPATHS], thousand[DATAPATHS], many[DATAPATHS];
	const char *part = one_armed ? "live one-armed" : "live";
	struct live *labs = lives[one_armed];

	bench_report_part(one_armed ? "The same one-armed (XDP_TX)"
				    : "Live UDP packets, generator -> balancer -> sink",
			  "kpps, one core: all   balancer alone");
	for (int d = 0; d < DATAPATHS; d++) {
		labs[d].datapath = &datapaths[d];
		labs[d].lab.one_armed = one_armed;
		live_lab_open(&labs[d].lab);
		if (datapaths[d].start(&labs[d]))
			bench_die("starting \"%s\": %s", datapaths[d].name, strerror(errno));
	}
	rates_rows(labs, 1, quick, one);
	rates_rows(labs, 1000, quick, thousand);
	rates_rows(labs, 50000, quick, many);
	bench_report_value(part, "meshlb XDP / iptables, 1,000 flows, all",
			   thousand[XDP].chain / thousand[IPTABLES].chain, "x", 10, true);
	bench_report_value(part, "meshlb XDP / iptables, 1,000 flows, balancer",
			   thousand[XDP].balancer / thousand[IPTABLES].balancer, "x", 10, true);
	bench_report_value(part, "meshlb XDP, 50,000 flows / 1,000 flows, balancer",
			   many[XDP].balancer / thousand[XDP].balancer, "x", 0.5, true);
}

void bench_live(bool quick)
{
	arms_rows(false, quick);
	arms_rows(true, quick);
}
