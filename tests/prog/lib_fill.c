/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lib_fill.c - services into the maps, by hand, and connections out of them.
 */
#include "core/model.h"
#include "lib_run.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#define MAGLEV_SIZE 251

static void must(int rc, const char *what)
{
	if (rc) {
		fprintf(stderr, "test's own mistake: %s: %s\n", what, strerror(-rc));
		abort();
	}
}

static void update(struct bpf_map *map, const void *key, const void *value)
{
	must(bpf_map_update_elem(bpf_map__fd(map), key, value, BPF_ANY), bpf_map__name(map));
}

static struct lb_addr abi_addr(const struct pkt_addr *a)
{
	struct lb_addr out = {{0}};

	if (a->family == 4) {
		out.b[10] = out.b[11] = 0xff;
		memcpy(out.b + 12, a->b, 4);
	} else {
		memcpy(out.b, a->b, 16);
	}
	return out;
}

static bool is_even(const struct run_service *s)
{
	return s->scheduler == LB_SCHED_RR || s->scheduler == LB_SCHED_LC;
}

/* Smooth weighted round robin for every scheduler: rr has equal weights, maglev more turns. */
static uint32_t fill_slots(const struct run_service *s, const uint32_t *weight, size_t n,
			   uint16_t *slots, size_t max)
{
	long current[RUN_BACKENDS] = {0}, total = 0;
	uint32_t size = 0, w, i, turn;

	for (i = 0; i < n; i++)
		total += is_even(s) ? !!weight[i] : weight[i];
	if (total)
		size = s->scheduler == LB_SCHED_MAGLEV ? MAGLEV_SIZE : (uint32_t)total;
	must(size > max ? -7 : 0, "ring too long");
	for (turn = 0; turn < size; turn++) {
		uint32_t best = n;

		for (i = 0; i < n; i++) {
			w = is_even(s) ? !!weight[i] : weight[i];
			current[i] += w;
			if (w && (best == n || current[i] > current[best]))
				best = i;
		}
		current[best] -= total;
		slots[turn] = best;
	}
	return size;
}

static void write_ring(struct run *r, struct lb_pool *pool, const struct run_service *s,
		       const uint32_t *weight)
{
	struct lb_ring_line lines[64];
	uint32_t i, n, key;

	memset(lines, 0xff, sizeof(lines)); /* who reads beyond the ring's end finds no member */
	pool->ring = r->next_line * LB_RING_LINE;
	pool->ring_size =
		fill_slots(s, weight, pool->n_members, &lines[0].member[0], 64 * LB_RING_LINE);
	n = (pool->ring_size + LB_RING_LINE - 1) / LB_RING_LINE;
	for (i = 0; i < n; i++) {
		key = r->next_line + i;
		update(r->skel->maps.lb_rings, &key, &lines[i]);
	}
	r->next_line += n;
}

static uint32_t put_backend(struct run *r, uint32_t service, const struct run_backend *b)
{
	struct pkt_end at = pkt_end(b->addr, b->port);
	uint32_t id = run_backend_id(r, service, &at);

	if (id)
		return id;
	id = r->next_backend++;
	r->backends[id] = (struct lb_backend){
		.addr = abi_addr(&at.addr),
		.port = htons(b->port),
		.family = at.addr.family == 4 ? LB_V4 : LB_V6,
		.state = LB_BACKEND_LIVE,
		.service = service,
	};
	r->busy[id] = b->busy;
	r->loads[id] = (struct lb_load){.connections = b->busy,
					.max = {b->max_connections, b->max_connections}};
	for (int proto = 0; proto < LB_PROTOS; proto++)
		r->ports->flags[proto][b->port] |= LB_PORT_BACKEND;
	return id;
}

