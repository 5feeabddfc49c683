/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_former_conn.c - connections of an instance of an older ABI: read where that one's programs
 * have them, and put into the present table, by the rules of bpf/place.h, while packets come.
 *
 * From the moment that an entry is published here it is this ABI's programs that serve its
 * connection. A packet that was on its way through a former program may still change it there: what
 * differs from what was copied is brought along by the next pass.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ebpf_migrate.h"

#define WORDS_7                                                                                    \
	.tick = {0, 18}, .state = {18, 4}, .set = {22, 4}, .version = {26, 6}, .backend = {0, 18}, \
	.reuse = {28, 3}, .udp = {31, 1}

/* Each from this ABI on, until the next one's: a line stays when a later ABI gets its own. States
 * are numbered alike in all of them. Before ABI 10 what was RESET was believed to be over. */
static const struct lb_conn_words words[] = {
	{.abi = 7, .reset = LB_CONN_CLOSED, WORDS_7},
	{.abi = 10, .reset = LB_CONN_RESET, WORDS_7},
};

const struct lb_conn_words *lb_conn_words_of(__u32 abi)
{
	const struct lb_conn_words *found = NULL;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (words[i].abi <= abi)
			found = &words[i];
	return found;
}

static __u32 bits_of(struct lb_bits b)
{
	return (1u << b.n) - 1;
}

static __u32 bits_get(__u32 word, struct lb_bits b)
{
	return word >> b.shift & bits_of(b);
}

/* What has become of a slot's entry. */
struct handed {
	__u32 was;  /* its meta when it was copied; 0: not yet */
	__u32 pos;  /* bucket << 2 | slot, where it was put, */
	__u32 meta; /* with this meta; 0: somebody else had put it there */
};

struct lb_former_table {
	struct lb_former_conns *all;
	enum lb_family family;
	struct lb_dp *next;
	const struct lb_conn_words *words;
	char *mem, *seqs; /* buckets; lb_seqs4 or lb_seqs6, by bucket */
	size_t size, seqs_size;
	__u32 n, slots, stride, seqs_stride; /* buckets, and the bytes of one */
	struct lb_field meta, key, addr, ref, cport, sport, client, service, seen, fine;
	struct handed *handed; /* by bucket and slot */
};

/* An entry, in words of no layout. IPv4 addresses are in word 0. */
struct flow {
	__u32 was; /* its meta there */
	__u32 state, set, age;
	__u32 backend, reuse, udp;
	__be16 cport, sport;
	__be32 client[4], service[4];
	__u32 seen; /* lb_seqs4, lb_seqs6 */
	__u8 fine;
};

/* ---------------------------------------------------------------- reading */

static int map_view(int fd, char **mem, size_t *size, __u32 *n, __u32 *stride)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	void *at;

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	*n = info.max_entries;
	*stride = (info.value_size + 7) / 8 * 8;
	*size = (size_t)*n * *stride;
	at = mmap(NULL, *size, PROT_READ, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	*mem = at;
	return 0;
}

static bool bucket_fields(struct lb_former_table *t, struct lb_type bucket)
{
	return lb_field_find(bucket, "meta", &t->meta) && lb_field_find(bucket, "key", &t->key) &&
	       lb_field_find(bucket, "addr", &t->addr) &&
	       lb_field_find(t->key.type, "ref", &t->ref) &&
	       lb_field_find(t->key.type, "cport", &t->cport) &&
	       lb_field_find(t->key.type, "sport", &t->sport) &&
	       lb_field_find(t->addr.type, "client", &t->client) &&
	       lb_field_find(t->addr.type, "service", &t->service) && t->meta.size == 4 &&
	       t->meta.n == t->key.n && t->meta.n == t->addr.n;
}

static int fields_find(struct lb_former_table *t, int buckets, int seqs)
{
	struct lb_map_types types, of_seqs = {};
	int ret = lb_map_types_read(buckets, &types);

	if (!ret)
		ret = lb_map_types_read(seqs, &of_seqs);
	if (!ret &&
	    (!bucket_fields(t, types.value) || !lb_field_find(of_seqs.value, "seen", &t->seen) ||
	     (t->seen.size != 2 && t->seen.size != 4)))
		ret = -EPROTO;
	if (!ret && (!lb_field_find(of_seqs.value, "fine", &t->fine) || t->fine.size != 1))
		t->fine = (struct lb_field){};
	t->slots = t->meta.n;
	lb_map_types_free(&types);
	lb_map_types_free(&of_seqs);
	return ret;
}

