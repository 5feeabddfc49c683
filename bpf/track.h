/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * track.h - a connection's state: what packets make of it, and of one whose backend is gone.
 *
 * All of it is off the hit path: called for packets that change the state, and every few ticks. So
 * what lb_conn_note() asks is in global functions, each of which the verifier checks once, and not
 * for each way that leads there, four times: 50,000 instructions instead of 310,000.
 */
#ifndef LB_TRACK_H
#define LB_TRACK_H

#include "claim.h"
#include "common.h"
#include "conn.h"
#include "nexthop.h"
#include "open.h"
#include "seq.h"

/* Established, and one side at least has not closed yet? */
static __always_inline bool lb_conn_is_open(__u32 state)
{
	return state >= LB_CONN_ESTABLISHED && state <= LB_CONN_FIN_BACKEND;
}

/* Does it take a believable packet to end it? */
static __always_inline bool lb_conn_is_guarded(__u32 state)
{
	return state == LB_CONN_RESET || lb_conn_is_open(state);
}

/* State after a packet, by those of its flags that are believed; TCP's is a plain reading of RFC
 * 9293, 3.3.2 as a middlebox sees it. A RST that is not believed makes a connection RESET: it
 * counts no more, and gives way, but else it is kept as it was, until its client goes on. */
__noinline int lb_conn_next_state(__u32 state, __u32 reverse, __u32 udp, __u32 flags)
{
	if (udp)
		return reverse ? LB_CONN_UDP : state;
	if (flags & LB_TCP_RST) {
		/* Its number tells nothing yet, or both have ended anyway. */
		if ((state == LB_CONN_SYN_SENT && !reverse) || state == LB_CONN_CLOSING)
			return state;
		return LB_CONN_CLOSED;
	}
	/* Of the backend, it knew of an end that we did not. */
	if ((flags & LB_TCP_SYN) && lb_conn_is_guarded(state) && state != LB_CONN_ESTABLISHED)
		return reverse ? LB_CONN_SYN_RECV : state;
	/* That RST was none of theirs: its client goes on. What comes from the backend may have
	 * been on its way when it was reset. */
	if (state == LB_CONN_RESET) {
		if (reverse)
			return state;
		state = LB_CONN_ESTABLISHED;
	}
	/* Without SYN: the backend knows a connection that we took up in the middle, or asks who
	 * sent that SYN. */
	if (state == LB_CONN_SYN_SENT && reverse)
		return flags & LB_TCP_FIN ? LB_CONN_CLOSING : LB_CONN_SYN_RECV;
	if (state == LB_CONN_SYN_RECV && !reverse && !(flags & LB_TCP_SYN))
		state = LB_CONN_ESTABLISHED;
	if ((flags & (LB_TCP_FIN | LB_TCP_SYN)) == LB_TCP_FIN && state >= LB_CONN_ESTABLISHED) {
		if (state == (reverse ? LB_CONN_FIN_CLIENT : LB_CONN_FIN_BACKEND))
			return LB_CONN_CLOSING;
		if (state < LB_CONN_FIN_CLIENT)
			return reverse ? LB_CONN_FIN_BACKEND : LB_CONN_FIN_CLIENT;
	}
	return state;
}

/* The life of an entry in its next state. Where that is the same, so that it is only refreshed, its
 * service's timeouts may be others by now. */
static __always_inline __u32 lb_conn_life(const struct lb_conn_found *e, __u32 life, __u32 state)
{
	struct lb_service_version *v;
	struct lb_backend *b;

	if ((life & 15) != state)
		return LB_LIFE_IN(life, state);
	b = lb_backend_get(LB_REF_BACKEND(e->ref));
	if (!b || !lb_backend_holds(b, e->ref))
		return life;
	v = lb_service_in_force(b->service, lb_generation());
	return v ? lb_service_life(v, state) : life;
}

/* Are the numbers of a backend's packet with ACK to be noted that found its entry with this meta,
 * and left it in this state? In a handshake once a tick: what it goes on to send must not run ahead
 * of its client's acknowledgements. A SYN that leaves an open connection open may be the answer to
 * one that somebody has forged. */
static __always_inline bool lb_conn_notes_seq(const struct lb_packet *p, __u32 meta, __u32 state,
					      __u32 now)
{
	if (state == LB_CONN_SYN_RECV)
		return LB_META_STATE(meta) != LB_CONN_SYN_RECV || LB_META_TICK(meta) != now ||
		       (p->tcp_flags & LB_TCP_SYN);
	return lb_conn_is_guarded(state) && !(p->tcp_flags & LB_TCP_SYN);
}

