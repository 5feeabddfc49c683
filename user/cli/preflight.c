// SPDX-License-Identifier: GPL-2.0-or-later
/* preflight.c - what of this host would be in a config's way: interfaces, routes, sysctls.
 */
#include <errno.h>
#include <limits.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "core/list.h"
#include "net/link.h"
#include "net/route.h"
#include "net/sysctl.h"
#include "preflight.h"

int lb_preflight_interfaces(const struct lb_model *m, const char *file, struct lb_err *err)
{
	struct lb_links links;
	char names[256];
	int ret;

	ret = lb_links_read(&links);
	if (ret)
		return lb_err_sys(err, -ret, "listing the network interfaces");
	for (size_t i = 0; !ret && i < m->n_interfaces; i++)
		if (!lb_links_find(&links, m->interfaces[i].name))
			ret = lb_err_set(
				err, ENODEV,
				"%s:%d: interface: \"%s\": no such interface; there are: %s", file,
				m->interfaces[i].line, m->interfaces[i].name,
				lb_links_names(&links, names, sizeof(names)));
	lb_links_free(&links);
	return ret;
}

/* ------------------------------------------------------------------ what a change adds */

struct added {
	struct lb_wanted_listen *listens;
	size_t n_listens;
	const struct lb_backend_conf **backends;
	size_t n_backends;
};

/* `from` NULL: it is new. One that was there is new in a family whose first backend comes. */
static void added_listen(struct added *a, const struct lb_listen *l,
			 const struct lb_service_conf *from, const struct lb_service_conf *to)
{
	struct lb_wanted_listen w = {.listen = l};

	for (int f = 0; f < LB_FAMILIES; f++)
		w.in[f] = lb_listen_in(l, f) && lb_service_has_family(to, f) &&
			  (!from || !lb_service_has_family(from, f));
	if (w.in[LB_V4] || w.in[LB_V6])
		a->listens[a->n_listens++] = w;
}

/* Both lists are sorted: one walk over the two finds what only `to` has. */
static void added_from_service(struct added *a, const struct lb_service_conf *from,
			       const struct lb_service_conf *to)
{
	size_t n_listens = from ? from->n_listens : 0, n_backends = from ? from->n_backends : 0;

	for (size_t i = 0, j = 0; i < to->n_listens; i++) {
		const struct lb_listen *l = &to->listens[i];

		while (j < n_listens && lb_listen_cmp(&from->listens[j], l) < 0)
			j++;
		added_listen(a, l,
			     j < n_listens && !lb_listen_cmp(&from->listens[j], l) ? from : NULL,
			     to);
	}
	for (size_t i = 0, j = 0; i < to->n_backends; i++) {
		const struct lb_endpoint *at = &to->backends[i].at;

		while (j < n_backends && lb_endpoint_cmp(&from->backends[j].at, at) < 0)
			j++;
		if (j == n_backends || lb_endpoint_cmp(&from->backends[j].at, at))
			a->backends[a->n_backends++] = &to->backends[i];
	}
}

static int added_init(struct added *a, const struct lb_model *m, const struct lb_diff *diff)
{
	size_t listens = 0, backends = 0;

	for (size_t i = 0; i < m->n_services; i++) {
		listens += m->services[i].n_listens;
		backends += m->services[i].n_backends;
	}
	*a = (struct added){
		.listens = malloc((listens + 1) * sizeof(struct lb_wanted_listen)),
		.backends = malloc((backends + 1) * sizeof(struct lb_backend_conf *)),
	};
	if (!a->listens || !a->backends)
		return -ENOMEM;
	for (size_t i = 0; !diff && i < m->n_services; i++)
		added_from_service(a, NULL, &m->services[i]);
	for (size_t i = 0; diff && i < diff->n; i++)
		if (diff->changes[i].kind == LB_CHANGE_SERVICE && diff->changes[i].to)
			added_from_service(a, diff->changes[i].from, diff->changes[i].to);
	return 0;
}

static void added_free(struct added *a)
{
	free(a->listens);
	free(a->backends);
}

/* ------------------------------------------------------------------ routes */

#define LB_ROUTE_WARNINGS 10 /* of a kind: more lines than this hide what they say */

struct route_check {
	const struct lb_model *m;
	const char *file;
	struct lb_texts *warnings;
	struct lb_links links;
	struct lb_nl nl;
	uint32_t *named; /* interfaces that were warned of */
	size_t n_named, n_unreachable;
};

