/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * seq.h - is a packet from within the connection? Who only guesses addresses and ports must not end
 * somebody's entry (RFC 5961 has hosts guard their own state so).
 *
 * Of each side the upper 20 bits of the sequence number are remembered, as the backend says them,
 * when a connection is established and whenever its entry is refreshed: a look every few seconds,
 * and no write for the packets between. What comes from the client anybody may forge: no number of
 * it is noted, or a guess that is near would make the next one right; if it is near it keeps the
 * entry alive, no more. Its FIN or RST ends something where it has ACK and both numbers together
 * are near: of two sides that race one way the other stands almost still. A guess is believed one
 * time in 7 million. What is not believed at once has not ended anything, but may have: see
 * lb_conn_doubted_state() for a RST, and claim.h for a FIN.
 */
#ifndef LB_SEQ_H
#define LB_SEQ_H

#include "common.h"

/* Distances in units of 4 KiB: what a connection may have moved unseen; what one that is looked at
 * with each packet; and what says nothing in between. And of both, (2a + 1)(2b + 1): the further
 * the one has moved the less the other. 150,000 of 2^40 pairs are within it. */
#define LB_SEQ_NEAR  4096
#define LB_SEQ_CLOSE 16
#define LB_SEQ_SAME  1
#define LB_SEQ_BOTH  16385

/* The two sides' numbers, in units of 4 KiB: 20 bits. */
struct lb_seq {
	__u32 client, backend;
};

/* What TCP packet p brings: its data, and its options, of which there are 40 bytes at most. */
#define LB_SEQ_OPTIONS 40
static __always_inline __u32 lb_seq_len(const struct lb_packet *p)
{
	return p->ip_len + LB_ETH_LEN - p->l4 - sizeof(struct tcphdr);
}

/* Behind packet p; without ACK only its sender's is known. Behind it, for what GRO and GSO hold
 * together (tc sees it so) is up to 64 KiB, which the other side acknowledges as a whole. TCP's
 * options count as data: too little to matter. */
static __always_inline struct lb_seq lb_seq_of(const struct lb_packet *p, bool reverse)
{
	__u32 seq = (bpf_ntohl(p->seq) + lb_seq_len(p)) >> 12, ack = bpf_ntohl(p->ack) >> 12;

	return reverse ? (struct lb_seq){ack, seq} : (struct lb_seq){seq, ack};
}

/* Where an entry's are, or both NULL. Who reads them while they are written may read the one before
 * and the other after: both are near. */
struct lb_seq_place {
	__u32 *seen;
	__u8 *fine;
};

static __always_inline struct lb_seq_place lb_seq_at(__u32 family, __u32 pos)
{
	__u32 bucket = pos >> 2, slot = pos & 3;

	if (family == LB_V4) {
		struct lb_seqs4 *s = bpf_map_lookup_elem(&lb_seqs4, &bucket);

		if (s && slot < LB_CONN4_SLOTS)
			return (struct lb_seq_place){&s->seen[slot], &s->fine[slot]};
	} else {
		struct lb_seqs6 *s = bpf_map_lookup_elem(&lb_seqs6, &bucket);

		if (s)
			return (struct lb_seq_place){&s->seen[slot], &s->fine[slot]};
	}
	return (struct lb_seq_place){};
}

static __always_inline struct lb_seq lb_seq_seen(__u32 family, __u32 pos)
{
	struct lb_seq_place at = lb_seq_at(family, pos);
	__u32 seen, fine;

	if (!at.seen)
		return (struct lb_seq){};
	seen = READ_ONCE(*at.seen);
	fine = READ_ONCE(*at.fine);
	return (struct lb_seq){seen >> 16 << 4 | fine >> 4, (seen & 0xffff) << 4 | (fine & 15)};
}

