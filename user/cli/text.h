/* SPDX-License-Identifier: GPL-2.0-or-later */
/* text.h - times, sizes, filters and near misses as text, and a growing list of texts. */
#ifndef LB_TEXT_H
#define LB_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/duration.h"
#include "core/log.h"
#include "datapath/datapath.h"

#define LB_TEXT_MAX 32 /* what the buffers below need */

/* As lb_duration_parse(), in milliseconds, and fractions of a second: "0.5"; at least 100 ms. 0 or
 * -EINVAL. */
int lb_interval_parse(uint32_t *ms, const char *text);
const char *lb_age_str(char *buf, uint64_t since); /* seconds since the epoch; 0: "-" */
const char *lb_time_str(char *buf, uint64_t at);   /* 2026-11-23 20:51:05, local time */
/* "timeouts: syn 30s, ..." on a line, those that are not 0; nothing where none is. `of`: whose they
 * are, or NULL. */
void lb_timeouts_print(const char *of, const uint32_t timeouts[LB_TIMEOUTS], const char *separator);
/* "rates: per-cpu 1000, per-source 10 of /32 and /64" on a line, the limits that are set; nothing
 * where none is. */
void lb_rates_print(const struct lb_rates_conf *r);
/* Where a setting stands: "FILE:LINE: ", "FILE: " without a line; "" without a file, as what was
 * read back from the kernel has none. */
#define LB_PLACE_MAX 256
const char *lb_place_str(char buf[LB_PLACE_MAX], const char *file, int line);
const char *lb_size_str(char *buf, uint64_t bytes); /* 512 B, 1.5 KiB, 72.0 MiB */

/* The candidate that is most like `text`, or NULL where none is near. Ends with NULL. */
const char *lb_nearest(const char *text, const char *const *candidates);

/* addr, addr/bits (where bits is not NULL), addr:port, [addr6]:port; addr6 may have brackets.
 * 0 or -EINVAL with *why. */
int lb_match_parse(struct lb_endpoint *at, uint8_t *bits, const char *text, const char **why);

struct lb_texts {
	char **list;
	size_t n;
};
void lb_texts_add(struct lb_texts *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void lb_texts_free(struct lb_texts *t);

#endif
