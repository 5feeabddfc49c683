// SPDX-License-Identifier: GPL-2.0-or-later
/* bench_env.c - loads the programs, fills their maps by hand, and reads back what they counted. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "core/ring.h"
#include "datapath/ebpf_internal.h"
#include "bench_env.h"
#include "bench.skel.h"
#include "lb.skel.h"

#define BACKENDS_MAX (BENCH_SERVICES_MAX * 20)
#define RING_LINES   1000000
#define MAGLEV_SIZE  65537
#define MAGLEV_MIXED 1021 /* 2,000 services with 65,537 slots would be 262 MB */
#define FIRST_PORT   1000
#define BACKEND_PORT 80

void bench_die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("bench: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputs("\n", stderr);
	va_end(ap);
	exit(1);
}

static void *map_memory(struct bpf_map *map)
{
	size_t value = (bpf_map__value_size(map) + 7) & ~7u, page = sysconf(_SC_PAGESIZE);
	size_t size = (value * bpf_map__max_entries(map) + page - 1) & ~(page - 1);
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	if (at == MAP_FAILED)
		bench_die("mapping \"%s\": %s", bpf_map__name(map), strerror(errno));
	return at;
}

static void map_unmap(struct bpf_map *map, void *at)
{
	size_t value = (bpf_map__value_size(map) + 7) & ~7u, page = sysconf(_SC_PAGESIZE);

	munmap(at, (value * bpf_map__max_entries(map) + page - 1) & ~(page - 1));
}

static void lb_load(struct bench_env *e)
{
	struct lb_bpf *lb = lb_bpf__open();
	uint64_t secret[LB_SECRET_WORDS];
	uint32_t seconds[LB_TIMEOUTS];

	if (!lb)
		bench_die("opening the programs: %s", strerror(errno));
	bpf_map__set_max_entries(lb->maps.lb_listens, 2 * BENCH_SERVICES_MAX);
	bpf_map__set_max_entries(lb->maps.lb_services, BENCH_SERVICES_MAX + 1);
	bpf_map__set_max_entries(lb->maps.lb_members, BACKENDS_MAX);
	bpf_map__set_max_entries(lb->maps.lb_rings, RING_LINES);
	bpf_map__set_max_entries(lb->maps.lb_backends, BACKENDS_MAX + 1);
	bpf_map__set_max_entries(lb->maps.lb_loads, BACKENDS_MAX + 1);
	bpf_map__set_max_entries(lb->maps.lb_backend_stats, BACKENDS_MAX + 1);
	bpf_map__set_max_entries(lb->maps.lb_conn4, LB_CONN4_BUCKETS(e->limit));
	bpf_map__set_max_entries(lb->maps.lb_conn6, LB_CONN6_BUCKETS(e->limit));
	bpf_map__set_max_entries(lb->maps.lb_seqs4, LB_CONN4_BUCKETS(e->limit));
	bpf_map__set_max_entries(lb->maps.lb_seqs6, LB_CONN6_BUCKETS(e->limit));
	if (getrandom(secret, sizeof(secret), 0) != sizeof(secret))
		bench_die("asking for random bytes: %s", strerror(errno));
	memcpy((void *)lb->rodata->lb_secret, secret, sizeof(secret));
	lb->rodata->lb_conn4_buckets = LB_CONN4_BUCKETS(e->limit);
	lb->rodata->lb_conn6_buckets = LB_CONN6_BUCKETS(e->limit);
	lb->rodata->lb_conn4_homes = LB_CONN_HOMES(LB_CONN4_BUCKETS(e->limit));
	lb->rodata->lb_conn6_homes = LB_CONN_HOMES(LB_CONN6_BUCKETS(e->limit));
	lb->rodata->lb_tick_shift = lb_clock_shift();
	lb->rodata->lb_jiffy_ns = lb_clock_jiffy_ns();
	lb_timeouts_default(seconds);
	lb_timeouts_fill(&lb->data_timeouts->lb_timeouts, seconds);
	if (lb_bpf__load(lb))
		bench_die("loading the programs: %s", strerror(errno));
	e->lb = lb;
	e->config = map_memory(lb->maps.lb_config);
	e->ports = map_memory(lb->maps.data_lb_ports);
	e->services = map_memory(lb->maps.lb_services);
	e->members = map_memory(lb->maps.lb_members);
	e->rings = map_memory(lb->maps.lb_rings);
	e->backends = map_memory(lb->maps.lb_backends);
	e->conn4 = map_memory(lb->maps.lb_conn4);
	e->conn6 = map_memory(lb->maps.lb_conn6);
}

