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
#include <bpf/btf.h>

#include "datapath/ebpf_internal.h"
#include "lb.skel.h"

#define PREFIX "slow-"

static const struct {
	const char *array, *progs[LB_FAMILIES];
} slow[LB_HOOKS] = {
	[LB_HOOK_XDP] = {"lb_slow_xdp", {"meshlb_xdp_slow4", "meshlb_xdp_slow6"}},
	[LB_HOOK_TC] = {"lb_slow_tc", {"meshlb_tc_slow4", "meshlb_tc_slow6"}},
};

static char *pin_path(const struct lb_dp *dp, char buf[LB_PIN_MAX], __u32 prog_id)
{
	char name[32];

	snprintf(name, sizeof(name), PREFIX "%u", prog_id);
	return lb_pin_path(dp, buf, name);
}

int lb_slow_pin(const struct lb_dp *dp, const struct lb_bpf *skel, const struct lb_progs *progs,
		struct lb_err *err)
{
	const struct bpf_map *const maps[LB_HOOKS] = {
		[LB_HOOK_XDP] = skel->maps.lb_slow_xdp,
		[LB_HOOK_TC] = skel->maps.lb_slow_tc,
	};

	for (int i = 0; i < LB_HOOKS; i++) {
		char path[LB_PIN_MAX];

		if (bpf_obj_pin(bpf_map__fd(maps[i]), pin_path(dp, path, progs->id[i])))
			return lb_err_sys(err, errno, "pinning \"%s\"", path);
	}
	return 0;
}

/* ---------------------------------------------------------------- is it as it was made? */

/* The kernel keeps 15 characters of a program's name; the function's in the BTF is whole. */
static bool prog_is_function(const struct bpf_prog_info *info, const char *name)
{
	const struct bpf_func_info *first = (const void *)(uintptr_t)info->func_info;
	struct btf *btf = info->nr_func_info ? btf__load_from_kernel_by_id(info->btf_id) : NULL;
	const struct btf_type *t = btf ? btf__type_by_id(btf, first->type_id) : NULL;
	bool is = t && !strcmp(btf__name_by_offset(btf, t->name_off), name);

	btf__free(btf);
	return is;
}

/* Programs that were loaded together have one BTF, that nobody else has. */
static bool prog_is_loaded_with(__u32 id, __u32 btf_id, const char *name)
{
	struct bpf_func_info func = {};
	struct bpf_prog_info info = {.nr_func_info = 1,
				     .func_info_rec_size = sizeof(func),
				     .func_info = (__u64)(uintptr_t)&func};
	__u32 len = sizeof(info);
	int fd = bpf_prog_get_fd_by_id(id);
	bool is = fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len) && info.btf_id == btf_id &&
		  prog_is_function(&info, name);

	if (fd >= 0)
		close(fd);
	return is;
}

static bool prog_has_map(__u32 id, __u32 map_id)
{
	__u32 maps[LB_PROG_MAPS], n = lb_prog_maps(id, maps);

	for (__u32 i = 0; i < n; i++)
		if (maps[i] == map_id)
			return true;
	return false;
}

/* Finds what is wrong with the array that the pinned program of a hook calls. */
static void array_audit(struct lb_dp *dp, enum lb_hook hook, struct lb_audit *a)
{
	struct bpf_prog_info prog = {};
	struct bpf_map_info map = {};
	__u32 prog_len = sizeof(prog), map_len = sizeof(map);
	char path[LB_PIN_MAX];
	int fd;

	if (dp->progs.fd[hook] < 0) /* told already */
		return;
	fd = bpf_obj_get(pin_path(dp, path, dp->progs.id[hook]));
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &map, &map_len) ||
	    bpf_obj_get_info_by_fd(dp->progs.fd[hook], &prog, &prog_len) ||
	    !prog_has_map(prog.id, map.id)) {
		lb_finding(a, "programs: the pin \"%s\" of map \"%s\" is %s: %s", path,
			   slow[hook].array, fd < 0 ? "missing" : "another map's",
			   "new connections are dropped (bad-state)");
		goto out;
	}
	for (__u32 family = 0; family < LB_FAMILIES; family++) {
		__u32 id = 0;

		if (bpf_map_lookup_elem(fd, &family, &id))
			lb_finding(a, "programs: \"%s\" has no program \"%s\": %s",
				   slow[hook].array, slow[hook].progs[family],
				   "new connections are dropped (bad-state)");
		else if (!prog_is_loaded_with(id, prog.btf_id, slow[hook].progs[family]))
			lb_finding(a, "programs: \"%s\" calls program %u, which is not \"%s\"",
				   slow[hook].array, id, slow[hook].progs[family]);
	}
out:
	if (fd >= 0)
		close(fd);
}

void lb_slow_audit(struct lb_dp *dp, struct lb_audit *a)
{
	for (int hook = 0; hook < LB_HOOKS; hook++)
		array_audit(dp, hook, a);
}

void lb_slow_each(struct lb_dp *dp, void (*fn)(struct lb_dp *dp, __u32 prog_id))
{
	DIR *dir = lb_instance_list(dp, ".");
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		char path[LB_PIN_MAX];
		int fd;

		if (strncmp(e->d_name, PREFIX, strlen(PREFIX)) != 0)
			continue;
		fd = bpf_obj_get(pin_path(dp, path, strtoul(e->d_name + strlen(PREFIX), NULL, 10)));
		for (__u32 family = 0; family < LB_FAMILIES && fd >= 0; family++) {
			__u32 id = 0;

			if (!bpf_map_lookup_elem(fd, &family, &id))
				fn(dp, id);
		}
		if (fd >= 0)
			close(fd);
	}
	if (dir)
		closedir(dir);
}

int lb_slow_former(const struct lb_dp *dp, enum lb_call call, const struct lb_progs *former,
		   struct lb_err *err)
{
	int ret = 0;

	for (int hook = 0; hook < LB_HOOKS && !ret; hook++) {
		char path[LB_PIN_MAX];
		int fd = bpf_obj_get(pin_path(dp, path, dp->progs.id[hook]));

		if (fd < 0)
			return lb_err_sys(err, errno, "opening \"%s\"", path);
		if (former)
			ret = bpf_map_update_elem(fd, &call, &former->fd[hook], BPF_ANY);
		else if (bpf_map_delete_elem(fd, &call) && errno != ENOENT)
			ret = -1;
		if (ret)
			ret = lb_err_sys(err, errno, "writing to \"%s\"", slow[hook].array);
		close(fd);
	}
	return ret;
}

/* The last one that is not asked any more. */
bool lb_slow_has_former(const struct lb_dp *dp)
{
	__u32 call = LB_CALL_FORMER, id = 0;
	bool has = false;

	for (int hook = 0; hook < LB_HOOKS && !has; hook++) {
		char path[LB_PIN_MAX];
		int fd = bpf_obj_get(pin_path(dp, path, dp->progs.id[hook]));

		has = fd >= 0 && !bpf_map_lookup_elem(fd, &call, &id);
		if (fd >= 0)
			close(fd);
	}
	return has;
}

/* Removes those that belong to none of dp->progs. */
void lb_slow_trim(const struct lb_dp *dp)
{
	DIR *dir = lb_instance_list(dp, ".");
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
