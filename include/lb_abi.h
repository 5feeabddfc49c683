/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lb_abi.h - what the BPF programs and the C program share: the layout of every map.
 *
 * Included by both sides after their own integer types (bpf/: vmlinux.h, user/: <linux/types.h>).
 * A change of any layout here must raise LB_ABI_VERSION; instances from LB_ABI_OLDEST on are taken
 * over (user/datapath/ebpf_migrate.c), for which fields keep their names, and what is new begins at
 * 0. Addresses and ports named be16 or `struct lb_addr` are in network byte order, all other
 * numbers in the host's.
 */
#ifndef LB_ABI_H
#define LB_ABI_H

#define LB_ABI_VERSION 12
#define LB_ABI_OLDEST  7

/* ---------------------------------------------------------------- numbers that never change */

enum lb_family { LB_V4 = 0, LB_V6 = 1, LB_FAMILIES = 2 };
enum lb_proto { LB_TCP = 0, LB_UDP = 1, LB_PROTOS = 2 };
enum lb_hook { LB_HOOK_XDP = 0, LB_HOOK_TC = 1, LB_HOOKS = 2 };

enum lb_scheduler {
	LB_SCHED_RR = 0,     /* ring of one slot a backend, by a counter */
	LB_SCHED_WRR = 1,    /* ring with weights, by a counter */
	LB_SCHED_RANDOM = 2, /* ring with weights, by a random number */
	LB_SCHED_SH = 3,     /* ring with weights, by a hash of the client's address */
	LB_SCHED_MAGLEV = 4, /* Maglev table, by a hash of the flow */
	LB_SCHED_LC = 5,     /* whoever has the fewest connections; ring as rr's */
	LB_SCHED_WLC = 6,    /* for its weight; ring as wrr's */
	LB_SCHEDULERS = 7,
};

/* What becomes of a TCP packet in the middle of a connection that is not known. */
enum lb_unknown {
	LB_UNKNOWN_HASH = 0,  /* taken up, by the backend that a hash names */
	LB_UNKNOWN_RESET = 1, /* reset: by the host's own stack where the address is its own */
	LB_UNKNOWN_DROP = 2,
	LB_UNKNOWNS = 3,
};

/* And of one whose backend was removed. */
enum lb_on_remove {
	LB_ON_REMOVE_RESET = 0,
	LB_ON_REMOVE_REHASH = 1, /* balanced anew */
	LB_ON_REMOVE_DROP = 2,
	LB_ON_REMOVES = 3,
};

/*
 * Why a packet was not forwarded. X(name, printed name, is it a drop?, explanation).
 * Each packet that a program does not forward counts exactly one of them, per hook.
 */
