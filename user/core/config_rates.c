// SPDX-License-Identifier: GPL-2.0-or-later
/* config_rates.c - `rates` of a config: new flows in a second. */

#include "config_yaml.h"

static int read_per_cpu(struct lb_yaml *y, void *into)
{
	return lb_yaml_number(y, "rates.per-cpu", 0, LB_RATE_MAX,
			      &((struct lb_rates_conf *)into)->per_cpu);
}

static int read_per_source(struct lb_yaml *y, void *into)
{
	return lb_yaml_number(y, "rates.per-source", 0, LB_RATE_MAX,
			      &((struct lb_rates_conf *)into)->per_source);
}

static int read_source_mask(struct lb_yaml *y, void *into)
{
	return lb_yaml_number(y, "rates.source-mask", 1, 32,
			      &((struct lb_rates_conf *)into)->source_mask);
}

static int read_source_mask6(struct lb_yaml *y, void *into)
{
	return lb_yaml_number(y, "rates.source-mask6", 1, 128,
			      &((struct lb_rates_conf *)into)->source_mask6);
}

int lb_config_read_rates(struct lb_yaml *y, struct lb_rates_conf *r)
{
	static const struct lb_yaml_key keys[] = {
		{"per-cpu", read_per_cpu, NULL},
		{"per-source", read_per_source, NULL},
		{"source-mask", read_source_mask, NULL},
		{"source-mask6", read_source_mask6, NULL},
	};

	return lb_yaml_mapping(y, "rates", keys, sizeof(keys) / sizeof(*keys), r);
}
