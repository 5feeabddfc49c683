/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * seq.h - is a FIN or RST from within the connection? Who only guesses addresses and ports must not
 * end somebody's entry (RFC 5961 has hosts guard their own state so).
 *
 * Of each side the upper 8 bits of the sequence number are remembered, when a connection is
 * established and whenever its entry is refreshed: a look every few seconds, and no write for the
 * packets between. So a packet is believed whose number, or whose acknowledgement, is within 16 MiB
 * or so of what was seen: of two that race one way the other stands almost still. A guess is
 * believed one time in 43.
 */
#ifndef LB_SEQ_H
#define LB_SEQ_H

#include "common.h"

static __always_inline __u16 *lb_seq_at(__u32 family, __u32 pos)
{
	__u32 bucket = pos >> 2;
	struct lb_seqs *s = family == LB_V4 ? bpf_map_lookup_elem(&lb_seqs4, &bucket)
					    : bpf_map_lookup_elem(&lb_seqs6, &bucket);

	return s ? &s->seen[pos & 3] : NULL;
}

/* The packet's numbers in the order of lb_seqs.seen: the client's side, then the backend's. */
static __always_inline __u16 lb_seq_of(const struct lb_packet *p, bool reverse)
{
	__u32 seq = bpf_ntohl(p->seq) >> 24, ack = bpf_ntohl(p->ack) >> 24;

	return reverse ? ack << 8 | seq : seq << 8 | ack;
}

/* Of a packet with ACK, for without it only one of the two numbers is known. */
static __always_inline void lb_seq_note(const struct lb_packet *p, __u32 pos, bool reverse)
{
	__u16 *seen = lb_seq_at(p->family, pos);

	if (seen)
		WRITE_ONCE(*seen, lb_seq_of(p, reverse));
}

static __always_inline bool lb_seq_is_near(__u16 a, __u16 b)
{
	return ((a - b + 1) & 0xff) <= 2;
}

/* Does client's packet p know what the backend has answered to its SYN? Who forges both does not,
 * and could else make an entry that nobody pushes out. */
static __always_inline bool lb_seq_answers(const struct lb_packet *p, __u32 pos)
{
	__u16 *seen = lb_seq_at(p->family, pos);

	return !seen || lb_seq_is_near(lb_seq_of(p, false), READ_ONCE(*seen));
}

static __noinline bool lb_seq_believes(const struct lb_packet *p, __u32 pos, bool reverse)
{
	__u16 *at = p ? lb_seq_at(p->family, pos) : NULL, is, seen;

	if (!at)
		return true;
	seen = READ_ONCE(*at);
	is = lb_seq_of(p, reverse);
	if (!(p->tcp_flags & LB_TCP_ACK)) /* its own number alone */
		return reverse ? lb_seq_is_near(is, seen) : lb_seq_is_near(is >> 8, seen >> 8);
	return lb_seq_is_near(is, seen) || lb_seq_is_near(is >> 8, seen >> 8);
}

#endif
