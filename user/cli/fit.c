// SPDX-License-Identifier: GPL-2.0-or-later
/* fit.c - what of a model a datapath cannot do: refused by name, or taken out of the model. */
#include <errno.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>

#include "core/ring.h"
#include "fit.h"
#include "net/link.h"
#include "net/nl.h"
#include "net/route.h"
#include "preflight.h"

struct fit {
	const struct lb_fit *with;
	const struct lb_dp_ops *ops;
	const struct lb_model *standing; /* on this datapath; NULL: nothing */
	struct lb_nl nl;
	struct lb_links links; /* of a datapath without programs, which goes by names */
	struct lb_err why;     /* of what does not fit */
};

/* ---------------------------------------------------------------- one thing */

static int refused(struct fit *f, const char *what, const char *name, int line, const char *why)
{
	char at[LB_PLACE_MAX];

	return lb_err_set(&f->why, EOPNOTSUPP, "%s%s: \"%s\": datapath %s %s",
			  lb_place_str(at, f->with->file, line), what, name, f->ops->name, why);
}

/* To nftables a packet comes in by the bridge, not by its port. */
static int master_fits(struct fit *f, const struct lb_interface_conf *i)
{
	const struct lb_link *link = lb_links_find(&f->links, i->name);
	const struct lb_link *master = link ? lb_links_at(&f->links, link->master) : NULL;
	char why[128];

	if (!master || (strcmp(master->kind, "bridge") != 0 && strcmp(master->kind, "bond") != 0 &&
			strcmp(master->kind, "team") != 0))
		return 0;
	snprintf(why, sizeof(why), "sees its packets come in by %s \"%s\": name that instead",
		 master->kind, master->name);
	return refused(f, "interface", i->name, i->line, why);
}

static int interface_fits(struct fit *f, const struct lb_interface_conf *i)
{
	const char *why = f->ops->interface_why_not ? f->ops->interface_why_not(i) : NULL;

	return why ? refused(f, "interface", i->name, i->line, why) : master_fits(f, i);
}

static int forwarding_fits(struct fit *f, const struct lb_service_conf *s)
{
	char at[LB_PLACE_MAX];

	if (f->ops->forwardings & 1u << s->forwarding)
		return 0;
	return lb_err_set(&f->why, EOPNOTSUPP,
			  "%sforwarding: \"%s\": service \"%s\": datapath %s knows nat alone, "
			  "where replicas answer by way of this host: write that, or datapath ipvs "
			  "or nft",
			  lb_place_str(at, f->with->file, s->line),
			  lb_forwarding_name(s->forwarding), s->name, f->ops->name);
}

static int scheduler_fits(struct fit *f, const struct lb_service_conf *s)
{
	const char *why = NULL;
	char at[LB_PLACE_MAX];

	if (f->ops->schedulers & 1u << s->scheduler) {
		if (f->with->probe && f->ops->scheduler_why_not)
			why = f->ops->scheduler_why_not(s->scheduler);
		return why ? refused(f, "scheduler of service", s->name, s->line, why) : 0;
	}
	return lb_err_set(&f->why, EOPNOTSUPP,
			  "%sscheduler: \"%s\": service \"%s\": datapath %s does not count the "
			  "connections of a backend: write rr or wrr, or datapath ebpf or ipvs",
			  lb_place_str(at, f->with->file, s->line), lb_scheduler_name(s->scheduler),
			  s->name, f->ops->name);
}

static int timeouts_fit(struct fit *f, const struct lb_model *m)
{
	char at[LB_PLACE_MAX];

	for (int i = 0; i < LB_TIMEOUTS && !f->ops->keeps_connections; i++)
		if (m->timeouts[i] != lb_timeout_default(i))
			return lb_err_set(&f->why, EOPNOTSUPP,
					  "%stimeouts: datapath %s leaves them to the kernel's own "
					  "(sysctl net.netfilter.nf_conntrack_*, `ipvsadm --set`)",
					  lb_place_str(at, f->with->file, m->timeouts_line),
					  f->ops->name);
	return 0;
}

static int affinity_fits(struct fit *f, const struct lb_service_conf *s)
{
	return f->ops->keeps_connections || !lb_service_has_affinity(s)
		       ? 0
		       : refused(f, "affinity of service", s->name, s->line,
				 "has none: scheduler sh goes by the client's address, too");
}

static int rates_fit(struct fit *f, const struct lb_model *m)
{
	char at[LB_PLACE_MAX];

	if (f->ops->keeps_connections || !memcmp(&m->rates, &LB_RATES_DEFAULT, sizeof(m->rates)))
		return 0;
	return lb_err_set(
		&f->why, EOPNOTSUPP,
		"%srates: datapath %s lets in any number of new flows (a rule of nftables "
		"can limit them: limit rate, meter)",
		lb_place_str(at, f->with->file, m->rates_line), f->ops->name);
}

