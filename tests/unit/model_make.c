// SPDX-License-Identifier: GPL-2.0-or-later
/* model_make.c - models made line by line in tests. */

#include "model_make.h"

#include <stdlib.h>
#include <string.h>

static void need(bool condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "test: cannot make or find \"%s\"\n", what);
	abort();
}

struct lb_service_conf *make_service(struct lb_model *m, const char *name, enum lb_source source)
{
	struct lb_service_conf *s = lb_model_add_service(m);

	need(s, name);
	snprintf(s->name, sizeof(s->name), "%s", name);
	s->source = (uint8_t)source;
	s->scheduler = LB_SCHED_RR;
	s->unknown = LB_UNKNOWN_RESET;
	s->maglev_size = LB_MAGLEV_SIZE_DEFAULT;
	return s;
}

void make_listen(struct lb_service_conf *s, const char *text)
{
	struct lb_listen *l = lb_service_add_listen(s);
	const char *why;

	need(l && !lb_listen_parse(l, text, &why), text);
}

struct lb_backend_conf *make_backend(struct lb_service_conf *s, const char *text, uint32_t weight)
{
	struct lb_backend_conf *b = lb_service_add_backend(s);
	const char *why;

	need(b && !lb_endpoint_parse(&b->at, text, &why), text);
	b->weight = weight;
	return b;
}

void make_interface(struct lb_model *m, const char *name, enum lb_hook_kind hook)
{
	struct lb_interface_conf *i = lb_model_add_interface(m);

	need(i, name);
	snprintf(i->name, sizeof(i->name), "%s", name);
	i->hook = (uint8_t)hook;
}

struct lb_service_conf *the_service(struct lb_model *m, const char *name)
{
	struct lb_service_conf *s = lb_model_find_service(m, name);

	need(s, name);
	return s;
}

void remove_service(struct lb_model *m, const char *name)
{
	lb_model_remove_service(m, (size_t)(the_service(m, name) - m->services));
}

void remove_interface(struct lb_model *m, const char *name)
{
	size_t i = 0;

	while (i < m->n_interfaces && strcmp(m->interfaces[i].name, name) != 0)
		i++;
	need(i < m->n_interfaces, name);
	m->interfaces[i] = m->interfaces[--m->n_interfaces];
	lb_model_sort(m);
}
