// SPDX-License-Identifier: GPL-2.0-or-later
/* sysctl.c - numbers under /proc/sys/net, of this network namespace. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sysctl.h"

static int sysctl_open(const char *path, int flags)
{
	char full[PATH_MAX];
	int fd;

	if (snprintf(full, sizeof(full), "/proc/sys/%s", path) >= (int)sizeof(full))
		return -ENAMETOOLONG;
	fd = open(full, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int lb_sysctl_get(const char *path)
{
	int fd = sysctl_open(path, O_RDONLY);
	char buf[16];
	ssize_t len;
	int err;

	if (fd < 0)
		return fd;
	len = read(fd, buf, sizeof(buf) - 1);
	err = -errno;
	close(fd);
	if (len < 0)
		return err;
	buf[len] = '\0';
	return (int)strtol(buf, NULL, 10);
}

int lb_sysctl_set(const char *path, int value)
{
	int fd = sysctl_open(path, O_WRONLY);
	int err = 0;

	if (fd < 0)
		return fd;
	if (dprintf(fd, "%d\n", value) < 0)
		err = -errno;
	close(fd);
	return err;
}

int lb_sysctl_can_set(const char *path)
{
	int fd = sysctl_open(path, O_WRONLY);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}
