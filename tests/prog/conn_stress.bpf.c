/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conn_stress.bpf.c - the connection table of bpf/conn.h by itself: a stress loop for test_conn.c's
 * two threads, and single operations for its model.
 *
 * Everything about a flow follows from its number, so whoever finds an entry can tell whether all
 * of it belongs together. All backends of a family have one address: looked up by an answer, an
 * entry with another flow's backend or service does match, and is seen to be torn.
 */
#include "../../bpf/place.h"
#include "conn_stress.h"

char LICENSE[] SEC("license") = "GPL";

struct stress_thread stress_threads[STRESS_THREADS];
struct conn_op conn_op = {};

static __always_inline __u32 mix(__u32 x)
{
	x = (x ^ x >> 16) * 0x7feb352d;
	x = (x ^ x >> 15) * 0x846ca68b;
	return x ^ x >> 16;
}

static __always_inline __u32 flow_backend(__u32 family, __u32 n)
{
	return 1 + (family & 1) * STRESS_BACKENDS + mix(n ^ 0xbac) % STRESS_BACKENDS;
}

static __always_inline void flow_make(struct lb_packet *p, __u32 family, __u32 n)
{
	int i;

	__builtin_memset(p, 0, sizeof(*p));
	p->family = family & 1;
	p->udp = n & 1;
	p->flow.saddr[0] = bpf_htonl(0x0a000000 + n);
	p->flow.daddr[0] = mix(n ^ 0x5e11);
	if (p->family == LB_V6) {
#pragma unroll
		for (i = 1; i < 4; i++) {
			p->flow.saddr[i] = mix(n + i);
			p->flow.daddr[i] = mix(n - i);
		}
	}
	p->flow.sport = mix(n ^ 0xc11e);
	p->flow.dport = mix(n ^ 0x9047);
}

/* Turns a packet of the client into one of the backend's answers to it. */
static __always_inline void flow_turn(struct lb_packet *p, __u32 n)
{
	struct lb_backend *b = lb_backend_get(flow_backend(p->family, n));
	int i;

	if (!b)
		return;
#pragma unroll
	for (i = 0; i < 4; i++) {
		p->flow.daddr[i] = p->flow.saddr[i];
		p->flow.saddr[i] = lb_addr_word(&b->addr, p->family == LB_V4 ? 3 : i);
	}
	p->flow.dport = p->flow.sport;
	p->flow.sport = b->port;
}

static __always_inline __u64 flow_hash(const struct lb_packet *p, bool reverse)
{
	struct lb_tuple t = lb_tuple_of(&p->flow);

	if (p->family == LB_V4)
		return reverse ? lb_tuple_hash(LB_V4, true, &t, p->udp)
			       : lb_tuple_hash(LB_V4, false, &t, p->udp);
	return reverse ? lb_tuple_hash(LB_V6, true, &t, p->udp)
		       : lb_tuple_hash(LB_V6, false, &t, p->udp);
}

#define FLOW_FIND(family, reverse, fast)                                                           \
	lb_conn_find(family, reverse, fast, &t, p.udp, hash, now, e)

__noinline int flow_find(__u32 family, __u32 n, __u32 reverse, struct lb_conn_found *e)
{
	__u32 now = lb_now();
	struct lb_packet p;
	struct lb_tuple t;
	__u64 hash;

	if (!e)
		return 0;
	flow_make(&p, family, n);
	if (reverse)
		flow_turn(&p, n);
	t = lb_tuple_of(&p.flow);
	hash = flow_hash(&p, reverse);
	if (p.family == LB_V4)
		return reverse ? FLOW_FIND(LB_V4, true, false) : FLOW_FIND(LB_V4, false, false);
	return reverse ? FLOW_FIND(LB_V6, true, false) : FLOW_FIND(LB_V6, false, false);
}

/* As the hit path looks: it may not know, but finds none that is not there. */
__noinline int flow_find_fast(__u32 family, __u32 n, __u32 reverse, struct lb_conn_found *e)
{
	__u32 now = lb_now();
	struct lb_packet p;
	struct lb_tuple t;
	__u64 hash;
	int found;

	if (!e)
		return 0;
	flow_make(&p, family, n);
	if (reverse)
		flow_turn(&p, n);
	t = lb_tuple_of(&p.flow);
	hash = flow_hash(&p, reverse);
	if (p.family == LB_V4)
		found = reverse ? FLOW_FIND(LB_V4, true, true) : FLOW_FIND(LB_V4, false, true);
	else
		found = reverse ? FLOW_FIND(LB_V6, true, true) : FLOW_FIND(LB_V6, false, true);
	if (found != LB_CONN_HIT)
		return found;
	/* Its caller looks at meta. */
	if (LB_META_STATE(e->meta) <= LB_CONN_BUSY || lb_conn_expired(e->meta, now))
		return LB_CONN_UNSURE;
	return LB_CONN_HIT;
}

