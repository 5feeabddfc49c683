// SPDX-License-Identifier: GPL-2.0-or-later
/* cmd_conn.c - `meshlb conn`: connections, listed, counted, forgotten, collected once expired. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "json.h"
#include "text.h"

enum what { LIST, COUNT, FLUSH, GC };

/* Who is to be balanced anew is forgotten altogether. */
static int parse_filter(const struct lb_cli *cli, enum what what, struct lb_conn_filter *f)
{
	const char *why;

	*f = (struct lb_conn_filter){
		.kinds = cli->affinity   ? LB_CONN_AFFINITIES
			 : what == FLUSH ? LB_CONN_BOTH
					 : LB_CONN_CONNECTIONS,
		.service = cli->service,
		.by_backend = cli->backend,
		.by_client = cli->client,
	};
	if (cli->backend && lb_match_parse(&f->backend, NULL, cli->backend, &why))
		return lb_usage_error(cli, "--backend: \"%s\": %s", cli->backend, why);
	if (cli->client && lb_match_parse(&f->client, &f->client_prefix, cli->client, &why))
		return lb_usage_error(cli, "--client: \"%s\": %s", cli->client, why);
	return LB_EXIT_DONE;
}

struct listing {
	const struct lb_model *model;
	char **names; /* of services, by id; in JSON with its quotes */
	uint32_t n_names;
	uint64_t n;
};

static char *name_copy(const char *name, bool json)
{
	json_t *o = json ? json_string(name) : NULL;
	char *copy = json ? json_dumps(o, JSON_ENCODE_ANY) : strdup(name);

	json_decref(o);
	return copy;
}

/* From a service's id to its name: one look for each of perhaps millions of connections. */
static int index_services(struct listing *l, bool json)
{
	for (size_t i = 0; i < l->model->n_services; i++)
		if (l->model->services[i].id >= l->n_names)
			l->n_names = l->model->services[i].id + 1;
	l->names = calloc(l->n_names + 1, sizeof(*l->names));
	if (!l->names)
		return -1;
	for (size_t i = 0; i < l->model->n_services; i++) {
		const struct lb_service_conf *s = &l->model->services[i];

		l->names[s->id] = name_copy(s->name, json);
		if (!l->names[s->id])
			return -1;
	}
	return 0;
}

static void index_free(struct listing *l)
{
	for (uint32_t i = 0; l->names && i < l->n_names; i++)
		free(l->names[i]);
	free(l->names);
}

/* `removed`: of a service that is gone; its connections live on. */
static const char *service_name(const struct listing *l, uint32_t id, const char *removed)
{
	const char *name = id < l->n_names ? l->names[id] : NULL;

	return name ? name : removed;
}

static void print_row(void *arg, const struct lb_conn *c)
{
	char client[LB_ENDPOINT_STRLEN], service[LB_ENDPOINT_STRLEN], backend[LB_ENDPOINT_STRLEN];
	char age[LB_TEXT_MAX];
	struct listing *l = arg;

	l->n++;
	printf("%-5s  %-21s  %-21s  %-21s  %-11s  %-8s  %s\n", lb_proto_name(c->proto),
	       lb_endpoint_str(client, &c->client), lb_endpoint_str(service, &c->service),
	       lb_endpoint_str(backend, &c->backend), lb_conn_state_name(c->state),
	       lb_duration_str(age, c->age), service_name(l, c->service_id, "-"));
}

/* One a line, as they come: a list of millions is not held in memory. Nor is an object made of
 * each, which took three times as long: of all strings only a service's name may need escapes. */
static void print_json_row(void *arg, const struct lb_conn *c)
{
	char client[LB_ENDPOINT_STRLEN], service[LB_ENDPOINT_STRLEN], backend[LB_ENDPOINT_STRLEN];
	struct listing *l = arg;

	printf("%s\n    {\"protocol\":\"%s\",\"client\":\"%s\",\"address\":\"%s\","
	       "\"backend\":\"%s\",\"state\":\"%s\",\"idle\":%" PRIu32 ",\"service\":%s}",
	       l->n++ ? "," : "", lb_proto_name(c->proto), lb_endpoint_str(client, &c->client),
	       lb_endpoint_str(service, &c->service), lb_endpoint_str(backend, &c->backend),
	       lb_conn_state_name(c->state), c->age, service_name(l, c->service_id, "\"-\""));
}

/* "192.0.2.0/24" */
static const char *client_str(char buf[LB_ENDPOINT_STRLEN], const struct lb_conn *c)
{
	size_t len = strlen(lb_addr_str(buf, &c->client.addr, c->client.family));

	snprintf(buf + len, LB_ENDPOINT_STRLEN - len, "/%u", c->mask);
	return buf;
}

/* One of all ports is of no protocol. */
static const char *affinity_proto(const struct lb_conn *c)
{
	return c->service.port ? lb_proto_name(c->proto) : "*";
}

static void print_affinity(void *arg, const struct lb_conn *c)
{
	char client[LB_ENDPOINT_STRLEN], backend[LB_ENDPOINT_STRLEN], age[LB_TEXT_MAX], port[8];
	struct listing *l = arg;

	snprintf(port, sizeof(port), c->service.port ? "%u" : "*", c->service.port);
	l->n++;
	printf("%-5s  %-21s  %-5s  %-21s  %-12s  %-8s  %s\n", affinity_proto(c),
	       client_str(client, c), port, lb_endpoint_str(backend, &c->backend),
	       lb_conn_state_name(c->state), lb_duration_str(age, c->age),
	       service_name(l, c->service_id, "-"));
}

