// SPDX-License-Identifier: GPL-2.0-or-later
/* cmd_apply.c - `meshlb apply`: makes the kernel match a config, whole or not at all. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "cli.h"
#include "fit.h"
#include "instance.h"
#include "json.h"
#include "preflight.h"
#include "rollback.h"

struct apply {
	const struct lb_cli *cli;
	struct lb_instance on; /* on.s.dp NULL: a dry run without an instance */
	struct lb_model desired;
	struct lb_diff diff;      /* to be applied */
	struct lb_diff moved;     /* to be shown where on.n_others: what differs from there */
	struct lb_texts findings; /* below the model: what is, or in a dry run would be, repaired */
	struct lb_texts skipped;  /* what the datapath cannot do, with --best-effort */
	bool armed;               /* a process will go back */
	bool passed_over;         /* `auto` has told what it would rather have had */
	bool partly;              /* the change is made, but not all that goes with it */
};

static void add_finding(void *findings, const char *text)
{
	lb_texts_add(findings, "%s", text);
}

static int load(struct apply *a, struct lb_err *err)
{
	int ret = lb_config_load(&a->desired, a->cli->file, err);

	if (!ret)
		ret = lb_preflight_interfaces(&a->desired, lb_file_name(a->cli), err);
	return ret;
}

/* With the lock held: no other apply can begin to wait after we have looked. */
static int refuse_while_pending(const char *instance, struct lb_err *err)
{
	char left[LB_TEXT_MAX], at[LB_TEXT_MAX];
	uint64_t now = time(NULL);
	struct lb_pending p;
	int ret = lb_pending_read(instance, &p, err);

	if (ret)
		return ret == -ENOENT ? 0 : ret;
	if (p.state == LB_PENDING_WAITING)
		return lb_err_set(
			err, EBUSY,
			"instance \"%s\": the last change waits for `meshlb confirm` until %s (%s "
			"from now): confirm it, or wait until it is undone",
			instance, lb_time_str(at, p.deadline),
			lb_duration_str(left, p.deadline > now ? p.deadline - now : 0));
	if (p.state == LB_PENDING_FAILED)
		lb_warn("instance \"%s\": an earlier change was not confirmed, and going back to "
			"\"%s\" failed: %s",
			instance, *p.before ? p.before : "no instance", p.why);
	else if (p.state == LB_PENDING_LOST)
		lb_warn("instance \"%s\": an earlier change was never confirmed, and the process "
			"that was to go back to \"%s\" is gone%s%s",
			instance, *p.before ? p.before : "no instance", *p.why ? ": " : "", p.why);
	return 0;
}

/* Whose a program is that holds a hook fit() tells, with the instance open: it may be a half-made
 * one's. */
static int choose(struct apply *a, const struct lb_dp_ops **ops, struct lb_err *err)
{
	const struct lb_cli *cli = a->cli;
	const struct lb_fit f = {.file = lb_file_name(cli), .force = true};
	struct lb_choice c = {
		.best_effort = cli->best_effort, .probe = true, .instance = cli->instance};
	int ret = lb_fit_choose(&f, &a->desired, &c, err);

	*ops = c.ops;
	a->passed_over = *c.why;
	if (!ret && *c.why)
		lb_info("datapath %s: %s", c.ops->name, c.why);
	return ret;
}

static void skip(void *skipped, const char *text)
{
	lb_warn("left out: %s", text);
	lb_texts_add(skipped, "%s", text);
}

/* What the datapath cannot do is refused, or left out. */
static int fit(struct apply *a, struct lb_err *err)
{
	const struct lb_fit f = {.file = lb_file_name(a->cli),
				 .standing = &a->on.s,
				 .force = a->cli->force,
				 .probe = true};

	if (a->cli->best_effort)
		return lb_fit_cut(&f, &a->desired, a->on.s.ops, skip, &a->skipped, err);
	return lb_fit_check(&f, &a->desired, a->on.s.ops, err);
}