#define LB_REASON_LIST(X)                                                                          \
	X(NOT_IP, "not-ip", 0, "neither IPv4 nor IPv6")                                            \
	X(VLAN, "vlan", 0, "VLAN-tagged: attach to the VLAN's own interface")                      \
	X(NOT_UNICAST, "not-unicast", 0, "not addressed to this host: group or another's MAC")     \
	X(MALFORMED, "malformed", 0, "lengths or version that cannot be: left to the kernel")      \
	X(FRAGMENT, "fragment", 0, "an IP fragment: it has no ports to choose by")                 \
	X(EXT_HEADER, "ext-header", 0, "IPv6 extension headers that cannot be skipped")            \
	X(NOT_TCP_UDP, "not-tcp-udp", 0, "neither TCP nor UDP")                                    \
	X(NO_SERVICE, "no-service", 0, "no service and no connection has this address and port")   \
	X(NOT_LOCAL, "not-local", 0, "a `*` service's port, but not an address of this host")      \
	X(MARTIAN, "martian", 0,                                                                   \
	  "from or to an address that nobody forwards: loopback, link-local, ...")                 \
	X(NO_FAMILY, "no-family", 0, "a `*` service without a backend of this address family")     \
	X(NO_CONNECTION, "no-connection", 0, "mid-connection TCP packet of no known connection")   \
	X(NO_CONNECTION_DROP, "no-connection-drop", 1,                                             \
	  "mid-connection TCP packet of no known connection: `unknown: drop`")                     \
	X(NO_CONNECTION_RESET, "no-connection-reset", 1,                                           \
	  "mid-connection TCP packet of no known connection: answered by a reset")                 \
	X(TO_TC, "to-tc", 0, "XDP left the packet to the tc program behind it")                    \
	X(NO_BACKEND, "no-backend", 1, "the service has no backend that takes connections")        \
	X(BACKENDS_FULL, "backends-full", 1,                                                       \
	  "all backends of the service have their `max-connections`")                              \
	X(BACKENDS_FULL_RESET, "backends-full-reset", 1,                                           \
	  "all backends have their `max-connections`: answered by a reset")                        \
	X(BACKENDS_FULL_LOCAL, "backends-full-local", 0,                                           \
	  "all backends have their `max-connections`: UDP that the host's own stack refuses")      \
	X(BACKEND_GONE, "backend-gone", 1, "the connection's backend was removed")                 \
	X(BACKEND_GONE_RESET, "backend-gone-reset", 1,                                             \
	  "the connection's backend was removed: answered by a reset")                             \
	X(BACKEND_DRAINED_RESET, "backend-drained-reset", 1,                                       \
	  "a drained backend that has forgotten a connection opens another one: reset")            \
	X(RESET_LIMITED, "reset-limited", 1,                                                       \
	  "a reset was due, but too many were sent in this second")                                \
	X(RATE_CPU, "rate-cpu", 1, "more new flows on this CPU than `rates.per-cpu`")              \
	X(RATE_SOURCE, "rate-source", 1,                                                           \
	  "more new flows of this client's prefix than `rates.per-source`")                        \
	X(COLLISION, "collision", 1, "client address and port in use towards every backend tried") \
	X(TABLE_FULL, "table-full", 1, "no room among the flow's candidate slots")                 \
	X(NO_ROUTE, "no-route", 1, "the kernel has no route to the backend or client")             \
	X(FORWARDING_OFF, "forwarding-off", 1, "the kernel's forwarding sysctl is off")            \
	X(TTL_EXPIRED, "ttl-expired", 1, "TTL or hop limit would become 0")                        \
	X(TOO_BIG, "too-big", 1, "larger than the MTU of the way out")                             \
	X(REWRITE_FAILED, "rewrite-failed", 1, "the kernel refused to change the packet")          \
	X(BAD_STATE, "bad-state", 1, "inconsistent maps: run `meshlb verify`")

enum lb_reason {
#define LB_REASON_ENUM(name, text, drop, help) LB_REASON_##name,
	LB_REASON_LIST(LB_REASON_ENUM)
#undef LB_REASON_ENUM
		LB_REASONS,
};

/* ------------------------------------------------------------------------- common pieces */

/* An IPv6 address, or an IPv4 one as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2). */
struct lb_addr {
	__u8 b[16];
} __attribute__((aligned(4)));

/*
 * Versions. One store of lb_config.generation commits a whole change: whatever an `apply` alters
 * is prepared in the inactive one of two slots and selected only from the next generation on.
 * `select` is (generation << 1 | slot): from that generation on `slot` is in force, before it the
 * other one.
 */
static inline __attribute__((always_inline)) __u32 lb_slot(__u32 select, __u32 generation)
{
	return (select & 1) ^ (generation < select >> 1);
}

/* ------------------------------------------------------------------------- maps */

#define LB_SECRET_WORDS 10

/* lb_config[0]: what is true of the instance as a whole. BPF reads only `generation`. */
struct lb_config {
	__u32 abi;                     /* LB_ABI_VERSION that made the maps */
	__u32 generation;              /* last committed change, counts from 1 */
	__u64 secret[LB_SECRET_WORDS]; /* connection table's hash key; rodata at every load */
	__u64 netns;                   /* inode of the network namespace it serves */
	__u64 build;                   /* hash of the BPF object that is loaded */
	__u64 created;                 /* seconds since the epoch */
	__u64 applied;                 /* seconds since the epoch, last apply */
	__u32 connections;             /* limits as configured */
	__u32 connections6;
	__u32 services;
	__u32 backends;
	__u32 ring_slots;
	__u32 default_scheduler; /* enum lb_scheduler */
	__u32 default_maglev_size;
	__u32 datapath_auto; /* 1: configured `auto`, 0: `ebpf` */
	__u32 no_iterator;   /* errno by which the kernel refused the iterator; 0: it runs */
	__u32 pad;
};

