/* SPDX-License-Identifier: GPL-2.0-or-later */
/* conn_stress.h - what conn_stress.bpf.c and test_conn.c share. */
#ifndef CONN_STRESS_H
#define CONN_STRESS_H

#define STRESS_THREADS  2
#define STRESS_STEPS    20000 /* of one run of the program */
#define STRESS_BACKENDS 64    /* of each family */
/* Established connections of one thread and family at a time: 8 in all, so that of the 12 or more
 * slots where a flow may lie some are always another's. */
#define STRESS_HELD        4
#define STRESS_NOISE_FIRST 1000
#define STRESS_NOISE       1024

struct stress_thread {
	__u64 ops; /* calls of conn.h */
	__u64 hits, fast_hits, inserts;
	__u64 uses;          /* of established connections */
	__u64 refused;       /* inserts that found every slot being written */
	__u64 torn;          /* entries with parts of two */
	__u64 lost;          /* established connections that were not there */
	__u64 undead;        /* removed ones that were */
	__u64 wrong_nexthop; /* one that was not stored */
	__u32 random;
	__u8 held[2][STRESS_HELD];
} __attribute__((aligned(128)));

#define CONN_UNSURE 2 /* LB_CONN_UNSURE, the result of FIND_FAST where it does not know */
enum conn_op_kind { CONN_FIND, CONN_FIND_FAST, CONN_INSERT, CONN_SET, CONN_REMOVE };
struct conn_op {
	__u32 kind, family, flow, reverse;
	__u32 life;      /* for INSERT and SET */
	__u32 pos, meta; /* for SET and REMOVE; of FIND and INSERT */
	__s32 result;
	__u32 whole;              /* of FIND: all its fields are this flow's */
	__u32 bucket[4], buckets; /* where an entry of this flow may lie */
};

#endif