/* What of packet p's flags is believed where its entry has this state; 0: it changes nothing, and
 * is forwarded: its receiver knows better. */
__noinline int lb_conn_believed(const struct lb_packet *p, __u32 pos, __u32 state, __u32 reverse)
{
	__u32 flags;

	if (!p)
		return 0;
	flags = p->tcp_flags;
	/* Its receiver drops it without a word (RFC 9293, 3.10.7.4), so that no answer contradicts.
	 */
	if (!(flags & (LB_TCP_ACK | LB_TCP_RST | LB_TCP_SYN)))
		return 0;
	/* Its backend asks no more of a client's, with ACK or without. */
	if (state == LB_CONN_SYN_RECV && !reverse && (flags & LB_TCP_RST))
		return lb_seq_continues(p, pos, reverse) ? flags : 0;
	/* Of its own handshake, once more: it may have crossed its client's FIN. */
	if (reverse && (flags & LB_TCP_SYN) && lb_conn_is_guarded(state) &&
	    lb_seq_repeats(p, pos, false))
		return 0;
	if (lb_conn_is_guarded(state) || (state == LB_CONN_SYN_RECV && (flags & LB_TCP_RST)))
		return lb_seq_believed(p, pos, reverse, state == LB_CONN_RESET);
	if (state == LB_CONN_SYN_RECV && !reverse && !lb_seq_answers(p, pos))
		return 0;
	return flags;
}

/* The youngest tick by which an established entry's packets come the slow way. Its timeout is
 * longer by far. */
static __always_inline __u32 lb_conn_unsettled_tick(__u32 now)
{
	return (now - lb_fresh[LB_CONN_ESTABLISHED] - 1) & LB_META_TICK_MASK;
}

/* The next packets shall be looked at. It does not live longer by that. */
static __always_inline void lb_conn_unsettle(__u32 family, __u32 pos, __u32 meta, __u32 now)
{
	int try;

	for (try = 0; try < 4; try++) {
		__u32 was;

		if (LB_META_STATE(meta) != LB_CONN_ESTABLISHED ||
		    lb_conn_age(meta, now) > lb_fresh[LB_CONN_ESTABLISHED])
			return;
		was = lb_conn_set(family, pos, meta, LB_META_LIFE(meta),
				  lb_conn_unsettled_tick(now));
		if (was == meta || LB_META_VERSION(was) != LB_META_VERSION(meta))
			return;
		meta = was;
	}
}

/* Packet p changes nothing, as it is not believed, or not yet. If it is a FIN the other side's next
 * packets tell more. */
__noinline int lb_conn_doubt(const struct lb_packet *p, __u32 pos, __u32 meta, __u32 reverse,
			     __u32 now)
{
	const __u32 flags = LB_TCP_FIN | LB_TCP_SYN | LB_TCP_RST | LB_TCP_ACK;
	__u32 state = LB_META_STATE(meta);

	if (!p || (p->tcp_flags & flags) != (LB_TCP_FIN | LB_TCP_ACK) ||
	    !(lb_conn_is_guarded(state) || (reverse && state == LB_CONN_SYN_RECV)))
		return 0;
	lb_claim_make(p, pos, meta, reverse);
	lb_conn_unsettle(p->family, pos, meta, now);
	return 0;
}

/* State after packet p, no flag of which is believed. It may be a RST that is true: nobody
 * acknowledges it, and often nothing follows. Of a half-closed connection, each of whose packets is
 * looked at, its number must be right: to be reset by mistake would make it forget who has closed.
 * Where that was its sender it answers so what still came, and both have ended. */
static __always_inline __u32 lb_conn_doubted_state(const struct lb_packet *p, __u32 pos,
						   __u32 state, bool reverse)
{
	__u32 flags = p->tcp_flags & (LB_TCP_RST | LB_TCP_SYN | LB_TCP_ACK);

	if (state == LB_CONN_ESTABLISHED && (flags & ~LB_TCP_ACK) == LB_TCP_RST)
		return LB_CONN_RESET;
	if (!lb_conn_is_open(state) || flags != LB_TCP_RST || !lb_seq_continues(p, pos, reverse))
		return state;
	return state == (reverse ? LB_CONN_FIN_BACKEND : LB_CONN_FIN_CLIENT) ? LB_CONN_CLOSING
									     : LB_CONN_RESET;
}

