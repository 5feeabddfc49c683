/* SPDX-License-Identifier: GPL-2.0-or-later */
/* live.h - what the generator and sink programs (live.bpf.c) and live.c share. */
#ifndef LIVE_H
#define LIVE_H

#define LIVE_FRAME       60 /* Ethernet, IPv4, UDP and 18 bytes */
#define LIVE_HEADERS     42
#define LIVE_FRAME_WORDS 8
#define LIVE_FLOWS_MAX   65536

/* A multiple of 8 bytes, as an array's elements are in memory. */
struct live_flow {
	__u32 saddr;
	__u16 sport;
	__u16 ip_check;
	__u16 udp_check;
	__u16 pad[3];
};

#endif
