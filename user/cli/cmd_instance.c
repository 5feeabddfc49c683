// SPDX-License-Identifier: GPL-2.0-or-later
/* cmd_instance.c - `meshlb instance ls`: all instances on this host, whoever may work on them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "json.h"
#include "table.h"
#include "text.h"

struct instance {
	const char *name, *state;
	struct lb_model model;
};

static void add_name(void *list, const char *name)
{
	struct lb_texts *names = list;

	for (size_t i = 0; i < names->n; i++)
		if (!strcmp(names->list[i], name)) /* on two datapaths: a change was interrupted */
			return;
	lb_texts_add(names, "%s", name);
}

/* A host that cannot have instances of a datapath has none; who may not look does not know. */
static int list_names(struct lb_texts *names, struct lb_err *err)
{
	int ret = 0;

	for (size_t i = 0; lb_datapaths[i]; i++) {
		int one = lb_datapaths[i]->list(add_name, names, err);

		if (one == -EPERM || one == -EACCES)
			return one;
		ret = i ? ret && one ? one : 0 : one;
	}
	return ret;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void look(struct instance *i, const char *name)
{
	struct lb_session s;
	struct lb_err err;
	int ret = lb_session_open(&s, name, LB_READ, false, &err);

	*i = (struct instance){.name = name, .state = "ok"};
	if (!ret && !lb_model_copy(&i->model, &s.model))
		lb_session_close(&s);
	else if (ret == -EXDEV)
		i->state = "of another network namespace";
	else if (ret == -ESTALE)
		i->state = "of another version of meshlb";
	else
		i->state = "half made or damaged";
}

static char *interfaces_text(const struct lb_model *m, char *buf, size_t size)
{
	size_t len = 0;

	snprintf(buf, size, "-");
	for (size_t i = 0; i < m->n_interfaces && len < size; i++)
		len += snprintf(buf + len, size - len, "%s%s", i ? " " : "", m->interfaces[i].name);
	return buf;
}

static int print_json(const struct instance *list, size_t n)
{
	json_t *o = lb_json_new("instances"), *instances = json_array();

	for (size_t i = 0; i < n; i++) {
		json_t *names = json_array();

		for (size_t j = 0; j < list[i].model.n_interfaces; j++)
			json_array_append_new(names, json_string(list[i].model.interfaces[j].name));
		json_array_append_new(instances,
				      json_pack("{s:s, s:s, s:I, s:o}", "name", list[i].name,
						"state", list[i].state, "services",
						(json_int_t)list[i].model.n_services, "interfaces",
						names));
	}
	json_object_set_new(o, "instances", instances);
	return lb_json_print(o);
}

static int print_text(const struct instance *list, size_t n)
{
	struct lb_table t = LB_TABLE("INSTANCE", ">SERVICES", "INTERFACES", "STATE");
	char text[128];

	for (size_t i = 0; i < n; i++) {
		lb_table_add(&t, "%s", list[i].name);
		lb_table_add(&t, "%zu", list[i].model.n_services);
		lb_table_add(&t, "%s", interfaces_text(&list[i].model, text, sizeof(text)));
		lb_table_add(&t, "%s", list[i].state);
	}
	lb_table_print(&t, stdout);
	lb_table_free(&t);
	return LB_EXIT_DONE;
}

int lb_cmd_instance_ls(struct lb_cli *cli)
{
	struct lb_texts names = {};
	struct instance *list;
	struct lb_err err;
	int code = LB_EXIT_FAILED;

	if (list_names(&names, &err)) {
		lb_error("%s", err.text);
		goto out;
	}
	list = calloc(names.n + 1, sizeof(*list));
	if (!list) {
		lb_error("no memory");
		goto out;
	}
	if (names.n)
		qsort(names.list, names.n, sizeof(*names.list), by_name);
	for (size_t i = 0; i < names.n; i++)
		look(&list[i], names.list[i]);
	code = cli->json ? print_json(list, names.n) : print_text(list, names.n);
	for (size_t i = 0; i < names.n; i++)
		lb_model_free(&list[i].model);
	free(list);
out:
	lb_texts_free(&names);
	return code;
}
