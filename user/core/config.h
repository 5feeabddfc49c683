/* SPDX-License-Identifier: GPL-2.0-or-later */
/* config.h - the YAML config file (docs/meshlb.yaml.5) to a model, and a model to YAML. */
#ifndef LB_CONFIG_H
#define LB_CONFIG_H

#include <stdio.h>
#include "log.h"
#include "model.h"

#define LB_CONFIG_PATH     "/etc/meshlb/meshlb.yaml"
#define LB_CONFIG_SIZE_MAX (64u << 20) /* bytes of text: a larger one is refused unparsed */

/*
 * Reads `path` ("-": standard input) into *m, which is lb_model_init()ed here, checked as far as
 * the text alone allows, and sorted. Returns 0; or -EINVAL, -E2BIG, -ENOMEM or the errno of open
 * or read, with err->text "file:line: what: "value": what would be right" and *m empty.
 */
int lb_config_load(struct lb_model *m, const char *path, struct lb_err *err);

/* The same from memory; `name` stands for the file in messages. */
int lb_config_parse(struct lb_model *m, const char *text, size_t len, const char *name,
		    struct lb_err *err);

/* Writes *m as a config that lb_config_load() reads back to an equal model. 0 or -errno. */
int lb_config_write(const struct lb_model *m, FILE *out);

#endif
