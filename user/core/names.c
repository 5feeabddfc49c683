// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * names.c - printed names of the enums in lb_abi.h and model.h.
 *
 * Each list makes a table indexed by value. Its entries are as many as the enum's values, none is
 * there twice (-Woverride-init) and none beyond the end: so no value is without a name.
 */

#include "model.h"

#include <assert.h>
#include <string.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define ENTRY(value, name) [value] = name,
#define ONE(value, name)   +1
#define NAME_TABLE(table, LIST, values)                                                            \
	static const char *const table[] = {LIST(ENTRY)};                                          \
	static_assert(ARRAY_SIZE(table) == (values) && (0 LIST(ONE)) == (values),                  \
		      "a value of the enum has no name")

#define SCHEDULER_LIST(X)                                                                          \
	X(LB_SCHED_RR, "rr")                                                                       \
	X(LB_SCHED_WRR, "wrr")                                                                     \
	X(LB_SCHED_RANDOM, "random")                                                               \
	X(LB_SCHED_SH, "sh")                                                                       \
	X(LB_SCHED_MAGLEV, "maglev")                                                               \
	X(LB_SCHED_LC, "lc")                                                                       \
	X(LB_SCHED_WLC, "wlc")
NAME_TABLE(scheduler_names, SCHEDULER_LIST, LB_SCHEDULERS);

#define FORWARDING_LIST(X)                                                                         \
	X(LB_FORWARDING_NAT, "nat")                                                                \
	X(LB_FORWARDING_MASQ, "masq")
NAME_TABLE(forwarding_names, FORWARDING_LIST, LB_FORWARDINGS);

#define PROTO_LIST(X)                                                                              \
	X(LB_TCP, "tcp")                                                                           \
	X(LB_UDP, "udp")
NAME_TABLE(proto_names, PROTO_LIST, LB_PROTOS);

#define HOOK_KIND_LIST(X)                                                                          \
	X(LB_KIND_AUTO, "auto")                                                                    \
	X(LB_KIND_XDP, "xdp")                                                                      \
	X(LB_KIND_XDP_GENERIC, "xdp-generic")                                                      \
	X(LB_KIND_TC, "tc")
NAME_TABLE(hook_kind_names, HOOK_KIND_LIST, LB_KINDS);

#define DATAPATH_KIND_LIST(X)                                                                      \
	X(LB_DATAPATH_AUTO, "auto")                                                                \
	X(LB_DATAPATH_EBPF, "ebpf")                                                                \
	X(LB_DATAPATH_NFT, "nft")                                                                  \
	X(LB_DATAPATH_IPVS, "ipvs")
NAME_TABLE(datapath_kind_names, DATAPATH_KIND_LIST, LB_DATAPATHS);

#define SOURCE_LIST(X)                                                                             \
	X(0, "none")                                                                               \
	X(LB_SOURCE_FILE, "file")                                                                  \
	X(LB_SOURCE_SWARM, "swarm")                                                                \
	X(LB_SOURCE_CLI, "cli")                                                                    \
	X(LB_SOURCE_IPVSADM, "ipvsadm")
NAME_TABLE(source_names, SOURCE_LIST, LB_SOURCES);

#define CONN_STATE_LIST(X)                                                                         \
	X(LB_CONN_FREE, "free")                                                                    \
	X(LB_CONN_DEAD, "dead")                                                                    \
	X(LB_CONN_BUSY, "busy")                                                                    \
	X(LB_CONN_SYN_SENT, "syn-sent")                                                            \
	X(LB_CONN_SYN_RECV, "syn-recv")                                                            \
	X(LB_CONN_ESTABLISHED, "established")                                                      \
	X(LB_CONN_FIN_CLIENT, "fin-client")                                                        \
	X(LB_CONN_FIN_BACKEND, "fin-backend")                                                      \
	X(LB_CONN_CLOSING, "closing")                                                              \
	X(LB_CONN_CLOSED, "closed")                                                                \
	X(LB_CONN_UDP_NEW, "udp-new")                                                              \
	X(LB_CONN_UDP, "udp")                                                                      \
	X(LB_CONN_RESET, "reset")                                                                  \
	X(LB_CONN_AFFINITY_NEW, "affinity-new")                                                    \
	X(LB_CONN_AFFINITY_UDP, "affinity-udp")                                                    \
	X(LB_CONN_AFFINITY, "affinity")
NAME_TABLE(conn_state_names, CONN_STATE_LIST, LB_CONN_STATES);

#define UNKNOWN_LIST(X)                                                                            \
	X(LB_UNKNOWN_HASH, "hash")                                                                 \
	X(LB_UNKNOWN_RESET, "reset")                                                               \
	X(LB_UNKNOWN_DROP, "drop")