static void slot_set(struct bpf_map *map, __u32 slot, struct bpf_program *prog)
{
	int fd = bpf_program__fd(prog);

	if (bpf_map_update_elem(bpf_map__fd(map), &slot, &fd, 0))
		bench_die("putting \"%s\" into \"%s\": %s", bpf_program__name(prog),
			  bpf_map__name(map), strerror(errno));
}

static void wrap_load(struct bench_env *e)
{
	struct bench_bpf *w = bench_bpf__open();

	if (!w)
		bench_die("opening the wrappers: %s", strerror(errno));
	bpf_map__set_max_entries(w->maps.bench_flows4, BENCH_FLOWS_MAX);
	bpf_map__set_max_entries(w->maps.bench_flows6, BENCH_FLOWS_MAX);
	if (bpf_map__reuse_fd(w->maps.lb_conn4, bpf_map__fd(e->lb->maps.lb_conn4)))
		bench_die("reusing \"lb_conn4\": %s", strerror(errno));
	if (bench_bpf__load(w))
		bench_die("loading the wrappers: %s", strerror(errno));
	slot_set(w->maps.bench_xdp_progs, BENCH_FLOOR, w->progs.bench_xdp_floor);
	slot_set(w->maps.bench_xdp_progs, BENCH_PROGRAM, e->lb->progs.meshlb_xdp);
	slot_set(w->maps.bench_xdp_progs, BENCH_LINE, w->progs.bench_xdp_line);
	w->bss->bench_buckets = LB_CONN4_BUCKETS(e->limit);
	slot_set(w->maps.bench_tc_progs, BENCH_FLOOR, w->progs.bench_tc_floor);
	slot_set(w->maps.bench_tc_progs, BENCH_PROGRAM, e->lb->progs.meshlb_tc);
	e->wrap = w;
	e->flows4 = map_memory(w->maps.bench_flows4);
	e->flows6 = map_memory(w->maps.bench_flows6);
}

static void iface_set(struct bench_env *e, uint32_t ifindex)
{
	struct lb_iface iface = {.flags = LB_IFACE_XMIT | LB_IFACE_TX | LB_IFACE_ATTACHED};

	if (bpf_map_update_elem(bpf_map__fd(e->lb->maps.lb_ifaces), &ifindex, &iface, 0))
		bench_die("filling \"lb_ifaces\": %s", strerror(errno));
}

void bench_env_open(struct bench_env *e, const struct bench_net *net, uint32_t limit)
{
	*e = (struct bench_env){.net = net, .limit = limit};
	lb_load(e);
	wrap_load(e);
	iface_set(e, net->c0);
	iface_set(e, net->b0);
}

void bench_env_close(struct bench_env *e)
{
	map_unmap(e->lb->maps.lb_config, e->config);
	map_unmap(e->lb->maps.data_lb_ports, e->ports);
	map_unmap(e->lb->maps.lb_services, e->services);
	map_unmap(e->lb->maps.lb_members, e->members);
	map_unmap(e->lb->maps.lb_rings, e->rings);
	map_unmap(e->lb->maps.lb_backends, e->backends);
	map_unmap(e->lb->maps.lb_conn4, e->conn4);
	map_unmap(e->lb->maps.lb_conn6, e->conn6);
	map_unmap(e->wrap->maps.bench_flows4, e->flows4);
	map_unmap(e->wrap->maps.bench_flows6, e->flows6);
	bench_bpf__destroy(e->wrap);
	lb_bpf__destroy(e->lb);
}

/* ---------------------------------------------------------------------------- addresses */

