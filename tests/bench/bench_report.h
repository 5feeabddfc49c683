/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bench_report.h - the table on stdout, and the same as JSON. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdbool.h>

#include "bench_measure.h"

void bench_report_open(bool quick);

/* Starts a part of the table; `columns` is its second line. */
void bench_report_part(const char *title, const char *columns);

/* One line of ns per packet. target: of the net, 0: none. */
void bench_report_ns(const char *group, const char *name, const struct bench_figures *f,
		     double target);

/* One line of another figure. target 0: none; at_least: the figure must reach it, else stay below.
 */
void bench_report_value(const char *group, const char *name, double value, const char *unit,
			double target, bool at_least);

/* One line of packets per second: of the whole chain, and of the balancer alone. */
void bench_report_rate(const char *group, const char *name, double chain, double balancer);

/* A remark below a line. */
void bench_report_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The sum of it; writes `json`. */
void bench_report_close(const char *json);

#endif
