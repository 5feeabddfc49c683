// SPDX-License-Identifier: GPL-2.0-or-later
/* table.c - tables for people, and colour where a terminal shows it. */
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "table.h"

const char *lb_colour(FILE *out, enum lb_colour c)
{
	static const char *const codes[] = {"\033[1m", "\033[31m", "\033[33m", "\033[0m"};
	const char *none = getenv("NO_COLOR"); /* no-color.org */

	return isatty(fileno(out)) && !(none && *none) ? codes[c] : "";
}

void lb_table_add(struct lb_table *t, const char *fmt, ...)
{
	char **cells = t->cells;
	va_list args;
	char *cell;

	if (!(t->n & (t->n - 1))) /* a power of two: full */
		cells = realloc(cells, (t->n ? 2 * t->n : 1) * sizeof(*cells));
	va_start(args, fmt);
	if (!cells || vasprintf(&cell, fmt, args) < 0)
		abort(); /* a table with a cell missing would tell lies */
	va_end(args);
	t->cells = cells;
	cells[t->n++] = cell;
}

void lb_table_print(const struct lb_table *t, FILE *out)
{
	size_t width[LB_TABLE_COLUMNS] = {};
	size_t columns = 0;

	for (; t->headings[columns]; columns++) {
		const char *heading = t->headings[columns];

		width[columns] = strlen(heading) - (*heading == '>');
	}
	if (!columns)
		return;
	for (size_t i = 0; i < t->n; i++)
		if (strlen(t->cells[i]) > width[i % columns])
			width[i % columns] = strlen(t->cells[i]);
	fputs(lb_colour(out, LB_BOLD), out);
	for (size_t i = 0; i < columns + t->n; i++) {
		const char *heading = t->headings[i % columns];
		const char *cell =
			i < columns ? heading + (*heading == '>') : t->cells[i - columns];
		bool last = i % columns == columns - 1;
		int w = width[i % columns];

		fprintf(out, "%*s%s", *heading == '>' ? w : last ? 0 : -w, cell, last ? "" : "  ");
		if (last)
			fprintf(out, "%s\n", i < columns ? lb_colour(out, LB_PLAIN) : "");
	}
}

void lb_table_free(struct lb_table *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->cells[i]);
	free(t->cells);
	t->cells = NULL;
	t->n = 0;
}
