/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_xdp.c - the XDP program on one interface: a pinned bpf_link, native or generic, and what to
 * do about another's program in its place.
 */
#include <errno.h>
#include <linux/if_link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ebpf_internal.h"

static const struct {
	const char *name;
	__u32 flag;
} modes[] = {
	{"native", XDP_FLAGS_DRV_MODE},
	{"generic", XDP_FLAGS_SKB_MODE},
	{"offloaded", XDP_FLAGS_HW_MODE},
};
#define MODES (sizeof(modes) / sizeof(modes[0]))

static int xdp_ids(int ifindex, __u32 ids[MODES])
{
	LIBBPF_OPTS(bpf_xdp_query_opts, q);
	int ret = bpf_xdp_query(ifindex, 0, &q);

	ids[0] = q.drv_prog_id;
	ids[1] = q.skb_prog_id;
	ids[2] = q.hw_prog_id;
	return ret;
}

static char *pin_name(char buf[LB_PIN_MAX], const char *ifname)
{
	snprintf(buf, LB_PIN_MAX, "links/xdp-%s", ifname);
	return buf;
}

/*
 * A program attached by a link leaves only when the link is detached; others by netlink. Links of
 * all network namespaces are listed, and do not say of which they are: interfaces of two may have
 * one index, so it must be the program's, too, and nobody is touched where two links could be it.
 */
static int xdp_take_off(int ifindex, __u32 prog_id, __u32 mode_flag)
{
	int found = -1, ret = 0;
	__u32 id = 0;

	while (!bpf_link_get_next_id(id, &id) && !ret) {
		struct bpf_link_info info = {};
		__u32 len = sizeof(info);
		int fd = bpf_link_get_fd_by_id(id);

		if (fd < 0)
			continue;
		if (bpf_obj_get_info_by_fd(fd, &info, &len) || info.type != BPF_LINK_TYPE_XDP ||
		    info.xdp.ifindex != (__u32)ifindex || info.prog_id != prog_id) {
			close(fd);
		} else if (found < 0) {
			found = fd;
		} else {
			close(fd);
			ret = -ENOTUNIQ;
		}
	}
	if (found < 0)
		return bpf_xdp_detach(ifindex, mode_flag, NULL);
	if (!ret && bpf_link_detach(found))
		ret = -errno;
	close(found);
	return ret;
}

/* Takes off whatever is not ours, where that is allowed. */
static int foreign_displace(struct lb_dp *dp, const char *name, int ifindex, bool ours,
			    struct lb_err *err)
{
	__u32 ids[MODES] = {};
	int ret = xdp_ids(ifindex, ids);

	if (ret)
		return lb_err_sys(err, -ret, "interface \"%s\": asking for its XDP program", name);
	for (size_t i = 0; i < MODES; i++) {
		char prog[16];

		if (!ids[i])
			continue;
		if (!dp->force && !ours && !lb_prog_is_ours(dp, ids[i]))
			return lb_err_set(err, EBUSY,
					  "interface \"%s\": XDP program \"%s\" (id %u) is on it: "
					  "remove it, or take its place with --force",
					  name, lb_prog_name(ids[i], prog), ids[i]);
		if (!lb_prog_is_ours(dp, ids[i]))
			lb_displaced_add(dp, LB_HOOK_XDP, ifindex, ids[i], modes[i].flag);
		ret = xdp_take_off(ifindex, ids[i], modes[i].flag);
		if (ret)
			return lb_err_sys(err, -ret,
					  "interface \"%s\": taking XDP program \"%s\" (id %u) off",
					  name, lb_prog_name(ids[i], prog), ids[i]);
	}
	return 0;
}

