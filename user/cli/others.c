// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * others.c - who else takes what an instance takes: other instances of this host, and others'
 * virtual services of IPVS. Of two the one that packets meet first has them, and the other waits in
 * vain.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "net/ipvs.h"

/* ---------------------------------------------------------------- other instances */

struct listens {
	const struct lb_listen **list; /* by_port(), so that 10,000 beside 10,000 are no matter */
	size_t n;
};

struct overlap {
	const char *ifname;
	const struct lb_service_conf *service;
	const struct lb_listen *listen;
	size_t n; /* listens; the first one is told */
};

static int by_port(const void *a, const void *b)
{
	const struct lb_listen *x = *(const struct lb_listen *const *)a;
	const struct lb_listen *y = *(const struct lb_listen *const *)b;

	if (x->at.port != y->at.port)
		return x->at.port < y->at.port ? -1 : 1;
	return x->proto != y->proto ? x->proto - y->proto : lb_listen_cmp(x, y);
}

/* 0 or -ENOMEM. */
static int listens_make(struct listens *all, const struct lb_model *m)
{
	size_t n = 0;

	for (size_t i = 0; i < m->n_services; i++)
		n += m->services[i].n_listens;
	*all = (struct listens){.list = calloc(n + 1, sizeof(struct lb_listen *))};
	if (!all->list)
		return -ENOMEM;
	for (size_t i = 0; i < m->n_services; i++)
		for (size_t j = 0; j < m->services[i].n_listens; j++)
			all->list[all->n++] = &m->services[i].listens[j];
	qsort(all->list, all->n, sizeof(struct lb_listen *), by_port);
	return 0;
}

/* `l` itself, or in its place the one of any address. */
static bool has(const struct listens *all, struct lb_listen l, enum lb_any any)
{
	const struct lb_listen *key = &l;
	bool is_v4 = any == LB_ANY_BOTH || l.at.family == LB_V4;

	l.any = any;
	if (any)
		lb_addr_parse(&l.at.addr, &l.at.family, is_v4 ? "0.0.0.0" : "::");
	return bsearch(&key, all->list, all->n, sizeof(struct lb_listen *), by_port);
}

static bool families_meet(const struct lb_listen *a, const struct lb_listen *b)
{
	return (lb_listen_in(a, LB_V4) && lb_listen_in(b, LB_V4)) ||
	       (lb_listen_in(a, LB_V6) && lb_listen_in(b, LB_V6));
}

static bool is_before_port(const struct lb_listen *one, const struct lb_listen *l)
{
	return one->at.port < l->at.port || (one->at.port == l->at.port && one->proto < l->proto);
}

/* Any listen at the port of `l`, which is of any address. */
static bool has_at_port(const struct listens *all, const struct lb_listen *l)
{
	size_t at = 0, end = all->n;

	while (at < end) {
		size_t middle = at + (end - at) / 2;

		if (is_before_port(all->list[middle], l))
			at = middle + 1;
		else
			end = middle;
	}
	while (at < all->n && !is_before_port(l, all->list[at]))
		if (families_meet(l, all->list[at++]))
			return true;
	return false;
}

static bool is_listened(const struct listens *all, const struct lb_listen *l)
{
	if (l->any)
		return has_at_port(all, l);
	return has(all, *l, LB_ANY_NOT) || has(all, *l, LB_ANY_ONE) || has(all, *l, LB_ANY_BOTH);
}

static const char *common_interface(const struct lb_model *a, const struct lb_model *b)
{
	for (size_t i = 0; i < a->n_interfaces; i++)
		for (size_t j = 0; j < b->n_interfaces; j++)
			if (!strcmp(a->interfaces[i].name, b->interfaces[j].name))
				return a->interfaces[i].name;
	return NULL;
}

static struct overlap overlap_find(const struct lb_model *ours, const struct lb_model *theirs)
{
	struct overlap o = {.ifname = common_interface(ours, theirs)};
	struct listens all;

	if (!o.ifname || listens_make(&all, theirs))
		return o;
	for (size_t i = 0; i < ours->n_services; i++) {
		const struct lb_service_conf *s = &ours->services[i];

		for (size_t j = 0; j < s->n_listens; j++) {
			if (!is_listened(&all, &s->listens[j]) || o.n++)
				continue;
			o.service = s;
			o.listen = &s->listens[j];
		}
	}
	free(all.list);
	return o;
}

struct look {
	const struct lb_dp_ops *ops;
	const char *instance; /* ours */
	bool is_open; /* that one, on this datapath: it is no other's, and reading takes long */
	const struct lb_model *m;
};

/* One that cannot be opened, or is another network namespace's, takes nothing from us. */
static void look_at(void *arg, const char *instance)
{
	const struct lb_dp_options opt = {.instance = instance};
	const struct look *look = arg;
	char text[LB_ENDPOINT_STRLEN];
	struct lb_model theirs = {};
	struct lb_dp *dp;
	struct overlap o;
	struct lb_err err;
	bool own = !strcmp(instance, look->instance);
	int ret;

	if (own && look->is_open)
		return;
	ret = look->ops->open(&dp, &opt, &err);
	if (own) {                  /* on another datapath */
		if (ret == -EEXIST) /* somebody's table by our name */
			lb_warn("%s", err.text);
	} else if (!ret && !look->ops->read(dp, &theirs, &err)) {
		o = overlap_find(look->m, &theirs);
		if (o.n)
			lb_warn("service \"%s\": listen \"%s\" is instance \"%s\"'s, too, on "
				"interface \"%s\" (datapath %s): the one that packets meet first "
				"takes it%s",
				o.service->name, lb_listen_str(text, o.listen), instance, o.ifname,
				look->ops->name, o.n > 1 ? "; and others" : "");
	}
	lb_model_free(&theirs);
	if (dp)
		look->ops->close(dp);
}

/* ---------------------------------------------------------------- virtual services of IPVS */

static void virtual_service_warn(const struct lb_ipvs_service *v, const struct lb_model *m)
{
	char at[LB_ENDPOINT_STRLEN], listen[LB_ENDPOINT_STRLEN];

	for (size_t i = 0; i < m->n_services; i++)
		for (size_t k = 0; k < m->services[i].n_listens; k++) {
			const struct lb_listen *l = &m->services[i].listens[k];

			if (!lb_ipvs_service_meets(v, l))
				continue;
			lb_warn("service \"%s\": listen \"%s\": a virtual service of IPVS that "
				"meshlb has not made is at %s, and gets no connections%s: take one "
				"of the two away",
				m->services[i].name, lb_listen_str(listen, l),
				lb_endpoint_str(at, &v->at),
				v->own || !l->any ? "" : " when that is this host's address");
			return;
		}
}

void lb_others_warn(const char *instance, const struct lb_dp_ops *on, const struct lb_model *m)
{
	struct lb_ipvs_services foreign;
	struct lb_err ignored;

	if (!lb_ipvs_foreign_read(&foreign))
		for (size_t i = 0; i < foreign.n; i++)
			virtual_service_warn(&foreign.list[i], m);
	lb_ipvs_services_free(&foreign);
	for (size_t i = 0; lb_datapaths[i]; i++)
		lb_datapaths[i]->list(look_at,
				      &(struct look){.ops = lb_datapaths[i],
						     .instance = instance,
						     .is_open = lb_datapaths[i] == on,
						     .m = m},
				      &ignored);
}
