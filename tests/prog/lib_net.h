/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lib_net.h - a network namespace of the test's own: interfaces, addresses, neighbours and routes
 * that the programs ask about, all permanent, and what they should answer.
 *
 * c0 is the clients' side, b0 the backends', j0 has backends behind jumbo frames. Nothing is ever
 * sent: packets go through BPF_PROG_TEST_RUN only. The namespace ends with the process.
 */
#ifndef LIB_NET_H
#define LIB_NET_H

#include "lib_packet.h"

#define NET_VIP       "192.0.2.1" /* c0's addresses */
#define NET_VIP6      "2001:db8::1"
#define NET_VIP_AWAY  "192.0.2.77" /* on its link, and nobody's */
#define NET_VIP6_AWAY "2001:db8::77"
#define NET_CLIENT    "192.0.2.10" /* its direct neighbours */
#define NET_CLIENT6   "2001:db8::10"
#define NET_FAR       "198.51.100.7" /* a client behind c0's router, as all of 198.51.100.0/24 */
#define NET_FAR6      "2001:db8:51::7"
#define NET_NO_ROUTE  "172.31.0.1" /* nobody knows the way there */
#define NET_NO_ROUTE6 "fd77::1"
#define NET_BLACKHOLE "10.71.0.1"
#define NET_NO_NEIGH  "10.1.0.99" /* on b0, without a neighbour entry */
#define NET_NO_NEIGH6 "fd00:1::99"
#define NET_MTU       1500 /* of c0 and b0 */
#define NET_JUMBO     9000 /* of j0 */

#define NET_C0_MAC                                                                                 \
	{                                                                                          \
		0x02, 0, 0, 0, 0, 0x01                                                             \
	}
#define NET_B0_MAC                                                                                 \
	{                                                                                          \
		0x02, 0, 0, 0, 0, 0x0b                                                             \
	}

struct net {
	uint32_t c0, b0, j0; /* ifindex */
};

int net_open(struct net *n); /* 0 or -errno; the process is in the new namespace then */

/* The MACs with which a frame to `dst` leaves, and by which interface. False: no such way. */
struct net_hop {
	uint8_t dmac[6], smac[6];
	uint32_t ifindex;
};
bool net_hop(const struct net *n, const struct pkt_addr *dst, struct net_hop *hop);

int net_sysctl(const char *path, int value); /* below /proc/sys/net; 0 or -errno */

#endif
