// SPDX-License-Identifier: GPL-2.0-or-later
/* nft_elements.c - elements of sets and maps in lists: compared, and as commands for libnftables.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nft_table.h"

static bool room_for_one(struct lb_nft_elements *all)
{
	size_t room = all->room ? all->room * 2 : 64;
	struct lb_nft_element *list;

	if (all->n < all->room)
		return true;
	list = realloc(all->list, room * sizeof(*list));
	if (!list)
		return false;
	all->list = list;
	all->room = room;
	return true;
}

void lb_nft_element_add(struct lb_nft_elements *all, const char *set, const char *key,
			const char *value)
{
	size_t a = strlen(set) + 1, b = strlen(key) + 1, c = strlen(value) + 1;
	char *text = room_for_one(all) ? malloc(a + b + c) : NULL;

	if (!text) {
		all->no_memory = true;
		return;
	}
	all->list[all->n++] = (struct lb_nft_element){
		.set = memcpy(text, set, a),
		.key = memcpy(text + a, key, b),
		.value = memcpy(text + a + b, value, c),
	}; /* cppcheck-suppress memleak ; it is the element's */
}

int lb_nft_element_cmp(const void *a, const void *b)
{
	const struct lb_nft_element *x = a, *y = b;
	int cmp = strcmp(x->set, y->set);

	return cmp ? cmp : strcmp(x->key, y->key);
}

static void element_free(struct lb_nft_element *e)
{
	free((char *)e->set); /* all three are one piece */
}

void lb_nft_elements_sort(struct lb_nft_elements *all)
{
	size_t kept = 0;

	if (!all->n)
		return;
	qsort(all->list, all->n, sizeof(*all->list), lb_nft_element_cmp);
	for (size_t i = 1; i < all->n; i++) {
		if (lb_nft_element_cmp(&all->list[kept], &all->list[i]))
			all->list[++kept] = all->list[i];
		else
			element_free(&all->list[i]);
	}
	all->n = kept + 1;
}

const struct lb_nft_element *lb_nft_element_find(const struct lb_nft_elements *all, const char *set,
						 const char *key)
{
	const struct lb_nft_element want = {.set = set, .key = key};

	return all->n ? bsearch(&want, all->list, all->n, sizeof(want), lb_nft_element_cmp) : NULL;
}

void lb_nft_elements_cut(struct lb_nft_elements *all, size_t n)
{
	while (all->n > n)
		element_free(&all->list[--all->n]);
}

void lb_nft_elements_free(struct lb_nft_elements *all)
{
	lb_nft_elements_cut(all, 0);
	free(all->list);
	*all = (struct lb_nft_elements){};
}

/* ---------------------------------------------------------------- elements to commands */

void lb_text_add(struct lb_text *t, const char *fmt, ...)
{
	va_list ap;
	int len;

	do {
		va_start(ap, fmt);
		len = vsnprintf(t->s + t->len, t->room - t->len, fmt, ap);
		va_end(ap);
		if (t->len + len >= t->room) {
			size_t room = (t->len + len) * 2 + 1024;
			char *s = realloc(t->s, room);

			t->no_memory |= !s;
			t->s = s ? s : t->s;
			t->room = s ? room : t->room;
			len = -1;
		}
	} while (len < 0 && !t->no_memory);
	t->len += len > 0 ? len : 0;
}

static bool same_value(const struct lb_nft_element *a, const struct lb_nft_element *b)
{
	return a && b && !strcmp(a->value, b->value);
}

static void element_text(struct lb_text *t, const struct lb_nft_element *e, bool add)
{
	bool quoted = !strcmp(e->set, LB_NFT_SET_INTERFACES);
	bool comment = !strcmp(e->set, LB_NFT_SET_MODEL);

	lb_text_add(t, quoted ? "\"%s\"" : "%s", e->key);
	if (add && *e->value)
		lb_text_add(t, comment ? " comment \"%s\"" : " : %s", e->value);
}

/* One command for all of a set. */
void lb_nft_text_elements(struct lb_text *t, const char *table, const struct lb_nft_elements *a,
			  const struct lb_nft_elements *b, bool add)
{
	const char *set = "";

	for (size_t i = 0; i < a->n; i++) {
		const struct lb_nft_element *e = &a->list[i];

		if (same_value(e, lb_nft_element_find(b, e->set, e->key)))
			continue;
		if (strcmp(set, e->set) != 0)
			lb_text_add(t, "%s%s element inet %s %s { ", *set ? " }\n" : "",
				    add ? "add" : "delete", table, e->set);
		else
			lb_text_add(t, ", ");
		element_text(t, e, add);
		set = e->set;
	}
	if (*set)
		lb_text_add(t, " }\n");
}

/* ---------------------------------------------------------------- audit */

/* Records that do not follow from the model. */
static bool is_own_record(const struct lb_nft_element *e)
{
	return !strcmp(e->set, LB_NFT_SET_MODEL) &&
	       (strtoul(e->key, NULL, 10) >= LB_NFT_GONE_ID || !strcmp(e->key, LB_NFT_KEY_RULES));
}

#define SAID_MAX 5 /* of a set: a table that somebody emptied is not told element by element */

/* What is in `a` and not so in `b`. */
static void compare(struct lb_findings *audit, const struct lb_nft_elements *a,
		    const struct lb_nft_elements *b, bool missing)
{
	const char *set = "";
	size_t said = 0;

	for (size_t i = 0; i < a->n; i++) {
		const struct lb_nft_element *e = &a->list[i];
		const struct lb_nft_element *other = lb_nft_element_find(b, e->set, e->key);

		if (same_value(e, other) || (!missing && (other || is_own_record(e))))
			continue;
		said = strcmp(set, e->set) ? 0 : said + 1;
		set = e->set;
		if (said >= SAID_MAX)
			continue;
		if (other)
			lb_found(audit, "set \"%s\": element { %s } is \"%s\", should be \"%s\"",
				 e->set, e->key, other->value, e->value);
		else
			lb_found(audit, "set \"%s\": element { %s } %s", e->set, e->key,
				 missing ? "is missing" : "is nobody's");
	}
}

void lb_nft_elements_audit(struct lb_findings *f, const struct lb_nft_elements *wanted,
			   const struct lb_nft_elements *is)
{
	compare(f, wanted, is, true);
	compare(f, is, wanted, false);
}
