/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_config.c - lb_config, which says what is true of the instance as a whole, against what the
 * kernel knows of the same things: sizes of maps, the programs' rodata, hooks. Where they differ
 * the kernel is right, and an apply writes lb_config anew.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <bpf/btf.h>

#include "core/ring.h"
#include "ebpf_internal.h"

#define LIMIT_MAX (1u << 30) /* beyond any that a config can have */

/* ---------------------------------------------------------------- network namespace */

/* By a socket, so that it is known without /proc too. 0: it is not. */
__u64 lb_netns_inode(void)
{
	int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int ns = sock < 0 ? -1 : ioctl(sock, SIOCGSKNS);
	struct stat st;
	bool known = ns >= 0 ? !fstat(ns, &st) : !stat("/proc/self/ns/net", &st);

	if (ns >= 0)
		close(ns);
	if (sock >= 0)
		close(sock);
	return known ? st.st_ino : 0;
}

int lb_netns_check(struct lb_dp *dp, struct lb_err *err)
{
	__u64 here = lb_netns_inode();

	if (!here)
		return lb_err_set(err, EIO,
				  "instance \"%s\": which network namespace this is cannot be "
				  "told: it needs CAP_NET_ADMIN, or /proc",
				  dp->instance);
	/* Only from within its namespace its programs are seen on interfaces. */
	if (dp->config->netns == here || lb_hooks_are_here(dp))
		return 0;
	dp->foreign_netns = true;
	return lb_err_set(err, EXDEV,
			  "instance \"%s\": it serves another network namespace (net:[%llu]): "
			  "work on it from there (`nsenter --net=...`), or use another "
			  "--instance",
			  dp->instance, (unsigned long long)dp->config->netns);
}

/* ---------------------------------------------------------------- generation */

static bool generation_is_sound(__u32 generation)
{
	return generation && generation <= LB_GENERATION_MAX;
}

/* The latest one that a service or a listen is of: the next, where an apply was interrupted. */
static int generation_named(struct lb_dp *dp, __u32 *latest, struct lb_err *err)
{
	const struct lb_listen_entry *entries;
	size_t n;
	int ret = lb_listens_read(dp, &entries, &n, err);

	*latest = 0;
	for (__u32 id = 1; !ret && id < dp->max_entries[LB_MAP_SERVICES]; id++) {
		__u32 select = __atomic_load_n(&dp->services[id].select, __ATOMIC_ACQUIRE);

		*latest = select >> 1 > *latest ? select >> 1 : *latest;
	}
	for (size_t i = 0; !ret && i < n; i++)
		*latest = entries[i].value.select >> 1 > *latest ? entries[i].value.select >> 1
								 : *latest;
	return ret;
}

/* Asked when an instance is opened, for all else is read by it. An apply that commits meanwhile
 * changes it: then it is looked at again. */
int lb_generation_check(struct lb_dp *dp, struct lb_err *err)
{
	__u32 before, latest;

	do {
		int ret;

		before = lb_generation(dp);
		ret = generation_named(dp, &latest, err);
		if (ret)
			return ret;
	} while (before != lb_generation(dp));
	dp->generation_lost = !generation_is_sound(before) || latest > before + 1;
	return 0;
}

static void generation_audit(struct lb_dp *dp, struct lb_audit *a)
{
	__u32 is = dp->config->generation;

	if (dp->generation_lost && generation_is_sound(is))
		lb_finding(a,
			   "lb_config: generation is %u, but services or listens are of later ones",
			   is);
	else if (dp->generation_lost)
		lb_finding(a, "lb_config: generation is %u, should be 1 to %u", is,
			   LB_GENERATION_MAX);
}

