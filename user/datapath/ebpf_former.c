/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_former.c - the maps of an instance of an older ABI, copied field by field into those of the
 * present one: services, backends, ids, counters stay what they are. A field that is new is 0,
 * which must mean: as it was before there was one. Connections are in ebpf_former_conn.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ebpf_migrate.h"

/* Not reasons, which have other numbers in each ABI, and next hops, which packets find again. */
static const enum lb_map copied[] = {
	LB_MAP_PORTS,    LB_MAP_LISTENS,  LB_MAP_SERVICES, LB_MAP_MEMBERS,
	LB_MAP_RINGS,    LB_MAP_BACKENDS, LB_MAP_LOADS,    LB_MAP_BACKEND_STATS,
	LB_MAP_TIMEOUTS, LB_MAP_RATES,    LB_MAP_IFACES,
};
#define COPIED (sizeof(copied) / sizeof(copied[0]))

static int unreadable(const struct lb_dp *former, enum lb_map map, int errnum, struct lb_err *err)
{
	return lb_err_set(err, errnum,
			  "instance \"%s\": map \"%s\" of the layout that it has cannot be read "
			  "(%s): run `meshlb down`, then `meshlb apply`: its connections are lost",
			  former->instance, lb_map_name(map), strerror(errnum));
}

/* ---------------------------------------------------------------- one map */

/* A map read element by element, in memory where it can be; a per-CPU one has a value for each
 * possible processor. */
struct source {
	int fd;
	__u32 cpus, n;
	__u32 stride;     /* of the values of one key */
	void *key, *next; /* key: the one read last */
	void *value, *room;
	char *mem;
	bool begun, is_hash;
};

static int source_map(struct source *s)
{
	void *mem = mmap(NULL, (size_t)s->n * s->stride, PROT_READ, MAP_SHARED, s->fd, 0);

	if (mem == MAP_FAILED)
		return -errno;
	s->mem = mem;
	return 0;
}

static int source_open(struct source *s, int fd)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);

	*s = (struct source){.fd = fd, .cpus = 1};
	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	if (info.type == BPF_MAP_TYPE_PERCPU_ARRAY)
		s->cpus = libbpf_num_possible_cpus();
	s->is_hash = info.type == BPF_MAP_TYPE_HASH;
	s->n = info.max_entries;
	s->stride = (info.value_size + 7) / 8 * 8;
	s->key = calloc(1, info.key_size);
	s->next = calloc(1, info.key_size);
	s->value = s->room = calloc(s->cpus, s->stride);
	if (!s->key || !s->next || !s->room)
		return -ENOMEM;
	return info.map_flags & BPF_F_MMAPABLE ? source_map(s) : 0;
}

static int source_step(struct source *s)
{
	__u32 *index = s->key;

	if (s->begun)
		++*index;
	s->begun = true;
	s->value = s->mem + (size_t)*index * s->stride;
	return *index < s->n;
}

/* 1: there is one more, 0: there is none, or -errno. */
static int source_read(struct source *s)
{
	void *key = s->next;

	if (s->mem)
		return source_step(s);
	if (bpf_map_get_next_key(s->fd, s->begun ? s->key : NULL, s->next))
		return errno == ENOENT ? 0 : -errno;
	s->next = s->key;
	s->key = key;
	s->begun = true;
	return bpf_map_lookup_elem(s->fd, s->key, s->value) ? -errno : 1;
}

static void source_close(struct source *s)
{
	if (s->mem)
		munmap(s->mem, (size_t)s->n * s->stride);
	free(s->key);
	free(s->next);
	free(s->room);
}

struct transfer {
	struct source from;
	struct lb_moves key, value;
	const struct lb_dp *to;
	enum lb_map map;
	__u32 stride; /* of the values of one key, there */
	void *to_key, *to_value;
};

static int moves_make(struct transfer *t)
{
	struct lb_map_types was, is = {};
	int ret = lb_map_types_read(t->from.fd, &was);

	if (!ret)
		ret = lb_map_types_read(t->to->map_fd[t->map], &is);
	if (!ret && t->from.is_hash)
		ret = lb_moves_make(&t->key, was.key, is.key);
	if (!ret)
		ret = lb_moves_make(&t->value, was.value, is.value);
	lb_map_types_free(&was);
	lb_map_types_free(&is);
	return ret;
}

static int transfer_open(struct transfer *t, const struct lb_dp *from, const struct lb_dp *to,
			 enum lb_map map)
{
	int ret = source_open(&t->from, from->map_fd[map]);

	t->to = to;
	t->map = map;
	t->stride = (lb_map_value_size(map) + 7) / 8 * 8;
	t->to_key = calloc(1, lb_map_key_size(map));
	t->to_value = calloc(t->from.cpus, t->stride);
	if (!ret && (!t->to_key || !t->to_value))
		ret = -ENOMEM;
	return ret ? ret : moves_make(t);
}

static void transfer_close(struct transfer *t)
{
	source_close(&t->from);
	lb_moves_free(&t->key);
	lb_moves_free(&t->value);
	free(t->to_key);
	free(t->to_value);
}

static bool is_zero(const char *bytes, size_t n)
{
	return !n || (!bytes[0] && !memcmp(bytes, bytes + 1, n - 1));
}

