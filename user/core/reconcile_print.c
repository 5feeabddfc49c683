// SPDX-License-Identifier: GPL-2.0-or-later
/* reconcile_print.c - a difference between two models as text, a line for each object. */

#include "affinity.h"
#include "duration.h"
#include "list.h"
#include "reconcile.h"

#include <string.h>

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

	for (int i = 0; i < LB_TIMEOUTS_NAMED; i++)
		if (from[i] != to[i])
			fprintf(out, "%stimeouts.%s %s -> %s", comma(first), lb_timeout_name(i),
				from[i] ? lb_duration_exact(a, from[i]) : "the instance's",
				to[i] ? lb_duration_exact(b, to[i]) : "the instance's");
}

static void print_affinity(FILE *out, bool *first, const struct lb_service_conf *a,
			   const struct lb_service_conf *b)
{
	char from[LB_AFFINITY_MAX], to[LB_AFFINITY_MAX];

	print_renamed(out, first, "affinity", lb_affinity_str(from, a), lb_affinity_str(to, b));
}

static void print_rate(FILE *out, uint32_t rate)
{
	if (rate)
		fprintf(out, "%u", rate);
	else
		fputs("none", out);
}

static void print_rerated(FILE *out, bool *first, const char *what, uint32_t from, uint32_t to)
{
	if (from == to)
		return;
	fprintf(out, "%srates.%s ", comma(first), what);
	print_rate(out, from);
	fputs(" -> ", out);
	print_rate(out, to);
}

static void print_rates(FILE *out, bool *first, const struct lb_rates_conf *from,
			const struct lb_rates_conf *to)
{
	print_rerated(out, first, "per-cpu", from->per_cpu, to->per_cpu);
	print_rerated(out, first, "per-source", from->per_source, to->per_source);
	print_rerated(out, first, "source-mask", from->source_mask, to->source_mask);
	print_rerated(out, first, "source-mask6", from->source_mask6, to->source_mask6);
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

static bool weight_equal(const struct lb_backend_conf *a, const struct lb_backend_conf *b)
{
	return a->weight == b->weight && a->override == b->override;
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
		fprintf(arg, INSIDE "%c listen %s\n", sign[lb_change_verb_of(from, to)],
			lb_listen_str(text, to ? to : from));
}

static void print_max(FILE *out, const struct lb_backend_conf *a, const struct lb_backend_conf *b)
{
	if (a && a->max_connections != b->max_connections)
		fprintf(out, " max-connections %u -> %u", a->max_connections, b->max_connections);
	else if (!a && b->max_connections)
		fprintf(out, " max-connections %u", b->max_connections);
}

static void print_backend(void *arg, const void *from, const void *to)
{
	const struct lb_backend_conf *a = from, *b = to;
	char text[LB_ENDPOINT_STRLEN];
	FILE *out = arg;

	if (a && b && lb_backend_equal(a, b))
		return;
	fprintf(out, INSIDE "%c %s", sign[lb_change_verb_of(a, b)],
		lb_endpoint_str(text, b ? &b->at : &a->at));
	if (b && (a ? !weight_equal(a, b) : b->weight != 1 || b->override != LB_NO_OVERRIDE)) {
		fputs(" weight ", out);
		if (a) {
			print_weight(out, a);
			fputs(" -> ", out);
		}
		print_weight(out, b);
	}
	if (b)
		print_max(out, a, b);
	fputc('\n', out);
}

static void print_backends(FILE *out, const struct lb_service_conf *a,
			   const struct lb_service_conf *b)
{
	lb_lists_pair(a ? a->backends : NULL, a ? a->n_backends : 0, b->backends, b->n_backends,
		      sizeof(*b->backends), backend_order, print_backend, out);
}

static void print_added(FILE *out, const struct lb_service_conf *s)
{
	char text[LB_ENDPOINT_STRLEN], affinity[LB_AFFINITY_MAX];
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
	if (lb_service_has_affinity(s))
		fprintf(out, "affinity %s, ", lb_affinity_str(affinity, s));
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
	print_affinity(out, &first, a, b);
	print_timeouts(out, &first, a->timeouts, b->timeouts);
	fputc('\n', out);
	lb_lists_pair(a->listens, a->n_listens, b->listens, b->n_listens, sizeof(*b->listens),
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
	print_rates(out, &first, &a->rates, &b->rates);
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
