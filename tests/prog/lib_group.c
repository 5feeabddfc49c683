/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lib_group.c - tests by both hooks and in both families.
 */
#include "lib_group.h"

#include <stdio.h>
#include <string.h>

int group_run(const struct group *g, uint32_t buckets, uint64_t seed,
	      const struct CMUnitTest *tests, size_t n)
{
	int failed = run_open(g->run, buckets, buckets, seed);
	char name[64];

	if (failed) {
		fprintf(stderr, "%s: loading the programs: %s\n", g->name, strerror(-failed));
		return 1;
	}
	for (size_t i = 0; i < g->n_services; i++)
		run_add_service(g->run, &g->services[i]);
	for (int hook = 0; hook < LB_HOOKS; hook++)
		for (int family = 0; family < LB_FAMILIES; family++) {
			*g->hook = hook;
			*g->family = family;
			snprintf(name, sizeof(name), "%s, %s, IPv%d", g->name,
				 hook == LB_HOOK_XDP ? "XDP" : "tc", family == LB_V4 ? 4 : 6);
			failed += _cmocka_run_group_tests(name, tests, n, NULL, NULL);
		}
	run_close(g->run);
	return failed;
}
