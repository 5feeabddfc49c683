// SPDX-License-Identifier: GPL-2.0-or-later
/* json.c - output for programs: one object with "schema" and "kind", described in meshlb(8). */
#include <stdio.h>

#include "cli.h"
#include "core/affinity.h"
#include "json.h"

json_t *lb_json_new(const char *kind)
{
	return json_pack("{s:i, s:s}", "schema", LB_JSON_SCHEMA, "kind", kind);
}

int lb_json_print(json_t *object)
{
	json_dumpf(object, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(object);
	return LB_EXIT_DONE;
}

json_t *lb_json_endpoint(const struct lb_endpoint *at)
{
	char buf[LB_ENDPOINT_STRLEN];

	return json_string(lb_endpoint_str(buf, at));
}

json_t *lb_json_counters(const struct lb_counters *c)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "connections", (json_int_t)c->connections,
			 "packets_in", (json_int_t)c->packets[0], "packets_out",
			 (json_int_t)c->packets[1], "bytes_in", (json_int_t)c->bytes[0],
			 "bytes_out", (json_int_t)c->bytes[1]);
}

json_t *lb_json_listens(const struct lb_service_conf *s)
{
	json_t *list = json_array();
	char buf[LB_ENDPOINT_STRLEN];

	for (size_t i = 0; i < s->n_listens; i++)
		json_array_append_new(list, json_string(lb_listen_str(buf, &s->listens[i])));
	return list;
}

json_t *lb_json_backend(const struct lb_backend_conf *b)
{
	json_t *o = json_pack("{s:o, s:I, s:I}", "address", lb_json_endpoint(&b->at), "weight",
			      (json_int_t)lb_backend_weight(b), "configured_weight",
			      (json_int_t)b->weight);

	if (b->max_connections)
		json_object_set_new(o, "max_connections", json_integer(b->max_connections));
	if (b->override != LB_NO_OVERRIDE)
		json_object_set_new(o, "override",
				    json_pack("{s:I, s:I}", "weight", (json_int_t)b->override,
					      "since", (json_int_t)b->override_since));
	return o;
}

/* In seconds. Those that are 0 are left out: a service has the instance's. */
json_t *lb_json_timeouts(const uint32_t timeouts[LB_TIMEOUTS])
{
	json_t *o = json_object();

	for (int i = 0; i < LB_TIMEOUTS_NAMED; i++)
		if (timeouts[i])
			json_object_set_new(o, lb_timeout_name(i), json_integer(timeouts[i]));
	return o;
}

/* Null: it has none. */
json_t *lb_json_affinity(const struct lb_service_conf *s)
{
	const struct lb_affinity_conf *a = &s->affinity;

	if (!lb_service_has_affinity(s))
		return json_null();
	return json_pack("{s:I, s:i, s:i, s:b}", "timeout", (json_int_t)lb_affinity_timeout(s),
			 "mask", a->mask[LB_V4], "mask6", a->mask[LB_V6], "across_ports",
			 a->across_ports);
}

json_t *lb_json_rates(const struct lb_rates_conf *r)
{
	return json_pack("{s:I, s:I, s:I, s:I}", "per_cpu", (json_int_t)r->per_cpu, "per_source",
			 (json_int_t)r->per_source, "source_mask", (json_int_t)r->source_mask,
			 "source_mask6", (json_int_t)r->source_mask6);
}

json_t *lb_json_service(const struct lb_service_conf *s)
{
	json_t *backends = json_array();

	for (size_t i = 0; i < s->n_backends; i++)
		json_array_append_new(backends, lb_json_backend(&s->backends[i]));
	return json_pack("{s:s, s:o, s:s, s:s, s:I, s:s, s:s, s:s, s:o, s:o, s:o}", "name", s->name,
			 "listen", lb_json_listens(s), "source", lb_source_name(s->source),
			 "scheduler", lb_scheduler_name(s->scheduler), "maglev_size",
			 (json_int_t)s->maglev_size, "forwarding",
			 lb_forwarding_name(s->forwarding), "unknown", lb_unknown_name(s->unknown),
			 "on_remove", lb_on_remove_name(s->on_remove), "affinity",
			 lb_json_affinity(s), "timeouts", lb_json_timeouts(s->timeouts), "backends",
			 backends);
}

json_t *lb_json_interface(const struct lb_interface_conf *i)
{
	return json_pack("{s:s, s:s}", "name", i->name, "hook", lb_hook_kind_name(i->hook));
}

json_t *lb_json_defaults(const struct lb_model *m)
{
	return json_pack("{s:s, s:I}", "scheduler", lb_scheduler_name(m->default_scheduler),
			 "maglev_size", (json_int_t)m->default_maglev_size);
}

json_t *lb_json_texts(const struct lb_texts *t)
{
	json_t *list = json_array();

	for (size_t i = 0; i < t->n; i++)
		json_array_append_new(list, json_string(t->list[i]));
	return list;
}

static json_t *or_null(json_t *o)
{
	return o ? o : json_null();
}

static json_t *settings(const struct lb_model *m)
{
	json_t *o = lb_json_defaults(m);

	json_object_set_new(o, "datapath", json_string(lb_datapath_kind_name(m->datapath)));
	json_object_set_new(o, "timeouts", lb_json_timeouts(m->timeouts));
	json_object_set_new(o, "rates", lb_json_rates(&m->rates));
	return o;
}

static json_t *json_change(const struct lb_diff *d, const struct lb_change *c)
{
	static const char *const verbs[] = {
		[LB_ADDED] = "added", [LB_CHANGED] = "changed", [LB_REMOVED] = "removed"};
	static const char *const kinds[] = {[LB_CHANGE_INTERFACE] = "interface",
					    [LB_CHANGE_SERVICE] = "service",
					    [LB_CHANGE_DEFAULTS] = "defaults"};
	const char *name = "defaults";
	json_t *from = NULL, *to = NULL;

	if (c->kind == LB_CHANGE_SERVICE) {
		name = c->to ? c->to->name : c->from->name;
		from = c->from ? lb_json_service(c->from) : NULL;
		to = c->to ? lb_json_service(c->to) : NULL;
	} else if (c->kind == LB_CHANGE_INTERFACE) {
		name = c->ito ? c->ito->name : c->ifrom->name;
		from = c->ifrom ? lb_json_interface(c->ifrom) : NULL;
		to = c->ito ? lb_json_interface(c->ito) : NULL;
	} else {
		from = settings(d->actual);
		to = settings(d->desired);
	}
	return json_pack("{s:s, s:s, s:s, s:o, s:o}", "verb", verbs[c->verb], "object",
			 kinds[c->kind], "name", name, "from", or_null(from), "to", or_null(to));
}

json_t *lb_json_diff(const struct lb_diff *d)
{
	json_t *list = json_array();

	for (size_t i = 0; i < d->n; i++)
		json_array_append_new(list, json_change(d, &d->changes[i]));
	return list;
}
