// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * config.c - reads the YAML config: libyaml's events to a model, each key by its own function.
 *
 * A reader is called with its value's first event current and leaves the last one current.
 */

#include "config.h"

#include <string.h>

#include "config_private.h"
#include "config_yaml.h"
#include "ring.h"

/* Until the whole text is read, since `defaults` may come after `services`. */
#define SCHEDULER_UNSET 0xff
#define UNKNOWN_UNSET   0xff
#define MAX_UNSET       UINT32_MAX

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static int read_scheduler(struct lb_yaml *y, uint8_t *into)
{
	return lb_yaml_choice(y, "scheduler", lb_scheduler_name, lb_scheduler_from_name,
			      LB_SCHEDULERS, into);
}

static int read_maglev_size(struct lb_yaml *y, uint32_t *into)
{
	uint32_t size, prime;
	int err = lb_yaml_number(y, "maglev-size", 2, LB_MAGLEV_SIZE_MAX, &size);

	if (err)
		return err;
	/* Ends, for the largest size allowed is a prime. */
	for (prime = size; !lb_is_prime(prime); prime++)
		;
	if (prime != size)
		return lb_yaml_refuse(y, "maglev-size", lb_yaml_value(y),
				      "not a prime number: the next one is %u", prime);
	*into = size;
	return 0;
}

/* ---------------------------------------------------------------------------- services */

/* Nor are packets forwarded that have such a source, as a client of such a listen has. */
static const char *link_local_why_not(const struct lb_endpoint *at)
{
	return lb_addr_is_link_local(&at->addr, at->family)
		       ? "a link-local address, which means nothing without its link: write "
			 "another of the host's"
		       : NULL;
}

static int read_address(struct lb_yaml *y, void *into)
{
	struct lb_backend_conf *b = into;
	const char *why, *v = lb_yaml_value(y);
	int err = lb_yaml_expect_scalar(y, "backend", "A.B.C.D:PORT or [IPV6]:PORT");

	if (err)
		return err;
	if (lb_endpoint_parse(&b->at, v, &why))
		return lb_yaml_refuse(y, "backend", v, "%s", why);
	if (lb_addr_is_any(&b->at.addr, b->at.family))
		return lb_yaml_refuse(y, "backend", v,
				      "the unspecified address: write the backend's own");
	why = lb_addr_why_not(&b->at.addr, b->at.family);
	why = why ? why : link_local_why_not(&b->at);
	return why ? lb_yaml_refuse(y, "backend", v, "%s", why) : 0;
}

static int read_weight(struct lb_yaml *y, void *into)
{
	struct lb_backend_conf *b = into;

	return lb_yaml_number(y, "weight", 0, LB_WEIGHT_MAX, &b->weight);
}

static int read_max_connections(struct lb_yaml *y, uint32_t *into)
{
	return lb_yaml_number(y, "max-connections", 0, MAX_UNSET - 1, into);
}

static int read_backend_max(struct lb_yaml *y, void *into)
{
	return read_max_connections(y, &((struct lb_backend_conf *)into)->max_connections);
}

static int read_backend(struct lb_yaml *y, void *into)
{
	static const struct lb_yaml_key keys[] = {
		{"address", read_address, "address: A.B.C.D:PORT"},
		{"weight", read_weight, NULL},
		{"max-connections", read_backend_max, NULL},
	};
	struct lb_backend_conf *b = lb_service_add_backend(into);

	if (!b)
		return lb_yaml_no_memory(y);
	b->line = lb_yaml_line(y);
	b->weight = 1;
	b->max_connections = MAX_UNSET;
	if (lb_yaml_is(y, YAML_SCALAR_EVENT))
		return read_address(y, b);
	return lb_yaml_mapping(y, "backend", keys, ARRAY_SIZE(keys), b);
}

static int read_backends(struct lb_yaml *y, void *into)
{
	return lb_yaml_list(y, "backends", read_backend, into);
}

static int read_listen(struct lb_yaml *y, void *into)
{
	struct lb_listen *l;
	const char *why;
	int err = lb_yaml_expect_scalar(y, "listen", "*:PORT, A.B.C.D:PORT or [IPV6]:PORT");

	if (err)
		return err;
	l = lb_service_add_listen(into);
	if (!l)
		return lb_yaml_no_memory(y);
	if (lb_listen_parse(l, lb_yaml_value(y), &why))
		return lb_yaml_refuse(y, "listen", lb_yaml_value(y), "%s", why);
	l->line = lb_yaml_line(y);
	why = link_local_why_not(&l->at);
	return why ? lb_yaml_refuse(y, "listen", lb_yaml_value(y), "%s", why) : 0;
}

