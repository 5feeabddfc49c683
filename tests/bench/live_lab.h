/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * live_lab.h - three namespaces and real interfaces: generator -> veth -> balancer -> veth -> sink,
 * all on one processor. One-armed, the sink hangs on the generator's own veth.
 */
#ifndef LIVE_LAB_H
#define LIVE_LAB_H

#include <stdbool.h>
#include <sys/types.h>

#include "bench_env.h"
#include "live.h"

#define LIVE_VIP          "198.18.0.1"
#define LIVE_VIP_PORT     1001
#define LIVE_BACKEND      "172.24.0.1"
#define LIVE_BACKEND_NEAR "172.16.0.1" /* on the clients' wire */
#define LIVE_BACKEND_PORT 80

struct bpf_program;
struct live_bpf;

struct live_lab {
	/* Wanted of live_lab_open(). */
	bool one_armed;
	bool straight; /* packets are addressed to the backend itself */
	/* Its own. */
	int client, balancer, backend; /* namespaces */
	struct bench_net net;          /* the balancer's */
	uint32_t generator;            /* ifindex in `client` */
	pid_t thread, sink_thread;     /* of the balancer's and the sink's receive queue */
	struct live_bpf *ends;
	struct live_flow *flows;
};

/* Makes it; the process is in the balancer's namespace then. Errors end the bench. */
void live_lab_open(struct live_lab *l);

const char *live_lab_backend(const struct live_lab *l);

/* Runs a shell command in the namespace where the process is. Returns 0, or -1 with a message. */
int live_lab_run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Puts an XDP program on the interface by which packets come to the balancer: one that only sends
 * on what it gets, or the sink, so that there is no balancer at all. 0 or -errno. */
int live_lab_attach(const struct live_lab *l, const struct bpf_program *prog);
int live_lab_direct(struct live_lab *l);
int live_lab_no_balancer(struct live_lab *l);

/* The same DNAT by one rule of the kernel's own. 0 or -1. */
int live_lab_iptables(struct live_lab *l);
int live_lab_nft(struct live_lab *l);

/* What some packets took, in seconds of processor time, and how they came to the sink. */
struct live_sample {
	double generator, balancer, sink;
	uint64_t right, other; /* to the backend's address and port, and otherwise */
};

/* Sends packets of so many flows, all of which were opened just before. */
struct live_sample live_lab_sample(struct live_lab *l, uint32_t flows, uint32_t packets);

#endif
