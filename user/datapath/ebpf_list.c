// SPDX-License-Identifier: GPL-2.0-or-later
/* ebpf_list.c - the names of all instances on this host. */
#include <dirent.h>
#include <errno.h>

#include "ebpf_internal.h"

int lb_ebpf_list(lb_finding_fn fn, void *arg, struct lb_err *err)
{
	char path[LB_DIR_MAX];
	int ret = lb_bpffs_dir(path, sizeof(path), false, err);
	struct dirent *e;
	DIR *dir;

	if (ret)
		return ret == -ENOENT ? 0 : ret;
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? 0 : lb_err_sys(err, errno, "opening \"%s\"", path);
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.' || e->d_type != DT_DIR)
			continue;
		for (char *p = e->d_name; *p; p++) /* as lb_pin_path() names them */
			if (*p == ':')
				*p = '.';
		fn(arg, e->d_name);
	}
	closedir(dir);
	return 0;
}
