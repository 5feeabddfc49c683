// SPDX-License-Identifier: GPL-2.0-or-later
/* preflight_host.c - what a config asks of this host that it cannot have: memory, XDP hooks. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "cli.h"
#include "net/link.h"
#include "net/xdp_features.h"
#include "preflight.h"

struct limit_cost {
	const char *name;
	uint32_t value;
	uint64_t bytes;
};

/* The limit by which the most memory could be saved. */
static struct limit_cost dearest_limit(const struct lb_limits *l)
{
	struct lb_limits without[] = {*l, *l, *l, *l, *l};
	struct limit_cost limits[] = {
		{"connections", l->connections, 0}, {"connections6", l->connections6, 0},
		{"services", l->services, 0},       {"backends", l->backends, 0},
		{"ring-slots", l->ring_slots, 0},
	};
	size_t most = 0;

	without[0].connections = 1;
	/* Where they are equal, one line of the config stands for both. */
	if (l->connections6 == l->connections)
		without[0].connections6 = 1;
	without[1].connections6 = 1;
	without[2].services = 1;
	without[3].backends = 1;
	without[4].ring_slots = 1;
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		limits[i].bytes = lb_ebpf_memory(l, NULL, NULL, NULL) -
				  lb_ebpf_memory(&without[i], NULL, NULL, NULL);
		if (limits[i].bytes > limits[most].bytes)
			most = i;
	}
	return limits[most];
}

int lb_preflight_memory(const struct lb_model *m, bool failed, const char *file, struct lb_err *err)
{
	uint64_t bytes = lb_ebpf_memory(&m->limits, NULL, NULL, NULL), host;
	char need[LB_TEXT_MAX], all[LB_TEXT_MAX], have[LB_TEXT_MAX], at[LB_PLACE_MAX];
	struct limit_cost most;
	struct sysinfo info;

	if (sysinfo(&info))
		return 0;
	host = (uint64_t)info.totalram * info.mem_unit;
	if (!failed && bytes <= host)
		return 0;
	most = dearest_limit(&m->limits);
	return lb_err_set(err, ENOMEM,
			  "%slimits.%s: \"%u\": takes %s of kernel memory, all limits %s; this "
			  "host has %s: lower it",
			  lb_place_str(at, file, m->limits_line), most.name, most.value,
			  lb_size_str(need, most.bytes), lb_size_str(all, bytes),
			  lb_size_str(have, host));
}

/* ------------------------------------------------------------------ XDP */

static const struct lb_interface_conf *find_interface(const struct lb_model *m, const char *name)
{
	for (size_t i = 0; i < m->n_interfaces; i++)
		if (!strcmp(m->interfaces[i].name, name))
			return &m->interfaces[i];
	return NULL;
}

static int check_hook(const struct lb_interface_conf *c, const struct lb_link *link,
		      const struct lb_xdp_features *f, const struct lb_session *s, bool force,
		      const char *file, struct lb_err *err)
{
	char name[16], at[LB_PLACE_MAX];

	/* Ours may stand where an apply was killed. */
	if (link->xdp_prog && !force &&
	    !(s->dp && s->ops->has_programs && lb_prog_is_ours(s->dp, link->xdp_prog)))
		return lb_err_set(err, EBUSY,
				  "%shook: \"%s\": XDP program \"%s\" (id %u) is on interface "
				  "\"%s\": remove it, or take its place with --force",
				  lb_place_str(at, file, c->line), lb_hook_kind_name(c->hook),
				  lb_prog_name(link->xdp_prog, name), link->xdp_prog, c->name);
	if (c->hook == LB_KIND_XDP && f->known && !lb_xdp_features_native(f, link->ifindex))
		return lb_err_set(err, EOPNOTSUPP,
				  "%shook: \"xdp\": the driver of interface \"%s\" has no "
				  "native XDP: write xdp-generic, tc or auto",
				  lb_place_str(at, file, c->line), c->name);
	return 0;
}

int lb_preflight_hooks(const struct lb_model *m, const struct lb_session *s, bool force,
		       const char *file, struct lb_err *err)
{
	struct lb_xdp_features features = {};
	struct lb_links links;
	int ret = lb_links_read(&links);

	if (ret)
		return lb_err_sys(err, -ret, "listing the network interfaces");
	ret = lb_xdp_features_read(&features);
	if (ret)
		ret = lb_err_sys(err, -ret, "asking what the interfaces can do (netlink)");
	for (size_t i = 0; i < m->n_interfaces && !ret; i++) {
		const struct lb_interface_conf *c = &m->interfaces[i];
		const struct lb_interface_conf *before = find_interface(&s->model, c->name);
		const struct lb_link *link = lb_links_find(&links, c->name);

		if (c->hook != LB_KIND_XDP && c->hook != LB_KIND_XDP_GENERIC)
			continue;
		/* Where XDP may be ours already, apply and verify know more. */
		if (link)
			ret = check_hook(c, link, &features, s,
					 force || (before && before->hook != LB_KIND_TC), file,
					 err);
	}
	lb_xdp_features_free(&features);
	lb_links_free(&links);
	return ret;
}
