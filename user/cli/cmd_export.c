// SPDX-License-Identifier: GPL-2.0-or-later
/* cmd_export.c - `meshlb export`: the running state as a config. */
#include <stdio.h>

#include "cli.h"
#include "json.h"

static json_t *service_json(const struct lb_service_conf *s)
{
	json_t *backends = json_array();

	for (size_t i = 0; i < s->n_backends; i++)
		json_array_append_new(backends, lb_json_backend(&s->backends[i]));
	return json_pack("{s:s, s:o, s:s, s:s, s:I, s:o}", "name", s->name, "listen",
			 lb_json_listens(s), "source", lb_source_name(s->source), "scheduler",
			 lb_scheduler_name(s->scheduler), "maglev_size", (json_int_t)s->maglev_size,
			 "backends", backends);
}

static int export_json(const struct lb_model *m)
{
	json_t *o = lb_json_new("export"), *interfaces = json_array(), *services = json_array();
	const struct lb_limits *l = &m->limits;

	for (size_t i = 0; i < m->n_interfaces; i++)
		json_array_append_new(interfaces,
				      json_pack("{s:s, s:s}", "name", m->interfaces[i].name, "hook",
						lb_hook_kind_name(m->interfaces[i].hook)));
	for (size_t i = 0; i < m->n_services; i++)
		json_array_append_new(services, service_json(&m->services[i]));
	json_object_set_new(o, "datapath", json_string(lb_datapath_kind_name(m->datapath)));
	json_object_set_new(o, "interfaces", interfaces);
	json_object_set_new(o, "limits",
			    json_pack("{s:I, s:I, s:I, s:I, s:I}", "connections",
				      (json_int_t)l->connections, "connections6",
				      (json_int_t)l->connections6, "services",
				      (json_int_t)l->services, "backends", (json_int_t)l->backends,
				      "ring_slots", (json_int_t)l->ring_slots));
	json_object_set_new(o, "defaults",
			    json_pack("{s:s, s:I}", "scheduler",
				      lb_scheduler_name(m->default_scheduler), "maglev_size",
				      (json_int_t)m->default_maglev_size));
	json_object_set_new(o, "services", services);
	return lb_json_print(o);
}

int lb_cmd_export(struct lb_cli *cli)
{
	struct lb_session s;
	int code = LB_EXIT_DONE;

	if (lb_session_start(&s, cli, LB_READ))
		return LB_EXIT_FAILED;
	if (cli->json)
		code = export_json(&s.model);
	else if (lb_config_write(&s.model, stdout))
		code = LB_EXIT_FAILED; /* main() says that writing failed */
	lb_session_close(&s);
	return code;
}
