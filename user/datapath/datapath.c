// SPDX-License-Identifier: GPL-2.0-or-later
/* datapath.c - what all datapaths have in common: their table, and filters of connections. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "datapath.h"
#include "net/link.h"

const struct lb_dp_ops *const lb_datapaths[] = {&lb_dp_ebpf, &lb_dp_ipvs, &lb_dp_nft, NULL};
const struct lb_dp_ops *const lb_datapaths_met[] = {&lb_dp_ebpf, &lb_dp_nft, &lb_dp_ipvs, NULL};

int lb_instance_check(const char *name, struct lb_err *err)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_.-";
	size_t len = strlen(name);

	if (len && len <= LB_INSTANCE_MAX && strspn(name, allowed) == len &&
	    strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
		return 0;
	return lb_err_set(err, EINVAL,
			  "instance \"%s\": should be 1 to 64 of letters, digits, `_.-`", name);
}

const struct lb_dp_ops *lb_datapath_named(unsigned int kind)
{
	for (size_t i = 0; lb_datapaths[i]; i++)
		if (!strcmp(lb_datapath_kind_name(kind), lb_datapaths[i]->name))
			return lb_datapaths[i];
	return lb_datapaths[0];
}

void lb_name_search(void *arg, const char *name)
{
	struct lb_name_search *s = arg;

	s->found |= !strcmp(name, s->name);
}

void lb_findings_add(struct lb_findings *f, const char *fmt, va_list args)
{
	char text[512];

	vsnprintf(text, sizeof(text), fmt, args);
	f->n++;
	if (f->fn)
		f->fn(f->arg, text);
}

void lb_found(struct lb_findings *f, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	lb_findings_add(f, fmt, args);
	va_end(args);
}

bool lb_warned(int ret, const struct lb_err *err)
{
	if (ret)
		lb_warn("left undone: %s", err->text);
	return ret;
}

int lb_status_interfaces(struct lb_dp_status *s, const struct lb_model *m, const char *mode,
			 const char *name, struct lb_err *err)
{
	struct lb_links links;
	int ret = lb_links_read(&links);

	if (ret)
		return lb_err_sys(err, -ret, "listing the network interfaces");
	s->hooks = calloc(m->n_interfaces + 1, sizeof(*s->hooks));
	for (size_t i = 0; s->hooks && i < m->n_interfaces; i++) {
		struct lb_hook_status *h = &s->hooks[s->n_hooks++];
		const struct lb_link *link = lb_links_find(&links, m->interfaces[i].name);

		*h = (struct lb_hook_status){.wanted = m->interfaces[i].hook,
					     .ifindex = link ? link->ifindex : 0};
		snprintf(h->ifname, sizeof(h->ifname), "%s", m->interfaces[i].name);
		snprintf(h->mode, sizeof(h->mode), "%s", mode);
		snprintf(h->prog_name, sizeof(h->prog_name), "%.15s", name);
		if (!link)
			snprintf(h->trouble, sizeof(h->trouble), "there is no such interface");
	}
	lb_links_free(&links);
	return s->hooks ? 0 : lb_err_sys(err, ENOMEM, "listing the network interfaces");
}

void lb_interfaces_audit(struct lb_findings *f, const struct lb_model *m)
{
	struct lb_links links;

	if (lb_links_read(&links))
		return;
	for (size_t i = 0; i < m->n_interfaces; i++)
		if (!lb_links_find(&links, m->interfaces[i].name))
			lb_found(f, "interface \"%s\": there is no such interface",
				 m->interfaces[i].name);
	lb_links_free(&links);
}

void lb_status_model(struct lb_dp_status *s, const struct lb_model *m)
{
	s->services = (struct lb_usage){.used = m->n_services, .limit = m->limits.services};
	s->backends.limit = m->limits.backends;
	for (size_t i = 0; i < m->n_services; i++)
		s->backends.used += m->services[i].n_backends;
	s->ring_slots.limit = m->limits.ring_slots;
}

void lb_status_free(struct lb_dp_status *s)
{
	free(s->hooks);
	*s = (struct lb_dp_status){};
}

int lb_stats_make(struct lb_dp_stats *s, const struct lb_model *m, struct lb_err *err)
{
	*s = (struct lb_dp_stats){.n_services = m->n_services};
	for (size_t i = 0; i < m->n_services; i++)
		s->n_backends += m->services[i].n_backends;
	s->services = calloc(s->n_services + 1, sizeof(*s->services));
	s->backends = calloc(s->n_backends + 1, sizeof(*s->backends));
	if (s->services && s->backends)
		return 0;
	lb_stats_free(s);
	return lb_err_sys(err, ENOMEM, "reading the counters");
}

void lb_stats_free(struct lb_dp_stats *s)
{
	free(s->services);
	free(s->backends);
	*s = (struct lb_dp_stats){};
}

static bool prefix_holds(const struct lb_endpoint *want, unsigned int bits,
			 const struct lb_endpoint *is)
{
	const __u8 *a = want->addr.b, *b = is->addr.b;

	if (want->family != is->family || (want->port && want->port != is->port))
		return false;
	if (want->family == LB_V4)
		bits += 96;
	if (memcmp(a, b, bits / 8) != 0)
		return false;
	return !(bits % 8) || !((a[bits / 8] ^ b[bits / 8]) >> (8 - bits % 8));
}

bool lb_conn_filter_holds(const struct lb_conn_filter *f, uint32_t service, const struct lb_conn *c)
{
	unsigned int bits = c->mask && c->mask < f->client_prefix ? c->mask : f->client_prefix;

	if (f->kinds != LB_CONN_BOTH && (f->kinds == LB_CONN_AFFINITIES) != (c->mask != 0))
		return false;
	if (service && c->service_id != service)
		return false;
	if (f->doubtful && c->state != LB_CONN_RESET)
		return false;
	if (f->by_backend &&
	    !prefix_holds(&f->backend, f->backend.family == LB_V4 ? 32 : 128, &c->backend))
		return false;
	return !f->by_client || prefix_holds(&f->client, bits, &c->client);
}
