/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_maps.c - the maps of an instance: their sizes, opening the pins, the ARRAYs as memory, and
 * whole HASHes in one go.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ebpf_internal.h"

#define IFACES     4096
#define READ_TRIES 8

/* Sizes of key and value are those of lb_abi.h; whatever else is pinned there is not ours. */
static const struct map_spec {
	const char *name;
	__u32 key, value;
	bool mapped, lazy; /* lazy: large, and wanted by few commands */
} specs[LB_MAPS] = {
	[LB_MAP_CONFIG] = {"lb_config", 4, sizeof(struct lb_config), true, false},
	[LB_MAP_PORTS] = {"lb_ports", 4, sizeof(struct lb_ports), true, false},
	[LB_MAP_LISTENS] = {"lb_listens", sizeof(struct lb_listen_key),
			    sizeof(struct lb_listen_value), false, false},
	[LB_MAP_SERVICES] = {"lb_services", 4, sizeof(struct lb_service), true, false},
	[LB_MAP_MEMBERS] = {"lb_members", 4, sizeof(struct lb_member), true, false},
	[LB_MAP_RINGS] = {"lb_rings", 4, sizeof(struct lb_ring_line), true, false},
	[LB_MAP_BACKENDS] = {"lb_backends", 4, sizeof(struct lb_backend), true, false},
	[LB_MAP_LOADS] = {"lb_loads", 4, sizeof(struct lb_load), true, false},
	[LB_MAP_BACKEND_STATS] = {"lb_backend_stats", 4, sizeof(struct lb_counters), false, false},
	[LB_MAP_REASONS] = {"lb_reasons", 4, sizeof(struct lb_reasons), false, false},
	[LB_MAP_NEXTHOPS] = {"lb_nexthops", 4, LB_NEXTHOPS * sizeof(struct lb_nexthop), false,
			     false},
	[LB_MAP_TIMEOUTS] = {"lb_timeouts", 4, sizeof(struct lb_timeouts), true, false},
	[LB_MAP_RATES] = {"lb_rates", 4, sizeof(struct lb_rates), true, false},
	[LB_MAP_IFACES] = {"lb_ifaces", 4, sizeof(struct lb_iface), false, false},
	[LB_MAP_CONN4] = {"lb_conn4", 4, sizeof(struct lb_conn4_bucket), true, true},
	[LB_MAP_CONN6] = {"lb_conn6", 4, sizeof(struct lb_conn6_bucket), true, true},
	[LB_MAP_SEQS4] = {"lb_seqs4", 4, sizeof(struct lb_seqs4), true, true},
	[LB_MAP_SEQS6] = {"lb_seqs6", 4, sizeof(struct lb_seqs6), true, true},
};

/* The kernel rounds elements up to 8 bytes: then memory is an array of the struct only if the
 * struct's size is a multiple of that. */
_Static_assert(!(sizeof(struct lb_config) % 8 || sizeof(struct lb_ports) % 8 ||
		 sizeof(struct lb_service) % 8 || sizeof(struct lb_member) % 8 ||
		 sizeof(struct lb_ring_line) % 8 || sizeof(struct lb_backend) % 8 ||
		 sizeof(struct lb_load) % 8 || sizeof(struct lb_counters) % 8 ||
		 sizeof(struct lb_reasons) % 8 || sizeof(struct lb_timeouts) % 8 ||
		 sizeof(struct lb_rates) % 8),
	       "elements of ARRAY maps");

const char *lb_map_name(enum lb_map map)
{
	return specs[map].name;
}

/* The map of global data is named after its section. */
const char *lb_map_object_name(enum lb_map map)
{
	switch (map) {
	case LB_MAP_PORTS:
		return ".data.lb_ports";
	case LB_MAP_NEXTHOPS:
		return ".data.nexthops";
	case LB_MAP_TIMEOUTS:
		return ".data.timeouts";
	case LB_MAP_RATES:
		return ".data.rates";
	default:
		return specs[map].name;
	}
}

__u32 lb_map_key_size(enum lb_map map)
{
	return specs[map].key;
}

__u32 lb_map_value_size(enum lb_map map)
{
	return specs[map].value;
}

static __u32 at_least(__u64 n, __u32 min)
{
	return n < min ? min : n;
}

/* Old and new ones stand side by side during a change: a limit is what may be in force. */
static __u32 with_spare(__u32 limit)
{
	return limit + limit / 8 + 64;
}

