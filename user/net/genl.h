/* SPDX-License-Identifier: GPL-2.0-or-later */
/* genl.h - generic netlink: families by name, and the heads of requests to them. */
#ifndef LB_GENL_H
#define LB_GENL_H

#include <stdint.h>

#include "nl.h"

/* The number of a family; 0, -ENOENT where this kernel has none of that name, or -errno. */
int lb_genl_family(struct lb_nl *nl, const char *name, uint16_t *id);

/* The head of a request (version 1) in `buf`, to which attributes are put. */
struct nlmsghdr *lb_genl_request(void *buf, uint16_t family, uint8_t cmd, uint16_t flags);

#endif