static void print_json_affinity(void *arg, const struct lb_conn *c)
{
	char client[LB_ENDPOINT_STRLEN], backend[LB_ENDPOINT_STRLEN];
	struct listing *l = arg;

	printf("%s\n    {\"protocol\":\"%s\",\"client\":\"%s\",\"port\":%u,\"backend\":\"%s\","
	       "\"state\":\"%s\",\"idle\":%" PRIu32 ",\"service\":%s}",
	       l->n++ ? "," : "", affinity_proto(c), client_str(client, c), c->service.port,
	       lb_endpoint_str(backend, &c->backend), lb_conn_state_name(c->state), c->age,
	       service_name(l, c->service_id, "\"-\""));
}

/* What `conn ls` prints of a kind. */
static const struct form {
	const char *kind, *head;
	lb_conn_fn row, json_row;
} connections = {"connections",
		 "PROTO  CLIENT                 ADDRESS                BACKEND                "
		 "STATE        IDLE      SERVICE",
		 print_row, print_json_row},
  affinities = {"affinities",
		"PROTO  CLIENT                 PORT   BACKEND                STATE         IDLE    "
		"  SERVICE",
		print_affinity, print_json_affinity};

/* Into a pipe, 4 KiB at a time take half as long again. */
static void buffer_output(void)
{
	static char buf[1 << 16];

	setvbuf(stdout, buf, _IOFBF, sizeof(buf));
}

static int list(struct lb_session *s, const struct lb_cli *cli, const struct lb_conn_filter *f)
{
	const struct form *form = cli->affinity ? &affinities : &connections;
	struct listing l = {.model = &s->model};
	struct lb_err err;
	uint64_t n;
	int ret;

	if (index_services(&l, cli->json)) {
		index_free(&l);
		lb_error("no memory");
		return LB_EXIT_FAILED;
	}
	buffer_output();
	if (cli->json)
		printf("{\n  \"schema\": %d,\n  \"kind\": \"%s\",\n  \"%s\": [", LB_JSON_SCHEMA,
		       form->kind, form->kind);
	else
		printf("%s\n", form->head);
	ret = s->ops->conn_list(s->dp, f, cli->json ? form->json_row : form->row, &l, &n, &err);
	if (cli->json)
		printf("\n  ]\n}\n");
	index_free(&l);
	if (ret)
		lb_error("%s", err.text);
	return ret ? LB_EXIT_FAILED : LB_EXIT_DONE;
}

static void ignore(void *arg, const struct lb_conn *c)
{
	(void)arg;
	(void)c;
}

static int count(struct lb_session *s, struct lb_cli *cli, const struct lb_conn_filter *f,
		 bool flush)
{
	struct lb_err err;
	uint64_t n = 0;
	json_t *o;
	int ret;

	if (flush)
		ret = s->ops->conn_flush(s->dp, f, &n, &err);
	else
		ret = s->ops->conn_list(s->dp, f, ignore, NULL, &n, &err);
	if (ret) {
		lb_error("%s", err.text);
		return flush && n ? LB_EXIT_PARTLY : LB_EXIT_FAILED;
	}
	cli->changed = flush;
	if (!cli->json) {
		if (!flush || !lb_log_quiet)
			printf("%" PRIu64 "%s\n", n, flush ? " forgotten" : "");
		return LB_EXIT_DONE;
	}
	o = lb_json_new(flush ? "flush" : "count");
	json_object_set_new(o, cli->affinity ? "affinities" : "connections", json_integer(n));
	return lb_json_print(o);
}

static int gc(struct lb_session *s, struct lb_cli *cli)
{
	struct lb_err err;
	uint64_t n = 0;
	json_t *o;

	if (!s->ops->conn_gc) {
		lb_info("datapath %s: the kernel itself forgets connections that have expired",
			s->ops->name);
	} else if (s->ops->conn_gc(s->dp, &n, &err)) {
		lb_error("%s", err.text);
		return n ? LB_EXIT_PARTLY : LB_EXIT_FAILED;
	}
	cli->changed = n > 0;
	if (!cli->json) {
		if (!lb_log_quiet)
			printf("%" PRIu64 " collected\n", n);
		return LB_EXIT_DONE;
	}
	o = lb_json_new("gc");
	json_object_set_new(o, "collected", json_integer(n));
	return lb_json_print(o);
}

static int run(struct lb_cli *cli, enum what what)
{
	struct lb_conn_filter filter;
	int code = parse_filter(cli, what, &filter);
	struct lb_session s;

	if (code)
		return code;
	if (lb_session_start(&s, cli, what == FLUSH || what == GC ? LB_WRITE : LB_READ))
		return LB_EXIT_FAILED;
	if (filter.service && !lb_need_service(&s.model, filter.service))
		code = LB_EXIT_FAILED;
	else if (what == LIST)
		code = list(&s, cli, &filter);
	else if (what == GC)
		code = gc(&s, cli);
	else
		code = count(&s, cli, &filter, what == FLUSH);
	lb_session_close(&s);
	return code;
}

int lb_cmd_conn_ls(struct lb_cli *cli)
{
	return run(cli, LIST);
}

int lb_cmd_conn_count(struct lb_cli *cli)
{
	return run(cli, COUNT);
}

int lb_cmd_conn_flush(struct lb_cli *cli)
{
	return run(cli, FLUSH);
}

int lb_cmd_conn_gc(struct lb_cli *cli)
{
	return run(cli, GC);
}
