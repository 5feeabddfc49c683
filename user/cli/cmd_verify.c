// SPDX-License-Identifier: GPL-2.0-or-later
/* cmd_verify.c - `meshlb verify`: config against running state, running state against the kernel.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "cli.h"
#include "fit.h"
#include "instance.h"
#include "json.h"
#include "overrides.h"
#include "preflight.h"
#include "table.h"

struct verify {
	const struct lb_cli *cli;
	struct lb_session s;
	struct lb_model config,
		desired; /* as it is; with overrides, and without what is left out */
	struct lb_diff diff;
	struct lb_texts findings, skipped;
	bool moved; /* to another datapath, while we looked */
};

static void add_finding(void *findings, const char *text)
{
	lb_texts_add(findings, "%s", text);
}

/* Without a config file there is nothing to want but what runs. */
static bool has_config(const struct lb_cli *cli)
{
	return cli->file_given || !access(cli->file, F_OK);
}

/* What is there of the instance, as a text. False: nothing. */
static bool left_on(const struct lb_dp_ops *ops, const char *instance, struct lb_err *what)
{
	struct lb_session s;
	int ret = lb_session_open_on(&s, ops, instance, LB_READ_PARTS, false, what);

	if (!ret)
		lb_session_close(&s);
	if (ret && ret != -ESTALE && (ret != -ENOENT || !s.part))
		return false;
	if (ret != -ESTALE) /* else what it says of itself */
		lb_err_set(what, 0, LB_LEFT_BEHIND,
			   ret ? "a part of the instance" : "the instance");
	return true;
}

/* An apply that was killed while it changed the datapath; or one has just done so. */
static void look_elsewhere(struct verify *v)
{
	const char *instance = v->cli->instance;
	struct lb_err left;

	for (size_t i = 0; lb_datapaths[i]; i++) {
		if (lb_datapaths[i] == v->s.ops || !left_on(lb_datapaths[i], instance, &left))
			continue;
		/* Who changes it has the locks of both, and takes that of the new one first. */
		lb_datapaths[i]->await(instance);
		v->s.ops->await(instance);
		v->moved |= !left_on(v->s.ops, instance, &left);
		if (left_on(lb_datapaths[i], instance, &left))
			lb_texts_add(&v->findings, "datapath %s: %s", lb_datapaths[i]->name,
				     left.text);
	}
}

/* The datapath that apply would take. */
static int choose(const struct verify *v, const struct lb_fit *f, const struct lb_dp_ops **ops,
		  struct lb_err *err)
{
	struct lb_choice c = {.best_effort = v->cli->best_effort, .probe = true};
	int ret = lb_fit_choose(f, &v->desired, &c, err);

	*ops = c.ops;
	return ret;
}

/* Without limits where apply would change the datapath: they are what maps were made for. */
static int differences(struct verify *v, const struct lb_dp_ops *ops, struct lb_err *err)
{
	lb_diff_free(&v->diff);
	v->s.model.limits_free |= ops != v->s.ops;
	return lb_diff_make(&v->diff, &v->s.model, &v->desired, LB_SOURCE_FILE, err);
}

/* What stands in the way of a change; not what apply would only warn of. */
static int preflight(const struct verify *v, const struct lb_dp_ops *ops, struct lb_err *err)
{
	struct lb_texts warnings = {};
	int ret = lb_preflight(&v->desired, &v->diff, ops, lb_file_name(v->cli), false, &warnings,
			       err);

	lb_texts_free(&warnings);
	return ret;
}

/* With the config, where there is one. */
static int compare(struct verify *v, struct lb_err *err)
{
	const struct lb_fit f = {.file = lb_file_name(v->cli), .standing = &v->s, .probe = true};
	const struct lb_dp_ops *ops = v->s.ops;
	int ret = 0;

	if (!has_config(v->cli))
		return 0;
	if (v->cli->best_effort)
		ret = choose(v, &f, &ops, err);
	if (ret) { /* no apply could do it */
		lb_texts_add(&v->findings, "%s", err->text);
		return 0;
	}
	if (v->cli->best_effort)
		ret = lb_fit_cut(&f, &v->desired, ops, add_finding, &v->skipped, err);
	if (ret)
		return ret;
	lb_overrides_carry(&v->desired, &v->s.model);
	ret = differences(v, ops, err);
	if (ret && ret != -EPERM && ret != -EBUSY)
		return ret;
	/* What is different is asked for once more, as apply would: it may refuse it. */
	if ((ret || v->diff.n) && !v->cli->best_effort) {
		ret = choose(v, &f, &ops, err);
		ret = ret ? ret : differences(v, ops, err);
		ret = ret ? ret : lb_fit_check(&f, &v->desired, ops, err);
		ret = ret ? ret : preflight(v, ops, err);
	}
	if (!ret)
		return 0;
	lb_diff_free(&v->diff);
	lb_texts_add(&v->findings, "%s", err->text); /* no apply could do it, but different it is */
	return 0;
}

