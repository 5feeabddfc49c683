// SPDX-License-Identifier: GPL-2.0-or-later
/* cmd_stats.c - `meshlb stats`: what was counted, in all or per second. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "json.h"
#include "sample.h"
#include "table.h"
#include "text.h"

static const char *const evicted_names[LB_EVICT_KINDS] = {
	[LB_EVICT_HALF_OPEN] = "half-open",
	[LB_EVICT_CLOSING] = "closing",
	[LB_EVICT_UDP] = "udp",
	[LB_EVICT_RESET] = "reset",
	[LB_EVICT_ESTABLISHED] = "established",
};

/* seconds: 0 for totals, else what the counters are to be divided by. */
struct view {
	const struct lb_model *m;
	const struct lb_dp_stats *stats;
	double seconds;
};

static void add_number(struct lb_table *t, const struct view *v, uint64_t n)
{
	if (v->seconds > 0)
		lb_table_add(t, "%.1f", (double)n / v->seconds);
	else
		lb_table_add(t, "%" PRIu64, n);
}

static bool is_idle(const struct lb_counters *c)
{
	return !c->connections && !c->packets[0] && !c->packets[1];
}

static void add_counters(struct lb_table *t, const struct view *v, const struct lb_counters *c)
{
	add_number(t, v, c->connections);
	for (int i = 0; i < 2; i++) {
		add_number(t, v, c->packets[i]);
		add_number(t, v, c->bytes[i]);
	}
}

/* Of rates only those that are not zero are shown: of 10,000 services a terminal shows the busy. */
static void print_services(const struct view *v)
{
	struct lb_table t = LB_TABLE("SERVICE", ">CONNECTIONS", ">PACKETS IN", ">BYTES IN",
				     ">PACKETS OUT", ">BYTES OUT");

	for (size_t i = 0; i < v->m->n_services; i++) {
		const struct lb_counters *c = &v->stats->services[i];

		if (v->seconds > 0 && is_idle(c))
			continue;
		lb_table_add(&t, "%s", v->m->services[i].name);
		add_counters(&t, v, c);
	}
	lb_table_print(&t, stdout);
	lb_table_free(&t);
}

static void print_backends(const struct view *v)
{
	struct lb_table t = LB_TABLE("SERVICE", "BACKEND", ">WEIGHT", ">CONNECTIONS", ">PACKETS IN",
				     ">BYTES IN", ">PACKETS OUT", ">BYTES OUT");
	const struct lb_counters *c = v->stats->backends;
	char address[LB_ENDPOINT_STRLEN];

	for (size_t i = 0; i < v->m->n_services; i++) {
		const struct lb_service_conf *s = &v->m->services[i];

		for (size_t j = 0; j < s->n_backends; j++, c++) {
			if (v->seconds > 0 && is_idle(c))
				continue;
			lb_table_add(&t, "%s", s->name);
			lb_table_add(&t, "%s", lb_endpoint_str(address, &s->backends[j].at));
			lb_table_add(&t, "%u", lb_backend_weight(&s->backends[j]));
			add_counters(&t, v, c);
		}
	}
	putchar('\n');
	lb_table_print(&t, stdout);
	lb_table_free(&t);
}

static void print_reasons(const struct view *v)
{
	struct lb_table t = LB_TABLE("NOT FORWARDED", "PACKET", ">XDP", ">TC", "BECAUSE");
	const struct lb_dp_stats *s = v->stats;

	for (int r = 0; r < LB_REASONS; r++) {
		uint64_t xdp = s->reasons[LB_HOOK_XDP][r], tc = s->reasons[LB_HOOK_TC][r];

		if (!xdp && !tc && !lb_log_verbose)
			continue;
		lb_table_add(&t, "%s", lb_reason_name(r));
		lb_table_add(&t, "%s", lb_reason_is_drop(r) ? "dropped" : "passed");
		add_number(&t, v, xdp);
		add_number(&t, v, tc);
		lb_table_add(&t, "%s", lb_reason_help(r));
	}
	putchar('\n');
	lb_table_print(&t, stdout);
	lb_table_free(&t);
}

static void print_evicted(const struct view *v)
{
	struct lb_table t = LB_TABLE("PUSHED OUT", ">CONNECTIONS");

	for (int i = 0; i < LB_EVICT_KINDS; i++) {
		if (!v->stats->evicted[i] && !lb_log_verbose)
			continue;
		lb_table_add(&t, "%s", evicted_names[i]);
		add_number(&t, v, v->stats->evicted[i]);
	}
	if (t.n) {
		putchar('\n');
		lb_table_print(&t, stdout);
	}
	lb_table_free(&t);
}

/* Many mean that the table was lost, or that another node had them before. */
static void print_taken_up(const struct view *v)
{
	struct lb_table t = LB_TABLE("TAKEN UP IN THEIR MIDDLE", ">CONNECTIONS");

	if (!v->stats->taken_up && !lb_log_verbose)
		return;
	lb_table_add(&t, "unknown: hash");
	add_number(&t, v, v->stats->taken_up);
	putchar('\n');
	lb_table_print(&t, stdout);
	lb_table_free(&t);
}

