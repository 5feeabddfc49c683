/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_attach.c - what the hooks have in common: pinned links, whose program it is that one finds
 * there, and foreign programs that were taken off and may have to go back.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ebpf_internal.h"

/* A link lives on at the pin when its interface is gone or it was detached; ifindex is 0 then. An
 * XDP link's and a tcx link's info begin alike, with the ifindex. */
int lb_link_open(const struct lb_dp *dp, const char *pin, struct bpf_link_info *info)
{
	__u32 len = sizeof(*info);
	char path[LB_PIN_MAX];
	int fd = bpf_obj_get(lb_pin_path(dp, path, pin));

	if (fd >= 0 && bpf_obj_get_info_by_fd(fd, info, &len)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Keeps a new link: pins it and closes fd. At once, not under another name first: killed in
 * between, nobody would find it. */
int lb_link_keep(const struct lb_dp *dp, const char *pin, int fd)
{
	char path[LB_PIN_MAX];
	int ret;

	mkdir(lb_pin_path(dp, path, "links"), 0700);
	unlink(lb_pin_path(dp, path, pin));
	ret = bpf_obj_pin(fd, path) ? -errno : 0;
	if (ret)
		bpf_link_detach(fd);
	close(fd);
	return ret;
}

int lb_link_update(int fd, const struct bpf_link_info *info, const struct lb_progs *progs,
		   enum lb_hook hook)
{
	if (info->prog_id == progs->id[hook])
		return 0;
	return bpf_link_update(fd, progs->fd[hook], NULL) ? -errno : 0;
}

/* Detached, not only unpinned: a program that looks at the link must not keep it alive. A link to
 * another interface than `ifindex` (0: any) stays: names move from one interface to another. */
void lb_link_remove(const struct lb_dp *dp, const char *pin, __u32 ifindex)
{
	struct bpf_link_info info = {};
	int fd = lb_link_open(dp, pin, &info);
	char path[LB_PIN_MAX];

	if (fd < 0)
		return;
	if (!ifindex || !info.xdp.ifindex || info.xdp.ifindex == ifindex) {
		bpf_link_detach(fd);
		unlink(lb_pin_path(dp, path, pin));
	}
	close(fd);
}

/* Links whose pins bear another interface's name, as after a rename: one that is replaced under a
 * wrong name would end, and its interface be without a program. */
struct strayed {
	int fd;
	char from[LB_PIN_MAX], to[LB_PIN_MAX];
};

static bool link_strays(const struct lb_dp *dp, const char *name, const struct lb_links *links,
			struct strayed *s)
{
	const char *dash = strchr(name, '-');
	struct bpf_link_info info = {};
	const struct lb_link *link;

	snprintf(s->from, sizeof(s->from), "links/%.32s", name);
	s->fd = dash ? lb_link_open(dp, s->from, &info) : -1;
	link = s->fd < 0 ? NULL : lb_links_at(links, info.xdp.ifindex);
	if (link) {
		char is[LB_PIN_MAX], should[LB_PIN_MAX];

		snprintf(s->to, sizeof(s->to), "links/%.*s-%s", (int)(dash - name), name,
			 link->name);
		if (strcmp(lb_pin_path(dp, is, s->from), lb_pin_path(dp, should, s->to)) != 0)
			return true;
	}
	if (s->fd >= 0)
		close(s->fd);
	return false;
}

#define STRAYED_MAX 64 /* at a time: the rest are found by the next apply */

void lb_links_sort_out(const struct lb_dp *dp, const struct lb_links *links)
{
	DIR *dir = lb_instance_list(dp, "links");
	struct strayed *all = calloc(STRAYED_MAX, sizeof(*all));
	char path[LB_PIN_MAX];
	struct dirent *e;
	size_t n = 0;

	while (dir && all && n < STRAYED_MAX && (e = readdir(dir)))
		n += link_strays(dp, e->d_name, links, &all[n]);
	/* All are held: none ends while their names change. */
	for (size_t i = 0; i < n; i++)
		unlink(lb_pin_path(dp, path, all[i].from));
	for (size_t i = 0; i < n; i++) {
		lb_pin_replace(dp, all[i].to, all[i].fd);
		close(all[i].fd);
	}
	free(all);
	if (dir)
		closedir(dir);
}

/* Of links whose interface is gone there is nothing to replace. */
int lb_links_update(const struct lb_dp *dp, const struct lb_progs *progs, struct lb_err *err)
{
	DIR *dir = lb_instance_list(dp, "links");
	struct dirent *e;
	int ret = 0;

	while (dir && !ret && (e = readdir(dir))) {
		enum lb_hook hook = strncmp(e->d_name, "xdp-", 4) ? LB_HOOK_TC : LB_HOOK_XDP;
		struct bpf_link_info info = {};
		char path[LB_PIN_MAX];
		int fd;

		snprintf(path, sizeof(path), "links/%.32s", e->d_name);
		fd = lb_link_open(dp, path, &info);
		if (fd < 0)
			continue;
		if (info.xdp.ifindex)
			ret = lb_link_update(fd, &info, progs, hook);
		if (ret)
			lb_err_sys(err, -ret, "\"%s\": replacing its program", path);
		close(fd);
	}
	if (dir)
		closedir(dir);
	return ret;
}

void lb_links_unpin(const struct lb_dp *dp)
{
	char path[LB_PIN_MAX];
	DIR *dir = lb_instance_list(dp, "links");
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		snprintf(path, sizeof(path), "links/%.32s", e->d_name);
		lb_link_remove(dp, path, 0);
	}
	if (dir)
		closedir(dir);
}

/* Fills what info points to as well. */
static int prog_info(__u32 id, struct bpf_prog_info *info)
{
	__u32 len = sizeof(*info);
	int fd = bpf_prog_get_fd_by_id(id), ret;

	if (fd < 0)
		return -errno;
	ret = bpf_obj_get_info_by_fd(fd, info, &len) ? -errno : 0;
	close(fd);
	return ret;
}

const char *lb_prog_name(__u32 id, char buf[16])
{
	struct bpf_prog_info info = {};

	snprintf(buf, 16, "%s", prog_info(id, &info) ? "?" : info.name);
	return buf;
}

__u32 lb_prog_maps(__u32 id, __u32 maps[LB_PROG_MAPS])
{
	struct bpf_prog_info info = {.nr_map_ids = LB_PROG_MAPS, .map_ids = (__u64)(uintptr_t)maps};

	if (prog_info(id, &info))
		return 0;
	return info.nr_map_ids < LB_PROG_MAPS ? info.nr_map_ids : LB_PROG_MAPS;
}

static bool map_is_ours(const struct lb_dp *dp, __u32 id)
{
	for (int i = 0; i < LB_MAPS; i++) {
		struct bpf_map_info info = {};
		__u32 len = sizeof(info);

		if (dp->map_fd[i] >= 0 && !bpf_obj_get_info_by_fd(dp->map_fd[i], &info, &len) &&
		    info.id == id)
			return true;
	}
	return false;
}

bool lb_prog_is_ours(const struct lb_dp *dp, __u32 id)
{
	__u32 maps[LB_PROG_MAPS] = {}, n = lb_prog_maps(id, maps);

	for (__u32 i = 0; i < n; i++)
		if (map_is_ours(dp, maps[i]))
			return true;
	return false;
}

/* A map that every program of meshlb's has, and that its instance has pinned. */
#define KNOWN_BY LB_MAP_PORTS

static __u32 pinned_map_id(const char *path)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	int fd = bpf_obj_get(path);

	if (fd < 0)
		return 0;
	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		info.id = 0;
	close(fd);
	return info.id;
}

