/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_hooks.c - which programs are on which interfaces, and the record of it in lb_ifaces.
 *
 * Hooks are made before a commit and recorded after it, so that settling by the record undoes a
 * failed apply, removes what an interrupted one left, and detaches what is no longer wanted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ebpf_internal.h"

bool lb_iface_get(const struct lb_dp *dp, __u32 ifindex, struct lb_iface *iface)
{
	if (bpf_map_lookup_elem(dp->map_fd[LB_MAP_IFACES], &ifindex, iface))
		return false;
	lb_iface_mend(iface);
	return true;
}

/* Makes of a record that somebody has changed one that can be; what it then says wrongly of the
 * interface is found as any difference is. */
void lb_iface_mend(struct lb_iface *iface)
{
	iface->name[sizeof(iface->name) - 1] = '\0';
	lb_name_mend(iface->name);
	iface->flags &= LB_IFACE_XMIT | LB_IFACE_TX | LB_IFACE_ATTACHED | LB_IFACE_CLSACT;
	if (iface->wanted >= LB_KINDS)
		iface->wanted = LB_KIND_AUTO;
	if (iface->actual >= LB_KINDS ||
	    (iface->flags & LB_IFACE_ATTACHED && iface->actual == LB_KIND_AUTO))
		iface->actual = LB_KIND_TC;
}

bool lb_iface_is_damaged(const struct lb_dp *dp, __u32 ifindex)
{
	struct lb_iface is, mended;

	if (bpf_map_lookup_elem(dp->map_fd[LB_MAP_IFACES], &ifindex, &is))
		return false;
	mended = is;
	lb_iface_mend(&mended);
	return memcmp(&is, &mended, sizeof(is)) != 0;
}

int lb_iface_put(const struct lb_dp *dp, __u32 ifindex, const struct lb_iface *iface)
{
	return bpf_map_update_elem(dp->map_fd[LB_MAP_IFACES], &ifindex, iface, BPF_ANY) ? -errno
											: 0;
}

static void hooks_take_off(const struct lb_dp *dp, const char *name, __u32 ifindex)
{
	lb_xdp_remove(dp, name, ifindex);
	lb_tc_remove(dp, name, ifindex);
}

/* Native XDP on a veth sees unfinished checksums of local senders and drops what it sends back. */
static bool auto_is_tc(const struct lb_link *link)
{
	return !strcmp(link->kind, "veth");
}

/* The XDP half of `want`; decides what `auto` is. Returns as ensure() does. */
static int xdp_make(struct lb_dp *dp, struct lb_hook_want *want, const struct lb_link *link,
		    const struct lb_iface *record, bool ours, const struct lb_progs *progs,
		    struct lb_err *err)
{
	int ret;

	want->actual = want->wanted;
	if (want->wanted == LB_KIND_AUTO) {
		want->actual = LB_KIND_TC;
		/* Was XDP refused when it was attached? Not asked again at each apply. */
		if (!auto_is_tc(link) &&
		    !(ours && record->wanted == LB_KIND_AUTO && record->actual == LB_KIND_TC))
			want->actual = LB_KIND_XDP;
	}
	if (want->actual == LB_KIND_TC)
		return lb_xdp_clear(dp, want->name, want->ifindex, err);
	/* Where only tc was ours, another's XDP program was there by right. */
	ours &= record->actual != LB_KIND_TC;
	ret = lb_xdp_ensure(dp, want->name, want->ifindex, want->actual == LB_KIND_XDP_GENERIC,
			    ours, progs, err);
	if (ret < 0 && ret != -EBUSY && want->wanted == LB_KIND_AUTO) {
		lb_info("%s: its hook, auto, is tc", err->text);
		want->actual = LB_KIND_TC;
		return 0;
	}
	return ret;
}

/* Puts the programs on one interface; what is already there stays. */
static int hook_make(struct lb_dp *dp, struct lb_hook_want *want, const struct lb_link *link,
		     const struct lb_progs *progs, struct lb_err *err)
{
	struct lb_iface record = {};
	bool known = lb_iface_get(dp, want->ifindex, &record);
	bool ours = known && record.flags & LB_IFACE_ATTACHED;
	int tc, xdp;

	if (ours && strcmp(record.name, want->name) != 0) /* renamed: the pins bear the old name */
		hooks_take_off(dp, record.name, want->ifindex);
	if (!ours) {
		/* Killed from here to the commit, the next apply must find what we did. */
		record.flags &= ~LB_IFACE_ATTACHED;
		record.wanted = want->wanted;
		record.actual = LB_KIND_TC;
		snprintf(record.name, sizeof(record.name), "%s", want->name);
		tc = lb_iface_put(dp, want->ifindex, &record);
		if (tc)
			return lb_err_sys(err, -tc, "interface \"%s\": recording it", want->name);
	}
	tc = lb_tc_ensure(dp, want->name, want->ifindex, ours, progs, err);
	if (tc < 0)
		return tc;
	xdp = xdp_make(dp, want, link, &record, ours, progs, err);
	if (xdp < 0)
		return xdp;
	want->attached = ours && !tc && !xdp ? record.attached : (__u64)time(NULL);
	return 0;
}