static void write_pool(struct run *r, uint32_t id, int family, struct lb_pool *pool,
		       const struct run_service *s, uint32_t generation)
{
	uint32_t weight[RUN_BACKENDS] = {0}, key;

	pool->members = r->next_member;
	for (const struct run_backend *b = s->backends; b->addr; b++) {
		struct lb_member m = {.weight = b->weight, .override = LB_NO_OVERRIDE};

		if (pkt_addr(b->addr).family != (family == LB_V4 ? 4 : 6))
			continue;
		m.backend = put_backend(r, id, b);
		must(pool->n_members == RUN_BACKENDS ? -ENOSPC : 0, "too many backends");
		weight[pool->n_members++] = b->weight;
		if (lb_slot(r->backends[m.backend].drained, r->config->generation) != !b->weight)
			r->backends[m.backend].drained = generation << 1 | !b->weight;
		key = r->next_member++;
		update(r->skel->maps.lb_members, &key, &m);
	}
	write_ring(r, pool, s, weight);
}

static void write_version(struct run *r, uint32_t id, struct lb_service_version *v,
			  const struct run_service *s, uint32_t generation)
{
	memset(v, 0, sizeof(*v));
	v->present = 1;
	v->scheduler = s->scheduler;
	v->maglev_size = MAGLEV_SIZE;
	v->unknown = s->unknown ? s->unknown - 1 : lb_unknown_default(s->scheduler);
	v->on_remove = s->on_remove;
	memcpy(v->affinity, s->affinity, sizeof(v->affinity));
	v->across_ports = s->across_ports;
	write_pool(r, id, LB_V4, &v->pool[LB_V4], s, generation);
	write_pool(r, id, LB_V6, &v->pool[LB_V6], s, generation);
}

static void put_listen(struct run *r, const char *addr, const struct run_listen *l,
		       const struct lb_listen_value *v)
{
	struct pkt_addr a = pkt_addr(addr), zero = {.family = a.family};
	struct lb_listen_key key = {
		.addr = abi_addr(&a), .port = htons(l->port), .proto = l->proto};
	bool any = pkt_addr_equal(&a, &zero);
	uint32_t bit = lb_listen_bit(&key.addr, key.port, key.proto);

	if (!any)
		r->ports->listens[bit / 8] |= 1 << bit % 8;
	update(r->skel->maps.lb_listens, &key, v);
	r->ports->flags[l->proto][l->port] |= any ? LB_PORT_ANY : LB_PORT_EXACT;
}

static void put_listens(struct run *r, const struct run_listen *l, struct lb_listen_value v)
{
	if (!strcmp(l->addr, "*")) {
		v.flags = LB_LISTEN_BOTH;
		put_listen(r, "0.0.0.0", l, &v);
		put_listen(r, "::", l, &v);
	} else {
		put_listen(r, l->addr, l, &v);
	}
}

uint32_t run_add_service(struct run *r, const struct run_service *s)
{
	uint32_t id = r->services++, generation = r->config->generation;
	struct lb_service service = {.select = generation << 1};
	struct lb_listen_value v = {.select = generation << 1, .service = {id, 0}};

	snprintf(service.name, sizeof(service.name), "%s", s->name);
	write_version(r, id, &service.version[0], s, generation);
	update(r->skel->maps.lb_services, &id, &service);
	for (const struct run_listen *l = s->listens; l->addr; l++)
		put_listens(r, l, v);
	return id;
}

void run_next_version(struct run *r, uint32_t id, const struct run_service *s, uint32_t generation)
{
	struct lb_service service;
	uint32_t slot;

	must(bpf_map_lookup_elem(bpf_map__fd(r->skel->maps.lb_services), &id, &service),
	     "lb_services");
	slot = !lb_slot(service.select, r->config->generation);
	write_version(r, id, &service.version[slot], s, generation);
	service.select = generation << 1 | slot;
	update(r->skel->maps.lb_services, &id, &service);
}

