// SPDX-License-Identifier: GPL-2.0-or-later
/* ipvs.c - the kernel's IPVS by generic netlink. */
#include <arpa/inet.h>
#include <errno.h>
#include <libkmod.h>
#include <linux/genetlink.h>
#include <linux/ip_vs.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/list.h"
#include "ipvs.h"
#include "route.h"

#define ATTRS_MAX 20 /* more than any of the kernel's lists has */

/* ---------------------------------------------------------------- opening */

/* That there is no such module is no error. */
static void say_nothing(void *data, int priority, const char *file, int line, const char *fn,
			const char *format, va_list args)
{
	(void)data, (void)priority, (void)file, (void)line, (void)fn, (void)format, (void)args;
}

/* Nothing else asks the kernel to load it. */
static void load_module(void)
{
	struct kmod_ctx *ctx = kmod_new(NULL, NULL);
	struct kmod_module *mod = NULL;

	if (ctx)
		kmod_set_log_fn(ctx, say_nothing, NULL);
	if (ctx && !kmod_module_new_from_name(ctx, "ip_vs", &mod))
		kmod_module_probe_insert_module(mod, KMOD_PROBE_APPLY_BLACKLIST, NULL, NULL, NULL,
						NULL);
	kmod_module_unref(mod);
	kmod_unref(ctx);
}

int lb_ipvs_open(struct lb_ipvs *v)
{
	int ret = lb_nl_open(&v->nl, NETLINK_GENERIC);

	if (ret)
		return ret;
	ret = lb_genl_family(&v->nl, IPVS_GENL_NAME, &v->family);
	if (ret == -ENOENT) {
		load_module();
		ret = lb_genl_family(&v->nl, IPVS_GENL_NAME, &v->family);
	}
	if (ret)
		lb_nl_close(&v->nl);
	return ret;
}

void lb_ipvs_close(struct lb_ipvs *v)
{
	lb_nl_close(&v->nl);
}

/* ---------------------------------------------------------------- attributes */

static int attr_store(const struct nlattr *attr, void *arg)
{
	const struct nlattr **list = arg;

	if (mnl_attr_get_type(attr) < ATTRS_MAX)
		list[mnl_attr_get_type(attr)] = attr;
	return MNL_CB_OK;
}

/* Of a message the attributes of the one nested in it; false where there is none. */
static bool nested(const struct nlmsghdr *nlh, int type, const struct nlattr *list[ATTRS_MAX])
{
	const struct nlattr *all[ATTRS_MAX] = {};

	mnl_attr_parse(nlh, sizeof(struct genlmsghdr), attr_store, all);
	memset(list, 0, sizeof(all));
	return all[type] && mnl_attr_parse_nested(all[type], attr_store, list) == MNL_CB_OK;
}

static uint32_t u32_of(const struct nlattr *attr)
{
	return attr && mnl_attr_get_payload_len(attr) >= sizeof(uint32_t) ? mnl_attr_get_u32(attr)
									  : 0;
}

static uint16_t u16_of(const struct nlattr *attr)
{
	return attr && mnl_attr_get_payload_len(attr) >= sizeof(uint16_t) ? mnl_attr_get_u16(attr)
									  : 0;
}

static void stats_read(const struct nlattr *attr, struct lb_ipvs_stats *s)
{
	const struct nlattr *list[ATTRS_MAX] = {};
	uint64_t *const to[ATTRS_MAX] = {
		[IPVS_STATS_ATTR_CONNS] = &s->connections,
		[IPVS_STATS_ATTR_INPKTS] = &s->packets[0],
		[IPVS_STATS_ATTR_OUTPKTS] = &s->packets[1],
		[IPVS_STATS_ATTR_INBYTES] = &s->bytes[0],
		[IPVS_STATS_ATTR_OUTBYTES] = &s->bytes[1],
	};

	if (!attr || mnl_attr_parse_nested(attr, attr_store, list) != MNL_CB_OK)
		return;
	for (int i = 0; i < ATTRS_MAX; i++)
		if (to[i] && list[i] && mnl_attr_get_payload_len(list[i]) >= sizeof(uint64_t))
			*to[i] = mnl_attr_get_u64(list[i]);
}

static enum lb_family family_of(uint16_t af)
{
	return af == AF_INET6 ? LB_V6 : LB_V4;
}

static uint16_t af_of(enum lb_family family)
{
	return family == LB_V6 ? AF_INET6 : AF_INET;
}

static void address_read(const struct nlattr *attr, struct lb_endpoint *at)
{
	size_t len = at->family == LB_V4 ? 4 : 16;

	if (at->family == LB_V4)
		at->addr.b[10] = at->addr.b[11] = 0xff;
	if (attr && mnl_attr_get_payload_len(attr) >= len)
		memcpy(at->addr.b + 16 - len, mnl_attr_get_payload(attr), len);
}