/* Word 0 of an address is 0x20010db8 and so on; `low` its last word, in host order. */
static struct lb_addr addr_make(enum lb_family family, uint32_t v4, uint32_t high, uint32_t mid,
				uint32_t low)
{
	const uint32_t word[4] = {
		htonl(family == LB_V4 ? 0 : high),
		htonl(family == LB_V4 ? 0 : mid),
		htonl(family == LB_V4 ? 0xffff : 0),
		htonl(family == LB_V4 ? v4 + low : low),
	};
	struct lb_addr a;

	memcpy(a.b, word, sizeof(a.b));
	return a;
}

#define V4(a, b, c, d) ((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))

static struct lb_addr service_addr(enum lb_family family, uint32_t id, bool any)
{
	if (any)
		return addr_make(family, V4(192, 0, 2, 0), 0x20010db8, 0, 1);
	return addr_make(family, V4(198, 18, 0, 0), 0x20010db8, 0x00050000, id);
}

static struct lb_addr backend_addr(enum lb_family family, uint32_t id, bool redirect)
{
	return addr_make(family, V4(172, redirect ? 24 : 16, 0, 0),
			 redirect ? 0xfd000002 : 0xfd000001, 0, id);
}

static void addr_words(__u32 *to, const struct lb_addr *a, enum lb_family family)
{
	memset(to, 0, 16);
	if (family == LB_V4)
		memcpy(to, a->b + 12, 4);
	else
		memcpy(to, a->b, 16);
}

/* ---------------------------------------------------------------------------- services */

static void listen_set(struct bench_env *e, enum lb_family family, uint32_t id,
		       const struct bench_services *want)
{
	struct lb_listen_value value = {.service = {id, id}};
	struct lb_listen_key key = {.port = htons(FIRST_PORT + id), .proto = want->proto};
	uint32_t bit;

	if (want->any)
		key.addr = addr_make(family, 0, 0, 0, 0);
	else
		key.addr = service_addr(family, id, false);
	bit = lb_listen_bit(&key.addr, key.port, key.proto);
	if (!want->any)
		e->ports->listens[bit / 8] |= 1 << bit % 8;
	e->ports->flags[want->proto][FIRST_PORT + id] = want->any ? LB_PORT_ANY : LB_PORT_EXACT;
	if (bpf_map_update_elem(bpf_map__fd(e->lb->maps.lb_listens), &key, &value, 0))
		bench_die("filling \"lb_listens\": %s", strerror(errno));
}

static void listens_clear(struct bench_env *e)
{
	int fd = bpf_map__fd(e->lb->maps.lb_listens);
	struct lb_listen_key key;

	while (!bpf_map_get_next_key(fd, NULL, &key))
		if (bpf_map_delete_elem(fd, &key))
			bench_die("emptying \"lb_listens\": %s", strerror(errno));
}

/* One pool of n backends, appended to what the maps hold; *line is the next free one of lb_rings.
 */
static struct lb_pool pool_set(struct bench_env *e, enum lb_family family, uint32_t service,
			       uint32_t n, const struct bench_services *want, uint32_t *line)
{
	int scheduler =
		want->scheduler == BENCH_MIXED ? (int)(service % LB_SCHEDULERS) : want->scheduler;
	struct lb_pool pool = {
		.ring = *line * LB_RING_LINE, .members = e->n_backends, .n_members = n};
	struct lb_ring_member member[32];
	uint16_t *slots = (uint16_t *)&e->rings[*line];
	uint32_t id;
	int size;

	for (uint32_t i = 0; i < n; i++) {
		id = ++e->n_backends;
		member[i] = (struct lb_ring_member){
			.at = {backend_addr(family, id, want->redirect), BACKEND_PORT, family},
			.weight = 1 + i % 3,
		};
		e->backends[id] = (struct lb_backend){
			.addr = member[i].at.addr,
			.port = htons(BACKEND_PORT),
			.family = family,
			.state = LB_BACKEND_LIVE,
			.service = service,
		};
		e->members[pool.members + i] = (struct lb_member){
			.backend = id, .weight = 1 + i % 3, .override = LB_NO_OVERRIDE};
	}
	size = lb_ring_size(scheduler, member, n, want->n > 1 ? MAGLEV_MIXED : MAGLEV_SIZE);
	if (size <= 0 || lb_ring_fill(scheduler, member, n, slots, size))
		bench_die("building the ring of service %u", service);
	pool.ring_size = size;
	*line += (size + LB_RING_LINE - 1) / LB_RING_LINE;
	if (*line > RING_LINES)
		bench_die("more than %u lines of rings", RING_LINES);
	return pool;
}