void run_put_listen(struct run *r, const struct run_listen *l, uint32_t service,
		    uint32_t generation)
{
	struct pkt_addr a = pkt_addr(l->addr);
	struct lb_listen_key key = {
		.addr = abi_addr(&a), .port = htons(l->port), .proto = l->proto};
	struct lb_listen_value v;
	uint32_t slot;

	must(bpf_map_lookup_elem(bpf_map__fd(r->skel->maps.lb_listens), &key, &v), "lb_listens");
	slot = !lb_slot(v.select, r->config->generation);
	v.service[slot] = service;
	v.select = generation << 1 | slot;
	update(r->skel->maps.lb_listens, &key, &v);
}

void run_remove_listen(struct run *r, const struct run_listen *l, uint32_t generation)
{
	run_put_listen(r, l, 0, generation);
}

uint32_t run_backend_id(struct run *r, uint32_t service, const struct pkt_end *at)
{
	struct lb_addr a = abi_addr(&at->addr);

	for (uint32_t id = 1; id < r->next_backend; id++) {
		const struct lb_backend *b = &r->backends[id];

		if (b->service == service && b->port == htons(at->port) &&
		    !memcmp(&b->addr, &a, sizeof(a)))
			return id;
	}
	return 0;
}

struct entry {
	uint32_t meta;
	union lb_conn_key key;
	const void *client, *service;
};

static void note_entry(const struct entry *e, size_t n, uint8_t proto, const struct pkt_end *client,
		       const struct pkt_end *service, struct run_entries *out)
{
	if (LB_META_STATE(e->meta) <= LB_CONN_BUSY || e->key.cport != htons(client->port) ||
	    e->key.sport != htons(service->port) ||
	    !!(e->key.ref & LB_REF_UDP) != (proto == PKT_UDP) ||
	    memcmp(e->client, client->addr.b, n) != 0 ||
	    memcmp(e->service, service->addr.b, n) != 0)
		return;
	out->n++;
	out->state = LB_META_STATE(e->meta);
	out->backend = LB_REF_BACKEND(e->key.ref);
}

void run_entries(struct run *r, uint8_t proto, const struct pkt_end *client,
		 const struct pkt_end *service, struct run_entries *out)
{
	uint32_t i, s;

	memset(out, 0, sizeof(*out));
	if (client->addr.family == 4) {
		for (i = 0; i < r->buckets4 * LB_CONN4_SLOTS; i++) {
			struct lb_conn4_bucket *b = &r->conn4[i / LB_CONN4_SLOTS];

			s = i % LB_CONN4_SLOTS;
			note_entry(&(struct entry){b->meta[s], b->key[s], &b->addr[s].client,
						   &b->addr[s].service},
				   4, proto, client, service, out);
		}
		return;
	}
	for (i = 0; i < r->buckets6 * LB_CONN6_SLOTS; i++) {
		struct lb_conn6_bucket *b = &r->conn6[i / LB_CONN6_SLOTS];

		s = i % LB_CONN6_SLOTS;
		note_entry(&(struct entry){b->meta[s], b->key[s], b->addr[s].client,
					   b->addr[s].service},
			   16, proto, client, service, out);
	}
}

void run_forget_connections(struct run *r)
{
	memset(r->conn4, 0, r->buckets4 * sizeof(*r->conn4));
	memset(r->conn6, 0, r->buckets6 * sizeof(*r->conn6));
	for (uint32_t id = 1; id < r->next_backend; id++)
		r->loads[id].connections = r->busy[id];
}

static bool counts_for(uint32_t meta, const union lb_conn_key *key, uint32_t backend)
{
	return lb_conn_counts(LB_META_STATE(meta)) && LB_REF_BACKEND(key->ref) == backend;
}

uint32_t run_count_backend(struct run *r, uint32_t backend)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->buckets4; i++)
		for (int s = 0; s < LB_CONN4_SLOTS; s++)
			n += counts_for(r->conn4[i].meta[s], &r->conn4[i].key[s], backend);
	for (uint32_t i = 0; i < r->buckets6; i++)
		for (int s = 0; s < LB_CONN6_SLOTS; s++)
			n += counts_for(r->conn6[i].meta[s], &r->conn6[i].key[s], backend);
	return n;
}
