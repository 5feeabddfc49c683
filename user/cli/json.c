// SPDX-License-Identifier: GPL-2.0-or-later
/* json.c - output for programs: one object with "schema" and "kind", described in meshlb(8). */
#include <stdio.h>

#include "cli.h"
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

	if (b->override != LB_NO_OVERRIDE)
		json_object_set_new(o, "override",
				    json_pack("{s:I, s:I}", "weight", (json_int_t)b->override,
					      "since", (json_int_t)b->override_since));
	return o;
}

json_t *lb_json_texts(const struct lb_texts *t)
{
	json_t *list = json_array();

	for (size_t i = 0; i < t->n; i++)
		json_array_append_new(list, json_string(t->list[i]));
	return list;
}

static json_t *json_change(const struct lb_change *c)
{
	static const char *const verbs[] = {
		[LB_ADDED] = "added", [LB_CHANGED] = "changed", [LB_REMOVED] = "removed"};
	static const char *const kinds[] = {[LB_CHANGE_INTERFACE] = "interface",
					    [LB_CHANGE_SERVICE] = "service",
					    [LB_CHANGE_DEFAULTS] = "defaults"};
	const char *name = "defaults";

	if (c->kind == LB_CHANGE_SERVICE)
		name = c->to ? c->to->name : c->from->name;
	else if (c->kind == LB_CHANGE_INTERFACE)
		name = c->ito ? c->ito->name : c->ifrom->name;
	return json_pack("{s:s, s:s, s:s}", "verb", verbs[c->verb], "object", kinds[c->kind],
			 "name", name);
}

json_t *lb_json_diff(const struct lb_diff *d)
{
	json_t *list = json_array();

	for (size_t i = 0; i < d->n; i++)
		json_array_append_new(list, json_change(&d->changes[i]));
	return list;
}
