// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * reconcile.c - the difference between what a datapath has and what a source wants, and what
 * forbids it.
 */

#include "affinity.h"
#include "list.h"
#include "reconcile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int interface_order(const void *a, const void *b)
{
	const struct lb_interface_conf *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static int service_order(const void *a, const void *b)
{
	const struct lb_service_conf *x = a, *y = b;

	return strcmp(x->name, y->name);
}

/* ---------------------------------------------------------------------------- refusals */

static int limits_check(const struct lb_limits *actual, const struct lb_limits *desired,
			struct lb_err *err)
{
	const struct {
		const char *name;
		uint32_t actual, desired;
	} limits[] = {
		{"connections", actual->connections, desired->connections},
		{"connections6", actual->connections6, desired->connections6},
		{"services", actual->services, desired->services},
		{"backends", actual->backends, desired->backends},
		{"ring-slots", actual->ring_slots, desired->ring_slots},
	};

	for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++)
		if (limits[i].actual != limits[i].desired)
			return lb_err_set(err, EPERM,
					  "limits.%s: \"%u\": the running instance has %u; run "
					  "meshlb down first",
					  limits[i].name, limits[i].desired, limits[i].actual);
	return 0;
}

/* An address, port and protocol that is taken: what a datapath has as one key. */
struct taken {
	struct lb_endpoint at;
	uint8_t proto;
	const struct lb_service_conf *by;
};

static int taken_order(const void *a, const void *b)
{
	const struct taken *x = a, *y = b;
	int cmp = lb_endpoint_cmp(&x->at, &y->at);

	return cmp ? cmp : x->proto - y->proto;
}

/* The one or (for `*`, which is both families) two keys of a listen. */
static size_t listen_keys(const struct lb_listen *l, const struct lb_service_conf *s,
			  struct taken keys[2])
{
	keys[0] = (struct taken){l->at, l->proto, s};
	if (l->any != LB_ANY_BOTH)
		return 1;
	keys[1] = (struct taken){{.port = l->at.port, .family = LB_V6}, l->proto, s};
	return 2;
}

/* What services of other sources listen on, sorted. */
static int taken_make(struct taken **list, size_t *n, const struct lb_model *m,
		      enum lb_source source)
{
	size_t room = 0;

	for (size_t i = 0; i < m->n_services; i++)
		if (m->services[i].source != source)
			room += m->services[i].n_listens * 2;
	*n = 0;
	*list = NULL;
	if (!room)
		return 0;
	*list = calloc(room, sizeof(**list));
	if (!*list)
		return -ENOMEM;
	for (size_t i = 0; i < m->n_services; i++) {
		const struct lb_service_conf *s = &m->services[i];

		for (size_t l = 0; l < s->n_listens && s->source != source; l++)
			*n += listen_keys(&s->listens[l], s, *list + *n);
	}
	qsort(*list, *n, sizeof(**list), taken_order);
	return 0;
}

static int listen_check(const struct taken *list, size_t n, const struct lb_listen *l,
			const struct lb_service_conf *s, struct lb_err *err)
{
	char text[LB_ENDPOINT_STRLEN];
	struct taken keys[2];
	size_t n_keys = listen_keys(l, s, keys);

	for (size_t k = 0; k < n_keys; k++) {
		const struct taken *t = bsearch(&keys[k], list, n, sizeof(*list), taken_order);

		if (t)
			return lb_err_set(err, EBUSY,
					  "service %s: listen: \"%s\": taken by service %s of "
					  "source %s: choose another address or port, or remove it "
					  "there",
					  s->name, lb_listen_str(text, l), t->by->name,
					  lb_source_name(t->by->source));
	}
	return 0;
}

static int sources_check(const struct lb_model *actual, const struct lb_model *desired,
			 enum lb_source source, struct lb_err *err)
{
	struct taken *list;
	size_t n;
	int ret = taken_make(&list, &n, actual, source);

	if (ret)
		return lb_err_sys(err, ENOMEM, "comparing listens");
	for (size_t i = 0; !ret && i < desired->n_services; i++) {
		const struct lb_service_conf *s = &desired->services[i], *other;

		if (s->source != source)
			continue;
		other = lb_model_find_service(actual, s->name);
		if (other && other->source != source)
			ret = lb_err_set(err, EBUSY,
					 "service: \"%s\": source %s has a service of this name: "
					 "choose another name, or remove it there",
					 s->name, lb_source_name(other->source));
		for (size_t l = 0; !ret && n && l < s->n_listens; l++)
			ret = listen_check(list, n, &s->listens[l], s, err);
	}
	free(list);
	return ret;
}

/* ---------------------------------------------------------------------------- the diff */

struct maker {
	struct lb_diff *diff;
	enum lb_source source;
};

