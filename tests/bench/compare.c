// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * compare.c - what a packet of a known flow costs by meshlb, and by each way in which the kernel
 * itself does the same translation, on the same lab with the same generator. Made for the guest of
 * bench_guest.c, whose clock counts instructions.
 *
 * The balancer's and the sink's threads are measured, not the generator's: in older kernels a frame
 * that leaves XDP for the kernel's stack is lost to the generator, who must then make a new one,
 * and that is no balancer's fault. They contain a veth to the balancer, the balancer with all that
 * the kernel does for it (where it is no XDP program: the skb, GRO, routing), another veth, and the
 * sink. One veth with the sink behind it is measured alone and taken off.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mount.h>
#include <bpf/bpf.h>

#include "bench_report.h"
#include "bench_rows.h"
#include "live_lab.h"

#define FLOWS      1000
#define ROUNDS_MAX 64

struct contestant {
	struct live_lab lab;
	const char *error; /* NULL: none */
	struct live_sample sample[ROUNDS_MAX];
};

static const char *meshlb;

/* ---------------------------------------------------------------------------- ways */

/* Without the kernel's connection tracking: its fastest. */
static int ipvs(struct live_lab *lab)
{
	return live_lab_run("modprobe ip_vs && echo 0 >/proc/sys/net/ipv4/vs/conntrack && "
			    "ipvsadm -A -u %s:%d -s rr && ipvsadm -a -u %s:%d -r %s:%d -m",
			    LIVE_VIP, LIVE_VIP_PORT, LIVE_VIP, LIVE_VIP_PORT, live_lab_backend(lab),
			    LIVE_BACKEND_PORT);
}

/* Those that others are measured by, or that have a target; the rest come behind. */
enum { NO_BALANCER, DIRECT, FORWARDING, IPVS, MESHLB_XDP, NAMED };

/* Either the kernel's own way or a datapath of meshlb, or neither: forwarding, as the lab is. */
static const struct way {
	const char *name;
	int (*start)(struct live_lab *lab); /* in the balancer's namespace */
	const char *datapath, *hook;        /* of meshlb */
	bool redirect;                      /* see redirect_allow() */
	bool straight; /* nothing is translated: packets are addressed to the backend */
} ways[] = {
	[NO_BALANCER] = {"generator and sink alone", live_lab_no_balancer, .straight = true},
	[DIRECT] = {"no balancer: bare XDP redirect", live_lab_direct},
	[FORWARDING] = {"plain forwarding", .straight = true},
	[IPVS] = {"IPVS NAT", ipvs},
	[MESHLB_XDP] = {"meshlb XDP", .datapath = "ebpf", .hook = "xdp", .redirect = true},
	{"meshlb XDP, to a veth as it is", .datapath = "ebpf", .hook = "xdp"},
	{"meshlb tc", .datapath = "ebpf", .hook = "tc"},
	{"meshlb ipvs", .datapath = "ipvs", .hook = "auto"},
	{"meshlb nft", .datapath = "nft", .hook = "auto"},
	{"nftables dnat map", live_lab_nft},
	{"iptables DNAT", live_lab_iptables},
};

#define WAYS ((int)(sizeof(ways) / sizeof(ways[0])))
_Static_assert(sizeof(ways) / sizeof(ways[0]) > NAMED, "the named ones come first");

static void instance_name(const struct way *way, char name[32])
{
	snprintf(name, 32, "bench-%d", (int)(way - ways));
}

/*
 * Before Linux 6.6 no driver says whether XDP may send to it. meshlb then believes it of a NIC that
 * takes native XDP, but not of a veth, where it depends on the other end: all goes on to tc. Here
 * the other end is known to take it, so the way out is marked as that of a NIC.
 */
static int redirect_allow(const struct way *way, const struct live_lab *lab)
{
	char path[64], name[32];
	struct lb_iface iface;
	int fd, rc;

	instance_name(way, name);
	snprintf(path, sizeof(path), "/sys/fs/bpf/meshlb/%s/lb_ifaces", name);
	fd = bpf_obj_get(path);
	if (fd < 0)
		return -errno;
	rc = bpf_map_lookup_elem(fd, &lab->net.b0, &iface);
	iface.flags |= LB_IFACE_XMIT;
	if (!rc)
		rc = bpf_map_update_elem(fd, &lab->net.b0, &iface, BPF_EXIST);
	close(fd);
	return rc;
}

/* By the program itself, as a user would; an instance for each way. */
static int meshlb_apply(const struct way *way, struct live_lab *lab)
{
	char command[512], name[32];
	FILE *f;

	instance_name(way, name);
	/* Its warnings would be about the lab's ends, which are as they should be. */
	snprintf(command, sizeof(command),
		 "said=$(%s --instance %s apply -f - 2>&1) || { echo \"$said\" >&2; exit 1; }",
		 meshlb, name);
	f = popen(command, "w");
	if (!f)
		return -errno;
	fprintf(f,
		"datapath: %s\n"
		"interfaces: [{ name: c0, hook: %s }, { name: b0, hook: %s }]\n"
		"limits: { connections: 65536, services: 16, backends: 256 }\n"
		"services: [{ name: s, listen: [\"%s:%d/udp\"],\n"
		"             backends: [{ address: \"%s:%d\" }] }]\n",
		way->datapath, way->hook, way->hook, LIVE_VIP, LIVE_VIP_PORT, live_lab_backend(lab),
		LIVE_BACKEND_PORT);
	if (pclose(f))
		return -EINVAL;
	return way->redirect ? redirect_allow(way, lab) : 0;
}

