/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * datapath.h - what executes a model: one table of operations per datapath.
 *
 * All functions return 0 or -errno with err->text filled. A handle is used by one thread.
 */
#ifndef LB_DATAPATH_H
#define LB_DATAPATH_H

#include <stdarg.h>
#include <stdint.h>
#include "core/log.h"
#include "core/model.h"
#include "core/reconcile.h"

struct lb_dp; /* each datapath's own */

struct lb_dp_options {
	const char *instance; /* name: [A-Za-z0-9_.-]{1,64}, not "." or ".." */
	bool write;           /* take the instance's lock, wait for it; also of a part of one */
	bool parts;           /* a reader's: look for a part, too, as a killed change leaves it */
	bool force;           /* take a hook from a foreign program */
};

/* A hook as it really is. */
struct lb_hook_status {
	char ifname[LB_IFNAME_MAX];
	uint32_t ifindex;
	uint8_t wanted, kind; /* enum lb_hook_kind */
	bool behind_xdp;      /* the tc program behind an XDP one */
	uint32_t prog_id;     /* 0: not attached */
	char prog_name[16];
	char mode[24];     /* "native", "generic", "tcx", "clsact" */
	uint64_t attached; /* seconds since the epoch */
	char trouble[128]; /* empty: as it should be */
	bool left;         /* the trouble is one that apply() leaves, unless forced */
};

struct lb_usage {
	uint64_t used, limit, bytes;
};

struct lb_dp_status {
	const char *datapath;
	char instance[65];
	uint32_t abi, generation;
	uint64_t build, created, applied; /* hash; seconds since the epoch */
	bool build_current;               /* the loaded programs are this binary's */
	uint32_t no_iterator; /* errno: why there is no file "connections"; 0: there is one */
	uint32_t timeouts[LB_TIMEOUTS]; /* seconds; 0: they are the kernel's */
	struct lb_usage connections4, connections6, services, backends, ring_slots;
	struct lb_usage affinities4, affinities6; /* in the table of connections, and its limit */
	struct lb_hook_status *hooks;
	size_t n_hooks;
};

struct lb_dp_stats {
	uint64_t reasons[LB_HOOKS][LB_REASONS];
	uint64_t evicted[LB_EVICT_KINDS];
	uint64_t taken_up; /* by `unknown: hash` */
	/* Counters by service and by backend, in the order of the model that was read. */
	struct lb_counters *services; /* n_services, retired ones included */
	struct lb_counters *backends; /* of all services, one after another */
	size_t n_services, n_backends;
};

/* One connection, or affinity: then the client has no port, and `service` no address. */
struct lb_conn {
	struct lb_endpoint client, service, backend;
	uint8_t proto, state;
	uint32_t age; /* seconds since its last packet; some too many while it is in use */
	uint32_t backend_id, service_id;
	uint8_t mask; /* bits of an affinity's client that count; 0: it is a connection */
	bool gone;    /* its backend was removed; one of the same address may be there again */
};

/* Has its backend to do with it? What `active` counts, and `drain --wait` waits for. */
static inline bool lb_conn_is_active(const struct lb_conn *c)
{
	return !c->gone && lb_conn_counts(c->state);
}

struct lb_conn_filter { /* zero: all connections */
	enum { LB_CONN_CONNECTIONS, LB_CONN_AFFINITIES, LB_CONN_BOTH } kinds;
	const char *service; /* name */
	bool by_backend, by_client;
	bool doubtful;              /* only those that seem to be reset */
	struct lb_endpoint backend; /* port 0: any */
	struct lb_endpoint client;  /* port 0: any */
	uint8_t client_prefix;      /* bits */
};

/* Of audit(), one thing that is not as the model says; of list(), a name. */
typedef void (*lb_finding_fn)(void *arg, const char *text);

/* Of list(): is one of the names this? */
struct lb_name_search {
	const char *name;
	bool found;
};
void lb_name_search(void *arg, const char *name); /* arg: a struct lb_name_search */

typedef void (*lb_conn_fn)(void *arg, const struct lb_conn *c);

