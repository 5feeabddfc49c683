// SPDX-License-Identifier: GPL-2.0-or-later
/* cmd_export.c - `meshlb export`: the running state as a config. */
#include <stdio.h>

#include "cli.h"
#include "json.h"

static int export_json(const struct lb_model *m)
{
	json_t *o = lb_json_new("export"), *interfaces = json_array(), *services = json_array();
	const struct lb_limits *l = &m->limits;

	for (size_t i = 0; i < m->n_interfaces; i++)
		json_array_append_new(interfaces, lb_json_interface(&m->interfaces[i]));
	for (size_t i = 0; i < m->n_services; i++)
		json_array_append_new(services, lb_json_service(&m->services[i]));
	json_object_set_new(o, "datapath", json_string(lb_datapath_kind_name(m->datapath)));
	json_object_set_new(o, "interfaces", interfaces);
	json_object_set_new(o, "limits",
			    json_pack("{s:I, s:I, s:I, s:I, s:I}", "connections",
				      (json_int_t)l->connections, "connections6",
				      (json_int_t)l->connections6, "services",
				      (json_int_t)l->services, "backends", (json_int_t)l->backends,
				      "ring_slots", (json_int_t)l->ring_slots));
	json_object_set_new(o, "defaults", lb_json_defaults(m));
	json_object_set_new(o, "timeouts", lb_json_timeouts(m->timeouts));
	json_object_set_new(o, "rates", lb_json_rates(&m->rates));
	json_object_set_new(o, "services", services);
	return lb_json_print(o);
}

static int export(const struct lb_cli *cli, const struct lb_model *m)
{
	if (m->lost) { /* opening it has warned of that */
		lb_error("instance \"%s\": what it serves nobody knows: nothing is exported",
			 cli->instance);
		return LB_EXIT_FAILED;
	}
	if (cli->json)
		return export_json(m);
	return lb_config_write(m, stdout) ? LB_EXIT_FAILED /* main() says that writing failed */
					  : LB_EXIT_DONE;
}

int lb_cmd_export(struct lb_cli *cli)
{
	struct lb_session s;
	int code;

	if (lb_session_start(&s, cli, LB_READ))
		return LB_EXIT_FAILED;
	code = export(cli, &s.model);
	lb_session_close(&s);
	return code;
}
