/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sysctl.h - numbers under /proc/sys/net, of this network namespace. */
#ifndef LB_SYSCTL_H
#define LB_SYSCTL_H

/*
 * path: below /proc/sys, with slashes ("net/ipv4/conf/eth0.5/forwarding"): names of interfaces may
 * have dots. get returns the number (>= 0) or -errno, set 0 or -errno; can_set the same without
 * setting it.
 */
int lb_sysctl_get(const char *path);
int lb_sysctl_set(const char *path, int value);
int lb_sysctl_can_set(const char *path);

#endif
