/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_internal.h - what the files of the ebpf datapath share: the handle of an open instance, and
 * one section per file. Nobody outside of user/datapath/ebpf*.c includes it.
 */
#ifndef LB_EBPF_INTERNAL_H
#define LB_EBPF_INTERNAL_H

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <net/if.h>
#include <pthread.h>
#include <string.h>

#include "datapath.h"
#include "net/link.h"
#include "net/xdp_features.h"

enum lb_map {
	LB_MAP_CONFIG,
	LB_MAP_PORTS,
	LB_MAP_LISTENS,
	LB_MAP_SERVICES,
	LB_MAP_MEMBERS,
	LB_MAP_RINGS,
	LB_MAP_BACKENDS,
	LB_MAP_LOADS,
	LB_MAP_BACKEND_STATS,
	LB_MAP_REASONS,
	LB_MAP_NEXTHOPS,
	LB_MAP_TIMEOUTS,
	LB_MAP_RATES,
	LB_MAP_IFACES,
	LB_MAP_CONN4,
	LB_MAP_CONN6,
	LB_MAP_SEQS4,
	LB_MAP_SEQS6,
	LB_MAPS,
};

/* The two programs by hook, and what else is pinned beside them. */
struct lb_progs {
	int fd[LB_HOOKS]; /* -1: none */
	__u32 id[LB_HOOKS];
	int iter_link;     /* over the connections. -1: none; held only until it is pinned */
	int sweeper;       /* map of the timer that collects expired connections; the same */
	__u32 no_iterator; /* errno: the kernel does not let us have one */
};
#define LB_PROGS_NONE ((struct lb_progs){.fd = {-1, -1}, .iter_link = -1, .sweeper = -1})

/* A foreign program that was taken off for ours: put back should the apply fail. */
struct lb_displaced {
	enum lb_hook hook;
	int ifindex, prog_fd;
	__u32 flags; /* XDP's mode */
	struct lb_displaced *next;
};

struct lb_listen_entry {
	struct lb_listen_key key;
	struct lb_listen_value value;
};

/* A grace period: after it no BPF program runs that began before it. It takes 10 to 20 ms, so it is
 * waited for in a thread while there is other work. (ebpf_settle.c) */
struct lb_grace {
	pthread_t thread;
	bool running, over;
};

#define LB_DIR_MAX 192
struct lb_dp {
	char instance[65];
	char dir[LB_DIR_MAX];
	int dir_fd; /* holds the lock where `write` */
	bool write, force;
	bool fresh; /* made by this handle and not applied yet: close() removes it */
	bool dead;  /* other ABI, other namespace or damaged: only down() and close() */
	bool foreign_netns;
	bool generation_lost;  /* lb_config's cannot be: see ebpf_config.c */
	bool wreck;            /* was in use, and cannot be any more: maps are lost */
	__u32 abi;             /* of its maps, where that is another one; 0: not known */
	struct lb_grace grace; /* of writers: since the last commit */
	int map_fd[LB_MAPS];
	bool unpinned[LB_MAPS]; /* the pin is gone, the map was found in the programs */
	void *mem[LB_MAPS];
	size_t mem_size[LB_MAPS];
	__u32 max_entries[LB_MAPS];
	struct lb_config *config;
	struct lb_ports *ports;
	struct lb_service *services;
	struct lb_member *members;
	struct lb_ring_line *rings;
	struct lb_backend *backends;
	struct lb_load *loads;
	struct lb_timeouts *timeouts;
	struct lb_rates *rates;
	struct lb_listen_entry *listens; /* as last read, sorted by key */
	size_t n_listens;
	bool listens_known;    /* and not written since */
	struct lb_progs progs; /* the pinned ones */
	struct lb_displaced *displaced;
};

