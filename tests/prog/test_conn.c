/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_conn.c - bpf/conn.h by itself (conn_stress.bpf.c): two threads at once in a small table, and
 * random operations and times against a plain model of what the table must hold.
 *
 * STRESS_OPS operations (10^8; in the guest 10^6), MODEL_OPS (300,000; in the guest 30,000), SEED.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include "datapath/ebpf_internal.h"
#include "lb_abi.h"
#include "conn_stress.h"
#include "conn_stress.skel.h"

#define STRESS_BUCKETS 16
#define STRESS_HOMES   6
#define MODEL_BUCKETS  24
#define MODEL_HOMES    6
#define MODEL_SETS     3   /* of timeouts */
#define MODEL_FLOWS    320 /* of each family */
#define MODEL_TOKENS   16
#define AWAY_BUCKETS   256
#define AWAY_FLOWS     4000

static uint64_t env_number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

static uint64_t splitmix(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

/* Backends of one address in each family, see conn_stress.bpf.c. */
static void add_backends(struct conn_stress_bpf *s)
{
	int fd = bpf_map__fd(s->maps.lb_backends);

	for (uint32_t id = 1; id <= 2 * STRESS_BACKENDS; id++) {
		struct lb_backend b = {.state = LB_BACKEND_LIVE, .port = 0x5000};

		b.family = id > STRESS_BACKENDS ? LB_V6 : LB_V4;
		memcpy(b.addr.b,
		       b.family == LB_V6 ? "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"
					 : "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\1",
		       16);
		assert_int_equal(bpf_map_update_elem(fd, &id, &b, BPF_ANY), 0);
	}
}

static struct conn_stress_bpf *load(uint32_t buckets, uint32_t homes, uint64_t seed)
{
	struct conn_stress_bpf *s = conn_stress_bpf__open();
	uint32_t seconds[LB_TIMEOUTS];

	assert_non_null(s);
	bpf_map__set_max_entries(s->maps.lb_conn4, buckets);
	bpf_map__set_max_entries(s->maps.lb_conn6, buckets);
	bpf_map__set_max_entries(s->maps.lb_backends, 2 * STRESS_BACKENDS + 1);
	s->rodata->lb_conn4_buckets = buckets;
	s->rodata->lb_conn6_buckets = buckets;
	s->rodata->lb_conn4_homes = homes;
	s->rodata->lb_conn6_homes = homes;
	s->rodata->lb_tick_shift = 64 /* LB_TEST_CLOCK */;
	lb_timeouts_default(seconds);
	lb_timeouts_fill(&s->data_timeouts->lb_timeouts, seconds);
	for (size_t i = 0; i < LB_SECRET_WORDS; i++)
		s->rodata->lb_secret[i] = splitmix(&seed);
	assert_int_equal(conn_stress_bpf__load(s), 0);
	add_backends(s);
	return s;
}

static int run_program(struct bpf_program *prog, uint32_t mark)
{
	struct __sk_buff skb = {.mark = mark};
	char frame[64] = {0};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame),
		    .ctx_in = &skb, .ctx_size_in = sizeof(skb), .repeat = 1);
	int rc = bpf_prog_test_run_opts(bpf_program__fd(prog), &opts);

	return rc ? rc : (int)opts.retval;
}

static void read_evicted(struct conn_stress_bpf *s, uint64_t evicted[LB_EVICT_KINDS])
{
	int cpus = libbpf_num_possible_cpus();
	struct lb_reasons r[cpus];
	uint32_t zero = 0;

	memset(evicted, 0, LB_EVICT_KINDS * sizeof(*evicted));
	assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(s->maps.lb_reasons), &zero, r), 0);
	for (int cpu = 0; cpu < cpus; cpu++) {
		for (int kind = 0; kind < LB_EVICT_KINDS; kind++)
			evicted[kind] += r[cpu].evicted[kind];
	}
}

/* The home of whatever lies or lay in a slot. */
static uint32_t slot_home(struct conn_stress_bpf *s, enum lb_family family,
			  const union lb_conn_key *key, const __be32 *client)
{
	const volatile __u64 *secret = s->rodata->lb_secret;
	uint64_t hash = lb_conn_hash(family, secret, client, key->cport, !!(key->ref & LB_REF_UDP));

	return lb_conn_choice(hash, 0, secret, s->rodata->lb_conn4_buckets,
			      s->rodata->lb_conn4_homes);
}

