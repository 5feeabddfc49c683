/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * others.c - other instances of this host that take what this one takes: of two the one that
 * packets meet first has them, and the other waits in vain.
 */
#include <string.h>

#include "datapath.h"

struct overlap {
	const char *ifname;
	const struct lb_service_conf *service;
	const struct lb_listen *listen;
	size_t n; /* listens; the first one is told */
};

static unsigned int families_of(const struct lb_listen *l)
{
	return l->any == LB_ANY_BOTH ? 1 << LB_V4 | 1 << LB_V6 : 1 << l->at.family;
}

static bool listens_meet(const struct lb_listen *a, const struct lb_listen *b)
{
	return a->proto == b->proto && a->at.port == b->at.port &&
	       families_of(a) & families_of(b) &&
	       (a->any || b->any || !memcmp(&a->at.addr, &b->at.addr, sizeof(a->at.addr)));
}

static bool is_listened(const struct lb_model *m, const struct lb_listen *l)
{
	for (size_t i = 0; i < m->n_services; i++)
		for (size_t j = 0; j < m->services[i].n_listens; j++)
			if (listens_meet(&m->services[i].listens[j], l))
				return true;
	return false;
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

	for (size_t i = 0; o.ifname && i < ours->n_services; i++) {
		const struct lb_service_conf *s = &ours->services[i];

		for (size_t j = 0; j < s->n_listens; j++) {
			if (!is_listened(theirs, &s->listens[j]) || o.n++)
				continue;
			o.service = s;
			o.listen = &s->listens[j];
		}
	}
	return o;
}

struct look {
	const struct lb_dp_ops *ops;
	const char *instance; /* ours */
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

	if (!strcmp(instance, look->instance)) /* ours, also on another datapath */
		return;
	if (!look->ops->open(&dp, &opt, &err) && !look->ops->read(dp, &theirs, &err)) {
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

void lb_others_warn(const char *instance, const struct lb_model *m)
{
	struct lb_err ignored;

	for (size_t i = 0; lb_datapaths[i]; i++)
		lb_datapaths[i]->list(
			look_at,
			&(struct look){.ops = lb_datapaths[i], .instance = instance, .m = m},
			&ignored);
}