static int compare(struct apply *a, struct lb_err *err)
{
	int ret = 0;

	if (!a->cli->reset_overrides)
		lb_overrides_carry(&a->desired, &lb_instance_served(&a->on)->model);
	lb_instance_take_over(&a->on, &a->desired);
	if (a->on.n_others) {
		/* Limits are what maps were made for: on another datapath they may be others. */
		a->on.others->model.limits_free = true;
		ret = lb_diff_make(&a->moved, &a->on.others->model, &a->desired, LB_SOURCE_FILE,
				   err);
	}
	if (!ret)
		ret = lb_diff_make(&a->diff, &a->on.s.model, &a->desired, LB_SOURCE_FILE, err);
	for (size_t i = 0; i < a->on.n_parts; i++)
		lb_texts_add(&a->findings, "datapath %s: " LB_LEFT_BEHIND, a->on.parts[i].ops->name,
			     "a part of the instance");
	if (!ret && a->cli->dry_run && a->on.s.dp) /* else apply() looks */
		ret = a->on.s.ops->audit(a->on.s.dp, &a->on.s.model, add_finding, &a->findings,
					 err);
	return ret < 0 ? ret : 0;
}

static int warn(const struct apply *a, struct lb_err *err)
{
	struct lb_texts warnings = {};
	const char *file = lb_file_name(a->cli);
	int ret;

	ret = lb_preflight(&a->desired, &a->diff, a->on.s.ops, file, a->cli->force, &warnings, err);
	for (size_t i = 0; i < warnings.n; i++)
		lb_warn("%s", warnings.list[i]);
	lb_texts_free(&warnings);
	if (!ret && a->diff.n)
		lb_others_warn(a->cli->instance, a->on.s.dp ? a->on.s.ops : NULL, &a->desired);
	return ret;
}

/* Where the instance is before the change; NULL: nowhere. */
static const struct lb_session *standing(const struct apply *a)
{
	const struct lb_session *s = lb_instance_served(&a->on);

	return s == &a->on.s && a->on.fresh ? NULL : s;
}

static int commit(struct apply *a, struct lb_err *err)
{
	const struct lb_session *stands = standing(a);
	const struct lb_cli *cli = a->cli;
	const struct lb_rollback rollback = {
		.instance = cli->instance,
		.old = stands ? &stands->model : NULL,
		.ops = stands ? stands->ops : NULL,
		.forced = cli->force ? &a->desired : NULL,
		.reset = cli->reset_overrides,
		.seconds = cli->confirm_timeout,
	};
	int ret = 0;

	if (cli->confirm_timeout && stands && stands->model.lost)
		return lb_err_set(err, EINVAL,
				  "--confirm-timeout: what to go back to nobody knows: apply "
				  "without it");
	if (cli->confirm_timeout && (a->diff.n || a->on.fresh || a->on.n_others)) {
		ret = lb_rollback_arm(&rollback, err);
		a->armed = !ret;
	}
	if (!ret)
		ret = a->on.s.ops->apply(a->on.s.dp, &a->diff, add_finding, &a->findings, err);
	a->partly = ret > 0;
	if (ret >= 0 && (a->on.n_others || a->on.n_parts)) {
		ret = lb_instance_leave(&a->on, &a->desired, err);
		a->partly |= ret != 0;
	}
	ret = ret > 0 ? 0 : ret;
	if (!ret && !a->armed) /* what became of an earlier one is of no interest any more */
		lb_pending_forget(cli->instance);
	return ret;
}

/* As a user sees it: against what stands, on whichever datapath. */
static const struct lb_diff *shown(const struct apply *a)
{
	return a->on.n_others ? &a->moved : &a->diff;
}

static void print_json(const struct apply *a)
{
	json_t *o = lb_json_new("apply");
	size_t added, changed, removed;

	lb_diff_count(shown(a), &added, &changed, &removed);
	json_object_set_new(o, "instance", json_string(a->cli->instance));
	json_object_set_new(o, "datapath", json_string(a->on.s.ops->name));
	json_object_set_new(o, "datapath_before",
			    a->on.n_others ? json_string(a->on.others->ops->name) : json_null());
	json_object_set_new(o, "dry_run", json_boolean(a->cli->dry_run));
	json_object_set_new(o, "added", json_integer(added));
	json_object_set_new(o, "changed", json_integer(changed));
	json_object_set_new(o, "removed", json_integer(removed));
	json_object_set_new(o, "repaired", json_integer(a->cli->dry_run ? 0 : a->findings.n));
	json_object_set_new(o, "changes", lb_json_diff(shown(a)));
	json_object_set_new(o, "findings", lb_json_texts(&a->findings));
	json_object_set_new(o, "skipped", lb_json_texts(&a->skipped));
	if (a->armed)
		json_object_set_new(o, "confirm_within", json_integer(a->cli->confirm_timeout));
	lb_json_print(o);
}

