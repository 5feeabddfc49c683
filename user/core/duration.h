/* SPDX-License-Identifier: GPL-2.0-or-later */
/* duration.h - lengths of time as text: read, shown, and written to be read again. */
#ifndef LB_DURATION_H
#define LB_DURATION_H

#include <stdint.h>

#define LB_DURATION_MAX 32 /* what the buffers need */

/* "90", "60s", "5m", "1h30m", "1d", also "1s1s", "1m30": seconds, at least 1. 0 or -EINVAL. */
int lb_duration_parse(uint32_t *seconds, const char *text);
const char *lb_duration_str(char *buf, uint64_t seconds);   /* 12s, 3m 4s, 5h 6m, 2d 3h */
const char *lb_duration_exact(char *buf, uint32_t seconds); /* 12s, 3m4s, 4h, 51h6m7s */

#endif
