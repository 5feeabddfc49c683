// SPDX-License-Identifier: GPL-2.0-or-later
/* duration.c - lengths of time as text: read, shown, and written to be read again. */
#include "duration.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

static uint32_t unit_seconds(char unit)
{
	switch (unit) {
	case 's':
		return 1;
	case 'm':
		return 60;
	case 'h':
		return 3600;
	case 'd':
		return 86400;
	default:
		return 0;
	}
}

int lb_duration_parse(uint32_t *seconds, const char *text)
{
	uint64_t sum = 0;

	if (!*text)
		return -EINVAL;
	while (*text) {
		uint64_t n, unit = 1;
		char *end;

		if (!isdigit((unsigned char)*text))
			return -EINVAL;
		errno = 0;
		n = strtoull(text, &end, 10);
		if (*end)
			unit = unit_seconds(*end++);
		if (errno || !unit || n > UINT32_MAX)
			return -EINVAL;
		sum += n * unit;
		if (sum > UINT32_MAX)
			return -EINVAL;
		text = end;
	}
	*seconds = sum;
	return sum ? 0 : -EINVAL;
}

const char *lb_duration_str(char *buf, uint64_t seconds)
{
	static const struct {
		uint64_t seconds;
		char name, next;
	} units[] = {{86400, 'd', 'h'}, {3600, 'h', 'm'}, {60, 'm', 's'}};
	static const uint64_t next[] = {3600, 60, 1};

	snprintf(buf, LB_DURATION_MAX, "%" PRIu64 "s", seconds);
	for (size_t i = 0; i < 3; i++) {
		if (seconds < units[i].seconds)
			continue;
		snprintf(buf, LB_DURATION_MAX, "%" PRIu64 "%c %" PRIu64 "%c",
			 seconds / units[i].seconds, units[i].name,
			 seconds % units[i].seconds / next[i], units[i].next);
		break;
	}
	return buf;
}

const char *lb_duration_exact(char *buf, uint32_t seconds)
{
	int len = 0;

	*buf = '\0';
	if (seconds >= 3600)
		len += sprintf(buf, "%uh", seconds / 3600);
	if (seconds / 60 % 60)
		len += sprintf(buf + len, "%um", seconds / 60 % 60);
	if (seconds % 60 || !seconds)
		sprintf(buf + len, "%us", seconds % 60);
	return buf;
}
