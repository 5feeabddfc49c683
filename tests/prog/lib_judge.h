/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lib_judge.h - is a packet's result what it must be? 0, or -1 with what is wrong in `why`.
 */
#ifndef LIB_JUDGE_H
#define LIB_JUDGE_H

#include "lib_rows.h"

#define WHY_SIZE 256

/* What holds for every packet: exactly one reason where it was not forwarded and none where it was;
 * dropped where the reason is a drop, or turned into a whole reset to its sender; not a byte
 * changed else unless forwarded. */
int judge_accounts(const struct pkt *in, const struct run_result *res, char *why);

/* Forwarded to `to` (as its source, if `reverse`) by the way that the namespace's routes say. */
int judge_forwarded(const struct run *r, enum lb_hook hook, uint32_t ifindex, const struct pkt *in,
		    const struct run_result *res, const struct pkt_end *to, bool reverse,
		    char *why);

/* Passed or dropped for this reason. */
int judge_reason(const struct pkt *in, const struct run_result *res, int reason, char *why);

/* As the row says. */
int judge_row(const struct run *r, const struct row *row, enum lb_hook hook, const struct pkt *in,
	      const struct run_result *res, char *why);

/* Prints a failure with both frames. */
void judge_report(const char *name, enum lb_hook hook, const char *why, const struct pkt *in,
		  const struct run_result *res);

#endif