/* The slots given last are put in force, by one store, and then whatever the generation is. */
static int generation_begin(struct lb_dp *dp, struct lb_err *err)
{
	const struct lb_listen_entry *entries;
	size_t n;
	int ret = lb_listens_read(dp, &entries, &n, err);

	__atomic_store_n(&dp->config->generation, LB_GENERATION_MAX + 1, __ATOMIC_SEQ_CST);
	for (size_t i = 0; i < n && !ret; i++) {
		struct lb_listen_entry e = entries[i];

		e.value.select &= 1;
		ret = lb_listen_put(dp, &e.key, &e.value);
		if (ret)
			lb_err_sys(err, -ret, "putting \"lb_listens\" right");
	}
	if (ret)
		return ret;
	for (__u32 id = 1; id < dp->max_entries[LB_MAP_SERVICES]; id++)
		lb_select_store(&dp->services[id].select, dp->services[id].select & 1);
	for (__u32 id = 1; id < dp->max_entries[LB_MAP_LOADS]; id++)
		lb_select_store(&dp->loads[id].select, dp->loads[id].select & 1);
	for (__u32 id = 1; id < dp->max_entries[LB_MAP_BACKENDS]; id++)
		lb_select_store(&dp->backends[id].drained, dp->backends[id].drained & 1);
	__atomic_store_n(&dp->config->generation, 1, __ATOMIC_SEQ_CST);
	dp->generation_lost = false;
	return 0;
}

/* ---------------------------------------------------------------- limits */

static const struct limit {
	const char *name;
	size_t in_config, in_limits;
	enum lb_map map;
} limits[] = {
#define LIMIT(field, map)                                                                          \
	{                                                                                          \
#field, offsetof(struct lb_config, field), offsetof(struct lb_limits, field), map  \
	}
	LIMIT(connections, LB_MAP_CONN4), LIMIT(connections6, LB_MAP_CONN6),
	LIMIT(services, LB_MAP_SERVICES), LIMIT(backends, LB_MAP_BACKENDS),
	LIMIT(ring_slots, LB_MAP_RINGS),
#undef LIMIT
};
#define LIMITS (sizeof(limits) / sizeof(limits[0]))

static __u32 *limit_in(const struct limit *l, struct lb_limits *all)
{
	return (__u32 *)((char *)all + l->in_limits);
}

static __u32 *limit_stored(const struct lb_dp *dp, const struct limit *l)
{
	return (__u32 *)((char *)dp->config + l->in_config);
}

static __u32 entries_with(const struct limit *l, __u32 value)
{
	struct lb_limits all = {};

	*limit_in(l, &all) = value;
	return lb_map_entries(l->map, &all);
}

/* The least limit for which the map has `entries` or more. */
static __u64 least_with(const struct limit *l, __u64 entries)
{
	__u64 low = 0, high = LIMIT_MAX;

	while (low < high) {
		__u64 middle = (low + high) / 2;

		if (entries_with(l, middle) >= entries)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static __u32 limit_of(const struct lb_dp *dp, const struct limit *l)
{
	__u32 entries = dp->max_entries[l->map], stored = *limit_stored(dp, l);
	__u64 low, high;

	if (stored <= LIMIT_MAX && entries_with(l, stored) == entries)
		return stored;
	/* Of the few that make a map of this size the roundest is what somebody has written. */
	low = least_with(l, entries);
	high = least_with(l, (__u64)entries + 1);
	if (high > low)
		high--;
	while (high & (high - 1) && (high & (high - 1)) >= low)
		high &= high - 1;
	return high;
}

void lb_limits_read(const struct lb_dp *dp, struct lb_limits *all)
{
	for (size_t i = 0; i < LIMITS; i++)
		*limit_in(&limits[i], all) = limit_of(dp, &limits[i]);
}

static void limits_audit(const struct lb_dp *dp, struct lb_audit *a)
{
	for (size_t i = 0; i < LIMITS; i++) {
		__u32 is = *limit_stored(dp, &limits[i]), should = limit_of(dp, &limits[i]);

		if (is != should)
			lb_finding(a, "lb_config: %s is %u, but \"%s\" was made for %u",
				   limits[i].name, is, lb_map_name(limits[i].map), should);
	}
}

/* ---------------------------------------------------------------- secret */

/* Where in a map's value a variable is, by the map's BTF; -ENOENT. */
static int variable_find(const struct bpf_map_info *info, const char *name, __u32 size)
{
	struct btf *btf = btf__load_from_kernel_by_id(info->btf_id);
	const struct btf_type *t = btf ? btf__type_by_id(btf, info->btf_value_type_id) : NULL;
	int at = -ENOENT;

	for (int i = 0; t && btf_is_datasec(t) && i < btf_vlen(t) && at < 0; i++) {
		const struct btf_var_secinfo *v = btf_var_secinfos(t) + i;
		const struct btf_type *var = btf__type_by_id(btf, v->type);

		if (var && v->size == size && v->offset + size <= info->value_size &&
		    !strcmp(btf__name_by_offset(btf, var->name_off), name))
			at = v->offset;
	}
	btf__free(btf);
	return at;
}

static bool secret_in_map(__u32 id, __u64 secret[LB_SECRET_WORDS])
{
	int fd = bpf_map_get_fd_by_id(id), at = -ENOENT;
	const __u32 size = sizeof(__u64) * LB_SECRET_WORDS;
	struct bpf_map_info info = {};
	__u32 len = sizeof(info), zero = 0;
	char *value = NULL;

	if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len) && strstr(info.name, ".rodata"))
		at = variable_find(&info, "lb_secret", size);
	if (at >= 0)
		value = malloc(info.value_size);
	if (!value || bpf_map_lookup_elem(fd, &zero, value))
		at = -ENOENT;
	if (at >= 0)
		memcpy(secret, value + at, size);
	free(value);
	if (fd >= 0)
		close(fd);
	return at >= 0;
}

