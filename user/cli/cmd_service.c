// SPDX-License-Identifier: GPL-2.0-or-later
/* cmd_service.c - `meshlb service`: the services, and one with all that belongs to it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/affinity.h"
#include "core/ring.h"
#include "json.h"
#include "sample.h"
#include "table.h"
#include "text.h"

static size_t count_active(const struct lb_service_conf *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n_backends; i++)
		n += lb_backend_weight(&s->backends[i]) > 0;
	return n;
}

static char *listens_text(const struct lb_service_conf *s, char *buf, size_t size)
{
	char one[LB_ENDPOINT_STRLEN];
	size_t len = 0;

	*buf = '\0';
	for (size_t i = 0; i < s->n_listens && len < size; i++)
		len += snprintf(buf + len, size - len, "%s%s", i ? " " : "",
				lb_listen_str(one, &s->listens[i]));
	return buf;
}

static int list_json(const struct lb_sample *sample, const struct lb_cli *cli)
{
	const struct lb_model *m = &sample->s.model;
	json_t *o = lb_json_new("services"), *list = json_array();

	for (size_t i = 0; i < m->n_services; i++) {
		const struct lb_service_conf *s = &m->services[i];

		json_array_append_new(list,
				      json_pack("{s:s, s:o, s:s, s:s, s:s, s:I, s:I, s:o}", "name",
						s->name, "listen", lb_json_listens(s), "scheduler",
						lb_scheduler_name(s->scheduler), "forwarding",
						lb_forwarding_name(s->forwarding), "source",
						lb_source_name(s->source), "backends",
						(json_int_t)s->n_backends, "backends_active",
						(json_int_t)count_active(s), "counters",
						lb_json_counters(&sample->stats.services[i])));
	}
	json_object_set_new(o, "instance", json_string(cli->instance));
	json_object_set_new(o, "services", list);
	return lb_json_print(o);
}

static int list_text(const struct lb_sample *sample)
{
	struct lb_table t =
		LB_TABLE("SERVICE", "LISTEN", "SCHEDULER", ">BACKENDS", ">CONNECTIONS", ">PACKETS");
	const struct lb_model *m = &sample->s.model;
	char listens[512];

	for (size_t i = 0; i < m->n_services; i++) {
		const struct lb_counters *c = &sample->stats.services[i];
		const struct lb_service_conf *s = &m->services[i];

		lb_table_add(&t, "%s", s->name);
		lb_table_add(&t, "%s", listens_text(s, listens, sizeof(listens)));
		lb_table_add(&t, "%s", lb_scheduler_name(s->scheduler));
		lb_table_add(&t, "%zu/%zu", count_active(s), s->n_backends);
		lb_table_add(&t, "%" PRIu64, (uint64_t)c->connections);
		lb_table_add(&t, "%" PRIu64, (uint64_t)(c->packets[0] + c->packets[1]));
	}
	lb_table_print(&t, stdout);
	lb_table_free(&t);
	return LB_EXIT_DONE;
}

int lb_cmd_service_ls(struct lb_cli *cli)
{
	struct lb_sample sample;
	int code;

	if (lb_sample_take(&sample, cli))
		return LB_EXIT_FAILED;
	code = cli->json ? list_json(&sample, cli) : list_text(&sample);
	lb_sample_free(&sample);
	return code;
}

/* What part of its family's new connections each backend gets: rr does not look at weights. */
static int family_shares(const struct lb_session *session, const struct lb_service_conf *s,
			 enum lb_family family, double *shares)
{
	uint32_t *portions = calloc(s->n_backends + 1, sizeof(*portions));
	int ret = portions ? session->ops->portions(s, family, portions) : -ENOMEM;
	bool even = lb_ring_is_even(s->scheduler);
	uint64_t sum = 0;

