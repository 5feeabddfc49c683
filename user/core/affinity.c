// SPDX-License-Identifier: GPL-2.0-or-later
/* affinity.c - a service's affinity. */

#include "affinity.h"

#include <string.h>

#include "duration.h"

bool lb_affinity_equal(const struct lb_affinity_conf *a, const struct lb_affinity_conf *b)
{
	return !memcmp(a->mask, b->mask, sizeof(a->mask)) && a->across_ports == b->across_ports;
}

uint32_t lb_affinity_timeout(const struct lb_service_conf *s)
{
	uint32_t own = s->timeouts[LB_TIMEOUT_AFFINITY];

	return own ? own : lb_timeout_default(LB_TIMEOUT_AFFINITY);
}

const char *lb_affinity_str(char buf[LB_AFFINITY_MAX], const struct lb_service_conf *s)
{
	const struct lb_affinity_conf *a = &s->affinity;
	char timeout[LB_DURATION_MAX];

	if (lb_service_has_affinity(s))
		snprintf(buf, LB_AFFINITY_MAX, "%s mask %u mask6 %u%s",
			 lb_duration_exact(timeout, lb_affinity_timeout(s)), a->mask[LB_V4],
			 a->mask[LB_V6], a->across_ports ? " across-ports" : "");
	else
		snprintf(buf, LB_AFFINITY_MAX, "none");
	return buf;
}
