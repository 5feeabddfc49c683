/* SPDX-License-Identifier: GPL-2.0-or-later */
/* route.h - which way the kernel's routing table sends a packet. */
#ifndef LB_ROUTE_H
#define LB_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/model.h"
#include "nl.h"

struct lb_route {
	uint32_t ifindex;
	bool local; /* an address of this host itself */
	bool has_gateway;
	struct lb_addr gateway;
	uint8_t gateway_family; /* enum lb_family */
};

/* The route to `addr`. 0; -ENETUNREACH or another -errno of the kernel where there is none. */
int lb_route_get(struct lb_nl *nl, struct lb_route *r, const struct lb_addr *addr,
		 enum lb_family family);

#endif