static int examine(struct verify *v, struct lb_err *err)
{
	int ret;

	v->moved = false;
	lb_diff_free(&v->diff);
	lb_texts_free(&v->findings);
	lb_texts_free(&v->skipped);
	lb_model_free(&v->desired);
	if (lb_model_copy(&v->desired, &v->config))
		return lb_err_set(err, ENOMEM, "no memory");
	ret = lb_session_read(&v->s, err);
	if (!ret)
		ret = compare(v, err);
	if (ret)
		return ret;
	look_elsewhere(v);
	if (v->moved)
		return 0;
	ret = v->s.ops->audit(v->s.dp, &v->s.model, add_finding, &v->findings, err);
	return ret < 0 ? ret : 0;
}

static int read_generation(struct verify *v, uint32_t *generation, struct lb_err *err)
{
	struct lb_dp_status status;
	int ret = v->s.ops->status(v->s.dp, &status, err);

	if (ret)
		return ret;
	*generation = status.generation;
	v->s.ops->status_free(&status);
	return 0;
}

static int open_again(struct verify *v, struct lb_err *err)
{
	lb_session_close(&v->s);
	return lb_session_open(&v->s, v->cli->instance, LB_READ, false, err);
}

/* Readers take no lock: where an apply came between, what we have seen was half of each. */
static int examine_at_rest(struct verify *v, struct lb_err *err)
{
	uint32_t before = 0, after = 0;
	int ret;

	for (int tries = 0; tries < 5; tries++) {
		ret = read_generation(v, &before, err);
		if (!ret)
			ret = examine(v, err);
		if (!ret)
			ret = v->moved ? open_again(v, err) : read_generation(v, &after, err);
		if (ret || (!v->moved && before == after))
			return ret;
	}
	if (!v->moved)
		return 0; /* as it was seen last */
	return lb_err_set(err, EAGAIN,
			  "instance \"%s\": its datapath keeps changing: run verify again",
			  v->cli->instance);
}

/* Where an apply is at work what is not as it should be may be so when that has ended. */
static int examine_twice(struct verify *v, struct lb_err *err)
{
	int ret = examine_at_rest(v, err);

	if (ret || !v->findings.n)
		return ret;
	v->s.ops->await(v->cli->instance);
	ret = open_again(v, err);
	return ret ? ret : examine_at_rest(v, err);
}

static void print_json(const struct verify *v)
{
	json_t *o = lb_json_new("verify");

	json_object_set_new(o, "instance", json_string(v->cli->instance));
	json_object_set_new(o, "ok", json_boolean(!v->diff.n && !v->findings.n));
	json_object_set_new(o, "config",
			    has_config(v->cli) ? json_string(lb_file_name(v->cli)) : json_null());
	json_object_set_new(o, "changes", lb_json_diff(&v->diff));
	json_object_set_new(o, "findings", lb_json_texts(&v->findings));
	json_object_set_new(o, "skipped", lb_json_texts(&v->skipped));
	json_object_set_new(o, "overrides", lb_json_overrides(&v->s.model));
	lb_json_print(o);
}

static void print_text(const struct verify *v)
{
	if (v->diff.n)
		printf("`meshlb apply` would change:\n");
	lb_diff_print(&v->diff, stdout);
	for (size_t i = 0; i < v->findings.n; i++)
		printf("%s%s%s\n", lb_colour(stdout, LB_RED), v->findings.list[i],
		       lb_colour(stdout, LB_PLAIN));
	for (size_t i = 0; i < v->skipped.n; i++)
		printf("left out: %s\n", v->skipped.list[i]);
	if (!v->diff.n && !v->findings.n)
		printf("OK: %s%s\n",
		       has_config(v->cli) ? "the kernel is as in "
					  : "what runs is whole; no config at ",
		       lb_file_name(v->cli));
	lb_overrides_print(&v->s.model, stdout);
}

int lb_cmd_verify(struct lb_cli *cli)
{
	struct verify v = {.cli = cli};
	struct lb_err err;
	int ret = 0, code;

	if (has_config(cli))
		ret = lb_config_load(&v.config, cli->file, &err);
	if (!ret)
		ret = lb_session_open(&v.s, cli->instance, LB_READ, false, &err);
	if (!ret)
		ret = examine_twice(&v, &err);
	if (!ret)
		lb_others_warn(cli->instance, v.s.ops, &v.s.model);
	if (ret)
		lb_error("%s", err.text);
	else if (cli->json)
		print_json(&v);
	else if (!lb_log_quiet)
		print_text(&v);
	code = ret ? LB_EXIT_FAILED : v.diff.n || v.findings.n ? LB_EXIT_DIFFERENT : LB_EXIT_DONE;
	lb_diff_free(&v.diff);
	lb_texts_free(&v.findings);
	lb_texts_free(&v.skipped);
	lb_session_close(&v.s);
	lb_model_free(&v.desired);
	lb_model_free(&v.config);
	return code;
}