	for (size_t i = 0; i < s->n_backends && !ret; i++)
		if (s->backends[i].at.family == family)
			sum += even ? portions[i] > 0 : portions[i];
	for (size_t i = 0; i < s->n_backends && sum; i++)
		if (s->backends[i].at.family == family)
			shares[i] = (even ? portions[i] > 0 : portions[i]) / (double)sum;
	free(portions);
	return ret;
}

/* To be freed; NULL: the error is printed. */
static double *shares_of(const struct lb_session *session, const struct lb_service_conf *s)
{
	double *shares = calloc(s->n_backends + 1, sizeof(*shares));
	int ret = shares ? 0 : -ENOMEM;
	struct lb_err err;

	for (int family = 0; family < LB_FAMILIES && !ret; family++)
		ret = family_shares(session, s, family, shares);
	if (!ret)
		return shares;
	lb_err_sys(&err, -ret, "service \"%s\": dividing its connections", s->name);
	lb_error("%s", err.text);
	free(shares);
	return NULL;
}

static const char *override_text(char buf[LB_TEXT_MAX], const struct lb_backend_conf *b)
{
	if (b->override == LB_NO_OVERRIDE)
		snprintf(buf, LB_TEXT_MAX, "-");
	else if (b->override)
		snprintf(buf, LB_TEXT_MAX, "weight %u", b->override);
	else
		snprintf(buf, LB_TEXT_MAX, "drained");
	return buf;
}

/* Connections that a backend has to do with now, by its place in the service. */
struct active {
	const struct lb_service_conf *s;
	uint32_t *n;
};

static void active_add(void *arg, const struct lb_conn *c)
{
	const struct active *a = arg;
	const struct lb_backend_conf *b = lb_service_find_backend(a->s, &c->backend);

	if (b && lb_conn_is_active(c))
		a->n[b - a->s->backends]++;
}

/* To be freed; NULL: the error is printed. */
static uint32_t *active_count(struct lb_session *session, const struct lb_service_conf *s)
{
	struct active a = {.s = s, .n = calloc(s->n_backends + 1, sizeof(*a.n))};
	const struct lb_conn_filter f = {.service = s->name};
	struct lb_err err;
	uint64_t all;

	if (!a.n)
		lb_err_sys(&err, ENOMEM, "counting connections");
	else if (!session->ops->conn_list(session->dp, &f, active_add, &a, &all, &err))
		return a.n;
	lb_error("%s", err.text);
	free(a.n);
	return NULL;
}

static const char *active_text(char buf[LB_TEXT_MAX], uint32_t active,
			       const struct lb_backend_conf *b)
{
	if (b->max_connections)
		snprintf(buf, LB_TEXT_MAX, "%u/%u", active, b->max_connections);
	else
		snprintf(buf, LB_TEXT_MAX, "%u", active);
	return buf;
}

