// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * reconcile.c - the difference between what a datapath has and what a source wants, what forbids
 * it, and how it is printed. All of it walks sorted lists in step.
 */

#include "duration.h"
#include "reconcile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------------------- two lists */

typedef int (*order_fn)(const void *a, const void *b);
typedef void (*pair_fn)(void *arg, const void *from, const void *to);

/* Calls fn in order for each element of two sorted lists; one without its like comes with NULL. */
static void lists_pair(const void *from, size_t n_from, const void *to, size_t n_to, size_t size,
		       order_fn order, pair_fn fn, void *arg)
{
	size_t a = 0, b = 0;

	while (a < n_from || b < n_to) {
		const void *x = a < n_from ? (const char *)from + a * size : NULL;
		const void *y = b < n_to ? (const char *)to + b * size : NULL;
		int cmp = !x ? 1 : !y ? -1 : order(x, y);

		fn(arg, cmp <= 0 ? x : NULL, cmp >= 0 ? y : NULL);
		a += cmp <= 0;
		b += cmp >= 0;
	}
}

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

static int listen_order(const void *a, const void *b)
{
	return lb_listen_cmp(a, b);
}

static int backend_order(const void *a, const void *b)
{
	const struct lb_backend_conf *x = a, *y = b;

	return lb_endpoint_cmp(&x->at, &y->at);
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

static bool backend_equal(const struct lb_backend_conf *a, const struct lb_backend_conf *b)
{
	return a->weight == b->weight && a->override == b->override;
}

static bool service_equal(const struct lb_service_conf *a, const struct lb_service_conf *b)
{
	if (a->scheduler != b->scheduler || a->maglev_size != b->maglev_size ||
	    a->forwarding != b->forwarding || a->n_listens != b->n_listens ||
	    a->n_backends != b->n_backends || a->unknown != b->unknown ||
	    a->on_remove != b->on_remove ||
	    memcmp(a->timeouts, b->timeouts, sizeof(a->timeouts)) != 0)
		return false;
	for (size_t i = 0; i < a->n_listens; i++)
		if (lb_listen_cmp(&a->listens[i], &b->listens[i]))
			return false;
	for (size_t i = 0; i < a->n_backends; i++)
		if (backend_order(&a->backends[i], &b->backends[i]) ||
		    !backend_equal(&a->backends[i], &b->backends[i]))
			return false;
	return true;
}

static bool defaults_equal(const struct lb_model *a, const struct lb_model *b)
{
	return a->datapath == b->datapath && a->default_scheduler == b->default_scheduler &&
	       a->default_maglev_size == b->default_maglev_size &&
	       !memcmp(a->timeouts, b->timeouts, sizeof(a->timeouts)) &&
	       !memcmp(&a->limits, &b->limits, sizeof(a->limits));
}

static enum lb_change_verb verb_of(const void *from, const void *to)
{
	return !from ? LB_ADDED : !to ? LB_REMOVED : LB_CHANGED;
}

static void interface_pair(void *arg, const void *from, const void *to)
{
	struct lb_diff *d = ((struct maker *)arg)->diff;
	const struct lb_interface_conf *a = from, *b = to;

	if (a && b && a->hook == b->hook)
		return;
	d->changes[d->n++] = (struct lb_change){
		.verb = verb_of(a, b), .kind = LB_CHANGE_INTERFACE, .ifrom = a, .ito = b};
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
		.verb = verb_of(a, b), .kind = LB_CHANGE_SERVICE, .from = a, .to = b};
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
	lists_pair(a->interfaces, a->n_interfaces, b->interfaces, b->n_interfaces,
		   sizeof(*b->interfaces), interface_order, interface_pair, &maker);
	lists_pair(a->services, a->n_services, b->services, b->n_services, sizeof(*b->services),
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

/* ---------------------------------------------------------------------------- print */

#define INSIDE "    "

static const char sign[] = {[LB_ADDED] = '+', [LB_CHANGED] = '~', [LB_REMOVED] = '-'};

/* A word before each further part of a line: "~ service web: scheduler rr -> sh, maglev-size ..."
 */
static const char *comma(bool *first)
{
	const char *text = *first ? ": " : ", ";

	*first = false;
	return text;
}

static void print_renamed(FILE *out, bool *first, const char *what, const char *from,
			  const char *to)
{
	if (strcmp(from, to) != 0)
		fprintf(out, "%s%s %s -> %s", comma(first), what, from, to);
}

static void print_resized(FILE *out, bool *first, uint32_t from, uint32_t to)
{
	if (from != to)
		fprintf(out, "%smaglev-size %u -> %u", comma(first), from, to);
}

static void print_timeouts(FILE *out, bool *first, const uint32_t *from, const uint32_t *to)
{
	char a[LB_DURATION_MAX], b[LB_DURATION_MAX];

	for (int i = 0; i < LB_TIMEOUTS; i++)
		if (from[i] != to[i])
			fprintf(out, "%stimeouts.%s %s -> %s", comma(first), lb_timeout_name(i),
				from[i] ? lb_duration_exact(a, from[i]) : "the instance's",
				to[i] ? lb_duration_exact(b, to[i]) : "the instance's");
}

static void print_weight(FILE *out, const struct lb_backend_conf *b)
{
	fprintf(out, "%u", b->weight);
	if (b->override != LB_NO_OVERRIDE)
		fprintf(out, " (by hand %u)", b->override);
}

static void print_listen(void *arg, const void *from, const void *to)
{
	char text[LB_ENDPOINT_STRLEN];

	if (!from || !to)
		fprintf(arg, INSIDE "%c listen %s\n", sign[verb_of(from, to)],
			lb_listen_str(text, to ? to : from));
}

static void print_backend(void *arg, const void *from, const void *to)
{
	const struct lb_backend_conf *a = from, *b = to;
	char text[LB_ENDPOINT_STRLEN];
	FILE *out = arg;

	if (a && b && backend_equal(a, b))
		return;
	fprintf(out, INSIDE "%c %s", sign[verb_of(a, b)],
		lb_endpoint_str(text, b ? &b->at : &a->at));
	if (b && (a || b->weight != 1 || b->override != LB_NO_OVERRIDE)) {
		fputs(" weight ", out);
		if (a) {
			print_weight(out, a);
			fputs(" -> ", out);
		}
		print_weight(out, b);
	}
	fputc('\n', out);
}

static void print_backends(FILE *out, const struct lb_service_conf *a,
			   const struct lb_service_conf *b)
{
	lists_pair(a ? a->backends : NULL, a ? a->n_backends : 0, b->backends, b->n_backends,
		   sizeof(*b->backends), backend_order, print_backend, out);
}

static void print_added(FILE *out, const struct lb_service_conf *s)
{
	char text[LB_ENDPOINT_STRLEN];
	bool first = true;

	for (size_t i = 0; i < s->n_listens; i++)
		fprintf(out, "%s%s", comma(&first), lb_listen_str(text, &s->listens[i]));
	fprintf(out, "%s%s, ", comma(&first), lb_scheduler_name(s->scheduler));
	if (s->forwarding != LB_FORWARDING_NAT)
		fprintf(out, "%s, ", lb_forwarding_name(s->forwarding));
	if (s->unknown != lb_unknown_default(s->scheduler))
		fprintf(out, "unknown %s, ", lb_unknown_name(s->unknown));
	if (s->on_remove != LB_ON_REMOVE_RESET)
		fprintf(out, "on-remove %s, ", lb_on_remove_name(s->on_remove));
	if (lb_service_has_timeouts(s))
		fputs("timeouts of its own, ", out);
	fprintf(out, "%zu backend%s\n", s->n_backends, s->n_backends == 1 ? "" : "s");
	print_backends(out, NULL, s);
}

static void print_changed(FILE *out, const struct lb_service_conf *a,
			  const struct lb_service_conf *b)
{
	bool first = true;

	print_renamed(out, &first, "scheduler", lb_scheduler_name(a->scheduler),
		      lb_scheduler_name(b->scheduler));
	print_resized(out, &first, a->maglev_size, b->maglev_size);
	print_renamed(out, &first, "forwarding", lb_forwarding_name(a->forwarding),
		      lb_forwarding_name(b->forwarding));
	print_renamed(out, &first, "unknown", lb_unknown_name(a->unknown),
		      lb_unknown_name(b->unknown));
	print_renamed(out, &first, "on-remove", lb_on_remove_name(a->on_remove),
		      lb_on_remove_name(b->on_remove));
	print_timeouts(out, &first, a->timeouts, b->timeouts);
	fputc('\n', out);
	lists_pair(a->listens, a->n_listens, b->listens, b->n_listens, sizeof(*b->listens),
		   listen_order, print_listen, out);
	print_backends(out, a, b);
}

static void print_service(FILE *out, const struct lb_change *c)
{
	if (c->from && c->to) {
		fprintf(out, "~ service %s", c->to->name);
		print_changed(out, c->from, c->to);
	} else if (c->to) {
		fprintf(out, "+ service %s", c->to->name);
		print_added(out, c->to);
	} else if (c->from) {
		fprintf(out, "- service %s\n", c->from->name);
	}
}

static void print_interface(FILE *out, const struct lb_change *c)
{
	const struct lb_interface_conf *i = c->ito ? c->ito : c->ifrom;

	fprintf(out, "%c interface %s", sign[c->verb], i->name);
	if (c->verb == LB_ADDED)
		fprintf(out, " (%s)", lb_hook_kind_name(i->hook));
	else if (c->verb == LB_CHANGED)
		fprintf(out, ": hook %s -> %s", lb_hook_kind_name(c->ifrom->hook),
			lb_hook_kind_name(i->hook));
	fputc('\n', out);
}

static void print_defaults(FILE *out, const struct lb_model *a, const struct lb_model *b)
{
	bool first = true;

	fputs("~ defaults", out);
	print_renamed(out, &first, "datapath", lb_datapath_kind_name(a->datapath),
		      lb_datapath_kind_name(b->datapath));
	print_renamed(out, &first, "scheduler", lb_scheduler_name(a->default_scheduler),
		      lb_scheduler_name(b->default_scheduler));
	print_resized(out, &first, a->default_maglev_size, b->default_maglev_size);
	print_timeouts(out, &first, a->timeouts, b->timeouts);
	if (memcmp(&a->limits, &b->limits, sizeof(a->limits)) != 0)
		fprintf(out, "%slimits", comma(&first));
	fputc('\n', out);
}

void lb_diff_print(const struct lb_diff *d, FILE *out)
{
	for (size_t i = 0; i < d->n; i++) {
		const struct lb_change *c = &d->changes[i];

		if (c->kind == LB_CHANGE_SERVICE)
			print_service(out, c);
		else if (c->kind == LB_CHANGE_INTERFACE)
			print_interface(out, c);
		else
			print_defaults(out, d->actual, d->desired);
	}
}