/* ---------------------------------------------------------------- services */

static void put_service(struct nlmsghdr *req, uint32_t mark, enum lb_family family,
			const struct lb_ipvs_service *s)
{
	struct nlattr *nest = mnl_attr_nest_start(req, IPVS_CMD_ATTR_SERVICE);

	mnl_attr_put_u16(req, IPVS_SVC_ATTR_AF, af_of(family));
	mnl_attr_put_u32(req, IPVS_SVC_ATTR_FWMARK, mark);
	if (s) {
		const struct ip_vs_flags flags = {.flags = s->flags, .mask = ~0U};

		mnl_attr_put_strz(req, IPVS_SVC_ATTR_SCHED_NAME, s->scheduler);
		mnl_attr_put(req, IPVS_SVC_ATTR_FLAGS, sizeof(flags), &flags);
		mnl_attr_put_u32(req, IPVS_SVC_ATTR_TIMEOUT, s->timeout);
		/* Persistence's: each client by itself. A prefix length for IPv6, a mask else. */
		mnl_attr_put_u32(req, IPVS_SVC_ATTR_NETMASK, family == LB_V6 ? 128 : ~0U);
	}
	mnl_attr_nest_end(req, nest);
}

static int service_do(struct lb_ipvs *v, uint8_t cmd, uint32_t mark, enum lb_family family,
		      const struct lb_ipvs_service *s)
{
	char buf[512];
	struct nlmsghdr *req = lb_genl_request(buf, v->family, cmd, 0);

	put_service(req, mark, family, s);
	return lb_nl_request(&v->nl, req, NULL, NULL);
}

static int service_parse(const struct nlmsghdr *nlh, struct lb_ipvs_service *s)
{
	const struct nlattr *a[ATTRS_MAX];
	struct ip_vs_flags flags = {};

	if (!nested(nlh, IPVS_CMD_ATTR_SERVICE, a)) {
		errno = EPROTO;
		return MNL_CB_ERROR;
	}
	*s = (struct lb_ipvs_service){
		.mark = u32_of(a[IPVS_SVC_ATTR_FWMARK]),
		.family = family_of(u16_of(a[IPVS_SVC_ATTR_AF])),
		.timeout = u32_of(a[IPVS_SVC_ATTR_TIMEOUT]),
	};
	s->at.family = s->family;
	s->at.port = ntohs(u16_of(a[IPVS_SVC_ATTR_PORT]));
	address_read(a[IPVS_SVC_ATTR_ADDR], &s->at);
	s->proto = LB_PROTOS;
	if (u16_of(a[IPVS_SVC_ATTR_PROTOCOL]) == IPPROTO_TCP)
		s->proto = LB_TCP;
	else if (u16_of(a[IPVS_SVC_ATTR_PROTOCOL]) == IPPROTO_UDP)
		s->proto = LB_UDP;
	if (a[IPVS_SVC_ATTR_SCHED_NAME])
		snprintf(s->scheduler, sizeof(s->scheduler), "%s",
			 mnl_attr_get_str(a[IPVS_SVC_ATTR_SCHED_NAME]));
	if (a[IPVS_SVC_ATTR_FLAGS] &&
	    mnl_attr_get_payload_len(a[IPVS_SVC_ATTR_FLAGS]) >= sizeof(flags))
		memcpy(&flags, mnl_attr_get_payload(a[IPVS_SVC_ATTR_FLAGS]), sizeof(flags));
	s->flags = flags.flags & ~IP_VS_SVC_F_HASHED;
	stats_read(a[IPVS_SVC_ATTR_STATS64], &s->stats);
	return MNL_CB_OK;
}

static int service_one(const struct nlmsghdr *nlh, void *arg)
{
	return service_parse(nlh, arg);
}

static int service_list(const struct nlmsghdr *nlh, void *arg)
{
	struct lb_ipvs_services *all = arg;
	struct lb_ipvs_service s, *new;

	if (service_parse(nlh, &s) != MNL_CB_OK)
		return MNL_CB_ERROR;
	new = lb_list_add((void **)&all->list, &all->n, sizeof(*new));
	if (!new)
		return MNL_CB_ERROR;
	*new = s;
	return MNL_CB_OK;
}

int lb_ipvs_services_read(struct lb_ipvs *v, struct lb_ipvs_services *all)
{
	char buf[128];
	int ret;

	*all = (struct lb_ipvs_services){};
	ret = lb_nl_request(&v->nl,
			    lb_genl_request(buf, v->family, IPVS_CMD_GET_SERVICE, NLM_F_DUMP),
			    service_list, all);
	if (ret)
		lb_ipvs_services_free(all);
	return ret;
}

