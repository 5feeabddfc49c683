/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * seq.h - is a packet from within the connection? Who only guesses addresses and ports must not end
 * somebody's entry (RFC 5961 has hosts guard their own state so).
 *
 * Of each side the upper 16 bits of the sequence number are remembered, when a connection is
 * established and whenever its entry is refreshed: a look every few seconds, and no write for the
 * packets between. Backends are believed what they say of both sides; clients, whom anybody may
 * forge, only if that is near to what was seen, and else their packets refresh nothing: the
 * backend's answer does. A client's FIN or RST ends something where both numbers together are near:
 * of two sides that race one way the other stands almost still. A guess is believed one time in
 * 5,700. A FIN that is not believed at once may be later: see claim.h.
 */
#ifndef LB_SEQ_H
#define LB_SEQ_H

#include "common.h"

/* Distances in units of 64 KiB: what a connection may have moved unseen, and what one that is idle,
 * or is looked at with each packet. And of both, (2a + 1)(2b + 1): where one stands still the other
 * may be anywhere. 750,000 of 2^32 pairs are within it. */
#define LB_SEQ_NEAR  256
#define LB_SEQ_CLOSE 1
#define LB_SEQ_BOTH  65537

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

/* Is it the end that a side says? With ACK by both numbers, else by its own. */
static __always_inline bool lb_seq_ends(__u32 flags, bool reverse, __u32 own, __u32 other)
{
	bool ack = flags & LB_TCP_ACK;

	if (reverse)
		return own <= LB_SEQ_NEAR || (ack && other <= LB_SEQ_NEAR);
	return ack ? (2 * own + 1ull) * (2 * other + 1) <= LB_SEQ_BOTH : own <= LB_SEQ_CLOSE;
}

/* What of packet p's flags is believed: FIN and RST, and ACK, so that its numbers are noted. 0: it
 * changes nothing. Of an entry that a build before this one has made the numbers may be unknown
 * (0). */
static __always_inline __u32 lb_seq_believed(const struct lb_packet *p, __u32 pos, bool reverse)
{
	__u32 *at = lb_seq_at(p->family, pos), flags = p->tcp_flags, is, seen, client, backend;

	if (!reverse && lb_is_syn(p))
		return 0;
	seen = at ? READ_ONCE(*at) : 0;
	is = seen ? lb_seq_of(p, reverse) : 0;
	client = lb_seq_distance(is >> 16, seen >> 16);
	backend = lb_seq_distance(is, seen);
	if ((flags & (LB_TCP_FIN | LB_TCP_RST)) &&
	    !lb_seq_ends(flags, reverse, reverse ? backend : client, reverse ? client : backend))
		return 0;
	if (!reverse && (client > LB_SEQ_NEAR || backend > LB_SEQ_NEAR || !seen))
		flags &= LB_TCP_FIN | LB_TCP_RST;
	return flags;
}

#endif
