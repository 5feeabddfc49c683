/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * config_yaml.h - a YAML text as a stream of events, and the shapes that a config is made of.
 *
 * Readers are called with their value's first event current and leave its last one current. All
 * return 0, or -EINVAL or -ENOMEM with y->err filled.
 */
#ifndef LB_CONFIG_YAML_H
#define LB_CONFIG_YAML_H

#include <yaml.h>

#include "config_private.h"

struct lb_yaml {
	const char *text, *name; /* name: the file's, for messages */
	size_t len;
	struct lb_err *err;
	yaml_parser_t parser;
	yaml_event_t event; /* the current one */
};

struct lb_yaml_key {
	const char *name;
	int (*read)(struct lb_yaml *y, void *into);
	const char *needed; /* what to write where it is left out; NULL: it may be */
};

int lb_yaml_open(struct lb_yaml *y); /* text, len, name and err are set */
void lb_yaml_close(struct lb_yaml *y);
int lb_yaml_next(struct lb_yaml *y);

/* About the current event. */
int lb_yaml_line(const struct lb_yaml *y);
bool lb_yaml_is(const struct lb_yaml *y, yaml_event_type_t type);
bool lb_yaml_is_nothing(const struct lb_yaml *y);   /* `key:` alone */
const char *lb_yaml_value(const struct lb_yaml *y); /* of a scalar, else "" */

int lb_yaml_no_memory(const struct lb_yaml *y);
#define lb_yaml_refuse(y, what, value, ...)                                                        \
	lb_config_refuse((y)->err, (y)->name, lb_yaml_line(y), what, value, __VA_ARGS__)

/* A scalar that is not empty; `right` says what it should be. */
int lb_yaml_expect_scalar(struct lb_yaml *y, const char *what, const char *right);
int lb_yaml_number(struct lb_yaml *y, const char *what, uint32_t min, uint32_t max, uint32_t *into);
/* "90", "30s", "1h30m" in seconds. */
int lb_yaml_duration(struct lb_yaml *y, const char *what, uint32_t min, uint32_t max,
		     uint32_t *into);
int lb_yaml_bool(struct lb_yaml *y, const char *what, bool *into);
/* A value of an enum by its name. */
int lb_yaml_choice(struct lb_yaml *y, const char *what, const char *(*name)(unsigned int),
		   int (*from_name)(const char *), unsigned int n, uint8_t *into);
int lb_yaml_mapping(struct lb_yaml *y, const char *what, const struct lb_yaml_key *keys, size_t n,
		    void *into);
int lb_yaml_list(struct lb_yaml *y, const char *what, int (*item)(struct lb_yaml *, void *),
		 void *into);

/* config_affinity.c - a service's `affinity`; into: struct lb_service_conf */
int lb_config_affinity(struct lb_yaml *y, void *into);

/* What `rates` says (config_rates.c); what it leaves out stays. */
int lb_config_read_rates(struct lb_yaml *y, struct lb_rates_conf *r);

#endif
