// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ebpf_held.c - programs of others that an apply --force is going to take off, held by who may have
 * to put them back when the apply has long ended.
 */
#include <linux/if_link.h>
#include <stdlib.h>
#include <unistd.h>

#include "ebpf_internal.h"

struct lb_held_prog {
	enum lb_hook hook;
	int ifindex, prog_fd;
	__u32 flags; /* XDP's mode */
};

#define PROGS_MAX 4 /* of an interface: XDP native, generic and offloaded, tc */
struct lb_held {
	size_t n;
	struct lb_held_prog progs[];
};

static void hold(struct lb_held *h, enum lb_hook hook, int ifindex, __u32 id, __u32 flags)
{
	int fd = id ? bpf_prog_get_fd_by_id(id) : -1;

	if (fd >= 0)
		h->progs[h->n++] = (struct lb_held_prog){hook, ifindex, fd, flags};
}

struct lb_held *lb_ebpf_hold(const struct lb_model *m)
{
	struct lb_held *h = malloc(sizeof(*h) + m->n_interfaces * PROGS_MAX * sizeof(*h->progs));

	if (!h)
		return NULL;
	h->n = 0;
	for (size_t i = 0; i < m->n_interfaces; i++) {
		int ifindex = (int)if_nametoindex(m->interfaces[i].name);
		LIBBPF_OPTS(bpf_xdp_query_opts, q);

		if (!ifindex)
			continue;
		if (!bpf_xdp_query(ifindex, 0, &q)) {
			hold(h, LB_HOOK_XDP, ifindex, q.drv_prog_id, XDP_FLAGS_DRV_MODE);
			hold(h, LB_HOOK_XDP, ifindex, q.skb_prog_id, XDP_FLAGS_SKB_MODE);
			hold(h, LB_HOOK_XDP, ifindex, q.hw_prog_id, XDP_FLAGS_HW_MODE);
		}
		hold(h, LB_HOOK_TC, ifindex, lb_clsact_id(ifindex), 0);
	}
	return h;
}

/* What stands where one was is left alone: so ours, where they were held too, stay as they are. */
void lb_ebpf_put_back(struct lb_held *h)
{
	for (size_t i = 0; h && i < h->n; i++) {
		const struct lb_held_prog *p = &h->progs[i];

		if (p->hook == LB_HOOK_XDP)
			lb_xdp_restore(p->ifindex, p->prog_fd, p->flags);
		else if (!lb_clsact_id(p->ifindex))
			lb_tc_restore(p->ifindex, p->prog_fd);
		close(p->prog_fd);
	}
	free(h);
}
