/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_read.c - the model that the maps hold: what is in force at the present generation. Ids that
 * lead nowhere are left out here and named by audit(), so that a diff brings back what is missing.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ebpf_internal.h"

#define READ_TRIES 100

/* Lists of the read model, with the service each element goes to. */
struct reading {
	struct lb_dp *dp;
	struct lb_model *m;
	__u32 generation;
	__u32 *index; /* by service id: its place in the model + 1 */
};

static int pool_read(const struct lb_dp *dp, const struct lb_service_version *v,
		     enum lb_family family, struct lb_service_conf *s)
{
	const struct lb_pool *pool = &v->pool[family];
	__u32 end = pool->members + pool->n_members;

	if (end < pool->members || end > dp->max_entries[LB_MAP_MEMBERS])
		return 0;
	for (__u32 i = pool->members; i < end; i++) {
		const struct lb_member *member = &dp->members[i];
		const struct lb_backend *from;
		struct lb_backend_conf *b;

		if (!member->backend || member->backend >= dp->max_entries[LB_MAP_BACKENDS])
			continue;
		from = &dp->backends[member->backend];
		b = lb_service_add_backend(s);
		if (!b)
			return -ENOMEM;
		b->at.addr = from->addr;
		b->at.port = ntohs(from->port);
		b->at.family = family;
		b->weight = lb_member_weight(member);
		b->override = lb_member_override(member);
		b->override_since = member->override_since;
		b->max_connections = lb_load_max(dp, member->backend);
		b->id = member->backend;
	}
	return 0;
}

static void affinity_read(const struct lb_service_version *v, struct lb_affinity_conf *a)
{
	if (!v->affinity[LB_V4] || v->affinity[LB_V4] > 32 || !v->affinity[LB_V6] ||
	    v->affinity[LB_V6] > 128)
		return; /* none, or one that no config can have */
	memcpy(a->mask, v->affinity, sizeof(a->mask));
	a->across_ports = v->across_ports;
}

static int services_read(struct reading *r)
{
	for (__u32 id = 1; id < r->dp->max_entries[LB_MAP_SERVICES]; id++) {
		const struct lb_service_version *v = lb_service_in_force(r->dp, id, r->generation);
		struct lb_service_conf *s;
		int ret = 0;

		if (!v)
			continue;
		s = lb_model_add_service(r->m);
		if (!s)
			return -ENOMEM;
		r->index[id] = r->m->n_services;
		snprintf(s->name, sizeof(s->name), "%.*s", LB_NAME_MAX - 1,
			 r->dp->services[id].name);
		lb_name_mend(s->name);
		s->scheduler = v->scheduler;
		s->source = lb_source_is_known(v->source) ? v->source : LB_SOURCE_FILE;
		s->maglev_size = v->maglev_size <= LB_MAGLEV_SIZE_MAX ? v->maglev_size : 0;
		s->unknown =
			v->unknown < LB_UNKNOWNS ? v->unknown : lb_unknown_default(v->scheduler);
		s->on_remove = v->on_remove < LB_ON_REMOVES ? v->on_remove : LB_ON_REMOVE_RESET;
		affinity_read(v, &s->affinity);
		s->id = id;
		if (v->timeouts)
			lb_timeouts_read(r->dp, v->timeouts, s->timeouts);
		for (int f = 0; f < LB_FAMILIES && !ret; f++)
			ret = pool_read(r->dp, v, f, s);
		if (ret)
			return ret;
	}
	return 0;
}

/* The other family's entry of a `*` listen, where it stands and goes to the same service. */
static const struct lb_listen_entry *other_half(const struct reading *r,
						const struct lb_listen_entry *e, size_t n,
						const struct lb_listen_entry *all, __u32 service)
{
	struct lb_listen_entry want = {.key = e->key};
	const struct lb_listen_entry *found;
	bool is_v6 = !(e->key.addr.b[10] | e->key.addr.b[11]);

	if (!(e->value.flags & LB_LISTEN_BOTH))
		return NULL;
	want.key.addr.b[10] = want.key.addr.b[11] = is_v6 ? 0xff : 0;
	found = bsearch(&want, all, n, sizeof(*all), lb_listen_key_cmp);
	if (!found || !(found->value.flags & LB_LISTEN_BOTH) ||
	    found->value.service[lb_slot(found->value.select, r->generation)] != service)
		return NULL;
	return found;
}

