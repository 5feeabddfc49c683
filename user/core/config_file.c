// SPDX-License-Identifier: GPL-2.0-or-later
/* config_file.c - a config from a file or standard input, in one piece and of bounded size. */

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Reads all of fd, up to one byte more than is allowed, which the parser then refuses. A file's
 * size is a first guess only: a pipe has none, and a file may grow. */
static int read_all(int fd, size_t guess, char **text, size_t *len)
{
	size_t room = guess < LB_CONFIG_SIZE_MAX ? guess + 1 : LB_CONFIG_SIZE_MAX + 1;
	ssize_t n = 1;
	char *grown;

	*text = NULL;
	for (*len = 0; n > 0 && *len <= LB_CONFIG_SIZE_MAX; *len += n) {
		if (!*text || *len == room) {
			if (*text)
				room = room * 2 + 4096;
			grown = realloc(*text, room);
			if (!grown)
				return -ENOMEM;
			*text = grown;
		}
		do
			n = read(fd, *text + *len, room - *len);
		while (n < 0 && errno == EINTR);
		if (n < 0)
			return -errno;
	}
	return 0;
}

int lb_config_load(struct lb_model *m, const char *path, struct lb_err *err)
{
	bool standard = !strcmp(path, "-");
	const char *name = standard ? "<stdin>" : path;
	struct stat st = {0};
	char *text = NULL;
	size_t len;
	int fd, ret;

	*m = (struct lb_model){0};
	fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st)) {
		ret = lb_err_sys(err, errno, "%s: cannot open the config", name);
		goto out;
	}
	ret = read_all(fd, S_ISREG(st.st_mode) ? st.st_size : 0, &text, &len);
	if (ret)
		lb_err_sys(err, -ret, "%s: cannot read the config", name);
	else
		ret = lb_config_parse(m, text, len, name, err);
out:
	free(text);
	if (fd >= 0 && !standard)
		close(fd);
	return ret;
}