__u32 lb_map_entries(enum lb_map map, const struct lb_limits *l)
{
	__u32 backends = with_spare(l->backends);

	if (backends > LB_BACKENDS_MAX)
		backends = LB_BACKENDS_MAX;
	switch (map) {
	case LB_MAP_LISTENS:
		return lb_limits_listens(l);
	case LB_MAP_SERVICES:
		return with_spare(l->services) + 1;
	case LB_MAP_MEMBERS:
		return backends * 2;
	case LB_MAP_RINGS:
		return at_least(((__u64)l->ring_slots + LB_RING_LINE - 1) / LB_RING_LINE, 1);
	case LB_MAP_BACKENDS:
	case LB_MAP_LOADS:
	case LB_MAP_BACKEND_STATS:
		return backends + 1;
	case LB_MAP_CONN4:
	case LB_MAP_SEQS4:
		return at_least(LB_CONN4_BUCKETS(l->connections), 1);
	case LB_MAP_CONN6:
	case LB_MAP_SEQS6:
		return at_least(LB_CONN6_BUCKETS(l->connections6), 1);
	case LB_MAP_IFACES:
		return IFACES;
	default:
		return 1;
	}
}

int lb_map_mmap(struct lb_dp *dp, enum lb_map map, struct lb_err *err)
{
	size_t size = (size_t)dp->max_entries[map] * specs[map].value;
	void *mem;

	if (dp->mem[map])
		return 0;
	mem = mmap(NULL, size, dp->write ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED,
		   dp->map_fd[map], 0);
	if (mem == MAP_FAILED)
		return lb_err_sys(err, errno, "mapping \"%s\" into memory", specs[map].name);
	dp->mem[map] = mem;
	dp->mem_size[map] = size;
	return 0;
}

int lb_maps_adopt(struct lb_dp *dp, struct lb_err *err)
{
	for (int i = 0; i < LB_MAPS; i++) {
		const struct map_spec *s = &specs[i];
		struct bpf_map_info info = {};
		__u32 len = sizeof(info);
		int ret;

		if (bpf_obj_get_info_by_fd(dp->map_fd[i], &info, &len))
			return lb_err_sys(err, errno, "asking for map \"%s\"", s->name);
		if (info.key_size != s->key || info.value_size != s->value)
			return lb_err_set(err, ESTALE,
					  "map \"%s\" of instance \"%s\" has another layout than "
					  "this program's: run `meshlb down`, then `meshlb apply`",
					  s->name, dp->instance);
		dp->max_entries[i] = info.max_entries;
		ret = s->mapped && !s->lazy ? lb_map_mmap(dp, i, err) : 0;
		if (ret)
			return ret;
	}
	dp->config = dp->mem[LB_MAP_CONFIG];
	dp->ports = dp->mem[LB_MAP_PORTS];
	dp->services = dp->mem[LB_MAP_SERVICES];
	dp->members = dp->mem[LB_MAP_MEMBERS];
	dp->rings = dp->mem[LB_MAP_RINGS];
	dp->backends = dp->mem[LB_MAP_BACKENDS];
	dp->loads = dp->mem[LB_MAP_LOADS];
	dp->timeouts = dp->mem[LB_MAP_TIMEOUTS];
	dp->rates = dp->mem[LB_MAP_RATES];
	return 0;
}

/* The first word may have been damaged; a layout whose programs are this binary's is its own. */
static bool config_is_of_this_build(const struct bpf_map_info *info, const void *config)
{
	return info->value_size == sizeof(struct lb_config) &&
	       ((const struct lb_config *)config)->build == lb_build_id();
}

/* Nothing was ever applied: generation 0 alone may be damage. */
static bool is_unused(const struct bpf_map_info *info, const void *config)
{
	const struct lb_config *c = config;

	return info->value_size == sizeof(*c) && !c->generation && !c->applied;
}

static int abi_differs(struct lb_dp *dp, __u32 abi, struct lb_err *err)
{
	dp->abi = abi;
	if (lb_migrate_can(abi))
		return lb_err_set(err, ESTALE,
				  "instance \"%s\": its maps have layout %u, this program's is %u: "
				  "`meshlb apply` takes it over, with its connections, where it "
				  "stays on ebpf",
				  dp->instance, abi, LB_ABI_VERSION);
	return lb_err_set(err, ESTALE,
			  "instance \"%s\": its maps have layout %u, this program's is %u, and "
			  "it takes over from %u on: use the meshlb that made them, or run `meshlb "
			  "down`, then `meshlb apply`: its connections are lost",
			  dp->instance, abi, LB_ABI_VERSION, LB_ABI_OLDEST);
}

/* Before anything else is believed: the first two words of lb_config say what the maps are. They
 * stay at their place in every layout, whatever the size of the rest. */