void bench_services_set(struct bench_env *e, const struct bench_services *want)
{
	uint32_t line = 0;

	bench_table_clear(e);
	listens_clear(e);
	memset(e->ports, 0, sizeof(*e->ports));
	memset(e->services, 0, (BENCH_SERVICES_MAX + 1) * sizeof(*e->services));
	memset(e->backends, 0, (BACKENDS_MAX + 1) * sizeof(*e->backends));
	e->ports->flags[want->proto][BACKEND_PORT] = LB_PORT_BACKEND;
	e->config->generation = 1;
	e->n_services = want->n;
	e->n_backends = 0;
	for (uint32_t id = 1; id <= want->n; id++) {
		struct lb_service_version *v = &e->services[id].version[0];

		v->present = 1;
		v->scheduler = want->scheduler == BENCH_MIXED ? (int)(id % LB_SCHEDULERS)
							      : want->scheduler;
		v->affinity[LB_V4] = v->affinity[LB_V6] = want->affinity;
		for (int family = LB_V4; family <= LB_V6; family++) {
			uint32_t n = want->backends ? want->backends : 1 + id % 19;

			v->pool[family] = pool_set(e, family, id, n, want, &line);
			listen_set(e, family, id, want);
		}
	}
}

/* ---------------------------------------------------------------------------- flows */

static struct bench_tuple flow_to(const struct bench_env *e, enum lb_family family, uint32_t k)
{
	uint32_t id = 1 + k % e->n_services;
	struct bench_tuple t = {.dport = htons(FIRST_PORT + id)};
	bool any = e->ports->flags[LB_TCP][FIRST_PORT + id] & LB_PORT_ANY;
	struct lb_addr to = service_addr(family, id, any);

	addr_words(t.daddr, &to, family);
	return t;
}

struct bench_tuple bench_client_flow(const struct bench_env *e, enum lb_family family, uint32_t k)
{
	struct bench_tuple t = flow_to(e, family, k);
	uint32_t x = k * 0x9e3779b1; /* odd: no two alike */
	struct lb_addr from = addr_make(family, V4(10, 0, 0, 0), 0x20010db8, 0x000c0000, x >> 10);

	addr_words(t.saddr, &from, family);
	t.sport = htons(0x8000 | (x & 1023));
	return t;
}

struct bench_tuple bench_fresh_flow(const struct bench_env *e, enum lb_family family, uint32_t k)
{
	struct bench_tuple t = flow_to(e, family, k);
	struct lb_addr from = addr_make(family, V4(10, 64, 0, 0), 0x20010db8, 0x000c0001, 0);

	addr_words(t.saddr, &from, family);
	t.sport = htons(0x8000);
	return t;
}

/* ---------------------------------------------------------------------------- the table */

void bench_table_clear(struct bench_env *e)
{
	memset(e->conn4, 0, LB_CONN4_BUCKETS(e->limit) * sizeof(*e->conn4));
	memset(e->conn6, 0, LB_CONN6_BUCKETS(e->limit) * sizeof(*e->conn6));
}

static void shuffle(struct bench_tuple *t, uint32_t n, uint64_t seed)
{
	for (uint32_t i = n; i > 1; i--) {
		struct bench_tuple swap = t[i - 1];
		uint32_t with;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull; /* Knuth's MMIX */
		with = (seed >> 33) % i;
		t[i - 1] = t[with];
		t[with] = swap;
	}
}

