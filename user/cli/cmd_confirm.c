// SPDX-License-Identifier: GPL-2.0-or-later
/* cmd_confirm.c - `meshlb confirm`: keeps what `apply --confirm-timeout` did. */
#include <errno.h>

#include "cli.h"
#include "json.h"
#include "rollback.h"

int lb_cmd_confirm(struct lb_cli *cli)
{
	struct lb_err err;
	int ret = lb_rollback_cancel(cli->instance, &err);
	json_t *o;

	if (ret == -ENOENT)
		lb_error("instance \"%s\": nothing to confirm: no change waits, or it has been "
			 "undone",
			 cli->instance);
	else if (ret)
		lb_error("%s", err.text);
	if (ret)
		return LB_EXIT_FAILED;
	if (!cli->json) {
		lb_info("instance \"%s\": confirmed", cli->instance);
		return LB_EXIT_DONE;
	}
	o = lb_json_new("confirm");
	json_object_set_new(o, "instance", json_string(cli->instance));
	return lb_json_print(o);
}
