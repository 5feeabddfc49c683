/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_dir.c - where an instance is pinned, <bpffs>/meshlb/<instance>/, and its lock: flock() on
 * that very directory, so that the lock lives and dies with what it guards.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "ebpf_internal.h"

#define BPFFS "/sys/fs/bpf"

static bool is_bpffs(const char *path)
{
	struct statfs fs;

	return !statfs(path, &fs) && fs.f_type == BPF_FS_MAGIC;
}

/* `ip netns exec` runs its command in a mount namespace of its own, with a fresh /sys: a bpffs
 * mounted there would end, and every pin with it, as soon as the command does. */
static bool mounts_are_private(void)
{
	struct stat mine, init;

	return !stat("/proc/self/ns/mnt", &mine) && !stat("/proc/1/ns/mnt", &init) &&
	       mine.st_ino != init.st_ino;
}

int lb_bpffs_dir(char *buf, size_t size, bool may_mount, struct lb_err *err)
{
	const char *root = BPFFS;

	if (!is_bpffs(root) && mounts_are_private()) {
		root = "/proc/1/root" BPFFS;
		if (!is_bpffs(root))
			return lb_err_set(
				err, ENODEV,
				"no bpffs at \"%s\", and this mount namespace is a private "
				"one: use `nsenter --net=...` rather than `ip netns exec`, "
				"or run `mount -t bpf bpf %s` outside of it",
				BPFFS, BPFFS);
	} else if (!is_bpffs(root)) {
		if (!may_mount)
			return lb_err_set(err, ENOENT, "no bpffs at \"%s\"", BPFFS);
		if (mount("bpf", root, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700"))
			return lb_err_sys(err, errno, "mounting bpffs at \"%s\"", BPFFS);
	}
	snprintf(buf, size, "%s/meshlb", root);
	return 0;
}

/* bpffs refuses names with a dot; no interface's or instance's name has a colon. */
char *lb_pin_path(const struct lb_dp *dp, char *buf, const char *name)
{
	size_t base = strlen(dp->dir);

	snprintf(buf, LB_PIN_MAX, "%s/%s", dp->dir, name);
	for (char *p = buf + base; *p; p++)
		if (*p == '.')
			*p = ':';
	return buf;
}

int lb_pin_replace(const struct lb_dp *dp, const char *name, int fd)
{
	char path[LB_PIN_MAX], fresh[LB_PIN_MAX + 8];

	lb_pin_path(dp, path, name);
	snprintf(fresh, sizeof(fresh), "%s:new", path);
	unlink(fresh);
	if (bpf_obj_pin(fd, fresh))
		return -errno;
	if (rename(fresh, path)) {
		int ret = -errno;

		unlink(fresh);
		return ret;
	}
	return 0;
}

__u64 lb_netns_inode(void)
{
	struct stat st;

	return stat("/proc/self/ns/net", &st) ? 0 : st.st_ino;
}

static int instance_path(struct lb_dp *dp, bool make, struct lb_err *err)
{
	char base[LB_DIR_MAX - sizeof(dp->instance)];
	int ret = lb_bpffs_dir(base, sizeof(base), make, err);
	char *name;

	if (ret)
		return ret;
	snprintf(dp->dir, sizeof(dp->dir), "%s/%s", base, dp->instance);
	name = dp->dir + strlen(base) + 1;
	for (char *p = name; *p; p++)
		if (*p == '.')
			*p = ':';
	if (make && mkdir(base, 0700) && errno != EEXIST)
		return lb_err_sys(err, errno, "making \"%s\"", base);
	if (make && mkdir(dp->dir, 0700) && errno != EEXIST && errno != ENOENT)
		return lb_err_sys(err, errno, "making \"%s\"", dp->dir);
	return 0;
}

/* Opens the instance's directory, and locks it where the handle is to write. A `down` may remove
 * the directory while we wait for it: then the lock is on nothing, and we look again. */
int lb_instance_lock(struct lb_dp *dp, bool make, struct lb_err *err)
{
	for (;;) {
		struct stat held, there;
		int ret = instance_path(dp, make, err);

		if (ret)
			return ret;
		dp->dir_fd = open(dp->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (dp->dir_fd < 0 && make && errno == ENOENT)
			continue;
		if (dp->dir_fd < 0 && errno == ENOENT)
			return lb_err_set(err, ENOENT,
					  "instance \"%s\": there is none: `meshlb apply` makes it",
					  dp->instance);
		if (dp->dir_fd < 0)
			return lb_err_sys(err, errno, "opening \"%s\"", dp->dir);
		if (!dp->write)
			return 0;
		while ((ret = flock(dp->dir_fd, LOCK_EX)) && errno == EINTR)
			;
		if (ret)
			return lb_err_sys(err, errno, "locking \"%s\"", dp->dir);
		if (!fstat(dp->dir_fd, &held) && !stat(dp->dir, &there) &&
		    held.st_ino == there.st_ino && held.st_dev == there.st_dev) {
			lb_grace_begin(&dp->grace);
			return 0;
		}
		close(dp->dir_fd);
		dp->dir_fd = -1;
	}
}

static void unlink_all(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *e;

	while (dir && (e = readdir(dir)))
		if (e->d_name[0] != '.')
			unlinkat(dirfd(dir), e->d_name, 0);
	if (dir)
		closedir(dir);
}

/* All pins; the directory, and with it the lock, stays. */
void lb_instance_clear(const struct lb_dp *dp)
{
	char path[LB_PIN_MAX];

	/* lb_config goes first: without it the rest counts as half made, whatever happens to us. */
	unlink(lb_pin_path(dp, path, lb_map_name(LB_MAP_CONFIG)));
	unlink_all(lb_pin_path(dp, path, "links"));
	rmdir(path);
	unlink_all(dp->dir);
}

void lb_instance_unlink(const struct lb_dp *dp)
{
	char path[LB_DIR_MAX];

	lb_instance_clear(dp);
	rmdir(dp->dir);
	snprintf(path, sizeof(path), "%s", dp->dir);
	*strrchr(path, '/') = '\0';
	rmdir(path); /* <bpffs>/meshlb, where this was the last instance */
}
