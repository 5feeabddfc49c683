/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench_report.h - the table on stdout, and the same as JSON: an object with
 *   schema                     1
 *   kernel, cpu                where it ran
 *   quick, rounds              how
 *   rows                       a list, see below
 *   targets, targets_met       how many rows have a target, and how many meet it
 *   errors                     how many rows have an error instead of figures
 * A row has "group" and "name"; "unit" and, by unit, the figures
 *   ns      total, floor, net, best        nanoseconds a packet
 *   pps     chain, balancer                packets a second
 *   us      generator, balancer, sink, net, to_forwarding, to_ipvs
 *                                          microseconds a packet, and ratios of the net ones
 *   others  value
 * or "error"; "target" and "met" where there is one; and "kernel" and "cpu" where it is not from
 * the machine itself but from the guest, where a microsecond is 500 instructions.
 */
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

/* One line of microseconds per packet; ratios of 0 are unknown. */
struct bench_cost {
	double generator, balancer, sink, net;
	double to_forwarding, to_ipvs; /* net to net */
};
void bench_report_cost(const char *group, const char *name, const struct bench_cost *c);

/* One line without a figure, and why: the bench will have failed. */
void bench_report_error(const char *group, const char *name, const char *error);

/* A remark below a line. */
void bench_report_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Adds what another bench, under another kernel, has written to `json`, which printed it too. 0 or
 * -1: it cannot be read. */
int bench_report_adopt(const char *json);

/* Prints the sum of it and writes `json`, each if wanted. Returns the number of error lines. */
unsigned int bench_report_close(const char *json, bool sum);

#endif
