// SPDX-License-Identifier: GPL-2.0-or-later
/* cmd_version.c - `meshlb version`. */
#include <stdio.h>

#include "cli.h"
#include "json.h"

int lb_cmd_version(struct lb_cli *cli)
{
	json_t *o;

	if (!cli->json) {
		printf("meshlb " LB_VERSION " (maps' ABI %d)\n", LB_ABI_VERSION);
		return LB_EXIT_DONE;
	}
	o = lb_json_new("version");
	json_object_set_new(o, "version", json_string(LB_VERSION));
	json_object_set_new(o, "abi", json_integer(LB_ABI_VERSION));
	return lb_json_print(o);
}
