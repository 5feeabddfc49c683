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
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "ebpf_internal.h"
#include "lock.h"

#define BPFFS      "/sys/fs/bpf"
#define HOST_BPFFS "/proc/1/root" BPFFS

static bool is_bpffs(const char *path)
{
	struct statfs fs;

	return !statfs(path, &fs) && fs.f_type == BPF_FS_MAGIC;
}

/* The mount namespace of the host's init. An init with more capabilities than ours may not be
 * looked at, but then kthreadd, whose namespace it was started in. */
static int host_mounts(struct stat *st)
{
	char comm[17] = "";
	FILE *f;
	int ret;

	if (!stat("/proc/1/ns/mnt", st))
		return 0;
	ret = errno;
	f = fopen("/proc/2/comm", "re");
	if (f && fscanf(f, "%16s", comm) == 1 && !strcmp(comm, "kthreadd") &&
	    !stat("/proc/2/ns/mnt", st))
		ret = 0;
	if (f)
		fclose(f);
	errno = ret;
	return ret ? -1 : 0;
}

/* `ip netns exec` runs its command in a mount namespace of its own, with a fresh /sys: a bpffs
 * mounted there would end, and every pin with it, as soon as the command does. -errno where that
 * cannot be told. */
static int mounts_are_private(void)
{
	struct stat mine, init;

	if (stat("/proc/self/ns/mnt", &mine) || host_mounts(&init))
		return -errno;
	return mine.st_ino != init.st_ino;
}

/* Ours, else the host's; NULL: there is none. */
static const char *bpffs_root(void)
{
	return is_bpffs(BPFFS) ? BPFFS : is_bpffs(HOST_BPFFS) ? HOST_BPFFS : NULL;
}