static int read_listens(struct lb_yaml *y, void *into)
{
	if (lb_yaml_is(y, YAML_SCALAR_EVENT) && !lb_yaml_is_nothing(y))
		return read_listen(y, into);
	return lb_yaml_list(y, "listen", read_listen, into);
}

#define ALNUM "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

static int read_name(struct lb_yaml *y, void *into)
{
	struct lb_service_conf *s = into;
	const char *v = lb_yaml_value(y);
	size_t len = strspn(v, ALNUM "_.-");
	int err = lb_yaml_expect_scalar(y, "service name", "letters, digits and \"_.-\"");

	if (err)
		return err;
	if (v[len] || !strspn(v, ALNUM) || len >= LB_NAME_MAX)
		return lb_yaml_refuse(y, "service name", v,
				      "write a letter or digit, then up to %d more or \"_.-\"",
				      LB_NAME_MAX - 2);
	memcpy(s->name, v, len + 1);
	return 0;
}

static int read_service_scheduler(struct lb_yaml *y, void *into)
{
	return read_scheduler(y, &((struct lb_service_conf *)into)->scheduler);
}

static int read_forwarding(struct lb_yaml *y, void *into)
{
	return lb_yaml_choice(y, "forwarding", lb_forwarding_name, lb_forwarding_from_name,
			      LB_FORWARDINGS, &((struct lb_service_conf *)into)->forwarding);
}

static int read_unknown(struct lb_yaml *y, void *into)
{
	return lb_yaml_choice(y, "unknown", lb_unknown_name, lb_unknown_from_name, LB_UNKNOWNS,
			      &((struct lb_service_conf *)into)->unknown);
}

static int read_on_remove(struct lb_yaml *y, void *into)
{
	return lb_yaml_choice(y, "on-remove", lb_on_remove_name, lb_on_remove_from_name,
			      LB_ON_REMOVES, &((struct lb_service_conf *)into)->on_remove);
}

static int read_service_maglev_size(struct lb_yaml *y, void *into)
{
	return read_maglev_size(y, &((struct lb_service_conf *)into)->maglev_size);
}

static int read_service_max(struct lb_yaml *y, void *into)
{
	return read_max_connections(y, &((struct lb_service_conf *)into)->max_connections);
}

/* Of the instance or of a service: an array by enum lb_timeout. */
#define TIMEOUT_READER(name, timeout, key)                                                         \
	static int read_timeout_##name(struct lb_yaml *y, void *into)                              \
	{                                                                                          \
		return lb_yaml_duration(y, "timeouts." key, lb_timeout_min(timeout),               \
					LB_TIMEOUT_MAX, (uint32_t *)into + (timeout));             \
	}
TIMEOUT_READER(syn, LB_TIMEOUT_SYN, "syn")
TIMEOUT_READER(established, LB_TIMEOUT_ESTABLISHED, "established")
TIMEOUT_READER(half_closed, LB_TIMEOUT_HALF_CLOSED, "half-closed")
TIMEOUT_READER(closing, LB_TIMEOUT_CLOSING, "closing")
TIMEOUT_READER(closed, LB_TIMEOUT_CLOSED, "closed")
TIMEOUT_READER(udp_new, LB_TIMEOUT_UDP_NEW, "udp-new")
TIMEOUT_READER(udp, LB_TIMEOUT_UDP, "udp")

static int read_timeouts(struct lb_yaml *y, uint32_t timeouts[LB_TIMEOUTS])
{
	static const struct lb_yaml_key keys[] = {
		{"syn", read_timeout_syn, NULL},
		{"established", read_timeout_established, NULL},
		{"half-closed", read_timeout_half_closed, NULL},
		{"closing", read_timeout_closing, NULL},
		{"closed", read_timeout_closed, NULL},
		{"udp-new", read_timeout_udp_new, NULL},
		{"udp", read_timeout_udp, NULL},
	};

	return lb_yaml_mapping(y, "timeouts", keys, ARRAY_SIZE(keys), timeouts);
}

static int read_service_timeouts(struct lb_yaml *y, void *into)
{
	return read_timeouts(y, ((struct lb_service_conf *)into)->timeouts);
}