static int service_timeouts_fit(struct fit *f, const struct lb_service_conf *s)
{
	return f->ops->keeps_connections || !lb_service_has_timeouts(s)
		       ? 0
		       : refused(f, "timeouts of service", s->name, s->line,
				 "leaves them to the kernel's own");
}

static int unknown_fits(struct fit *f, const struct lb_service_conf *s)
{
	/* Of a hash that is the default, not what was asked for. */
	bool does = s->unknown == lb_unknown_default(s->scheduler) ||
		    (f->ops->resets_unknown && s->unknown == LB_UNKNOWN_RESET);

	return f->ops->keeps_connections || does
		       ? 0
		       : refused(f, "unknown of service", s->name, s->line,
				 f->ops->resets_unknown
					 ? "knows reset alone"
					 : "knows hash alone where the scheduler is sh or "
					   "maglev, else reset");
}

static int on_remove_fits(struct fit *f, const struct lb_service_conf *s)
{
	return f->ops->keeps_connections || s->on_remove == LB_ON_REMOVE_RESET
		       ? 0
		       : refused(f, "on-remove of service", s->name, s->line, "knows reset alone");
}

static int max_connections_fit(struct fit *f, const struct lb_service_conf *s)
{
	for (size_t i = 0; i < s->n_backends && !f->ops->keeps_connections; i++)
		if (s->backends[i].max_connections)
			return refused(f, "max-connections of service", s->name, s->line,
				       "does not limit them");
	return 0;
}

static int listen_fits(struct fit *f, const struct lb_service_conf *s, const struct lb_listen *l)
{
	const struct lb_service_conf *stands =
		f->standing ? lb_model_find_service(f->standing, s->name) : NULL;
	char text[LB_ENDPOINT_STRLEN], address[LB_ENDPOINT_STRLEN], at[LB_PLACE_MAX];
	struct lb_route route;

	if (!f->ops->own_addresses || l->any || (stands && lb_service_has_listen(stands, l)))
		return 0;
	if (!lb_route_get(&f->nl, &route, &l->at.addr, l->at.family) && route.local)
		return 0;
	return lb_err_set(&f->why, EADDRNOTAVAIL,
			  "%slisten: \"%s\": datapath %s serves addresses of this host alone: "
			  "`ip addr add %s/%d dev lo`, or datapath ebpf or nft",
			  lb_place_str(at, f->with->file, l->line), lb_listen_str(text, l),
			  f->ops->name, lb_addr_str(address, &l->at.addr, l->at.family),
			  l->at.family == LB_V4 ? 32 : 128);
}

static int service_fits(struct fit *f, const struct lb_service_conf *s)
{
	const char *why = f->ops->service_why_not ? f->ops->service_why_not(s) : NULL;

	return why ? refused(f, "service", s->name, s->line, why) : 0;
}

/* ---------------------------------------------------------------- what a service can be without */

static void forwarding_cut(struct lb_service_conf *s)
{
	s->forwarding = LB_FORWARDING_NAT;
}

static void scheduler_cut(struct lb_service_conf *s)
{
	s->scheduler = lb_ring_is_even(s->scheduler) ? LB_SCHED_RR : LB_SCHED_WRR;
}

static void max_connections_cut(struct lb_service_conf *s)
{
	for (size_t i = 0; i < s->n_backends; i++)
		s->backends[i].max_connections = 0;
}

static void affinity_cut(struct lb_service_conf *s)
{
	s->affinity = (struct lb_affinity_conf){0};
	s->timeouts[LB_TIMEOUT_AFFINITY] = 0;
}

static void timeouts_cut(struct lb_service_conf *s)
{
	memset(s->timeouts, 0, sizeof(s->timeouts));
}

static void unknown_cut(struct lb_service_conf *s)
{
	s->unknown = lb_unknown_default(s->scheduler);
}

static void on_remove_cut(struct lb_service_conf *s)
{
	s->on_remove = LB_ON_REMOVE_RESET;
}

static const struct setting {
	int (*fits)(struct fit *f, const struct lb_service_conf *s); /* 0, or f->why is filled */
	void (*cut)(struct lb_service_conf *s);
} settings[] = {
	{forwarding_fits, forwarding_cut},
	{scheduler_fits, scheduler_cut},
	{max_connections_fit, max_connections_cut},
	{affinity_fits, affinity_cut},
	{service_timeouts_fit, timeouts_cut},
	{unknown_fits, unknown_cut},
	{on_remove_fits, on_remove_cut},
};
#define SETTINGS (sizeof(settings) / sizeof(settings[0]))

/* ---------------------------------------------------------------- all */

static int begin(struct fit *f, const struct lb_fit *with, const struct lb_dp_ops *ops,
		 struct lb_err *err)
{
	int ret;

	*f = (struct fit){.with = with,
			  .ops = ops,
			  .standing = lb_fit_is_running(with, ops) ? &with->standing->model : NULL};
	ret = ops->has_programs ? 0 : lb_links_read(&f->links);
	if (ret)
		return lb_err_sys(err, -ret, "listing the network interfaces");
	ret = lb_nl_open(&f->nl, NETLINK_ROUTE);
	if (ret)
		lb_links_free(&f->links);
	return ret ? lb_err_sys(err, -ret, "asking for routes (netlink)") : 0;
}

