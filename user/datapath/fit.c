// SPDX-License-Identifier: GPL-2.0-or-later
/* fit.c - what of a model a datapath cannot do: refused by name, or taken out of the model. */
#include <errno.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>

#include "fit.h"
#include "net/nl.h"
#include "net/route.h"

struct fit {
	const struct lb_dp_ops *ops;
	const struct lb_model *standing;
	const char *file;
	struct lb_nl nl;
	struct lb_err why; /* of what does not fit */
};

/* Where it stands: what was read back has no line. */
static const char *place(const struct fit *f, int line, char buf[256])
{
	*buf = '\0';
	if (line)
		snprintf(buf, 256, "%.230s:%d: ", f->file, line);
	return buf;
}

/* ---------------------------------------------------------------- one thing */

static int interface_fits(struct fit *f, const struct lb_interface_conf *i)
{
	const char *why = f->ops->interface_why_not ? f->ops->interface_why_not(i) : NULL;
	char at[256];

	if (!why)
		return 0;
	return lb_err_set(&f->why, EOPNOTSUPP, "%sinterface: \"%s\": datapath %s %s",
			  place(f, i->line, at), i->name, f->ops->name, why);
}

static int forwarding_fits(struct fit *f, const struct lb_service_conf *s)
{
	char at[256];

	if (f->ops->forwardings & 1u << s->forwarding)
		return 0;
	return lb_err_set(&f->why, EOPNOTSUPP,
			  "%sforwarding: \"%s\": service \"%s\": datapath %s knows nat alone, "
			  "where replicas answer by way of this host: write that, or datapath ipvs "
			  "or nft",
			  place(f, s->line, at), lb_forwarding_name(s->forwarding), s->name,
			  f->ops->name);
}

static int listen_fits(struct fit *f, const struct lb_service_conf *s, const struct lb_listen *l)
{
	const struct lb_service_conf *stands =
		f->standing ? lb_model_find_service(f->standing, s->name) : NULL;
	char text[LB_ENDPOINT_STRLEN], address[LB_ENDPOINT_STRLEN], at[256];
	struct lb_route route;

	if (!f->ops->own_addresses || l->any || (stands && lb_service_has_listen(stands, l)))
		return 0;
	if (!lb_route_get(&f->nl, &route, &l->at.addr, l->at.family) && route.local)
		return 0;
	return lb_err_set(&f->why, EADDRNOTAVAIL,
			  "%slisten: \"%s\": datapath %s serves addresses of this host alone: "
			  "`ip addr add %s/%d dev lo`, or datapath ebpf or nft",
			  place(f, l->line, at), lb_listen_str(text, l), f->ops->name,
			  lb_addr_str(address, &l->at.addr, l->at.family),
			  l->at.family == LB_V4 ? 32 : 128);
}

static int service_fits(struct fit *f, const struct lb_service_conf *s)
{
	const char *why = f->ops->service_why_not ? f->ops->service_why_not(s) : NULL;
	char at[256];

	if (!why)
		return 0;
	return lb_err_set(&f->why, EOPNOTSUPP, "%sservice: \"%s\": datapath %s %s",
			  place(f, s->line, at), s->name, f->ops->name, why);
}

/* ---------------------------------------------------------------- all */

static int begin(struct fit *f, struct lb_err *err)
{
	int ret = lb_nl_open(&f->nl, NETLINK_ROUTE);

	return ret ? lb_err_sys(err, -ret, "asking for routes (netlink)") : 0;
}

int lb_fit_check(const struct lb_model *m, const struct lb_model *standing,
		 const struct lb_dp_ops *ops, const char *file, struct lb_err *err)
{
	struct fit f = {.ops = ops, .standing = standing, .file = file};
	int ret = begin(&f, err);

	if (ret)
		return ret;
	for (size_t i = 0; i < m->n_interfaces && !ret; i++)
		ret = interface_fits(&f, &m->interfaces[i]);
	for (size_t i = 0; i < m->n_services && !ret; i++) {
		const struct lb_service_conf *s = &m->services[i];

		ret = forwarding_fits(&f, s);
		for (size_t k = 0; k < s->n_listens && !ret; k++)
			ret = listen_fits(&f, s, &s->listens[k]);
		if (!ret)
			ret = service_fits(&f, s);
	}
	lb_nl_close(&f.nl);
	if (ret)
		*err = f.why;
	return ret;
}

/* True: the service goes. */
static bool service_cut(struct fit *f, struct lb_service_conf *s, lb_finding_fn fn, void *arg)
{
	char at[256];

	if (forwarding_fits(f, s)) {
		fn(arg, f->why.text);
		s->forwarding = LB_FORWARDING_NAT;
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
			   place(f, s->line, at), s->name);
		fn(arg, f->why.text);
		return true;
	}
	if (service_fits(f, s)) {
		fn(arg, f->why.text);
		return true;
	}
	return false;
}

int lb_fit_cut(struct lb_model *m, const struct lb_model *standing, const struct lb_dp_ops *ops,
	       const char *file, lb_finding_fn fn, void *arg, struct lb_err *err)
{
	struct fit f = {.ops = ops, .standing = standing, .file = file};
	int ret = begin(&f, err);

	if (ret)
		return ret;
	for (size_t i = 0; i < m->n_interfaces;) {
		if (!interface_fits(&f, &m->interfaces[i])) {
			i++;
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
	lb_nl_close(&f.nl);
	return 0;
}

/* ---------------------------------------------------------------- which datapath */

int lb_fit_choose(const struct lb_model *m, const char *file, bool best_effort,
		  const struct lb_dp_ops **ops, char *why, size_t size, struct lb_err *err)
{
	const char *name = lb_datapath_kind_name(m->datapath);
	const struct lb_dp_ops *works = NULL;
	bool any = m->datapath == LB_DATAPATH_AUTO;
	size_t len = 0;
	int ret = -ENOSYS;

	*why = '\0';
	for (size_t i = 0; lb_datapaths[i]; i++) {
		*ops = lb_datapaths[i];
		if (!any && strcmp(name, (*ops)->name) != 0)
			continue;
		ret = (*ops)->probe(err);
		if (!any)
			return ret;
		works = works || ret ? works : *ops;
		if (!ret)
			ret = lb_fit_check(m, NULL, *ops, file, err);
		if (!ret)
			return 0;
		len += snprintf(why + len, size - len, "%s%s", len ? "; " : "", err->text);
		len = len < size ? len : size - 1;
	}
	*ops = works;
	if (best_effort && works)
		return 0;
	return lb_err_set(err, -ret, "no datapath works here: %s", why);
}