static void show_text(const struct lb_service_conf *s, const struct lb_counters *all,
		      const struct lb_counters *each, const uint32_t *active, const double *shares)
{
	struct lb_table t =
		LB_TABLE("BACKEND", ">WEIGHT", "BY HAND", "SINCE", ">SHARE", ">ACTIVE",
			 ">CONNECTIONS", ">PACKETS IN", ">BYTES IN", ">PACKETS OUT", ">BYTES OUT");
	char listens[1024], text[LB_ENDPOINT_STRLEN], age[LB_TEXT_MAX], affinity[LB_AFFINITY_MAX];

	printf("service %s: scheduler %s, forwarding %s, unknown %s, on-remove %s, source %s\n",
	       s->name, lb_scheduler_name(s->scheduler), lb_forwarding_name(s->forwarding),
	       lb_unknown_name(s->unknown), lb_on_remove_name(s->on_remove),
	       lb_source_name(s->source));
	if (s->scheduler == LB_SCHED_MAGLEV)
		printf("maglev table: %u slots\n", s->maglev_size);
	if (lb_service_has_affinity(s))
		printf("affinity: %s\n", lb_affinity_str(affinity, s));
	lb_timeouts_print(NULL, s->timeouts, "");
	printf("listens: %s\n", listens_text(s, listens, sizeof(listens)));
	printf("connections %" PRIu64 ", packets in %" PRIu64 " out %" PRIu64 ", bytes in %" PRIu64
	       " out %" PRIu64 "\n\n",
	       (uint64_t)all->connections, (uint64_t)all->packets[0], (uint64_t)all->packets[1],
	       (uint64_t)all->bytes[0], (uint64_t)all->bytes[1]);
	for (size_t i = 0; i < s->n_backends; i++) {
		const struct lb_backend_conf *b = &s->backends[i];

		lb_table_add(&t, "%s", lb_endpoint_str(text, &b->at));
		lb_table_add(&t, "%u", b->weight);
		lb_table_add(&t, "%s", override_text(text, b));
		lb_table_add(
			&t, "%s",
			lb_age_str(age, b->override == LB_NO_OVERRIDE ? 0 : b->override_since));
		lb_table_add(&t, "%.1f %%", 100 * shares[i]);
		lb_table_add(&t, "%s", active_text(text, active[i], b));
		lb_table_add(&t, "%" PRIu64, (uint64_t)each[i].connections);
		for (int d = 0; d < 2; d++) {
			lb_table_add(&t, "%" PRIu64, (uint64_t)each[i].packets[d]);
			lb_table_add(&t, "%" PRIu64, (uint64_t)each[i].bytes[d]);
		}
	}
	lb_table_print(&t, stdout);
	lb_table_free(&t);
}

static void show_json(const struct lb_service_conf *s, const struct lb_counters *all,
		      const struct lb_counters *each, const uint32_t *active, const double *shares)
{
	json_t *o = lb_json_new("service"), *backends = json_array();

	for (size_t i = 0; i < s->n_backends; i++) {
		json_t *b = lb_json_backend(&s->backends[i]);

		json_object_set_new(b, "share", json_real(shares[i]));
		json_object_set_new(b, "active", json_integer(active[i]));
		json_object_set_new(b, "counters", lb_json_counters(&each[i]));
		json_array_append_new(backends, b);
	}
	json_object_set_new(o, "name", json_string(s->name));
	json_object_set_new(o, "source", json_string(lb_source_name(s->source)));
	json_object_set_new(o, "scheduler", json_string(lb_scheduler_name(s->scheduler)));
	json_object_set_new(o, "maglev_size", json_integer(s->maglev_size));
	json_object_set_new(o, "forwarding", json_string(lb_forwarding_name(s->forwarding)));
	json_object_set_new(o, "unknown", json_string(lb_unknown_name(s->unknown)));
	json_object_set_new(o, "on_remove", json_string(lb_on_remove_name(s->on_remove)));
	json_object_set_new(o, "affinity", lb_json_affinity(s));
	json_object_set_new(o, "timeouts", lb_json_timeouts(s->timeouts));
	json_object_set_new(o, "listen", lb_json_listens(s));
	json_object_set_new(o, "counters", lb_json_counters(all));
	json_object_set_new(o, "backends", backends);
	lb_json_print(o);
}

int lb_cmd_service_show(struct lb_cli *cli)
{
	const struct lb_counters *all, *each;
	const struct lb_service_conf *s;
	struct lb_sample sample;
	uint32_t *active;
	double *shares;
	int code;

	if (lb_sample_take(&sample, cli))
		return LB_EXIT_FAILED;
	s = lb_need_service(&sample.s.model, cli->argv[0]);
	active = s ? active_count(&sample.s, s) : NULL;
	shares = active ? shares_of(&sample.s, s) : NULL;
	if (shares) {
		all = &sample.stats.services[s - sample.s.model.services];
		each = sample.stats.backends;
		for (const struct lb_service_conf *o = sample.s.model.services; o < s; o++)
			each += o->n_backends;
		(cli->json ? show_json : show_text)(s, all, each, active, shares);
	}
	lb_sample_free(&sample);
	free(active);
	code = shares ? LB_EXIT_DONE : LB_EXIT_FAILED;
	free(shares);
	return code;
}