/* What packet p makes of an entry with this meta. */
struct lb_conn_change {
	__u32 flags;       /* of the packet, that are believed; 0: nothing */
	__u32 state, tick; /* tick: now, before it is judged */
};

__noinline int lb_conn_judge(const struct lb_packet *p, __u32 pos, __u32 meta, __u32 reverse,
			     struct lb_conn_change *c)
{
	__u32 state = LB_META_STATE(meta), answer = LB_CLAIM_NONE, now;

	if (!p || !c)
		return 0;
	now = c->tick;
	/* A SYN of the backend's makes another connection of it. */
	if (lb_conn_is_guarded(state) || state == LB_CONN_SYN_RECV ||
	    (reverse && (p->tcp_flags & LB_TCP_SYN)))
		answer = lb_claims_ask(p, pos, meta, reverse);
	if (answer == LB_CLAIM_TRUE) {
		/* It knows the FIN, so it is from the connection itself. */
		c->flags = p->tcp_flags;
		if (!lb_conn_is_open(state))
			state = LB_CONN_ESTABLISHED;
		state = lb_conn_next_state(state, !reverse, false, LB_TCP_FIN);
	} else {
		c->flags = lb_conn_believed(p, pos, state, reverse);
	}
	if (!c->flags && !p->udp) {
		c->state = lb_conn_doubted_state(p, pos, state, reverse);
		if (c->state != LB_CONN_CLOSING)
			c->tick = LB_META_TICK(meta);
		return 0;
	}
	c->state = lb_conn_next_state(state, reverse, p->udp, c->flags);
	if (c->state == LB_CONN_ESTABLISHED &&
	    (answer == LB_CLAIM_PENDING || (p->tcp_flags & LB_TCP_SYN)))
		c->tick = lb_conn_unsettled_tick(now); /* it must not settle */
	/* Its client has not come so far, or nobody knows whether it is still there. */
	if (reverse && (state == LB_CONN_SYN_RECV || state == LB_CONN_RESET))
		lb_conn_doubt(p, pos, meta, reverse, now);
	return 0;
}

static __always_inline bool lb_conn_is_drained(const struct lb_conn_found *e)
{
	struct lb_backend *b = lb_backend_get(LB_REF_BACKEND(e->ref));

	return b && lb_backend_holds(b, e->ref) && !lb_backend_opens(b, e->ref, lb_generation());
}

/* Does a half-open entry live no longer by TCP packet p? Anybody can send what its client does, and
 * to a SYN its backend answers again and again; by data it shows that it knows the connection. */
static __always_inline bool lb_conn_waits(const struct lb_packet *p, __u32 state)
{
	return state == LB_CONN_SYN_SENT ||
	       (state == LB_CONN_SYN_RECV && lb_seq_len(p) <= LB_SEQ_OPTIONS);
}

/* Is it half-open, and to end so soon that the answer to a SYN might find it gone? In the last
 * eighth of its time. */
static __always_inline bool lb_conn_wanes(const struct lb_conn_found *e, __u32 now)
{
	__u32 state = LB_META_STATE(e->meta), lives = lb_timeouts.ticks[LB_META_LIFE(e->meta)];

	return (state == LB_CONN_SYN_SENT || state == LB_CONN_SYN_RECV) &&
	       lb_conn_age(e->meta, now) + lives / 8 >= lives;
}

/* Notes packet p in its connection's entry: state and tick. Both directions may do so at once. */
__noinline int lb_conn_note(const struct lb_packet *p, struct lb_conn_found *e, __u32 reverse,
			    __u32 now)
{
	__u32 meta, was;
	int try;

	if (!p || !e)
		return 0;
	meta = e->meta;
	for (try = 0; try < 4; try++) {
		struct lb_conn_change c = {.tick = now};
		__u32 life;

		lb_conn_judge(p, e->pos, meta, reverse, &c);
		if (!c.flags && !p->udp && c.state == LB_META_STATE(meta)) {
			lb_conn_doubt(p, e->pos, meta, reverse, now);
			return 0;
		}
		if (c.state == LB_META_STATE(meta) && lb_conn_waits(p, c.state))
			c.tick = LB_META_TICK(meta);
		life = lb_conn_life(e, LB_META_LIFE(meta), c.state);
		was = lb_conn_become(p->family, e->pos, meta, e->ref, life, c.tick);
		if (was == meta) {
			e->meta = LB_META(LB_META_VERSION(meta), life, c.tick);
			if (reverse && (c.flags & LB_TCP_ACK) &&
			    lb_conn_notes_seq(p, meta, c.state, now))
				lb_seq_note(p, e->pos);
		}
		if (was == meta || LB_META_VERSION(was) != LB_META_VERSION(meta) ||
		    LB_META_STATE(was) <= LB_CONN_BUSY)
			return 0;
		meta = was;
	}
	return 0;
}

