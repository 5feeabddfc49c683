/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * model.h - services and backends as plain structs: what a source wants and what a datapath has.
 *
 * A model knows neither where it came from nor who executes it. Lists are growing arrays owned by
 * the model; every string in it is inline or owned by it. Ports are in host order here.
 */
#ifndef LB_MODEL_H
#define LB_MODEL_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <linux/types.h>

#include "lb_abi.h"

#define LB_WEIGHT_MAX          65535
#define LB_MAGLEV_SIZE_DEFAULT 65537
#define LB_MAGLEV_SIZE_MAX     655373
#define LB_IFNAME_MAX          16
#define LB_TIMEOUT_MAX         (48 * 3600) /* seconds: what an entry's tick has room for */

/* Who made an object, as a route's proto. A source reconciles only its own. */
enum lb_source {
	LB_SOURCE_FILE = 1,
	LB_SOURCE_SWARM,
	LB_SOURCE_CLI,
	LB_SOURCE_IPVSADM,
	LB_SOURCES
};

/* An IPv4 (as ::ffff:a.b.c.d) or IPv6 address with a port. */
struct lb_endpoint {
	struct lb_addr addr;
	uint16_t port;
	uint8_t family; /* enum lb_family */
};

enum lb_any {
	LB_ANY_NOT = 0, /* address-bound */
	LB_ANY_ONE,     /* 0.0.0.0 or [::] */
	LB_ANY_BOTH,    /* `*`: kept as one listen, family V4, standing for both */
};

struct lb_listen {
	struct lb_endpoint at; /* any != NOT: at.addr is 0.0.0.0 or :: */
	uint8_t proto;         /* enum lb_proto */
	uint8_t any;           /* enum lb_any */
	int line;              /* of the config file, 0: none */
};

struct lb_backend_conf {
	struct lb_endpoint at;
	uint32_t weight;          /* configured, 0 to LB_WEIGHT_MAX */
	uint32_t override;        /* set by hand, or LB_NO_OVERRIDE */
	uint32_t override_since;  /* seconds since the epoch */
	uint32_t max_connections; /* 0: any number */
	uint32_t id;              /* lb_backends' id where read back, else 0 */
	int line;
};

/* What a service does with the addresses of a packet. */
enum lb_forwarding {
	LB_FORWARDING_NAT,  /* the destination becomes the backend; the client's address stays */
	LB_FORWARDING_MASQ, /* and the source this host: answers come back whatever the routes */
	LB_FORWARDINGS
};

/* Which clients get the same backend again; how long after: timeouts[LB_TIMEOUT_AFFINITY]. */
struct lb_affinity_conf {
	uint8_t mask[LB_FAMILIES]; /* bits of a client's address that count; 0: there is none */
	bool across_ports;         /* one for all ports of the service */
};
#define LB_AFFINITY_DEFAULT ((struct lb_affinity_conf){.mask = {[LB_V4] = 32, [LB_V6] = 128}})

struct lb_service_conf {
	char name[LB_NAME_MAX];
	uint8_t scheduler;  /* enum lb_scheduler */
	uint8_t forwarding; /* enum lb_forwarding */
	uint8_t source;     /* enum lb_source */
	uint8_t unknown;    /* enum lb_unknown */
	uint8_t on_remove;  /* enum lb_on_remove */
	uint32_t maglev_size;
	struct lb_affinity_conf affinity;
	uint32_t timeouts[LB_TIMEOUTS]; /* seconds; 0: as the model's */
	uint32_t max_connections;       /* while it is read: of backends that do not say */
	struct lb_listen *listens;
	size_t n_listens;
	struct lb_backend_conf *backends; /* canonical: sorted by lb_endpoint_cmp() */
	size_t n_backends;
	uint32_t id; /* lb_services' id where read back, else 0 */
	int line;
};

struct lb_interface_conf {
	char name[LB_IFNAME_MAX];
	uint8_t hook; /* enum lb_hook_kind */
	int line;
};