NAME_TABLE(unknown_names, UNKNOWN_LIST, LB_UNKNOWNS);

#define ON_REMOVE_LIST(X)                                                                          \
	X(LB_ON_REMOVE_RESET, "reset")                                                             \
	X(LB_ON_REMOVE_REHASH, "rehash")                                                           \
	X(LB_ON_REMOVE_DROP, "drop")
NAME_TABLE(on_remove_names, ON_REMOVE_LIST, LB_ON_REMOVES);

#define TIMEOUT_LIST(X)                                                                            \
	X(LB_TIMEOUT_SYN, "syn")                                                                   \
	X(LB_TIMEOUT_ESTABLISHED, "established")                                                   \
	X(LB_TIMEOUT_HALF_CLOSED, "half-closed")                                                   \
	X(LB_TIMEOUT_CLOSING, "closing")                                                           \
	X(LB_TIMEOUT_CLOSED, "closed")                                                             \
	X(LB_TIMEOUT_UDP_NEW, "udp-new")                                                           \
	X(LB_TIMEOUT_UDP, "udp")                                                                   \
	X(LB_TIMEOUT_AFFINITY, "affinity")
NAME_TABLE(timeout_names, TIMEOUT_LIST, LB_TIMEOUTS);

/* Made from the same list as the enum: whole by construction. */
static const struct {
	const char *name, *help;
	bool drop;
} reasons[] = {
#define REASON_ENTRY(name, text, drop, help) {text, help, drop},
	LB_REASON_LIST(REASON_ENTRY)
#undef REASON_ENTRY
};
static_assert(ARRAY_SIZE(reasons) == LB_REASONS, "a reason has no name");

void lb_name_mend(char *name)
{
	for (; *name; name++)
		if (*name < ' ' || *name > '~')
			*name = '?';
}

uint32_t lb_name_hash(const char *name)
{
	uint32_t hash = 0;

	while (*name)
		hash = hash * 31 + (unsigned char)*name++;
	return hash;
}

#define NAME_OF(table, value) ((value) < ARRAY_SIZE(table) ? (table)[value] : "unknown")

const char *lb_scheduler_name(unsigned int scheduler)
{
	return NAME_OF(scheduler_names, scheduler);
}

const char *lb_forwarding_name(unsigned int forwarding)
{
	return NAME_OF(forwarding_names, forwarding);
}

const char *lb_unknown_name(unsigned int unknown)
{
	return NAME_OF(unknown_names, unknown);
}

const char *lb_on_remove_name(unsigned int on_remove)
{
	return NAME_OF(on_remove_names, on_remove);
}

const char *lb_proto_name(unsigned int proto)
{
	return NAME_OF(proto_names, proto);
}

const char *lb_hook_kind_name(unsigned int kind)
{
	return NAME_OF(hook_kind_names, kind);
}

const char *lb_datapath_kind_name(unsigned int kind)
{
	return NAME_OF(datapath_kind_names, kind);
}

const char *lb_source_name(unsigned int source)
{
	return NAME_OF(source_names, source);
}

const char *lb_conn_state_name(unsigned int state)
{
	return NAME_OF(conn_state_names, state);
}

const char *lb_timeout_name(unsigned int timeout)
{
	return NAME_OF(timeout_names, timeout);
}

const char *lb_reason_name(unsigned int reason)
{
	return reason < LB_REASONS ? reasons[reason].name : "unknown";
}

const char *lb_reason_help(unsigned int reason)
{
	return reason < LB_REASONS ? reasons[reason].help : "unknown";
}

bool lb_reason_is_drop(unsigned int reason)
{
	return reason < LB_REASONS && reasons[reason].drop;
}

static int from_name(const char *const *table, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(table[i], name))
			return i;
	return -1;
}

int lb_scheduler_from_name(const char *name)
{
	return from_name(scheduler_names, LB_SCHEDULERS, name);
}

int lb_forwarding_from_name(const char *name)
{
	return from_name(forwarding_names, LB_FORWARDINGS, name);
}

int lb_unknown_from_name(const char *name)
{
	return from_name(unknown_names, LB_UNKNOWNS, name);
}

int lb_on_remove_from_name(const char *name)
{
	return from_name(on_remove_names, LB_ON_REMOVES, name);
}

int lb_hook_kind_from_name(const char *name)
{
	return from_name(hook_kind_names, LB_KINDS, name);
}

int lb_datapath_kind_from_name(const char *name)
{
	return from_name(datapath_kind_names, LB_DATAPATHS, name);
}
