/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * claim.h - a FIN that is not believed, for its numbers are not near to those that were noted, may
 * be true: a connection moves gigabytes between two looks at it. It is a claim, until a packet that
 * follows tells: who got the FIN acknowledges it, and the backend goes on elsewhere if it is none
 * of this connection's.
 *
 * The claims are of the programs, not of the state: who loads others loses those of a moment. Two
 * connections that share a cell push out each other's. A lost claim leaves its connection as it
 * was.
 */
#ifndef LB_CLAIM_H
#define LB_CLAIM_H

#include "common.h"
#include "seq.h"

/* One side's claim is one word, so that nobody reads the identity of one and the numbers of
 * another: set:1 | family:1 | version:6 | position:24 | the client's number:16 | the backend's:16,
 * in units of 64 KiB. */
#define LB_CLAIM_BITS 12
struct lb_claims {
	__u64 of[2]; /* the client's, the backend's: what anybody may forge pushes out no other */
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << LB_CLAIM_BITS);
	__type(key, __u32);
	__type(value, struct lb_claims);
} lb_claims SEC(".maps");

/* What a packet says to a claim. */
enum lb_claim_answer {
	LB_CLAIM_NONE,
	LB_CLAIM_PENDING,
	LB_CLAIM_TRUE, /* it acknowledges the FIN */
};

static __always_inline struct lb_claims *lb_claims_at(__u32 pos)
{
	__u32 cell = pos & ((1 << LB_CLAIM_BITS) - 1);

	return bpf_map_lookup_elem(&lb_claims, &cell);
}

/* A claim's upper half: whose entry's it is. */
static __always_inline __u32 lb_claim_whose(const struct lb_packet *p, __u32 pos, __u32 meta)
{
	return 1u << 31 | (__u32)p->family << 30 | LB_META_VERSION(meta) << 24 |
	       pos >> LB_CLAIM_BITS;
}

/* Of a FIN with ACK that is not believed. */
static __always_inline void lb_claim_make(const struct lb_packet *p, __u32 pos, __u32 meta,
					  bool reverse)
{
	struct lb_claims *c = lb_claims_at(pos);
	struct lb_seq is = lb_seq_of(p, reverse);
	__u64 claim =
		(__u64)lb_claim_whose(p, pos, meta) << 32 | is.client >> 4 << 16 | is.backend >> 4;

	if (c && reverse)
		WRITE_ONCE(c->of[1], claim);
	else if (c)
		WRITE_ONCE(c->of[0], claim);
}

/* What packet p says to the claim at `at`, its own side's or the other's. Anybody may forge what
 * comes from the client: only the backend's numbers, and that it opens a new connection, show one
 * to be wrong. */
static __always_inline __u32 lb_claim_asked(const struct lb_packet *p, __u64 *at, __u32 whose,
					    bool reverse, bool others)
{
	__u64 claim = READ_ONCE(*at);
	struct lb_seq is = lb_seq_of(p, reverse);
	__u32 said = claim, client, backend;

	if (claim >> 32 != whose)
		return LB_CLAIM_NONE;
	if (!(p->tcp_flags & LB_TCP_ACK))
		return LB_CLAIM_PENDING;
	client = lb_seq_distance(is.client, said >> 16 << 4);
	backend = lb_seq_distance(is.backend, (said & 0xffff) << 4);
	if (client > LB_SEQ_NEAR || backend > LB_SEQ_NEAR || (p->tcp_flags & LB_TCP_SYN)) {
		if (!reverse)
			return LB_CLAIM_PENDING;
		WRITE_ONCE(*at, 0);
		return LB_CLAIM_NONE;
	}
	/* Until then it acknowledges what was on its way before the FIN. */
	return others && (reverse ? client : backend) <= LB_SEQ_CLOSE ? LB_CLAIM_TRUE
								      : LB_CLAIM_PENDING;
}

/* What TCP packet p of an entry says to the claims about it; TRUE: the other side's FIN is to be
 * believed now. */
__noinline int lb_claims_ask(const struct lb_packet *p, __u32 pos, __u32 meta, __u32 reverse)
{
	struct lb_claims *c = lb_claims_at(pos);
	__u32 whose, clients, backends;

	if (!p || !c)
		return LB_CLAIM_NONE;
	whose = lb_claim_whose(p, pos, meta);
	clients = lb_claim_asked(p, &c->of[0], whose, reverse, reverse);
	backends = lb_claim_asked(p, &c->of[1], whose, reverse, !reverse);
	return clients > backends ? clients : backends;
}

#endif