static bool is_used(const struct lb_model *m, const char *ifname)
{
	for (size_t i = 0; i < m->n_interfaces; i++)
		if (!strcmp(m->interfaces[i].name, ifname))
			return true;
	return false;
}

static void warn_interface(struct route_check *c, const struct lb_backend_conf *b, uint32_t ifindex)
{
	const struct lb_link *link = lb_links_at(&c->links, ifindex);
	char text[LB_ENDPOINT_STRLEN];
	uint32_t *new;

	if (!link || is_used(c->m, link->name))
		return;
	for (size_t i = 0; i < c->n_named; i++)
		if (c->named[i] == ifindex)
			return;
	new = lb_list_add((void **)&c->named, &c->n_named, sizeof(*new));
	if (!new)
		return;
	*new = ifindex;
	lb_texts_add(c->warnings,
		     "%s:%d: backend: \"%s\": its replies come in by \"%s\", which is not among "
		     "`interfaces`: add { name: %s }",
		     c->file, b->line, lb_endpoint_str(text, &b->at), link->name, link->name);
}

static void warn_unreachable(struct route_check *c, const struct lb_backend_conf *b,
			     const char *why)
{
	char text[LB_ENDPOINT_STRLEN];

	if (c->n_unreachable++ < LB_ROUTE_WARNINGS)
		lb_texts_add(c->warnings, "%s:%d: backend: \"%s\": %s", c->file, b->line,
			     lb_endpoint_str(text, &b->at), why);
}

static int by_address(const void *a, const void *b)
{
	const struct lb_backend_conf *const *x = a, *const *y = b;

	return lb_endpoint_cmp(&(*x)->at, &(*y)->at);
}

static bool same_address(const struct lb_endpoint *a, const struct lb_endpoint *b)
{
	return a->family == b->family && !memcmp(&a->addr, &b->addr, sizeof(a->addr));
}

static int check_routes(const struct added *a, const struct lb_model *m, const char *file,
			struct lb_texts *warnings, struct lb_err *err)
{
	struct route_check c = {.m = m, .file = file, .warnings = warnings};
	int ret;

	if (!a->n_backends)
		return 0;
	ret = lb_links_read(&c.links);
	if (!ret)
		ret = lb_nl_open(&c.nl, NETLINK_ROUTE);
	if (ret) {
		lb_links_free(&c.links);
		return lb_err_sys(err, -ret, "asking for routes (netlink)");
	}
	/* An address with many ports is asked for once. */
	qsort(a->backends, a->n_backends, sizeof(struct lb_backend_conf *), by_address);
	for (size_t i = 0; i < a->n_backends; i++) {
		const struct lb_backend_conf *b = a->backends[i];
		struct lb_route route;

		if (i && same_address(&a->backends[i - 1]->at, &b->at))
			continue;
		if (lb_route_get(&c.nl, &route, &b->at.addr, b->at.family))
			warn_unreachable(&c, b, "no route to it: see `ip route get`");
		else if (route.local)
			warn_unreachable(
				&c, b,
				"an address of this host itself, where nothing is forwarded "
				"to: a backend lives on another host or in a namespace");
		else
			warn_interface(&c, b, route.ifindex);
	}
	if (c.n_unreachable > LB_ROUTE_WARNINGS)
		lb_texts_add(warnings, "%s: %zu more backends cannot be reached", file,
			     c.n_unreachable - LB_ROUTE_WARNINGS);
	free(c.named);
	lb_nl_close(&c.nl);
	lb_links_free(&c.links);
	return 0;
}

/* ------------------------------------------------------------------ interfaces */

static const struct lb_link *find_vlan(const struct lb_links *links, const struct lb_link *below)
{
	for (size_t i = 0; i < links->n; i++)
		if (!strcmp(links->list[i].kind, "vlan") && links->list[i].lower == below->ifindex)
			return &links->list[i];
	return NULL;
}

