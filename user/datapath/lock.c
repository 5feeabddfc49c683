// SPDX-License-Identifier: GPL-2.0-or-later
/* lock.c - one writer an instance, by flock(). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lock.h"

#define TRY_MS   20
#define QUIET_MS 1000
#define WAIT_MS  15000

int lb_lock_file(int fd, const char *instance)
{
	const struct timespec nap = {.tv_nsec = TRY_MS * 1000000};

	for (int ms = 0; ms < QUIET_MS; ms += TRY_MS) {
		if (!flock(fd, LOCK_EX | LOCK_NB))
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		nanosleep(&nap, NULL);
	}
	lb_info("instance \"%s\": another meshlb is changing it: waiting for it", instance);
	while (flock(fd, LOCK_EX))
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* The file goes before the lock. */
void lb_lock_release(struct lb_lock *l, bool remove)
{
	if (l->fd < 0)
		return;
	if (remove)
		unlink(l->path);
	close(l->fd);
	l->fd = -1;
}

static void path_make(struct lb_lock *l, const char *instance, const char *what)
{
	snprintf(l->path, sizeof(l->path), LB_RUN_DIR "/%s.%s.lock", instance, what);
}

/* Whoever removes the instance removes the file: then what we hold is nobody's, and we try again.
 */
int lb_lock_take(struct lb_lock *l, const char *instance, const char *what, struct lb_err *err)
{
	struct stat held, there;
	int ret;

	if (mkdir(LB_RUN_DIR, 0700) && errno != EEXIST)
		return lb_err_sys(err, errno, "making \"" LB_RUN_DIR "\"");
	path_make(l, instance, what);
	do {
		lb_lock_release(l, false);
		l->fd = open(l->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (l->fd < 0)
			return lb_err_sys(err, errno, "opening \"%s\"", l->path);
		ret = lb_lock_file(l->fd, instance);
		if (ret)
			return lb_err_sys(err, -ret, "locking \"%s\"", l->path);
	} while (fstat(l->fd, &held) || lstat(l->path, &there) || held.st_ino != there.st_ino);
	return 0;
}

void lb_lock_wait_file(int fd)
{
	const struct timespec nap = {.tv_nsec = TRY_MS * 1000000};

	for (int ms = 0; flock(fd, LOCK_SH | LOCK_NB) && ms < WAIT_MS; ms += TRY_MS) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return;
		nanosleep(&nap, NULL);
	}
	flock(fd, LOCK_UN);
}

void lb_lock_wait(const char *instance, const char *what)
{
	struct lb_lock l = {.fd = -1};
	int fd;

	path_make(&l, instance, what);
	fd = open(l.path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) /* nobody has it */
		return;
	lb_lock_wait_file(fd);
	close(fd);
}
