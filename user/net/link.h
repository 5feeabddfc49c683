/* SPDX-License-Identifier: GPL-2.0-or-later */
/* link.h - the network interfaces of this network namespace. */
#ifndef LB_LINK_H
#define LB_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/model.h"

#define LB_LINK_KIND_MAX 16

struct lb_link {
	uint32_t ifindex;
	uint32_t lower;  /* ifindex of the device below it (of a VLAN), or a veth's peer; 0: none */
	uint32_t master; /* ifindex of the bridge, bond or VRF above it, 0: none */
	uint32_t mtu;
	uint32_t flags;    /* IFF_* */
	uint16_t type;     /* ARPHRD_* */
	uint8_t mac[6];    /* zeroes where it has none of 6 bytes */
	uint32_t xdp_prog; /* id of its XDP program, 0: none */
	char name[LB_IFNAME_MAX];
	char kind[LB_LINK_KIND_MAX]; /* "veth", "bridge", ...; empty: a plain device */
};

struct lb_links {
	struct lb_link *list; /* in the kernel's order */
	size_t n;
};

int lb_links_read(struct lb_links *l); /* 0 or -errno */
void lb_links_free(struct lb_links *l);
const struct lb_link *lb_links_find(const struct lb_links *l, const char *name);
const struct lb_link *lb_links_at(const struct lb_links *l, uint32_t ifindex);

/* "eth0, br0, lo" into buf, cut with "..." where it is too small; for error messages. */
const char *lb_links_names(const struct lb_links *l, char *buf, size_t size);

#endif