void lb_ipvs_services_free(struct lb_ipvs_services *all)
{
	free(all->list);
	*all = (struct lb_ipvs_services){};
}

/* `*` leaves link-local addresses alone. */
static bool is_reachable(const struct lb_endpoint *at)
{
	return !lb_addr_is_link_local(&at->addr, at->family) &&
	       !lb_addr_why_not(&at->addr, at->family);
}

static int foreign_keep(struct lb_ipvs_services *all)
{
	struct lb_route route;
	struct lb_nl nl;
	size_t n = 0;
	int ret = all->n ? lb_nl_open(&nl, NETLINK_ROUTE) : 0;

	if (ret || !all->n)
		return ret;
	for (size_t i = 0; i < all->n; i++) {
		struct lb_ipvs_service *s = &all->list[n];

		if (all->list[i].mark || !is_reachable(&all->list[i].at))
			continue;
		*s = all->list[i];
		s->own = !lb_route_get(&nl, &route, &s->at.addr, s->at.family) && route.local;
		n++;
	}
	all->n = n;
	lb_nl_close(&nl);
	return 0;
}

int lb_ipvs_foreign_read(struct lb_ipvs_services *all)
{
	struct lb_ipvs v;
	int ret;

	*all = (struct lb_ipvs_services){};
	if (access("/proc/net/ip_vs", F_OK)) /* asking for the family may load the module */
		return 0;
	ret = lb_ipvs_open(&v);
	if (ret)
		return ret;
	ret = lb_ipvs_services_read(&v, all);
	lb_ipvs_close(&v);
	return ret == -EPERM ? 0 : ret ? ret : foreign_keep(all);
}

bool lb_ipvs_service_meets(const struct lb_ipvs_service *s, const struct lb_listen *l)
{
	struct lb_endpoint at = s->at;

	if (!at.port) /* it is of all ports */
		at.port = l->at.port;
	if (s->mark || s->proto != l->proto || at.port != l->at.port)
		return false;
	if (l->any)
		return l->any == LB_ANY_BOTH || s->family == l->at.family;
	return !lb_endpoint_cmp(&at, &l->at);
}

int lb_ipvs_service_read(struct lb_ipvs *v, uint32_t mark, enum lb_family family,
			 struct lb_ipvs_service *s)
{
	char buf[256];
	struct nlmsghdr *req = lb_genl_request(buf, v->family, IPVS_CMD_GET_SERVICE, 0);

	put_service(req, mark, family, NULL);
	return lb_nl_request(&v->nl, req, service_one, s);
}

int lb_ipvs_service_add(struct lb_ipvs *v, const struct lb_ipvs_service *s)
{
	return service_do(v, IPVS_CMD_NEW_SERVICE, s->mark, s->family, s);
}

int lb_ipvs_service_set(struct lb_ipvs *v, const struct lb_ipvs_service *s)
{
	return service_do(v, IPVS_CMD_SET_SERVICE, s->mark, s->family, s);
}

int lb_ipvs_service_remove(struct lb_ipvs *v, uint32_t mark, enum lb_family family)
{
	return service_do(v, IPVS_CMD_DEL_SERVICE, mark, family, NULL);
}

/* ---------------------------------------------------------------- destinations */

static int dest_do(struct lb_ipvs *v, uint8_t cmd, uint32_t mark, const struct lb_ipvs_dest *d)
{
	const uint8_t *address = d->at.addr.b + (d->at.family == LB_V4 ? 12 : 0);
	char buf[512];
	struct nlmsghdr *req = lb_genl_request(buf, v->family, cmd, 0);
	uint8_t padded[16] = {};
	struct nlattr *nest;

	memcpy(padded, address, d->at.family == LB_V4 ? 4 : 16);
	put_service(req, mark, d->at.family, NULL);
	nest = mnl_attr_nest_start(req, IPVS_CMD_ATTR_DEST);
	mnl_attr_put(req, IPVS_DEST_ATTR_ADDR, sizeof(padded), padded);
	mnl_attr_put_u16(req, IPVS_DEST_ATTR_PORT, htons(d->at.port));
	mnl_attr_put_u16(req, IPVS_DEST_ATTR_ADDR_FAMILY, af_of(d->at.family));
	if (cmd != IPVS_CMD_DEL_DEST) {
		mnl_attr_put_u32(req, IPVS_DEST_ATTR_FWD_METHOD, d->method);
		mnl_attr_put_u32(req, IPVS_DEST_ATTR_WEIGHT, d->weight);
		mnl_attr_put_u32(req, IPVS_DEST_ATTR_U_THRESH, d->upper);
		mnl_attr_put_u32(req, IPVS_DEST_ATTR_L_THRESH, d->lower);
	}
	mnl_attr_nest_end(req, nest);
	return lb_nl_request(&v->nl, req, NULL, NULL);
}