/* The same of its client's packet. The client's next hop is not confirmed now: forget it before the
 * tick moves. So the backend's answer comes the slow way, and its numbers are noted. */
static __always_inline void lb_conn_note_forward(const struct lb_packet *p, struct lb_conn_found *e,
						 __u32 now)
{
	if (LB_META_TICK(e->meta) != now && LB_REF_NEXTHOP(e->ref))
		lb_conn_set_nexthop(p->family, e->pos, e->meta, e->ref, 0);
	lb_conn_note(p, e, false, now);
}

/* What becomes of a connection whose backend was removed, by the service that is there now. `wait`:
 * nobody takes it as yet. */
static __always_inline __u32 lb_on_remove(const struct lb_packet *p, bool *wait)
{
	__u32 generation = lb_generation(), ports = lb_ports_of(0)[lb_port(p->flow.dport)];
	const struct lb_pool *pool;
	bool any;
	int id = lb_service_find(p, ports, generation, &any);
	struct lb_service_version *v = id < 0 ? NULL : lb_service_in_force(id, generation);

	*wait = false;
	if (!v)
		return LB_ON_REMOVE_RESET;
	pool = lb_pool_of(v, p->family);
	*wait = pool->n_members && !pool->ring_size;
	return v->on_remove;
}

/* A TCP packet in the middle of connection `e`, whose backend was removed. As lb_track_forward().
 */
static __always_inline int lb_track_gone(const struct lb_packet *p, struct lb_conn_found *e,
					 __u32 now)
{
	bool wait;
	__u32 on_remove = lb_on_remove(p, &wait);

	/* All of its packets are dropped, until it expires. */
	if (on_remove == LB_ON_REMOVE_DROP)
		return LB_STOP(LB_REASON_BACKEND_GONE);
	/* Closed when it is sent. */
	if (on_remove == LB_ON_REMOVE_RESET && lb_is_resettable(p))
		return LB_STOP(LB_REASON_BACKEND_GONE_RESET);
	if (on_remove == LB_ON_REMOVE_REHASH && !(p->tcp_flags & LB_TCP_RST)) {
		if (wait)
			return LB_STOP(LB_REASON_NO_BACKEND);
		lb_conn_remove(p->family, e->pos, e->meta);
		return 0;
	}
	/* Anybody may have sent it: its client is told by what it sends itself. */
	lb_conn_note_forward(p, e, now);
	return LB_STOP(LB_REASON_BACKEND_GONE);
}

/* Does a SYN of its client leave this connection behind? Anybody can forge one, so that the backend
 * is asked which may still have it. One that is as yet unanswered only if that takes new ones. */
static __always_inline bool lb_conn_is_left(const struct lb_conn_found *e, __u32 now)
{
	__u32 state = LB_META_STATE(e->meta);

	return lb_conn_is_over(state) || lb_conn_wanes(e, now) ||
	       (state == LB_CONN_SYN_SENT && lb_conn_is_drained(e));
}

/* A forward packet of connection `e` on the slow way. Returns the backend's id, 0 where the packet
 * starts a new connection in the place of this one, which is forgotten, or LB_STOP(). */
static __noinline int lb_track_forward(const struct lb_packet *p, struct lb_conn_found *e,
				       __u32 now)
{
	struct lb_backend *b;
	bool opens, gone;
	int id;

	if (!p || !e)
		return LB_STOP(LB_REASON_BAD_STATE);
	id = LB_REF_BACKEND(e->ref);
	b = lb_backend_get(id);
	gone = !b || !lb_backend_holds(b, e->ref);
	opens = lb_opens(p);
	if (gone && !opens)
		return lb_track_gone(p, e, now);
	if (!gone && !(opens && lb_conn_is_left(e, now))) {
		/* It may open another one at its backend, in the place of this one. */
		if (opens && lb_conn_is_guarded(LB_META_STATE(e->meta))) {
			int stop = lb_rate_limit(p, false);

			if (stop)
				return stop;
		}
		lb_conn_note_forward(p, e, now);
		return id;
	}
	/* The backend left, or the client uses its port again: start anew. */
	lb_conn_remove(p->family, e->pos, e->meta);
	return 0;
}