struct lb_limits {
	uint32_t connections;  /* IPv4 */
	uint32_t connections6; /* IPv6, default: as connections */
	uint32_t services;
	uint32_t backends;
	uint32_t ring_slots;
};

/* New flows in a second that are let in. */
struct lb_rates_conf {
	uint32_t per_cpu, per_source;       /* to LB_RATE_MAX; 0: any number */
	uint32_t source_mask, source_mask6; /* bits of an address that are its prefix */
};
#define LB_RATES_DEFAULT ((struct lb_rates_conf){.source_mask = 32, .source_mask6 = 64})

/* How many listens an instance has room for, `*` counted twice: one a family. */
static inline uint64_t lb_limits_listens(const struct lb_limits *l)
{
	uint64_t n = (uint64_t)l->services * 8;

	return n < 1024 ? 1024 : n;
}

enum lb_datapath_kind {
	LB_DATAPATH_AUTO,
	LB_DATAPATH_EBPF,
	LB_DATAPATH_NFT,
	LB_DATAPATH_IPVS,
	LB_DATAPATHS
};

struct lb_model {
	uint8_t datapath;          /* enum lb_datapath_kind */
	uint8_t default_scheduler; /* enum lb_scheduler */
	uint32_t default_maglev_size;
	uint32_t timeouts[LB_TIMEOUTS]; /* seconds, by enum lb_timeout */
	int timeouts_line;              /* of the config; 0: not in it */
	struct lb_rates_conf rates;
	int rates_line;
	struct lb_limits limits;
	int limits_line;
	bool limits_free; /* read back: from a datapath that did not fix them when it was made */
	bool lost;        /* read back: somebody has removed it, and nobody knows what is served */
	struct lb_interface_conf *interfaces;
	size_t n_interfaces;
	struct lb_service_conf *services; /* sorted by name */
	size_t n_services;
};

void lb_model_init(struct lb_model *m); /* empty, with the default limits */
void lb_model_free(struct lb_model *m); /* and back to zeroes */
int lb_model_copy(struct lb_model *to, const struct lb_model *from); /* 0 or -ENOMEM */

/* Appends a zeroed element (a backend: without override) and returns it; NULL without memory.
 * Pointers into the list move. */
struct lb_interface_conf *lb_model_add_interface(struct lb_model *m);
struct lb_service_conf *lb_model_add_service(struct lb_model *m);
struct lb_listen *lb_service_add_listen(struct lb_service_conf *s);
struct lb_backend_conf *lb_service_add_backend(struct lb_service_conf *s);
void lb_model_remove_service(struct lb_model *m, size_t index);
void lb_model_remove_interface(struct lb_model *m, size_t index);
void lb_service_remove_listen(struct lb_service_conf *s, size_t index);

/* Sorts services by name, listens and backends by endpoint: two equal models are then equal
 * element by element, whatever the order of the lines they came from. */
void lb_model_sort(struct lb_model *m);

/* By bisection: only in sorted lists. NULL where there is none. */
struct lb_service_conf *lb_model_find_service(const struct lb_model *m, const char *name);
struct lb_backend_conf *lb_service_find_backend(const struct lb_service_conf *s,
						const struct lb_endpoint *at);
static inline bool lb_listen_in(const struct lb_listen *l, enum lb_family family)
{
	return l->any == LB_ANY_BOTH || l->at.family == family;
}
bool lb_model_has_family(const struct lb_model *m, enum lb_family family);
bool lb_service_has_family(const struct lb_service_conf *s, enum lb_family family);
bool lb_service_has_listen(const struct lb_service_conf *s, const struct lb_listen *l);
size_t lb_model_pairs(const struct lb_model *m); /* of a listen and a backend */
/* What a service does with unknown connections that does not say so: those that hash can take them
 * up without changing their backend. */
