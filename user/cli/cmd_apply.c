// SPDX-License-Identifier: GPL-2.0-or-later
/* cmd_apply.c - `meshlb apply`: makes the kernel match a config, whole or not at all. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "cli.h"
#include "datapath/fit.h"
#include "json.h"
#include "preflight.h"
#include "rollback.h"

struct apply {
	const struct lb_cli *cli;
	struct lb_session s; /* s.dp NULL: a dry run without an instance */
	/* The instance on other datapaths, which it leaves; of more than one, which a killed apply
	 * has left, the first is shown. */
	struct lb_session others[LB_DATAPATHS];
	size_t n_others;
	bool fresh; /* there was no instance, on this datapath */
	struct lb_model desired;
	struct lb_diff diff;      /* to be applied */
	struct lb_diff moved;     /* to be shown where n_others: what differs from there */
	struct lb_texts findings; /* below the model: what is, or in a dry run would be, repaired */
	struct lb_texts skipped;  /* what the datapath cannot do, with --best-effort */
	bool armed;               /* a process will go back */
	bool partly;              /* the change is made, but another could not be removed */
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

/* Of what is made anew, limits and defaults are as the config wants: no difference to tell of. */
static void take_over_settings(struct apply *a)
{
	a->s.model.datapath = a->desired.datapath;
	a->s.model.limits = a->desired.limits;
	a->s.model.default_scheduler = a->desired.default_scheduler;
	a->s.model.default_maglev_size = a->desired.default_maglev_size;
}

/*
 * Made before the rest is known to be good: so another apply that wanted to make it too waits for
 * this one. Closing it unapplied removes it again.
 */
static int create_instance(struct apply *a, struct lb_err *err)
{
	const struct lb_dp_options opt = {
		.instance = a->cli->instance, .write = true, .force = a->cli->force};
	const char *file = lb_file_name(a->cli);
	bool maps = a->s.ops->has_programs;
	int ret = maps ? lb_preflight_memory(&a->desired, false, file, err) : 0;

	if (!ret)
		ret = a->s.ops->create(&a->s.dp, &opt, &a->desired, err);
	if (ret == -ENOMEM && maps)
		lb_preflight_memory(&a->desired, true, file, err);
	if (!ret)
		ret = lb_session_read(&a->s, err);
	/* Unless another apply has been faster. */
	a->fresh = !ret && !a->s.model.n_services && !a->s.model.n_interfaces;
	if (a->fresh)
		take_over_settings(a);
	return ret;
}

static int open_on(struct apply *a, const struct lb_dp_ops *ops, struct lb_err *err)
{
	const struct lb_cli *cli = a->cli;
	enum lb_access access = cli->dry_run ? LB_READ : LB_WRITE;
	int ret = lb_session_open_on(&a->s, ops, cli->instance, access, cli->force, err);

	if (ret != -ENOENT)
		return ret;
	if (!cli->dry_run)
		return create_instance(a, err);
	lb_model_init(&a->s.model);
	take_over_settings(a);
	return ops->has_programs ? lb_preflight_memory(&a->desired, false, lb_file_name(cli), err)
				 : 0;
}

/* Where this kernel has no nftables, or no bpffs is mounted, there is nothing of ours. But an
 * instance that may not be opened would stay in front. */
static int open_other(struct apply *a, const struct lb_dp_ops *ops, struct lb_err *err)
{
	struct lb_session *other = &a->others[a->n_others];
	const struct lb_cli *cli = a->cli;
	enum lb_access access = cli->dry_run ? LB_READ : LB_WRITE;
	int ret = lb_session_open_on(other, ops, cli->instance, access, cli->force, err);

	if (!ret)
		a->n_others++;
	if (!ops->has_programs)
		return ret == -ESTALE ? ret : 0;
	return ret == -ENOENT || ret == -ENODEV ? 0 : ret;
}

/* In the order of all, so that no two that wait for locks wait for each other. */
static int open_instance(struct apply *a, const struct lb_dp_ops *chosen, struct lb_err *err)
{
	int ret = 0;

	for (size_t i = 0; lb_datapaths_met[i] && !ret; i++)
		ret = lb_datapaths_met[i] == chosen ? open_on(a, chosen, err)
						    : open_other(a, lb_datapaths_met[i], err);
	if (!ret && a->n_others && a->cli->confirm_timeout)
		return lb_err_set(err, EOPNOTSUPP,
				  "instance \"%s\": it changes from datapath %s to %s, and "
				  "--confirm-timeout cannot go back from that: apply it without",
				  a->cli->instance, a->others->ops->name, a->s.ops->name);
	return ret;
}

static int choose(const struct apply *a, const struct lb_dp_ops **ops, struct lb_err *err)
{
	char why[512];
	int ret = lb_fit_choose(&a->desired, lb_file_name(a->cli), a->cli->best_effort, ops, why,
				sizeof(why), err);

	if (!ret && *why)
		lb_info("datapath %s: %s", (*ops)->name, why);
	return ret;
}

/* The model in force: of the first datapath that a packet meets, also where an apply was killed
 * between two. */
static const struct lb_model *served(const struct apply *a)
{
	for (size_t i = 0; lb_datapaths_met[i] && a->n_others; i++) {
		if (lb_datapaths_met[i] == a->others->ops)
			return &a->others->model;
		if (lb_datapaths_met[i] == a->s.ops && a->s.dp && !a->fresh)
			break;
	}
	return &a->s.model;
}