static int config_check(struct lb_dp *dp, struct lb_err *err)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info), zero = 0, *head;
	int ret = 0;

	if (bpf_obj_get_info_by_fd(dp->map_fd[LB_MAP_CONFIG], &info, &len))
		return lb_err_sys(err, errno, "asking for map \"lb_config\"");
	head = calloc(1, info.value_size + 8);
	if (!head)
		return lb_err_sys(err, ENOMEM, "reading \"lb_config\"");
	if (bpf_map_lookup_elem(dp->map_fd[LB_MAP_CONFIG], &zero, head))
		ret = lb_err_sys(err, errno, "reading \"lb_config\"");
	else if (head[0] != LB_ABI_VERSION && !config_is_of_this_build(&info, head))
		ret = abi_differs(dp, head[0], err);
	else if (is_unused(&info, head))
		ret = lb_err_set(err, ENOENT,
				 "instance \"%s\": nothing was ever applied: `meshlb apply` does",
				 dp->instance);
	free(head);
	return ret;
}

static int maps_missing(const struct lb_dp *dp)
{
	int n = 0;

	for (int i = 0; i < LB_MAPS; i++)
		n += dp->map_fd[i] < 0;
	return n;
}

/* Maps of ours that a program uses, where their pins are gone. */
static void maps_find_in(struct lb_dp *dp, __u32 prog_id)
{
	__u32 ids[LB_PROG_MAPS], n = lb_prog_maps(prog_id, ids);

	for (__u32 i = 0; i < n; i++) {
		int fd = bpf_map_get_fd_by_id(ids[i]);
		struct bpf_map_info info = {};
		__u32 len = sizeof(info);

		if (fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &len))
			info.name[0] = '\0';
		for (int map = 0; map < LB_MAPS && fd >= 0; map++) {
			if (dp->map_fd[map] >= 0 || info.key_size != specs[map].key ||
			    info.value_size != specs[map].value ||
			    strncmp(info.name, lb_map_object_name(map), sizeof(info.name) - 1) != 0)
				continue;
			dp->map_fd[map] = fd;
			dp->unpinned[map] = true;
			fd = -1;
		}
		if (fd >= 0)
			close(fd);
	}
}

static void maps_find_by(struct lb_dp *dp, const char *link)
{
	struct bpf_link_info info = {};
	int fd = lb_link_open(dp, link, &info);

	if (fd < 0)
		return;
	close(fd);
	maps_find_in(dp, info.prog_id);
}

/* Programs keep their maps, so a lost pin loses nothing as long as they run. */
static void maps_find(struct lb_dp *dp)
{
	DIR *dir = lb_instance_list(dp, "links");
	struct dirent *e;
	__u32 id = 0;
	char name[16];

	for (int hook = 0; hook < LB_HOOKS; hook++)
		if (dp->progs.fd[hook] >= 0)
			maps_find_in(dp, dp->progs.id[hook]);
	maps_find_by(dp, LB_PIN_ITERATOR);
	lb_slow_each(dp, maps_find_in);
	while (dir && (e = readdir(dir))) {
		char link[LB_PIN_MAX];

		snprintf(link, sizeof(link), "links/%.32s", e->d_name);
		maps_find_by(dp, link);
	}
	if (dir)
		closedir(dir);
	/* Where not one is known no program can be told to be ours. */
	for (int n = maps_missing(dp); n && n < LB_MAPS; n = maps_missing(dp)) {
		if (bpf_prog_get_next_id(id, &id))
			break;
		lb_prog_name(id, name);
		if (!strncmp(name, "meshlb_", 7) && lb_prog_is_ours(dp, id))
			maps_find_in(dp, id);
	}
}

/* Opens all that is there, so that an instance that cannot be used can still be taken down. */
int lb_maps_open(struct lb_dp *dp, struct lb_err *err)
{
	char path[LB_PIN_MAX];
	int ret;

	for (int i = 0; i < LB_MAPS; i++) {
		dp->map_fd[i] = bpf_obj_get(lb_pin_path(dp, path, specs[i].name));
		if (dp->map_fd[i] < 0 && errno != ENOENT)
			return lb_err_sys(err, errno, "opening \"%s\"", path);
	}
	if (maps_missing(dp))
		maps_find(dp);
	if (maps_missing(dp) == LB_MAPS)
		return lb_err_set(err, ENOENT, "instance \"%s\": it is half made", dp->instance);
	ret = dp->map_fd[LB_MAP_CONFIG] < 0 ? 0 : config_check(dp, err);
	for (int i = 0; i < LB_MAPS && !ret; i++) {
		if (dp->map_fd[i] >= 0)
			continue;
		dp->wreck = true;
		ret = lb_err_set(err, ENOENT,
				 "instance \"%s\": its map \"%s\" is lost, pin and all: "
				 "`meshlb apply` makes it anew, without its connections",
				 dp->instance, specs[i].name);
	}
	return ret ? ret : lb_maps_adopt(dp, err);
}

