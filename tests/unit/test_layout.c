// SPDX-License-Identifier: GPL-2.0-or-later
/* test_layout.c - an element of a map in one layout, moved to another by the names of its fields.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <bpf/btf.h>

#include "datapath/ebpf_migrate.h"

/* The same by two ABIs: another order, longer numbers, less and more of what is in it. */
struct inner_was {
	uint16_t a, gone;
	uint8_t b;
};
struct was {
	uint32_t number;
	uint32_t left_out;
	struct inner_was inner[2];
	uint8_t flags[2][3];
	char name[8];
};
struct inner_is {
	uint8_t b;
	uint32_t a;
};
struct is {
	char name[12];
	uint64_t number;
	uint32_t more;
	uint8_t flags[2][4];
	struct inner_is inner[3];
};

static struct btf *btf;
static int u8, u16, u32, u64;

static int array_of(int type, int n)
{
	return btf__add_array(btf, u32, type, n);
}

static void add(const char *name, int type, size_t offset)
{
	assert_int_equal(btf__add_field(btf, name, type, offset * 8, 0), 0);
}

#define BEGIN(s)        btf__add_struct(btf, #s, sizeof(struct s))
#define FIELD(s, f, of) add(#f, of, offsetof(struct s, f))

static struct lb_type type_was(void)
{
	int inner = BEGIN(inner_was), all, inners, rows, bytes;

	FIELD(inner_was, a, u16);
	FIELD(inner_was, gone, u16);
	FIELD(inner_was, b, u8);
	inners = array_of(inner, 2);
	rows = array_of(array_of(u8, 3), 2);
	bytes = array_of(u8, 8);
	all = BEGIN(was);
	FIELD(was, number, u32);
	FIELD(was, left_out, u32);
	FIELD(was, inner, inners);
	FIELD(was, flags, rows);
	FIELD(was, name, bytes);
	return (struct lb_type){btf, all};
}

static struct lb_type type_is(void)
{
	int inner = BEGIN(inner_is), all, inners, rows, bytes;

	FIELD(inner_is, b, u8);
	FIELD(inner_is, a, u32);
	inners = array_of(inner, 3);
	rows = array_of(array_of(u8, 4), 2);
	bytes = array_of(u8, 12);
	all = BEGIN(is);
	FIELD(is, name, bytes);
	FIELD(is, number, u64);
	FIELD(is, more, u32);
	FIELD(is, flags, rows);
	FIELD(is, inner, inners);
	return (struct lb_type){btf, all};
}

static void test_moves(void **state)
{
	const struct was from = {.number = 0xfffffffe,
				 .left_out = 7,
				 .inner = {{.a = 1, .gone = 9, .b = 2}, {.a = 65535, .b = 4}},
				 .flags = {{1, 2, 3}, {4, 5, 6}},
				 .name = "seven.."};
	struct lb_moves m;
	struct is to = {};

	(void)state;
	assert_int_equal(lb_moves_make(&m, type_was(), type_is()), 0);
	lb_moves_run(&m, &from, &to);
	lb_moves_free(&m);
	assert_true(to.number == 0xfffffffe);
	assert_int_equal(to.more, 0);
	assert_string_equal(to.name, "seven..");
	assert_int_equal(to.inner[0].a, 1);
	assert_int_equal(to.inner[0].b, 2);
	assert_int_equal(to.inner[1].a, 65535);
	assert_int_equal(to.inner[1].b, 4);
	assert_int_equal(to.inner[2].a, 0);
	assert_memory_equal(to.flags, ((uint8_t[2][4]){{1, 2, 3, 0}, {4, 5, 6, 0}}), 8);
}

/* Where nothing has changed all of it goes in one piece. */
static void test_same(void **state)
{
	struct lb_type type = type_is();
	struct lb_moves m;

	(void)state;
	assert_int_equal(lb_moves_make(&m, type, type), 0);
	assert_int_equal(m.list[0].from, 0);
	assert_int_equal(m.list[0].to, 0);
	for (size_t i = 0; i < m.n; i++)
		assert_int_equal(m.list[i].from, m.list[i].to);
	lb_moves_free(&m);
}

