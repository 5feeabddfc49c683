/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * track.h - a connection's life: opening it, and its state.
 *
 * All of it is off the hit path: called for a connection's first packet, for packets that change
 * its state, and every few ticks.
 */
#ifndef LB_TRACK_H
#define LB_TRACK_H

#include "affinity.h"
#include "common.h"
#include "conn.h"
#include "nexthop.h"
#include "place.h"
#include "rate.h"
#include "select.h"
#include "seq.h"
#include "sweep.h"

/* Backends tried before a flow is given up as a collision. */
#define LB_COLLISION_TRIES 4

/* Does it take a believable packet to end it? */
static __always_inline bool lb_conn_is_guarded(__u32 state)
{
	return state == LB_CONN_RESET ||
	       (state >= LB_CONN_ESTABLISHED && state <= LB_CONN_FIN_BACKEND);
}

/* State after a packet; TCP's is a plain reading of RFC 9293, 3.3.2 as a middlebox sees it. */
static __always_inline __u32 lb_conn_next_state(__u32 state, bool reverse, bool udp, __u8 flags)
{
	if (udp)
		return reverse ? LB_CONN_UDP : state;
	if (flags & LB_TCP_RST) {
		if (state == LB_CONN_SYN_SENT && !reverse) /* its number tells nothing yet */
			return state;
		return lb_conn_is_guarded(state) ? LB_CONN_RESET : LB_CONN_CLOSED;
	}
	/* Of the backend, it knew of an end that we did not. */
	if ((flags & LB_TCP_SYN) && lb_conn_is_guarded(state) && state != LB_CONN_ESTABLISHED)
		return reverse ? LB_CONN_SYN_RECV : state;
	/* It was none of theirs: its client goes on. What comes from the backend may have been on
	 * its way when it was reset. */
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

/*
 * Functions that the verifier checks once, for any arguments (and that cost a call: 8 ns where the
 * CPU's return mitigations are on). Those on a new connection's way exist once for each family.
 */

/* Same service side in the entry as in the packet from the client? */
static __always_inline bool lb_conn_is_mine(const int family, const struct lb_packet *p,
					    const struct lb_conn_found *e)
{
	return e->sport == p->flow.dport && lb_conn_addr_is(family, e->service, p->flow.daddr);
}

/* Is what backend b will answer to packet p already another connection's? 0: no; the backend's id:
 * it is p's own connection, which another CPU has opened meanwhile; or LB_STOP(). */
static __always_inline int lb_conn_collides(const int family, const struct lb_packet *p,
					    const struct lb_backend *b, __u64 hash, __u32 now)
{
	const __be32 *addr = (const __be32 *)b->addr.b;
	__be16 ports[2] __attribute__((aligned(4))) = {b->port, p->flow.sport};
	struct lb_tuple answer = {
		.saddr = family == LB_V4 ? addr + 3 : addr, .daddr = p->flow.saddr, .ports = ports};
	struct lb_conn_found e = {};
	struct lb_backend *theirs;

	if (!lb_conn_find(family, true, false, &answer, p->udp, hash, now, &e))
		return 0;
	if (lb_conn_is_mine(family, p, &e))
		return LB_REF_BACKEND(e.ref);
	/* A connection that is over gives its flow up, as a host's TIME_WAIT does to a SYN; and so
	 * does one whose backend is gone: b may be the same host in another service. */
	theirs = lb_backend_get(LB_REF_BACKEND(e.ref));
	if (!lb_conn_is_over(LB_META_STATE(e.meta)) && theirs && lb_backend_holds(theirs, e.ref))
		return LB_STOP(LB_REASON_COLLISION);
	lb_conn_remove(family, e.pos, e.meta);
	return 0;
}

static __always_inline int lb_conn_retire_family(const int family, const struct lb_packet *p,
						 __u32 now)
{
	__be16 ports[2] __attribute__((aligned(4))) = {p->flow.dport, p->flow.sport};
	struct lb_tuple answer = {.saddr = p->flow.daddr, .daddr = p->flow.saddr, .ports = ports};
	struct lb_conn_found e = {};

	if (lb_conn_find(family, true, false, &answer, 0, lb_tuple_hash(family, true, &answer, 0),
			 now, &e) &&
	    lb_conn_is_over(LB_META_STATE(e.meta)))
		lb_conn_remove(family, e.pos, e.meta);
	return 0;
}

/* Removes the connection that has ended of which the answers to SYN packet p would seem to be. */
__noinline int lb_conn_retire4(const struct lb_packet *p, __u32 now)
{
	return p ? lb_conn_retire_family(LB_V4, p, now) : 0;
}

__noinline int lb_conn_retire6(const struct lb_packet *p, __u32 now)
{
	return p ? lb_conn_retire_family(LB_V6, p, now) : 0;
}

static __always_inline void lb_conn_counted(__u32 id)
{
	struct lb_counters *counters = bpf_map_lookup_elem(&lb_backend_stats, &id);

	if (counters)
		counters->connections++;
}

static __always_inline void lb_conn_taken_up(void)
{
	__u32 zero = 0;
	struct lb_reasons *r = bpf_map_lookup_elem(&lb_reasons, &zero);

	if (r)
		r->taken_up++;
}

/* Enters the connection of forward packet p to backend `id`. Returns the backend that it has: `id`,
 * or another CPU's choice where that one was first; or LB_STOP(). */
static __always_inline int lb_conn_put_family(const int family, const struct lb_packet *p, __u32 id,
					      __u32 life, __u32 now, __u32 generation)
{
	struct lb_conn_found mine = {}, first = {};
	struct lb_backend *b = lb_backend_get(id);
	struct lb_tuple t;
	__u64 hash;
	__u32 ref;
	int rc;

	if (!p || !b)
		return LB_STOP(LB_REASON_BAD_STATE);
	t = lb_tuple_of(&p->flow);
	hash = lb_tuple_hash(family, false, &t, p->udp);
	rc = lb_conn_collides(family, p, b, hash, now);
	if (rc)
		return rc;
	ref = id | LB_REF_REUSE(b->reuse) | (p->udp ? LB_REF_UDP : 0);
	if (!lb_load_take(id, lb_opens(p), generation))
		return LB_STOP(LB_REASON_BACKENDS_FULL);
	if (!lb_conn_insert(family, p, hash, ref, life, now, &mine)) {
		lb_load_add(ref, -1);
		return LB_STOP(LB_REASON_TABLE_FULL);
	}
	if (lb_conn_find(family, false, false, &t, p->udp, hash, now, &first) &&
	    first.pos != mine.pos) {
		lb_conn_remove(family, mine.pos, mine.meta);
		return LB_REF_BACKEND(first.ref);
	}
	lb_conn_counted(id);
	return id;
}

__noinline int lb_conn_put4(const struct lb_packet *p, __u32 id, __u32 life, __u32 now,
			    __u32 generation)
{
	return lb_conn_put_family(LB_V4, p, id, life, now, generation);
}

__noinline int lb_conn_put6(const struct lb_packet *p, __u32 id, __u32 life, __u32 now,
			    __u32 generation)
{
	return lb_conn_put_family(LB_V6, p, id, life, now, generation);
}

/* Of a mid-connection packet of no connection, what the service says: 0, it is taken up, or
 * LB_STOP(). A reset is left to the host: it ends what nobody here knows. */
static __always_inline int lb_open_unknown(const struct lb_packet *p,
					   const struct lb_service_version *v)
{
	if (p->tcp_flags & LB_TCP_RST)
		return LB_STOP(LB_REASON_NO_CONNECTION);
	if (v->unknown == LB_UNKNOWN_DROP)
		return LB_STOP(LB_REASON_NO_CONNECTION_DROP);
	if (v->unknown == LB_UNKNOWN_RESET)
		return LB_STOP(lb_is_resettable(p) ? LB_REASON_NO_CONNECTION_RESET
						   : LB_REASON_NO_CONNECTION);
	return 0;
}

/* The state in which packet p may open a connection of this service, or LB_STOP(). `rehash`: its
 * connection has lost its backend, and takes another. */
static __always_inline int lb_open_state(const struct lb_packet *p,
					 const struct lb_service_version *v, bool rehash)
{
	if (!v->present)
		return LB_STOP(LB_REASON_NO_SERVICE);
	if (!lb_pool_of(v, p->family)->n_members)
		return LB_STOP(LB_REASON_NO_FAMILY);
	if (p->udp)
		return p->ttl > 1 ? LB_CONN_UDP_NEW : LB_STOP(LB_REASON_TTL_EXPIRED);
	if (!lb_is_syn(p) && !rehash) {
		int stop = lb_open_unknown(p, v);

		if (stop)
			return stop;
	}
	return p->ttl > 1 ? LB_CONN_SYN_SENT : LB_STOP(LB_REASON_TTL_EXPIRED);
}

/* All backends are full. UDP to an address of its own the host's stack refuses (by ICMP), as there
 * is nobody on the port. */
static __always_inline int lb_open_refuse(const struct lb_packet *p, bool local)
{
	if (p->udp)
		return LB_STOP(local ? LB_REASON_BACKENDS_FULL_LOCAL : LB_REASON_BACKENDS_FULL);
	return LB_STOP(lb_is_plain(p) ? LB_REASON_BACKENDS_FULL_RESET : LB_REASON_BACKENDS_FULL);
}

/* Opens a connection for forward packet p. Returns the backend's id or LB_STOP(). `rehash`: for
 * one that it had. */
static __always_inline int lb_conn_open(const int family, void *ctx, const struct lb_packet *p,
					__u32 ports, bool rehash, __u32 now)
{
	__u32 generation = lb_generation(), again;
	struct lb_service_version *v;
	struct lb_service *s;
	int id, state, elsewhere;
	__u32 life, service;
	bool any;

	if (!p)
		return LB_STOP(LB_REASON_BAD_STATE);
	id = lb_service_find(p, ports, generation, &any);
	if (id < 0)
		return id;
	service = id;
	if (lb_addr_is_martian(family, p->flow.saddr) || lb_addr_is_martian(family, p->flow.daddr))
		return LB_STOP(LB_REASON_MARTIAN);
	s = bpf_map_lookup_elem(&lb_services, &id);
	if (!s)
		return LB_STOP(LB_REASON_BAD_STATE);
	v = lb_service_version(s, generation);
	elsewhere = any ? lb_addr_local(ctx, p, now) : 0;
	if (elsewhere && elsewhere != LB_STOP(LB_REASON_FORWARDING_OFF))
		return elsewhere;
	state = lb_open_state(p, v, rehash);
	/* To an address of its own the host's stack resets, and lets live what it knows itself: a
	 * local program's connection, or one of another datapath's. */
	if (state == LB_STOP(LB_REASON_NO_CONNECTION_RESET) && (any || !lb_addr_local(ctx, p, now)))
		return LB_STOP(LB_REASON_NO_CONNECTION);
	if (state < 0)
		return state;
	/* Forwarding is needed only for a packet that would be forwarded. */
	if (elsewhere)
		return elsewhere;
	id = lb_rate_limit(p, rehash);
	if (id < 0)
		return id;
	life = lb_service_life(v, state);
	/* Unrolled: Linux 6.1 takes no loop whose first instruction comes right after a call. */
#pragma unroll
	for (again = 0; again < LB_COLLISION_TRIES; again++) {
		id = lb_backend_choose(family, p, s, v, service, again, generation, now);
		if (id >= 0)
			id = family == LB_V4 ? lb_conn_put4(p, id, life, now, generation)
					     : lb_conn_put6(p, id, life, now, generation);
		if (id >= 0 && !rehash && !lb_opens(p))
			lb_conn_taken_up();
		if (id != LB_STOP(LB_REASON_COLLISION) && id != LB_STOP(LB_REASON_BACKENDS_FULL))
			return id;
	}
	if (id != LB_STOP(LB_REASON_BACKENDS_FULL))
		return id;
	lb_sweep(family, now);
	return lb_open_refuse(p, any || !lb_addr_local(ctx, p, now));
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

/* Are the numbers of a packet with ACK to be noted that found its entry with this meta, and left it
 * in this state? In a handshake the backend's once a tick: what it goes on to send must not run
 * ahead of its client's acknowledgements. */
static __always_inline bool lb_conn_notes_seq(const struct lb_packet *p, __u32 meta, __u32 state,
					      bool reverse, __u32 now)
{
	if (state == LB_CONN_SYN_RECV)
		return reverse && (LB_META_STATE(meta) != LB_CONN_SYN_RECV ||
				   LB_META_TICK(meta) != now || (p->tcp_flags & LB_TCP_SYN));
	return state >= LB_CONN_ESTABLISHED && state <= LB_CONN_FIN_BACKEND;
}

/* What of packet p's flags is believed where its entry has this state; 0: it changes nothing, and
 * is forwarded: its receiver knows better. */
static __always_inline __u32 lb_conn_believed(const struct lb_packet *p, __u32 pos, __u32 state,
					      bool reverse)
{
	__u32 flags = p->tcp_flags;

	if (lb_conn_is_guarded(state) || (state == LB_CONN_SYN_RECV && (flags & LB_TCP_RST)))
		return lb_seq_believed(p, pos, reverse);
	if (state == LB_CONN_SYN_RECV && !reverse && !(flags & LB_TCP_SYN) &&
	    !lb_seq_answers(p, pos))
		return 0;
	return flags;
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
		__u32 is = LB_META_STATE(meta), flags = lb_conn_believed(p, e->pos, is, reverse),
		      state, life;

		if (!flags && !p->udp)
			return 0;
		state = lb_conn_next_state(is, reverse, p->udp, flags);
		life = lb_conn_life(e, LB_META_LIFE(meta), state);
		was = lb_conn_become(p->family, e->pos, meta, e->ref, life, now);
		if (was == meta) {
			e->meta = LB_META(LB_META_VERSION(meta), life, now);
			if ((flags & LB_TCP_ACK) && lb_conn_notes_seq(p, meta, state, reverse, now))
				lb_seq_note(p, e->pos, reverse);
		}
		if (was == meta || LB_META_VERSION(was) != LB_META_VERSION(meta) ||
		    LB_META_STATE(was) <= LB_CONN_BUSY)
			return 0;
		meta = was;
	}
	return 0;
}

/* What becomes of connections whose backend was removed, by the service that is there now. */
static __always_inline __u32 lb_on_remove(const struct lb_packet *p)
{
	__u32 generation = lb_generation(), ports = lb_ports_of(0)[lb_port(p->flow.dport)];
	bool any;
	int id = lb_service_find(p, ports, generation, &any);
	struct lb_service_version *v = id < 0 ? NULL : lb_service_in_force(id, generation);

	return v ? v->on_remove : LB_ON_REMOVE_RESET;
}

/* A TCP packet in the middle of connection `e`, whose backend was removed. As lb_track_forward().
 */
static __always_inline int lb_track_gone(const struct lb_packet *p, const struct lb_conn_found *e)
{
	__u32 on_remove = lb_on_remove(p);

	/* All of its packets are dropped, until it expires. */
	if (on_remove == LB_ON_REMOVE_DROP)
		return LB_STOP(LB_REASON_BACKEND_GONE);
	/* Closed when it is sent. */
	if (on_remove == LB_ON_REMOVE_RESET && lb_is_resettable(p))
		return LB_STOP(LB_REASON_BACKEND_GONE_RESET);
	lb_conn_remove(p->family, e->pos, e->meta);
	return on_remove == LB_ON_REMOVE_REHASH && !(p->tcp_flags & LB_TCP_RST)
		       ? 0
		       : LB_STOP(LB_REASON_BACKEND_GONE);
}

/* Does a SYN of its client leave this connection behind? Anybody can forge one, so that the backend
 * is asked which may still have it. One that was reset, or is as yet unanswered, only if that takes
 * new ones. */
static __always_inline bool lb_conn_is_left(const struct lb_backend *b,
					    const struct lb_conn_found *e)
{
	__u32 state = LB_META_STATE(e->meta);

	if (state == LB_CONN_RESET || state == LB_CONN_SYN_SENT)
		return !lb_backend_opens(b, e->ref, lb_generation());
	return lb_conn_is_over(state);
}

/* SYN packet p on the entry of a connection that was reset: a new one, but to the same backend, so
 * that the old one goes on if the reset was forged and the SYN is. Returns the backend's id, 0
 * where that is full, or LB_STOP(). */
static __always_inline int lb_track_again(const struct lb_packet *p, struct lb_conn_found *e,
					  __u32 now)
{
	__u32 id = LB_REF_BACKEND(e->ref),
	      life = LB_LIFE_IN(LB_META_LIFE(e->meta), LB_CONN_SYN_SENT);
	int rc;

	if (!lb_load_take(id, true, lb_generation()))
		return 0;
	rc = lb_rate_limit(p, false);
	if (!rc && lb_conn_set(p->family, e->pos, e->meta, life, now) == e->meta) {
		lb_conn_counted(id);
		return id;
	}
	lb_load_add(e->ref, -1); /* refused, or another CPU has done it */
	return rc ? rc : id;
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
		return lb_track_gone(p, e);
	if (!gone && !(opens && lb_conn_is_left(b, e))) {
		/* The client's next hop is not confirmed now: forget it before the tick moves. */
		if (LB_META_TICK(e->meta) != now && LB_REF_NEXTHOP(e->ref))
			lb_conn_set_nexthop(p->family, e->pos, e->meta, e->ref, 0);
		if (opens && LB_META_STATE(e->meta) == LB_CONN_RESET)
			id = lb_track_again(p, e, now);
		else
			lb_conn_note(p, e, false, now);
		if (id)
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
