/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nl.h - a netlink socket, one request over it and all its answers. */
#ifndef LB_NL_H
#define LB_NL_H

#include <libmnl/libmnl.h>

struct lb_nl {
	struct mnl_socket *sock;
	unsigned int seq;
};

int lb_nl_open(struct lb_nl *nl, int bus); /* bus: NETLINK_ROUTE, ...; 0 or -errno */
void lb_nl_close(struct lb_nl *nl);

/*
 * Sends `req` (its flags and sequence number are completed here; a dump where NLM_F_DUMP is set)
 * and calls cb for each answer until the acknowledgement or the end of the dump. 0, or the
 * kernel's or the callback's -errno.
 */
int lb_nl_request(struct lb_nl *nl, struct nlmsghdr *req, mnl_cb_t cb, void *arg);

#endif