/* The client seems to be this host itself, or to have no route. As the first answer that is forged:
 * forget it and let the packet pass, which may answer a connection of the host's own. */
static __always_inline int lb_track_own(const struct lb_packet *p, const struct lb_conn_found *e)
{
	__u32 state = LB_META_STATE(e->meta);

	if (state != LB_CONN_SYN_SENT && state != LB_CONN_UDP_NEW)
		return LB_STOP(LB_REASON_NO_ROUTE);
	lb_conn_remove(p->family, e->pos, e->meta);
	return LB_STOP(LB_REASON_MARTIAN);
}

/* Was its client told that it is over, for the backend is gone? What that went on to send would
 * keep the client from being at the number where it believes a reset. */
static __always_inline bool lb_conn_is_told(const struct lb_conn_found *e)
{
	struct lb_backend *b;

	if (LB_META_STATE(e->meta) != LB_CONN_CLOSED)
		return false;
	b = lb_backend_get(LB_REF_BACKEND(e->ref));
	return b && !lb_backend_holds(b, e->ref);
}

/* Does its drained backend open a new one in its place? It has forgotten the one that it had: to a
 * SYN on that it would have answered by an ACK (RFC 5961, 4.2). */
static __always_inline bool lb_conn_reopens(const struct lb_packet *p,
					    const struct lb_conn_found *e)
{
	__u32 state = LB_META_STATE(e->meta);

	return (p->tcp_flags & LB_TCP_SYN) && lb_is_resettable(p) &&
	       (state == LB_CONN_SYN_RECV || lb_conn_is_guarded(state)) &&
	       !lb_seq_repeats(p, e->pos, state == LB_CONN_SYN_RECV) && lb_conn_is_drained(e);
}

/* The same for a packet from the backend. Returns the client's next hop's id, SPARE or LB_STOP().
 */
static __noinline int lb_track_reverse(void *ctx, struct lb_packet *p, struct lb_conn_found *e,
				       __u32 now)
{
	int nexthop;

	if (!p || !e)
		return LB_STOP(LB_REASON_BAD_STATE);
	if (lb_conn_is_told(e))
		return LB_STOP(LB_REASON_BACKEND_GONE);
	if (lb_conn_reopens(p, e))
		return LB_STOP(LB_REASON_BACKEND_DRAINED_RESET);
	nexthop = LB_REF_NEXTHOP(e->ref);
	if (!nexthop || LB_META_TICK(e->meta) != now) {
		nexthop = lb_nexthop_find(ctx, p, e->service, p->flow.daddr, now);
		if (nexthop == LB_STOP(LB_REASON_MARTIAN))
			return lb_track_own(p, e);
		if (nexthop < 0)
			return nexthop;
		lb_conn_set_nexthop(p->family, e->pos, e->meta, e->ref, nexthop);
	}
	lb_conn_note(p, e, true, now);
	return nexthop;
}

/* The way to a backend, remembered with it. Returns a next hop's id, SPARE or LB_STOP(). */
static __noinline int lb_backend_nexthop(void *ctx, struct lb_packet *p, __u32 id, __u32 now)
{
	struct lb_backend *b = lb_backend_get(id);
	__be32 dst[4];
	int nexthop;

	if (!p || !b)
		return LB_STOP(LB_REASON_BAD_STATE);
	dst[0] = lb_addr_word(&b->addr, p->family == LB_V4 ? 3 : 0);
	dst[1] = lb_addr_word(&b->addr, 1);
	dst[2] = lb_addr_word(&b->addr, 2);
	dst[3] = lb_addr_word(&b->addr, 3);
	nexthop = lb_nexthop_find(ctx, p, p->flow.saddr, dst, now);
	if (nexthop == LB_STOP(LB_REASON_MARTIAN)) /* a backend on this host itself */
		return LB_STOP(LB_REASON_NO_ROUTE);
	if (nexthop >= 0)
		WRITE_ONCE(b->nexthop,
			   nexthop & (LB_NEXTHOPS - 1) ? lb_nexthop_pack(nexthop, now) : 0);
	return nexthop;
}

#endif
