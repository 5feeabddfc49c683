/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench.h - what the bench's wrapper programs (bench.bpf.c) and the bench share.
 *
 * Included by both sides after their own integer types.
 */
#ifndef BENCH_H
#define BENCH_H

/* One flow of the template: what differs between the frames. Network byte order throughout. */
struct bench_flow4 {
	__u32 saddr, daddr;
	__u32 ports; /* source and destination, as on the wire */
	__u16 ip_check, l4_check;
};
struct bench_flow6 {
	__u64 saddr[2], daddr[2];
	__u32 ports;
	__u16 l4_check;
	__u16 pad;
};

/* The rest of the frame: Ethernet, IP and TCP headers, rounded up to words. */
#define BENCH_FRAME4      54
#define BENCH_FRAME6      74
#define BENCH_FRAME_WORDS 10

/* Slots of the tail call map. */
enum bench_slot { BENCH_FLOOR = 0, BENCH_PROGRAM = 1, BENCH_LINE = 2, BENCH_SLOTS = 3 };

/* Buckets of the table that the "same flow" wrapper wipes before each packet. */
#define BENCH_SAME_BUCKETS 2

#endif