__noinline int flow_insert(__u32 family, __u32 n, __u32 life, struct lb_conn_found *e)
{
	struct lb_packet p;
	__u64 hash;
	__u32 ref;

	if (!e)
		return 0;
	flow_make(&p, family, n);
	ref = flow_backend(family, n) | (p.udp ? LB_REF_UDP : 0);
	hash = flow_hash(&p, false);
	return p.family == LB_V4 ? lb_conn_insert(LB_V4, &p, hash, ref, life, lb_now(), e)
				 : lb_conn_insert(LB_V6, &p, hash, ref, life, lb_now(), e);
}

/* Is all of the entry that flow n found its own? */
__noinline int flow_whole(__u32 family, __u32 n, __u32 reverse, const struct lb_conn_found *e)
{
	struct lb_packet p;
	int i;

	if (!e)
		return 0;
	flow_make(&p, family, n);
	if (LB_REF_BACKEND(e->ref) != flow_backend(family, n))
		return 0;
	if (!reverse)
		return 1;
	if (e->sport != p.flow.dport || e->service[0] != p.flow.daddr[0])
		return 0;
	for (i = 1; i < 4; i++) {
		if (p.family == LB_V6 && e->service[i] != p.flow.daddr[i])
			return 0;
	}
	return 1;
}

static __always_inline __u32 flow_bucket(__u32 family, __u64 hash, int which)
{
	return family & 1 ? lb_conn_choose(LB_V6, hash, which) : lb_conn_choose(LB_V4, hash, which);
}

/* ------------------------------------------------------------------------- two threads */

static __always_inline __u32 stress_random(struct stress_thread *t)
{
	__u32 x = t->random;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	t->random = x;
	return x;
}

static __always_inline int stress_find(struct stress_thread *t, __u32 family, __u32 n,
				       __u32 reverse, struct lb_conn_found *e)
{
	int found;

	t->ops += 2;
	if (flow_find_fast(family, n, reverse, e) == LB_CONN_HIT) {
		t->fast_hits++;
		if (!flow_whole(family, n, reverse, e))
			t->torn++;
	}
	found = flow_find(family, n, reverse, e);
	if (found) {
		t->hits++;
		if (!flow_whole(family, n, reverse, e))
			t->torn++;
	}
	return found;
}

static __always_inline void stress_insert(struct stress_thread *t, __u32 family, __u32 n,
					  __u32 state)
{
	struct lb_conn_found e = {};

	t->ops++;
	t->inserts++;
	if (!flow_insert(family, n, state, &e))
		t->refused++;
}

static __always_inline void stress_remove(struct stress_thread *t, __u32 family, __u32 n)
{
	struct lb_conn_found e = {};

	if (stress_find(t, family, n, n >> 3 & 1, &e)) {
		t->ops++;
		lb_conn_remove(family, e.pos, e.meta);
	}
}

/* Flows of both threads, many more than fit, all half-open: they come and go. */
static __always_inline void stress_noise(struct stress_thread *t, __u32 family, __u32 r)
{
	__u32 n = STRESS_NOISE_FIRST + r % STRESS_NOISE;
	struct lb_conn_found e = {};

	if (!stress_find(t, family, n, r >> 20 & 1, &e)) {
		stress_insert(t, family, n, n & 1 ? LB_CONN_UDP_NEW : LB_CONN_SYN_SENT);
	} else if ((r >> 21 & 7) == 0) {
		stress_remove(t, family, n);
	} else if ((r >> 21 & 7) == 1) {
		t->ops++;
		lb_conn_set(family, e.pos, e.meta, LB_META_LIFE(e.meta), lb_now());
	}
}

/* Opens a connection of this thread's own; true once it is established. */
static __always_inline bool stress_open(struct stress_thread *t, __u32 family, __u32 n)
{
	struct lb_conn_found e = {};

	stress_insert(t, family, n, LB_CONN_SYN_RECV);
	if (!stress_find(t, family, n, 1, &e))
		return false;
	t->ops++;
	if (lb_conn_set(family, e.pos, e.meta, LB_CONN_ESTABLISHED, lb_now()) == e.meta)
		return true;
	stress_remove(t, family, n);
	return false;
}

