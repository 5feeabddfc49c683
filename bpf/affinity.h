/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * affinity.h - the same client gets the same backend again.
 *
 * An affinity is an entry of the connection table, as IPVS's persistence templates are: so the
 * table's bound and expiry are its own, and it lives on over an apply and an upgrade. Its key is
 * that of a packet which lb_affinity_of() makes up; its state tells it from connections.
 *
 * It is made with a connection's first packet, and as long as none of its connections is answered
 * it expires as soon, and gives way as readily, as one that is half-open: who forges packets can
 * neither fill the table with affinities nor push one out that is in use. Answered UDP, which
 * forged queries bring about, makes it give way as such UDP does; so only TCP makes it stay.
 */
#ifndef LB_AFFINITY_H
#define LB_AFFINITY_H

#include "common.h"
#include "conn.h"
#include "place.h"
#include "select.h"

/* An affinity that is looked for: its key, what was found, and what was entered. Per CPU, for the
 * stack has no room for both a packet and a key. Nor has it for calls within calls: a program calls
 * the functions below one after another, which leave here what the next one needs. */
struct lb_affinity {
	struct lb_packet key;
	struct lb_conn_found e, mine;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lb_affinity);
} lb_affinity SEC(".maps");

static __always_inline struct lb_affinity *lb_affinity_at_hand(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&lb_affinity, &zero);
}

/* Word i of an address' mask. */
static __always_inline __be32 lb_mask_word(__u32 bits, const __u32 i)
{
	__u32 own = bits < 32 * i ? 0 : bits - 32 * i;

	return bpf_htonl(0xffffffff00000000ull >> (own < 32 ? own : 32));
}

/* The affinity of packet p's client to service `id`. The port of its key is none of a packet's: it
 * spreads the affinities that a client has, for a client's address and port name the few slots
 * where it may lie. */
static __always_inline struct lb_affinity *lb_affinity_of(const int family,
							  const struct lb_packet *p,
							  const __be32 *client, __be16 port,
							  __u32 id,
							  const struct lb_service_version *v)
{
	struct lb_affinity *a = lb_affinity_at_hand();
	__u32 bits = v->affinity[family];
	struct lb_flow *flow;

	if (!a)
		return NULL;
	flow = &a->key.flow;
	a->key.family = family;
	a->key.affinity = 1;
	a->key.udp = v->across_ports ? 0 : p->udp;
	flow->dport = v->across_ports ? 0 : port;
	flow->sport = id ^ flow->dport;
	flow->daddr[0] = id;
	flow->saddr[0] = client[0] & lb_mask_word(bits, 0);
	if (family == LB_V6) {
		flow->saddr[1] = client[1] & lb_mask_word(bits, 1);
		flow->saddr[2] = client[2] & lb_mask_word(bits, 2);
		flow->saddr[3] = client[3] & lb_mask_word(bits, 3);
		flow->daddr[1] = 0;
		flow->daddr[2] = 0;
		flow->daddr[3] = 0;
	}
	return a;
}

/* Gives it a state, and the time it has in it. */
static __always_inline void lb_affinity_set(const struct lb_affinity *a,
					    const struct lb_service_version *v, __u32 state,
					    __u32 now)
{
	lb_conn_set(a->key.family, a->e.pos, a->e.meta, lb_service_life(v, state), now);
}

/* Is it still the backend that ref names, and takes new connections? */
static __always_inline bool lb_backend_opens(const struct lb_backend *b, __u32 ref,
					     __u32 generation)
{
	return lb_backend_holds(b, ref) && !lb_slot(READ_ONCE(b->drained), generation);
}

static __always_inline bool lb_affinity_find(const int family, struct lb_affinity *a, __u32 now)
{
	return lb_find(family, &a->key, false, now, &a->e);
}

/* Enters the one at hand, for the backend of `ref`. 0: there is no room. */
static __always_inline int lb_affinity_insert_family(const int family, __u32 ref, __u32 life,
						     __u32 now)
{
	struct lb_affinity *a = lb_affinity_at_hand();
	struct lb_tuple t;

	if (!a)
		return 0;
	t = lb_tuple_of(&a->key.flow);
	ref = (ref & ~(LB_REF_NEXTHOP_MASK | LB_REF_UDP)) | (a->key.udp ? LB_REF_UDP : 0);
	return lb_conn_insert(family, &a->key, lb_tuple_hash(family, false, &t, a->key.udp), ref,
			      life, now, &a->mine);
}

