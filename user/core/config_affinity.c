// SPDX-License-Identifier: GPL-2.0-or-later
/* config_affinity.c - `affinity:` of a service. */

#include "affinity.h"
#include "config_yaml.h"

static int read_timeout(struct lb_yaml *y, void *into)
{
	struct lb_service_conf *s = into;
	uint32_t seconds;
	int err = lb_yaml_duration(y, "affinity.timeout", lb_timeout_min(LB_TIMEOUT_AFFINITY),
				   LB_TIMEOUT_MAX, &seconds);

	if (err)
		return err;
	if (seconds != lb_timeout_default(LB_TIMEOUT_AFFINITY))
		s->timeouts[LB_TIMEOUT_AFFINITY] = seconds;
	return 0;
}

static int read_mask(struct lb_yaml *y, const char *what, uint32_t bits, uint8_t *into)
{
	uint32_t mask;
	int err = lb_yaml_number(y, what, 1, bits, &mask);

	if (!err)
		*into = (uint8_t)mask;
	return err;
}

static int read_mask4(struct lb_yaml *y, void *into)
{
	struct lb_service_conf *s = into;

	return read_mask(y, "affinity.mask", 32, &s->affinity.mask[LB_V4]);
}

static int read_mask6(struct lb_yaml *y, void *into)
{
	struct lb_service_conf *s = into;

	return read_mask(y, "affinity.mask6", 128, &s->affinity.mask[LB_V6]);
}

static int read_across(struct lb_yaml *y, void *into)
{
	struct lb_service_conf *s = into;

	return lb_yaml_bool(y, "affinity.across-ports", &s->affinity.across_ports);
}

/* A mapping, or the timeout alone. */
int lb_config_affinity(struct lb_yaml *y, void *into)
{
	static const struct lb_yaml_key keys[] = {
		{"timeout", read_timeout, NULL},
		{"mask", read_mask4, NULL},
		{"mask6", read_mask6, NULL},
		{"across-ports", read_across, NULL},
	};

	((struct lb_service_conf *)into)->affinity = LB_AFFINITY_DEFAULT;
	if (lb_yaml_is(y, YAML_SCALAR_EVENT))
		return read_timeout(y, into);
	return lb_yaml_mapping(y, "affinity", keys, sizeof(keys) / sizeof(keys[0]), into);
}