/* By what it works on and not by its name, which anybody can have. */
bool lb_prog_is_meshlb(const struct lb_dp *dp, __u32 id)
{
	__u32 maps[LB_PROG_MAPS] = {}, n = lb_prog_maps(id, maps);
	DIR *dir = lb_instance_list(dp, "..");
	bool is = lb_prog_is_ours(dp, id);
	struct dirent *e;

	while (!is && dir && (e = readdir(dir))) {
		char path[LB_PIN_MAX * 2];
		__u32 known;

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/../%.64s/%s", dp->dir, e->d_name,
			 lb_map_name(KNOWN_BY));
		known = pinned_map_id(path);
		for (__u32 i = 0; i < n && known && !is; i++)
			is = maps[i] == known;
	}
	if (dir)
		closedir(dir);
	return is;
}

/* Best effort: what cannot be held cannot be put back. */
void lb_displaced_add(struct lb_dp *dp, enum lb_hook hook, int ifindex, __u32 prog_id, __u32 flags)
{
	struct lb_displaced *d = calloc(1, sizeof(*d));

	if (!d)
		return;
	*d = (struct lb_displaced){.hook = hook,
				   .ifindex = ifindex,
				   .prog_fd = bpf_prog_get_fd_by_id(prog_id),
				   .flags = flags,
				   .next = dp->displaced};
	dp->displaced = d;
}

void lb_displaced_restore(struct lb_dp *dp)
{
	for (const struct lb_displaced *d = dp->displaced; d; d = d->next) {
		if (d->hook == LB_HOOK_XDP)
			lb_xdp_restore(d->ifindex, d->prog_fd, d->flags);
		else
			lb_tc_restore(d->ifindex, d->prog_fd);
	}
	lb_displaced_forget(dp);
}

void lb_displaced_forget(struct lb_dp *dp)
{
	while (dp->displaced) {
		struct lb_displaced *d = dp->displaced;

		dp->displaced = d->next;
		if (d->prog_fd >= 0)
			close(d->prog_fd);
		free(d);
	}
}
