// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ebpf_slow.c - the maps by which the programs call their slow way.
 *
 * The kernel empties a program array when its last file or pin goes, even while programs use it. So
 * each load's arrays are pinned before its programs are attached, under the id of the program that
 * calls them, and a former load's go only after it has been replaced everywhere.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <bpf/bpf.h>

#include "datapath/ebpf_internal.h"
#include "lb.skel.h"

#define PREFIX "slow-"

int lb_slow_pin(const struct lb_dp *dp, const struct lb_bpf *skel, const struct lb_progs *progs,
		struct lb_err *err)
{
	const struct bpf_map *const maps[LB_HOOKS] = {
		[LB_HOOK_XDP] = skel->maps.lb_slow_xdp,
		[LB_HOOK_TC] = skel->maps.lb_slow_tc,
	};

	for (int i = 0; i < LB_HOOKS; i++) {
		char name[32], path[LB_PIN_MAX];

		snprintf(name, sizeof(name), PREFIX "%u", progs->id[i]);
		if (bpf_obj_pin(bpf_map__fd(maps[i]), lb_pin_path(dp, path, name)))
			return lb_err_sys(err, errno, "pinning \"%s\"", path);
	}
	return 0;
}

/* Removes those that belong to none of dp->progs. */
void lb_slow_trim(const struct lb_dp *dp)
{
	DIR *dir = opendir(dp->dir);
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		__u32 id;

		if (strncmp(e->d_name, PREFIX, strlen(PREFIX)) != 0)
			continue;
		id = strtoul(e->d_name + strlen(PREFIX), NULL, 10);
		if (id != dp->progs.id[LB_HOOK_XDP] && id != dp->progs.id[LB_HOOK_TC])
			unlinkat(dirfd(dir), e->d_name, 0);
	}
	if (dir)
		closedir(dir);
}
