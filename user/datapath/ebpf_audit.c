/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_audit.c - what is below the model: are rings, members, backends, listens, port bits, hooks
 * and pins what the services in force need them to be?
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

#include "core/ring.h"
#include "ebpf_internal.h"

void lb_finding(struct lb_audit *a, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	lb_findings_add(&a->findings, fmt, args);
	va_end(args);
}

/* Marks the service at hand for new members and rings. */
#define damage(w, fmt, ...)                                                                        \
	do {                                                                                       \
		lb_finding((w)->a, "service \"%s\": " fmt, (w)->s->name, ##__VA_ARGS__);           \
		if ((w)->a->damaged)                                                               \
			(w)->a->damaged[(w)->index] = true;                                        \
	} while (0)

#define damage_backend(w, at, id, fmt, ...)                                                        \
	do {                                                                                       \
		char text[LB_ENDPOINT_STRLEN];                                                     \
		damage(w, "backend \"%s\" (id %u): " fmt, lb_endpoint_str(text, at), id,           \
		       ##__VA_ARGS__);                                                             \
	} while (0)

struct walk {
	struct lb_dp *dp;
	struct lb_audit *a;
	struct lb_ring_table table; /* checked ones, by what and where they are */
	__u8 *named;
	const struct lb_service_conf *s; /* at hand */
	size_t index;
};

static void ring_compare(struct walk *w, const struct lb_pool *pool, const __u16 *should,
			 struct lb_ring_entry *e)
{
	const __u16 *is = lb_ring_slots(w->dp, pool->ring);

	for (__u32 i = 0; i < pool->ring_size; i++) {
		if (is[i] == should[i])
			continue;
		if (!e->wrong++)
			e->first = i;
	}
	if (e->wrong)
		damage(w, "ring slot %u is member %u, should be %u (%u slots are wrong)", e->first,
		       is[e->first], should[e->first], e->wrong);
}

/* Equal rings are computed once. */
static int ring_check(struct walk *w, const struct lb_pool *pool, enum lb_scheduler scheduler,
		      const struct lb_ring_member *members)
{
	struct lb_ring_entry *e;
	__u16 *should;
	__u64 key;
	int ret;

	if (pool->ring_size > w->a->ring_budget)
		return 0;
	key = lb_ring_key(scheduler, members, pool->n_members, pool->ring_size);
	e = lb_ring_table_at(&w->table, key + pool->ring * 0x9e3779b97f4a7c15ull);
	if (e->used) {
		if (e->wrong)
			damage(w, "shares a ring with %u wrong slots", e->wrong);
		return 0;
	}
	e->used = true;
	w->a->ring_budget -= pool->ring_size;
	should = calloc(pool->ring_size, sizeof(*should));
	if (!should)
		return -ENOMEM;
	ret = lb_ring_fill(scheduler, members, pool->n_members, should, pool->ring_size);
	if (!ret)
		ring_compare(w, pool, should, e);
	free(should);
	return ret;
}

static void member_check(struct walk *w, const struct lb_pool *pool, __u32 i, enum lb_family family,
			 const struct lb_ring_member *members)
{
	__u32 id = w->dp->members[pool->members + i].backend;
	const struct lb_endpoint *at = &members[i].at;
	const struct lb_member *m = &w->dp->members[pool->members + i];
	const struct lb_backend *b;
	const char *why;

	if (!id || id >= w->dp->max_entries[LB_MAP_BACKENDS]) {
		damage(w, "member %u is backend %u, which cannot be", i, id);
		return;
	}
	b = &w->dp->backends[id];
	if (m->weight != lb_member_weight(m))
		damage_backend(w, at, id, "its weight is %u, should be at most %u", m->weight,
			       LB_WEIGHT_MAX);
	if (m->override != LB_NO_OVERRIDE && m->override != lb_member_override(m))
		damage_backend(w, at, id, "its weight by hand is %u, should be at most %u",
			       m->override, LB_WEIGHT_MAX);
	if (b->state != LB_BACKEND_LIVE)
		damage_backend(w, at, id, "its state is %u, should be %u", b->state,
			       LB_BACKEND_LIVE);
	if (b->family != family)
		damage_backend(w, at, id, "its family is %u, should be %u", b->family, family);
	if (lb_addr_is_v4(&b->addr) != (family == LB_V4))
		damage_backend(w, at, id, "its address is of the other family");
	if (b->service != w->s->id)
		damage_backend(w, at, id, "it belongs to service id %u, should be %u", b->service,
			       w->s->id);
	else if (w->named[id] > 1)
		damage_backend(w, at, id, "%u members have its id", w->named[id]);
	if (i && lb_endpoint_cmp(&members[i - 1].at, at) >= 0)
		damage_backend(w, at, id, "out of order");
	why = lb_drained_why_wrong(w->dp, id, !members[i].weight);
	if (why)
		damage_backend(w, at, id, "%s", why);
}

static int pool_check(struct walk *w, const struct lb_service_version *v, enum lb_family family)
{
	const struct lb_pool *pool = &v->pool[family];
	struct lb_ring_member *members;
	int size, ret = 0;

	if (!lb_pool_is_sound(w->dp, pool)) {
		damage(w, "its pool %u points outside of lb_rings or lb_members", family);
		return 0;
	}
	members = lb_pool_members(w->dp, pool);
	if (!members)
		return -ENOMEM;
	for (__u32 i = 0; i < pool->n_members; i++)
		member_check(w, pool, i, family, members);
	size = lb_ring_size(v->scheduler, members, pool->n_members, v->maglev_size);
	if (size < 0 && pool->n_members)
		damage(w, "no ring can have maglev size %u", v->maglev_size);
	else if (size >= 0 && size != (int)pool->ring_size)
		damage(w, "its ring has %u slots, should have %d", pool->ring_size, size);
	else if (size > 0)
		ret = ring_check(w, pool, v->scheduler, members);
	free(members);
	return ret;
}

static void affinity_check(struct walk *w, const struct lb_service_version *v)
{
	if (v->affinity[LB_V4] > 32 || v->affinity[LB_V6] > 128 ||
	    !v->affinity[LB_V4] != !v->affinity[LB_V6])
		damage(w, "no affinity can have masks of %u and %u bits", v->affinity[LB_V4],
		       v->affinity[LB_V6]);
	if (v->across_ports > 1)
		damage(w, "there is no value %u of affinity.across-ports", v->across_ports);
}

static int service_check(struct walk *w)
{
	const struct lb_service_version *v;
	int ret = 0;

	v = lb_service_in_force(w->dp, w->s->id, lb_generation(w->dp));
	if (!v) /* it was, when the model was read */
		return 0;
	if (v->scheduler >= LB_SCHEDULERS) {
		damage(w, "there is no scheduler %u", v->scheduler);
		return 0;
	}
	if (!lb_source_is_known(v->source))
		damage(w, "there is no source %u", v->source);
	if (v->maglev_size > LB_MAGLEV_SIZE_MAX)
		damage(w, "its maglev size is %u, should be at most %u", v->maglev_size,
		       LB_MAGLEV_SIZE_MAX);
	if (v->unknown >= LB_UNKNOWNS)
		damage(w, "there is no value %u of unknown", v->unknown);
	if (v->on_remove >= LB_ON_REMOVES)
		damage(w, "there is no value %u of on-remove", v->on_remove);
	affinity_check(w, v);
	if (v->timeouts >= LB_TIMEOUT_SETS)
		damage(w, "there is no set of timeouts %u", v->timeouts);
	for (int f = 0; f < LB_FAMILIES && !ret; f++)
		ret = pool_check(w, v, f);
	lb_ports_need(w->dp, w->s, w->a);
	return ret;
}

static int services_check(struct lb_dp *dp, const struct lb_model *m, struct lb_audit *a,
			  struct lb_err *err)
{
	struct walk w = {.dp = dp, .a = a};
	int ret = lb_ring_table_init(&w.table, m->n_services * LB_FAMILIES);

	w.named = calloc(dp->max_entries[LB_MAP_BACKENDS], sizeof(*w.named));
	if (!w.named)
		ret = -ENOMEM;
	if (!ret)
		lb_backends_named(dp, w.named);
	for (; w.index < m->n_services && !ret; w.index++) {
		w.s = &m->services[w.index];
		ret = service_check(&w);
	}
	lb_ring_table_free(&w.table);
	free(w.named);
	return ret ? lb_err_sys(err, -ret, "checking the services") : 0;
}

static void listen_check(struct lb_dp *dp, const struct lb_listen_entry *e, struct lb_audit *a)
{
	__u32 id = e->value.service[lb_slot(e->value.select, lb_generation(dp))];
	struct lb_listen l = {.proto = e->key.proto,
			      .at = {.addr = e->key.addr,
				     .port = ntohs(e->key.port),
				     .family = lb_addr_is_v4(&e->key.addr) ? LB_V4 : LB_V6}};
	char text[LB_ENDPOINT_STRLEN];

	lb_listen_str(text, &l);
	if (!lb_listen_key_is_sound(&e->key))
		lb_finding(a, "listen \"%s\": no config can have it (protocol %u, padding %u)",
			   text, e->key.proto, e->key.pad);
	/* 0 is what an interrupted apply leaves; packets see no service there. */
	else if (id && (id >= dp->max_entries[LB_MAP_SERVICES] ||
			!lb_service_in_force(dp, id, lb_generation(dp))))
		lb_finding(a, "listen \"%s\": it leads to service id %u, which is none", text, id);
	else if (e->value.flags != lb_listen_flags(e))
		lb_finding(a, "listen \"%s\": its flags are %#x, should be %#x", text,
			   e->value.flags, lb_listen_flags(e));
}

static int listens_check(struct lb_dp *dp, struct lb_audit *a, struct lb_err *err)
{
	const struct lb_listen_entry *entries;
	size_t n;
	int ret = lb_listens_read(dp, &entries, &n, err);

	for (size_t i = 0; i < n && !ret; i++)
		listen_check(dp, &entries[i], a);
	return ret;
}

/* Is it the map of the pinned program's load? What was loaded together has one BTF, that nobody
 * else has. */
static bool is_sweeper(int fd, int prog_fd)
{
	struct bpf_map_info map = {};
	struct bpf_prog_info prog = {};
	__u32 map_len = sizeof(map), prog_len = sizeof(prog);

	return fd >= 0 && !bpf_obj_get_info_by_fd(fd, &map, &map_len) &&
	       !bpf_obj_get_info_by_fd(prog_fd, &prog, &prog_len) && map.btf_id == prog.btf_id &&
	       !strcmp(map.name, "lb_sweeper");
}

/* Whatever is wrong with the programs, loading them anew mends it. */
static void progs_check(struct lb_dp *dp, struct lb_audit *a)
{
	size_t before = a->findings.n;

	if (dp->progs.fd[LB_HOOK_XDP] < 0 || dp->progs.fd[LB_HOOK_TC] < 0)
		lb_finding(a, "programs: a pin is missing in \"%s\"", dp->dir);
	else if (dp->config->build != lb_build_id())
		lb_finding(a, "programs: they are of build %016llx, this meshlb has %016llx",
			   (unsigned long long)dp->config->build,
			   (unsigned long long)lb_build_id());
	if (dp->progs.iter_link < 0 && !dp->config->no_iterator)
		lb_finding(a, "connections: the pin \"%s/connections\" is missing", dp->dir);
	if (dp->progs.fd[LB_HOOK_XDP] >= 0 &&
	    !is_sweeper(dp->progs.sweeper, dp->progs.fd[LB_HOOK_XDP]))
		lb_finding(a,
			   "connections: the pin \"%s/" LB_PIN_SWEEPER
			   "\" is missing, or another map: nobody collects those that have expired",
			   dp->dir);
	for (int hook = 0; hook < LB_HOOKS; hook++)
		if (dp->progs.fd[hook] >= 0 && !lb_prog_is_ours(dp, dp->progs.id[hook]))
			lb_finding(a, "programs: program %u is pinned in \"%s\", and not meshlb's",
				   dp->progs.id[hook], dp->dir);
	lb_slow_audit(dp, a);
	a->reload = a->findings.n > before;
}

int lb_audit_run(struct lb_dp *dp, const struct lb_model *m, struct lb_audit *a, struct lb_err *err)
{
	int ret;

	lb_maps_audit(dp, a);
	lb_config_audit(dp, a);
	lb_timeouts_audit(dp, a);
	lb_rates_audit(dp, a);
	progs_check(dp, a);
	ret = services_check(dp, m, a, err);
	if (!ret)
		ret = listens_check(dp, a, err);
	if (!ret)
		ret = lb_hooks_audit(dp, a, err);
	return ret;
}

/* Whoever may not ask for programs by their id would find everything missing, or another's. */
static int may_look(const struct lb_dp *dp, struct lb_err *err)
{
	__u32 id;

	if (!bpf_prog_get_next_id(0, &id) || errno != EPERM)
		return 0;
	return lb_err_sys(err, EPERM,
			  "instance \"%s\": looking at BPF programs, which needs CAP_SYS_ADMIN",
			  dp->instance);
}

int lb_ebpf_audit(struct lb_dp *dp, const struct lb_model *m, lb_finding_fn fn, void *arg,
		  struct lb_err *err)
{
	struct lb_audit a = {.findings = {.fn = fn, .arg = arg}, .ring_budget = ~0ull};
	int ret = may_look(dp, err);

	if (!ret)
		ret = lb_audit_run(dp, m, &a, err);
	return ret ? ret : (int)a.findings.n;
}
