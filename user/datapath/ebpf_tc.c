/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_tc.c - the tc program on one interface: a pinned tcx link at the head of the queue (Linux
 * 6.6), or before that a filter of the clsact qdisc with handle 1 and priority 1.
 */
#include <errno.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ebpf_internal.h"
#include "net/nl.h"

/* Not in the headers of Debian 12. */
#define TCX_INGRESS ((enum bpf_attach_type)46) /* BPF_TCX_INGRESS */
#define MPROG_FIRST 8 /* BPF_F_BEFORE, without naming a program: the head */
#define TCX_PROGS   64

static char *pin_name(char buf[LB_PIN_MAX], const char *ifname)
{
	snprintf(buf, LB_PIN_MAX, "links/tc-%s", ifname);
	return buf;
}

/* The programs of the interface in their order. -errno where the kernel has no tcx. */
static int tcx_ids(int ifindex, __u32 ids[TCX_PROGS])
{
	LIBBPF_OPTS(bpf_prog_query_opts, q, .prog_ids = ids, .prog_cnt = TCX_PROGS);

	return bpf_prog_query_opts(ifindex, TCX_INGRESS, &q) ? -errno : (int)q.prog_cnt;
}

/* Programs of other instances pass on what is not theirs, so they may stand before ours. */
static __u32 tcx_in_front(const struct lb_dp *dp, int ifindex, __u32 ours)
{
	__u32 ids[TCX_PROGS];
	int n = tcx_ids(ifindex, ids);

	for (int i = 0; i < n && ids[i] != ours; i++)
		if (!lb_prog_is_meshlb(dp, ids[i]))
			return ids[i];
	return 0;
}

static int tcx_attach(struct lb_dp *dp, const char *name, int ifindex, int prog_fd,
		      struct lb_err *err)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = MPROG_FIRST);
	int fd = bpf_link_create(prog_fd, ifindex, TCX_INGRESS, &opts), ret;
	char pin[LB_PIN_MAX];

	if (fd < 0)
		return lb_err_sys(err, errno, "interface \"%s\": attaching to tcx", name);
	ret = lb_link_keep(dp, pin_name(pin, name), fd);
	return ret ? lb_err_sys(err, -ret, "interface \"%s\": pinning its tcx link", name) : 0;
}

static int tcx_ensure(struct lb_dp *dp, const char *name, int ifindex, const struct lb_progs *progs,
		      struct lb_err *err)
{
	struct bpf_link_info info = {};
	char pin[LB_PIN_MAX];
	int fd = lb_link_open(dp, pin_name(pin, name), &info), ret;

	if (fd >= 0 && info.xdp.ifindex == (__u32)ifindex &&
	    !tcx_in_front(dp, ifindex, info.prog_id)) {
		ret = lb_link_update(fd, &info, progs, LB_HOOK_TC);
		close(fd);
		return ret ? lb_err_sys(err, -ret, "interface \"%s\": replacing its tc program",
					name)
			   : 0;
	}
	if (fd >= 0)
		close(fd);
	lb_link_remove(dp, pin, 0);
	ret = tcx_attach(dp, name, ifindex, progs->fd[LB_HOOK_TC], err);
	return ret ? ret : 1;
}

/* ---------------------------------------------------------------- clsact */

#define CLSACT_HOOK(index)                                                                         \
	((struct bpf_tc_hook){.sz = sizeof(struct bpf_tc_hook),                                    \
			      .ifindex = index,                                                    \
			      .attach_point = BPF_TC_INGRESS})

__u32 lb_clsact_id(int ifindex)
{
	struct bpf_tc_hook hook = CLSACT_HOOK(ifindex);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = 1);

	return bpf_tc_query(&hook, &opts) ? 0 : opts.prog_id;
}

static int clsact_attach(int ifindex, int prog_fd)
{
	struct bpf_tc_hook hook = CLSACT_HOOK(ifindex);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = 1, .prog_fd = prog_fd,
		    .flags = BPF_TC_F_REPLACE);

	return bpf_tc_attach(&hook, &opts);
}