static int bpffs_mount(struct lb_err *err)
{
	int private = mounts_are_private();

	if (private < 0)
		return lb_err_set(err, ENODEV,
				  "no bpffs at \"%s\", and whether one mounted here would last "
				  "cannot be told (\"/proc/1/ns/mnt\": %s): run `mount -t bpf bpf "
				  "%s` in the host's own mount namespace",
				  BPFFS, strerror(-private), BPFFS);
	if (private)
		return lb_err_set(err, ENODEV,
				  "no bpffs at \"%s\", and this mount namespace is a private "
				  "one: use `nsenter --net=...` rather than `ip netns exec`, "
				  "or run `mount -t bpf bpf %s` outside of it",
				  BPFFS, BPFFS);
	if (mount("bpf", BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700"))
		return lb_err_sys(err, errno, "mounting bpffs at \"%s\"", BPFFS);
	return 0;
}

int lb_bpffs_dir(char *buf, size_t size, bool may_mount, struct lb_err *err)
{
	const char *root = bpffs_root();
	int ret = 0;

	if (!root && !may_mount)
		return lb_err_set(err, ENOENT, "no bpffs at \"%s\"", BPFFS);
	if (!root)
		ret = bpffs_mount(err);
	snprintf(buf, size, "%s/meshlb", root ? root : BPFFS);
	return ret;
}

int lb_bpffs_probe(void)
{
	const char *root = bpffs_root();

	if (root)
		return access(root, W_OK) ? errno : 0;
	if (mounts_are_private())
		return ENODEV;
	return access(BPFFS, F_OK) ? errno : 0; /* where it can be mounted */
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

/* What is removed from a directory must be ours: neither a symbolic link nor another file system
 * may lead elsewhere. `path` is for the message. */
static int dir_open(int at, const char *name, const char *path, struct lb_err *err)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), ret = -errno;
	struct statfs fs;

	if (fd >= 0 && (fstatfs(fd, &fs) || fs.f_type != BPF_FS_MAGIC)) {
		close(fd);
		fd = -1;
		ret = -ENOTDIR;
	}
	if (fd >= 0)
		return fd;
	if (ret == -ELOOP || ret == -ENOTDIR)
		return lb_err_set(err, -ret,
				  "\"%s\": it should be a directory of bpffs itself, not a file, a "
				  "symbolic link or a mount: remove it",
				  path);
	return lb_err_sys(err, -ret, "opening \"%s\"", path);
}

/* Fills dp->dir and opens it into dp->dir_fd. */
static int instance_dir(struct lb_dp *dp, bool make, struct lb_err *err)
{
	char base[LB_DIR_MAX - sizeof(dp->instance)];
	int ret = lb_bpffs_dir(base, sizeof(base), make, err), base_fd;
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
	base_fd = dir_open(AT_FDCWD, base, base, err);
	if (base_fd < 0)
		return base_fd;
	if (make && mkdirat(base_fd, name, 0700) && errno != EEXIST && errno != ENOENT)
		ret = lb_err_sys(err, errno, "making \"%s\"", dp->dir);
	else
		ret = dp->dir_fd = dir_open(base_fd, name, dp->dir, err);
	close(base_fd);
	return ret < 0 ? ret : 0;
}

/* Opens the instance's directory, and locks it where the handle is to write. A `down` may remove
 * the directory while we wait for it: then the lock is on nothing, and we look again. */
int lb_instance_lock(struct lb_dp *dp, bool make, struct lb_err *err)
{
	for (;;) {
		struct stat held, there;
		int ret = instance_dir(dp, make, err);

		if (ret == -ENOENT && make && dp->dir[0]) /* removed meanwhile */
			continue;
		if (ret == -ENOENT && !make)
			return lb_err_set(err, ENOENT,
					  "instance \"%s\": there is none: `meshlb apply` makes it",
					  dp->instance);
		if (ret || !dp->write)
			return ret;
		ret = lb_lock_file(dp->dir_fd, dp->instance);
		if (ret)
			return lb_err_sys(err, -ret, "locking \"%s\"", dp->dir);
		if (!fstat(dp->dir_fd, &held) && !lstat(dp->dir, &there) &&
		    held.st_ino == there.st_ino && held.st_dev == there.st_dev) {
			lb_grace_begin(&dp->grace);
			return 0;
		}
		close(dp->dir_fd);
		dp->dir_fd = -1;
	}
}

/* ---------------------------------------------------------------- removal */

DIR *lb_instance_list(const struct lb_dp *dp, const char *name)
{
	int fd = openat(dp->dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (fd >= 0 && !dir)
		close(fd);
	return dir;
}

static bool is_dir(int at, const char *name)
{
	struct stat st;

	return !fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) && S_ISDIR(st.st_mode);
}

static bool is_own_dir(const char *in, const char *name)
{
	return !strcmp(in, ".") && (!strcmp(name, "links") || !strcmp(name, LB_PIN_NEXT));
}

/* Is there something below `name` that is not ours? */
static int strangers_check(const struct lb_dp *dp, const char *name, struct lb_err *err)
{
	DIR *dir = lb_instance_list(dp, name);
	struct dirent *e;
	int ret = 0;

	while (dir && !ret && (e = readdir(dir)))
		if (e->d_name[0] != '.' && is_dir(dirfd(dir), e->d_name) &&
		    !is_own_dir(name, e->d_name))
			ret = lb_err_set(err, EISDIR,
					 "removing \"%s\": in it is a directory \"%s\", which is "
					 "not meshlb's: remove that first",
					 dp->dir, e->d_name);
	if (dir)
		closedir(dir);
	return ret;
}

/* Asked before anything is taken off. */
int lb_instance_removable(const struct lb_dp *dp, struct lb_err *err)
{
	int ret = strangers_check(dp, ".", err);

	if (!ret && faccessat(dp->dir_fd, ".", W_OK, 0))
		ret = lb_err_sys(err, errno, "removing \"%s\"", dp->dir);
	if (!ret)
		ret = strangers_check(dp, "links", err);
	return ret ? ret : strangers_check(dp, LB_PIN_NEXT, err);
}

static int unlink_all(const struct lb_dp *dp, const char *name, struct lb_err *err)
{
	DIR *dir = lb_instance_list(dp, name);
	struct dirent *e;
	int ret = 0;

	while (dir && (e = readdir(dir)))
		if (e->d_name[0] != '.' && !is_dir(dirfd(dir), e->d_name) &&
		    unlinkat(dirfd(dir), e->d_name, 0) && !ret)
			ret = lb_err_sys(err, errno, "removing \"%s/%s\"", dp->dir, e->d_name);
	if (dir)
		closedir(dir);
	return ret;
}

static int dir_remove(const struct lb_dp *dp, const char *name, struct lb_err *err)
{
	int ret = unlink_all(dp, name, err);

	if (!ret && is_dir(dp->dir_fd, name) && unlinkat(dp->dir_fd, name, AT_REMOVEDIR))
		ret = lb_err_sys(err, errno, "removing \"%s/%s\"", dp->dir, name);
	return ret;
}

/* What an interrupted migration left; best effort. */
void lb_instance_forget_next(const struct lb_dp *dp)
{
	struct lb_err ignored;

	dir_remove(dp, LB_PIN_NEXT, &ignored);
}

/* All pins; the directory, and with it the lock, stays. */
int lb_instance_clear(const struct lb_dp *dp, struct lb_err *err)
{
	int ret = dir_remove(dp, LB_PIN_NEXT, err);

	if (!ret)
		ret = dir_remove(dp, "links", err);
	return ret ? ret : unlink_all(dp, ".", err);
}

/* What stands in the directory of `next` takes the place of what dp has; lb_config comes last, for
 * by it the instance is known. */
int lb_instance_adopt(const struct lb_dp *dp, const struct lb_dp *next, struct lb_err *err)
{
	const char *last = lb_map_name(LB_MAP_CONFIG);
	DIR *dir = lb_instance_list(next, ".");
	struct dirent *e;
	int ret = 0;

	while (dir && !ret && (e = readdir(dir)))
		if (e->d_name[0] != '.' && strcmp(e->d_name, last) != 0 &&
		    renameat(next->dir_fd, e->d_name, dp->dir_fd, e->d_name))
			ret = -errno;
	if (!ret && renameat(next->dir_fd, last, dp->dir_fd, last))
		ret = -errno;
	if (dir)
		closedir(dir);
	if (ret)
		return lb_err_sys(err, -ret, "moving \"%s\" to \"%s\"", next->dir, dp->dir);
	return dir_remove(dp, LB_PIN_NEXT, err);
}

int lb_instance_unlink(const struct lb_dp *dp, struct lb_err *err)
{
	char path[LB_DIR_MAX];
	int ret = lb_instance_clear(dp, err);

	if (!ret && rmdir(dp->dir))
		ret = lb_err_sys(err, errno, "removing \"%s\"", dp->dir);
	snprintf(path, sizeof(path), "%s", dp->dir);
	*strrchr(path, '/') = '\0';
	rmdir(path); /* <bpffs>/meshlb, where this was the last instance */
	return ret;
}
