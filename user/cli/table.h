/* SPDX-License-Identifier: GPL-2.0-or-later */
/* table.h - tables for people, and colour where a terminal shows it. */
#ifndef LB_TABLE_H
#define LB_TABLE_H

#include <stddef.h>
#include <stdio.h>

#define LB_TABLE_COLUMNS 12

/* A heading that begins with `>` makes a column of right-aligned numbers. */
struct lb_table {
	const char *const *headings; /* ends with NULL */
	char **cells;                /* row by row */
	size_t n;
};

#define LB_TABLE(...)                                                                              \
	{                                                                                          \
		.headings = (const char *const[])                                                  \
		{                                                                                  \
			__VA_ARGS__, NULL                                                          \
		}                                                                                  \
	}

/* Appends the next cell, from left to right and row by row. */
void lb_table_add(struct lb_table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void lb_table_print(const struct lb_table *t, FILE *out);
void lb_table_free(struct lb_table *t);

enum lb_colour { LB_BOLD, LB_RED, LB_YELLOW, LB_PLAIN };
const char *lb_colour(FILE *out, enum lb_colour c); /* "" where `out` is no terminal */

#endif
