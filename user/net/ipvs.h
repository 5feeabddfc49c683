/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ipvs.h - the kernel's IPVS by generic netlink (linux/ip_vs.h, family "IPVS" version 1): virtual
 * services, their destinations, counters, in this network namespace.
 *
 * All functions return 0 or -errno.
 */
#ifndef LB_IPVS_H
#define LB_IPVS_H

#include "core/model.h"
#include "genl.h"

struct lb_ipvs {
	struct lb_nl nl;
	uint16_t family;
};

/* The kernel sums them up every two seconds. Bytes from the IP header on. */
struct lb_ipvs_stats {
	uint64_t connections, packets[2], bytes[2]; /* in, out */
};

struct lb_ipvs_service {
	uint32_t mark;  /* 0: a service of an address, which is another's */
	uint8_t family; /* enum lb_family */
	uint8_t proto;  /* mark 0: enum lb_proto; LB_PROTOS: neither */
	struct lb_endpoint at;
	bool own; /* of lb_ipvs_foreign_read(): the address is this host's */
	char scheduler[16];
	uint32_t flags;   /* IP_VS_SVC_F_*, without HASHED */
	uint32_t timeout; /* seconds of persistence; 0 */
	struct lb_ipvs_stats stats;
};

struct lb_ipvs_dest {
	struct lb_endpoint at;
	uint32_t method, weight; /* IP_VS_CONN_F_MASQ, ... */
	uint32_t upper, lower;   /* thresholds of connections; 0 */
	struct lb_ipvs_stats stats;
};

struct lb_ipvs_services {
	struct lb_ipvs_service *list;
	size_t n;
};
struct lb_ipvs_dests {
	struct lb_ipvs_dest *list; /* sorted by lb_endpoint_cmp() */
	size_t n;
};

/* -ENOENT: this kernel has no IPVS, not even as a module. */
int lb_ipvs_open(struct lb_ipvs *v);
void lb_ipvs_close(struct lb_ipvs *v);

int lb_ipvs_services_read(struct lb_ipvs *v, struct lb_ipvs_services *all); /* all of them */
void lb_ipvs_services_free(struct lb_ipvs_services *all);
/* Of those that meshlb has not made, which have addresses, the ones to which packets can come in:
 * in *all, empty where this kernel has no IPVS by now, or who asks may not. */
int lb_ipvs_foreign_read(struct lb_ipvs_services *all);
/* Does it want packets to `l`? One whose address is not this host's by now (VRRP) will, where `l`
 * is of any. */
bool lb_ipvs_service_meets(const struct lb_ipvs_service *s, const struct lb_listen *l);
/* -ESRCH: there is none */
int lb_ipvs_service_read(struct lb_ipvs *v, uint32_t mark, enum lb_family family,
			 struct lb_ipvs_service *s);
/* -ENOENT: no such scheduler */
int lb_ipvs_service_add(struct lb_ipvs *v, const struct lb_ipvs_service *s);
int lb_ipvs_service_set(struct lb_ipvs *v, const struct lb_ipvs_service *s);
int lb_ipvs_service_remove(struct lb_ipvs *v, uint32_t mark, enum lb_family family);

int lb_ipvs_dests_read(struct lb_ipvs *v, uint32_t mark, enum lb_family family,
		       struct lb_ipvs_dests *all);
void lb_ipvs_dests_free(struct lb_ipvs_dests *all);
struct lb_ipvs_dest *lb_ipvs_dest_find(const struct lb_ipvs_dests *all,
				       const struct lb_endpoint *at);
int lb_ipvs_dest_add(struct lb_ipvs *v, uint32_t mark, const struct lb_ipvs_dest *d);
int lb_ipvs_dest_set(struct lb_ipvs *v, uint32_t mark, const struct lb_ipvs_dest *d);
int lb_ipvs_dest_remove(struct lb_ipvs *v, uint32_t mark, const struct lb_ipvs_dest *d);

/* Seconds until an idle connection is forgotten. */
struct lb_ipvs_timeouts {
	uint32_t tcp, tcp_fin, udp;
};
int lb_ipvs_timeouts_read(struct lb_ipvs *v, struct lb_ipvs_timeouts *t);

#endif