static __u32 meta_read(const struct lb_former_table *t, __u32 bucket, __u32 slot)
{
	const char *at = t->mem + (size_t)bucket * t->stride + t->meta.offset + slot * 4;

	return __atomic_load_n((const __u32 *)at, __ATOMIC_ACQUIRE);
}

static bool state_of(const struct lb_former_table *t, __u32 meta, struct flow *f)
{
	const struct lb_conn_words *w = t->words;
	__u32 tick_max = bits_of(w->tick);

	f->was = meta;
	f->state = bits_get(meta, w->state);
	if (f->state == LB_CONN_RESET)
		f->state = w->reset;
	f->set = bits_get(meta, w->set);
	f->age = (lb_clock_all() - bits_get(meta, w->tick)) & tick_max;
	if (f->age > tick_max - LB_CONN_AHEAD)
		f->age = 0;
	return f->state > LB_CONN_BUSY && f->state < LB_CONN_STATES && f->set < LB_TIMEOUT_SETS &&
	       f->age <= t->next->timeouts->ticks[LB_LIFE(f->set, f->state)];
}

/* ABI 7 had the upper 8 bits of each number: that is too little, and until the next look they are
 * any that nobody can guess. No ABI before 10 had `fine`. */
static void seqs_read(const struct lb_former_table *t, __u32 bucket, __u32 slot, struct flow *f)
{
	const char *at = t->seqs + (size_t)bucket * t->seqs_stride;

	f->seen = lb_conn_hash(t->family, t->next->config->secret, f->client, f->cport, f->udp);
	if (t->seen.size == sizeof(f->seen))
		memcpy(&f->seen, at + t->seen.offset + slot * sizeof(f->seen), sizeof(f->seen));
	if (t->fine.size)
		f->fine = at[t->fine.offset + slot];
}

static void key_read(const struct lb_former_table *t, __u32 bucket, __u32 slot, struct flow *f)
{
	const char *at = t->mem + (size_t)bucket * t->stride;
	const char *key = at + t->key.offset + (size_t)slot * t->key.size;
	const char *addr = at + t->addr.offset + (size_t)slot * t->addr.size;
	const size_t size = t->family == LB_V4 ? 4 : 16;
	__u32 ref;

	memcpy(&ref, key + t->ref.offset, sizeof(ref));
	memcpy(&f->cport, key + t->cport.offset, sizeof(f->cport));
	memcpy(&f->sport, key + t->sport.offset, sizeof(f->sport));
	memcpy(f->client, addr + t->client.offset, size);
	memcpy(f->service, addr + t->service.offset, size);
	f->backend = bits_get(ref, t->words->backend);
	f->reuse = bits_get(ref, t->words->reuse);
	f->udp = bits_get(ref, t->words->udp);
	seqs_read(t, bucket, slot, f);
}

/* Is the backend still the one that the entry means? */
static bool is_current(const struct lb_former_table *t, const struct flow *f)
{
	const struct lb_backend *b = &t->next->backends[f->backend];

	return f->backend < t->next->max_entries[LB_MAP_BACKENDS] && b->state != LB_BACKEND_FREE &&
	       b->family == t->family && (b->reuse & bits_of(t->words->reuse)) == f->reuse;
}

/* The version in meta is the same before and after: then all between is of one entry. */
static bool flow_read(const struct lb_former_table *t, __u32 bucket, __u32 slot, struct flow *f)
{
	__u32 meta = meta_read(t, bucket, slot), again;

	*f = (struct flow){};
	if (!state_of(t, meta, f))
		return false;
	key_read(t, bucket, slot, f);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	again = meta_read(t, bucket, slot);
	return bits_get(again, t->words->version) == bits_get(meta, t->words->version) &&
	       state_of(t, again, f) && is_current(t, f);
}

/* ---------------------------------------------------------------- writing */

