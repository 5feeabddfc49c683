/* SPDX-License-Identifier: GPL-2.0-or-later */
/* model_util.h - comparing whole models, and random numbers that a printed seed repeats. */
#ifndef TEST_MODEL_UTIL_H
#define TEST_MODEL_UTIL_H

#include "core/model.h"

/* All that a config says is equal: not lines, ids and overrides. Both sorted. */
bool model_equal(const struct lb_model *a, const struct lb_model *b);

/* Seeds test_random() from $SEED or the clock, and prints the seed. */
void test_seed(void);
uint32_t test_random(uint32_t below);

#endif
