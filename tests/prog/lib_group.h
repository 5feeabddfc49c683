/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lib_group.h - tests that are run by both hooks and in both families.
 */
#ifndef LIB_GROUP_H
#define LIB_GROUP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "lib_run.h"

/* Those of the test that runs. */
extern struct run run;
extern enum lb_hook hook;
extern enum lb_family family;

/* Loads the programs with so many buckets, adds the services, and runs the tests four times.
 * Returns how many failed, 1 where the programs cannot be loaded. */
#define group_run(name, services, buckets, seed, tests)                                            \
	group_run_all(name, services, sizeof(services) / sizeof((services)[0]), buckets, seed,     \
		      tests, sizeof(tests) / sizeof((tests)[0]))
int group_run_all(const char *name, const struct run_service *services, size_t n_services,
		  uint32_t buckets, uint64_t seed, const struct CMUnitTest *tests, size_t n);

#endif