/* An established connection must be there, whatever the other thread does. */
static __always_inline bool stress_use(struct stress_thread *t, __u32 family, __u32 n, __u32 r)
{
	__u32 nexthop = r >> 8 & (LB_NEXTHOPS - 1);
	struct lb_conn_found e = {};
	int reverse;

	for (reverse = 1; reverse >= 0; reverse--) {
		if (!stress_find(t, family, n, reverse, &e) ||
		    LB_META_STATE(e.meta) != LB_CONN_ESTABLISHED) {
			t->lost++;
			return false;
		}
		t->ops++;
		if ((r & 7) == 0 &&
		    lb_conn_set(family, e.pos, e.meta, LB_CONN_ESTABLISHED, lb_now()) != e.meta) {
			t->lost++;
			return false;
		}
		if ((r & 7) == 1) {
			t->ops++;
			lb_conn_set_nexthop(family, e.pos, e.meta, e.ref, nexthop);
			if (!stress_find(t, family, n, 1, &e) || LB_REF_NEXTHOP(e.ref) != nexthop)
				t->wrong_nexthop++;
		}
	}
	return true;
}

static __always_inline void stress_held(struct stress_thread *t, __u32 thread, __u32 family,
					__u32 r)
{
	__u32 k = r % STRESS_HELD, n = thread * STRESS_HELD + k;
	struct lb_conn_found e = {};
	__u8 *held = &t->held[family & 1][k & (STRESS_HELD - 1)];

	t->uses++;
	if (!*held) {
		*held = stress_open(t, family, n);
	} else if ((r >> 12 & 15) == 0) {
		stress_remove(t, family, n);
		*held = 0;
		if (stress_find(t, family, n, 0, &e) || stress_find(t, family, n, 1, &e))
			t->undead++;
	} else {
		*held = stress_use(t, family, n, r >> 8);
		if (!*held)
			stress_remove(t, family, n);
	}
}

static int stress_step(__u32 i, __u32 *thread)
{
	struct stress_thread *t = &stress_threads[*thread & (STRESS_THREADS - 1)];
	__u32 r = stress_random(t), family = r >> 31;

	(void)i;
	r &= 0x7fffffff;
	if ((r >> 28 & 3) == 0)
		stress_held(t, *thread, family, r);
	else
		stress_noise(t, family, r);
	return 0;
}

SEC("tc")
int conn_stress(struct __sk_buff *skb)
{
	__u32 thread = skb->mark;

	return bpf_loop(STRESS_STEPS, stress_step, &thread, 0) == STRESS_STEPS ? 0 : 1;
}

/* ------------------------------------------------------------------------- one operation */

SEC("tc")
int conn_one(struct __sk_buff *skb)
{
	struct lb_conn_found e = {};
	struct lb_packet p;
	__u64 hash;
	int which;

	(void)skb;
	flow_make(&p, conn_op.family, conn_op.flow);
	hash = flow_hash(&p, false);
	for (which = 0; which < LB_CONN_CHOICES; which++)
		conn_op.bucket[which] = flow_bucket(conn_op.family, hash, which);
	conn_op.buckets = LB_CONN_CHOICES;
	switch (conn_op.kind) {
	case CONN_FIND:
		conn_op.result = flow_find(conn_op.family, conn_op.flow, conn_op.reverse, &e);
		conn_op.pos = e.pos;
		conn_op.meta = e.meta;
		conn_op.whole = flow_whole(conn_op.family, conn_op.flow, conn_op.reverse, &e);
		break;
	case CONN_FIND_FAST:
		conn_op.result = flow_find_fast(conn_op.family, conn_op.flow, conn_op.reverse, &e);
		conn_op.pos = e.pos;
		conn_op.meta = e.meta;
		conn_op.whole = flow_whole(conn_op.family, conn_op.flow, conn_op.reverse, &e);
		break;
	case CONN_INSERT:
		conn_op.result = flow_insert(conn_op.family, conn_op.flow, conn_op.life, &e);
		conn_op.pos = e.pos;
		conn_op.meta = e.meta;
		break;
	case CONN_SET:
		conn_op.result = lb_conn_set(conn_op.family, conn_op.pos, conn_op.meta,
					     conn_op.life, lb_now()) == conn_op.meta;
		break;
	case CONN_REMOVE:
		conn_op.result = lb_conn_remove(conn_op.family, conn_op.pos, conn_op.meta);
		break;
	}
	return 0;
}
