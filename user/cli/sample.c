// SPDX-License-Identifier: GPL-2.0-or-later
/* sample.c - the model and the counters of one moment, and what happened between two. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sample.h"

int lb_sample_take(struct lb_sample *sample, const struct lb_cli *cli)
{
	struct lb_err err;
	int ret;

	memset(sample, 0, sizeof(*sample));
	ret = lb_session_start(&sample->s, cli, LB_READ);
	if (ret) {
		sample->s.ops = NULL; /* nothing for lb_sample_free() */
		return ret;
	}
	ret = sample->s.ops->stats(sample->s.dp, &sample->s.model, &sample->stats, &err);
	clock_gettime(CLOCK_MONOTONIC, &sample->at);
	if (!ret)
		return 0;
	lb_error("%s", err.text);
	lb_session_close(&sample->s);
	sample->s.ops = NULL;
	return ret;
}

void lb_sample_free(struct lb_sample *sample)
{
	if (!sample->s.ops)
		return;
	sample->s.ops->stats_free(&sample->stats);
	lb_session_close(&sample->s);
	sample->s.ops = NULL;
}

/* A counter that is smaller than it was belongs to something made anew. */
static uint64_t since(uint64_t now, uint64_t before)
{
	return now >= before ? now - before : now;
}

static void counters_subtract(struct lb_counters *now, const struct lb_counters *before)
{
	for (int i = 0; i < 2; i++) {
		now->packets[i] = since(now->packets[i], before->packets[i]);
		now->bytes[i] = since(now->bytes[i], before->bytes[i]);
	}
	now->connections = since(now->connections, before->connections);
}

/* Both models are sorted by name: one walk over the two. */
static void services_subtract(struct lb_dp_stats *delta, const struct lb_model *m,
			      const struct lb_sample *before)
{
	const struct lb_model *old = &before->s.model;
	size_t j = 0, first = 0, old_first = 0;

	for (size_t i = 0; i < m->n_services; first += m->services[i++].n_backends) {
		const struct lb_service_conf *s = &m->services[i], *o;

		while (j < old->n_services && strcmp(old->services[j].name, s->name) < 0)
			old_first += old->services[j++].n_backends;
		if (j == old->n_services || strcmp(old->services[j].name, s->name) != 0)
			continue;
		o = &old->services[j];
		counters_subtract(&delta->services[i], &before->stats.services[j]);
		for (size_t k = 0; k < s->n_backends; k++) {
			const struct lb_backend_conf *b =
				lb_service_find_backend(o, &s->backends[k].at);

			if (b)
				counters_subtract(
					&delta->backends[first + k],
					&before->stats.backends[old_first + (b - o->backends)]);
		}
	}
}

static struct lb_counters *counters_copy(const struct lb_counters *from, size_t n)
{
	struct lb_counters *to = calloc(n + 1, sizeof(*to));

	if (to && n)
		memcpy(to, from, n * sizeof(*to));
	return to;
}

int lb_delta_make(struct lb_dp_stats *delta, const struct lb_sample *now,
		  const struct lb_sample *before)
{
	*delta = now->stats;
	delta->services = counters_copy(now->stats.services, now->stats.n_services);
	delta->backends = counters_copy(now->stats.backends, now->stats.n_backends);
	if (!delta->services || !delta->backends) {
		lb_delta_free(delta);
		return -ENOMEM;
	}
	services_subtract(delta, &now->s.model, before);
	for (int h = 0; h < LB_HOOKS; h++)
		for (int r = 0; r < LB_REASONS; r++)
			delta->reasons[h][r] =
				since(now->stats.reasons[h][r], before->stats.reasons[h][r]);
	for (int i = 0; i < LB_EVICT_KINDS; i++)
		delta->evicted[i] = since(now->stats.evicted[i], before->stats.evicted[i]);
	delta->taken_up = since(now->stats.taken_up, before->stats.taken_up);
	return 0;
}

void lb_delta_free(struct lb_dp_stats *delta)
{
	free(delta->services);
	free(delta->backends);
}

double lb_sample_seconds(const struct lb_sample *now, const struct lb_sample *before)
{
	return (double)(now->at.tv_sec - before->at.tv_sec) +
	       (double)(now->at.tv_nsec - before->at.tv_nsec) / 1e9;
}