/* Makes the qdisc where there is none, and takes note of that: others' must stay. */
static int clsact_make(const struct lb_dp *dp, int ifindex)
{
	struct bpf_tc_hook hook = CLSACT_HOOK(ifindex);
	struct lb_iface iface;
	int ret = bpf_tc_hook_create(&hook);

	if (!ret && lb_iface_get(dp, ifindex, &iface)) {
		iface.flags |= LB_IFACE_CLSACT;
		lb_iface_put(dp, ifindex, &iface);
	}
	return ret == -EEXIST ? 0 : ret;
}

static int clsact_ensure(struct lb_dp *dp, const char *name, int ifindex, bool ours,
			 const struct lb_progs *progs, struct lb_err *err)
{
	__u32 there = lb_clsact_id(ifindex);
	char prog[16];
	int ret;

	if (there == progs->id[LB_HOOK_TC])
		return 0;
	if (there && !lb_prog_is_ours(dp, there)) {
		if (!dp->force && !ours)
			return lb_err_set(
				err, EBUSY,
				"interface \"%s\": tc program \"%s\" (id %u) has handle 1 "
				"and priority 1: remove it, or take its place with "
				"--force",
				name, lb_prog_name(there, prog), there);
		lb_displaced_add(dp, LB_HOOK_TC, ifindex, there, 0);
	}
	ret = clsact_make(dp, ifindex);
	if (!ret)
		ret = clsact_attach(ifindex, progs->fd[LB_HOOK_TC]);
	if (ret)
		return lb_err_sys(err, -ret, "interface \"%s\": attaching a tc filter", name);
	return there ? 0 : 1;
}

/* Where a filter of this instance is. 0 or -errno. */
int lb_clsact_replace(const struct lb_dp *dp, int ifindex, const struct lb_progs *progs)
{
	__u32 there = lb_clsact_id(ifindex);

	return there && lb_prog_is_ours(dp, there) ? clsact_attach(ifindex, progs->fd[LB_HOOK_TC])
						   : 0;
}

static int count_filter(const struct nlmsghdr *nlh, void *arg)
{
	*(int *)arg += nlh->nlmsg_type == RTM_NEWTFILTER;
	return MNL_CB_OK;
}

/* Has anybody a filter on this side of the clsact qdisc? In doubt yes: the qdisc then stays. */
static bool clsact_in_use(int ifindex, __u32 side)
{
	char buf[MNL_NLMSG_HDRLEN + sizeof(struct tcmsg)];
	struct nlmsghdr *req = mnl_nlmsg_put_header(buf);
	struct lb_nl nl;
	struct tcmsg *tc;
	int n = 0, ret;

	req->nlmsg_type = RTM_GETTFILTER;
	req->nlmsg_flags = NLM_F_DUMP;
	tc = mnl_nlmsg_put_extra_header(req, sizeof(*tc));
	tc->tcm_ifindex = ifindex;
	tc->tcm_parent = TC_H_MAKE(TC_H_CLSACT, side);
	if (lb_nl_open(&nl, NETLINK_ROUTE))
		return true;
	ret = lb_nl_request(&nl, req, count_filter, &n);
	lb_nl_close(&nl);
	return ret || n;
}

/* Takes our filter off, and the qdisc with it where we made it and nobody else has a filter there.
 */
static void clsact_remove(const struct lb_dp *dp, int ifindex)
{
	struct bpf_tc_hook hook = CLSACT_HOOK(ifindex);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = 1);
	__u32 there = lb_clsact_id(ifindex);
	struct lb_iface iface;

	if (!there || !lb_prog_is_ours(dp, there) || bpf_tc_detach(&hook, &opts))
		return;
	if (!lb_iface_get(dp, ifindex, &iface) || !(iface.flags & LB_IFACE_CLSACT))
		return;
	if (clsact_in_use(ifindex, TC_H_MIN_INGRESS) || clsact_in_use(ifindex, TC_H_MIN_EGRESS))
		return;
	hook.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS;
	bpf_tc_hook_destroy(&hook);
}

/* ---------------------------------------------------------------- either */