/* Entry i of a family: its meta, key, client and service. False: there are no more. */
static bool entry_at(const struct bench_env *e, enum lb_family family, uint64_t i, uint32_t *meta,
		     union lb_conn_key *key, struct bench_tuple *t)
{
	memset(t, 0, sizeof(*t));
	if (family == LB_V4) {
		const struct lb_conn4_bucket *b = &e->conn4[i / LB_CONN4_SLOTS];

		if (i / LB_CONN4_SLOTS >= LB_CONN4_BUCKETS(e->limit))
			return false;
		*meta = b->meta[i % LB_CONN4_SLOTS];
		*key = b->key[i % LB_CONN4_SLOTS];
		t->saddr[0] = b->addr[i % LB_CONN4_SLOTS].client;
		t->daddr[0] = b->addr[i % LB_CONN4_SLOTS].service;
	} else {
		const struct lb_conn6_bucket *b = &e->conn6[i / LB_CONN6_SLOTS];

		if (i / LB_CONN6_SLOTS >= LB_CONN6_BUCKETS(e->limit))
			return false;
		*meta = b->meta[i % LB_CONN6_SLOTS];
		*key = b->key[i % LB_CONN6_SLOTS];
		memcpy(t->saddr, b->addr[i % LB_CONN6_SLOTS].client, 16);
		memcpy(t->daddr, b->addr[i % LB_CONN6_SLOTS].service, 16);
	}
	t->sport = key->cport;
	t->dport = key->sport;
	return true;
}

uint32_t bench_table_list(const struct bench_env *e, enum lb_family family,
			  struct bench_tuple *forward, struct bench_tuple *reverse,
			  bool established)
{
	union lb_conn_key key;
	uint32_t meta;
	struct bench_tuple t;
	uint32_t n = 0;

	for (uint64_t i = 0; entry_at(e, family, i, &meta, &key, &t) && n < BENCH_FLOWS_MAX; i++) {
		const struct lb_backend *b = &e->backends[LB_REF_BACKEND(key.ref)];
		uint32_t state = LB_META_STATE(meta);

		if (state <= LB_CONN_BUSY || (established && state != LB_CONN_ESTABLISHED))
			continue;
		forward[n] = t;
		reverse[n] = (struct bench_tuple){.sport = b->port, .dport = t.sport};
		addr_words(reverse[n].saddr, &b->addr, family);
		memcpy(reverse[n].daddr, t.saddr, 16);
		n++;
	}
	shuffle(forward, n, 1);
	shuffle(reverse, n, 2);
	return n;
}

/* ---------------------------------------------------------------------------- counters */

void bench_counts_read(const struct bench_env *e, struct bench_counts *c)
{
	int cpus = libbpf_num_possible_cpus(), fd = bpf_map__fd(e->lb->maps.lb_backend_stats);
	struct lb_counters *stats = calloc(cpus, sizeof(*stats));
	struct lb_reasons *reasons = calloc(cpus, sizeof(*reasons));
	__u32 zero = 0;

	*c = (struct bench_counts){};
	if (!stats || !reasons)
		bench_die("out of memory");
	for (__u32 id = 1; id <= e->n_backends; id++) {
		if (bpf_map_lookup_elem(fd, &id, stats))
			bench_die("reading \"lb_backend_stats\": %s", strerror(errno));
		for (int i = 0; i < cpus; i++) {
			c->forward += stats[i].packets[0];
			c->reverse += stats[i].packets[1];
			c->connections += stats[i].connections;
		}
	}
	if (bpf_map_lookup_elem(bpf_map__fd(e->lb->maps.lb_reasons), &zero, reasons))
		bench_die("reading \"lb_reasons\": %s", strerror(errno));
	for (int i = 0; i < cpus; i++) {
		for (int hook = 0; hook < LB_HOOKS; hook++)
			for (int r = 0; r < LB_REASONS; r++)
				c->reasons[hook][r] += reasons[i].count[hook][r];
		for (int kind = 0; kind < LB_EVICT_KINDS; kind++)
			c->evicted += reasons[i].evicted[kind];
	}
	free(stats);
	free(reasons);
}
