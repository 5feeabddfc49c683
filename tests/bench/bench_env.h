/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench_env.h - the programs under the bench: loaded from the skeletons, their maps filled by hand,
 * in a network namespace of the process's own in which their route lookups succeed.
 */
#ifndef BENCH_ENV_H
#define BENCH_ENV_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/types.h>

#include "lb_abi.h"
#include "bench.h"

struct bench_bpf;
struct lb_bpf;

/* The namespace: c0 is where packets come in; b0 the way out that needs a redirect. */
struct bench_net {
	uint32_t c0, b0; /* ifindex */
};
int bench_net_open(struct bench_net *net); /* 0 or -errno; the process is in it then */
int bench_pass_attach(uint32_t ifindex);   /* an XDP program that passes everything */

struct bench_env {
	const struct bench_net *net;
	struct lb_bpf *lb;
	struct bench_bpf *wrap;
	uint32_t limit; /* connections, of each family */
	/* The maps, mmap()ed. */
	struct lb_config *config;
	struct lb_ports *ports;
	struct lb_service *services;
	struct lb_member *members;
	struct lb_ring_line *rings;
	struct lb_backend *backends;
	struct lb_conn4_bucket *conn4;
	struct lb_conn6_bucket *conn6;
	struct bench_flow4 *flows4;
	struct bench_flow6 *flows6;
	/* What bench_services_set() has put into them. */
	uint32_t n_services, n_backends;
};

#define BENCH_SERVICES_MAX 10000
#define BENCH_FLOWS_MAX    1048576

/* Loads the programs with tables for `limit` connections. Errors end the bench. */
void bench_env_open(struct bench_env *e, const struct bench_net *net, uint32_t limit);
void bench_env_close(struct bench_env *e);

#define BENCH_MIXED (-1)
struct bench_services {
	uint32_t n;        /* 1 to BENCH_SERVICES_MAX */
	int scheduler;     /* or BENCH_MIXED: each in turn */
	uint32_t backends; /* of each family; 0: 1 to 19, in turn */
	uint8_t proto;     /* enum lb_proto */
	bool any;          /* `*` instead of an address each */
	uint8_t affinity;  /* bits of a client's address; 0: none */
	bool redirect;     /* the backends are not behind the interface that packets come in by */
};
void bench_services_set(struct bench_env *e, const struct bench_services *want);

/* A flow as on the wire, network order; IPv4 addresses in word 0. */
struct bench_tuple {
	__u32 saddr[4], daddr[4];
	__u16 sport, dport;
};

/* Client k (of any service k % n_services) as a forward flow. */
struct bench_tuple bench_client_flow(const struct bench_env *e, enum lb_family family, uint32_t k);

/* Where only the wrapper's own counter tells clients apart. */
struct bench_tuple bench_fresh_flow(const struct bench_env *e, enum lb_family family, uint32_t k);

/* Puts flows into the template, whose frames carry these TCP flags. */
void bench_flows_set(struct bench_env *e, enum lb_family family, const struct bench_tuple *flows,
		     uint32_t n, uint8_t tcp_flags);

/* Forgets all connections. */
void bench_table_clear(struct bench_env *e);

/* Lists the connections in the table as their forward and as their reverse flows, each in an order
 * of its own. Returns their number (of established ones alone if wanted), at most BENCH_FLOWS_MAX.
 */
uint32_t bench_table_list(const struct bench_env *e, enum lb_family family,
			  struct bench_tuple *forward, struct bench_tuple *reverse,
			  bool established);

/* What the programs counted since they were loaded. */
struct bench_counts {
	uint64_t forward, reverse, connections; /* of all backends */
	uint64_t reasons[LB_HOOKS][LB_REASONS];
	uint64_t evicted;
};
void bench_counts_read(const struct bench_env *e, struct bench_counts *c);

void bench_die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