void lb_maps_audit(const struct lb_dp *dp, struct lb_audit *a)
{
	for (int i = 0; i < LB_MAPS; i++)
		if (dp->unpinned[i])
			lb_finding(a, "map \"%s\": its pin in \"%s\" is missing", specs[i].name,
				   dp->dir);
}

void lb_maps_repin(struct lb_dp *dp)
{
	for (int i = 0; i < LB_MAPS; i++) {
		int ret = dp->unpinned[i] ? lb_pin_replace(dp, specs[i].name, dp->map_fd[i]) : 0;

		if (ret)
			lb_warn("pinning \"%s/%s\": %s", dp->dir, specs[i].name, strerror(-ret));
		dp->unpinned[i] &= ret != 0;
	}
}

void lb_maps_close(struct lb_dp *dp)
{
	for (int i = 0; i < LB_MAPS; i++) {
		if (dp->mem[i])
			munmap(dp->mem[i], dp->mem_size[i]);
		if (dp->map_fd[i] >= 0)
			close(dp->map_fd[i]);
		dp->mem[i] = NULL;
		dp->map_fd[i] = -1;
		dp->unpinned[i] = false;
	}
	free(dp->listens);
	dp->listens = NULL;
	dp->listens_known = false;
}

/* A whole hash map. Not a snapshot where others write: they take the lock, readers look at the
 * generation before and after. */
static int hash_read(const struct lb_dp *dp, enum lb_map map, void **keys, void **values, size_t *n,
		     struct lb_err *err)
{
	const struct map_spec *s = &specs[map];
	__u32 max = dp->max_entries[map], count = 0, batch = 0;
	int ret = -ENOSPC;

	*keys = calloc(max, s->key);
	*values = calloc(max, s->value);
	if (!*keys || !*values) {
		ret = -ENOMEM;
		goto fail;
	}
	/* ENOSPC: a chain was longer than the room left, which can be when it was just deleted
	 * from. */
	for (int tries = 0; tries < READ_TRIES && ret == -ENOSPC; tries++) {
		count = max;
		ret = bpf_map_lookup_batch(dp->map_fd[map], NULL, &batch, *keys, *values, &count,
					   NULL);
		ret = ret && errno != ENOENT ? -errno : 0;
	}
	if (!ret) {
		*n = count;
		return 0;
	}
fail:
	free(*keys);
	free(*values);
	*keys = *values = NULL;
	*n = 0;
	return lb_err_sys(err, -ret, "reading map \"%s\"", s->name);
}

int lb_listen_key_cmp(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct lb_listen_key));
}

static int listens_fetch(struct lb_dp *dp, struct lb_err *err)
{
	void *keys, *values;
	size_t n;
	int ret = hash_read(dp, LB_MAP_LISTENS, &keys, &values, &n, err);

	if (ret)
		return ret;
	free(dp->listens);
	dp->n_listens = 0;
	dp->listens = calloc(n + 1, sizeof(*dp->listens));
	for (size_t i = 0; dp->listens && i < n; i++)
		dp->listens[i] = (struct lb_listen_entry){((struct lb_listen_key *)keys)[i],
							  ((struct lb_listen_value *)values)[i]};
	free(keys);
	free(values);
	if (!dp->listens)
		return lb_err_sys(err, ENOMEM, "reading map \"lb_listens\"");
	dp->n_listens = n;
	qsort(dp->listens, n, sizeof(*dp->listens), lb_listen_key_cmp);
	dp->listens_known = true;
	return 0;
}

int lb_listens_read(struct lb_dp *dp, const struct lb_listen_entry **entries, size_t *n,
		    struct lb_err *err)
{
	int ret = 0;

	if (!dp->write || !dp->listens_known)
		ret = listens_fetch(dp, err);
	*entries = dp->listens;
	*n = dp->n_listens;
	return ret;
}

int lb_listen_put(struct lb_dp *dp, const struct lb_listen_key *key,
		  const struct lb_listen_value *value)
{
	dp->listens_known = false;
	return bpf_map_update_elem(dp->map_fd[LB_MAP_LISTENS], key, value, BPF_ANY) ? -errno : 0;
}

int lb_listen_delete(struct lb_dp *dp, const struct lb_listen_key *key)
{
	dp->listens_known = false;
	return bpf_map_delete_elem(dp->map_fd[LB_MAP_LISTENS], key) ? -errno : 0;
}

int lb_ifaces_read(const struct lb_dp *dp, __u32 **ifindexes, struct lb_iface **ifaces, size_t *n,
		   struct lb_err *err)
{
	int ret = hash_read(dp, LB_MAP_IFACES, (void **)ifindexes, (void **)ifaces, n, err);

	for (size_t i = 0; i < *n; i++)
		lb_iface_mend(&(*ifaces)[i]);
	return ret;
}