/* lb_ports[0]: which ports can matter at all; the first thing asked for each packet. Bits are
 * added before the service that needs them and taken away only by `down`. */
#define LB_PORT_EXACT   1 /* a service listens on an address and this port */
#define LB_PORT_ANY     2 /* a service listens on `*` and this port */
#define LB_PORT_BACKEND 4 /* a backend has (or had) this port */
#define LB_LISTEN_BITS  20
struct lb_ports {
	__u8 flags[LB_PROTOS][65536]; /* by port in host order */
	/* Bit lb_listen_bit() of each listen that is not `*`; of 10,000, one address in a hundred
	 * that has none seems to have one. */
	__u8 listens[1 << (LB_LISTEN_BITS - 3)];
};

static inline __attribute__((always_inline)) __u32 lb_listen_bit(const struct lb_addr *addr,
								 __be16 port, int proto)
{
	const __be32 *word = (const __be32 *)addr->b;
	const __u64 mix = 0x9e3779b97f4a7c15ull;
	__u64 h = word[0] + mix;

	h = (h ^ h >> 32) * mix + word[1];
	h = (h ^ h >> 32) * mix + word[2];
	h = (h ^ h >> 32) * mix + word[3];
	h = (h ^ h >> 32) * mix + ((__u32)port << 1 | proto);
	return (h ^ h >> 32) * mix >> (64 - LB_LISTEN_BITS);
}

/* lb_listens: address, port and protocol -> service. `*` is ::ffff:0.0.0.0 (IPv4) and :: (IPv6). */
struct lb_listen_key {
	struct lb_addr addr;
	__be16 port;
	__u8 proto; /* enum lb_proto */
	__u8 pad;
};
struct lb_listen_value {
	__u32 select;
	__u32 service[2]; /* id, 0: none */
	__u32 flags;      /* LB_LISTEN_* */
};
#define LB_LISTEN_BOTH 1 /* configured as `*`: the v4 and the v6 key are one listen */

/* One address family of one version of a service. */
struct lb_pool {
	__u32 ring;      /* first slot in lb_rings, a multiple of LB_RING_LINE */
	__u32 ring_size; /* slots; 0: nobody takes new connections */
	__u32 members;   /* first one in lb_members */
	__u32 n_members; /* 0: the service has no backend of this family */
};

struct lb_service_version {
	struct lb_pool pool[LB_FAMILIES];
	__u8 present; /* 0: the service does not exist in this version */
	__u8 scheduler;
	__u8 source;       /* enum lb_source in user/core/model.h */
	__u8 timeouts;     /* set in lb_timeouts */
	__u32 maglev_size; /* prime; slots of a maglev ring */
	__u8 unknown;      /* enum lb_unknown */
	__u8 on_remove;    /* enum lb_on_remove */
	/* Affinity: bits of a client's address that count; 0: it has none. And is one of all of its
	 * listens' ports? */
	__u8 affinity[LB_FAMILIES];
	__u8 across_ports;
	__u8 pad[3];
};

struct lb_counters {
	__u64 packets[2]; /* [0] towards the backend, [1] towards the client; GSO counted apart */
	__u64 bytes[2];   /* IP bytes, header included */
	__u64 connections;
};

/* lb_services[id], id 0 unused. */
#define LB_NAME_MAX 64
struct lb_service {
	__u32 select;
	__u32 pad;
	struct lb_service_version version[2];
	char name[LB_NAME_MAX];     /* NUL-terminated */
	struct lb_counters retired; /* of removed backends whose id was given away */
	__u64 next[LB_FAMILIES] __attribute__((aligned(64))); /* turn of rr and wrr; BPF writes */
};

