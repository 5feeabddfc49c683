/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pairs.h - listens with their backends: to which service a connection belongs, where the kernel
 * keeps connections that know nothing of services.
 */
#ifndef LB_PAIRS_H
#define LB_PAIRS_H

#include "datapath.h"

/* A listen (any: of every address) with a backend: what a connection of ours looks like. */
struct lb_pair {
	struct lb_endpoint listen, backend;
	uint8_t proto, any;
	uint32_t service; /* its id */
};
struct lb_pairs {
	struct lb_pair *list;
	size_t n, room;
};

/* 0 or -ENOMEM. A pair whose families differ is left out. */
int lb_pairs_add(struct lb_pairs *p, const struct lb_service_conf *s, const struct lb_listen *l,
		 const struct lb_backend_conf *b);
int lb_pairs_add_service(struct lb_pairs *p, const struct lb_service_conf *s);
/* A listen alone, without a backend. */
int lb_pairs_add_listen(struct lb_pairs *p, const struct lb_listen *l, enum lb_family family);
void lb_pairs_sort(struct lb_pairs *p);
void lb_pairs_free(struct lb_pairs *p);

/* Only in sorted ones: an exact listen goes before `*`. NULL: nobody's. */
const struct lb_pair *lb_pairs_find(const struct lb_pairs *p, const struct lb_conn *c);

#endif
