// SPDX-License-Identifier: GPL-2.0-or-later
/* genl.c - generic netlink: families by name, and the heads of requests to them. */
#include <linux/genetlink.h>

#include "genl.h"

struct nlmsghdr *lb_genl_request(void *buf, uint16_t family, uint8_t cmd, uint16_t flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct genlmsghdr *genl = mnl_nlmsg_put_extra_header(nlh, sizeof(*genl));

	nlh->nlmsg_type = family;
	nlh->nlmsg_flags = flags;
	genl->cmd = cmd;
	genl->version = 1;
	return nlh;
}

static int family_id(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *attr;

	mnl_attr_for_each(attr, nlh, sizeof(struct genlmsghdr))
	{
		if (mnl_attr_get_type(attr) == CTRL_ATTR_FAMILY_ID)
			*(uint16_t *)arg = mnl_attr_get_u16(attr);
	}
	return MNL_CB_OK;
}

int lb_genl_family(struct lb_nl *nl, const char *name, uint16_t *id)
{
	char buf[256];
	struct nlmsghdr *req = lb_genl_request(buf, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 0);

	*id = 0;
	mnl_attr_put_strz(req, CTRL_ATTR_FAMILY_NAME, name);
	return lb_nl_request(nl, req, family_id, id);
}
