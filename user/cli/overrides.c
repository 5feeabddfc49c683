// SPDX-License-Identifier: GPL-2.0-or-later
/* overrides.c - the weights that were set by hand, as a table and as JSON. */
#include "json.h"
#include "overrides.h"
#include "table.h"
#include "text.h"

typedef void (*override_fn)(void *arg, const struct lb_service_conf *s,
			    const struct lb_backend_conf *b);

static void for_each(const struct lb_model *m, override_fn fn, void *arg)
{
	for (size_t i = 0; i < m->n_services; i++) {
		const struct lb_service_conf *s = &m->services[i];

		for (size_t j = 0; j < s->n_backends; j++)
			if (s->backends[j].override != LB_NO_OVERRIDE)
				fn(arg, s, &s->backends[j]);
	}
}

static void add_row(void *table, const struct lb_service_conf *s, const struct lb_backend_conf *b)
{
	char address[LB_ENDPOINT_STRLEN], age[LB_TEXT_MAX];

	lb_table_add(table, "%s", s->name);
	lb_table_add(table, "%s", lb_endpoint_str(address, &b->at));
	if (b->override)
		lb_table_add(table, "weight %u", b->override);
	else
		lb_table_add(table, "drained");
	lb_table_add(table, "%u", b->weight);
	lb_table_add(table, "%s", lb_age_str(age, b->override_since));
}

void lb_overrides_print(const struct lb_model *m, FILE *out)
{
	struct lb_table t = LB_TABLE("SERVICE", "BACKEND", "BY HAND", ">CONFIGURED", "SINCE");

	for_each(m, add_row, &t);
	if (t.n) {
		fprintf(out, "\noverrides (`meshlb backend undrain` ends one):\n");
		lb_table_print(&t, out);
	}
	lb_table_free(&t);
}

static void add_json(void *list, const struct lb_service_conf *s, const struct lb_backend_conf *b)
{
	json_t *o = lb_json_backend(b);

	json_object_set_new(o, "service", json_string(s->name));
	json_array_append_new(list, o);
}

json_t *lb_json_overrides(const struct lb_model *m)
{
	json_t *list = json_array();

	for_each(m, add_json, list);
	return list;
}
