// SPDX-License-Identifier: GPL-2.0-or-later
/* cmd_status.c - `meshlb status`: the instance as a whole. */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "fit.h"
#include "json.h"
#include "overrides.h"
#include "rollback.h"
#include "table.h"
#include "text.h"

struct status {
	struct lb_session s;
	struct lb_dp_status dp;
	struct lb_pending pending;
	bool is_pending;
	char why[512]; /* it is on this datapath */
};

struct usage_row {
	const char *title, *key;
	size_t offset; /* in struct lb_dp_status */
};

static const struct usage_row usage_rows[] = {
	{"connections IPv4", "connections", offsetof(struct lb_dp_status, connections4)},
	{"connections IPv6", "connections6", offsetof(struct lb_dp_status, connections6)},
	{"affinities IPv4", "affinities", offsetof(struct lb_dp_status, affinities4)},
	{"affinities IPv6", "affinities6", offsetof(struct lb_dp_status, affinities6)},
	{"services", "services", offsetof(struct lb_dp_status, services)},
	{"backends", "backends", offsetof(struct lb_dp_status, backends)},
	{"ring slots", "ring_slots", offsetof(struct lb_dp_status, ring_slots)},
};
#define LB_USAGE_ROWS (sizeof(usage_rows) / sizeof(usage_rows[0]))

static const struct lb_usage *usage_at(const struct lb_dp_status *s, size_t row)
{
	return (const void *)((const char *)s + usage_rows[row].offset);
}

static json_t *usage_json(const struct lb_dp_status *s)
{
	json_t *o = json_object();

	for (size_t i = 0; i < LB_USAGE_ROWS; i++) {
		const struct lb_usage *u = usage_at(s, i);

		json_object_set_new(o, usage_rows[i].key,
				    json_pack("{s:I, s:I, s:I}", "used", (json_int_t)u->used,
					      "limit", (json_int_t)u->limit, "bytes",
					      (json_int_t)u->bytes));
	}
	return o;
}

static json_t *hooks_json(const struct lb_dp_status *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->n_hooks; i++) {
		const struct lb_hook_status *h = &s->hooks[i];

		json_array_append_new(
			list,
			json_pack("{s:s, s:I, s:s, s:s, s:b, s:s, s:I, s:s, s:I, s:s}", "interface",
				  h->ifname, "ifindex", (json_int_t)h->ifindex, "configured",
				  lb_hook_kind_name(h->wanted), "hook", lb_hook_kind_name(h->kind),
				  "behind_xdp", h->behind_xdp, "mode", h->mode, "prog_id",
				  (json_int_t)h->prog_id, "prog_name", h->prog_name, "attached",
				  (json_int_t)h->attached, "trouble", h->trouble));
	}
	return list;
}

/* Of services that have some of their own. */
static json_t *service_timeouts_json(const struct lb_model *m)
{
	json_t *o = json_object();

	for (size_t i = 0; i < m->n_services; i++)
		if (lb_service_has_timeouts(&m->services[i]))
			json_object_set_new(o, m->services[i].name,
					    lb_json_timeouts(m->services[i].timeouts));
	return o;
}

static json_t *pending_json(const struct lb_pending *p)
{
	return json_pack("{s:s, s:I, s:I, s:s, s:s}", "state", lb_pending_state_name(p->state),
			 "deadline", (json_int_t)p->deadline, "pid", (json_int_t)p->pid, "before",
			 p->before, "why", p->why);
}

static int print_json(const struct status *st)
{
	const struct lb_dp_status *s = &st->dp;
	json_t *o = lb_json_new("status");
	char build[LB_TEXT_MAX];

	snprintf(build, sizeof(build), "%016" PRIx64, s->build);
	json_object_set_new(o, "instance", json_string(s->instance));
	json_object_set_new(o, "datapath", json_string(s->datapath));
	json_object_set_new(o, "datapath_why", json_string(st->why));
	json_object_set_new(o, "abi", json_integer(s->abi));
	json_object_set_new(o, "generation", json_integer(s->generation));
	json_object_set_new(o, "created", json_integer(s->created));
	json_object_set_new(o, "applied", json_integer(s->applied));
	json_object_set_new(o, "build", json_string(build));
	json_object_set_new(o, "build_current", json_boolean(s->build_current));
	json_object_set_new(o, "iterator",
			    s->no_iterator ? json_string(strerror(s->no_iterator)) : json_null());
	json_object_set_new(o, "timeouts", lb_json_timeouts(s->timeouts));
	json_object_set_new(o, "service_timeouts", service_timeouts_json(&st->s.model));
	json_object_set_new(o, "rates", lb_json_rates(&st->s.model.rates));
	json_object_set_new(o, "usage", usage_json(s));
	json_object_set_new(o, "hooks", hooks_json(s));
	json_object_set_new(o, "services", json_integer(st->s.model.n_services));
	json_object_set_new(o, "overrides", lb_json_overrides(&st->s.model));
	json_object_set_new(o, "confirm",
			    st->is_pending ? pending_json(&st->pending) : json_null());
	return lb_json_print(o);
}

static void print_head(const struct status *st)
{
	const struct lb_dp_status *s = &st->dp;
	char applied[LB_TEXT_MAX], created[LB_TEXT_MAX];

	printf("instance %s: datapath %s, services %zu, generation %u\n", s->instance, s->datapath,
	       st->s.model.n_services, s->generation);
	printf("datapath %s: %s\n", lb_datapath_kind_name(st->s.model.datapath), st->why);
	if (!s->created) /* of a datapath that keeps no record of it */
		return;
	printf("created %s ago, applied %s ago, build %016" PRIx64 "%s\n",
	       lb_age_str(created, s->created), lb_age_str(applied, s->applied), s->build,
	       s->build_current ? ""
				: " (not this program's: `meshlb apply` brings it up to date)");
	if (s->no_iterator)
		printf("no file \"connections\": this kernel refuses BPF iterators over maps (%s); "
		       "`meshlb conn ls` prints them\n",
		       strerror(s->no_iterator));
}

