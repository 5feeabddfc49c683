// SPDX-License-Identifier: GPL-2.0-or-later
/* cmd_down.c - `meshlb down`: takes everything of an instance out of the kernel. */
#include <errno.h>

#include "cli.h"
#include "json.h"
#include "rollback.h"

/* By hand, not by lb_session_open(): what cannot be read any more must be removable. */
static int bring_down_on(const struct lb_dp_ops *ops, const struct lb_cli *cli, struct lb_err *err)
{
	const struct lb_dp_options opt = {
		.instance = cli->instance, .write = true, .force = cli->force};
	struct lb_dp *dp = NULL;
	int ret = ops->open(&dp, &opt, err);

	if (!dp) /* an instance of another ABI or namespace gives a handle and an error */
		return ret;
	return ops->down(dp, false, err);
}

/* No instance of ours, unless there is no other: a table of somebody else's by our name, or one of
 * another network namespace. */
static bool is_others(int ret)
{
	return ret == -EEXIST || ret == -EXDEV;
}

/* On every datapath: where a change of it was interrupted there are two. */
static int bring_down_once(const struct lb_cli *cli, bool *removed, struct lb_err *err)
{
	struct lb_err one;
	int ret = -ENOENT;

	*removed = false;
	for (size_t i = 0; lb_datapaths[i]; i++) {
		int this = bring_down_on(lb_datapaths[i], cli, &one);

		*removed |= this >= 0;
		if (!this || this == -ENOENT || (ret != -ENOENT && !is_others(ret)))
			continue;
		ret = this;
		*err = one;
	}
	if (!*removed || (ret != -ENOENT && !is_others(ret)))
		return ret;
	if (ret == -EEXIST) /* it goes on with what it does */
		lb_warn("%s", err->text);
	return 0;
}

static int bring_down(const struct lb_cli *cli, bool *removed, struct lb_err *err)
{
	int ret = bring_down_once(cli, removed, err);

	/* While we waited for one's lock it may have gone to another, where we had looked before.
	 */
	return ret == -ENOENT ? bring_down_once(cli, removed, err) : ret;
}

/* After the instance, without its lock: the process that waits makes none that is nowhere. */
static void pending_remove(const char *instance)
{
	struct lb_pending pending;
	struct lb_err ignored;

	if (!lb_rollback_cancel(instance, &pending, &ignored) &&
	    pending.state == LB_PENDING_WAITING)
		lb_info("instance \"%s\": the change that waited for `meshlb confirm` goes too",
			instance);
	lb_pending_remove(instance);
}

int lb_cmd_down(struct lb_cli *cli)
{
	struct lb_err err;
	bool removed;
	int ret = bring_down(cli, &removed, &err);
	bool failed = ret && ret != -ENOENT;
	json_t *o;

	if (failed)
		lb_error("%s", err.text);
	if (failed && !removed)
		return LB_EXIT_FAILED;
	cli->changed = true;
	pending_remove(cli->instance);
	if (failed)
		return LB_EXIT_PARTLY;
	if (!cli->json) {
		lb_info("instance \"%s\": %s", cli->instance, ret ? "there is none" : "removed");
		return LB_EXIT_DONE;
	}
	o = lb_json_new("down");
	json_object_set_new(o, "instance", json_string(cli->instance));
	json_object_set_new(o, "removed", json_boolean(!ret));
	return lb_json_print(o);
}
