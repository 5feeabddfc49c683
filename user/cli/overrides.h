/* SPDX-License-Identifier: GPL-2.0-or-later */
/* overrides.h - the weights that were set by hand, as a table and as JSON. */
#ifndef LB_OVERRIDES_H
#define LB_OVERRIDES_H

#include <jansson.h>
#include <stdio.h>

#include "core/model.h"

void lb_overrides_print(const struct lb_model *m, FILE *out); /* nothing where there are none */
json_t *lb_json_overrides(const struct lb_model *m);

#endif
