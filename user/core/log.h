/* SPDX-License-Identifier: GPL-2.0-or-later */
/* log.h - messages for people, on stderr, and the error text that a failing function leaves. */
#ifndef LB_LOG_H
#define LB_LOG_H

#include <stdarg.h>
#include <stdbool.h>

/* One line each, with the program's name in front; colour only on a terminal. */
void lb_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void lb_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void lb_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));  /* unless --quiet */
void lb_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* with --verbose */

extern bool lb_log_quiet, lb_log_verbose;

/* Errors that a caller may want as a text: the function returns -errno and has filled this. */
struct lb_err {
	char text[512];
};
int lb_err_set(struct lb_err *err, int errnum, const char *fmt, ...)
	__attribute__((format(printf, 3, 4))); /* returns -errnum; "text" without strerror */
int lb_err_sys(struct lb_err *err, int errnum, const char *fmt, ...)
	__attribute__((format(printf, 3, 4))); /* the same, ": strerror" appended */

#endif
