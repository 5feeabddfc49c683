// SPDX-License-Identifier: GPL-2.0-or-later
/* text.c - times, sizes, filters and near misses as text, and a growing list of texts. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/list.h"
#include "text.h"

int lb_interval_parse(uint32_t *ms, const char *text)
{
	double fraction;
	uint32_t seconds;
	char *end;

	if (strchr(text, '.') && strspn(text, "0123456789.") == strlen(text)) {
		fraction = strtod(text, &end);
		if (*end || fraction < 0.1 || fraction > 86400)
			return -EINVAL;
		*ms = fraction * 1000;
		return 0;
	}
	if (lb_duration_parse(&seconds, text) || seconds > UINT32_MAX / 1000)
		return -EINVAL;
	*ms = seconds * 1000;
	return 0;
}

const char *lb_age_str(char *buf, uint64_t since)
{
	uint64_t now = time(NULL);

	if (!since)
		return memcpy(buf, "-", sizeof("-"));
	return lb_duration_str(buf, now > since ? now - since : 0);
}

const char *lb_time_str(char *buf, uint64_t at)
{
	time_t t = at;
	struct tm tm;

	if (!localtime_r(&t, &tm) || !strftime(buf, LB_TEXT_MAX, "%Y-%m-%d %H:%M:%S", &tm))
		memcpy(buf, "?", sizeof("?"));
	return buf;
}

void lb_timeouts_print(const char *of, const uint32_t timeouts[LB_TIMEOUTS], const char *separator)
{
	char text[LB_DURATION_MAX], head[LB_NAME_MAX + 16];
	bool any = false;

	snprintf(head, sizeof(head), "timeouts%s%s:", of ? " of " : "", of ? of : "");
	for (int i = 0; i < LB_TIMEOUTS_NAMED; i++) {
		if (!timeouts[i])
			continue;
		printf("%s %s %s", any ? separator : head, lb_timeout_name(i),
		       lb_duration_exact(text, timeouts[i]));
		any = true;
	}
	if (any)
		putchar('\n');
}

void lb_rates_print(const struct lb_rates_conf *r)
{
	if (!r->per_cpu && !r->per_source)
		return;
	fputs("rates:", stdout);
	if (r->per_cpu)
		printf(" per-cpu %u%s", r->per_cpu, r->per_source ? "," : "");
	if (r->per_source)
		printf(" per-source %u of /%u and /%u", r->per_source, r->source_mask,
		       r->source_mask6);
	putchar('\n');
}

const char *lb_place_str(char buf[LB_PLACE_MAX], const char *file, int line)
{
	buf[0] = '\0';
	if (*file && line)
		snprintf(buf, LB_PLACE_MAX, "%.230s:%d: ", file, line);
	else if (*file)
		snprintf(buf, LB_PLACE_MAX, "%.230s: ", file);
	return buf;
}

const char *lb_size_str(char *buf, uint64_t bytes)
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
	double value = bytes / 1024.0;
	size_t i = 0;

	if (bytes < 1024) {
		snprintf(buf, LB_TEXT_MAX, "%" PRIu64 " B", bytes);
		return buf;
	}
	for (; value >= 1024 && i < 3; i++)
		value /= 1024;
	snprintf(buf, LB_TEXT_MAX, "%.1f %s", value, units[i]);
	return buf;
}

#define LB_NEAR_MAX 32 /* longer words are compared by their beginnings */

/* Optimal string alignment: insertions, deletions, substitutions, and neighbours swapped. */
static unsigned int edit_distance(const char *a, const char *b)
{
	unsigned int d[LB_NEAR_MAX + 1][LB_NEAR_MAX + 1];
	size_t n = strnlen(a, LB_NEAR_MAX), m = strnlen(b, LB_NEAR_MAX);

	for (size_t i = 0; i <= n; i++)
		d[i][0] = i;
	for (size_t j = 0; j <= m; j++)
		d[0][j] = j;
	for (size_t i = 1; i <= n; i++) {
		for (size_t j = 1; j <= m; j++) {
			unsigned int best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

			if (best > d[i - 1][j] + 1)
				best = d[i - 1][j] + 1;
			if (best > d[i][j - 1] + 1)
				best = d[i][j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    best > d[i - 2][j - 2] + 1)
				best = d[i - 2][j - 2] + 1;
			d[i][j] = best;
		}
	}
	return d[n][m];
}

const char *lb_nearest(const char *text, const char *const *candidates)
{
	/* One slip in three letters; more, and a suggestion would only puzzle. */
	unsigned int best = strlen(text) / 3 + 2;
	const char *nearest = NULL;

	for (; *candidates; candidates++) {
		unsigned int d = edit_distance(text, *candidates);

		/* A word cut short is meant more often than another word: "stat". */
		if (*text && !strncmp(text, *candidates, strlen(text)))
			d = 1;
		if (d < best && d < strlen(*candidates)) {
			best = d;
			nearest = *candidates;
		}
	}
	return nearest;
}

static int match_parse_bits(struct lb_endpoint *at, uint8_t *bits, char *slash, const char **why)
{
	unsigned long max = at->family == LB_V4 ? 32 : 128;
	unsigned long n;
	char *end;

	*bits = max;
	if (!slash)
		return 0;
	n = strtoul(slash, &end, 10);
	if (!isdigit((unsigned char)*slash) || *end || n > max) {
		*why = max == 32 ? "a prefix length is 0 to 32" : "a prefix length is 0 to 128";
		return -EINVAL;
	}
	*bits = n;
	return 0;
}

int lb_match_parse(struct lb_endpoint *at, uint8_t *bits, const char *text, const char **why)
{
	char buf[LB_ENDPOINT_STRLEN];
	char *slash, *addr = buf;
	size_t len;

	*at = (struct lb_endpoint){};
	*why = bits ? "not an address: write ADDR, ADDR/BITS, ADDR:PORT or [IPV6]:PORT"
		    : "not an address: write ADDR, ADDR:PORT or [IPV6]:PORT";
	if (snprintf(buf, sizeof(buf), "%s", text) >= (int)sizeof(buf))
		return -EINVAL;
	slash = bits ? strchr(buf, '/') : NULL;
	if (slash)
		*slash++ = '\0';
	len = strlen(buf);
	if (len > 2 && buf[0] == '[' && buf[len - 1] == ']' && strchr(buf, ':')) {
		buf[len - 1] = '\0';
		addr++;
	}
	if (!lb_addr_parse(&at->addr, &at->family, addr))
		return bits ? match_parse_bits(at, bits, slash, why) : 0;
	if (slash || !strchr(buf, ':'))
		return -EINVAL;
	if (lb_endpoint_parse(at, buf, why))
		return -EINVAL;
	return bits ? match_parse_bits(at, bits, NULL, why) : 0;
}

void lb_texts_add(struct lb_texts *t, const char *fmt, ...)
{
	char *text, **new;
	va_list args;
	int len;

	va_start(args, fmt);
	len = vasprintf(&text, fmt, args);
	va_end(args);
	if (len < 0)
		return; /* a warning less */
	new = lb_list_add((void **)&t->list, &t->n, sizeof(*new));
	if (new)
		*new = text;
	else
		free(text);
}

void lb_texts_free(struct lb_texts *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->list[i]);
	free(t->list);
	*t = (struct lb_texts){};
}
