// SPDX-License-Identifier: GPL-2.0-or-later
/* pairs.c - listens with their backends: to which service a connection belongs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pairs.h"

static int pair_order(const void *a, const void *b)
{
	const struct lb_pair *x = a, *y = b;
	int cmp = x->proto - y->proto;

	cmp = cmp ? cmp : x->any - y->any;
	cmp = cmp ? cmp : lb_endpoint_cmp(&x->listen, &y->listen);
	return cmp ? cmp : lb_endpoint_cmp(&x->backend, &y->backend);
}

int lb_pairs_add(struct lb_pairs *p, const struct lb_service_conf *s, const struct lb_listen *l,
		 const struct lb_backend_conf *b)
{
	struct lb_pair *list = p->list;

	if (!lb_listen_in(l, b->at.family))
		return 0;
	if (p->n == p->room) {
		p->room = p->room ? p->room * 2 : 64;
		list = realloc(list, p->room * sizeof(*list));
	}
	if (!list)
		return -ENOMEM;
	p->list = list;
	list[p->n] = (struct lb_pair){.listen = l->at,
				      .backend = b->at,
				      .proto = l->proto,
				      .any = l->any != LB_ANY_NOT,
				      .service = s->id};
	if (l->any)
		list[p->n].listen =
			(struct lb_endpoint){.port = l->at.port, .family = b->at.family};
	p->n++;
	return 0;
}

int lb_pairs_add_service(struct lb_pairs *p, const struct lb_service_conf *s)
{
	int ret = 0;

	for (size_t b = 0; b < s->n_backends; b++)
		for (size_t l = 0; l < s->n_listens && !ret; l++)
			ret = lb_pairs_add(p, s, &s->listens[l], &s->backends[b]);
	return ret;
}

void lb_pairs_sort(struct lb_pairs *p)
{
	if (p->n)
		qsort(p->list, p->n, sizeof(*p->list), pair_order);
}

const struct lb_pair *lb_pairs_find(const struct lb_pairs *p, const struct lb_conn *c)
{
	struct lb_pair want = {.listen = c->service, .backend = c->backend, .proto = c->proto};
	const struct lb_pair *found = NULL;

	if (p->n)
		found = bsearch(&want, p->list, p->n, sizeof(want), pair_order);
	if (found || !p->n)
		return found;
	want.any = 1;
	memset(&want.listen.addr, 0, sizeof(want.listen.addr));
	return bsearch(&want, p->list, p->n, sizeof(want), pair_order);
}

int lb_pairs_add_listen(struct lb_pairs *p, const struct lb_listen *l, enum lb_family family)
{
	const struct lb_backend_conf none = {.at = {.family = family}};
	const struct lb_service_conf nobody = {};
	int ret = lb_pairs_add(p, &nobody, l, &none);

	if (!ret && p->n)
		memset(&p->list[p->n - 1].backend, 0, sizeof(p->list->backend));
	return ret;
}

void lb_pairs_free(struct lb_pairs *p)
{
	free(p->list);
	*p = (struct lb_pairs){};
}