/* Once nobody is at work, `away` of each bucket counts just the slots that its entries have
 * elsewhere. Returns their number. */
static uint32_t check_away(struct conn_stress_bpf *s, uint32_t buckets)
{
	uint32_t away[LB_FAMILIES][buckets], all = 0;
	struct lb_conn4_bucket b4;
	struct lb_conn6_bucket b6;
	uint32_t i, slot, home;

	memset(away, 0, sizeof(away));
	for (i = 0; i < buckets; i++) {
		bpf_map_lookup_elem(bpf_map__fd(s->maps.lb_conn4), &i, &b4);
		for (slot = 0; slot < LB_CONN4_SLOTS; slot++) {
			home = slot_home(s, LB_V4, &b4.key[slot], &b4.addr[slot].client);
			away[LB_V4][home] += LB_META_STATE(b4.meta[slot]) && home != i;
		}
		bpf_map_lookup_elem(bpf_map__fd(s->maps.lb_conn6), &i, &b6);
		for (slot = 0; slot < LB_CONN6_SLOTS; slot++) {
			home = slot_home(s, LB_V6, &b6.key[slot], b6.addr[slot].client);
			away[LB_V6][home] += LB_META_STATE(b6.meta[slot]) && home != i;
		}
	}
	for (i = 0; i < buckets; i++) {
		bpf_map_lookup_elem(bpf_map__fd(s->maps.lb_conn4), &i, &b4);
		assert_int_equal(b4.away, away[LB_V4][i]);
		bpf_map_lookup_elem(bpf_map__fd(s->maps.lb_conn6), &i, &b6);
		assert_int_equal(b6.away, away[LB_V6][i]);
		all += b4.away + b6.away;
	}
	return all;
}

/* ------------------------------------------------------------------------- two threads */

struct stress_worker {
	pthread_t thread;
	struct conn_stress_bpf *skel;
	uint32_t index;
	uint64_t ops;
	int rc;
};

static void *stress_main(void *arg)
{
	struct stress_worker *w = arg;
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET(w->index, &cpu);
	/* The guest may have one processor: then they take turns. */
	pthread_setaffinity_np(pthread_self(), sizeof(cpu), &cpu);
	while (!w->rc && w->skel->bss->stress_threads[w->index].ops < w->ops) {
		w->rc = run_program(w->skel->progs.conn_stress, w->index);
		if (!w->index)
			w->skel->bss->lb_clock++; /* half-open entries grow old; held ones do not */
	}
	return NULL;
}

static void print_thread(const struct stress_thread *t)
{
	printf("  %llu operations, %llu hits (%llu fast), %llu inserts, %llu refused; "
	       "torn %llu, lost %llu, undead %llu, wrong next hop %llu\n",
	       t->ops, t->hits, t->fast_hits, t->inserts, t->refused, t->torn, t->lost, t->undead,
	       t->wrong_nexthop);
}

