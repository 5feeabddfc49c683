// SPDX-License-Identifier: GPL-2.0-or-later
/* list.c - lists that grow by one element at a time. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "list.h"

void *lb_list_add(void **list, size_t *n, size_t size)
{
	char *grown = *list;

	if ((*n & (*n - 1)) == 0) {
		grown = reallocarray(*list, *n ? *n * 2 : 1, size);
		if (!grown)
			return NULL;
		*list = grown;
	}
	return memset(grown + (*n)++ * size, 0, size);
}

int lb_list_copy(void **to, const void *from, size_t n, size_t size)
{
	size_t room = 1;

	*to = NULL;
	if (!n)
		return 0;
	while (room < n)
		room *= 2;
	*to = reallocarray(NULL, room, size);
	if (!*to)
		return -ENOMEM;
	memcpy(*to, from, n * size);
	return 0;
}

void lb_lists_pair(const void *from, size_t n_from, const void *to, size_t n_to, size_t size,
		   lb_order_fn order, lb_pair_fn fn, void *arg)
{
	size_t a = 0, b = 0;

	while (a < n_from || b < n_to) {
		const void *x = a < n_from ? (const char *)from + a * size : NULL;
		const void *y = b < n_to ? (const char *)to + b * size : NULL;
		int cmp = !x ? 1 : !y ? -1 : order(x, y);

		fn(arg, cmp <= 0 ? x : NULL, cmp >= 0 ? y : NULL);
		a += cmp <= 0;
		b += cmp >= 0;
	}
}
