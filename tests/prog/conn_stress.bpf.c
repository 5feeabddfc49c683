/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conn_stress.bpf.c - the connection table of bpf/conn.h by itself: a stress loop for test_conn.c's
 * two threads, and single operations for its model.
 *
 * Everything about a flow follows from its number, so whoever finds an entry can tell whether all
 * of it belongs together. All backends of a family have one address: a reverse entry with another
 * flow's backend or service does match, and is seen to be torn.
 */
#include "../../bpf/conn.h"
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

/* The flow of the backend's answers. */
static __always_inline void flow_answer(const struct lb_packet *p, __u32 n, struct lb_flow *f)
{
	struct lb_backend *b = lb_backend_get(flow_backend(p->family, n));
	int i;

	__builtin_memset(f, 0, sizeof(*f));
	if (!b)
		return;
	if (p->family == LB_V4) {
		f->saddr[0] = lb_addr_word(&b->addr, 3);
		f->daddr[0] = p->flow.saddr[0];
	} else {
#pragma unroll
		for (i = 0; i < 4; i++)
			f->saddr[i] = lb_addr_word(&b->addr, i);
		__builtin_memcpy(f->daddr, p->flow.saddr, 16);
	}
	f->sport = b->port;
	f->dport = p->flow.sport;
}

static __always_inline __u64 flow_hash(const struct lb_packet *p, const struct lb_flow *f)
{
	struct lb_tuple t = lb_tuple_of(f);

	return p->family == LB_V4 ? lb_tuple_hash(LB_V4, &t, p->udp)
				  : lb_tuple_hash(LB_V6, &t, p->udp);
}

__noinline int flow_find(__u32 family, __u32 n, __u32 reverse, struct lb_conn_found *e)
{
	__u32 now = lb_now();
	struct lb_packet p;
	struct lb_tuple t;
	struct lb_flow f;
	__u64 hash;

	if (!e)
		return 0;
	flow_make(&p, family, n);
	if (reverse)
		flow_answer(&p, n, &f);
	else
		f = p.flow;
	t = lb_tuple_of(&f);
	hash = flow_hash(&p, &f);
	if (p.family == LB_V4)
		return reverse ? lb_conn_find(LB_V4, true, false, &t, p.udp, hash, now, e)
			       : lb_conn_find(LB_V4, false, false, &t, p.udp, hash, now, e);
	return reverse ? lb_conn_find(LB_V6, true, false, &t, p.udp, hash, now, e)
		       : lb_conn_find(LB_V6, false, false, &t, p.udp, hash, now, e);
}

/* As the hit path looks: it may miss an entry, but finds none that is not there. */
__noinline int flow_find_fast(__u32 family, __u32 n, __u32 reverse, struct lb_conn_found *e)
{
	__u32 now = lb_now();
	struct lb_packet p;
	struct lb_tuple t;
	struct lb_flow f;
	__u64 hash;
	bool found;

	if (!e)
		return 0;
	flow_make(&p, family, n);
	if (reverse)
		flow_answer(&p, n, &f);
	else
		f = p.flow;
	t = lb_tuple_of(&f);
	hash = flow_hash(&p, &f);
	if (p.family == LB_V4)
		found = reverse ? lb_conn_find(LB_V4, true, true, &t, p.udp, hash, now, e)
				: lb_conn_find(LB_V4, false, true, &t, p.udp, hash, now, e);
	else
		found = reverse ? lb_conn_find(LB_V6, true, true, &t, p.udp, hash, now, e)
				: lb_conn_find(LB_V6, false, true, &t, p.udp, hash, now, e);
	/* Its caller looks at meta. */
	return found && LB_META_STATE(e->meta) > LB_CONN_BUSY && !lb_conn_expired(e->meta, now);
}

