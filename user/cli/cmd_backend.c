// SPDX-License-Identifier: GPL-2.0-or-later
/* cmd_backend.c - `meshlb backend`: weights set by hand, which hold until they are taken back. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "cli.h"
#include "drain.h"
#include "json.h"

/* The same path as apply: a copy of what is, with one weight changed; the difference is applied. */
static int apply_override(struct lb_session *s, size_t service, size_t backend, uint32_t weight,
			  struct lb_err *err)
{
	struct lb_model desired;
	struct lb_diff diff = {};
	struct lb_backend_conf *b;
	int ret;

	if (lb_model_copy(&desired, &s->model))
		return lb_err_set(err, ENOMEM, "no memory");
	b = &desired.services[service].backends[backend];
	b->override = weight;
	b->override_since = weight == LB_NO_OVERRIDE ? 0 : time(NULL);
	ret = lb_diff_make(&diff, &s->model, &desired, desired.services[service].source, err);
	if (!ret)
		ret = s->ops->apply(s->dp, &diff, NULL, NULL, err);
	lb_diff_free(&diff);
	lb_model_free(&desired);
	return ret;
}

/* `d`: what was waited for; NULL: nothing. */
static int print(const struct lb_cli *cli, const struct lb_service_conf *s,
		 const struct lb_backend_conf *b, uint32_t weight, const struct lb_drain *d)
{
	char address[LB_ENDPOINT_STRLEN];
	bool changed = b->override != weight;
	json_t *o;

	lb_endpoint_str(address, &b->at);
	if (cli->json) {
		o = lb_json_new("backend");
		json_object_set_new(o, "service", json_string(s->name));
		json_object_set_new(o, "address", json_string(address));
		json_object_set_new(o, "weight",
				    json_integer(weight == LB_NO_OVERRIDE ? b->weight : weight));
		json_object_set_new(o, "override", json_boolean(weight != LB_NO_OVERRIDE));
		json_object_set_new(o, "changed", json_boolean(changed));
		if (d) {
			json_object_set_new(o, "waited", json_integer(d->waited));
			json_object_set_new(o, "connections_left", json_integer(d->left));
		}
		return lb_json_print(o);
	}
	if (d) /* was told before */
		return LB_EXIT_DONE;
	if (weight == LB_NO_OVERRIDE)
		lb_info("service \"%s\", backend %s: weight %u, as configured%s", s->name, address,
			b->weight, changed ? "" : " (it was)");
	else
		lb_info("service \"%s\", backend %s: %s, weight %u by hand%s", s->name, address,
			weight ? "takes connections" : "drained", weight,
			changed ? "" : " (it was)");
	return LB_EXIT_DONE;
}

/* The weight is set; the lock is given up before. */
static int wait_and_print(struct lb_session *session, const struct lb_cli *cli,
			  const struct lb_service_conf *s, const struct lb_backend_conf *b)
{
	struct lb_drain d = {.instance = cli->instance,
			     .service = s->name,
			     .backend = b->at,
			     .timeout = cli->timeout};
	struct lb_err err;
	int ret;

	lb_session_release(session);
	if (!cli->json)
		print(cli, s, b, 0, NULL);
	ret = lb_drain_wait(&d, &err);
	if (ret)
		lb_error("%s", err.text);
	if (!ret || ret == -ETIMEDOUT)
		print(cli, s, b, 0, &d);
	return ret == -ETIMEDOUT ? LB_EXIT_TIMEOUT : ret ? LB_EXIT_PARTLY : LB_EXIT_DONE;
}

static int set_override(struct lb_cli *cli, uint32_t weight)
{
	struct lb_service_conf *s;
	struct lb_backend_conf *b;
	struct lb_session session;
	int code = LB_EXIT_FAILED;
	struct lb_err err;
	int ret = 0;

	if (lb_session_start(&session, cli, LB_WRITE))
		return LB_EXIT_FAILED;
	s = lb_need_service(&session.model, cli->argv[0]);
	b = s ? lb_need_backend(s, cli->argv[1]) : NULL;
	if (!b)
		goto out;
	if (b->override != weight)
		ret = apply_override(&session, s - session.model.services, b - s->backends, weight,
				     &err);
	if (ret < 0)
		lb_error("service \"%s\", backend \"%s\": %s", cli->argv[0], cli->argv[1],
			 err.text);
	else if (cli->wait)
		code = wait_and_print(&session, cli, s, b);
	else
		code = print(cli, s, b, weight, NULL);
	if (ret > 0 && code == LB_EXIT_DONE)
		code = LB_EXIT_PARTLY;
	cli->changed = ret >= 0;
out:
	lb_session_close(&session);
	return code;
}

int lb_cmd_backend_drain(struct lb_cli *cli)
{
	if (cli->timeout && !cli->wait)
		return lb_usage_error(cli, "--timeout: it is of --wait, which is missing");
	return set_override(cli, 0);
}

int lb_cmd_backend_undrain(struct lb_cli *cli)
{
	return set_override(cli, LB_NO_OVERRIDE);
}

int lb_cmd_backend_weight(struct lb_cli *cli)
{
	const char *text = cli->argv[2];
	unsigned long weight;
	char *end;

	weight = strtoul(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end || weight > LB_WEIGHT_MAX)
		return lb_usage_error(cli, "weight: \"%s\": write a number from 0 to %d", text,
				      LB_WEIGHT_MAX);
	return set_override(cli, weight);
}
