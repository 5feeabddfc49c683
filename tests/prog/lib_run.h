/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lib_run.h - the programs under test: loads them with small tables and a clock of the test's own,
 * fills their maps by hand (nothing of user/datapath), and runs single packets through a hook.
 */
#ifndef LIB_RUN_H
#define LIB_RUN_H

#include <linux/types.h>

#include "lb_abi.h"
#include "lb.skel.h" /* which names its types */
#include "lib_net.h"
#include "lib_packet.h"

#define RUN_FORWARDED (-1) /* instead of a reason */
#define RUN_BACKENDS  24
#define RUN_IDS       512 /* of backends */

struct run {
	struct net net;
	uint32_t gso_size, gso_segs; /* of the packets that tc is given */
	struct lb_bpf *skel;
	int prog[LB_HOOKS];
	int cpus;
	struct lb_config *config; /* mmap()ed maps */
	struct lb_ports *ports;
	struct lb_backend *backends;
	struct lb_load *loads;
	uint32_t busy[RUN_IDS]; /* connections by id that are not in the table */
	struct lb_conn4_bucket *conn4;
	struct lb_conn6_bucket *conn6;
	uint32_t buckets4, buckets6;
	uint32_t services, next_backend, next_member, next_line; /* given away so far */
	struct lb_reasons seen;                                  /* counters when last read */
	struct lb_reasons *per_cpu;
};

/* The process' own namespace, the programs loaded, all interfaces able to transmit from XDP. */
extern uint32_t run_resets_max; /* of run_open(): in a tick */
extern uint32_t run_tick_ns;    /* the same: what a tick is to rates */
int run_open(struct run *r, uint32_t buckets4, uint32_t buckets6, uint64_t seed);
void run_close(struct run *r);

/* What happened to a packet. */
struct run_result {
	int verdict; /* of the program */
	bool forwarded, dropped;
	bool answered;        /* sent back as a reset of our own */
	int reason;           /* the one counted; RUN_FORWARDED for none */
	unsigned int reasons; /* how many were counted */
	struct pkt out;
};
/* BPF_PROG_TEST_RUN refuses tc frames without a whole network header (6.18) or above a page. */
bool run_accepts(enum lb_hook hook, const struct pkt *p);
int run_packet(struct run *r, enum lb_hook hook, uint32_t ifindex, const struct pkt *in,
	       struct run_result *res);

/* Services. Lists end with a NULL address. */
struct run_listen {
	const char *addr; /* "*": both families; 0.0.0.0 and :: are one each */
	uint16_t port;
	uint8_t proto; /* enum lb_proto */
};
struct run_backend {
	const char *addr;
	uint16_t port;
	uint32_t weight, max_connections;
	uint32_t busy; /* connections that it always has beside those in the table */
};
struct run_service {
	const char *name;
	uint8_t scheduler;
	uint32_t maglev_size;
	struct run_listen listens[8];
	struct run_backend backends[RUN_BACKENDS]; /* in canonical order */
	uint8_t unknown; /* enum lb_unknown + 1; 0: reset, of those that hash: hash */
	uint8_t on_remove;
	uint8_t affinity[LB_FAMILIES]; /* bits of the client's address; 0: none */
	bool across_ports;
};
uint32_t run_add_service(struct run *r, const struct run_service *s); /* its id */
/* Another version of service `id`, in force from `generation` on; its listens are not changed. */
void run_next_version(struct run *r, uint32_t id, const struct run_service *s, uint32_t generation);
void run_put_listen(struct run *r, const struct run_listen *l, uint32_t service,
		    uint32_t generation);
void run_remove_listen(struct run *r, const struct run_listen *l, uint32_t generation);
uint32_t run_backend_id(struct run *r, uint32_t service, const struct pkt_end *at); /* 0: none */

/* Connection entries in the table for this tuple: number, and one's state. */
struct run_entries {
	unsigned int n;
	int state;
	uint32_t backend;
};
void run_entries(struct run *r, uint8_t proto, const struct pkt_end *client,
		 const struct pkt_end *service, struct run_entries *e);
void run_forget_connections(struct run *r);
/* For the next test: without connections, and much later. Time never goes back, for a backend
 * remembers in which tick it asked for its way. */
void run_fresh(struct run *r);
/* Entries of a backend in the table that count as its load, expired or not. */
uint32_t run_count_backend(struct run *r, uint32_t backend);

void run_clock(struct run *r, uint32_t tick);
uint32_t run_now(struct run *r);
void run_later(struct run *r, uint32_t ticks);
uint32_t run_ticks(const struct run *r, int state); /* that an entry lives in it, by set 0 */
/* By so many a FIN that is not believed makes an established one look older. */
uint32_t run_unsettled(const struct run *r);
void run_counters(struct run *r, uint32_t backend, struct lb_counters *c);
int run_stay_on(unsigned int cpu); /* the calling thread; 0 or -errno */
void run_iface_flags(struct run *r, uint32_t ifindex, uint8_t flags);
const char *run_reason_name(int reason);
bool run_reason_drops(int reason);

#endif