static bool service_equal(const struct lb_service_conf *a, const struct lb_service_conf *b)
{
	if (a->scheduler != b->scheduler || a->maglev_size != b->maglev_size ||
	    a->forwarding != b->forwarding || a->n_listens != b->n_listens ||
	    a->n_backends != b->n_backends || a->unknown != b->unknown ||
	    a->on_remove != b->on_remove || !lb_affinity_equal(&a->affinity, &b->affinity) ||
	    memcmp(a->timeouts, b->timeouts, sizeof(a->timeouts)) != 0)
		return false;
	for (size_t i = 0; i < a->n_listens; i++)
		if (lb_listen_cmp(&a->listens[i], &b->listens[i]))
			return false;
	for (size_t i = 0; i < a->n_backends; i++)
		if (lb_endpoint_cmp(&a->backends[i].at, &b->backends[i].at) ||
		    !lb_backend_equal(&a->backends[i], &b->backends[i]))
			return false;
	return true;
}

static bool defaults_equal(const struct lb_model *a, const struct lb_model *b)
{
	return a->datapath == b->datapath && a->default_scheduler == b->default_scheduler &&
	       a->default_maglev_size == b->default_maglev_size &&
	       !memcmp(a->timeouts, b->timeouts, sizeof(a->timeouts)) &&
	       !memcmp(&a->rates, &b->rates, sizeof(a->rates)) &&
	       !memcmp(&a->limits, &b->limits, sizeof(a->limits));
}

static void interface_pair(void *arg, const void *from, const void *to)
{
	struct lb_diff *d = ((struct maker *)arg)->diff;
	const struct lb_interface_conf *a = from, *b = to;

	if (a && b && a->hook == b->hook)
		return;
	d->changes[d->n++] = (struct lb_change){
		.verb = lb_change_verb_of(a, b), .kind = LB_CHANGE_INTERFACE, .ifrom = a, .ito = b};
}

static void service_pair(void *arg, const void *from, const void *to)
{
	const struct maker *m = arg;
	const struct lb_service_conf *a = from, *b = to;
	struct lb_diff *d = m->diff;

	if (a && a->source != m->source)
		a = NULL;
	if (b && b->source != m->source)
		b = NULL;
	if ((!a && !b) || (a && b && service_equal(a, b)))
		return;
	d->changes[d->n++] = (struct lb_change){
		.verb = lb_change_verb_of(a, b), .kind = LB_CHANGE_SERVICE, .from = a, .to = b};
}

static int changes_make(struct lb_diff *d, enum lb_source source)
{
	const struct lb_model *a = d->actual, *b = d->desired;
	struct maker maker = {d, source};

	d->changes = calloc(1 + a->n_interfaces + b->n_interfaces + a->n_services + b->n_services,
			    sizeof(*d->changes));
	if (!d->changes)
		return -ENOMEM;
	if (!defaults_equal(a, b))
		d->changes[d->n++] =
			(struct lb_change){.verb = LB_CHANGED, .kind = LB_CHANGE_DEFAULTS};
	lb_lists_pair(a->interfaces, a->n_interfaces, b->interfaces, b->n_interfaces,
		      sizeof(*b->interfaces), interface_order, interface_pair, &maker);
	lb_lists_pair(a->services, a->n_services, b->services, b->n_services, sizeof(*b->services),
		      service_order, service_pair, &maker);
	return 0;
}

int lb_diff_make(struct lb_diff *d, const struct lb_model *actual, const struct lb_model *desired,
		 enum lb_source source, struct lb_err *err)
{
	int ret;

	*d = (struct lb_diff){.actual = actual, .desired = desired};
	ret = actual->limits_free ? 0 : limits_check(&actual->limits, &desired->limits, err);
	if (!ret)
		ret = sources_check(actual, desired, source, err);
	if (!ret && changes_make(d, source))
		ret = lb_err_sys(err, ENOMEM, "comparing services");
	return ret;
}

void lb_diff_free(struct lb_diff *d)
{
	free(d->changes);
	*d = (struct lb_diff){0};
}

void lb_diff_each_wanted(const struct lb_diff *d, void (*fn)(const struct lb_service_conf *s))
{
	for (size_t i = 0; i < d->n; i++)
		if (d->changes[i].kind == LB_CHANGE_SERVICE && d->changes[i].to)
			fn(d->changes[i].to);
}

void lb_diff_count(const struct lb_diff *d, size_t *added, size_t *changed, size_t *removed)
{
	size_t n[3] = {0};

	for (size_t i = 0; i < d->n; i++)
		n[d->changes[i].verb] += d->changes[i].kind != LB_CHANGE_DEFAULTS;
	*added = n[LB_ADDED];
	*changed = n[LB_CHANGED];
	*removed = n[LB_REMOVED];
}

size_t lb_overrides_carry(struct lb_model *desired, const struct lb_model *actual)
{
	size_t carried = 0;

	for (size_t i = 0; i < actual->n_services; i++) {
		const struct lb_service_conf *s = &actual->services[i], *to;

		to = lb_model_find_service(desired, s->name);
		for (size_t k = 0; to && k < s->n_backends; k++) {
			const struct lb_backend_conf *b = &s->backends[k];
			struct lb_backend_conf *same = NULL;

			if (b->override != LB_NO_OVERRIDE)
				same = lb_service_find_backend(to, &b->at);
			if (!same)
				continue;
			same->override = b->override;
			same->override_since = b->override_since;
			carried++;
		}
	}
	return carried;
}
