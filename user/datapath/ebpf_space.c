/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_space.c - free space in the maps that services share (lb_rings, lb_members).
 *
 * It is stored nowhere: what no service in force refers to is free. So nothing can leak, and an
 * interrupted apply leaves nothing to give back.
 */
#include <errno.h>
#include <stdlib.h>

#include "ebpf_internal.h"

static int extent_cmp(const void *a, const void *b)
{
	const struct lb_extent *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

/* Sorts used[]; extents may overlap, for services share rings. */
int lb_space_init(struct lb_space *s, struct lb_extent *used, size_t n, __u32 total)
{
	__u32 end = 0;

	s->n = 0;
	s->free = calloc(n + 1, sizeof(*s->free));
	if (!s->free)
		return -ENOMEM;
	qsort(used, n, sizeof(*used), extent_cmp);
	for (size_t i = 0; i < n; i++) {
		if (used[i].start > end)
			s->free[s->n++] = (struct lb_extent){end, used[i].start - end};
		if (used[i].start + used[i].size > end)
			end = used[i].start + used[i].size;
	}
	if (end < total)
		s->free[s->n++] = (struct lb_extent){end, total - end};
	return 0;
}

int lb_space_take(struct lb_space *s, __u32 size, __u32 *start)
{
	for (size_t i = 0; i < s->n; i++) {
		if (s->free[i].size < size)
			continue;
		*start = s->free[i].start;
		s->free[i].start += size;
		s->free[i].size -= size;
		return 0;
	}
	return -ENOSPC;
}

void lb_space_free(struct lb_space *s)
{
	free(s->free);
	s->free = NULL;
	s->n = 0;
}