/* Of an interface that was ours and has gone its record stays, and verify names it: a change that
 * is about something else goes through. */
static bool hook_is_gone(const struct lb_dp *dp, struct lb_hook_want *want)
{
	struct lb_iface *ifaces;
	bool found = false;
	struct lb_err err;
	__u32 *ifindexes;
	size_t n;

	if (lb_ifaces_read(dp, &ifindexes, &ifaces, &n, &err))
		return false;
	for (size_t i = 0; i < n && !found; i++) {
		if (!(ifaces[i].flags & LB_IFACE_ATTACHED) || ifaces[i].wanted != want->wanted ||
		    strcmp(ifaces[i].name, want->name) != 0)
			continue;
		want->ifindex = ifindexes[i];
		want->actual = ifaces[i].actual;
		want->attached = ifaces[i].attached;
		found = true;
	}
	free(ifindexes);
	free(ifaces);
	return found;
}

int lb_hooks_make(struct lb_dp *dp, const struct lb_model *m, const struct lb_progs *progs,
		  struct lb_hook_plan *plan, struct lb_err *err)
{
	int ret = lb_links_read(&plan->links);

	if (ret)
		return lb_err_sys(err, -ret, "reading the interfaces");
	lb_links_sort_out(dp, &plan->links);
	plan->wants = calloc(m->n_interfaces + 1, sizeof(*plan->wants));
	if (!plan->wants)
		return lb_err_sys(err, ENOMEM, "attaching to interfaces");
	plan->n = m->n_interfaces;
	for (size_t i = 0; i < plan->n; i++) {
		const struct lb_interface_conf *c = &m->interfaces[i];
		const struct lb_link *link = lb_links_find(&plan->links, c->name);
		struct lb_hook_want *want = &plan->wants[i];

		snprintf(want->name, sizeof(want->name), "%s", c->name);
		want->wanted = c->hook;
		if (!link && hook_is_gone(dp, want))
			continue;
		if (!link)
			return lb_err_set(err, ENODEV,
					  "interface \"%s\": there is none of this name", c->name);
		want->ifindex = link->ifindex;
		ret = hook_make(dp, want, link, progs, err);
		if (ret)
			return ret;
	}
	return 0;
}

void lb_hooks_plan_free(struct lb_hook_plan *plan)
{
	free(plan->wants);
	lb_links_free(&plan->links);
	*plan = (struct lb_hook_plan){};
}

/* Where XDP may send. What the kernel does not tell is believed only of a driver that has taken
 * our program in native mode, and not of those of which we know that it is not so. */
__u8 lb_iface_flags(const struct lb_xdp_features *features, const struct lb_link *link, bool native)
{
	static const char *const no[] = {"veth", "bridge", "vlan"};
	bool xmit = native, tx = native && strcmp(link->kind, "veth") != 0;

	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		xmit &= strcmp(link->kind, no[i]) != 0;
	if (features->known)
		xmit = lb_xdp_features_xmit(features, link->ifindex);
	return (xmit ? LB_IFACE_XMIT : 0) | (tx ? LB_IFACE_TX : 0);
}

static const struct lb_hook_want *want_find(const struct lb_hook_plan *plan, __u32 ifindex)
{
	for (size_t i = 0; i < plan->n; i++)
		if (plan->wants[i].ifindex == ifindex)
			return &plan->wants[i];
	return NULL;
}

/* What is wanted is ours from now on; what is not stays named until it is taken off. */
void lb_hooks_record(struct lb_dp *dp, const struct lb_hook_plan *plan)
{
	struct lb_iface *ifaces;
	struct lb_err err;
	__u32 *ifindexes;
	size_t n;

	for (size_t i = 0; i < plan->n; i++) {
		const struct lb_hook_want *want = &plan->wants[i];
		struct lb_iface was = {}, now;

		lb_iface_get(dp, want->ifindex, &was);
		now = was;
		memcpy(now.name, want->name, sizeof(now.name));
		now.flags |= LB_IFACE_ATTACHED;
		now.wanted = want->wanted;
		now.actual = want->actual;
		now.attached = want->attached;
		if (memcmp(&was, &now, sizeof(was)) != 0 && lb_iface_put(dp, want->ifindex, &now))
			lb_warn("interface \"%s\": cannot be recorded", want->name);
	}
	if (lb_ifaces_read(dp, &ifindexes, &ifaces, &n, &err)) {
		lb_warn("%s", err.text);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		if (!ifaces[i].actual && !lb_links_at(&plan->links, ifindexes[i]))
			bpf_map_delete_elem(dp->map_fd[LB_MAP_IFACES], &ifindexes[i]);
		if (!(ifaces[i].flags & LB_IFACE_ATTACHED) || want_find(plan, ifindexes[i]))
			continue;
		ifaces[i].flags &= ~LB_IFACE_ATTACHED;
		lb_iface_put(dp, ifindexes[i], &ifaces[i]);
	}
	free(ifindexes);
	free(ifaces);
}

