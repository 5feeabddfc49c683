/* SPDX-License-Identifier: GPL-2.0-or-later */
/* model_make.h - models made line by line in tests. What cannot be made ends the test program. */
#ifndef TEST_MODEL_MAKE_H
#define TEST_MODEL_MAKE_H

#include "core/model.h"

/* rr, a Maglev size of 65,537, no listens, no backends. */
struct lb_service_conf *make_service(struct lb_model *m, const char *name, enum lb_source source);
void make_listen(struct lb_service_conf *s, const char *text);
struct lb_backend_conf *make_backend(struct lb_service_conf *s, const char *text, uint32_t weight);
void make_interface(struct lb_model *m, const char *name, enum lb_hook_kind hook);

/* One that is there; the model is sorted, and remains so. */
struct lb_service_conf *the_service(struct lb_model *m, const char *name);
void remove_service(struct lb_model *m, const char *name);
void remove_interface(struct lb_model *m, const char *name);

#endif