static int read_service(struct lb_yaml *y, void *into)
{
	static const struct lb_yaml_key keys[] = {
		{"name", read_name, "name: NAME"},
		{"listen", read_listens, NULL}, /* needed, but below by the service's name */
		{"scheduler", read_service_scheduler, NULL},
		{"maglev-size", read_service_maglev_size, NULL},
		{"forwarding", read_forwarding, NULL},
		{"unknown", read_unknown, NULL},
		{"on-remove", read_on_remove, NULL},
		{"affinity", lb_config_affinity, NULL},
		{"timeouts", read_service_timeouts, NULL},
		{"max-connections", read_service_max, NULL},
		{"backends", read_backends, NULL},
	};
	struct lb_model *m = into;
	struct lb_service_conf *s = lb_model_add_service(m);
	int err;

	if (!s)
		return lb_yaml_no_memory(y);
	s->line = lb_yaml_line(y);
	s->source = LB_SOURCE_FILE;
	s->scheduler = SCHEDULER_UNSET;
	s->unknown = UNKNOWN_UNSET;
	err = lb_yaml_mapping(y, "service", keys, ARRAY_SIZE(keys), s);
	if (err)
		return err;
	if (!s->n_listens)
		return lb_config_refuse(y->err, y->name, s->line, "service", s->name,
					"has no listen: add \"listen: ['*:PORT']\"");
	return 0;
}

/* ---------------------------------------------------------------------------- the rest */

/* As the kernel's dev_valid_name(), less what is not ASCII. */
static bool is_interface_name(const char *v)
{
	for (size_t i = 0; v[i]; i++)
		if (v[i] <= ' ' || v[i] > '~' || v[i] == '/' || v[i] == ':')
			return false;
	return strlen(v) < LB_IFNAME_MAX && strcmp(v, ".") != 0 && strcmp(v, "..") != 0;
}

static int read_interface_name(struct lb_yaml *y, void *into)
{
	struct lb_interface_conf *i = into;
	const char *v = lb_yaml_value(y);
	int err = lb_yaml_expect_scalar(y, "interface", "its name");

	if (err)
		return err;
	if (!is_interface_name(v))
		return lb_yaml_refuse(y, "interface", v,
				      "not a name: up to %d characters, no space, \"/\" or \":\"",
				      LB_IFNAME_MAX - 1);
	memcpy(i->name, v, strlen(v) + 1);
	return 0;
}

static int read_hook(struct lb_yaml *y, void *into)
{
	struct lb_interface_conf *i = into;

	return lb_yaml_choice(y, "hook", lb_hook_kind_name, lb_hook_kind_from_name, LB_KINDS,
			      &i->hook);
}

static int read_interface(struct lb_yaml *y, void *into)
{
	static const struct lb_yaml_key keys[] = {
		{"name", read_interface_name, "name: NAME"},
		{"hook", read_hook, NULL},
	};
	struct lb_interface_conf *i = lb_model_add_interface(into);

	if (!i)
		return lb_yaml_no_memory(y);
	i->line = lb_yaml_line(y);
	if (lb_yaml_is(y, YAML_SCALAR_EVENT))
		return read_interface_name(y, i);
	return lb_yaml_mapping(y, "interface", keys, ARRAY_SIZE(keys), i);
}

static int read_datapath(struct lb_yaml *y, void *into)
{
	return lb_yaml_choice(y, "datapath", lb_datapath_kind_name, lb_datapath_kind_from_name,
			      LB_DATAPATHS, &((struct lb_model *)into)->datapath);
}

static int read_interfaces(struct lb_yaml *y, void *into)
{
	return lb_yaml_list(y, "interfaces", read_interface, into);
}

static int read_services(struct lb_yaml *y, void *into)
{
	return lb_yaml_list(y, "services", read_service, into);
}

#define LIMIT_READER(field, key, min, max)                                                         \
	static int read_limit_##field(struct lb_yaml *y, void *into)                               \
	{                                                                                          \
		return lb_yaml_number(y, "limits." key, min, max,                                  \
				      &((struct lb_limits *)into)->field);                         \
	}
LIMIT_READER(connections, "connections", LB_LIMIT_CONNECTIONS_MIN, LB_LIMIT_CONNECTIONS_MAX)
LIMIT_READER(connections6, "connections6", LB_LIMIT_CONNECTIONS_MIN, LB_LIMIT_CONNECTIONS_MAX)
LIMIT_READER(services, "services", 1, LB_LIMIT_SERVICES_MAX)
LIMIT_READER(backends, "backends", 1, LB_BACKENDS_MAX)
LIMIT_READER(ring_slots, "ring-slots", LB_LIMIT_RING_SLOTS_MIN, LB_LIMIT_RING_SLOTS_MAX)

