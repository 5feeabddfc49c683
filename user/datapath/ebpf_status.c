/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ebpf_status.c - an instance as a whole: its age and build, what is used of its limits, its hooks;
 * and the memory that limits take. */
#include <errno.h>
#include <stdlib.h>

#include "ebpf_internal.h"

#define PAGE           4096u
#define HASH_ELEMENT   48u /* the kernel's struct htab_elem, its key apart */
#define HASH_BUCKET    16u
#define ROUND_UP(n, m) (((n) + (m)-1) / (m) * (m))

static __u64 map_bytes(enum lb_map map, __u32 entries)
{
	__u64 value = ROUND_UP((__u64)lb_map_value_size(map), 8), buckets = 1;

	switch (map) {
	case LB_MAP_LISTENS:
	case LB_MAP_IFACES:
		while (buckets < entries)
			buckets *= 2;
		return entries * (HASH_ELEMENT + ROUND_UP(lb_map_key_size(map), 8) + value) +
		       buckets * HASH_BUCKET;
	case LB_MAP_BACKEND_STATS:
	case LB_MAP_REASONS:
		return entries * (value * libbpf_num_possible_cpus() + sizeof(void *));
	default:
		return ROUND_UP(entries * value, PAGE);
	}
}

uint64_t lb_ebpf_memory(const struct lb_limits *l, struct lb_usage *connections4,
			struct lb_usage *connections6, struct lb_usage *other)
{
	struct lb_usage usage[3] = {{.limit = l->connections}, {.limit = l->connections6}};
	__u64 all = 0;

	for (int i = 0; i < LB_MAPS; i++) {
		__u64 bytes = map_bytes(i, lb_map_entries(i, l));

		if (i == LB_MAP_CONN4 || i == LB_MAP_SEQS4)
			usage[0].bytes += bytes;
		else
			usage[i == LB_MAP_CONN6 || i == LB_MAP_SEQS6 ? 1 : 2].bytes += bytes;
		all += bytes;
	}
	if (connections4)
		*connections4 = usage[0];
	if (connections6)
		*connections6 = usage[1];
	if (other)
		*other = usage[2];
	return all;
}

static __u64 bytes_of(const struct lb_dp *dp, enum lb_map map)
{
	return map_bytes(map, dp->max_entries[map]);
}

static int usage_read(struct lb_dp *dp, struct lb_dp_status *s, struct lb_err *err)
{
	const struct lb_config *c = dp->config;
	__u32 generation = lb_generation(dp), n = dp->max_entries[LB_MAP_BACKENDS];
	struct lb_conn_used used = {};
	struct lb_tx tx = {};
	int ret;

	s->services = (struct lb_usage){.limit = c->services,
					.bytes = bytes_of(dp, LB_MAP_SERVICES) +
						 bytes_of(dp, LB_MAP_LISTENS)};
	s->backends = (struct lb_usage){.limit = c->backends,
					.bytes = bytes_of(dp, LB_MAP_BACKENDS) +
						 bytes_of(dp, LB_MAP_BACKEND_STATS) +
						 bytes_of(dp, LB_MAP_MEMBERS)};
	s->ring_slots =
		(struct lb_usage){.limit = c->ring_slots,
				  .used = (__u64)dp->max_entries[LB_MAP_RINGS] * LB_RING_LINE,
				  .bytes = bytes_of(dp, LB_MAP_RINGS)};
	for (__u32 id = 1; id < dp->max_entries[LB_MAP_SERVICES]; id++)
		s->services.used += lb_service_in_force(dp, id, generation) != NULL;
	ret = lb_tx_begin(&tx, dp, NULL, 0, err); /* it knows what is free */
	for (__u32 id = 1; id < n && !ret; id++)
		s->backends.used += tx.named[id] != 0;
	for (size_t i = 0; i < tx.rings.n && !ret; i++)
		s->ring_slots.used -= (__u64)tx.rings.free[i].size * LB_RING_LINE;
	lb_tx_end(&tx);
	s->connections4.limit = c->connections;
	s->connections4.bytes = bytes_of(dp, LB_MAP_CONN4) + bytes_of(dp, LB_MAP_SEQS4);
	s->connections6.limit = c->connections6;
	s->connections6.bytes = bytes_of(dp, LB_MAP_CONN6) + bytes_of(dp, LB_MAP_SEQS6);
	if (!ret)
		ret = lb_conn_usage(dp, &used, err);
	s->connections4.used = used.connections[LB_V4];
	s->connections6.used = used.connections[LB_V6];
	s->affinities4 = (struct lb_usage){used.affinities[LB_V4], c->connections, 0};
	s->affinities6 = (struct lb_usage){used.affinities[LB_V6], c->connections6, 0};
	return ret;
}

int lb_ebpf_status(struct lb_dp *dp, struct lb_dp_status *s, struct lb_err *err)
{
	const struct lb_config *c = dp->config;
	int ret;

	*s = (struct lb_dp_status){.datapath = lb_dp_ebpf.name,
				   .abi = c->abi,
				   .generation = c->generation,
				   .build = c->build,
				   .created = c->created,
				   .applied = c->applied,
				   .no_iterator = c->no_iterator,
				   .build_current = c->build == lb_build_id()};
	snprintf(s->instance, sizeof(s->instance), "%s", dp->instance);
	lb_timeouts_read(dp, 0, s->timeouts);
	ret = usage_read(dp, s, err);
	return ret ? ret : lb_hooks_status(dp, &s->hooks, &s->n_hooks, err);
}

void lb_ebpf_status_free(struct lb_dp_status *s)
{
	free(s->hooks);
	*s = (struct lb_dp_status){};
}