static void test_another_kind(void **state)
{
	int inner = BEGIN(inner_is), a, b;
	struct lb_moves m;

	(void)state;
	FIELD(inner_is, b, u8);
	a = BEGIN(was);
	FIELD(was, inner, inner);
	b = BEGIN(was);
	FIELD(was, inner, u32);
	assert_int_equal(lb_moves_make(&m, (struct lb_type){btf, a}, (struct lb_type){btf, b}),
			 -EPROTO);
	lb_moves_free(&m);
}

/* In what has no name, and as part of a union. */
static void test_field(void **state)
{
	int bytes = array_of(u16, 5), hidden = btf__add_union(btf, NULL, 16), all;
	struct lb_field f;

	(void)state;
	assert_int_equal(btf__add_field(btf, "word", u64, 0, 0), 0);
	assert_int_equal(btf__add_field(btf, "halves", bytes, 0, 0), 0);
	all = btf__add_struct(btf, "outer", 24);
	assert_int_equal(btf__add_field(btf, "first", u32, 0, 0), 0);
	assert_int_equal(btf__add_field(btf, NULL, hidden, 64, 0), 0);
	assert_true(lb_field_find((struct lb_type){btf, all}, "halves", &f));
	assert_int_equal(f.offset, 8);
	assert_int_equal(f.n, 5);
	assert_int_equal(f.size, 2);
	assert_false(lb_field_find((struct lb_type){btf, all}, "none", &f));
}

static __u32 bits(__u32 word, struct lb_bits b)
{
	return word >> b.shift & ((1u << b.n) - 1);
}

/* The line of the present ABI says what its macros do: the next ABI reads by it. */
static void test_words(void **state)
{
	const struct lb_conn_words *w = lb_conn_words_of(LB_ABI_VERSION);
	__u32 meta = LB_META(41, LB_LIFE(11, LB_CONN_UDP), 0x2aaaa);
	__u32 ref = LB_REF_UDP | LB_REF_REUSE(5) | 0x2aa << LB_REF_NEXTHOP_SHIFT | 0x15555;

	(void)state;
	assert_non_null(w);
	assert_int_equal(bits(meta, w->version), 41);
	assert_int_equal(bits(meta, w->set), 11);
	assert_int_equal(bits(meta, w->state), LB_CONN_UDP);
	assert_int_equal(bits(meta, w->tick), 0x2aaaa);
	assert_int_equal(bits(ref, w->udp), 1);
	assert_int_equal(bits(ref, w->reuse), 5);
	assert_int_equal(bits(ref, w->backend), 0x15555);
	assert_int_equal(w->version.n + w->set.n + w->state.n + w->tick.n, 32);
	assert_int_equal(w->reset, LB_CONN_RESET);
	assert_int_equal(lb_conn_words_of(9)->reset, LB_CONN_CLOSED);
	assert_null(lb_conn_words_of(LB_ABI_OLDEST - 1));
	assert_false(lb_migrate_can(LB_ABI_VERSION));
	assert_false(lb_migrate_can(LB_ABI_OLDEST - 1));
}

static int begin(void **state)
{
	(void)state;
	btf = btf__new_empty();
	assert_non_null(btf);
	u8 = btf__add_int(btf, "u8", 1, 0);
	u16 = btf__add_int(btf, "u16", 2, 0);
	u32 = btf__add_int(btf, "u32", 4, 0);
	u64 = btf__add_int(btf, "u64", 8, 0);
	return 0;
}

static int end(void **state)
{
	(void)state;
	btf__free(btf);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_moves),        cmocka_unit_test(test_same),
		cmocka_unit_test(test_another_kind), cmocka_unit_test(test_field),
		cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests_name("layout", tests, begin, end);
}
