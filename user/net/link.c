// SPDX-License-Identifier: GPL-2.0-or-later
/* link.c - the network interfaces of this network namespace, by RTM_GETLINK. */
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/list.h"
#include "link.h"
#include "nl.h"

static void link_text(char *to, size_t size, const struct nlattr *attr)
{
	snprintf(to, size, "%s", mnl_attr_get_str(attr));
}

static void link_parse_info(struct lb_link *link, const struct nlattr *info)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, info) if (mnl_attr_get_type(attr) == IFLA_INFO_KIND)
		link_text(link->kind, sizeof(link->kind), attr);
}

static void link_parse_xdp(struct lb_link *link, const struct nlattr *xdp)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, xdp) if (mnl_attr_get_type(attr) == IFLA_XDP_PROG_ID)
		link->xdp_prog = mnl_attr_get_u32(attr);
}

static int link_add(const struct nlmsghdr *nlh, void *arg)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attr;
	struct lb_links *l = arg;
	struct lb_link *link;

	link = lb_list_add((void **)&l->list, &l->n, sizeof(*link));
	if (!link)
		return MNL_CB_ERROR;
	*link = (struct lb_link){
		.ifindex = ifi->ifi_index, .type = ifi->ifi_type, .flags = ifi->ifi_flags};
	mnl_attr_for_each(attr, nlh, sizeof(*ifi))
	{
		switch (mnl_attr_get_type(attr)) {
		case IFLA_IFNAME:
			link_text(link->name, sizeof(link->name), attr);
			break;
		case IFLA_LINK:
			link->lower = mnl_attr_get_u32(attr);
			break;
		case IFLA_MASTER:
			link->master = mnl_attr_get_u32(attr);
			break;
		case IFLA_MTU:
			link->mtu = mnl_attr_get_u32(attr);
			break;
		case IFLA_ADDRESS:
			if (mnl_attr_get_payload_len(attr) == sizeof(link->mac))
				memcpy(link->mac, mnl_attr_get_payload(attr), sizeof(link->mac));
			break;
		case IFLA_XDP:
			link_parse_xdp(link, attr);
			break;
		case IFLA_LINKINFO:
			link_parse_info(link, attr);
			break;
		}
	}
	return MNL_CB_OK;
}

int lb_links_read(struct lb_links *l)
{
	char buf[MNL_NLMSG_HDRLEN + sizeof(struct ifinfomsg)];
	struct nlmsghdr *req = mnl_nlmsg_put_header(buf);
	struct lb_nl nl;
	int err;

	*l = (struct lb_links){};
	req->nlmsg_type = RTM_GETLINK;
	req->nlmsg_flags = NLM_F_DUMP;
	mnl_nlmsg_put_extra_header(req, sizeof(struct ifinfomsg));
	err = lb_nl_open(&nl, NETLINK_ROUTE);
	if (err)
		return err;
	err = lb_nl_request(&nl, req, link_add, l);
	lb_nl_close(&nl);
	if (err)
		lb_links_free(l);
	return err;
}

void lb_links_free(struct lb_links *l)
{
	free(l->list);
	*l = (struct lb_links){};
}

const struct lb_link *lb_links_find(const struct lb_links *l, const char *name)
{
	for (size_t i = 0; i < l->n; i++)
		if (!strcmp(l->list[i].name, name))
			return &l->list[i];
	return NULL;
}

const struct lb_link *lb_links_at(const struct lb_links *l, uint32_t ifindex)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->list[i].ifindex == ifindex)
			return &l->list[i];
	return NULL;
}

const char *lb_links_names(const struct lb_links *l, char *buf, size_t size)
{
	size_t len = 0;

	snprintf(buf, size, "none");
	for (size_t i = 0; i < l->n; i++) {
		const char *name = l->list[i].name;

		if (len + strlen(name) + sizeof(", , ...") > size) {
			snprintf(buf + len, size - len, ", ...");
			break;
		}
		len += snprintf(buf + len, size - len, "%s%s", i ? ", " : "", name);
	}
	return buf;
}