/* lb_rings: u16 positions in the service's members, LB_RING_LINE to an element. */
#define LB_RING_LINE 32
struct lb_ring_line {
	__u16 member[LB_RING_LINE];
};

/* lb_members: the backends of a pool, ordered by address and port (the same on every node). */
#define LB_NO_OVERRIDE 0xffffffff
struct lb_member {
	__u32 backend;        /* id */
	__u32 weight;         /* configured, 0 to 65535 */
	__u32 override;       /* weight set by hand (0: drain), or LB_NO_OVERRIDE */
	__u32 override_since; /* seconds since the epoch */
};

/* lb_backends[id], id 0 unused. A backend belongs to one service. */
enum lb_backend_state { LB_BACKEND_FREE = 0, LB_BACKEND_LIVE = 1, LB_BACKEND_GONE = 2 };
struct lb_backend {
	struct lb_addr addr;
	__be16 port;
	__u8 family;
	__u8 state;
	__u32 service;
	__u32 reuse;   /* how often the id was given away; LB_REF_REUSE of it is in connections */
	__u32 nexthop; /* BPF's cache: tick << LB_NEXTHOP_BITS | next hop's id, 0: unknown */
	__u32 drained; /* as `select`; 1: it takes no new connections, and affinity none either */
	__u32 gone;    /* generation in which it was found to be GONE */
};

/* lb_loads[id]: what a backend has to do now. */
struct lb_load {
	__u32 connections; /* entries whose lb_conn_counts(); those that expired are among them
			    * until they are collected */
	__u32 select;      /* as lb_listen_value's */
	__u32 max[2];      /* max-connections; 0: any number */
};

/* lb_backend_stats[id], per CPU: struct lb_counters. lb_reasons[0], per CPU: */
struct lb_reasons {
	__u64 count[LB_HOOKS][LB_REASONS];
	__u64 evicted[5]; /* live connections pushed out, by enum lb_evicted */
	__u64 taken_up;   /* TCP connections in their middle, by `unknown: hash` */
};
enum lb_evicted {
	LB_EVICT_HALF_OPEN,
	LB_EVICT_CLOSING,
	LB_EVICT_UDP,   /* answered: a spoofed query can bring that about, an established TCP not */
	LB_EVICT_RESET, /* it may live still, and anybody can say that it does not */
	LB_EVICT_ESTABLISHED,
	LB_EVICT_KINDS
};

/* lb_nexthops[id], id 0 unused: where a packet leaves. Written by BPF alone; an id is given to
 * another next hop only when nobody has confirmed it for LB_NEXTHOP_GRACE ticks. */
#define LB_NEXTHOP_BITS  10
#define LB_NEXTHOPS      (1 << LB_NEXTHOP_BITS)
#define LB_NEXTHOP_GRACE 8
struct lb_nexthop {
	__u32 ifindex;
	__u16 mtu;
	__u8 flags; /* LB_IFACE_* of the interface */
	__u8 gateway_family;
	__u8 dmac[6];
	__u8 smac[6];
	struct lb_addr gateway; /* the neighbour: a gateway or the target itself */
	__u32 pad;
	__u32 tick; /* last confirmed by a route lookup */
} __attribute__((aligned(64)));

/* lb_slow_xdp, lb_slow_tc: programs that are called. Those of an instance of an older ABI stand
 * there while it is taken over. */
enum lb_call {
	LB_CALL_SLOW4 = LB_V4,
	LB_CALL_SLOW6 = LB_V6,
	LB_CALL_FORMER_OPENS, /* for packets that would open a connection */
	LB_CALL_FORMER,       /* for all others that find none */
	LB_CALLS,
};

