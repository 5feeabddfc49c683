/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bench_rows.h - the parts of the bench. */
#ifndef BENCH_ROWS_H
#define BENCH_ROWS_H

#include <stdbool.h>

void bench_memory(bool quick);         /* how slow this machine's memory is just now */
void bench_rows(bool quick);           /* ns per packet, by BPF_PROG_TEST_RUN */
void bench_live(bool quick);           /* packets per second, through interfaces */
void bench_apply(const char *program); /* milliseconds of `meshlb apply` */

/* Microseconds per packet by meshlb and by the kernel's own ways: of this kernel, and in the guest.
 */
void bench_compare(bool quick, const char *program);
void bench_guest(bool quick, const char *program);

#endif
