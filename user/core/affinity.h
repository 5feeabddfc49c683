/* SPDX-License-Identifier: GPL-2.0-or-later */
/* affinity.h - a service's affinity: compared, shown. */
#ifndef LB_AFFINITY_H
#define LB_AFFINITY_H

#include "model.h"

bool lb_affinity_equal(const struct lb_affinity_conf *a, const struct lb_affinity_conf *b);
uint32_t lb_affinity_timeout(const struct lb_service_conf *s); /* seconds */

/* "none", "5m mask 32 mask6 128 across-ports". Returns its buffer. */
#define LB_AFFINITY_MAX 80
const char *lb_affinity_str(char buf[LB_AFFINITY_MAX], const struct lb_service_conf *s);

#endif
