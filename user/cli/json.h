/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * json.h - output for programs: one object with "schema" and "kind", described in meshlb(8).
 *
 * A schema gains keys; what is taken away or gets another meaning raises LB_JSON_SCHEMA.
 */
#ifndef LB_JSON_H
#define LB_JSON_H

#include <jansson.h>

#include "core/model.h"
#include "core/reconcile.h"
#include "text.h"

#define LB_JSON_SCHEMA 1

json_t *lb_json_new(const char *kind);
int lb_json_print(json_t *object); /* to stdout, and frees it; LB_EXIT_DONE */

json_t *lb_json_endpoint(const struct lb_endpoint *at); /* "10.0.0.1:80" */
json_t *lb_json_counters(const struct lb_counters *c);
json_t *lb_json_listens(const struct lb_service_conf *s);
json_t *lb_json_backend(const struct lb_backend_conf *b);
json_t *lb_json_affinity(const struct lb_service_conf *s);
json_t *lb_json_timeouts(const uint32_t timeouts[LB_TIMEOUTS]);
json_t *lb_json_rates(const struct lb_rates_conf *r);
json_t *lb_json_service(const struct lb_service_conf *s);
json_t *lb_json_interface(const struct lb_interface_conf *i);
json_t *lb_json_defaults(const struct lb_model *m);
json_t *lb_json_texts(const struct lb_texts *t);
json_t *lb_json_diff(const struct lb_diff *d);

#endif