static bool tcx_is_there(int ifindex)
{
	__u32 ids[TCX_PROGS];

	return tcx_ids(ifindex, ids) >= 0;
}

/* Returns 1 where it had to attach, 0 where ours was there, or -errno. */
int lb_tcx_probe(void)
{
	__u32 ids[TCX_PROGS];
	int n = tcx_ids(1, ids); /* of the loopback interface, which every namespace has */

	return n < 0 ? -n : 0;
}

/* In a network namespace of its own, that goes with the process. */
static int clsact_try(int prog_fd)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = 1, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = prog_fd);
	int ret;

	if (unshare(CLONE_NEWNET))
		return 0; /* it cannot be told: apply will say */
	ret = bpf_tc_hook_create(&hook);
	return -(ret ? ret : bpf_tc_attach(&hook, &opts));
}

/* The kernel loads modules for it when they are needed: the only way to know is to use it. Where
 * they are there already, they need not be tried. */
int lb_clsact_probe(void)
{
	int fd, status = 0;
	pid_t pid;

	if (!access("/sys/module/sch_ingress", F_OK) && !access("/sys/module/cls_bpf", F_OK))
		return 0;
	fd = lb_prog_least(BPF_PROG_TYPE_SCHED_CLS, 0, 0);
	if (fd < 0)
		return -fd;
	pid = fork();
	if (!pid)
		_exit(clsact_try(fd));
	if (pid > 0)
		waitpid(pid, &status, 0);
	close(fd);
	return pid < 0 ? errno : WEXITSTATUS(status);
}

int lb_tc_ensure(struct lb_dp *dp, const char *name, int ifindex, bool ours,
		 const struct lb_progs *progs, struct lb_err *err)
{
	if (tcx_is_there(ifindex))
		return tcx_ensure(dp, name, ifindex, progs, err);
	return clsact_ensure(dp, name, ifindex, ours, progs, err);
}

void lb_tc_remove(const struct lb_dp *dp, const char *name, int ifindex)
{
	char pin[LB_PIN_MAX];

	lb_link_remove(dp, pin_name(pin, name), ifindex);
	if (!tcx_is_there(ifindex))
		clsact_remove(dp, ifindex);
}

void lb_tc_restore(int ifindex, int prog_fd)
{
	clsact_attach(ifindex, prog_fd);
}

bool lb_tc_runs(const struct lb_dp *dp, int ifindex)
{
	__u32 ids[TCX_PROGS];
	int n = tcx_ids(ifindex, ids);

	if (n < 0)
		ids[0] = lb_clsact_id(ifindex);
	n = n < 0 ? ids[0] != 0 : n;
	for (int i = 0; i < n; i++)
		if (lb_prog_is_ours(dp, ids[i]))
			return true;
	return false;
}

void lb_tc_query(const struct lb_dp *dp, const char *name, int ifindex, struct lb_attachment *a)
{
	struct bpf_link_info info = {};
	char pin[LB_PIN_MAX], prog[16];
	bool tcx = tcx_is_there(ifindex);
	__u32 other = 0;
	int fd;

	*a = (struct lb_attachment){.mode = tcx ? "tcx" : "clsact"};
	if (tcx) {
		fd = lb_link_open(dp, pin_name(pin, name), &info);
		if (fd >= 0)
			close(fd);
		if (fd >= 0 && info.xdp.ifindex == (__u32)ifindex) {
			a->prog_id = info.prog_id;
			other = tcx_in_front(dp, ifindex, info.prog_id);
		}
	} else {
		a->prog_id = lb_clsact_id(ifindex);
		if (a->prog_id && !lb_prog_is_ours(dp, a->prog_id)) {
			other = a->prog_id;
			a->prog_id = 0;
		}
	}
	if (other)
		snprintf(a->trouble, sizeof(a->trouble),
			 "foreign tc program \"%s\" (id %u) is in %s", lb_prog_name(other, prog),
			 other, tcx ? "front of it" : "its place");
	else if (!a->prog_id)
		snprintf(a->trouble, sizeof(a->trouble), "its tc %s is lost",
			 tcx ? "link" : "filter");
}
