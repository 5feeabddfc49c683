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

struct group {
	const char *name;
	struct run *run;
	enum lb_hook *hook; /* those of the test that runs */
	enum lb_family *family;
	const struct run_service *services;
	size_t n_services;
};

/* Loads the programs with so many buckets, adds the services, and runs the tests four times.
 * Returns how many failed, 1 where the programs cannot be loaded. */
int group_run(const struct group *g, uint32_t buckets, uint64_t seed,
	      const struct CMUnitTest *tests, size_t n);

#endif