static void print_text(const struct apply *a)
{
	bool dry = a->cli->dry_run;

	if (a->on.n_others)
		printf("~ datapath %s -> %s\n", a->on.others->ops->name, a->on.s.ops->name);
	lb_diff_print(shown(a), stdout);
	for (size_t i = 0; i < a->findings.n; i++)
		printf("%s: %s\n", dry ? "to repair" : "repaired", a->findings.list[i]);
	if (!a->diff.n && !a->findings.n && !a->on.n_others)
		printf("no difference\n");
	if (a->cli->confirm_timeout && !a->armed && !dry)
		printf("nothing waits for `meshlb confirm`: %s\n",
		       a->findings.n ? "repairs are not undone" : "nothing was changed");
}

/* Last, for our output may have been held up beyond the time. */
static int tell_confirm(const struct apply *a)
{
	const struct lb_cli *cli = a->cli;
	struct lb_pending p;
	struct lb_err err;

	fflush(stdout);
	if (!a->armed || lb_pending_read(cli->instance, &p, &err)) /* confirmed already */
		return LB_EXIT_DONE;
	if (p.state == LB_PENDING_UNDONE) {
		lb_error("instance \"%s\": not confirmed within %" PRIu32 " s: it has been undone",
			 cli->instance, cli->confirm_timeout);
		return LB_EXIT_FAILED;
	}
	if (!cli->json)
		lb_info("`meshlb confirm --instance %s` within %" PRIu32
			" s keeps it, else it is undone",
			cli->instance, cli->confirm_timeout);
	return LB_EXIT_DONE;
}

static void print(const struct apply *a)
{
	if (a->cli->json)
		print_json(a);
	else if (!lb_log_quiet)
		print_text(a);
}

static int run(struct apply *a, struct lb_err *err)
{
	const struct lb_cli *cli = a->cli;
	const struct lb_instance_options opt = {
		.name = cli->instance,
		.access = cli->dry_run ? LB_READ : LB_WRITE,
		.force = cli->force,
		.desired = &a->desired,
		.file = lb_file_name(cli),
	};
	const struct lb_dp_ops *ops;
	int ret = load(a, err);
	char why[96];

	if (!ret)
		ret = choose(a, &ops, err);
	if (!ret)
		ret = lb_instance_open(&a->on, ops, &opt, err);
	if (!ret && a->on.fresh && !a->passed_over)
		lb_info("datapath %s: %s", lb_datapath_kind_name(a->desired.datapath),
			lb_choice_why(why, &a->desired, ops));
	if (!ret && !cli->dry_run)
		ret = refuse_while_pending(cli->instance, err);
	if (!ret)
		ret = fit(a, err);
	if (!ret)
		ret = compare(a, err);
	if (!ret)
		ret = warn(a, err);
	if (!ret && !cli->dry_run)
		ret = commit(a, err);
	return ret;
}

int lb_cmd_apply(struct lb_cli *cli)
{
	struct apply a = {.cli = cli};
	struct lb_err err, ignored;
	struct lb_pending pending;
	int ret = run(&a, &err);
	int code = LB_EXIT_DONE;

	/* Who reads our output may do so late or never: nobody must wait for the lock meanwhile,
	 * least of all what goes back where nobody confirms. */
	lb_instance_release(&a.on);
	if (ret) {
		lb_error("%s", err.text);
		code = a.partly ? LB_EXIT_PARTLY : LB_EXIT_FAILED;
	} else {
		cli->changed =
			!cli->dry_run && (a.diff.n || a.findings.n || a.on.fresh || a.on.n_others);
		print(&a);
		code = tell_confirm(&a);
		if (a.partly && code == LB_EXIT_DONE)
			code = LB_EXIT_PARTLY;
		if (cli->dry_run && (a.diff.n || a.findings.n || a.on.n_others))
			code = LB_EXIT_DIFFERENT;
	}
	lb_diff_free(&a.diff);
	lb_diff_free(&a.moved);
	lb_instance_close(&a.on);
	if (ret && a.armed && !a.partly)
		lb_rollback_cancel(cli->instance, &pending, &ignored);
	lb_model_free(&a.desired);
	lb_texts_free(&a.findings);
	lb_texts_free(&a.skipped);
	return code;
}