/* The element that was read, in the layout it is to have. An array's keys are its indexes. */
static void transfer_turn(struct transfer *t)
{
	memset(t->to_value, 0, (size_t)t->from.cpus * t->stride);
	if (t->from.is_hash)
		lb_moves_run(&t->key, t->from.key, t->to_key);
	else
		memcpy(t->to_key, t->from.key, sizeof(__u32));
	for (__u32 cpu = 0; cpu < t->from.cpus; cpu++)
		lb_moves_run(&t->value, (char *)t->from.value + (size_t)cpu * t->from.stride,
			     (char *)t->to_value + (size_t)cpu * t->stride);
}

static bool is_beyond(const struct transfer *t)
{
	return !t->from.is_hash && *(__u32 *)t->to_key >= t->to->max_entries[t->map];
}

/* There may be fewer elements of an array, as long as those that are missing were not used. */
static int transfer_write(const struct transfer *t)
{
	const size_t size = (size_t)t->from.cpus * t->stride;
	char *mem = t->to->mem[t->map];

	if (is_beyond(t))
		return is_zero(t->to_value, size) ? 0 : -ENOSPC;
	if (mem)
		memcpy(mem + *(__u32 *)t->to_key * size, t->to_value, size);
	else if (bpf_map_update_elem(t->to->map_fd[t->map], t->to_key, t->to_value, BPF_ANY))
		return -errno;
	return 0;
}

/* Until a generation is stored it is half made. */
static void config_hold(struct lb_config *c)
{
	c->abi = LB_ABI_VERSION;
	c->generation = 0;
	c->applied = 0;
}

static int map_copy(const struct lb_dp *former, const struct lb_dp *next, enum lb_map map,
		    struct lb_err *err)
{
	struct transfer t = {};
	int ret = transfer_open(&t, former, next, map), more = 0;

	while (!ret && (more = source_read(&t.from)) > 0) {
		transfer_turn(&t);
		if (map == LB_MAP_CONFIG)
			config_hold(t.to_value);
		ret = transfer_write(&t);
	}
	transfer_close(&t);
	if (more < 0)
		ret = more;
	return ret ? unreadable(former, map, -ret, err) : 0;
}

/* ---------------------------------------------------------------- all of them */

int lb_former_copy(const struct lb_dp *former, struct lb_dp *next, struct lb_err *err)
{
	int ret = map_copy(former, next, LB_MAP_CONFIG, err);

	for (size_t i = 0; i < COPIED && !ret; i++)
		ret = map_copy(former, next, copied[i], err);
	if (ret)
		return ret;
	lb_timeouts_fill(next->timeouts, next->timeouts->seconds[0]);
	for (__u32 id = 0; id < next->max_entries[LB_MAP_BACKENDS]; id++)
		next->backends[id].nexthop = 0;
	return 0;
}

int lb_former_ports(const struct lb_dp *former, struct lb_dp *next, struct lb_err *err)
{
	return map_copy(former, next, LB_MAP_PORTS, err);
}

/* What is asked before there are maps to copy to. */
int lb_former_config_read(const struct lb_dp *former, struct lb_former_config *c,
			  struct lb_err *err)
{
	const struct {
		const char *name;
		void *to;
		__u32 size;
	} fields[] = {
		{"connections", &c->limits.connections, sizeof(c->limits.connections)},
		{"connections6", &c->limits.connections6, sizeof(c->limits.connections6)},
		{"services", &c->limits.services, sizeof(c->limits.services)},
		{"backends", &c->limits.backends, sizeof(c->limits.backends)},
		{"ring_slots", &c->limits.ring_slots, sizeof(c->limits.ring_slots)},
		{"secret", c->secret, sizeof(c->secret)},
		{"generation", &c->generation, sizeof(c->generation)},
		{"applied", &c->applied, sizeof(c->applied)},
	};
	int fd = former->map_fd[LB_MAP_CONFIG], ret;
	struct lb_map_types types;
	struct source s;
	struct lb_field f;

	ret = lb_map_types_read(fd, &types);
	if (ret)
		return unreadable(former, LB_MAP_CONFIG, -ret, err);
	ret = source_open(&s, fd);
	if (!ret)
		ret = source_read(&s) == 1 ? 0 : -EIO;
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]) && !ret; i++) {
		if (!lb_field_find(types.value, fields[i].name, &f) ||
		    f.size * f.n != fields[i].size)
			ret = -EPROTO;
		else
			memcpy(fields[i].to, (char *)s.value + f.offset, fields[i].size);
	}
	source_close(&s);
	lb_map_types_free(&types);
	return ret ? unreadable(former, LB_MAP_CONFIG, -ret, err) : 0;
}

/* ---------------------------------------------------------------- counters */

static void counters_sum(struct lb_counters *sum, const struct transfer *t)
{
	for (__u32 cpu = 0; cpu < t->from.cpus; cpu++)
		lb_counters_add(
			sum, (const void *)((const char *)t->to_value + (size_t)cpu * t->stride));
}

struct lb_counters *lb_former_counters(const struct lb_dp *of, const struct lb_dp *next)
{
	__u32 n = next->max_entries[LB_MAP_BACKENDS];
	struct lb_counters *sums = calloc(n, sizeof(*sums));
	struct transfer t = {};
	int ret = transfer_open(&t, of, next, LB_MAP_BACKEND_STATS);

	while (!ret && sums && source_read(&t.from) > 0) {
		transfer_turn(&t);
		if (*(__u32 *)t.to_key < n)
			counters_sum(&sums[*(__u32 *)t.to_key], &t);
	}
	transfer_close(&t);
	if (ret) {
		free(sums);
		sums = NULL;
	}
	return sums;
}