static struct lb_conn_head *bucket_at(const struct lb_former_table *t, __u32 bucket)
{
	struct lb_conn4_bucket *b4 = t->next->mem[LB_MAP_CONN4];
	struct lb_conn6_bucket *b6 = t->next->mem[LB_MAP_CONN6];

	return t->family == LB_V4 ? (void *)(b4 + bucket) : (void *)(b6 + bucket);
}

static int slots_of(const struct lb_former_table *t)
{
	return t->family == LB_V4 ? LB_CONN4_SLOTS : LB_CONN6_SLOTS;
}

/* One slot of a bucket. */
struct place {
	__u32 *meta;
	union lb_conn_key *key;
	__be32 *client, *service;
	__u8 *tag;
	__u32 *seen;
	__u8 *fine;
};

static struct place place_at(const struct lb_former_table *t, __u32 bucket, int slot)
{
	struct lb_seqs4 *s4 = (struct lb_seqs4 *)t->next->mem[LB_MAP_SEQS4] + bucket;
	struct lb_seqs6 *s6 = (struct lb_seqs6 *)t->next->mem[LB_MAP_SEQS6] + bucket;
	struct lb_conn4_bucket *b4 = (void *)bucket_at(t, bucket);
	struct lb_conn6_bucket *b6 = (void *)b4;

	if (t->family == LB_V4)
		return (struct place){&b4->meta[slot],        &b4->key[slot],
				      &b4->addr[slot].client, &b4->addr[slot].service,
				      &b4->tag[slot],         &s4->seen[slot],
				      &s4->fine[slot]};
	return (struct place){&b6->meta[slot],        &b6->key[slot], b6->addr[slot].client,
			      b6->addr[slot].service, &b6->tag[slot], &s6->seen[slot],
			      &s6->fine[slot]};
}

static __u64 hash_of(const struct lb_former_table *t, const __be32 *client, __be16 port, int udp)
{
	return lb_conn_hash(t->family, t->next->config->secret, client, port, udp);
}

static __u32 choice_of(const struct lb_former_table *t, __u64 hash, int which)
{
	__u32 n = t->next->max_entries[t->family == LB_V4 ? LB_MAP_CONN4 : LB_MAP_CONN6];

	return lb_conn_choice(hash, which, t->next->config->secret, n, LB_CONN_HOMES(n));
}

static __u32 away_of(const struct lb_former_table *t, __u64 hash)
{
	struct lb_conn_head *home = bucket_at(t, choice_of(t, hash, 0));
	const __u8 *away4 = &((struct lb_conn4_bucket *)home)->away;
	const __u32 *away6 = &((struct lb_conn6_bucket *)home)->away;

	return t->family == LB_V4 ? __atomic_load_n(away4, __ATOMIC_RELAXED)
				  : __atomic_load_n(away6, __ATOMIC_RELAXED);
}

/* Of the home of an entry that lies elsewhere. */
static void away_add(const struct lb_former_table *t, __u64 hash, int more)
{
	const int shift = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 24 : 0;
	struct lb_conn_head *home = bucket_at(t, choice_of(t, hash, 0));

	if (t->family == LB_V4)
		__atomic_fetch_add(&home->tags, (__u32)more << shift, __ATOMIC_SEQ_CST);
	else
		__atomic_fetch_add(&((struct lb_conn6_bucket *)home)->away, more, __ATOMIC_SEQ_CST);
}

/* The entry that is overwritten does not lie away from its home any more. */
static void away_leave(const struct lb_former_table *t, __u32 bucket, const struct place *p)
{
	__u64 hash = hash_of(t, p->client, p->key->cport, !!(p->key->ref & LB_REF_UDP));

	if (choice_of(t, hash, 0) != bucket)
		away_add(t, hash, -1);
}

static void place_fill(const struct lb_former_table *t, const struct place *p, const struct flow *f,
		       __u8 tag)
{
	const size_t size = t->family == LB_V4 ? 4 : 16;

	*p->tag = tag;
	*p->key = (union lb_conn_key){
		.ref = (f->udp ? LB_REF_UDP : 0) | f->backend |
		       LB_REF_REUSE(t->next->backends[f->backend].reuse),
		.cport = f->cport,
		.sport = f->sport,
	};
	memcpy(p->client, f->client, size);
	memcpy(p->service, f->service, size);
	*p->seen = f->seen;
	*p->fine = f->fine;
}