__noinline int lb_affinity_insert4(__u32 ref, __u32 life, __u32 now)
{
	return lb_affinity_insert_family(LB_V4, ref, life, now);
}

__noinline int lb_affinity_insert6(__u32 ref, __u32 life, __u32 now)
{
	return lb_affinity_insert_family(LB_V6, ref, life, now);
}

/* After that: the backend to which it leads, which is another one if another CPU was first; 0: it
 * is gone already. */
static __always_inline int lb_affinity_first_family(const int family, __u32 now)
{
	struct lb_affinity *a = lb_affinity_at_hand();

	if (!a || !lb_affinity_find(family, a, now))
		return 0;
	if (a->e.pos != a->mine.pos)
		lb_conn_remove(family, a->mine.pos, a->mine.meta);
	return LB_REF_BACKEND(a->e.ref);
}

__noinline int lb_affinity_first4(__u32 now)
{
	return lb_affinity_first_family(LB_V4, now);
}

__noinline int lb_affinity_first6(__u32 now)
{
	return lb_affinity_first_family(LB_V6, now);
}

/* Both: the backend's id, or 0. */
static __always_inline int lb_affinity_enter(const int family, __u32 ref, __u32 life, __u32 now)
{
	if (!(family == LB_V4 ? lb_affinity_insert4(ref, life, now)
			      : lb_affinity_insert6(ref, life, now)))
		return 0;
	return family == LB_V4 ? lb_affinity_first4(now) : lb_affinity_first6(now);
}

/* The backend that packet p's client had before in service `id`; 0: none that takes it. */
static __always_inline int lb_affinity_backend_family(const int family, const struct lb_packet *p,
						      const struct lb_service_version *v, __u32 id,
						      __u32 now)
{
	struct lb_affinity *a;
	struct lb_backend *b;

	if (!p || !v)
		return 0;
	a = lb_affinity_of(family, p, p->flow.saddr, p->flow.dport, id, v);
	if (!a || !lb_affinity_find(family, a, now))
		return 0;
	b = lb_backend_get(LB_REF_BACKEND(a->e.ref));
	if (!b || !lb_backend_opens(b, a->e.ref, lb_generation())) {
		lb_conn_remove(family, a->e.pos, a->e.meta);
		return 0;
	}
	/* One that was answered is kept alive by answers alone. */
	if (LB_META_STATE(a->e.meta) == LB_CONN_AFFINITY_NEW)
		lb_affinity_set(a, v, LB_CONN_AFFINITY_NEW, now);
	return LB_REF_BACKEND(a->e.ref);
}

__noinline int lb_affinity_backend4(const struct lb_packet *p, const struct lb_service_version *v,
				    __u32 id, __u32 now)
{
	return lb_affinity_backend_family(LB_V4, p, v, id, now);
}

__noinline int lb_affinity_backend6(const struct lb_packet *p, const struct lb_service_version *v,
				    __u32 id, __u32 now)
{
	return lb_affinity_backend_family(LB_V6, p, v, id, now);
}

/* A backend's id for a new flow to service `id`, or LB_STOP(): the one that its client has, or one
 * by the scheduler. The middle of a connection goes by its hash alone, as on any other node. */
static __always_inline int lb_backend_choose(const int family, const struct lb_packet *p,
					     struct lb_service *s, struct lb_service_version *v,
					     __u32 id, __u32 again, __u32 generation, __u32 now)
{
	bool bound = !again && v->affinity[family] && lb_opens(p);
	int backend = 0, first;
	struct lb_backend *b;

	if (bound)
		backend = family == LB_V4 ? lb_affinity_backend4(p, v, id, now)
					  : lb_affinity_backend6(p, v, id, now);
	if (backend)
		return backend;
	backend = lb_backend_select(s, v, p, again, generation);
	if (!bound || backend < 0)
		return backend;
	b = lb_backend_get(backend);
	first = b ? lb_affinity_enter(family, backend | LB_REF_REUSE(b->reuse),
				      lb_service_life(v, LB_CONN_AFFINITY_NEW), now)
		  : 0;
	return first ? first : backend;
}

