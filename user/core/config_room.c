// SPDX-License-Identifier: GPL-2.0-or-later
/* config_room.c - is there room within the limits for all listens and rings of a config? Said with
 * the line that is too much, before anything is made.
 */

#include "config_private.h"

#include <errno.h>
#include <stdlib.h>

#include "ring.h"

static int check_listens(const struct lb_model *m, const char *file, struct lb_err *err)
{
	uint64_t n = 0, room = lb_limits_listens(&m->limits);
	char at[LB_ENDPOINT_STRLEN];

	for (size_t i = 0; i < m->n_services; i++) {
		for (size_t j = 0; j < m->services[i].n_listens; j++) {
			const struct lb_listen *l = &m->services[i].listens[j];

			n += l->any == LB_ANY_BOTH ? 2 : 1;
			if (n > room)
				return lb_config_refuse(
					err, file, l->line, "listen", lb_listen_str(at, l),
					"with those before, more than the %llu (* counts twice) "
					"that limits.services, %u, has room for: raise it",
					(unsigned long long)room, m->limits.services);
		}
	}
	return 0;
}

struct ring {
	uint64_t key;
	uint32_t lines;
	const struct lb_service_conf *service;
};

/* Returns how many slots, or -errno. */
static int ring_make(struct ring *r, const struct lb_service_conf *s, enum lb_family family)
{
	struct lb_ring_member *members = calloc(s->n_backends + 1, sizeof(*members));
	size_t n = 0;
	int size;

	if (!members)
		return -ENOMEM;
	for (size_t i = 0; i < s->n_backends; i++)
		if (s->backends[i].at.family == family)
			members[n++] =
				(struct lb_ring_member){s->backends[i].at, s->backends[i].weight};
	size = lb_ring_size(s->scheduler, members, n, s->maglev_size);
	if (size > 0)
		*r = (struct ring){lb_ring_key(s->scheduler, members, n, size),
				   (size + LB_RING_LINE - 1) / LB_RING_LINE, s};
	free(members);
	return size;
}

static int by_key(const void *a, const void *b)
{
	const struct ring *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->service->line - y->service->line;
}

static int by_line(const void *a, const void *b)
{
	const struct ring *x = a, *y = b;

	return x->service->line - y->service->line;
}

/* Equal rings are one. */
static size_t unique(struct ring *rings, size_t n)
{
	size_t kept = 0;

	qsort(rings, n, sizeof(*rings), by_key);
	for (size_t i = 0; i < n; i++)
		if (!kept || rings[kept - 1].key != rings[i].key)
			rings[kept++] = rings[i];
	return kept;
}

static int refuse_rings(struct ring *rings, size_t n, const struct lb_model *m, const char *file,
			struct lb_err *err)
{
	uint64_t room = (m->limits.ring_slots + LB_RING_LINE - 1) / LB_RING_LINE, sum = 0;
	const struct lb_service_conf *first = NULL;

	qsort(rings, n, sizeof(*rings), by_line);
	for (size_t i = 0; i < n; i++) {
		sum += rings[i].lines;
		if (sum > room && !first)
			first = rings[i].service;
	}
	if (!first)
		return 0;
	return lb_config_refuse(err, file, first->line, "service", first->name,
				"with those before, its ring is more than limits.ring-slots, %u, "
				"has room for: raise it to %llu at least",
				m->limits.ring_slots, (unsigned long long)sum * LB_RING_LINE);
}

static int check_rings(const struct lb_model *m, const char *file, struct lb_err *err)
{
	struct ring *rings = calloc(m->n_services * LB_FAMILIES + 1, sizeof(*rings));
	size_t n = 0;
	int ret = rings ? 0 : -ENOMEM;

	for (size_t i = 0; i < m->n_services * LB_FAMILIES && ret >= 0; i++) {
		ret = ring_make(&rings[n], &m->services[i / LB_FAMILIES], i % LB_FAMILIES);
		n += ret > 0;
	}
	if (ret < 0)
		lb_err_set(err, -ret, "%s: out of memory", file);
	else
		ret = refuse_rings(rings, unique(rings, n), m, file, err);
	free(rings);
	return ret;
}

int lb_config_check_room(const struct lb_model *m, const char *file, struct lb_err *err)
{
	int ret = check_listens(m, file, err);

	return ret ? ret : check_rings(m, file, err);
}
