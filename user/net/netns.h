/* SPDX-License-Identifier: GPL-2.0-or-later */
/* netns.h - which network namespace this process is in. */
#ifndef LB_NETNS_H
#define LB_NETNS_H

#include <stdint.h>

/* Never another's again (Linux 5.14); before, its inode, which one that is made when it is gone may
 * have. */
uint64_t lb_netns_cookie(void);

#endif