static void print_pending(const struct status *st)
{
	const struct lb_pending *p = &st->pending;
	const char *before = *p->before ? p->before : "no instance";
	char at[LB_TEXT_MAX], left[LB_TEXT_MAX];
	uint64_t now = time(NULL);

	if (!st->is_pending)
		return;
	lb_time_str(at, p->deadline);
	printf("%s", lb_colour(stdout, LB_YELLOW));
	switch (p->state) {
	case LB_PENDING_WAITING:
		printf("waits for `meshlb confirm` until %s (%s from now), else goes back to %s",
		       at, lb_duration_str(left, p->deadline > now ? p->deadline - now : 0),
		       before);
		break;
	case LB_PENDING_LOST:
		printf("was never confirmed, and the process is gone that was to go back to %s%s%s",
		       before, *p->why ? ": " : "", p->why);
		break;
	case LB_PENDING_UNDONE:
		printf("the last change was not confirmed: it was undone at %s", at);
		break;
	case LB_PENDING_FAILED:
		printf("was not confirmed by %s, and going back to %s failed: %s", at, before,
		       p->why);
		break;
	}
	printf("%s\n", lb_colour(stdout, LB_PLAIN));
}

static void print_usage(const struct lb_dp_status *s)
{
	struct lb_table t = LB_TABLE("LIMIT", ">USED", ">OF", ">MEMORY");
	char size[LB_TEXT_MAX];

	for (size_t i = 0; i < LB_USAGE_ROWS; i++) {
		const struct lb_usage *u = usage_at(s, i);

		lb_table_add(&t, "%s", usage_rows[i].title);
		lb_table_add(&t, "%" PRIu64, u->used);
		if (u->limit)
			lb_table_add(&t, "%" PRIu64, u->limit);
		else
			lb_table_add(&t, "-");
		lb_table_add(&t, "%s", lb_size_str(size, u->bytes));
	}
	putchar('\n');
	lb_table_print(&t, stdout);
	lb_table_free(&t);
}

static void print_hooks(const struct lb_dp_status *s)
{
	struct lb_table t =
		LB_TABLE("INTERFACE", "CONFIGURED", "HOOK", "MODE", "PROGRAM", ">ID", "AGE");
	char age[LB_TEXT_MAX];

	for (size_t i = 0; i < s->n_hooks; i++) {
		const struct lb_hook_status *h = &s->hooks[i];

		lb_table_add(&t, "%s", h->ifname);
		lb_table_add(&t, "%s", lb_hook_kind_name(h->wanted));
		lb_table_add(&t, "%s%s", lb_hook_kind_name(h->kind),
			     h->behind_xdp ? " (behind xdp)" : "");
		lb_table_add(&t, "%s", *h->mode ? h->mode : "-");
		lb_table_add(&t, "%s", *h->prog_name ? h->prog_name : "-");
		lb_table_add(&t, "%u", h->prog_id);
		lb_table_add(&t, "%s", lb_age_str(age, h->attached));
	}
	putchar('\n');
	lb_table_print(&t, stdout);
	lb_table_free(&t);
	for (size_t i = 0; i < s->n_hooks; i++)
		if (*s->hooks[i].trouble)
			printf("%s%s: %s%s\n", lb_colour(stdout, LB_RED), s->hooks[i].ifname,
			       s->hooks[i].trouble, lb_colour(stdout, LB_PLAIN));
}

static int print(const struct lb_cli *cli, const struct status *st)
{
	if (cli->json)
		return print_json(st);
	print_head(st);
	lb_timeouts_print(NULL, st->dp.timeouts, ",");
	for (size_t i = 0; i < st->s.model.n_services; i++)
		lb_timeouts_print(st->s.model.services[i].name, st->s.model.services[i].timeouts,
				  ",");
	lb_rates_print(&st->s.model.rates);
	print_pending(st);
	print_usage(&st->dp);
	print_hooks(&st->dp);
	lb_overrides_print(&st->s.model, stdout);
	return LB_EXIT_DONE;
}

/* Of `auto` what speaks against the datapaths that it would rather take. */
static void ask_why(struct status *st)
{
	const struct lb_fit f = {.file = "", .standing = &st->s};
	struct lb_choice c = {.probe = true};
	struct lb_err ignored;
	char why[96];

	if (st->s.model.datapath == LB_DATAPATH_AUTO && st->s.ops != lb_datapaths[0])
		lb_fit_choose(&f, &st->s.model, &c, &ignored);
	snprintf(st->why, sizeof(st->why), "%s",
		 *c.why ? c.why : lb_choice_why(why, &st->s.model, st->s.ops));
}

int lb_cmd_status(struct lb_cli *cli)
{
	struct status st = {};
	int code = LB_EXIT_FAILED;
	struct lb_err err;
	int ret;

	if (lb_session_start(&st.s, cli, LB_READ))
		return LB_EXIT_FAILED;
	ret = lb_pending_read(cli->instance, &st.pending, &err);
	st.is_pending = !ret;
	if (ret == -ENOENT)
		ret = 0;
	if (!ret)
		ret = st.s.ops->status(st.s.dp, &st.dp, &err);
	if (!ret)
		ask_why(&st);
	if (ret) {
		lb_error("%s", err.text);
	} else {
		code = print(cli, &st);
		st.s.ops->status_free(&st.dp);
	}
	lb_session_close(&st.s);
	return code;
}