/* Of a backend's packet. */
static __always_inline void lb_seq_note(const struct lb_packet *p, __u32 pos)
{
	struct lb_seq_place at = lb_seq_at(p->family, pos);
	struct lb_seq is = lb_seq_of(p, true);

	if (!at.seen)
		return;
	WRITE_ONCE(*at.seen, is.client >> 4 << 16 | is.backend >> 4);
	WRITE_ONCE(*at.fine, (is.client & 15) << 4 | (is.backend & 15));
}

static __always_inline __u32 lb_seq_distance(__u32 a, __u32 b)
{
	__u32 ahead = (a - b) & 0xfffff, behind = (b - a) & 0xfffff;

	return ahead < behind ? ahead : behind;
}

/* Does client's packet p know what the backend has answered to its SYN? Who forges both does not,
 * and could else make an entry that nobody pushes out. */
static __always_inline bool lb_seq_answers(const struct lb_packet *p, __u32 pos)
{
	return lb_seq_distance(lb_seq_of(p, false).backend, lb_seq_seen(p->family, pos).backend) <=
	       LB_SEQ_CLOSE;
}

/* Does the backend's SYN-ACK p repeat that of the connection's own handshake? The client's answer
 * to that was lost, or it waits for what its client has to say (TCP_DEFER_ACCEPT). Another
 * connection's begins elsewhere. `open`: it is half-open, and its client's number tells: a SYN
 * cookie may be another each minute. */
static __always_inline bool lb_seq_repeats(const struct lb_packet *p, __u32 pos, bool open)
{
	struct lb_seq seen = lb_seq_seen(p->family, pos), is = lb_seq_of(p, true);

	return lb_seq_distance(is.client, seen.client) <= LB_SEQ_CLOSE &&
	       (open || lb_seq_distance(is.backend, seen.backend) <= LB_SEQ_CLOSE);
}

/* Is it where its sender was when the entry was looked at? Of a RST without ACK no more is known.
 */
static __always_inline bool lb_seq_continues(const struct lb_packet *p, __u32 pos, bool reverse)
{
	struct lb_seq seen = lb_seq_seen(p->family, pos), is = lb_seq_of(p, reverse);

	return (reverse ? lb_seq_distance(is.backend, seen.backend)
			: lb_seq_distance(is.client, seen.client)) <= LB_SEQ_SAME;
}

/* Is it the end that a side says? A host answers by a RST without ACK what it does not know, with
 * whatever number that acknowledges, and keeps the connection that it has (RFC 9293, 3.10.7.4);
 * with ACK it says that it has none. */
static __always_inline bool lb_seq_ends(__u32 flags, bool reverse, __u32 client, __u32 backend)
{
	if (!(flags & LB_TCP_ACK))
		return false;
	if (reverse)
		return (flags & LB_TCP_RST) || client <= LB_SEQ_NEAR || backend <= LB_SEQ_NEAR;
	return (2 * client + 1ull) * (2 * backend + 1) <= LB_SEQ_BOTH;
}

/* What of packet p's flags is believed. 0: it changes nothing. `reset`: its entry seems to be, and
 * it is enough that one side is where it was: what is on its way is more than a look knows of. */
static __always_inline __u32 lb_seq_believed(const struct lb_packet *p, __u32 pos, bool reverse,
					     bool reset)
{
	struct lb_seq seen = lb_seq_seen(p->family, pos), is = lb_seq_of(p, reverse);
	__u32 flags = p->tcp_flags, ends = flags & (LB_TCP_FIN | LB_TCP_RST);
	__u32 client = lb_seq_distance(is.client, seen.client);
	__u32 backend = lb_seq_distance(is.backend, seen.backend);

	if (!reverse && lb_is_syn(p))
		return 0;
	if (ends && !lb_seq_ends(flags, reverse, client, backend))
		return 0;
	if (reverse || ends || (client <= LB_SEQ_NEAR && backend <= LB_SEQ_NEAR))
		return flags;
	return reset && (client <= LB_SEQ_CLOSE || backend <= LB_SEQ_CLOSE) ? flags : 0;
}

#endif
