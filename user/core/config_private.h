/* SPDX-License-Identifier: GPL-2.0-or-later */
/* config_private.h - what the files of the config reader share; for nobody else. */
#ifndef LB_CONFIG_PRIVATE_H
#define LB_CONFIG_PRIVATE_H

#include "config.h"

/* Ranges of `limits`, as docs/meshlb.yaml.5 says. The largest ones are where 32-bit numbers of
 * buckets and slots, or the memory of any host, end. */
#define LB_LIMIT_CONNECTIONS_MIN 1024u
#define LB_LIMIT_CONNECTIONS_MAX 500000000u
#define LB_LIMIT_SERVICES_MAX    1000000u
#define LB_LIMIT_RING_SLOTS_MIN  1024u
#define LB_LIMIT_RING_SLOTS_MAX  (1u << 30)

/* Fills err with `file:line: what: "value": right`, unprintable bytes of value escaped, a long one
 * cut; value NULL: there is none to show. Returns -EINVAL. */
int lb_config_refuse(struct lb_err *err, const char *file, int line, const char *what,
		     const char *value, const char *fmt, ...) __attribute__((format(printf, 6, 7)));

/* Refuses a text that is too large or not made of the characters that YAML allows. */
int lb_config_check_text(const char *text, size_t len, const char *file, struct lb_err *err);

/* Sorts m, and refuses what each line alone does not show: duplicates, too much, a listen without
 * backends. Names the later of two lines. */
int lb_config_check_model(struct lb_model *m, const char *file, struct lb_err *err);

/* Refuses a sorted model whose listens or rings have no room within its limits. */
int lb_config_check_room(const struct lb_model *m, const char *file, struct lb_err *err);

#endif