static void skip(void *skipped, const char *text)
{
	lb_warn("left out: %s", text);
	lb_texts_add(skipped, "%s", text);
}

/* What the datapath cannot do is refused, or left out. */
static int fit(struct apply *a, struct lb_err *err)
{
	const char *file = lb_file_name(a->cli);

	if (a->cli->best_effort)
		return lb_fit_cut(&a->desired, &a->s.model, a->s.ops, file, skip, &a->skipped, err);
	return lb_fit_check(&a->desired, &a->s.model, a->s.ops, file, err);
}

static int compare(struct apply *a, struct lb_err *err)
{
	int ret = 0;

	if (!a->cli->reset_overrides)
		lb_overrides_carry(&a->desired, served(a));
	if (a->n_others)
		ret = lb_diff_make(&a->moved, &a->others->model, &a->desired, LB_SOURCE_FILE, err);
	/* Limits are what maps were made for: on another datapath they may be others. */
	if (ret && ret != -EPERM)
		return ret;
	ret = lb_diff_make(&a->diff, &a->s.model, &a->desired, LB_SOURCE_FILE, err);
	if (ret)
		return ret;
	if (a->cli->dry_run && a->s.dp) /* else apply() looks */
		ret = a->s.ops->audit(a->s.dp, &a->s.model, add_finding, &a->findings, err);
	return ret < 0 ? ret : 0;
}

static int warn(const struct apply *a, struct lb_err *err)
{
	struct lb_texts warnings = {};
	const char *file = lb_file_name(a->cli);
	int ret = 0;

	if (a->s.ops->has_programs)
		ret = lb_preflight_hooks(&a->desired, &a->s, a->cli->force, file, err);
	if (!ret)
		ret = lb_preflight(&a->desired, &a->diff, a->s.ops, file, a->cli->force, &warnings,
				   err);
	for (size_t i = 0; i < warnings.n; i++)
		lb_warn("%s", warnings.list[i]);
	lb_texts_free(&warnings);
	return ret;
}

static int commit(struct apply *a, struct lb_err *err)
{
	const struct lb_cli *cli = a->cli;
	const struct lb_rollback rollback = {
		.instance = cli->instance,
		.old = a->fresh ? NULL : &a->s.model,
		.forced = cli->force ? &a->desired : NULL,
		.reset = cli->reset_overrides,
		.seconds = cli->confirm_timeout,
	};
	int ret = 0;

	if (cli->confirm_timeout && (a->diff.n || a->fresh)) {
		ret = lb_rollback_arm(&rollback, err);
		a->armed = !ret;
	}
	if (!ret)
		ret = a->s.ops->apply(a->s.dp, &a->diff, add_finding, &a->findings, err);
	for (size_t i = 0; i < a->n_others && !ret; i++) {
		ret = a->others[i].ops->down(a->others[i].dp, true, err);
		a->others[i].dp = NULL;
		a->partly = ret;
	}
	if (!ret && !a->armed) /* what became of an earlier one is of no interest any more */
		lb_pending_forget(cli->instance);
	return ret;
}

/* As a user sees it: against what stands, on whichever datapath. */
static const struct lb_diff *shown(const struct apply *a)
{
	return a->n_others ? &a->moved : &a->diff;
}

static void print_json(const struct apply *a)
{
	json_t *o = lb_json_new("apply");
	size_t added, changed, removed;

	lb_diff_count(shown(a), &added, &changed, &removed);
	json_object_set_new(o, "instance", json_string(a->cli->instance));
	json_object_set_new(o, "datapath", json_string(a->s.ops->name));
	json_object_set_new(o, "datapath_before",
			    a->n_others ? json_string(a->others->ops->name) : json_null());
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

	if (a->n_others)
		printf("~ datapath %s -> %s\n", a->others->ops->name, a->s.ops->name);
	lb_diff_print(shown(a), stdout);
	for (size_t i = 0; i < a->findings.n; i++)
		printf("%s: %s\n", dry ? "to repair" : "repaired", a->findings.list[i]);
	if (!a->diff.n && !a->findings.n && !a->n_others)
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
	const struct lb_dp_ops *ops;
	int ret = load(a, err);

	if (!ret)
		ret = choose(a, &ops, err);
	if (!ret)
		ret = open_instance(a, ops, err);
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
	lb_session_release(&a.s);
	for (size_t i = 0; !cli->dry_run && i < a.n_others; i++)
		lb_session_release(&a.others[i]);
	if (ret) {
		lb_error("%s", err.text);
		code = a.partly ? LB_EXIT_PARTLY : LB_EXIT_FAILED;
	} else {
		cli->changed = !cli->dry_run && (a.diff.n || a.findings.n || a.fresh || a.n_others);
		print(&a);
		code = tell_confirm(&a);
		if (cli->dry_run && (a.diff.n || a.findings.n || a.n_others))
			code = LB_EXIT_DIFFERENT;
	}
	lb_diff_free(&a.diff);
	lb_diff_free(&a.moved);
	for (size_t i = 0; i < a.n_others; i++)
		lb_session_close(&a.others[i]);
	lb_session_close(&a.s);
	if (ret && a.armed)
		lb_rollback_cancel(cli->instance, &pending, &ignored);
	lb_model_free(&a.desired);
	lb_texts_free(&a.findings);
	lb_texts_free(&a.skipped);
	return code;
}