/* Findings go here, from whichever file. */
struct lb_audit {
	struct lb_findings findings;
	bool *damaged;     /* by index of the model's service: needs new rings; NULL: not asked */
	__u64 ring_budget; /* slots of rings to check at most */
	bool repairs;      /* asked by apply(): what it leaves is no finding but a warning */
	bool reload;       /* found: the programs must be loaded anew */
};
void lb_finding(struct lb_audit *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* `select` has 31 bits for it, and the next one must fit too. */
#define LB_GENERATION_MAX 0x7ffffffeu

/* Where it is lost the one that comes after all: then what was given last is in force. */
static inline __u32 lb_generation(const struct lb_dp *dp)
{
	return dp->generation_lost ? LB_GENERATION_MAX + 1
				   : __atomic_load_n(&dp->config->generation, __ATOMIC_ACQUIRE);
}

static inline void lb_select_store(__u32 *select, __u32 value)
{
	__atomic_store_n(select, value, __ATOMIC_RELEASE);
}

/* What an apply that was not committed has left goes back to what is in force. */
static inline void lb_select_settle(__u32 *select, __u32 generation)
{
	if (*select >> 1 > generation)
		lb_select_store(select, generation << 1 | lb_slot(*select, generation));
}

/* The version of service `id` in force at `generation`; NULL where the service does not exist. */
static inline const struct lb_service_version *lb_service_in_force(const struct lb_dp *dp, __u32 id,
								   __u32 generation)
{
	const struct lb_service *s = &dp->services[id];
	__u32 select = __atomic_load_n(&s->select, __ATOMIC_ACQUIRE);
	const struct lb_service_version *v = &s->version[lb_slot(select, generation)];

	return v->present ? v : NULL;
}

static inline bool lb_addr_is_v4(const struct lb_addr *addr) /* ::ffff:a.b.c.d */
{
	static const struct lb_addr prefix = {.b = {[10] = 0xff, [11] = 0xff}};

	return !memcmp(addr, &prefix, 12);
}

static inline bool lb_source_is_known(__u8 source)
{
	return source && source < LB_SOURCES;
}

/* What a member can have: other weights somebody has put there. */
static inline __u32 lb_member_weight(const struct lb_member *m)
{
	return m->weight < LB_WEIGHT_MAX ? m->weight : LB_WEIGHT_MAX;
}
static inline __u32 lb_member_override(const struct lb_member *m)
{
	return m->override <= LB_WEIGHT_MAX ? m->override : LB_NO_OVERRIDE;
}

/* ebpf.c */
void lb_dp_init(struct lb_dp *dp, const char *instance);

/* ebpf_dir.c - where the pins are, and the lock */
int lb_bpffs_dir(char *buf, size_t size, bool may_mount, struct lb_err *err);
int lb_bpffs_probe(void); /* errno; 0: it can be written to, or mounted to stay */
int lb_instance_lock(struct lb_dp *dp, bool make, struct lb_err *err);
DIR *lb_instance_list(const struct lb_dp *dp, const char *name); /* "." or "links"; NULL */
int lb_instance_removable(const struct lb_dp *dp, struct lb_err *err);
int lb_instance_clear(const struct lb_dp *dp, struct lb_err *err);
int lb_instance_unlink(const struct lb_dp *dp, struct lb_err *err); /* all pins and directories */
void lb_instance_forget_next(const struct lb_dp *dp);
int lb_instance_adopt(const struct lb_dp *dp, const struct lb_dp *next, struct lb_err *err);
char *lb_pin_path(const struct lb_dp *dp, char *buf, const char *name); /* buf: LB_PIN_MAX */
int lb_pin_replace(const struct lb_dp *dp, const char *name, int fd);   /* atomically */
#define LB_PIN_MAX      (LB_DIR_MAX + 64)
#define LB_PIN_ITERATOR "connections"
#define LB_PIN_SWEEPER  "sweeper"
#define LB_PIN_NEXT     "next" /* directory of what is to take its place: see ebpf_migrate.c */

/* ebpf_config.c - lb_config against what the kernel knows otherwise */
__u64 lb_netns_inode(void); /* 0: not known */
int lb_netns_check(struct lb_dp *dp, struct lb_err *err);
int lb_generation_check(struct lb_dp *dp, struct lb_err *err);
void lb_limits_read(const struct lb_dp *dp, struct lb_limits *all);
void lb_config_audit(struct lb_dp *dp, struct lb_audit *a);
int lb_config_repair(struct lb_dp *dp, struct lb_err *err);

/* ebpf_maps.c - the maps as files and as memory */
const char *lb_map_name(enum lb_map map);        /* its pin's */
const char *lb_map_object_name(enum lb_map map); /* in the BPF object and in the kernel */
__u32 lb_map_key_size(enum lb_map map);
__u32 lb_map_value_size(enum lb_map map);
__u32 lb_map_entries(enum lb_map map, const struct lb_limits *l);
int lb_maps_open(struct lb_dp *dp, struct lb_err *err); /* -ENOENT: half made; -ESTALE */
void lb_maps_audit(const struct lb_dp *dp, struct lb_audit *a);
void lb_maps_repin(struct lb_dp *dp);
int lb_maps_adopt(struct lb_dp *dp, struct lb_err *err); /* map_fd[] is filled: check and mmap */
int lb_map_mmap(struct lb_dp *dp, enum lb_map map, struct lb_err *err);
void lb_maps_close(struct lb_dp *dp);
/* All listens by key; they stay until the next call. A writer, whom nobody else disturbs, reads
 * them again only after it has written. */
int lb_listens_read(struct lb_dp *dp, const struct lb_listen_entry **entries, size_t *n,
		    struct lb_err *err);
int lb_listen_put(struct lb_dp *dp, const struct lb_listen_key *key,
		  const struct lb_listen_value *value);
int lb_listen_delete(struct lb_dp *dp, const struct lb_listen_key *key);
int lb_listen_key_cmp(const void *a, const void *b); /* of what begins with a key */
int lb_ifaces_read(const struct lb_dp *dp, __u32 **ifindexes, struct lb_iface **ifaces, size_t *n,
		   struct lb_err *err);

/* ebpf_load.c - the BPF object */
void lb_libbpf_init(void); /* its messages go to lb_debug() */
__u64 lb_build_id(void);   /* hash of the object that this binary embeds */
int lb_prog_least(enum bpf_prog_type type, enum bpf_attach_type attach, int btf_id);
int lb_prog_probe(enum bpf_prog_type type, enum bpf_attach_type attach, int btf_id);
int lb_iterator_probe(void); /* 0 or the errno, as above */
int lb_object_create(struct lb_dp *dp, const struct lb_model *m, struct lb_err *err);
/* The same in two steps, for a table that is to be hashed by `secret`. */
int lb_object_make(struct lb_dp *dp, const struct lb_limits *l, const __u64 secret[LB_SECRET_WORDS],
		   struct lb_progs *progs, struct lb_err *err);
int lb_object_pin(struct lb_dp *dp, struct lb_progs *progs, struct lb_err *err);
int lb_object_reload(struct lb_dp *dp, struct lb_progs *progs, struct lb_err *err);
int lb_progs_open(struct lb_dp *dp, struct lb_err *err); /* the pinned ones into dp->progs */
int lb_progs_pin(struct lb_dp *dp, struct lb_progs *progs, struct lb_err *err); /* and adopt */
void lb_progs_close(struct lb_progs *progs);

/* ebpf_slow.c - the program arrays of the slow way */
struct lb_bpf;
int lb_slow_pin(const struct lb_dp *dp, const struct lb_bpf *skel, const struct lb_progs *progs,
		struct lb_err *err);
/* For each program that they call: it keeps its maps. */
void lb_slow_each(struct lb_dp *dp, void (*fn)(struct lb_dp *dp, __u32 prog_id));
void lb_slow_trim(const struct lb_dp *dp);
/* The programs of an older ABI that dp's call; NULL: none any more. */
int lb_slow_former(const struct lb_dp *dp, enum lb_call call, const struct lb_progs *former,
		   struct lb_err *err);
bool lb_slow_has_former(const struct lb_dp *dp);
void lb_slow_audit(struct lb_dp *dp, struct lb_audit *a);

/* ebpf_clock.c - the programs' clock, in ticks */
__u64 lb_clock_jiffy_ns(void);
__u32 lb_clock_shift(void);          /* a tick is 2^shift jiffies */
__u32 lb_clock_tick_ms(void);        /* the same in milliseconds */
__u32 lb_clock_now(void);            /* modulo 2^LB_META_TICK_BITS */
__u32 lb_clock_all(void);            /* modulo 2^(32 - shift) */
__u32 lb_clock_ticks(__u32 seconds); /* rounded up */
__u32 lb_clock_seconds(__u32 ticks);

/* ebpf_hooks.c - which programs are on which interfaces. lb_ifaces is the record: `actual` tells
 * that ours may be there, LB_IFACE_ATTACHED that it is committed. */
struct lb_hook_want {
	char name[LB_IFNAME_MAX];
	__u32 ifindex;
	__u8 wanted, actual; /* enum lb_hook_kind */
	__u64 attached;      /* seconds since the epoch */
};
struct lb_hook_plan {
	struct lb_hook_want *wants;
	size_t n;
	struct lb_links links;
};
int lb_hooks_make(struct lb_dp *dp, const struct lb_model *m, const struct lb_progs *progs,
		  struct lb_hook_plan *plan, struct lb_err *err);
void lb_hooks_record(struct lb_dp *dp, const struct lb_hook_plan *plan);
void lb_hooks_plan_free(struct lb_hook_plan *plan);
void lb_hooks_flags(struct lb_dp *dp);
bool lb_iface_get(const struct lb_dp *dp, __u32 ifindex, struct lb_iface *iface);
int lb_iface_put(const struct lb_dp *dp, __u32 ifindex, const struct lb_iface *iface);
void lb_iface_mend(struct lb_iface *iface); /* done already to what get() and read() give */
bool lb_iface_is_damaged(const struct lb_dp *dp, __u32 ifindex);
#define LB_IFACE_CLSACT 8 /* beside LB_IFACE_* of lb_abi.h: its clsact qdisc was made by us */
bool lb_hooks_are_here(struct lb_dp *dp); /* in this network namespace */
void lb_hooks_settle(struct lb_dp *dp);   /* makes the hooks as lb_ifaces records them */
void lb_hooks_remove(struct lb_dp *dp);   /* all of this instance in this namespace */
int lb_hooks_replace(const struct lb_dp *dp, const struct lb_progs *progs,
		     struct lb_err *err); /* programs, on all hooks that are attached */
__u8 lb_iface_flags(const struct lb_xdp_features *features, const struct lb_link *link,
		    bool native);

/* ebpf_hookstatus.c */
int lb_hooks_status(struct lb_dp *dp, struct lb_hook_status **hooks, size_t *n, struct lb_err *err);
int lb_hooks_audit(struct lb_dp *dp, struct lb_audit *a, struct lb_err *err);

/* ebpf_attach.c - what the hooks have in common */
int lb_link_open(const struct lb_dp *dp, const char *pin, struct bpf_link_info *info);
int lb_link_keep(const struct lb_dp *dp, const char *pin, int fd);
int lb_link_update(int fd, const struct bpf_link_info *info, const struct lb_progs *progs,
		   enum lb_hook hook); /* to the hook's program */
void lb_link_remove(const struct lb_dp *dp, const char *pin, __u32 ifindex);
void lb_links_sort_out(const struct lb_dp *dp,
		       const struct lb_links *links); /* their pins' names */
int lb_links_update(const struct lb_dp *dp, const struct lb_progs *progs, struct lb_err *err);
void lb_links_unpin(const struct lb_dp *dp); /* all of them */
#define LB_PROG_MAPS 64
__u32 lb_prog_maps(__u32 id, __u32 maps[LB_PROG_MAPS]);   /* ids; returns how many */
bool lb_prog_is_meshlb(const struct lb_dp *dp, __u32 id); /* of this or another instance */
void lb_displaced_add(struct lb_dp *dp, enum lb_hook hook, int ifindex, __u32 prog_id, __u32 flags);
void lb_displaced_restore(struct lb_dp *dp);
void lb_displaced_forget(struct lb_dp *dp);

/* ebpf_xdp.c, ebpf_tc.c - one hook on one interface. ensure(): 1 attached, 0 stood, or -errno */
struct lb_attachment {
	__u32 prog_id; /* 0: ours is not attached */
	const char *mode;
	char trouble[128];
};
int lb_xdp_ensure(struct lb_dp *dp, const char *name, int ifindex, bool generic, bool ours,
		  const struct lb_progs *progs, struct lb_err *err);
__u32 lb_xdp_in_front(const struct lb_dp *dp, int ifindex); /* another's, of a tc hook; 0: none */
int lb_xdp_clear(struct lb_dp *dp, const char *name, int ifindex, struct lb_err *err);
void lb_xdp_remove(const struct lb_dp *dp, const char *name, int ifindex);
void lb_xdp_restore(int ifindex, int prog_fd, __u32 mode_flag);
void lb_xdp_query(const struct lb_dp *dp, const char *name, int ifindex, struct lb_attachment *a);
int lb_tc_ensure(struct lb_dp *dp, const char *name, int ifindex, bool ours,
		 const struct lb_progs *progs, struct lb_err *err);
int lb_tcx_probe(void); /* 0: the kernel has it; or the errno */
int lb_clsact_probe(void);
void lb_tc_remove(const struct lb_dp *dp, const char *name, int ifindex);
__u32 lb_clsact_id(int ifindex); /* the program at our handle and priority; 0: none */
void lb_tc_restore(int ifindex, int prog_fd);
int lb_clsact_replace(const struct lb_dp *dp, int ifindex, const struct lb_progs *progs);
bool lb_tc_runs(const struct lb_dp *dp, int ifindex); /* any program of this instance */
void lb_tc_query(const struct lb_dp *dp, const char *name, int ifindex, struct lb_attachment *a);

/* ebpf_space.c - free space in lb_rings and lb_members: what no service in force refers to */
struct lb_extent {
	__u32 start, size;
};
struct lb_space {
	struct lb_extent *free;
	size_t n;
};
int lb_space_init(struct lb_space *s, struct lb_extent *used, size_t n, __u32 total);
int lb_space_take(struct lb_space *s, __u32 size, __u32 *start); /* -ENOSPC */
void lb_space_free(struct lb_space *s);

/* ebpf_rings.c - rings by what they are made of, so that equal ones are made and checked once */
struct lb_ring_entry {
	__u64 key;
	__u32 ring;  /* first slot */
	__u32 wrong; /* audit: slots that are not as they should be */
	__u32 first; /* audit: the first of them */
	bool used, checked;
};
struct lb_ring_table {
	struct lb_ring_entry *entries;
	size_t size; /* a power of 2, twice what will be in it */
};
int lb_ring_table_init(struct lb_ring_table *t, size_t n);
struct lb_ring_entry *lb_ring_table_at(struct lb_ring_table *t, __u64 key); /* new: !used */
void lb_ring_table_free(struct lb_ring_table *t);
struct lb_ring_member *lb_pool_members(const struct lb_dp *dp, const struct lb_pool *pool);
bool lb_pool_is_sound(const struct lb_dp *dp, const struct lb_pool *pool);
static inline __u16 *lb_ring_slots(const struct lb_dp *dp, __u32 ring)
{
	return &dp->rings[0].member[0] + ring;
}

void lb_grace_begin(struct lb_grace *g);
void lb_grace_end(struct lb_grace *g);  /* waits, also where it was not begun */
void lb_grace_drop(struct lb_grace *g); /* forgets it: the next end() waits anew */

/* ebpf_tx.c, ebpf_pool.c - preparing the next generation where nobody looks */
struct lb_tx_listen {
	struct lb_listen_key key;
	__u32 service, flags;
	bool fix_flags; /* once it is committed */
};
struct lb_tx {
	struct lb_dp *dp;
	const struct lb_limits *limits;
	__u32 generation; /* the one in force, and the next one */
	__u32 next;
	struct lb_space members, rings; /* rings: in lines */
	size_t max_rings;               /* in force and to be made */
	struct lb_ring_table table;     /* by key; made when the first ring is */
	__u8 *named;                    /* by backend id: how many members in force have it */
	__u16 sets;                     /* of timeouts, by bit: in force, or taken for the next */
	__u32 entries_sets;             /* of others: those that entries name */
	bool entries_asked;             /* is that known? */
	bool drains;                    /* a backend that took new connections takes none */
	__u32 next_service, next_backend;
	__u32 *gone; /* backend ids to give away when no fresh one is left */
	size_t n_gone, next_gone;
	struct lb_tx_listen *wants, *olds;
	size_t n_wants, n_olds, max_wants, max_olds;
};
/* At most `services` of them are going to be given to lb_tx_service(). */
int lb_tx_begin(struct lb_tx *tx, struct lb_dp *dp, const struct lb_limits *l, size_t services,
		struct lb_err *err);
int lb_tx_service(struct lb_tx *tx, const struct lb_service_conf *from,
		  const struct lb_service_conf *to, bool rebuild, struct lb_err *err);
int lb_tx_listens(struct lb_tx *tx, struct lb_err *err); /* of all services given so far */
void lb_tx_listen_flags(const struct lb_tx *tx);         /* after the commit */
int lb_tx_backend(struct lb_tx *tx, const struct lb_service_conf *s,
		  const struct lb_backend_conf *c, __u32 service, __u32 *id, struct lb_err *err);
int lb_tx_full(struct lb_err *err, const char *what, __u32 limit, const char *service, __u32 more);
void lb_tx_end(struct lb_tx *tx);
int lb_pool_make(struct lb_tx *tx, const struct lb_service_conf *from,
		 const struct lb_service_conf *to, __u32 service, enum lb_family family,
		 struct lb_pool *pool, struct lb_err *err);
int lb_ebpf_portions(const struct lb_service_conf *s, enum lb_family family, uint32_t *portions);

/* ebpf_timeouts.c - lb_timeouts: sets in seconds as configured, and in ticks for the programs */
void lb_timeouts_fill(struct lb_timeouts *t, const uint32_t seconds[LB_TIMEOUTS]); /* set 0 */
/* The service's set: one that stands, or one that nobody names any more and that is filled for it.
 * After the grace period alone. */
int lb_timeouts_take(struct lb_tx *tx, const struct lb_service_conf *s, __u8 *set,
		     struct lb_err *err);
void lb_timeouts_read(const struct lb_dp *dp, __u32 set, uint32_t seconds[LB_TIMEOUTS]);
void lb_timeouts_audit(const struct lb_dp *dp, struct lb_audit *a);

/* ebpf_loads.c - lb_loads: connections of each backend, and how many it may have */
__u32 lb_load_max(const struct lb_dp *dp, __u32 id);          /* in force; 0: any number */
void lb_load_begin(struct lb_dp *dp, __u32 id, __u32 max);    /* of an id that is given away */
void lb_load_limit(struct lb_tx *tx, __u32 id, __u32 max);    /* from the next generation on */
void lb_load_leave(struct lb_dp *dp, __u32 ref, __u32 state); /* an entry was taken away */
int lb_loads_recount(struct lb_dp *dp, struct lb_err *err);   /* by what is in the table */

/* ebpf_drained.c - lb_backend.drained */
bool lb_drained_set(const struct lb_tx *tx, __u32 id, bool drained);
const char *lb_drained_why_wrong(const struct lb_dp *dp, __u32 id, bool drained); /* NULL: right */

/* ebpf_rates.c - lb_rates: new flows in a second */
void lb_rates_fill(struct lb_rates *r, const struct lb_rates_conf *conf);
void lb_rates_read(const struct lb_dp *dp, struct lb_rates_conf *conf); /* damage as default */
void lb_rates_audit(const struct lb_dp *dp, struct lb_audit *a);

/* ebpf_settle.c - putting right what an interrupted or failed apply left, and cleaning up */
int lb_settle(struct lb_dp *dp, struct lb_err *err);
void lb_backends_named(const struct lb_dp *dp, __u8 *named); /* by id: counted, to 255 */
/* Bits in lb_ports that the service needs: raised, or where `a` is given only looked for. */
void lb_ports_need(struct lb_dp *dp, const struct lb_service_conf *s, struct lb_audit *a);
size_t lb_listen_keys(const struct lb_listen *l, struct lb_listen_key keys[2]);
bool lb_listen_key_is_sound(const struct lb_listen_key *key); /* can a config have it? */
__u32 lb_listen_flags(const struct lb_listen_entry *e);       /* those that it can have */

/* ebpf_read.c */
int lb_ebpf_read(struct lb_dp *dp, struct lb_model *m, struct lb_err *err);

/* ebpf_audit.c */
int lb_audit_run(struct lb_dp *dp, const struct lb_model *m, struct lb_audit *a,
		 struct lb_err *err);
int lb_ebpf_audit(struct lb_dp *dp, const struct lb_model *m, lb_finding_fn fn, void *arg,
		  struct lb_err *err);

/* ebpf_commit.c */
int lb_ebpf_apply(struct lb_dp *dp, const struct lb_diff *d, lb_finding_fn fn, void *arg,
		  struct lb_err *err);

/* ebpf_migrate.c - takes over an instance whose maps have an older ABI, dp->abi */
bool lb_migrate_can(__u32 abi);
int lb_migrate(struct lb_dp *dp, struct lb_err *err); /* then it is to be opened again */

/* ebpf_list.c */
int lb_ebpf_list(lb_finding_fn fn, void *arg, struct lb_err *err);

/* ebpf_conn.c */
/* Ticks since an entry's last packet. Its own may lie ahead of the `now` that was read before. */
static inline __u32 lb_meta_age(__u32 meta, __u32 now)
{
	__u32 age = (now - LB_META_TICK(meta)) & LB_META_TICK_MASK;

	return age > LB_META_TICK_MASK - LB_CONN_AHEAD ? 0 : age;
}

/* Does it hold a connection, or an affinity, whose time is not over? */
static inline bool lb_meta_is_live(const struct lb_dp *dp, __u32 meta, __u32 now)
{
	return LB_META_STATE(meta) > LB_CONN_BUSY &&
	       lb_meta_age(meta, now) <= dp->timeouts->ticks[LB_META_LIFE(meta)];
}

int lb_ebpf_conn_list(struct lb_dp *dp, const struct lb_conn_filter *f, lb_conn_fn fn, void *arg,
		      uint64_t *n, struct lb_err *err);
int lb_ebpf_conn_flush(struct lb_dp *dp, const struct lb_conn_filter *f, uint64_t *n,
		       struct lb_err *err);
int lb_ebpf_conn_gc(struct lb_dp *dp, uint64_t *n, struct lb_err *err);
int lb_conn_forget_backend(struct lb_dp *dp, __u32 id, struct lb_err *err);
int lb_conn_count_backends(struct lb_dp *dp, __u32 *by_id, struct lb_err *err);
/* Which of these sets of timeouts, by bit, an entry names; those of them that have expired are
 * collected. */
int lb_conn_sets(struct lb_dp *dp, __u32 asked, __u32 *named, struct lb_err *err);
struct lb_conn_used {
	uint64_t connections[LB_FAMILIES], affinities[LB_FAMILIES];
};
int lb_conn_usage(struct lb_dp *dp, struct lb_conn_used *used, struct lb_err *err);

/* ebpf_status.c */
int lb_ebpf_status(struct lb_dp *dp, struct lb_dp_status *s, struct lb_err *err);
void lb_ebpf_status_free(struct lb_dp_status *s);

/* ebpf_stats.c */
int lb_ebpf_stats(struct lb_dp *dp, const struct lb_model *m, struct lb_dp_stats *s,
		  struct lb_err *err);
void lb_ebpf_stats_free(struct lb_dp_stats *s);
void lb_counters_add(struct lb_counters *to, const struct lb_counters *from);
/* Of all ids below `n`, added to `sums`. */
int lb_backend_counters_read(struct lb_dp *dp, __u32 n, struct lb_counters *sums,
			     struct lb_err *err);
int lb_backend_counters_retire(struct lb_dp *dp, __u32 id, struct lb_err *err);

#endif
