/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_migrate.h - what the files that take over an instance of an older ABI share. Nobody outside
 * of user/datapath/ebpf_{migrate,layout,former}*.c and its tests includes it.
 */
#ifndef LB_EBPF_MIGRATE_H
#define LB_EBPF_MIGRATE_H

#include "ebpf_internal.h"

struct btf;

/* ebpf_layout.c - what the kernel knows of a map's elements: their fields' names and places */
struct lb_type {
	const struct btf *btf;
	__u32 id;
};
struct lb_field {
	struct lb_type type; /* of one element, where it is an array */
	__u32 offset, size;  /* bytes; size: of one element */
	__u32 n;             /* elements; 1: no array */
};
struct lb_map_types {
	struct btf *btf;
	struct lb_type key, value;
};
int lb_map_types_read(int map_fd, struct lb_map_types *t); /* -errno */
void lb_map_types_free(struct lb_map_types *t);
bool lb_field_find(struct lb_type in, const char *name, struct lb_field *f);

/* Which bytes of one layout go where in another: fields of the same name. */
struct lb_move {
	__u32 from, to, size;
};
struct lb_moves {
	struct lb_move *list;
	size_t n, max;
};
/* -EPROTO: a field has become of another kind. What is only in `from` is left out. */
int lb_moves_make(struct lb_moves *m, struct lb_type from, struct lb_type to);
void lb_moves_run(const struct lb_moves *m, const void *from, void *to);
void lb_moves_free(struct lb_moves *m);

/* ebpf_former.c - the maps of the former instance, and all that is copied once */
struct lb_former_config {
	struct lb_limits limits;
	__u64 secret[LB_SECRET_WORDS];
	__u32 generation;
	__u64 applied;
};
int lb_former_config_read(const struct lb_dp *former, struct lb_former_config *c,
			  struct lb_err *err);
/* Fills the maps of `next`, but for the connections; it still counts as half made. */
int lb_former_copy(const struct lb_dp *former, struct lb_dp *next, struct lb_err *err);
int lb_former_ports(const struct lb_dp *former, struct lb_dp *next, struct lb_err *err);
/* Sums of a lb_backend_stats, in the layout of `next`, by id; NULL: without memory. */
struct lb_counters *lb_former_counters(const struct lb_dp *of, const struct lb_dp *next);

/* ebpf_former_conn.c - its connections */
struct lb_bits {
	__u8 shift, n;
};
/* Where in an entry's meta and ref what is, by ABI. */
struct lb_conn_words {
	__u32 abi;
	struct lb_bits tick, state, set, version; /* of meta */
	struct lb_bits backend, reuse, udp;       /* of ref; the next hop is found again */
	__u8 reset;                               /* the state that its RESET is here */
};
const struct lb_conn_words *lb_conn_words_of(__u32 abi); /* NULL: not known */

struct lb_former_table;
struct lb_former_conns {
	struct lb_former_table *tables[LB_FAMILIES];
	uint64_t taken, no_room; /* entries */
};
int lb_former_conns_open(struct lb_former_conns *c, const struct lb_dp *former, struct lb_dp *next,
			 struct lb_err *err);
void lb_former_conns_copy(struct lb_former_conns *c); /* what is new or has changed */
void lb_former_conns_close(struct lb_former_conns *c);

#endif