__noinline int flow_insert(__u32 family, __u32 n, __u32 reverse, __u32 state)
{
	struct lb_packet p;
	struct lb_flow f;
	__u64 hash;
	__u32 ref;

	flow_make(&p, family, n);
	ref = flow_backend(family, n) | (p.udp ? LB_REF_UDP : 0);
	if (reverse) {
		ref |= LB_REF_REVERSE;
		flow_answer(&p, n, &f);
		hash = flow_hash(&p, &f);
	} else {
		hash = flow_hash(&p, &p.flow);
	}
	return p.family == LB_V4 ? lb_conn_insert(LB_V4, &p, hash, ref, state, lb_now())
				 : lb_conn_insert(LB_V6, &p, hash, ref, state, lb_now());
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

/* Two pairs of neighbours. */
static __always_inline bool hash_spreads(__u32 family, __u64 hash)
{
	return flow_bucket(family, hash, 0) >> 1 != flow_bucket(family, hash, 2) >> 1;
}

/* Has flow n as many slots to lie in as a flow can have, in both directions? So many that those of
 * established connections never fill them all, see STRESS_HELD. */
__noinline int flow_spreads(__u32 family, __u32 n)
{
	struct lb_packet p;
	struct lb_flow f;

	flow_make(&p, family, n);
	flow_answer(&p, n, &f);
	return hash_spreads(family, flow_hash(&p, &p.flow)) &&
	       hash_spreads(family, flow_hash(&p, &f));
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
	if (flow_find_fast(family, n, reverse, e)) {
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
	int reverse;

	for (reverse = 1; reverse >= 0; reverse--) {
		t->ops++;
		t->inserts++;
		if (flow_insert(family, n, reverse, state) == LB_CONN_NONE)
			t->refused++;
	}
}

static __always_inline void stress_remove(struct stress_thread *t, __u32 family, __u32 n)
{
	struct lb_conn_found e = {};
	int reverse;

	for (reverse = 1; reverse >= 0; reverse--) {
		if (stress_find(t, family, n, reverse, &e)) {
			t->ops++;
			lb_conn_remove(family, e.pos, e.meta);
		}
	}
}

/* Flows of both threads, many more than fit, all half-open: they come and go. */
static __always_inline void stress_noise(struct stress_thread *t, __u32 family, __u32 r)
{
	__u32 n = STRESS_NOISE_FIRST + r % STRESS_NOISE;
	struct lb_conn_found e = {};

	if (!flow_spreads(family, n))
		return;
	if (r >> 20 & 1)
		stress_find(t, family, n, 1, &e);
	if (!stress_find(t, family, n, 0, &e)) {
		stress_insert(t, family, n, n & 1 ? LB_CONN_UDP_NEW : LB_CONN_SYN_SENT);
	} else if ((r >> 21 & 7) == 0) {
		stress_remove(t, family, n);
	} else if ((r >> 21 & 7) == 1) {
		t->ops++;
		lb_conn_set(family, e.pos, e.meta, LB_META_STATE(e.meta), lb_now());
	}
}

/* Opens a connection of this thread's own; true once both entries are established. */
static __always_inline bool stress_open(struct stress_thread *t, __u32 family, __u32 n)
{
	struct lb_conn_found e = {};
	__u32 done = 0;
	int reverse;

	stress_insert(t, family, n, LB_CONN_SYN_RECV);
	for (reverse = 1; reverse >= 0; reverse--) {
		if (stress_find(t, family, n, reverse, &e)) {
			t->ops++;
			done += lb_conn_set(family, e.pos, e.meta, LB_CONN_ESTABLISHED, lb_now());
		}
	}
	if (done != 2)
		stress_remove(t, family, n);
	return done == 2;
}

/* An established connection must be there, whatever the other thread does. */
static __always_inline bool stress_use(struct stress_thread *t, __u32 family, __u32 n, __u32 r)
{
	struct lb_conn_found e = {};
	__u32 aux = r >> 8 & ((1 << LB_REF_AUX_BITS) - 1);
	int reverse;

	for (reverse = 1; reverse >= 0; reverse--) {
		if (!stress_find(t, family, n, reverse, &e) ||
		    LB_META_STATE(e.meta) != LB_CONN_ESTABLISHED) {
			t->lost++;
			return false;
		}
		t->ops++;
		if ((r & 7) == 0 &&
		    !lb_conn_set(family, e.pos, e.meta, LB_CONN_ESTABLISHED, lb_now())) {
			t->lost++;
			return false;
		}
		if (reverse && (r & 7) == 1) {
			t->ops++;
			lb_conn_set_aux(family, e.pos, e.meta, e.ref, aux);
			if (!stress_find(t, family, n, 1, &e) || LB_REF_AUX(e.ref) != aux)
				t->wrong_aux++;
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

	if (!flow_spreads(family, n))
		return;
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
	struct lb_flow f;
	__u64 hash;
	int which;

	(void)skb;
	flow_make(&p, conn_op.family, conn_op.flow);
	flow_answer(&p, conn_op.flow, &f);
	hash = conn_op.reverse ? flow_hash(&p, &f) : flow_hash(&p, &p.flow);
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
		conn_op.result =
			flow_insert(conn_op.family, conn_op.flow, conn_op.reverse, conn_op.state);
		break;
	case CONN_SET:
		conn_op.result = lb_conn_set(conn_op.family, conn_op.pos, conn_op.meta,
					     conn_op.state, lb_now());
		break;
	case CONN_REMOVE:
		conn_op.result = lb_conn_remove(conn_op.family, conn_op.pos, conn_op.meta);
		break;
	}
	return 0;
}
