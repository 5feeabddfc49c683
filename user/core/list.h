/* SPDX-License-Identifier: GPL-2.0-or-later */
/* list.h - lists that grow by one element at a time, and sorted ones walked in step. */
#ifndef LB_LIST_H
#define LB_LIST_H

#include <stddef.h>

/*
 * Appends a zeroed element to a list of *n of `size` bytes, which is NULL at first, and returns it;
 * NULL without memory (errno ENOMEM). Pointers into the list move. No capacity is kept beside the
 * length: it is the next power of two, so a list grows when its length is one.
 */
void *lb_list_add(void **list, size_t *n, size_t size);

/* A copy with the capacity that lb_list_add() expects. 0 or -ENOMEM. */
int lb_list_copy(void **to, const void *from, size_t n, size_t size);

/* Calls fn in order for each element of two sorted lists; one without its like comes with NULL. */
typedef int (*lb_order_fn)(const void *a, const void *b);
typedef void (*lb_pair_fn)(void *arg, const void *from, const void *to);
void lb_lists_pair(const void *from, size_t n_from, const void *to, size_t n_to, size_t size,
		   lb_order_fn order, lb_pair_fn fn, void *arg);

#endif