/* What an audit finds, told as it is found. */
struct lb_findings {
	lb_finding_fn fn; /* NULL: only counted */
	void *arg;
	size_t n;
};
void lb_findings_add(struct lb_findings *f, const char *fmt, va_list args);
void lb_found(struct lb_findings *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Of what follows a change that is made: `ret` other than 0 is warned of. True: it was. */
bool lb_warned(int ret, const struct lb_err *err);

/* Of capabilities(): errnum 0: it is there; else why not, with a remark on what follows (or ""). */
typedef void (*lb_capability_fn)(void *arg, const char *name, int errnum, const char *remark);

struct lb_dp_ops {
	const char *name;
	bool has_programs;      /* on interfaces' hooks, and maps made for the model's limits */
	bool keeps_connections; /* in a table of its own, whose timeouts are the model's */
	bool migrates;          /* create() takes over an instance of an older ABI */
	bool sets_sysctls;      /* those that forwarding needs, by itself */
	bool own_addresses;     /* serves no others than this host's */
	bool resets_unknown;    /* also where the scheduler is a hash */
	uint32_t forwardings;   /* bits, 1 << enum lb_forwarding */
	uint32_t schedulers;    /* bits, 1 << enum lb_scheduler */

	/* Why it cannot take one, in words that follow its name; NULL: it can. The functions may be
	 * NULL: any. */
	const char *(*interface_why_not)(const struct lb_interface_conf *i);
	const char *(*service_why_not)(const struct lb_service_conf *s);
	const char *(*scheduler_why_not)(unsigned int scheduler); /* by trying it */

	/* How a family's new connections are divided: what each backend gets of their sum, by its
	 * place in the service; of the other family's it says nothing. 0 or -errno. */
	int (*portions)(const struct lb_service_conf *s, enum lb_family family, uint32_t *portions);

	/* Can this host run it? Fills err with why not. */
	int (*probe)(struct lb_err *err);
	/* May it set up this host for a model? NULL: it sets nothing. */
	int (*probe_model)(const struct lb_model *m, struct lb_err *err);
	/* Tries one by one what it uses. Without some of it it still runs. */
	void (*capabilities)(lb_capability_fn fn, void *arg);

	/* Opens a standing instance: -ENOENT where there is none or only a part of one, -ESTALE
	 * where its maps have another ABI, -EXDEV where it belongs to another network namespace.
	 * Whatever is there then is a handle in *dp, for down() and close() alone; else *dp is NULL
	 * on failure. create() makes one, also in place of a part of one, or opens the one that
	 * another process has made meanwhile (so read() it); without an apply() that succeeds,
	 * close() removes it. Where the datapath `migrates`, it takes over what has an older ABI.
	 */
	int (*open)(struct lb_dp **dp, const struct lb_dp_options *opt, struct lb_err *err);
	int (*create)(struct lb_dp **dp, const struct lb_dp_options *opt,
		      const struct lb_model *model, struct lb_err *err);
	void (*close)(struct lb_dp *dp);

	/* Waits until nobody is changing the instance, or what there is of it. */
	void (*await)(const char *instance);

	/* Reads back what is really there; m is lb_model_init()ed here, sorted, ids filled. */
	int (*read)(struct lb_dp *dp, struct lb_model *m, struct lb_err *err);

	/* Applies a whole diff or nothing: from what this handle read, which is d->actual, to
	 * d->desired. Also repairs what audit() finds, and brings the programs up to date; calls fn
	 * (may be NULL) for each finding. Without a difference and a finding all stays as it is,
	 * the generation too. 0; 1: all is made, but something that must follow could not be done,
	 * and was warned of; or -errno. */
	int (*apply)(struct lb_dp *dp, const struct lb_diff *d, lb_finding_fn fn, void *arg,
		     struct lb_err *err);

	/* Compares everything below the model with what `m` (as read) means; calls fn for each
	 * difference. Returns their number or -errno. */
	int (*audit)(struct lb_dp *dp, const struct lb_model *m, lb_finding_fn fn, void *arg,
		     struct lb_err *err);

	int (*status)(struct lb_dp *dp, struct lb_dp_status *s, struct lb_err *err);
	void (*status_free)(struct lb_dp_status *s);
	int (*stats)(struct lb_dp *dp, const struct lb_model *m, struct lb_dp_stats *s,
		     struct lb_err *err);
	void (*stats_free)(struct lb_dp_stats *s);

	/* Connections that match; fn is called for each. conn_flush() forgets them. *n: how many.
	 */
	int (*conn_list)(struct lb_dp *dp, const struct lb_conn_filter *f, lb_conn_fn fn, void *arg,
			 uint64_t *n, struct lb_err *err);
	int (*conn_flush)(struct lb_dp *dp, const struct lb_conn_filter *f, uint64_t *n,
			  struct lb_err *err);
	/* Takes away what has expired or whose backend's id is another's by now. *n: how many.
	 * NULL: the kernel does it by itself. */
	int (*conn_gc)(struct lb_dp *dp, uint64_t *n, struct lb_err *err);

	/* Calls fn with the name of each instance on this host. */
	int (*list)(lb_finding_fn fn, void *arg, struct lb_err *err);

	/* Detaches and removes everything of the instance; the handle is closed by it. `moves`: to
	 * another datapath, so that connections may live on where the kernel can do that. 0; 1: it
	 * is gone, but something that it has made is not, and err says what; or -errno. */
	int (*down)(struct lb_dp *dp, bool moves, struct lb_err *err);
};

extern const struct lb_dp_ops lb_dp_ebpf, lb_dp_ipvs, lb_dp_nft;
extern const struct lb_dp_ops *const lb_datapaths[]; /* by preference; ends with NULL */
/* In the order in which a packet meets them; ends with NULL. */
extern const struct lb_dp_ops *const lb_datapaths_met[];

/* Names become directories, and parts of commands. 0 or -EINVAL. */
#define LB_INSTANCE_MAX 64
int lb_instance_check(const char *name, struct lb_err *err);

/* The one of enum lb_datapath_kind; of `auto` the one that it would rather have. */
const struct lb_dp_ops *lb_datapath_named(unsigned int kind);

/* Of a status what follows from the model: services and backends; `interfaces`, of which `mode` and
 * `name` say what serves there. */
void lb_status_model(struct lb_dp_status *s, const struct lb_model *m);
int lb_status_interfaces(struct lb_dp_status *s, const struct lb_model *m, const char *mode,
			 const char *name, struct lb_err *err);
/* Of nft and ipvs: which interfaces are gone. */
void lb_interfaces_audit(struct lb_findings *f, const struct lb_model *m);

void lb_status_free(struct lb_dp_status *s);
/* Counters of all that the model has, 0 each. */
int lb_stats_make(struct lb_dp_stats *s, const struct lb_model *m, struct lb_err *err);
void lb_stats_free(struct lb_dp_stats *s);

/* Is it one of those that the filter wants? `service`: the id of f->service, 0: of any. */
bool lb_conn_filter_holds(const struct lb_conn_filter *f, uint32_t service,
			  const struct lb_conn *c);

/* Is a loaded program that instance's? `dp` is ebpf's. Its name: "?" where it cannot be told. */
bool lb_prog_is_ours(const struct lb_dp *dp, uint32_t prog_id);
const char *lb_prog_name(uint32_t prog_id, char buf[16]);

/* Holds the programs of others that are on a model's interfaces, for an apply with `force` takes
 * them off; lb_ebpf_put_back() brings back those whose place is free, and lets go. NULL: without
 * memory. */
struct lb_held *lb_ebpf_hold(const struct lb_model *m);
void lb_ebpf_put_back(struct lb_held *held);

/* Bytes of kernel memory that an instance with these limits takes on this host. */
uint64_t lb_ebpf_memory(const struct lb_limits *l, struct lb_usage *connections4,
			struct lb_usage *connections6, struct lb_usage *other);

#endif
