/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xdp_features.h - what each interface can do with XDP, as the kernel tells (Linux 6.3). */
#ifndef LB_XDP_FEATURES_H
#define LB_XDP_FEATURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LB_XDP_BASIC    1 /* NETDEV_XDP_ACT_BASIC: native XDP */
#define LB_XDP_NDO_XMIT 4 /* NETDEV_XDP_ACT_NDO_XMIT: XDP_REDIRECT into it works */

struct lb_xdp_features {
	struct lb_xdp_device {
		uint32_t ifindex;
		uint64_t features; /* NETDEV_XDP_ACT_* */
	} * list;
	size_t n;
	bool known; /* false: this kernel does not tell */
};

int lb_xdp_features_read(struct lb_xdp_features *f); /* 0, also where !known, or -errno */
void lb_xdp_features_free(struct lb_xdp_features *f);
bool lb_xdp_features_xmit(const struct lb_xdp_features *f, uint32_t ifindex);
bool lb_xdp_features_native(const struct lb_xdp_features *f, uint32_t ifindex);

#endif