/* As lb_conn_claim() of bpf/place.h. Returns the new meta; 0: somebody else has taken it. */
static __u32 place_claim(const struct lb_former_table *t, __u32 bucket, int slot,
			 const struct flow *f, __u64 hash)
{
	const struct place p = place_at(t, bucket, slot);
	__u32 meta = __atomic_load_n(p.meta, __ATOMIC_ACQUIRE), version, to;

	if (LB_META_STATE(meta) == LB_CONN_BUSY || lb_meta_is_live(t->next, meta, lb_clock_now()))
		return 0;
	version = (LB_META_VERSION(meta) + 1) & ((1u << (32 - LB_META_VERSION_SHIFT)) - 1);
	to = LB_META(version, LB_LIFE(f->set, f->state), lb_clock_now() - f->age);
	if (!__atomic_compare_exchange_n(p.meta, &meta,
					 LB_META(version, LB_CONN_BUSY, lb_clock_now()), false,
					 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return 0;
	if (LB_META_STATE(meta) != LB_CONN_FREE)
		away_leave(t, bucket, &p);
	place_fill(t, &p, f, lb_conn_tag(hash));
	__atomic_store_n(p.meta, to, __ATOMIC_SEQ_CST);
	return to;
}

static bool place_has(const struct lb_former_table *t, __u32 bucket, int slot, const struct flow *f)
{
	const size_t size = t->family == LB_V4 ? 4 : 16;
	const struct place p = place_at(t, bucket, slot);
	__u32 meta = __atomic_load_n(p.meta, __ATOMIC_ACQUIRE);

	return lb_meta_is_live(t->next, meta, lb_clock_now()) && p.key->cport == f->cport &&
	       p.key->sport == f->sport && !!(p.key->ref & LB_REF_UDP) == f->udp &&
	       !memcmp(p.client, f->client, size) && !memcmp(p.service, f->service, size);
}

static bool is_there(const struct lb_former_table *t, const struct flow *f, __u64 hash)
{
	for (int which = 0; which < LB_CONN_CHOICES; which++)
		for (int slot = 0; slot < slots_of(t); slot++)
			if (place_has(t, choice_of(t, hash, which), slot, f))
				return true;
	return false;
}

static bool place_take(const struct lb_former_table *t, __u32 bucket, int slot,
		       const struct flow *f, __u64 hash, struct handed *h)
{
	bool away = bucket != choice_of(t, hash, 0);

	/* Whoever looks for it must not miss it: first the count, then the entry. */
	if (away)
		away_add(t, hash, 1);
	h->meta = place_claim(t, bucket, slot, f, hash);
	h->pos = bucket << 2 | slot;
	if (!h->meta && away)
		away_add(t, hash, -1);
	return h->meta;
}

/* Puts it where it was before, if that is a place for it here, or into the first slot that is not
 * in use: so from a table of the same size all find room, however full it is. False: there is none.
 */
static bool flow_put(const struct lb_former_table *t, const struct flow *f, __u64 hash,
		     __u32 was_bucket, int was_slot, struct handed *h)
{
	int choices = away_of(t, hash) < LB_CONN_AWAY_MAX ? LB_CONN_CHOICES : 1;

	for (int which = 0; which < choices; which++)
		if (choice_of(t, hash, which) == was_bucket && was_slot < slots_of(t) &&
		    place_take(t, was_bucket, was_slot, f, hash, h))
			return true;
	for (int which = 0; which < choices; which++)
		for (int slot = 0; slot < slots_of(t); slot++)
			if (place_take(t, choice_of(t, hash, which), slot, f, hash, h))
				return true;
	return false;
}

/* ---------------------------------------------------------------- a pass */

/* A packet has changed it there since it was put here, where none has come yet. */
static void flow_follow(const struct lb_former_table *t, const struct flow *f, struct handed *h)
{
	const struct place p = place_at(t, h->pos >> 2, h->pos & 3);
	__u32 meta = h->meta;
	__u32 to =
		LB_META(LB_META_VERSION(meta), LB_LIFE(f->set, f->state), lb_clock_now() - f->age);

	if (meta && __atomic_compare_exchange_n(p.meta, &meta, to, false, __ATOMIC_SEQ_CST,
						__ATOMIC_SEQ_CST)) {
		h->meta = to;
		*p.seen = f->seen;
		*p.fine = f->fine;
	}
	h->was = f->was;
}

static void flow_hand_over(struct lb_former_table *t, const struct flow *f, __u32 bucket, int slot,
			   struct handed *h)
{
	__u64 hash = hash_of(t, f->client, f->cport, f->udp);

	*h = (struct handed){.was = f->was};
	if (is_there(t, f, hash)) /* by a packet, or before a migration was interrupted */
		return;
	if (flow_put(t, f, hash, bucket, slot, h))
		t->all->taken++;
	else
		t->all->no_room++;
}

static void slot_copy(struct lb_former_table *t, __u32 bucket, __u32 slot)
{
	const struct lb_bits version = t->words->version;
	struct handed *h = &t->handed[(size_t)bucket * t->slots + slot];
	struct flow f;

	if (!flow_read(t, bucket, slot, &f) || f.was == h->was)
		return;
	if (h->was && bits_get(h->was, version) == bits_get(f.was, version))
		flow_follow(t, &f, h);
	else
		flow_hand_over(t, &f, bucket, slot, h);
}

void lb_former_conns_copy(struct lb_former_conns *c)
{
	for (int family = 0; family < LB_FAMILIES; family++) {
		struct lb_former_table *t = c->tables[family];

		for (__u32 bucket = 0; bucket < t->n; bucket++)
			for (__u32 slot = 0; slot < t->slots; slot++)
				slot_copy(t, bucket, slot);
	}
}

/* ---------------------------------------------------------------- both tables */

static int table_open(struct lb_former_table *t, const struct lb_dp *former, struct lb_err *err)
{
	enum lb_map conn = t->family == LB_V4 ? LB_MAP_CONN4 : LB_MAP_CONN6;
	enum lb_map seqs = t->family == LB_V4 ? LB_MAP_SEQS4 : LB_MAP_SEQS6;
	int ret = fields_find(t, former->map_fd[conn], former->map_fd[seqs]);
	__u32 n = 0;

	if (!ret)
		ret = map_view(former->map_fd[conn], &t->mem, &t->size, &t->n, &t->stride);
	if (!ret)
		ret = map_view(former->map_fd[seqs], &t->seqs, &t->seqs_size, &n, &t->seqs_stride);
	if (!ret && n != t->n)
		ret = -EPROTO;
	if (!ret)
		t->handed = calloc((size_t)t->n * t->slots + 1, sizeof(*t->handed));
	if (!ret && !t->handed)
		ret = -ENOMEM;
	if (ret)
		return lb_err_sys(err, -ret, "instance \"%s\": reading the connections it has",
				  former->instance);
	ret = lb_map_mmap(t->next, conn, err);
	return ret ? ret : lb_map_mmap(t->next, seqs, err);
}

int lb_former_conns_open(struct lb_former_conns *c, const struct lb_dp *former, struct lb_dp *next,
			 struct lb_err *err)
{
	int ret = 0;

	*c = (struct lb_former_conns){};
	for (int family = 0; family < LB_FAMILIES && !ret; family++) {
		struct lb_former_table *t = calloc(1, sizeof(*t));

		c->tables[family] = t;
		if (!t)
			return lb_err_sys(err, ENOMEM, "reading the connections");
		*t = (struct lb_former_table){.all = c,
					      .family = family,
					      .next = next,
					      .words = lb_conn_words_of(former->abi)};
		ret = table_open(t, former, err);
	}
	return ret;
}

void lb_former_conns_close(struct lb_former_conns *c)
{
	for (int family = 0; family < LB_FAMILIES; family++) {
		struct lb_former_table *t = c->tables[family];

		if (!t)
			continue;
		if (t->mem)
			munmap(t->mem, t->size);
		if (t->seqs)
			munmap(t->seqs, t->seqs_size);
		free(t->handed);
		free(t);
	}
	*c = (struct lb_former_conns){};
}
