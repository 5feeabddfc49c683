// SPDX-License-Identifier: GPL-2.0-or-later
/* xdp_features.c - what each interface can do with XDP, by generic netlink's family "netdev". */
#include <errno.h>
#include <linux/genetlink.h>
#include <stdlib.h>

#include "core/list.h"
#include "genl.h"
#include "xdp_features.h"

/* linux/netdev.h is younger than Debian 12's headers. */
#define NETDEV_CMD_DEV_GET        1
#define NETDEV_A_DEV_IFINDEX      1
#define NETDEV_A_DEV_XDP_FEATURES 3

static int device_add(const struct nlmsghdr *nlh, void *arg)
{
	struct lb_xdp_features *f = arg;
	struct lb_xdp_device *dev = lb_list_add((void **)&f->list, &f->n, sizeof(*dev));
	const struct nlattr *attr;

	if (!dev)
		return MNL_CB_ERROR;
	mnl_attr_for_each(attr, nlh, sizeof(struct genlmsghdr))
	{
		if (mnl_attr_get_type(attr) == NETDEV_A_DEV_IFINDEX)
			dev->ifindex = mnl_attr_get_u32(attr);
		else if (mnl_attr_get_type(attr) == NETDEV_A_DEV_XDP_FEATURES)
			dev->features = mnl_attr_get_u64(attr);
	}
	return MNL_CB_OK;
}

int lb_xdp_features_read(struct lb_xdp_features *f)
{
	uint16_t family;
	struct lb_nl nl;
	char buf[128];
	int ret = lb_nl_open(&nl, NETLINK_GENERIC);

	*f = (struct lb_xdp_features){};
	if (ret)
		return ret;
	ret = lb_genl_family(&nl, "netdev", &family);
	if (!ret) {
		ret = lb_nl_request(&nl,
				    lb_genl_request(buf, family, NETDEV_CMD_DEV_GET, NLM_F_DUMP),
				    device_add, f);
		f->known = !ret;
	} else if (ret == -ENOENT) {
		ret = 0;
	}
	lb_nl_close(&nl);
	if (ret)
		lb_xdp_features_free(f);
	return ret;
}

void lb_xdp_features_free(struct lb_xdp_features *f)
{
	free(f->list);
	*f = (struct lb_xdp_features){};
}

static uint64_t features_of(const struct lb_xdp_features *f, uint32_t ifindex)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->list[i].ifindex == ifindex)
			return f->list[i].features;
	return 0;
}

bool lb_xdp_features_xmit(const struct lb_xdp_features *f, uint32_t ifindex)
{
	return features_of(f, ifindex) & LB_XDP_NDO_XMIT;
}

bool lb_xdp_features_native(const struct lb_xdp_features *f, uint32_t ifindex)
{
	return features_of(f, ifindex) & LB_XDP_BASIC;
}