static int read_limits(struct lb_yaml *y, void *into)
{
	static const struct lb_yaml_key keys[] = {
		{"connections", read_limit_connections, NULL},
		{"connections6", read_limit_connections6, NULL},
		{"services", read_limit_services, NULL},
		{"backends", read_limit_backends, NULL},
		{"ring-slots", read_limit_ring_slots, NULL},
	};

	((struct lb_model *)into)->limits_line = lb_yaml_line(y);
	return lb_yaml_mapping(y, "limits", keys, ARRAY_SIZE(keys),
			       &((struct lb_model *)into)->limits);
}

static int read_default_scheduler(struct lb_yaml *y, void *into)
{
	return read_scheduler(y, &((struct lb_model *)into)->default_scheduler);
}

static int read_default_maglev_size(struct lb_yaml *y, void *into)
{
	return read_maglev_size(y, &((struct lb_model *)into)->default_maglev_size);
}

static int read_defaults(struct lb_yaml *y, void *into)
{
	static const struct lb_yaml_key keys[] = {
		{"scheduler", read_default_scheduler, NULL},
		{"maglev-size", read_default_maglev_size, NULL},
	};

	return lb_yaml_mapping(y, "defaults", keys, ARRAY_SIZE(keys), into);
}

static int read_model_timeouts(struct lb_yaml *y, void *into)
{
	struct lb_model *m = into;

	m->timeouts_line = lb_yaml_line(y);
	return read_timeouts(y, m->timeouts);
}

static int read_model_rates(struct lb_yaml *y, void *into)
{
	struct lb_model *m = into;

	m->rates_line = lb_yaml_line(y);
	return lb_config_read_rates(y, &m->rates);
}

/* The stream: one document, which is a mapping. */
static int read_stream(struct lb_yaml *y, struct lb_model *m)
{
	static const struct lb_yaml_key keys[] = {
		{"datapath", read_datapath, NULL},
		{"interfaces", read_interfaces, NULL},
		{"limits", read_limits, NULL},
		{"defaults", read_defaults, NULL},
		{"timeouts", read_model_timeouts, NULL},
		{"rates", read_model_rates, NULL},
		/* A file that was cut short must not remove all of them. */
		{"services", read_services, "services: []"},
	};
	int err = lb_yaml_next(y); /* start of the stream */

	if (!err)
		err = lb_yaml_next(y); /* of the document */
	if (!err && !lb_yaml_is(y, YAML_STREAM_END_EVENT))
		err = lb_yaml_next(y); /* of the mapping */
	if (err)
		return err;
	if (lb_yaml_is(y, YAML_STREAM_END_EVENT) || lb_yaml_is_nothing(y))
		return lb_yaml_refuse(y, "config", NULL,
				      "is empty: write at least \"services: []\"");
	err = lb_yaml_mapping(y, "config", keys, ARRAY_SIZE(keys), m);
	if (!err)
		err = lb_yaml_next(y); /* end of the document */
	if (!err)
		err = lb_yaml_next(y);
	if (!err && !lb_yaml_is(y, YAML_STREAM_END_EVENT))
		return lb_yaml_refuse(y, "document", "---",
				      "a second document: a config is one, remove the rest");
	return err;
}

static void set_max_connections(struct lb_service_conf *s)
{
	for (size_t i = 0; i < s->n_backends; i++)
		if (s->backends[i].max_connections == MAX_UNSET)
			s->backends[i].max_connections = s->max_connections;
	s->max_connections = 0;
}

static void set_defaults(struct lb_model *m)
{
	if (!m->limits.connections6)
		m->limits.connections6 = m->limits.connections;
	for (size_t i = 0; i < m->n_services; i++) {
		struct lb_service_conf *s = &m->services[i];

		if (s->scheduler == SCHEDULER_UNSET)
			s->scheduler = m->default_scheduler;
		if (s->unknown == UNKNOWN_UNSET)
			s->unknown = lb_unknown_default(s->scheduler);
		if (!s->maglev_size)
			s->maglev_size = m->default_maglev_size;
		set_max_connections(s);
	}
}

int lb_config_parse(struct lb_model *m, const char *text, size_t len, const char *name,
		    struct lb_err *err)
{
	struct lb_yaml y = {.text = text, .len = len, .name = name, .err = err};
	int ret;

	lb_model_init(m);
	m->limits.connections6 = 0; /* unset: as connections */
	ret = lb_config_check_text(text, len, name, err);
	if (!ret)
		ret = lb_yaml_open(&y);
	if (ret)
		goto out;
	ret = read_stream(&y, m);
	lb_yaml_close(&y);
	if (ret)
		goto out;
	set_defaults(m);
	ret = lb_config_check_model(m, name, err);
out:
	if (ret)
		lb_model_free(m);
	return ret;
}
