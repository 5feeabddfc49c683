// SPDX-License-Identifier: GPL-2.0-or-later
/* cmd_check.c - `meshlb check`: what is wrong with a config, here, and what it will take. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "cli.h"
#include "fit.h"
#include "json.h"
#include "preflight.h"

struct check_result {
	struct lb_model model;
	struct lb_texts warnings;
	bool takes_memory; /* the datapath makes maps for the limits */
	uint64_t memory;
	struct lb_usage connections4, connections6, other;
	size_t n_listens, n_backends;
};

static void add_warning(void *warnings, const char *text)
{
	lb_texts_add(warnings, "left out: %s", text);
}

/* What the datapath cannot do, in view of what is running, which only root can see; so only root's
 * check knows what works here. */
static int check_fit(struct check_result *r, const struct lb_cli *cli, const struct lb_dp_ops **ops,
		     struct lb_err *err)
{
	struct lb_choice c = {.best_effort = cli->best_effort, .probe = !geteuid()};
	struct lb_session standing = {};
	struct lb_fit f = {.file = lb_file_name(cli), .standing = &standing, .probe = c.probe};
	struct lb_err ignored;
	int ret = lb_session_open(&standing, cli->instance, LB_READ, false, &ignored);

	f.force = cli->force || (ret && ret != -ENOENT); /* whose a hook is cannot be seen */
	ret = lb_fit_choose(&f, &r->model, &c, err);
	*ops = c.ops;
	if (!ret && cli->best_effort)
		ret = lb_fit_cut(&f, &r->model, c.ops, add_warning, &r->warnings, err);
	else if (!ret)
		ret = lb_fit_check(&f, &r->model, c.ops, err);
	lb_session_close(&standing);
	return ret;
}

/* Does somebody else's table stand where the datapath would put the instance? */
static int refuse_others(const struct lb_cli *cli, const struct lb_dp_ops *ops, struct lb_err *err)
{
	struct lb_session s;
	int ret = lb_session_open_on(&s, ops, cli->instance, LB_READ, cli->force, err);

	if (!ret)
		lb_session_close(&s);
	return ret == -EEXIST ? ret : 0;
}

static int examine(struct check_result *r, const struct lb_cli *cli, struct lb_err *err)
{
	const char *file = lb_file_name(cli);
	const struct lb_dp_ops *ops;
	int ret = lb_config_load(&r->model, cli->file, err);

	if (!ret)
		ret = lb_preflight_interfaces(&r->model, file, err);
	if (!ret)
		ret = check_fit(r, cli, &ops, err);
	if (!ret)
		ret = refuse_others(cli, ops, err);
	if (!ret)
		ret = lb_preflight(&r->model, NULL, ops, file, cli->force, &r->warnings, err);
	if (ret)
		return ret;
	r->takes_memory = ops->has_programs;
	r->memory = lb_ebpf_memory(&r->model.limits, &r->connections4, &r->connections6, &r->other);
	for (size_t i = 0; i < r->model.n_services; i++) {
		r->n_listens += r->model.services[i].n_listens;
		r->n_backends += r->model.services[i].n_backends;
	}
	return 0;
}

static json_t *memory_json(const struct check_result *r)
{
	return json_pack("{s:I, s:I, s:I, s:I}", "total", (json_int_t)r->memory, "connections",
			 (json_int_t)r->connections4.bytes, "connections6",
			 (json_int_t)r->connections6.bytes, "other", (json_int_t)r->other.bytes);
}

static void print_json(const struct check_result *r, const char *error)
{
	json_t *o = lb_json_new("check");

	json_object_set_new(o, "ok", json_boolean(!error));
	if (error) {
		json_object_set_new(o, "error", json_string(error));
	} else {
		json_object_set_new(o, "services", json_integer(r->model.n_services));
		json_object_set_new(o, "listens", json_integer(r->n_listens));
		json_object_set_new(o, "backends", json_integer(r->n_backends));
		json_object_set_new(o, "interfaces", json_integer(r->model.n_interfaces));
		json_object_set_new(o, "memory", r->takes_memory ? memory_json(r) : json_null());
	}
	json_object_set_new(o, "warnings", lb_json_texts(&r->warnings));
	lb_json_print(o);
}

static void print_text(const struct check_result *r, const char *file)
{
	char total[LB_TEXT_MAX], four[LB_TEXT_MAX], six[LB_TEXT_MAX], other[LB_TEXT_MAX];

	printf("%s: OK: services %zu, listens %zu, backends %zu, interfaces %zu\n", file,
	       r->model.n_services, r->n_listens, r->n_backends, r->model.n_interfaces);
	if (!r->takes_memory)
		return;
	printf("its limits take %s of kernel memory: %u IPv4 connections %s, %u IPv6 connections "
	       "%s, "
	       "the rest %s\n",
	       lb_size_str(total, r->memory), r->model.limits.connections,
	       lb_size_str(four, r->connections4.bytes), r->model.limits.connections6,
	       lb_size_str(six, r->connections6.bytes), lb_size_str(other, r->other.bytes));
}

int lb_cmd_check(struct lb_cli *cli)
{
	struct check_result r = {};
	struct lb_err err;
	int ret = examine(&r, cli, &err);

	for (size_t i = 0; i < r.warnings.n; i++)
		lb_warn("%s", r.warnings.list[i]);
	if (ret)
		lb_error("%s", err.text);
	if (cli->json)
		print_json(&r, ret ? err.text : NULL);
	else if (!ret && !lb_log_quiet)
		print_text(&r, lb_file_name(cli));
	lb_texts_free(&r.warnings);
	lb_model_free(&r.model);
	return ret ? LB_EXIT_FAILED : LB_EXIT_DONE;
}