static void print_text(const struct view *v)
{
	print_services(v);
	print_backends(v);
	print_reasons(v);
	print_evicted(v);
	print_taken_up(v);
}

static json_t *number_json(const struct view *v, uint64_t n)
{
	return v->seconds > 0 ? json_real((double)n / v->seconds) : json_integer(n);
}

static void set_counters(json_t *o, const struct view *v, const struct lb_counters *c)
{
	json_object_set_new(o, "connections", number_json(v, c->connections));
	json_object_set_new(o, "packets_in", number_json(v, c->packets[0]));
	json_object_set_new(o, "packets_out", number_json(v, c->packets[1]));
	json_object_set_new(o, "bytes_in", number_json(v, c->bytes[0]));
	json_object_set_new(o, "bytes_out", number_json(v, c->bytes[1]));
}

static json_t *services_json(const struct view *v)
{
	const struct lb_counters *c = v->stats->backends;
	json_t *services = json_array();

	for (size_t i = 0; i < v->m->n_services; i++) {
		const struct lb_service_conf *s = &v->m->services[i];
		json_t *one = json_pack("{s:s}", "name", s->name), *backends = json_array();

		set_counters(one, v, &v->stats->services[i]);
		for (size_t j = 0; j < s->n_backends; j++, c++) {
			json_t *b = lb_json_backend(&s->backends[j]);

			set_counters(b, v, c);
			json_array_append_new(backends, b);
		}
		json_object_set_new(one, "backends", backends);
		json_array_append_new(services, one);
	}
	return services;
}

/* All reasons, also those at zero: a program that reads this should find its key. */
static json_t *reasons_json(const struct view *v)
{
	json_t *reasons = json_array();

	for (int r = 0; r < LB_REASONS; r++) {
		json_t *o = json_pack("{s:s, s:b, s:s}", "name", lb_reason_name(r), "drop",
				      lb_reason_is_drop(r), "help", lb_reason_help(r));

		json_object_set_new(o, "xdp", number_json(v, v->stats->reasons[LB_HOOK_XDP][r]));
		json_object_set_new(o, "tc", number_json(v, v->stats->reasons[LB_HOOK_TC][r]));
		json_array_append_new(reasons, o);
	}
	return reasons;
}

static void print_json(const struct view *v, const struct lb_cli *cli)
{
	json_t *o = lb_json_new(v->seconds > 0 ? "rates" : "stats"), *evicted = json_object();

	for (int i = 0; i < LB_EVICT_KINDS; i++)
		json_object_set_new(evicted, evicted_names[i],
				    number_json(v, v->stats->evicted[i]));
	json_object_set_new(o, "instance", json_string(cli->instance));
	if (v->seconds > 0)
		json_object_set_new(o, "seconds", json_real(v->seconds));
	json_object_set_new(o, "services", services_json(v));
	json_object_set_new(o, "reasons", reasons_json(v));
	json_object_set_new(o, "evicted", evicted);
	json_object_set_new(o, "taken_up", number_json(v, v->stats->taken_up));
	lb_json_print(o);
}

static void print_rates(const struct view *v, const struct lb_cli *cli)
{
	char now[LB_TEXT_MAX];

	if (cli->json) {
		print_json(v, cli);
		return;
	}
	if (isatty(STDOUT_FILENO))
		printf("\033[H\033[2J");
	printf("instance %s, per second over %.1f s, %s\n\n", cli->instance, v->seconds,
	       lb_time_str(now, time(NULL)));
	print_text(v);
	if (!isatty(STDOUT_FILENO))
		putchar('\n');
}

/* Until the terminal's ^C or, where the instance goes, an error. */
static int watch(const struct lb_cli *cli)
{
	struct lb_sample before, now;
	int ret = lb_sample_take(&before, cli);

	while (!ret) {
		struct lb_dp_stats delta;

		usleep(cli->interval * 1000);
		ret = lb_sample_take(&now, cli);
		if (ret)
			break;
		ret = lb_delta_make(&delta, &now, &before);
		if (!ret) {
			print_rates(&(struct view){&now.s.model, &delta,
						   lb_sample_seconds(&now, &before)},
				    cli);
			lb_delta_free(&delta);
			ret = fflush(stdout);
		}
		lb_sample_free(&before);
		before = now;
	}
	lb_sample_free(&before);
	return LB_EXIT_FAILED;
}

int lb_cmd_stats(struct lb_cli *cli)
{
	struct lb_sample sample;
	struct view v = {&sample.s.model, &sample.stats, 0};

	if (cli->argc && !cli->watch)
		return lb_usage_error(cli, "\"%s\": seconds go with --watch", cli->argv[0]);
	if (cli->argc && lb_interval_parse(&cli->interval, cli->argv[0]))
		return lb_usage_error(cli, "--watch: \"%s\": not a time like 2, 5s or 0.5",
				      cli->argv[0]);
	if (cli->watch)
		return watch(cli);
	if (lb_sample_take(&sample, cli))
		return LB_EXIT_FAILED;
	if (cli->json)
		print_json(&v, cli);
	else
		print_text(&v);
	lb_sample_free(&sample);
	return LB_EXIT_DONE;
}