static int xdp_attach(struct lb_dp *dp, const char *name, int ifindex, bool generic, int prog_fd,
		      struct lb_err *err)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts,
		    .flags = generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE);
	int fd = bpf_link_create(prog_fd, ifindex, BPF_XDP, &opts), ret;
	char pin[LB_PIN_MAX];

	if (fd < 0 && errno == EOPNOTSUPP && !generic)
		return lb_err_set(err, EOPNOTSUPP, "interface \"%s\": its driver has no native XDP",
				  name);
	if (fd < 0)
		return lb_err_sys(err, errno, "interface \"%s\": attaching XDP in %s mode", name,
				  generic ? "generic" : "native");
	ret = lb_link_keep(dp, pin_name(pin, name), fd);
	return ret ? lb_err_sys(err, -ret, "interface \"%s\": pinning its XDP link", name) : 0;
}

/* Returns 1 where it had to attach, 0 where our link stood, or -errno. */
int lb_xdp_ensure(struct lb_dp *dp, const char *name, int ifindex, bool generic, bool ours,
		  const struct lb_progs *progs, struct lb_err *err)
{
	struct bpf_link_info info = {};
	char pin[LB_PIN_MAX];
	int fd = lb_link_open(dp, pin_name(pin, name), &info), ret;
	__u32 ids[MODES] = {};

	if (fd >= 0 && info.xdp.ifindex == (__u32)ifindex && !xdp_ids(ifindex, ids) &&
	    ids[generic] == info.prog_id) {
		ret = lb_link_update(fd, &info, progs, LB_HOOK_XDP);
		close(fd);
		return ret ? lb_err_sys(err, -ret, "interface \"%s\": replacing its XDP program",
					name)
			   : 0;
	}
	if (fd >= 0)
		close(fd);
	lb_link_remove(dp, pin, 0);
	ret = foreign_displace(dp, name, ifindex, ours, err);
	if (!ret)
		ret = xdp_attach(dp, name, ifindex, generic, progs->fd[LB_HOOK_XDP], err);
	return ret ? ret : 1;
}

__u32 lb_xdp_in_front(const struct lb_dp *dp, int ifindex)
{
	__u32 ids[MODES] = {};

	xdp_ids(ifindex, ids);
	for (size_t i = 0; i < MODES; i++)
		if (ids[i] && !lb_prog_is_meshlb(dp, ids[i]))
			return ids[i];
	return 0;
}

/* What stands before a tc hook is there by right: it goes only with --force. */
int lb_xdp_clear(struct lb_dp *dp, const char *name, int ifindex, struct lb_err *err)
{
	if (!dp->force || !lb_xdp_in_front(dp, ifindex))
		return 0;
	return foreign_displace(dp, name, ifindex, true, err);
}

void lb_xdp_remove(const struct lb_dp *dp, const char *name, int ifindex)
{
	char pin[LB_PIN_MAX];

	lb_link_remove(dp, pin_name(pin, name), ifindex);
}

void lb_xdp_restore(int ifindex, int prog_fd, __u32 mode_flag)
{
	bpf_xdp_attach(ifindex, prog_fd, mode_flag | XDP_FLAGS_UPDATE_IF_NOEXIST, NULL);
}

void lb_xdp_query(const struct lb_dp *dp, const char *name, int ifindex, struct lb_attachment *a)
{
	struct bpf_link_info info = {};
	char pin[LB_PIN_MAX], prog[16];
	int fd = lb_link_open(dp, pin_name(pin, name), &info);
	__u32 ids[MODES] = {};

	*a = (struct lb_attachment){.mode = ""};
	if (fd >= 0)
		close(fd);
	xdp_ids(ifindex, ids);
	for (size_t i = 0; i < MODES; i++) {
		if (fd >= 0 && ids[i] && ids[i] == info.prog_id) {
			a->prog_id = ids[i];
			a->mode = modes[i].name;
		} else if (ids[i]) {
			snprintf(a->trouble, sizeof(a->trouble),
				 "foreign XDP program \"%s\" (id %u) is in its place",
				 lb_prog_name(ids[i], prog), ids[i]);
		}
	}
	if (!a->prog_id && !a->trouble[0])
		snprintf(a->trouble, sizeof(a->trouble), "its XDP link is lost");
}
