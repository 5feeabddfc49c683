// SPDX-License-Identifier: GPL-2.0-or-later
/* log.c - messages on stderr, one whole line each, and error texts of failing functions. */

#include "log.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool lb_log_quiet, lb_log_verbose;

static bool use_colour(void)
{
	return isatty(STDERR_FILENO) && !getenv("NO_COLOR");
}

/* One fprintf() a line, so that lines of several processes do not mix; and no control character
 * that a quoted value could bring along reaches the terminal. */
static void say(const char *label, const char *colour, const char *fmt, va_list ap)
{
	char text[1024];

	vsnprintf(text, sizeof(text), fmt, ap);
	for (char *p = text; *p; p++)
		if (iscntrl((unsigned char)*p))
			*p = ' ';
	if (*label && use_colour())
		fprintf(stderr, "meshlb: \033[%sm%s\033[0m%s\n", colour, label, text);
	else
		fprintf(stderr, "meshlb: %s%s\n", label, text);
}

#define SAY(label, colour, fmt)                                                                    \
	do {                                                                                       \
		va_list ap_;                                                                       \
		va_start(ap_, fmt);                                                                \
		say(label, colour, fmt, ap_);                                                      \
		va_end(ap_);                                                                       \
	} while (0)

void lb_error(const char *fmt, ...)
{
	SAY("error: ", "31", fmt);
}

void lb_warn(const char *fmt, ...)
{
	SAY("warning: ", "33", fmt);
}

void lb_info(const char *fmt, ...)
{
	if (!lb_log_quiet)
		SAY("", "", fmt);
}

void lb_debug(const char *fmt, ...)
{
	if (lb_log_verbose)
		SAY("debug: ", "2", fmt);
}

/* By way of a buffer, since the arguments may name the old err->text. */
static void fill(struct lb_err *err, int errnum, bool sys, const char *fmt, va_list ap)
{
	char text[sizeof(err->text)];
	size_t len;

	vsnprintf(text, sizeof(text), fmt, ap);
	len = strlen(text);
	if (sys)
		snprintf(text + len, sizeof(text) - len, ": %s", strerror(errnum));
	memcpy(err->text, text, sizeof(text));
}

int lb_err_set(struct lb_err *err, int errnum, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fill(err, errnum, false, fmt, ap);
	va_end(ap);
	return -errnum;
}

int lb_err_sys(struct lb_err *err, int errnum, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fill(err, errnum, true, fmt, ap);
	va_end(ap);
	return -errnum;
}