static void check_interface(const struct lb_interface_conf *c, const struct lb_links *links,
			    const char *file, struct lb_texts *warnings)
{
	const struct lb_link *link = lb_links_find(links, c->name), *vlan;

	if (!link)
		return;
	if (link->flags & IFF_LOOPBACK)
		lb_texts_add(warnings,
			     "%s:%d: interface: \"%s\": what this host sends to itself is not "
			     "forwarded: its own programs cannot use services there",
			     file, c->line, c->name);
	if (c->hook == LB_KIND_XDP && !strcmp(link->kind, "veth"))
		lb_texts_add(
			warnings,
			"%s:%d: hook: \"xdp\": on veth \"%s\" it sees packets of local senders "
			"before their checksums are made: `ethtool -K ... tx off` at the other "
			"end, or hook auto",
			file, c->line, c->name);
	vlan = c->hook == LB_KIND_TC ? NULL : find_vlan(links, link);
	if (vlan)
		lb_texts_add(
			warnings,
			"%s:%d: interface: \"%s\": where the driver takes VLAN tags off, XDP "
			"takes packets of \"%s\" for its own: `ethtool -K %s rxvlan off`, or hook "
			"tc",
			file, c->line, c->name, vlan->name, c->name);
}

static int check_interfaces(const struct lb_model *m, const struct lb_diff *diff, const char *file,
			    struct lb_texts *warnings, struct lb_err *err)
{
	struct lb_links links;
	int ret = lb_links_read(&links);

	if (ret)
		return lb_err_sys(err, -ret, "listing the network interfaces");
	for (size_t i = 0; !diff && i < m->n_interfaces; i++)
		check_interface(&m->interfaces[i], &links, file, warnings);
	for (size_t i = 0; diff && i < diff->n; i++)
		if (diff->changes[i].kind == LB_CHANGE_INTERFACE && diff->changes[i].ito)
			check_interface(diff->changes[i].ito, &links, file, warnings);
	lb_links_free(&links);
	return 0;
}

/* ------------------------------------------------------------------ sysctls */

/* sysctl(8) takes dots or slashes; where the interface's name has a dot only slashes will do. */
static void warn_sysctl(struct lb_texts *warnings, const char *path)
{
	char name[PATH_MAX];

	snprintf(name, sizeof(name), "%s", path);
	for (char *p = name; !strchr(path, '.') && *p; p++)
		if (*p == '/')
			*p = '.';
	lb_texts_add(warnings, "forwarding is off: `sysctl -w %s=1`", name);
}

/*
 * bpf_fib_lookup looks at the forwarding of the interface by which a packet came. Where that is off
 * on every one of them the switch for all is what is missing.
 */
static void check_sysctls(const struct lb_model *m, enum lb_family family, const char *all,
			  struct lb_texts *warnings)
{
	const char *version = family == LB_V4 ? "ipv4" : "ipv6";
	char path[PATH_MAX];
	size_t off = 0;

	for (size_t i = 0; i < m->n_interfaces; i++) {
		snprintf(path, sizeof(path), "net/%s/conf/%s/forwarding", version,
			 m->interfaces[i].name);
		off += lb_sysctl_get(path) < 1;
	}
	if (off && off == m->n_interfaces && lb_sysctl_get(all) < 1) {
		warn_sysctl(warnings, all);
		return;
	}
	for (size_t i = 0; i < m->n_interfaces; i++) {
		snprintf(path, sizeof(path), "net/%s/conf/%s/forwarding", version,
			 m->interfaces[i].name);
		if (lb_sysctl_get(path) < 1)
			warn_sysctl(warnings, path);
	}
}

int lb_preflight(const struct lb_model *m, const struct lb_diff *diff, const struct lb_dp_ops *ops,
		 const char *file, bool force, struct lb_texts *warnings, struct lb_err *err)
{
	struct added a;
	int ret;

	ret = added_init(&a, m, diff);
	if (ret)
		ret = lb_err_set(err, ENOMEM, "no memory");
	if (!ret && !force)
		ret = lb_preflight_listens(a.listens, a.n_listens, file, err);
	if (!ret)
		ret = check_routes(&a, m, file, warnings, err);
	if (!ret && ops->has_programs)
		ret = check_interfaces(m, diff, file, warnings, err);
	added_free(&a);
	if (ret || ops->sets_sysctls)
		return ret;
	if (lb_model_has_family(m, LB_V4))
		check_sysctls(m, LB_V4, "net/ipv4/ip_forward", warnings);
	if (lb_model_has_family(m, LB_V6))
		check_sysctls(m, LB_V6, "net/ipv6/conf/all/forwarding", warnings);
	return 0;
}