static void end(struct fit *f)
{
	lb_links_free(&f->links);
	lb_nl_close(&f->nl);
}

/* One interface, or all of a model: can they have their hooks? */
static int hooks_fit(const struct lb_fit *with, const struct lb_model *m,
		     const struct lb_dp_ops *ops, struct lb_err *err)
{
	static const struct lb_session none;

	return ops->has_programs ? lb_preflight_hooks(m, with->standing ? with->standing : &none,
						      with->force, with->file, err)
				 : 0;
}

/* Maps of a standing instance are made. */
static int memory_fits(const struct fit *f, const struct lb_model *m, struct lb_err *err)
{
	return f->ops->has_programs && !f->standing
		       ? lb_preflight_memory(m, false, f->with->file, err)
		       : 0;
}

int lb_fit_check(const struct lb_fit *with, const struct lb_model *m, const struct lb_dp_ops *ops,
		 struct lb_err *err)
{
	struct fit f;
	int ret = begin(&f, with, ops, err);

	if (ret)
		return ret;
	ret = timeouts_fit(&f, m);
	if (!ret)
		ret = rates_fit(&f, m);
	for (size_t i = 0; i < m->n_interfaces && !ret; i++)
		ret = interface_fits(&f, &m->interfaces[i]);
	for (size_t i = 0; i < m->n_services && !ret; i++) {
		const struct lb_service_conf *s = &m->services[i];

		for (size_t k = 0; k < SETTINGS && !ret; k++)
			ret = settings[k].fits(&f, s);
		for (size_t k = 0; k < s->n_listens && !ret; k++)
			ret = listen_fits(&f, s, &s->listens[k]);
		if (!ret)
			ret = service_fits(&f, s);
	}
	end(&f);
	if (ret)
		*err = f.why;
	if (!ret)
		ret = memory_fits(&f, m, err);
	return ret ? ret : hooks_fit(with, m, ops, err);
}

/* A hook that an interface cannot have becomes auto. */
static void hook_cut(const struct fit *f, struct lb_interface_conf *i, lb_finding_fn fn, void *arg)
{
	const struct lb_model one = {.interfaces = i, .n_interfaces = 1};
	struct lb_err err;

	if (hooks_fit(f->with, &one, f->ops, &err) != -EOPNOTSUPP)
		return;
	fn(arg, err.text);
	i->hook = LB_KIND_AUTO;
}

/* True: the service goes. */
static bool service_cut(struct fit *f, struct lb_service_conf *s, lb_finding_fn fn, void *arg)
{
	char at[LB_PLACE_MAX];

	for (size_t k = 0; k < SETTINGS; k++) {
		if (!settings[k].fits(f, s))
			continue;
		fn(arg, f->why.text);
		settings[k].cut(s);
		if (settings[k].fits(f, s)) { /* nor can it do what would take its place */
			fn(arg, f->why.text);
			return true;
		}
	}
	for (size_t k = 0; k < s->n_listens;) {
		if (!listen_fits(f, s, &s->listens[k])) {
			k++;
			continue;
		}
		fn(arg, f->why.text);
		lb_service_remove_listen(s, k);
	}
	if (!s->n_listens) {
		lb_err_set(&f->why, EOPNOTSUPP, "%sservice: \"%s\": it has no listen left",
			   lb_place_str(at, f->with->file, s->line), s->name);
		fn(arg, f->why.text);
		return true;
	}
	if (service_fits(f, s)) {
		fn(arg, f->why.text);
		return true;
	}
	return false;
}

int lb_fit_cut(const struct lb_fit *with, struct lb_model *m, const struct lb_dp_ops *ops,
	       lb_finding_fn fn, void *arg, struct lb_err *err)
{
	struct fit f;
	int ret = begin(&f, with, ops, err);

	if (ret)
		return ret;
	if (timeouts_fit(&f, m)) {
		fn(arg, f.why.text);
		lb_timeouts_default(m->timeouts);
	}
	if (rates_fit(&f, m)) {
		fn(arg, f.why.text);
		m->rates = LB_RATES_DEFAULT;
	}
	for (size_t i = 0; i < m->n_interfaces;) {
		if (!interface_fits(&f, &m->interfaces[i])) {
			hook_cut(&f, &m->interfaces[i++], fn, arg);
			continue;
		}
		fn(arg, f.why.text);
		lb_model_remove_interface(m, i);
	}
	for (size_t i = 0; i < m->n_services;)
		if (service_cut(&f, &m->services[i], fn, arg))
			lb_model_remove_service(m, i);
		else
			i++;
	end(&f);
	ret = memory_fits(&f, m, err);
	return ret ? ret : hooks_fit(with, m, ops, err);
}