static int listen_read(struct reading *r, const struct lb_listen_entry *e, size_t n,
		       const struct lb_listen_entry *all)
{
	static const struct lb_addr any[LB_FAMILIES] = {{.b = {[10] = 0xff, [11] = 0xff}}};
	__u32 id = e->value.service[lb_slot(e->value.select, r->generation)];
	bool both, is_v4 = !memcmp(&e->key.addr, &any[LB_V4], 12);
	struct lb_listen *l;

	if (id >= r->dp->max_entries[LB_MAP_SERVICES] || !r->index[id] ||
	    !lb_listen_key_is_sound(&e->key))
		return 0;
	both = other_half(r, e, n, all, id) != NULL;
	if (both && !is_v4)
		return 0; /* its IPv4 half stands for both */
	l = lb_service_add_listen(&r->m->services[r->index[id] - 1]);
	if (!l)
		return -ENOMEM;
	l->at.addr = e->key.addr;
	l->at.port = ntohs(e->key.port);
	l->at.family = is_v4 ? LB_V4 : LB_V6;
	l->proto = e->key.proto;
	if (!memcmp(&e->key.addr, &any[l->at.family], sizeof(any[0])))
		l->any = both ? LB_ANY_BOTH : LB_ANY_ONE;
	return 0;
}

static int listens_read(struct reading *r, struct lb_err *err)
{
	const struct lb_listen_entry *entries;
	size_t n;
	int ret = lb_listens_read(r->dp, &entries, &n, err);

	if (ret)
		return ret;
	for (size_t i = 0; i < n && !ret; i++)
		ret = listen_read(r, &entries[i], n, entries);
	return ret ? lb_err_sys(err, -ret, "reading the listens") : 0;
}

static int interfaces_read(struct reading *r, struct lb_err *err)
{
	struct lb_iface *ifaces;
	__u32 *ifindexes;
	size_t n;
	int ret = lb_ifaces_read(r->dp, &ifindexes, &ifaces, &n, err);

	for (size_t i = 0; i < n && !ret; i++) {
		struct lb_interface_conf *c;

		if (!(ifaces[i].flags & LB_IFACE_ATTACHED))
			continue;
		c = lb_model_add_interface(r->m);
		if (!c) {
			ret = lb_err_sys(err, ENOMEM, "reading the interfaces");
			break;
		}
		snprintf(c->name, sizeof(c->name), "%.15s", ifaces[i].name);
		c->hook = ifaces[i].wanted;
	}
	free(ifindexes);
	free(ifaces);
	return ret;
}

static void config_read(const struct lb_dp *dp, struct lb_model *m)
{
	const struct lb_config *c = dp->config;

	m->datapath = c->datapath_auto ? LB_DATAPATH_AUTO : LB_DATAPATH_EBPF;
	m->default_scheduler = c->default_scheduler;
	m->default_maglev_size = c->default_maglev_size;
	lb_timeouts_read(dp, 0, m->timeouts);
	lb_rates_read(dp, &m->rates);
	lb_limits_read(dp, &m->limits);
}

static int read_once(struct lb_dp *dp, struct lb_model *m, struct lb_err *err)
{
	struct reading r = {.dp = dp, .m = m, .generation = lb_generation(dp)};
	int ret;

	lb_model_init(m);
	config_read(dp, m);
	r.index = calloc(dp->max_entries[LB_MAP_SERVICES], sizeof(*r.index));
	ret = r.index ? services_read(&r) : -ENOMEM;
	if (ret)
		lb_err_sys(err, -ret, "reading the services");
	if (!ret)
		ret = listens_read(&r, err);
	if (!ret)
		ret = interfaces_read(&r, err);
	free(r.index);
	if (!ret && lb_generation(dp) != r.generation)
		ret = -EAGAIN;
	if (ret)
		lb_model_free(m);
	else
		lb_model_sort(m);
	return ret;
}

/* Readers take no lock: what was read while somebody committed may be of two versions. */
int lb_ebpf_read(struct lb_dp *dp, struct lb_model *m, struct lb_err *err)
{
	int ret = -EAGAIN;

	for (int i = 0; i < READ_TRIES && ret == -EAGAIN; i++)
		ret = read_once(dp, m, err);
	if (ret == -EAGAIN)
		lb_err_set(err, EAGAIN, "instance \"%s\": changed all the time while it was read",
			   dp->instance);
	return ret;
}
