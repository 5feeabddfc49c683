// SPDX-License-Identifier: GPL-2.0-or-later
/* route.c - which way the kernel's routing table sends a packet, by RTM_GETROUTE. */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "route.h"

/* An IPv4 address is the last four bytes of its ::ffff:a.b.c.d form. */
static unsigned int addr_len(enum lb_family family)
{
	return family == LB_V4 ? 4 : 16;
}

static void route_set_gateway(struct lb_route *r, enum lb_family family, const void *bytes)
{
	static const struct lb_addr v4_prefix = {{[10] = 0xff, [11] = 0xff}};
	unsigned int len = addr_len(family);

	if (family == LB_V4)
		r->gateway = v4_prefix;
	memcpy(&r->gateway.b[sizeof(r->gateway) - len], bytes, len);
	r->gateway_family = family;
	r->has_gateway = true;
}

static int route_parse(const struct nlmsghdr *nlh, void *arg)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	enum lb_family family = rtm->rtm_family == AF_INET ? LB_V4 : LB_V6;
	const struct nlattr *attr;
	struct lb_route *r = arg;

	r->local = rtm->rtm_type == RTN_LOCAL;
	mnl_attr_for_each(attr, nlh, sizeof(*rtm))
	{
		const struct rtvia *via;

		switch (mnl_attr_get_type(attr)) {
		case RTA_OIF:
			r->ifindex = mnl_attr_get_u32(attr);
			break;
		case RTA_GATEWAY:
			route_set_gateway(r, family, mnl_attr_get_payload(attr));
			break;
		case RTA_VIA: /* an IPv4 route by an IPv6 neighbour */
			via = mnl_attr_get_payload(attr);
			route_set_gateway(r, via->rtvia_family == AF_INET ? LB_V4 : LB_V6,
					  via->rtvia_addr);
			break;
		}
	}
	return MNL_CB_OK;
}

int lb_route_get(struct lb_nl *nl, struct lb_route *r, const struct lb_addr *addr,
		 enum lb_family family)
{
	char buf[MNL_NLMSG_HDRLEN + sizeof(struct rtmsg) + 64] = {};
	struct nlmsghdr *req = mnl_nlmsg_put_header(buf);
	unsigned int len = addr_len(family);
	struct rtmsg *rtm;

	req->nlmsg_type = RTM_GETROUTE;
	rtm = mnl_nlmsg_put_extra_header(req, sizeof(*rtm));
	rtm->rtm_family = family == LB_V4 ? AF_INET : AF_INET6;
	rtm->rtm_dst_len = len * 8;
	mnl_attr_put(req, RTA_DST, len, &addr->b[sizeof(*addr) - len]);
	*r = (struct lb_route){};
	return lb_nl_request(nl, req, route_parse, r);
}