/* lb_ifaces: by ifindex. */
#define LB_IFACE_XMIT     1 /* XDP_REDIRECT into it works (driver's NDO_XMIT) */
#define LB_IFACE_TX       2 /* XDP_TX on it works */
#define LB_IFACE_ATTACHED 4 /* named in `interfaces`: our programs are on it */
enum lb_hook_kind { LB_KIND_AUTO, LB_KIND_XDP, LB_KIND_XDP_GENERIC, LB_KIND_TC, LB_KINDS };
struct lb_iface {
	char name[16];
	__u8 flags;
	__u8 wanted; /* enum lb_hook_kind as configured */
	__u8 actual; /* enum lb_hook_kind in force, never AUTO */
	__u8 pad;
	__u32 attached; /* seconds since the epoch */
};

/*
 * The connection table: lb_conn4 and lb_conn6, ARRAYs of buckets, mmap()able. One entry stands for
 * both directions of a connection. It lies in one of LB_CONN_CHOICES buckets that a secret hash of
 * the client's address and port names: a packet from the client has these as its source, one from
 * the backend as its destination (as in IPVS, ip_vs_conn.c).
 *
 * meta is version:6 | set:4 | state:4 | tick:18 and is the only word that changes while an entry
 * stands (but for ref's nexthop); it is changed by compare-and-exchange alone. set is the one of
 * timeouts, and together with the state the entry's life. ref is udp:1 | reuse:3 | nexthop:10 |
 * backend:18: reuse are the low bits of lb_backend.reuse, nexthop is the client's.
 * Byte i of tags is lb_conn_tag() of the client in slot i. See bpf/conn.h.
 */
enum lb_conn_state {
	LB_CONN_FREE = 0,        /* never used since the table was made */
	LB_CONN_DEAD = 1,        /* was used */
	LB_CONN_BUSY = 2,        /* being written */
	LB_CONN_SYN_SENT = 3,    /* TCP: SYN seen */
	LB_CONN_SYN_RECV = 4,    /* TCP: the backend answered it */
	LB_CONN_ESTABLISHED = 5, /* TCP: the client answered that */
	LB_CONN_FIN_CLIENT = 6,  /* TCP: the client has closed its side */
	LB_CONN_FIN_BACKEND = 7, /* TCP: the backend has */
	LB_CONN_CLOSING = 8,     /* TCP: both have */
	LB_CONN_CLOSED = 9,      /* TCP: reset */
	LB_CONN_UDP_NEW = 10,    /* UDP: no answer seen yet */
	LB_CONN_UDP = 11,        /* UDP: answered */
	LB_CONN_RESET = 12, /* TCP: reset, or somebody guesses: what its client sends will tell */
	/* No connections, but which backend a client's next one gets: see bpf/affinity.h. */
	LB_CONN_AFFINITY_NEW = 13, /* of connections that are half-open or were reset */
	LB_CONN_AFFINITY_UDP = 14, /* of UDP that was answered */
	LB_CONN_AFFINITY = 15,     /* of TCP that was established */
	LB_CONN_STATES = 16,
};

/* Is a TCP connection in this state over, for certain? */
static inline __attribute__((always_inline)) int lb_conn_is_over(__u32 state)
{
	return state == LB_CONN_CLOSING || state == LB_CONN_CLOSED;
}

/* Is a connection in this state one that its backend has to do with? */
static inline __attribute__((always_inline)) int lb_conn_counts(__u32 state)
{
	const __u32 states = 1 << LB_CONN_SYN_SENT | 1 << LB_CONN_SYN_RECV |
			     1 << LB_CONN_ESTABLISHED | 1 << LB_CONN_FIN_CLIENT |
			     1 << LB_CONN_FIN_BACKEND | 1 << LB_CONN_UDP_NEW | 1 << LB_CONN_UDP;

	return states >> (state & 15) & 1;
}

static inline __attribute__((always_inline)) int lb_conn_is_affinity(__u32 state)
{
	return state >= LB_CONN_AFFINITY_NEW;
}

/*
 * lb_timeouts[0]: ticks for which an entry lives without a packet. Set 0 is the instance's;
 * services that differ from it have others, which equal ones share.
 */
