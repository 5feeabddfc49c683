/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lib_group.c - tests by both hooks and in both families.
 */
#include "lib_group.h"

#include <stdio.h>
#include <string.h>

struct run run;
enum lb_hook hook;
enum lb_family family;

int group_run_all(const char *name, const struct run_service *services, size_t n_services,
		  uint32_t buckets, uint64_t seed, const struct CMUnitTest *tests, size_t n)
{
	int failed = run_open(&run, buckets, buckets, seed);
	char title[64];

	if (failed) {
		fprintf(stderr, "%s: loading the programs: %s\n", name, strerror(-failed));
		return 1;
	}
	for (size_t i = 0; i < n_services; i++)
		run_add_service(&run, &services[i]);
	for (int h = 0; h < LB_HOOKS; h++)
		for (int f = 0; f < LB_FAMILIES; f++) {
			hook = h;
			family = f;
			snprintf(title, sizeof(title), "%s, %s, IPv%d", name,
				 h == LB_HOOK_XDP ? "XDP" : "tc", f == LB_V4 ? 4 : 6);
			failed += _cmocka_run_group_tests(title, tests, n, NULL, NULL);
		}
	run_close(&run);
	return failed;
}