/* All interfaces, for XDP may send by one on which we are not; and when all is in place, for what
 * a driver can do depends on the programs that are there. */
void lb_hooks_flags(struct lb_dp *dp)
{
	struct lb_xdp_features features = {};
	struct lb_links links;
	int ret = lb_links_read(&links);

	if (!ret)
		ret = lb_xdp_features_read(&features);
	if (ret)
		lb_warn("reading what the interfaces can do with XDP: %s", strerror(-ret));
	for (size_t i = 0; i < links.n && !ret; i++) {
		const struct lb_link *link = &links.list[i];
		struct lb_iface was = {}, now;

		lb_iface_get(dp, link->ifindex, &was);
		now = was;
		snprintf(now.name, sizeof(now.name), "%s", link->name);
		now.flags &= ~(LB_IFACE_XMIT | LB_IFACE_TX);
		now.flags |= lb_iface_flags(&features, link, was.actual == LB_KIND_XDP);
		/* Refused by a full map, XDP leaves the interface's packets to tc: slower, not
		 * wrong. */
		if (memcmp(&was, &now, sizeof(was)) != 0)
			lb_iface_put(dp, link->ifindex, &now);
	}
	lb_xdp_features_free(&features);
	lb_links_free(&links);
}

static void hook_settle(struct lb_dp *dp, __u32 ifindex, struct lb_iface *iface)
{
	const char *name = iface->name;
	struct lb_err err;

	if (!(iface->flags & LB_IFACE_ATTACHED)) {
		hooks_take_off(dp, name, ifindex);
		iface->actual = iface->wanted = 0;
		iface->flags &= ~LB_IFACE_CLSACT;
		if (if_nametoindex(name) == ifindex)
			lb_iface_put(dp, ifindex, iface);
		else
			bpf_map_delete_elem(dp->map_fd[LB_MAP_IFACES], &ifindex);
		return;
	}
	if (dp->progs.fd[LB_HOOK_TC] < 0 || dp->progs.fd[LB_HOOK_XDP] < 0 ||
	    if_nametoindex(name) != ifindex)
		return;
	if (lb_tc_ensure(dp, name, ifindex, true, &dp->progs, &err) < 0)
		lb_warn("%s", err.text);
	if (iface->actual == LB_KIND_TC)
		lb_xdp_remove(dp, name, ifindex);
	else if (lb_xdp_ensure(dp, name, ifindex, iface->actual == LB_KIND_XDP_GENERIC, true,
			       &dp->progs, &err) < 0)
		lb_warn("%s", err.text);
}

void lb_hooks_settle(struct lb_dp *dp)
{
	struct lb_iface *ifaces;
	struct lb_err err;
	__u32 *ifindexes;
	size_t n;

	if (lb_ifaces_read(dp, &ifindexes, &ifaces, &n, &err)) {
		lb_warn("%s", err.text);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		if (lb_iface_is_damaged(dp, ifindexes[i]))
			lb_iface_put(dp, ifindexes[i], &ifaces[i]);
		if (ifaces[i].actual)
			hook_settle(dp, ifindexes[i], &ifaces[i]);
	}
	free(ifindexes);
	free(ifaces);
}

/* One after another, each without a moment between. Goes by what is there: the record is of an
 * older ABI. */
int lb_hooks_replace(const struct lb_dp *dp, const struct lb_progs *progs, struct lb_err *err)
{
	struct lb_links links;
	int ret = lb_links_update(dp, progs, err);

	if (ret)
		return ret;
	ret = lb_links_read(&links);
	for (size_t i = 0; i < links.n && !ret; i++)
		ret = lb_clsact_replace(dp, links.list[i].ifindex, progs);
	lb_links_free(&links);
	return ret ? lb_err_sys(err, -ret, "replacing the programs of tc filters") : 0;
}

/* Links tell an interface's number only, which another namespace may have too. */
bool lb_hooks_are_here(struct lb_dp *dp)
{
	struct lb_iface *ifaces;
	bool found = false;
	struct lb_err err;
	__u32 *ifindexes;
	size_t n;

	if (lb_ifaces_read(dp, &ifindexes, &ifaces, &n, &err))
		return false;
	for (size_t i = 0; i < n && !found; i++)
		found = ifaces[i].flags & LB_IFACE_ATTACHED && lb_tc_runs(dp, ifindexes[i]);
	free(ifindexes);
	free(ifaces);
	return found;
}

/* Goes by what is there and not by the record, which a half-made or an older instance may lack. */
void lb_hooks_remove(struct lb_dp *dp)
{
	struct lb_links links;

	lb_links_unpin(dp);
	if (lb_links_read(&links))
		return;
	for (size_t i = 0; i < links.n; i++)
		lb_tc_remove(dp, links.list[i].name, links.list[i].ifindex);
	lb_links_free(&links);
}