/* The one by which the loaded programs have placed all connections. */
static bool secret_read(const struct lb_dp *dp, __u64 secret[LB_SECRET_WORDS])
{
	for (int hook = 0; hook < LB_HOOKS; hook++) {
		__u32 maps[LB_PROG_MAPS];
		__u32 n = dp->progs.fd[hook] < 0 ? 0 : lb_prog_maps(dp->progs.id[hook], maps);

		for (__u32 i = 0; i < n; i++)
			if (secret_in_map(maps[i], secret))
				return true;
	}
	return false;
}

/* ---------------------------------------------------------------- all */

void lb_config_audit(struct lb_dp *dp, struct lb_audit *a)
{
	const struct lb_config *c = dp->config;
	__u64 secret[LB_SECRET_WORDS], here = lb_netns_inode();

	if (dp->fresh) /* the first commit fills the rest */
		return;
	if (c->abi != LB_ABI_VERSION)
		lb_finding(a, "lb_config: abi is %u, but the programs are this meshlb's: %u",
			   c->abi, LB_ABI_VERSION);
	generation_audit(dp, a);
	if (secret_read(dp, secret) && memcmp(secret, c->secret, sizeof(secret)) != 0)
		lb_finding(a, "lb_config: its secret is not the loaded programs'");
	if (c->netns != here)
		lb_finding(a, "lb_config: netns is %llu, but its programs serve this one, %llu",
			   (unsigned long long)c->netns, (unsigned long long)here);
	if (c->default_scheduler >= LB_SCHEDULERS)
		lb_finding(a, "lb_config: there is no scheduler %u", c->default_scheduler);
	if (c->default_maglev_size > LB_MAGLEV_SIZE_MAX || !lb_is_prime(c->default_maglev_size))
		lb_finding(a, "lb_config: default_maglev_size is %u, should be a prime up to %u",
			   c->default_maglev_size, LB_MAGLEV_SIZE_MAX);
	limits_audit(dp, a);
}

int lb_config_repair(struct lb_dp *dp, struct lb_err *err)
{
	struct lb_config *c = dp->config;
	__u64 secret[LB_SECRET_WORDS];
	struct lb_limits all;

	lb_limits_read(dp, &all);
	for (size_t i = 0; i < LIMITS; i++)
		*limit_stored(dp, &limits[i]) = *limit_in(&limits[i], &all);
	c->abi = LB_ABI_VERSION;
	c->netns = lb_netns_inode();
	if (secret_read(dp, secret))
		memcpy(c->secret, secret, sizeof(secret));
	return dp->generation_lost ? generation_begin(dp, err) : 0;
}
