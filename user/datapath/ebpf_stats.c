/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_stats.c - counters, summed over the processors, by service and by backend, and the status of
 * an instance: what is used of its limits, and its hooks.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ebpf_internal.h"

#define BATCH 1024 /* backends whose counters are asked for at a time */

void lb_counters_add(struct lb_counters *to, const struct lb_counters *from)
{
	for (int i = 0; i < 2; i++) {
		to->packets[i] += from->packets[i];
		to->bytes[i] += from->bytes[i];
	}
	to->connections += from->connections;
}

/* Before an id is given away: what it counted stays with its service. */
int lb_backend_counters_retire(struct lb_dp *dp, __u32 id, struct lb_err *err)
{
	int fd = dp->map_fd[LB_MAP_BACKEND_STATS], cpus = libbpf_num_possible_cpus(), ret = 0;
	struct lb_counters *percpu = calloc(cpus, sizeof(*percpu));
	struct lb_backend *b = &dp->backends[id];

	if (!percpu)
		return lb_err_sys(err, ENOMEM, "taking over the counters of backend id %u", id);
	if (bpf_map_lookup_elem(fd, &id, percpu))
		ret = -errno;
	for (int cpu = 0; cpu < cpus && !ret; cpu++)
		if (b->service && b->service < dp->max_entries[LB_MAP_SERVICES])
			lb_counters_add(&dp->services[b->service].retired, &percpu[cpu]);
	if (!ret)
		b->service = 0; /* killed between this and the next, it is not added twice */
	memset(percpu, 0, cpus * sizeof(*percpu));
	if (!ret && bpf_map_update_elem(fd, &id, percpu, BPF_EXIST))
		ret = -errno;
	free(percpu);
	return ret ? lb_err_sys(err, -ret, "taking over the counters of backend id %u", id) : 0;
}

static __u32 backends_end(const struct lb_dp *dp)
{
	__u32 end = dp->max_entries[LB_MAP_BACKENDS];

	while (end && dp->backends[end - 1].state == LB_BACKEND_FREE)
		end--;
	return end;
}

int lb_backend_counters_read(struct lb_dp *dp, __u32 n, struct lb_counters *sums,
			     struct lb_err *err)
{
	int cpus = libbpf_num_possible_cpus(), ret = 0;
	struct lb_counters *percpu = calloc((size_t)BATCH * cpus, sizeof(*percpu));
	__u32 *keys = calloc(BATCH, sizeof(*keys)), batch = 0, done = 0;

	if (!percpu || !keys)
		ret = -ENOMEM;
	while (done < n && !ret) {
		__u32 count = n - done < BATCH ? n - done : BATCH;

		if (bpf_map_lookup_batch(dp->map_fd[LB_MAP_BACKEND_STATS], done ? &batch : NULL,
					 &batch, keys, percpu, &count, NULL) &&
		    errno != ENOENT)
			ret = -errno;
		for (__u32 i = 0; i < count && !ret; i++)
			for (int cpu = 0; cpu < cpus; cpu++)
				lb_counters_add(&sums[keys[i]], &percpu[(size_t)i * cpus + cpu]);
		if (!count)
			break;
		done += count;
	}
	free(percpu);
	free(keys);
	return ret ? lb_err_sys(err, -ret, "reading the counters") : 0;
}

static int reasons_read(struct lb_dp *dp, struct lb_dp_stats *s)
{
	int cpus = libbpf_num_possible_cpus(), ret = 0;
	struct lb_reasons *percpu = calloc(cpus, sizeof(*percpu));
	__u32 zero = 0;

	if (!percpu)
		return -ENOMEM;
	if (bpf_map_lookup_elem(dp->map_fd[LB_MAP_REASONS], &zero, percpu))
		ret = -errno;
	for (int cpu = 0; cpu < cpus && !ret; cpu++) {
		for (int hook = 0; hook < LB_HOOKS; hook++)
			for (int i = 0; i < LB_REASONS; i++)
				s->reasons[hook][i] += percpu[cpu].count[hook][i];
		for (int i = 0; i < LB_EVICT_KINDS; i++)
			s->evicted[i] += percpu[cpu].evicted[i];
		s->taken_up += percpu[cpu].taken_up;
	}
	free(percpu);
	return ret;
}

/* A service's counters: of its backends, of those that are gone, and of those whose id is. */
static void services_sum(const struct lb_dp *dp, const struct lb_model *m, struct lb_dp_stats *s,
			 const struct lb_counters *by_id, __u32 n, __u32 *index)
{
	size_t at = 0;

	for (size_t i = 0; i < m->n_services; i++) {
		const struct lb_service_conf *c = &m->services[i];

		index[c->id] = i + 1;
		s->services[i] = dp->services[c->id].retired;
		for (size_t j = 0; j < c->n_backends; j++, at++)
			if (c->backends[j].id < n)
				s->backends[at] = by_id[c->backends[j].id];
	}
	for (__u32 id = 1; id < n; id++) {
		__u32 service = dp->backends[id].service;

		if (service < dp->max_entries[LB_MAP_SERVICES] && index[service])
			lb_counters_add(&s->services[index[service] - 1], &by_id[id]);
	}
}

int lb_ebpf_stats(struct lb_dp *dp, const struct lb_model *m, struct lb_dp_stats *s,
		  struct lb_err *err)
{
	__u32 n = backends_end(dp);
	struct lb_counters *by_id = calloc(n + 1, sizeof(*by_id));
	__u32 *index = calloc(dp->max_entries[LB_MAP_SERVICES], sizeof(*index));
	int ret = -ENOMEM;

	*s = (struct lb_dp_stats){.n_services = m->n_services};
	for (size_t i = 0; i < m->n_services; i++)
		s->n_backends += m->services[i].n_backends;
	s->services = calloc(s->n_services + 1, sizeof(*s->services));
	s->backends = calloc(s->n_backends + 1, sizeof(*s->backends));
	if (by_id && index && s->services && s->backends)
		ret = reasons_read(dp, s);
	if (ret)
		lb_err_sys(err, -ret, "reading the counters");
	else
		ret = lb_backend_counters_read(dp, n, by_id, err);
	if (!ret)
		services_sum(dp, m, s, by_id, n, index);
	free(by_id);
	free(index);
	if (!ret)
		return 0;
	lb_ebpf_stats_free(s);
	return ret;
}

void lb_ebpf_stats_free(struct lb_dp_stats *s)
{
	free(s->services);
	free(s->backends);
	*s = (struct lb_dp_stats){};
}
