// SPDX-License-Identifier: GPL-2.0-or-later
/* cmd_confirm.c - `meshlb confirm`: keeps what `apply --confirm-timeout` did. */
#include <errno.h>

#include "cli.h"
#include "json.h"
#include "rollback.h"

/* Says so where there is none. */
static bool is_there(const struct lb_cli *cli)
{
	struct lb_session s;

	if (lb_session_start(&s, cli, LB_READ))
		return false;
	lb_session_close(&s);
	return true;
}

int lb_cmd_confirm(struct lb_cli *cli)
{
	struct lb_pending p;
	struct lb_err err;
	char at[LB_TEXT_MAX];
	json_t *o;
	int ret;

	ret = lb_rollback_cancel(cli->instance, &p, &err);
	/* Where nothing waits, what was applied last is kept: unless there is no instance. */
	if (ret == -ENOENT && !is_there(cli))
		return LB_EXIT_FAILED;
	if (ret == -ECANCELED)
		lb_error("instance \"%s\": too late: the change was undone at %s", cli->instance,
			 lb_time_str(at, p.deadline));
	else if (ret && ret != -ENOENT)
		lb_error("%s", err.text);
	if (ret && ret != -ENOENT)
		return LB_EXIT_FAILED;
	if (!cli->json) {
		lb_info("instance \"%s\": %s", cli->instance,
			ret ? "no change waits: what was applied is kept" : "confirmed");
		return LB_EXIT_DONE;
	}
	o = lb_json_new("confirm");
	json_object_set_new(o, "instance", json_string(cli->instance));
	json_object_set_new(o, "waited", json_boolean(!ret));
	return lb_json_print(o);
}