static void test_two_threads(void **state)
{
	uint64_t ops = env_number("STRESS_OPS", getenv("TEST_GUEST") ? 1000000 : 100000000);
	struct conn_stress_bpf *s = load(STRESS_BUCKETS, STRESS_HOMES, 7);
	struct stress_worker workers[STRESS_THREADS] = {0};
	uint64_t evicted[LB_EVICT_KINDS];

	(void)state;
	for (uint32_t i = 0; i < STRESS_THREADS; i++) {
		workers[i].skel = s;
		workers[i].index = i;
		workers[i].ops = ops / STRESS_THREADS;
		s->bss->stress_threads[i].random = 12345 + i;
		assert_int_equal(pthread_create(&workers[i].thread, NULL, stress_main, &workers[i]),
				 0);
	}
	for (uint32_t i = 0; i < STRESS_THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	read_evicted(s, evicted);
	printf("  evicted: %" PRIu64 " half-open, %" PRIu64 " closing, %" PRIu64 " established\n",
	       evicted[LB_EVICT_HALF_OPEN], evicted[LB_EVICT_CLOSING],
	       evicted[LB_EVICT_ESTABLISHED]);
	for (uint32_t i = 0; i < STRESS_THREADS; i++) {
		struct stress_thread *t = &s->bss->stress_threads[i];

		print_thread(t);
		assert_int_equal(workers[i].rc, 0);
		assert_true(t->ops >= ops / STRESS_THREADS);
		assert_true(t->hits > t->ops / 20 && t->fast_hits > t->ops / 20);
		assert_true(t->uses > t->ops / 100);
		assert_true(t->refused * 1000 < t->inserts);
		assert_int_equal(t->torn, 0);
		assert_int_equal(t->lost, 0);
		assert_int_equal(t->undead, 0);
		assert_int_equal(t->wrong_nexthop, 0);
	}
	/* The flows are chosen so that nobody's candidates are all established: to lose one of
	 * those while half-open ones stand beside it would be a mistake. */
	assert_true(evicted[LB_EVICT_HALF_OPEN] > 0);
	assert_int_equal(evicted[LB_EVICT_ESTABLISHED] + evicted[LB_EVICT_CLOSING], 0);
	assert_true(check_away(s, STRESS_BUCKETS) > 0);
	conn_stress_bpf__destroy(s);
}

/* ------------------------------------------------------------------------------- the model */

/* What one slot must hold. */
struct slot {
	bool used; /* not removed since it was filled */
	uint32_t flow, life, tick;
	uint8_t version : 6;
};

/* An entry as somebody found it some time ago, who acts on it only now. */
struct token {
	uint32_t family, pos, meta;
};

static struct model {
	struct conn_stress_bpf *skel;
	struct conn_op *op;
	struct slot slots[LB_FAMILIES][MODEL_BUCKETS * 4];
	struct token tokens[MODEL_TOKENS];
	size_t n_tokens;
	uint64_t random, evicted[LB_EVICT_KINDS];
	uint64_t finds, hits, fast, inserts, refused, sets, stale;
} model;

static uint32_t model_random(uint32_t below)
{
	return splitmix(&model.random) % below;
}

static uint32_t model_age(const struct slot *s)
{
	return (model.skel->bss->lb_clock - s->tick) & LB_META_TICK_MASK;
}

static bool model_lives(const struct slot *s)
{
	return s->used && model_age(s) <= model.skel->data_timeouts->lb_timeouts.ticks[s->life];
}

/* Order of eviction: 0 free of charge, else by kind; within a kind the older one first. What is
 * over goes first. */
enum { OVER = 1, KIND = 2 /* and what it is counted as */ };
enum { LINGER = 8 /* ticks after which what is closing is over */ };

static uint64_t model_rank(const struct slot *s)
{
	uint64_t kind;

	if (!model_lives(s))
		return 0;
	switch (s->life & 15) {
	case LB_CONN_CLOSED:
		kind = OVER;
		break;
	case LB_CONN_SYN_SENT:
	case LB_CONN_SYN_RECV:
	case LB_CONN_UDP_NEW:
		kind = KIND + LB_EVICT_HALF_OPEN;
		break;
	case LB_CONN_CLOSING:
		kind = model_age(s) > LINGER ? OVER : KIND + LB_EVICT_CLOSING;
		break;
	case LB_CONN_UDP:
		kind = KIND + LB_EVICT_UDP;
		break;
	case LB_CONN_RESET:
		kind = KIND + LB_EVICT_RESET;
		break;
	default:
		kind = KIND + LB_EVICT_ESTABLISHED;
	}
	return kind << 32 | (uint32_t)~model_age(s);
}

static uint32_t model_meta(const struct slot *s)
{
	return LB_META(s->version, s->used ? s->life : LB_CONN_DEAD, s->tick);
}

static void model_do(enum conn_op_kind kind)
{
	model.op->kind = kind;
	assert_int_equal(run_program(model.skel->progs.conn_one, 0), 0);
}

static struct slot *model_lookup(void)
{
	struct slot *slots = model.slots[model.op->family];

	for (uint32_t i = 0; i < MODEL_BUCKETS * 4; i++) {
		if (slots[i].flow == model.op->flow && model_lives(&slots[i]))
			return &slots[i];
	}
	return NULL;
}

static void model_find(bool fast)
{
	struct slot *s = model_lookup();

	model_do(fast ? CONN_FIND_FAST : CONN_FIND);
	if (model.op->result == CONN_UNSURE) {
		assert_true(fast);
		return;
	}
	model.fast += fast && s;
	assert_int_equal(model.op->result, s != NULL);
	model.finds++;
	if (!s)
		return;
	model.hits++;
	assert_true(model.op->whole);
	assert_int_equal(model.op->pos, s - model.slots[model.op->family]);
	assert_int_equal(model.op->meta, model_meta(s));
	model.tokens[model.n_tokens++ % MODEL_TOKENS] = (struct token){
		.family = model.op->family, .pos = model.op->pos, .meta = model.op->meta};
}

static bool is_candidate(uint32_t bucket)
{
	for (uint32_t i = 0; i < model.op->buckets; i++) {
		if (model.op->bucket[i] == bucket)
			return true;
	}
	return false;
}

/* The rank of the cheapest slot that the operation's flow may take. */
static uint64_t model_cheapest(void)
{
	struct slot *slots = model.slots[model.op->family];
	int count = model.op->family == LB_V4 ? LB_CONN4_SLOTS : LB_CONN6_SLOTS;
	uint64_t least = UINT64_MAX, rank;

	for (uint32_t c = 0; c < model.op->buckets; c++) {
		for (int i = 0; i < count; i++) {
			rank = model_rank(&slots[model.op->bucket[c] * 4 + i]);
			least = rank < least ? rank : least;
		}
	}
	return least;
}

/* The slot that was taken must have been one of the cheapest. */
static void model_check_victim(const struct slot *taken)
{
	uint64_t rank = model_rank(taken), evicted[LB_EVICT_KINDS];

	assert_int_equal(rank, model_cheapest());
	if (rank)
		model.evicted[rank >> 32 == OVER ? LB_EVICT_CLOSING : (rank >> 32) - KIND]++;
	read_evicted(model.skel, evicted);
	assert_memory_equal(evicted, model.evicted, sizeof(evicted));
}

static void model_insert(void)
{
	static const uint32_t states[] = {LB_CONN_SYN_SENT, LB_CONN_SYN_RECV, LB_CONN_ESTABLISHED,
					  LB_CONN_CLOSING,  LB_CONN_UDP_NEW,  LB_CONN_UDP};
	struct slot *s;

	if (model_lookup())
		return;
	model.op->life = LB_LIFE(model_random(MODEL_SETS), states[model_random(6)]);
	model_do(CONN_INSERT);
	/* Where all are established, nobody finds room. */
	if (!model.op->result) {
		assert_int_equal(model_cheapest() >> 32, KIND + LB_EVICT_ESTABLISHED);
		model.refused++;
		return;
	}
	assert_true(model.op->pos < MODEL_BUCKETS * 4);
	assert_true(is_candidate(model.op->pos >> 2));
	assert_true((model.op->pos & 3) <
		    (model.op->family == LB_V4 ? LB_CONN4_SLOTS : LB_CONN6_SLOTS));
	s = &model.slots[model.op->family][model.op->pos];
	assert_true(model_rank(s) >> 32 < KIND + LB_EVICT_ESTABLISHED);
	model_check_victim(s);
	*s = (struct slot){.used = true,
			   .flow = model.op->flow,
			   .life = model.op->life,
			   .tick = model.skel->bss->lb_clock & LB_META_TICK_MASK,
			   .version = s->version + 1};
	assert_int_equal(model.op->meta, model_meta(s));
	model.inserts++;
}

/* Acts on an entry found some time ago: only if it still is what was found. */
static void model_act(enum conn_op_kind kind)
{
	struct token *t = &model.tokens[model_random(MODEL_TOKENS)];
	struct slot *s = &model.slots[t->family][t->pos];
	bool same = model_meta(s) == t->meta;

	if (!t->meta || (same && !model_lives(s)))
		return; /* nobody sets what has expired: it would not have been found */
	model.op->family = t->family;
	model.op->pos = t->pos;
	model.op->meta = t->meta;
	model.op->life =
		LB_LIFE(model_random(MODEL_SETS),
			LB_CONN_SYN_SENT + model_random(LB_CONN_AFFINITY_NEW - LB_CONN_SYN_SENT));
	model_do(kind);
	if (kind == CONN_REMOVE) {
		/* A change of state does not protect it; another entry in its place is safe. */
		if (s->version == LB_META_VERSION(t->meta))
			s->used = false;
		return;
	}
	model.sets++;
	model.stale += !same;
	if (same) {
		assert_true(model.op->result);
		s->life = model.op->life;
		s->tick = model.skel->bss->lb_clock & LB_META_TICK_MASK;
	} else if (model.op->result) {
		/* It claims success only where it had nothing to change. */
		assert_int_equal(t->meta, LB_META(LB_META_VERSION(t->meta), model.op->life,
						  model.skel->bss->lb_clock));
	}
}

/* In all less than 2^18 ticks, after which the 18 bits of an old entry's tick come round again. */
static void model_pass_time(void)
{
	uint32_t step = 0;

	if (!model_random(60))
		step = 1 + model_random(4);
	if (!model_random(3000))
		step = model_random(400);
	if (!model_random(60000))
		step = model_random(16000);
	model.skel->bss->lb_clock += step;
}

static void model_compare_all(void)
{
	for (uint32_t flow = 0; flow < MODEL_FLOWS; flow++) {
		for (int i = 0; i < 4; i++) {
			model.op->flow = flow;
			model.op->family = i & 1;
			model.op->reverse = i >> 1;
			model_find(false);
		}
	}
	check_away(model.skel, MODEL_BUCKETS);
}

static void test_model(void **state)
{
	uint64_t ops = env_number("MODEL_OPS", getenv("TEST_GUEST") ? 30000 : 300000), i;
	uint64_t seed = env_number("SEED", (uint64_t)time(NULL));
	uint32_t *ticks;

	(void)state;
	printf("  SEED=%" PRIu64 "\n", seed);
	fflush(stdout);
	memset(&model, 0, sizeof(model));
	model.random = seed;
	model.skel = load(MODEL_BUCKETS, MODEL_HOMES, seed);
	model.op = &model.skel->bss->conn_op;
	ticks = model.skel->data_timeouts->lb_timeouts.ticks;
	for (int life = 16; life < MODEL_SETS << 4; life++)
		ticks[life] = ticks[life & 15] >> (life >> 4) * 3;
	model.skel->bss->lb_clock = LB_META_TICK_MASK - 5000; /* it wraps in between */
	for (i = 0; i < ops; i++) {
		model.op->family = model_random(LB_FAMILIES);
		model.op->flow = model_random(MODEL_FLOWS);
		model.op->reverse = model_random(2);
		switch (model_random(8)) {
		case 0:
		case 1:
			model_insert();
			break;
		case 2:
			model_act(CONN_SET);
			break;
		case 3:
			if (!model_random(4))
				model_act(CONN_REMOVE);
			break;
		default:
			model_find(model_random(2));
		}
		model_pass_time();
		if (i % 20000 == 0)
			model_compare_all();
	}
	model_compare_all();
	printf("  %" PRIu64 " finds, %" PRIu64 " hits (%" PRIu64 " fast), %" PRIu64
	       " inserts, %" PRIu64 " refused; evicted %" PRIu64 " half-open, %" PRIu64
	       " closing, %" PRIu64 " udp, %" PRIu64 " reset, %" PRIu64 " established; %" PRIu64
	       " changes, %" PRIu64 " of what was gone or changed\n",
	       model.finds, model.hits, model.fast, model.inserts, model.refused, model.evicted[0],
	       model.evicted[1], model.evicted[2], model.evicted[3], model.evicted[4], model.sets,
	       model.stale);
	assert_true(model.hits > ops / 20 && model.fast > ops / 50 && model.inserts > ops / 20);
	assert_true(model.evicted[LB_EVICT_HALF_OPEN] && model.evicted[LB_EVICT_CLOSING] &&
		    model.evicted[LB_EVICT_UDP] && model.evicted[LB_EVICT_RESET]);
	assert_int_equal(model.evicted[LB_EVICT_ESTABLISHED], 0);
	assert_true(model.refused);
	assert_true(model.stale && model.stale < model.sets);
	conn_stress_bpf__destroy(model.skel);
}

/* A slot that somebody is writing is nobody else's, however long the writer is held up. */
static void test_interrupted_writer(void **state)
{
	struct conn_stress_bpf *s = load(1, 1, 1);
	struct lb_conn4_bucket b4 = {0};
	struct lb_conn6_bucket b6 = {0};
	struct conn_op *op = &s->bss->conn_op;
	uint32_t zero = 0, slot;

	(void)state;
	s->bss->lb_clock = 1000;
	for (slot = 0; slot < LB_CONN4_SLOTS; slot++)
		b4.meta[slot] = LB_META(1, LB_CONN_BUSY, 1000);
	for (slot = 0; slot < LB_CONN6_SLOTS; slot++)
		b6.meta[slot] = LB_META(1, LB_CONN_BUSY, 1000);
	bpf_map_update_elem(bpf_map__fd(s->maps.lb_conn4), &zero, &b4, BPF_ANY);
	bpf_map_update_elem(bpf_map__fd(s->maps.lb_conn6), &zero, &b6, BPF_ANY);
	for (uint32_t late = 0; late < 100000; late = late * 3 + 1) {
		s->bss->lb_clock = 1000 + late;
		op->kind = CONN_INSERT;
		op->life = LB_CONN_SYN_SENT;
		for (op->family = 0; op->family < LB_FAMILIES; op->family++) {
			assert_int_equal(run_program(s->progs.conn_one, 0), 0);
			assert_int_equal(op->result, 0);
		}
	}
	conn_stress_bpf__destroy(s);
}

/* A processor reads the clock, is held up, and meets an entry that another one touched in the tick
 * after: that entry is as fresh as can be. */
static void test_late_reader(void **state)
{
	struct conn_stress_bpf *s = load(1, 1, 1);
	struct conn_op *op = &s->bss->conn_op;
	uint64_t evicted[LB_EVICT_KINDS];
	uint32_t full;

	(void)state;
	for (op->family = 0; op->family < LB_FAMILIES; op->family++) {
		full = op->family == LB_V4 ? LB_CONN4_SLOTS : LB_CONN6_SLOTS;
		s->bss->lb_clock = 1001;
		op->life = LB_CONN_SYN_SENT;
		op->kind = CONN_INSERT;
		for (op->flow = 0; op->flow < full; op->flow++)
			assert_int_equal(run_program(s->progs.conn_one, 0), 0);
		s->bss->lb_clock = 1000;
		op->kind = CONN_FIND;
		for (op->flow = 0; op->flow < full; op->flow++) {
			assert_int_equal(run_program(s->progs.conn_one, 0), 0);
			assert_true(op->result);
		}
		op->kind = CONN_INSERT; /* of one more: it pushes a live one out, and says so */
		assert_int_equal(run_program(s->progs.conn_one, 0), 0);
		read_evicted(s, evicted);
		assert_int_equal(evicted[LB_EVICT_HALF_OPEN], op->family + 1);
	}
	conn_stress_bpf__destroy(s);
}

/* `away` is a byte: before it overflows nobody goes away any more, and nothing is lost. */
static void test_away_limit(void **state)
{
	struct conn_stress_bpf *s = load(AWAY_BUCKETS, 2, 3);
	struct conn_op *op = &s->bss->conn_op;
	struct lb_conn4_bucket b;
	uint32_t missing = 0, most = 0, i;

	(void)state;
	op->family = LB_V4;
	op->life = LB_CONN_UDP_NEW;
	op->kind = CONN_INSERT;
	for (op->flow = 0; op->flow < AWAY_FLOWS; op->flow++)
		assert_int_equal(run_program(s->progs.conn_one, 0), 0);
	for (i = 0; i < AWAY_BUCKETS; i++) {
		bpf_map_lookup_elem(bpf_map__fd(s->maps.lb_conn4), &i, &b);
		most = b.away > most ? b.away : most;
		for (int slot = 0; slot < LB_CONN4_SLOTS; slot++)
			missing += LB_META_STATE(b.meta[slot]) != LB_CONN_FREE;
	}
	assert_int_equal(most, LB_CONN_AWAY_MAX);
	assert_true(check_away(s, AWAY_BUCKETS) > LB_CONN_AWAY_MAX);
	op->kind = CONN_FIND;
	for (op->flow = 0; op->flow < AWAY_FLOWS; op->flow++) {
		assert_int_equal(run_program(s->progs.conn_one, 0), 0);
		missing -= op->result;
	}
	assert_int_equal(missing, 0);
	conn_stress_bpf__destroy(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model),       cmocka_unit_test(test_interrupted_writer),
		cmocka_unit_test(test_late_reader), cmocka_unit_test(test_away_limit),
		cmocka_unit_test(test_two_threads),
	};

	return cmocka_run_group_tests_name("conn", tests, NULL, NULL);
}
