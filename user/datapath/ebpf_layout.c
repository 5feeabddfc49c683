/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_layout.c - the layouts of maps, as the kernel has them from whoever made the maps (BTF): so
 * an older ABI's elements are read by the names of their fields, wherever these lie.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <bpf/btf.h>

#include "ebpf_migrate.h"

/* Without what says nothing of the layout: typedefs, const, volatile. */
static const struct btf_type *type_strip(struct lb_type *t)
{
	const struct btf_type *is = btf__type_by_id(t->btf, t->id);

	while (is && (btf_is_mod(is) || btf_is_typedef(is) || btf_is_var(is))) {
		t->id = is->type;
		is = btf__type_by_id(t->btf, t->id);
	}
	return is;
}

/* Global data is a section, here of one variable. */
static void section_enter(struct lb_type *t)
{
	const struct btf_type *is = btf__type_by_id(t->btf, t->id);

	if (is && btf_is_datasec(is) && btf_vlen(is))
		t->id = btf_var_secinfos(is)->type;
}

int lb_map_types_read(int map_fd, struct lb_map_types *t)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);

	*t = (struct lb_map_types){};
	if (bpf_obj_get_info_by_fd(map_fd, &info, &len))
		return -errno;
	if (!info.btf_id || !info.btf_value_type_id)
		return -ENOENT;
	t->btf = btf__load_from_kernel_by_id(info.btf_id);
	if (!t->btf)
		return -errno;
	t->key = (struct lb_type){t->btf, info.btf_key_type_id};
	t->value = (struct lb_type){t->btf, info.btf_value_type_id};
	section_enter(&t->value);
	return 0;
}

void lb_map_types_free(struct lb_map_types *t)
{
	btf__free(t->btf);
	*t = (struct lb_map_types){};
}

static struct lb_field field_of(struct lb_type type, __u32 offset)
{
	struct lb_field f = {.type = type, .offset = offset, .n = 1};
	const struct btf_type *is = type_strip(&f.type);

	if (is && btf_is_array(is)) {
		f.n = btf_array(is)->nelems;
		f.type.id = btf_array(is)->type;
		type_strip(&f.type);
	}
	f.size = btf__resolve_size(f.type.btf, f.type.id);
	return f;
}

/* Also in what has no name of its own. */
bool lb_field_find(struct lb_type in, const char *name, struct lb_field *f)
{
	const struct btf_type *is = type_strip(&in);

	for (int i = 0; is && btf_is_composite(is) && i < btf_vlen(is); i++) {
		const struct btf_member *m = btf_members(is) + i;
		const char *is_called = btf__name_by_offset(in.btf, m->name_off);
		struct lb_type type = {in.btf, m->type};
		__u32 offset = btf_member_bit_offset(is, i) / 8;

		if (!strcmp(is_called, name)) {
			*f = field_of(type, offset);
			return true;
		}
		if (!*is_called && lb_field_find(type, name, f)) {
			f->offset += offset;
			return true;
		}
	}
	return false;
}

/* ---------------------------------------------------------------- moves */

static int move_add(struct lb_moves *m, __u32 from, __u32 to, __u32 size)
{
	struct lb_move *last = m->n ? &m->list[m->n - 1] : NULL;

	if (last && last->from + last->size == from && last->to + last->size == to) {
		last->size += size;
		return 0;
	}
	if (m->n == m->max) {
		size_t more = m->max * 2 + 16;
		void *bigger = realloc(m->list, more * sizeof(*m->list));

		if (!bigger)
			return -ENOMEM;
		m->list = bigger;
		m->max = more;
	}
	m->list[m->n++] = (struct lb_move){from, to, size};
	return 0;
}

/* A number that has become longer keeps its value: what it is moved to is 0. */
static int number_add(struct lb_moves *m, const struct lb_field *from, const struct lb_field *to)
{
	__u32 n = from->n < to->n ? from->n : to->n;
	__u32 size = from->size < to->size ? from->size : to->size;
	bool big_endian = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;
	int ret = 0;

	if (from->size == to->size)
		return move_add(m, from->offset, to->offset, n * size);
	for (__u32 i = 0; i < n && !ret; i++)
		ret = move_add(
			m, from->offset + i * from->size + (big_endian ? from->size - size : 0),
			to->offset + i * to->size + (big_endian ? to->size - size : 0), size);
	return ret;
}

static int struct_add(struct lb_moves *m, struct lb_type from, __u32 from_at, struct lb_type to,
		      __u32 to_at);

static int field_add(struct lb_moves *m, const struct lb_field *from, const struct lb_field *to)
{
	struct lb_type from_type = from->type, to_type = to->type;
	const struct btf_type *was = type_strip(&from_type), *is = type_strip(&to_type);
	int ret = 0;

	if (!was || !is)
		return -EPROTO;
	if ((btf_is_int(was) || btf_is_any_enum(was)) && (btf_is_int(is) || btf_is_any_enum(is)))
		return number_add(m, from, to);
	for (__u32 i = 0; i < from->n && i < to->n && !ret; i++) {
		struct lb_field a = field_of(from_type, from->offset + i * from->size);
		struct lb_field b = field_of(to_type, to->offset + i * to->size);

		if (btf_is_composite(was) && btf_is_composite(is))
			ret = struct_add(m, from_type, a.offset, to_type, b.offset);
		else if (btf_is_array(was) && btf_is_array(is))
			ret = field_add(m, &a, &b);
		else
			ret = -EPROTO;
	}
	return ret;
}

/* Of a union what stands first in it. */
static int struct_add(struct lb_moves *m, struct lb_type from, __u32 from_at, struct lb_type to,
		      __u32 to_at)
{
	const struct btf_type *is = type_strip(&to);
	int n = btf_is_union(is) ? 1 : btf_vlen(is), ret = 0;

	for (int i = 0; i < n && !ret; i++) {
		const struct btf_member *member = btf_members(is) + i;
		const char *name = btf__name_by_offset(to.btf, member->name_off);
		struct lb_type type = {to.btf, member->type};
		struct lb_field was, now;

		now = field_of(type, to_at + btf_member_bit_offset(is, i) / 8);
		if (!*name) {
			ret = struct_add(m, from, from_at, type, now.offset);
		} else if (lb_field_find(from, name, &was)) {
			was.offset += from_at;
			ret = field_add(m, &was, &now);
		}
	}
	return ret;
}

int lb_moves_make(struct lb_moves *m, struct lb_type from, struct lb_type to)
{
	const struct lb_field was = field_of(from, 0), is = field_of(to, 0);

	*m = (struct lb_moves){};
	return field_add(m, &was, &is);
}

void lb_moves_run(const struct lb_moves *m, const void *from, void *to)
{
	for (size_t i = 0; i < m->n; i++)
		memcpy((char *)to + m->list[i].to, (const char *)from + m->list[i].from,
		       m->list[i].size);
}

void lb_moves_free(struct lb_moves *m)
{
	free(m->list);
	*m = (struct lb_moves){};
}