/* Was it in vain, or so it seems? */
static __always_inline bool lb_affinity_is_reset(__u32 state)
{
	return state == LB_CONN_CLOSED || state == LB_CONN_RESET;
}

/* What a connection in `state` is good for. */
static __always_inline __u32 lb_affinity_state(__u32 state)
{
	if (state == LB_CONN_UDP)
		return LB_CONN_AFFINITY_UDP;
	return state == LB_CONN_UDP_NEW || lb_affinity_is_reset(state) ? LB_CONN_AFFINITY_NEW
								       : LB_CONN_AFFINITY;
}

/* Packet p of connection `e` was noted, which is in `state` now. Returns the life of its affinity,
 * where there is none at hand: it may have been pushed out, or the connection taken up in the
 * middle. */
static __always_inline int lb_affinity_renew_family(const int family, const struct lb_packet *p,
						    const struct lb_conn_found *e, __u32 reverse,
						    __u32 state, __u32 now)
{
	__u32 generation = lb_generation(), next = lb_affinity_state(state);
	struct lb_service_version *v;
	struct lb_affinity *a;
	struct lb_backend *b;

	if (!p || !e)
		return 0;
	b = lb_backend_get(LB_REF_BACKEND(e->ref));
	if (!b || !lb_backend_opens(b, e->ref, generation))
		return 0;
	v = lb_service_in_force(b->service, generation);
	if (!v || !v->affinity[family])
		return 0;
	a = reverse ? lb_affinity_of(family, p, p->flow.daddr, e->sport, b->service, v)
		    : lb_affinity_of(family, p, p->flow.saddr, p->flow.dport, b->service, v);
	if (!a)
		return 0;
	if (!lb_affinity_find(family, a, now))
		return lb_affinity_is_reset(state) ? 0 : lb_service_life(v, LB_CONN_AFFINITY_NEW);
	if ((a->e.ref ^ e->ref) & ~(LB_REF_NEXTHOP_MASK | LB_REF_UDP))
		return 0; /* it leads to another backend than this connection's */
	/* What proves less does not keep it alive. */
	if (next >= LB_META_STATE(a->e.meta) || lb_affinity_is_reset(state))
		lb_affinity_set(a, v, next, now);
	return 0;
}

__noinline int lb_affinity_renew4(const struct lb_packet *p, const struct lb_conn_found *e,
				  __u32 reverse, __u32 state, __u32 now)
{
	return lb_affinity_renew_family(LB_V4, p, e, reverse, state, now);
}

__noinline int lb_affinity_renew6(const struct lb_packet *p, const struct lb_conn_found *e,
				  __u32 reverse, __u32 state, __u32 now)
{
	return lb_affinity_renew_family(LB_V6, p, e, reverse, state, now);
}

static __always_inline int lb_affinity_renew(const int family, const struct lb_packet *p,
					     const struct lb_conn_found *e, bool reverse,
					     __u32 state, __u32 now)
{
	return family == LB_V4 ? lb_affinity_renew4(p, e, reverse, state, now)
			       : lb_affinity_renew6(p, e, reverse, state, now);
}

/* Packet p of connection `e` was noted, whose meta was `was`: its affinity is confirmed, and kept
 * alive; or was confirmed in vain, where the backend resets what somebody had forged. */
static __always_inline void lb_affinity_note(const int family, const struct lb_packet *p,
					     const struct lb_conn_found *e, bool reverse, __u32 was,
					     __u32 now)
{
	__u32 state = LB_META_STATE(e->meta), life;

	if (e->meta == was)
		return;
	/* A RST with ACK ends what was true: a backend resets by it what it had. */
	if (lb_affinity_is_reset(state) ? !reverse || LB_META_STATE(was) != LB_CONN_ESTABLISHED ||
						  (p->tcp_flags & LB_TCP_ACK)
					: state < LB_CONN_ESTABLISHED)
		return;
	life = lb_affinity_renew(family, p, e, reverse, state, now);
	if (life && lb_affinity_enter(family, e->ref, life, now))
		lb_affinity_renew(family, p, e, reverse, state, now);
}

#endif
