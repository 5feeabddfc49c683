/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ebpf_hookstatus.c - the hooks as they really are, and where that is not what lb_ifaces says. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ebpf_internal.h"

/* Is the interface the one that it was? Else says what became of it. */
static bool iface_stands(__u32 ifindex, const char *name, char *trouble, size_t size)
{
	__u32 now = if_nametoindex(name);
	char renamed[IF_NAMESIZE];

	if (now == ifindex)
		return true;
	if (if_indextoname(ifindex, renamed))
		snprintf(trouble, size, "the interface is called \"%s\" now", renamed);
	else if (now)
		snprintf(trouble, size, "the interface was made anew: its index is %u, was %u", now,
			 ifindex);
	else
		snprintf(trouble, size, "the interface is gone");
	return false;
}

/* Another's XDP program on an interface of which only tc is ours. */
static bool xdp_in_front(const struct lb_dp *dp, __u32 ifindex, char *trouble, size_t size)
{
	__u32 id = lb_xdp_in_front(dp, ifindex);
	char name[16];

	if (id)
		snprintf(trouble, size,
			 "foreign XDP program \"%s\" (id %u) sees its packets first: remove it, or "
			 "run `meshlb apply --force`",
			 lb_prog_name(id, name), id);
	return id;
}

static void hook_fill(const struct lb_dp *dp, struct lb_hook_status *h, __u32 ifindex,
		      const struct lb_iface *iface, enum lb_hook hook)
{
	bool is_tc = hook == LB_HOOK_TC;
	struct lb_attachment a;

	*h = (struct lb_hook_status){.ifindex = ifindex,
				     .wanted = iface->wanted,
				     .kind = is_tc ? LB_KIND_TC : iface->actual,
				     .behind_xdp = is_tc && iface->actual != LB_KIND_TC,
				     .attached = iface->attached};
	snprintf(h->ifname, sizeof(h->ifname), "%s", iface->name);
	if (!iface_stands(ifindex, iface->name, h->trouble, sizeof(h->trouble)))
		return;
	if (is_tc)
		lb_tc_query(dp, iface->name, ifindex, &a);
	else
		lb_xdp_query(dp, iface->name, ifindex, &a);
	if (is_tc && iface->actual == LB_KIND_TC && !a.trouble[0])
		h->left = xdp_in_front(dp, ifindex, a.trouble, sizeof(a.trouble));
	h->prog_id = a.prog_id;
	snprintf(h->mode, sizeof(h->mode), "%s", a.mode);
	snprintf(h->trouble, sizeof(h->trouble), "%s", a.trouble);
	if (!a.prog_id)
		return;
	lb_prog_name(a.prog_id, h->prog_name);
	if (!h->trouble[0] && a.prog_id != dp->progs.id[hook])
		snprintf(h->trouble, sizeof(h->trouble), "it runs program %u, the instance's is %u",
			 a.prog_id, dp->progs.id[hook]);
	else if (!h->trouble[0] && !is_tc &&
		 strcmp(a.mode, iface->actual == LB_KIND_XDP ? "native" : "generic") != 0)
		snprintf(h->trouble, sizeof(h->trouble), "it is in %s mode, should be \"%s\"",
			 a.mode, lb_hook_kind_name(iface->actual));
}

static int hook_cmp(const void *a, const void *b)
{
	const struct lb_hook_status *x = a, *y = b;
	int order = strcmp(x->ifname, y->ifname);

	return order ? order : (int)x->behind_xdp - (int)y->behind_xdp;
}

int lb_hooks_status(struct lb_dp *dp, struct lb_hook_status **hooks, size_t *n, struct lb_err *err)
{
	struct lb_iface *ifaces;
	__u32 *ifindexes;
	size_t found;
	int ret = lb_ifaces_read(dp, &ifindexes, &ifaces, &found, err);

	*hooks = NULL;
	*n = 0;
	if (ret)
		return ret;
	*hooks = calloc(found * LB_HOOKS + 1, sizeof(**hooks));
	for (size_t i = 0; *hooks && i < found; i++) {
		if (!(ifaces[i].flags & LB_IFACE_ATTACHED))
			continue;
		if (ifaces[i].actual != LB_KIND_TC)
			hook_fill(dp, &(*hooks)[(*n)++], ifindexes[i], &ifaces[i], LB_HOOK_XDP);
		hook_fill(dp, &(*hooks)[(*n)++], ifindexes[i], &ifaces[i], LB_HOOK_TC);
	}
	free(ifindexes);
	free(ifaces);
	if (!*hooks)
		return lb_err_sys(err, ENOMEM, "reading the hooks");
	qsort(*hooks, *n, sizeof(**hooks), hook_cmp);
	return 0;
}

/* Flags that promise more than is so: packets that XDP sends there would be lost. */
static int flags_audit(struct lb_dp *dp, struct lb_audit *a, struct lb_err *err)
{
	struct lb_xdp_features features = {};
	struct lb_iface *ifaces = NULL;
	struct lb_links links = {};
	__u32 *ifindexes = NULL;
	size_t n = 0;
	int ret = lb_links_read(&links);

	if (!ret)
		ret = lb_xdp_features_read(&features);
	if (ret)
		lb_err_sys(err, -ret, "reading the interfaces");
	else
		ret = lb_ifaces_read(dp, &ifindexes, &ifaces, &n, err);
	for (size_t i = 0; i < n; i++) {
		const struct lb_link *link = lb_links_at(&links, ifindexes[i]);
		bool native = ifaces[i].actual == LB_KIND_XDP;
		__u8 flags = ifaces[i].flags & (LB_IFACE_XMIT | LB_IFACE_TX);

		if (lb_iface_is_damaged(dp, ifindexes[i]))
			lb_finding(a, "interface index %u: its record in lb_ifaces is damaged",
				   ifindexes[i]);
		if (link && flags & ~lb_iface_flags(&features, link, native))
			lb_finding(a, "interface \"%s\": recorded as one that XDP may send by",
				   link->name);
	}
	free(ifindexes);
	free(ifaces);
	lb_xdp_features_free(&features);
	lb_links_free(&links);
	return ret;
}

int lb_hooks_audit(struct lb_dp *dp, struct lb_audit *a, struct lb_err *err)
{
	struct lb_hook_status *hooks;
	size_t n;
	int ret = lb_hooks_status(dp, &hooks, &n, err);

	for (size_t i = 0; i < n; i++) {
		const struct lb_hook_status *h = &hooks[i];

		if (!h->trouble[0] || (h->behind_xdp && hooks[i - 1].trouble[0] &&
				       !strcmp(h->trouble, hooks[i - 1].trouble)))
			continue;
		if (h->left && a->repairs && !dp->force)
			lb_warn("interface \"%s\": %s", h->ifname, h->trouble);
		else
			lb_finding(a, "interface \"%s\": %s", h->ifname, h->trouble);
	}
	free(hooks);
	return ret ? ret : flags_audit(dp, a, err);
}