enum lb_timeout {
	LB_TIMEOUT_SYN, /* SYN_SENT, SYN_RECV */
	LB_TIMEOUT_ESTABLISHED,
	LB_TIMEOUT_HALF_CLOSED, /* FIN_CLIENT, FIN_BACKEND; RESET: the longer one of these two */
	LB_TIMEOUT_CLOSING,
	LB_TIMEOUT_CLOSED,
	LB_TIMEOUT_UDP_NEW,
	LB_TIMEOUT_UDP,
	LB_TIMEOUT_AFFINITY,
	LB_TIMEOUTS,
};
#define LB_TIMEOUT_SETS 16
struct lb_timeouts {
	__u32 ticks[LB_TIMEOUT_SETS << 4];           /* by LB_LIFE(); BUSY: never */
	__u32 seconds[LB_TIMEOUT_SETS][LB_TIMEOUTS]; /* as configured; 0: as set 0 */
};

/* lb_rates[0]: new flows in a second; what comes beyond is dropped. See bpf/rate.h. */
#define LB_RATE_MAX 10000000
struct lb_rates {
	union {
		struct {
			__u32 per_cpu, per_source; /* 0: any number */
		};
		__u64 any; /* 0: both are */
	};
	__be32 mask[LB_FAMILIES][4]; /* what of a source is its prefix; IPv4: the first word */
};

/* A tick that seems to lie this little ahead of the reader's clock was set after it was read. */
#define LB_CONN_AHEAD 16

#define LB_META_TICK_BITS     18
#define LB_META_TICK_MASK     ((1u << LB_META_TICK_BITS) - 1)
#define LB_META_VERSION_SHIFT (LB_META_TICK_BITS + 8)
#define LB_META_STATE(m)      (((m) >> LB_META_TICK_BITS) & 15)
#define LB_META_LIFE(m)       (((m) >> LB_META_TICK_BITS) & 255)
#define LB_META_TICK(m)       ((m)&LB_META_TICK_MASK)
#define LB_META_VERSION(m)    ((m) >> LB_META_VERSION_SHIFT)
#define LB_META(version, life, tick)                                                               \
	((__u32)(version) << LB_META_VERSION_SHIFT | (__u32)(life) << LB_META_TICK_BITS |          \
	 ((tick)&LB_META_TICK_MASK))
#define LB_LIFE(set, state)     ((__u32)(set) << 4 | (state))
#define LB_LIFE_IN(life, state) (((life) & ~15u) | (state)) /* the same set, another state */

#define LB_REF_BACKEND_BITS  18
#define LB_REF_NEXTHOP_SHIFT LB_REF_BACKEND_BITS
#define LB_REF_NEXTHOP_MASK  ((LB_NEXTHOPS - 1u) << LB_REF_NEXTHOP_SHIFT)
#define LB_REF_REUSE_SHIFT   (LB_REF_NEXTHOP_SHIFT + LB_NEXTHOP_BITS)
#define LB_REF_REUSE_MASK    (7u << LB_REF_REUSE_SHIFT)
#define LB_REF_UDP           (1u << 31)
#define LB_REF_BACKEND(r)    ((r) & ((1u << LB_REF_BACKEND_BITS) - 1))
#define LB_REF_NEXTHOP(r)    (((r)&LB_REF_NEXTHOP_MASK) >> LB_REF_NEXTHOP_SHIFT)
/* lb_backend.reuse as ref has it. */
#define LB_REF_REUSE(reuse) ((__u32)(reuse) << LB_REF_REUSE_SHIFT & LB_REF_REUSE_MASK)
#define LB_BACKENDS_MAX     ((1u << LB_REF_BACKEND_BITS) - 1)

union lb_conn_key {
	struct {
		__u32 ref;
		union {
			struct {
				__be16 cport; /* client's port */
				__be16 sport; /* service's port */
			};
			__u32 ports;
		};
	};
	__u64 word;
};

/* What the buckets of both families begin with. */
struct lb_conn_head {
	__u32 tags;
	__u32 meta[];
};

/* `away`: entries that have this bucket as their home and lie elsewhere (dead ones, whose slots
 * were not used again, too); in lb_conn4_bucket it is the last byte of tags. From LB_CONN_AWAY_MAX
 * on nobody goes away any more, so that it holds what several CPUs add at once. */
