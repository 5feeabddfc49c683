/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * seq.h - is a packet from within the connection? Who only guesses addresses and ports must not end
 * somebody's entry (RFC 5961 has hosts guard their own state so).
 *
 * Of each side the upper 16 bits of the sequence number are remembered, when a connection is
 * established and whenever its entry is refreshed: a look every few seconds, and no write for the
 * packets between. Backends are believed what they say of both sides; clients, whom anybody may
 * forge, only if that is near to what was seen, and else their packets refresh nothing: the
 * backend's answer does. The end of a connection takes one of the two numbers, for of two sides
 * that race one way the other stands almost still. So a forged FIN is believed one time in 64,
 * which leaves the connection half-closed, and a reset as such one time in 11,000.
 */
#ifndef LB_SEQ_H
#define LB_SEQ_H

#include "common.h"

/* Distances in units of 64 KiB: what a connection may have moved unseen, and what an idle one. */
#define LB_SEQ_NEAR  256
#define LB_SEQ_CLOSE 1

static __always_inline __u32 *lb_seq_at(__u32 family, __u32 pos)
{
	__u32 bucket = pos >> 2;
	struct lb_seqs *s = family == LB_V4 ? bpf_map_lookup_elem(&lb_seqs4, &bucket)
					    : bpf_map_lookup_elem(&lb_seqs6, &bucket);

	return s ? &s->seen[pos & 3] : NULL;
}

/* The packet's numbers in the order of lb_seqs.seen: the client's side, then the backend's. */
static __always_inline __u32 lb_seq_of(const struct lb_packet *p, bool reverse)
{
	__u32 seq = bpf_ntohl(p->seq) >> 16, ack = bpf_ntohl(p->ack) >> 16;

	return reverse ? ack << 16 | seq : seq << 16 | ack;
}

/* Of a packet with ACK, for without it only one of the two numbers is known. */
static __always_inline void lb_seq_note(const struct lb_packet *p, __u32 pos, bool reverse)
{
	__u32 *seen = lb_seq_at(p->family, pos);

	if (seen)
		WRITE_ONCE(*seen, lb_seq_of(p, reverse));
}

/* Of the lower halves. */
static __always_inline __u32 lb_seq_distance(__u32 a, __u32 b)
{
	__u32 ahead = (a - b) & 0xffff, behind = (b - a) & 0xffff;

	return ahead < behind ? ahead : behind;
}

/* Does client's packet p know what the backend has answered to its SYN? Who forges both does not,
 * and could else make an entry that nobody pushes out. */
static __always_inline bool lb_seq_answers(const struct lb_packet *p, __u32 pos)
{
	__u32 *seen = lb_seq_at(p->family, pos);

	return !seen || lb_seq_distance(lb_seq_of(p, false), READ_ONCE(*seen)) <= LB_SEQ_CLOSE;
}

/* What of packet p's flags is believed: ACK, so that its numbers are noted, where both are near;
 * FIN and RST where one is within `end`, and a RST that is not close counts as that side's FIN. 0:
 * nothing is. */
static __always_inline __u32 lb_seq_believed(const struct lb_packet *p, __u32 pos, bool reverse,
					     __u32 end)
{
	__u32 *at = p ? lb_seq_at(p->family, pos) : NULL, flags = p ? p->tcp_flags : 0;
	__u32 is, seen, client, backend, nearest;

	if (!at)
		return flags;
	seen = READ_ONCE(*at);
	is = lb_seq_of(p, reverse);
	client = lb_seq_distance(is >> 16, seen >> 16);
	backend = lb_seq_distance(is, seen);
	nearest = reverse ? backend : client; /* its own */
	if ((flags & LB_TCP_ACK) && client < nearest)
		nearest = client;
	if ((flags & LB_TCP_ACK) && backend < nearest)
		nearest = backend;
	if (nearest > end)
		flags &= ~(LB_TCP_FIN | LB_TCP_RST);
	if ((flags & LB_TCP_RST) && nearest > LB_SEQ_CLOSE)
		flags = (flags & ~LB_TCP_RST) | LB_TCP_FIN;
	if (client > LB_SEQ_NEAR || backend > LB_SEQ_NEAR)
		flags &= LB_TCP_FIN | LB_TCP_RST;
	return flags;
}

#endif