/* ---------------------------------------------------------------------------- rounds */

static struct contestant contestants[sizeof(ways) / sizeof(ways[0])];

static int way_start(const struct way *way, struct live_lab *lab)
{
	/* IPVS takes only what is addressed to this host. */
	if (live_lab_run("ip addr add %s/32 dev lo", LIVE_VIP))
		return -1;
	if (way->datapath)
		return meshlb_apply(way, lab);
	return way->start ? way->start(lab) : 0;
}

/* What instances leave in bpffs and /run goes with the mount namespace. */
static void mounts_own(void)
{
	if (mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL) ||
	    mount("tmpfs", "/run", "tmpfs", 0, "mode=755"))
		bench_die("mounting a bpffs and a /run: %s", strerror(errno));
}

static void contestants_start(void)
{
	for (int w = 0; w < WAYS; w++) {
		struct contestant *c = &contestants[w];

		c->lab.straight = ways[w].straight;
		live_lab_open(&c->lab);
		if (way_start(&ways[w], &c->lab))
			c->error = "could not be set up";
	}
}

static void sample_take(struct contestant *c, unsigned int round, uint32_t packets)
{
	struct live_sample *s = &c->sample[round];

	if (c->error)
		return;
	*s = live_lab_sample(&c->lab, FLOWS, packets);
	if (s->right != packets || s->other)
		c->error = "not all packets came to the sink translated";
}

/* Medians over the rounds; the net of each round by the floor of the same round. */
static struct bench_cost cost_of(const struct contestant *c, uint32_t packets)
{
	const struct live_sample *floor = contestants[NO_BALANCER].sample;
	double generator[ROUNDS_MAX], balancer[ROUNDS_MAX], sink[ROUNDS_MAX], net[ROUNDS_MAX];
	const double scale = 1e6 / packets;

	for (unsigned int i = 0; i < bench_rounds; i++) {
		const struct live_sample *s = &c->sample[i];

		generator[i] = s->generator * scale;
		balancer[i] = s->balancer * scale;
		sink[i] = s->sink * scale;
		net[i] = balancer[i] + sink[i] - (floor[i].balancer + floor[i].sink) * scale;
	}
	return (struct bench_cost){
		.generator = bench_median(generator, bench_rounds),
		.balancer = bench_median(balancer, bench_rounds),
		.sink = bench_median(sink, bench_rounds),
		.net = bench_median(net, bench_rounds),
	};
}

/* ---------------------------------------------------------------------------- report */

/* 0: one of the two has no figure. */
static double ratio(const struct bench_cost *a, const struct bench_cost *b)
{
	return a->net > 0 && b->net > 0 ? a->net / b->net : 0;
}

static void rows_report(uint32_t packets)
{
	struct bench_cost cost[WAYS] = {};

	bench_report_part("UDP of 1,000 known flows, us per packet",
			  "generator balancer  sink    net  /forwarding  /IPVS");
	for (int w = 0; w < WAYS; w++)
		if (!contestants[w].error)
			cost[w] = cost_of(&contestants[w], packets);
	for (int w = 0; w < WAYS; w++) {
		cost[w].to_forwarding = ratio(&cost[w], &cost[FORWARDING]);
		cost[w].to_ipvs = ratio(&cost[w], &cost[IPVS]);
		if (contestants[w].error)
			bench_report_error("compare", ways[w].name, contestants[w].error);
		else
			bench_report_cost("compare", ways[w].name, &cost[w]);
	}
	if (cost[MESHLB_XDP].to_ipvs > 0)
		bench_report_value("compare", "meshlb XDP / IPVS NAT, net",
				   cost[MESHLB_XDP].to_ipvs, "x", 1.0 / 6, false);
	else
		bench_report_error("compare", "meshlb XDP / IPVS NAT, net",
				   "one of the two has no figure");
	if (cost[DIRECT].net > 0)
		bench_report_note("%.2f of meshlb XDP's are the redirect and the veth to the sink",
				  cost[DIRECT].net);
}

void bench_compare(bool quick, const char *program)
{
	const uint32_t packets = quick ? 5000 : 20000;

	meshlb = program;
	if (bench_rounds > ROUNDS_MAX)
		bench_die("more than %d rounds", ROUNDS_MAX);
	mounts_own();
	contestants_start();
	for (unsigned int i = 0; i < bench_rounds; i++)
		for (int w = 0; w < WAYS; w++)
			sample_take(&contestants[w], i, packets);
	if (contestants[NO_BALANCER].error)
		bench_die("%s: %s", ways[NO_BALANCER].name, contestants[NO_BALANCER].error);
	rows_report(packets);
}