#define LB_CONN_AWAY_MAX 192
#define LB_CONN4_SLOTS   3
struct lb_conn4_bucket {
	union {
		__u32 tags;
		struct {
			__u8 tag[LB_CONN4_SLOTS], away;
		};
	};
	__u32 meta[LB_CONN4_SLOTS];
	union lb_conn_key key[LB_CONN4_SLOTS];
	struct {
		__be32 client, service;
	} addr[LB_CONN4_SLOTS];
} __attribute__((aligned(64)));

#define LB_CONN6_SLOTS 4
struct lb_conn6_bucket {
	union {
		__u32 tags;
		__u8 tag[LB_CONN6_SLOTS];
	};
	__u32 meta[LB_CONN6_SLOTS];
	__u32 away;
	__u32 pad[2];
	union lb_conn_key key[LB_CONN6_SLOTS];
	struct {
		__be32 client[4], service[4];
	} addr[LB_CONN6_SLOTS];
} __attribute__((aligned(64)));

/* lb_seqs4, lb_seqs6: by bucket and slot, the upper 20 bits of TCP's sequence numbers as last
 * looked at: 16 of them in seen, client << 16 | backend, the others in fine, client << 4 | backend.
 * See bpf/seq.h. */
struct lb_seqs4 {
	__u32 seen[LB_CONN4_SLOTS];
	__u8 fine[4];
};
struct lb_seqs6 {
	__u32 seen[LB_CONN6_SLOTS];
	__u8 fine[4];
};

/* Buckets for a limit of connections, an even number. For IPv4 0.9 each, of 64 bytes and 16 in
 * lb_seqs4 (72), for IPv6 0.75 of 192 and 24 (162); a third or so of the slots is used at the
 * limit. */
#define LB_CONN4_BUCKETS(limit) (((__u64)(limit)*9 + 19) / 20 * 2)
#define LB_CONN6_BUCKETS(limit) (((__u64)(limit)*3 + 7) / 8 * 2)

/* The first ones of them are everybody's home, so that few connections are close together and stay
 * in the CPU's caches however large the table is; what they have no room for goes into the rest. An
 * even number. */
#define LB_CONN_HOMES(buckets) ((buckets) < 56 ? (buckets) / 4 * 2 : (buckets) / 56 * 2)

/*
 * Vector multiply-shift (Thorup, "High Speed Hashing for Integers and Strings", 2.3), pairwise for
 * IPv6 (2.5), of a client's address (one word for IPv4, four for IPv6) and port, and once more of
 * the result, which ends the regularity of ports that count up. The multipliers
 * (lb_config.secret) are secret: nobody without them makes clients collide on purpose.
 */
static inline __attribute__((always_inline)) __u64 lb_conn_hash(int family, const volatile __u64 *k,
								const __be32 *client, __be16 port,
								int udp)
{
	__u64 h = k[1] * port + (udp ? k[4] : k[0]);

	if (family == LB_V4)
		h += k[2] * client[0];
	else
		h += (k[2] + client[0]) * (k[3] + client[1]) +
		     (k[5] + client[2]) * (k[6] + client[3]);
	return (h ^ h >> 32) * (k[7] | 1);
}

/* The buckets in which a client's connections may lie: its home and the home's neighbour, then a
 * pair of neighbours among the others (the CPU often fetches such lines together). */
#define LB_CONN_CHOICES 4
static inline __attribute__((always_inline)) __u32 lb_conn_choice(__u64 hash, int which,
								  const volatile __u64 *k,
								  __u32 buckets, __u32 homes)
{
	if (which < 2)
		return ((hash >> 32) * homes >> 32) ^ (which & 1);
	hash = (hash ^ hash >> 31) * (k[8] | 1);
	return (homes + ((hash >> 32) * (buckets - homes) >> 32)) ^ (which & 1);
}

/* Bits of the hash that the home bucket's index does not use. */
static inline __attribute__((always_inline)) __u8 lb_conn_tag(__u64 hash)
{
	return hash >> 32;
}

#endif