struct dests_reading {
	struct lb_ipvs_dests *all;
	enum lb_family family; /* the service's, for kernels that do not tell a destination's */
};

static int dest_list(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *a[ATTRS_MAX];
	struct dests_reading *r = arg;
	struct lb_ipvs_dest *d;

	if (!nested(nlh, IPVS_CMD_ATTR_DEST, a)) {
		errno = EPROTO;
		return MNL_CB_ERROR;
	}
	d = lb_list_add((void **)&r->all->list, &r->all->n, sizeof(*d));
	if (!d)
		return MNL_CB_ERROR;
	d->at.family = a[IPVS_DEST_ATTR_ADDR_FAMILY]
			       ? family_of(u16_of(a[IPVS_DEST_ATTR_ADDR_FAMILY]))
			       : r->family;
	address_read(a[IPVS_DEST_ATTR_ADDR], &d->at);
	d->at.port = ntohs(u16_of(a[IPVS_DEST_ATTR_PORT]));
	d->method = u32_of(a[IPVS_DEST_ATTR_FWD_METHOD]) & IP_VS_CONN_F_FWD_MASK;
	d->weight = u32_of(a[IPVS_DEST_ATTR_WEIGHT]);
	d->upper = u32_of(a[IPVS_DEST_ATTR_U_THRESH]);
	d->lower = u32_of(a[IPVS_DEST_ATTR_L_THRESH]);
	stats_read(a[IPVS_DEST_ATTR_STATS64], &d->stats);
	return MNL_CB_OK;
}

static int dest_order(const void *a, const void *b)
{
	const struct lb_ipvs_dest *x = a, *y = b;

	return lb_endpoint_cmp(&x->at, &y->at);
}

int lb_ipvs_dests_read(struct lb_ipvs *v, uint32_t mark, enum lb_family family,
		       struct lb_ipvs_dests *all)
{
	struct dests_reading r = {.all = all, .family = family};
	char buf[256];
	struct nlmsghdr *req = lb_genl_request(buf, v->family, IPVS_CMD_GET_DEST, NLM_F_DUMP);
	int ret;

	*all = (struct lb_ipvs_dests){};
	put_service(req, mark, family, NULL);
	ret = lb_nl_request(&v->nl, req, dest_list, &r);
	if (ret)
		lb_ipvs_dests_free(all);
	if (all->n)
		qsort(all->list, all->n, sizeof(*all->list), dest_order);
	return ret;
}

void lb_ipvs_dests_free(struct lb_ipvs_dests *all)
{
	free(all->list);
	*all = (struct lb_ipvs_dests){};
}

struct lb_ipvs_dest *lb_ipvs_dest_find(const struct lb_ipvs_dests *all,
				       const struct lb_endpoint *at)
{
	const struct lb_ipvs_dest want = {.at = *at};

	return all->n ? bsearch(&want, all->list, all->n, sizeof(want), dest_order) : NULL;
}

int lb_ipvs_dest_add(struct lb_ipvs *v, uint32_t mark, const struct lb_ipvs_dest *d)
{
	return dest_do(v, IPVS_CMD_NEW_DEST, mark, d);
}

int lb_ipvs_dest_set(struct lb_ipvs *v, uint32_t mark, const struct lb_ipvs_dest *d)
{
	return dest_do(v, IPVS_CMD_SET_DEST, mark, d);
}

int lb_ipvs_dest_remove(struct lb_ipvs *v, uint32_t mark, const struct lb_ipvs_dest *d)
{
	return dest_do(v, IPVS_CMD_DEL_DEST, mark, d);
}

/* ---------------------------------------------------------------- timeouts */

static int timeouts_parse(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *a[ATTRS_MAX] = {};
	struct lb_ipvs_timeouts *t = arg;

	mnl_attr_parse(nlh, sizeof(struct genlmsghdr), attr_store, a);
	t->tcp = u32_of(a[IPVS_CMD_ATTR_TIMEOUT_TCP]);
	t->tcp_fin = u32_of(a[IPVS_CMD_ATTR_TIMEOUT_TCP_FIN]);
	t->udp = u32_of(a[IPVS_CMD_ATTR_TIMEOUT_UDP]);
	return MNL_CB_OK;
}

int lb_ipvs_timeouts_read(struct lb_ipvs *v, struct lb_ipvs_timeouts *t)
{
	char buf[128];

	*t = (struct lb_ipvs_timeouts){};
	return lb_nl_request(&v->nl, lb_genl_request(buf, v->family, IPVS_CMD_GET_CONFIG, 0),
			     timeouts_parse, t);
}