static inline uint8_t lb_unknown_default(uint8_t scheduler)
{
	return scheduler == LB_SCHED_SH || scheduler == LB_SCHED_MAGLEV ? LB_UNKNOWN_HASH
									: LB_UNKNOWN_RESET;
}
bool lb_service_has_timeouts(const struct lb_service_conf *s); /* of its own, under `timeouts` */
static inline bool lb_service_has_any_timeouts(const struct lb_service_conf *s)
{
	return lb_service_has_timeouts(s) || s->timeouts[LB_TIMEOUT_AFFINITY];
}
static inline bool lb_service_has_affinity(const struct lb_service_conf *s)
{
	return s->affinity.mask[LB_V4];
}
static inline uint32_t lb_backend_weight(const struct lb_backend_conf *b) /* in force */
{
	return b->override == LB_NO_OVERRIDE ? b->weight : b->override;
}

/* Order: IPv4 before IPv6, then by address bytes, then by port. As for qsort(). */
int lb_endpoint_cmp(const struct lb_endpoint *a, const struct lb_endpoint *b);
int lb_listen_cmp(const struct lb_listen *a, const struct lb_listen *b);

/* Text. The buffers need LB_ENDPOINT_STRLEN; each returns its buffer. */
#define LB_ENDPOINT_STRLEN 64
const char *lb_addr_str(char *buf, const struct lb_addr *addr, enum lb_family family);
const char *lb_endpoint_str(char *buf, const struct lb_endpoint *at); /* 10.0.0.1:80, [::1]:80 */
const char *lb_listen_str(char *buf, const struct lb_listen *l);      /* *:80/tcp */

/* Parse; 0 or -EINVAL with *why set to a static text saying what would be right. `addr:port`,
 * `[addr6]:port`; listens also `*:port` and a trailing /tcp or /udp. Port 0 is refused. */
int lb_endpoint_parse(struct lb_endpoint *at, const char *text, const char **why);
int lb_listen_parse(struct lb_listen *l, const char *text, const char **why);
int lb_addr_parse(struct lb_addr *addr, uint8_t *family, const char *text);
bool lb_addr_is_link_local(const struct lb_addr *addr, enum lb_family family); /* fe80::/10 */
bool lb_addr_is_any(const struct lb_addr *addr, enum lb_family family);        /* 0.0.0.0 or :: */
/* Why packets for it can neither come in nor go out, whatever the host; NULL: they can. Says
 * nothing of 0.0.0.0 and ::, which are more than one address. */
const char *lb_addr_why_not(const struct lb_addr *addr, enum lb_family family);

/* Seconds. Entries in use are refreshed only now and then: a shorter timeout would end them. Those
 * below LB_TIMEOUTS_NAMED stand under `timeouts`; the rest, where they belong to. */
#define LB_TIMEOUTS_NAMED LB_TIMEOUT_AFFINITY
uint32_t lb_timeout_default(enum lb_timeout timeout);
uint32_t lb_timeout_min(enum lb_timeout timeout);
void lb_timeouts_default(uint32_t timeouts[LB_TIMEOUTS]);

/* A name out of a map, where anybody may have written: what is not printable becomes `?`. */
void lb_name_mend(char *name);

/* Names of the enums; lb_*_from_name() returns the value or -1. */
uint32_t lb_name_hash(const char *name); /* the same on every host, and in every version */
const char *lb_scheduler_name(unsigned int scheduler);
const char *lb_forwarding_name(unsigned int forwarding);
const char *lb_unknown_name(unsigned int unknown);
const char *lb_on_remove_name(unsigned int on_remove);
const char *lb_proto_name(unsigned int proto);
const char *lb_hook_kind_name(unsigned int kind);
const char *lb_datapath_kind_name(unsigned int kind);
const char *lb_source_name(unsigned int source);
const char *lb_conn_state_name(unsigned int state);
const char *lb_timeout_name(unsigned int timeout);
const char *lb_reason_name(unsigned int reason);
const char *lb_reason_help(unsigned int reason);
bool lb_reason_is_drop(unsigned int reason);
int lb_scheduler_from_name(const char *name);
int lb_forwarding_from_name(const char *name);
int lb_unknown_from_name(const char *name);
int lb_on_remove_from_name(const char *name);
int lb_hook_kind_from_name(const char *name);
int lb_datapath_kind_from_name(const char *name);

#endif
