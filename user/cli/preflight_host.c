// SPDX-License-Identifier: GPL-2.0-or-later
/* preflight_host.c - what a config asks of this host that it cannot have: memory, XDP hooks,
 * listens that another instance has.
 */
#include <errno.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "cli.h"
#include "net/link.h"
#include "net/xdp_features.h"
#include "preflight.h"

int lb_preflight_memory(const struct lb_limits *l, bool failed, const char *file,
			struct lb_err *err)
{
	struct lb_usage connections4, connections6, other;
	uint64_t bytes = lb_ebpf_memory(l, &connections4, &connections6, &other);
	char need[LB_TEXT_MAX], have[LB_TEXT_MAX];
	const char *what = "connections";
	struct sysinfo host;

	if (sysinfo(&host) || (!failed && bytes <= (uint64_t)host.totalram * host.mem_unit))
		return 0;
	if (connections6.bytes > connections4.bytes)
		what = "connections6";
	if (other.bytes > connections4.bytes && other.bytes > connections6.bytes)
		what = "services, backends or ring-slots";
	return lb_err_set(
		err, ENOMEM,
		"%s: limits: they take %s of kernel memory, of the %s that this host has: "
		"lower %s",
		file, lb_size_str(need, bytes),
		lb_size_str(have, (uint64_t)host.totalram * host.mem_unit), what);
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
	char name[16];

	/* Ours may stand where an apply was killed. */
	if (link->xdp_prog && !force && !(s->dp && s->ops->owns(s->dp, link->xdp_prog)))
		return lb_err_set(err, EBUSY,
				  "%s:%d: hook: \"%s\": XDP program \"%s\" (id %u) is on interface "
				  "\"%s\": remove it, or take its place with --force",
				  file, c->line, lb_hook_kind_name(c->hook),
				  lb_dp_ebpf.prog_name(link->xdp_prog, name), link->xdp_prog,
				  c->name);
	if (c->hook == LB_KIND_XDP && f->known && !lb_xdp_features_native(f, link->ifindex))
		return lb_err_set(err, EOPNOTSUPP,
				  "%s:%d: hook: \"xdp\": the driver of interface \"%s\" has no "
				  "native XDP: write xdp-generic, tc or auto",
				  file, c->line, c->name);
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
		if (link && (!before || before->hook == LB_KIND_TC))
			ret = check_hook(c, link, &features, s, force, file, err);
	}
	lb_xdp_features_free(&features);
	lb_links_free(&links);
	return ret;
}
