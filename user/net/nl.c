// SPDX-License-Identifier: GPL-2.0-or-later
/* nl.c - a netlink socket, one request over it and all its answers. */
#include <errno.h>
#include <stddef.h>
#include <time.h>

#include "nl.h"

#define LB_NL_BUFFER 32768 /* what the kernel fills at most in one message of a dump */

int lb_nl_open(struct lb_nl *nl, int bus)
{
	nl->sock = mnl_socket_open2(bus, SOCK_CLOEXEC);
	if (!nl->sock)
		return -errno;
	if (mnl_socket_bind(nl->sock, 0, MNL_SOCKET_AUTOPID)) {
		int err = -errno;

		lb_nl_close(nl);
		return err;
	}
	nl->seq = time(NULL);
	return 0;
}

void lb_nl_close(struct lb_nl *nl)
{
	if (nl->sock)
		mnl_socket_close(nl->sock);
	nl->sock = NULL;
}

int lb_nl_request(struct lb_nl *nl, struct nlmsghdr *req, mnl_cb_t cb, void *arg)
{
	unsigned int portid = mnl_socket_get_portid(nl->sock);
	char buf[LB_NL_BUFFER];
	ssize_t len;
	int ret;

	req->nlmsg_seq = ++nl->seq;
	req->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	if (mnl_socket_sendto(nl->sock, req, req->nlmsg_len) < 0)
		return -errno;
	do {
		len = mnl_socket_recvfrom(nl->sock, buf, sizeof(buf));
		if (len < 0)
			return -errno;
		ret = mnl_cb_run(buf, len, nl->seq, portid, cb, arg);
	} while (ret > MNL_CB_STOP);
	return ret < 0 ? -errno : 0;
}
