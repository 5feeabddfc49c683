// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * nft_rings.c - a service as elements of sets and maps: its listens, the slots of its rings, its
 * counters. Texts are as nft lists them, so that what is wanted and what is there compare by them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nft_internal.h"

/* ---------------------------------------------------------------- classes */

static const char *const index_names[LB_NFT_INDEXES] = {
	[LB_NFT_NONE] = "none", [LB_NFT_INC] = "inc",       [LB_NFT_RANDOM] = "random",
	[LB_NFT_SH] = "sh",     [LB_NFT_MAGLEV] = "maglev",
};

static const uint8_t index_of[LB_SCHEDULERS] = {
	[LB_SCHED_RR] = LB_NFT_INC,        [LB_SCHED_WRR] = LB_NFT_INC,
	[LB_SCHED_RANDOM] = LB_NFT_RANDOM, [LB_SCHED_SH] = LB_NFT_SH,
	[LB_SCHED_MAGLEV] = LB_NFT_MAGLEV,
};

const char *lb_nft_class_name(char buf[LB_NFT_CLASS_LEN], const struct lb_nft_class *c)
{
	int len = snprintf(buf, LB_NFT_CLASS_LEN, "%s%d%s_%s", lb_proto_name(c->proto),
			   c->family == LB_V4 ? 4 : 6, c->any ? "_any" : "", index_names[c->index]);

	if (c->index != LB_NFT_NONE)
		snprintf(buf + len, LB_NFT_CLASS_LEN - len, "%u", c->size);
	return buf;
}

bool lb_nft_class_parse(struct lb_nft_class *c, const char *set)
{
	char proto[4], family, rest[32], again[LB_NFT_CLASS_LEN], *index = rest;

	*c = (struct lb_nft_class){};
	if (sscanf(set, "%3[a-z]%c_%31s", proto, &family, rest) != 3)
		return false;
	c->proto = strcmp(proto, lb_proto_name(LB_UDP)) ? LB_TCP : LB_UDP;
	c->family = family == '6' ? LB_V6 : LB_V4;
	c->any = !strncmp(rest, "any_", 4);
	index += c->any ? 4 : 0;
	for (c->index = 0; c->index < LB_NFT_INDEXES; c->index++)
		if (!strncmp(index, index_names[c->index], strlen(index_names[c->index])))
			break;
	if (c->index == LB_NFT_INDEXES)
		return false;
	c->size = strtoul(index + strlen(index_names[c->index]), NULL, 10);
	return !strcmp(lb_nft_class_name(again, c), set);
}

int lb_nft_class_cmp(const void *a, const void *b)
{
	const struct lb_nft_class *x = a, *y = b;

	if (x->any != y->any)
		return x->any - y->any;
	if (x->proto != y->proto)
		return x->proto - y->proto;
	if (x->family != y->family)
		return x->family - y->family;
	if (x->index != y->index)
		return x->index - y->index;
	return x->size < y->size ? -1 : x->size > y->size;
}

bool lb_nft_classes_equal(const struct lb_nft_classes *a, const struct lb_nft_classes *b)
{
	for (size_t i = 0; i < a->n && a->n == b->n; i++)
		if (lb_nft_class_cmp(&a->list[i], &b->list[i]))
			return false;
	return a->n == b->n;
}

/* ---------------------------------------------------------------- counters */

const char *lb_nft_count_set(char buf[32], enum lb_nft_count what, enum lb_family family, bool any)
{
	static const char *const names[LB_NFT_COUNTS] = {
		[LB_NFT_IN] = "in", [LB_NFT_OUT] = "out", [LB_NFT_CONN] = "conn"};

	snprintf(buf, 32, "%s%d%s", names[what], family == LB_V4 ? 4 : 6, any ? "_any" : "");
	return buf;
}

const char *lb_nft_masq_set(char buf[32], enum lb_family family, bool any)
{
	snprintf(buf, 32, "masq%d%s", family == LB_V4 ? 4 : 6, any ? "_any" : "");
	return buf;
}

/* A listen, as the sets of counters and of masquerading begin. */
static size_t listen_key(char *buf, size_t size, const struct lb_listen *l)
{
	char address[LB_ENDPOINT_STRLEN];
	size_t len = 0;

	if (!l->any)
		len = snprintf(buf, size, "%s . ", lb_addr_str(address, &l->at.addr, l->at.family));
	return len +
	       snprintf(buf + len, size - len, "%s . %u", lb_proto_name(l->proto), l->at.port);
}

const char *lb_nft_count_key(char buf[192], const struct lb_listen *l, const struct lb_endpoint *b)
{
	char backend[LB_ENDPOINT_STRLEN];
	size_t len = listen_key(buf, 192, l);

	snprintf(buf + len, 192 - len, " . %s . %u", lb_addr_str(backend, &b->addr, b->family),
		 b->port);
	return buf;
}

static void counters_add(struct lb_nft_elements *all, const struct lb_service_conf *s,
			 const struct lb_listen *l, enum lb_family family)
{
	char set[32], key[192];

	for (size_t i = 0; i < s->n_backends; i++) {
		if (s->backends[i].at.family != family)
			continue;
		lb_nft_count_key(key, l, &s->backends[i].at);
		for (int what = 0; what < LB_NFT_COUNTS; what++)
			lb_nft_element_add(all, lb_nft_count_set(set, what, family, l->any), key,
					   "");
	}
}

static void masq_add(struct lb_nft_elements *all, const struct lb_listen *l, enum lb_family family)
{
	char set[32], key[96];

	listen_key(key, sizeof(key), l);
	lb_nft_element_add(all, lb_nft_masq_set(set, family, l->any), key, "");
}

/* ---------------------------------------------------------------- rings */

/* Slots are elements here, and cost a hundred times the memory that they take in a BPF map. */
#define RING_MAX     1024
#define MAGLEV_TIMES 20 /* slots for each backend, at least */
static const uint32_t maglev_sizes[] = {251, 1021, 4093, 16381, 65521};

struct ring {
	struct lb_nft_class class; /* of a listen that is not `*`, TCP */
	struct lb_ring_member *members;
	uint16_t *slots;
};

static uint32_t maglev_size(uint32_t configured, size_t members)
{
	size_t i = 0;

	while (i < 4 && maglev_sizes[i] < members * MAGLEV_TIMES)
		i++;
	return configured < maglev_sizes[i] ? configured : maglev_sizes[i];
}

static int weights_limit(struct lb_ring_member *members, size_t n)
{
	uint32_t *quotas = calloc(n, sizeof(*quotas));
	int ret = quotas ? lb_ring_quotas(members, n, RING_MAX, quotas) : -ENOMEM;

	for (size_t i = 0; i < n && !ret; i++)
		members[i].weight = quotas[i];
	free(quotas);
	return ret;
}

/* 1: there is one; 0: the service has no backend of this family. */
static int ring_make(struct ring *r, const struct lb_service_conf *s, enum lb_family family)
{
	uint32_t maglev;
	size_t n;
	int size;

	r->members = lb_ring_members(s, family, &n);
	if (!r->members || !n)
		return r->members ? 0 : -ENOMEM;
	maglev = maglev_size(s->maglev_size, n);
	size = lb_ring_size(s->scheduler, r->members, n, maglev);
	if (size > RING_MAX && s->scheduler != LB_SCHED_MAGLEV && s->scheduler != LB_SCHED_RR) {
		if (n > RING_MAX)
			return -E2BIG;
		if (weights_limit(r->members, n))
			return -ENOMEM;
		size = lb_ring_size(s->scheduler, r->members, n, maglev);
	}
	if (size < 0)
		return size;
	r->class = (struct lb_nft_class){
		.family = family,
		.index = size ? index_of[s->scheduler] : LB_NFT_NONE,
		.size = size,
	};
	r->slots = calloc(size + 1, sizeof(*r->slots));
	if (!r->slots || lb_ring_fill(s->scheduler, r->members, n, r->slots, size))
		return -ENOMEM;
	return 1;
}

static void ring_free(struct ring *r)
{
	free(r->members);
	free(r->slots);
}

static struct lb_nft_class class_of(const struct ring *r, const struct lb_listen *l)
{
	struct lb_nft_class class = r->class;

	class.proto = l->proto;
	class.any = l->any != LB_ANY_NOT;
	return class;
}

/* A listen of one family: the element that names its class, and its copy of the ring. */
static void listen_add(struct lb_nft_elements *all, const struct ring *r, const struct lb_listen *l)
{
	const struct lb_nft_class class = class_of(r, l);
	char set[LB_NFT_CLASS_LEN], ring[LB_NFT_CLASS_LEN + 8], address[LB_ENDPOINT_STRLEN];
	char listen[96], key[112], data[96];

	lb_nft_class_name(set, &class);
	if (class.any)
		snprintf(listen, sizeof(listen), "%u", l->at.port);
	else
		snprintf(listen, sizeof(listen), "%s . %u",
			 lb_addr_str(address, &l->at.addr, l->at.family), l->at.port);
	lb_nft_element_add(all, set, listen, "");
	snprintf(ring, sizeof(ring), "%s" LB_NFT_RING, set);
	for (uint32_t i = 0; i < class.size; i++) {
		const struct lb_endpoint *at = &r->members[r->slots[i]].at;

		snprintf(key, sizeof(key), "%s . %u", listen, i);
		snprintf(data, sizeof(data), "%s . %u", lb_addr_str(address, &at->addr, at->family),
			 at->port);
		lb_nft_element_add(all, ring, key, data);
	}
}

int lb_nft_service_elements(struct lb_nft_elements *all, const struct lb_service_conf *s,
			    uint32_t id)
{
	int ret = 0;

	lb_nft_service_records(all, s, id, false);
	for (int family = 0; family < LB_FAMILIES && ret >= 0; family++) {
		struct ring r = {};

		ret = ring_make(&r, s, family);
		for (size_t i = 0; i < s->n_listens && ret > 0; i++) {
			const struct lb_listen *l = &s->listens[i];

			if (!lb_listen_in(l, family))
				continue;
			listen_add(all, &r, l);
			counters_add(all, s, l, family);
			if (s->forwarding == LB_FORWARDING_MASQ)
				masq_add(all, l, family);
		}
		ring_free(&r);
	}
	return ret < 0 ? ret : 0;
}

void lb_nft_say_ring(const struct lb_service_conf *s)
{
	for (int family = 0; family < LB_FAMILIES; family++) {
		size_t n;
		struct lb_ring_member *members = lb_ring_members(s, family, &n);
		int size = members ? lb_ring_size(s->scheduler, members, n, s->maglev_size) : 0;

		free(members);
		if (n && s->scheduler == LB_SCHED_MAGLEV &&
		    maglev_size(s->maglev_size, n) != s->maglev_size)
			lb_info("service \"%s\", IPv%d: maglev-size %u: the table has %u slots in "
				"nft",
				s->name, family == LB_V4 ? 4 : 6, s->maglev_size,
				maglev_size(s->maglev_size, n));
		else if (s->scheduler != LB_SCHED_MAGLEV && s->scheduler != LB_SCHED_RR &&
			 size > RING_MAX)
			lb_info("service \"%s\", IPv%d: its weights become shares of %d slots in "
				"nft",
				s->name, family == LB_V4 ? 4 : 6, RING_MAX);
	}
}

int lb_nft_portions(const struct lb_service_conf *s, enum lb_family family, uint32_t *portions)
{
	struct ring r = {};
	int ret = ring_make(&r, s, family);

	if (ret >= 0)
		lb_ring_count(s, family, r.slots, r.class.size, portions);
	ring_free(&r);
	return ret < 0 ? ret : 0;
}

static bool has_room(const struct lb_service_conf *s)
{
	int ret = 0;

	if (s->n_backends <= RING_MAX)
		return true;
	for (int family = 0; family < LB_FAMILIES && ret >= 0; family++) {
		struct ring r = {};

		ret = ring_make(&r, s, family);
		ring_free(&r);
	}
	return ret != -E2BIG;
}

/* What is sent on to where it goes anyway the kernel does not note as translated (IPS_DST_NAT), and
 * by that note alone connections are counted, listed, ended and let through. */
static bool is_its_own_backend(const struct lb_service_conf *s)
{
	for (size_t i = 0; i < s->n_listens; i++)
		if (s->listens[i].any == LB_ANY_NOT &&
		    lb_service_find_backend(s, &s->listens[i].at))
			return true;
	return false;
}

const char *lb_nft_service_why_not(const struct lb_service_conf *s)
{
	if (!has_room(s))
		return "has room for 1024 weighted backends a service: use rr or maglev";
	if (is_its_own_backend(s))
		return "knows nothing of connections to a backend that is itself the listen, by "
		       "address and port: let the backend have another port, or use datapath ebpf";
	return NULL;
}

static int service_classes(struct lb_nft_classes *c, size_t *room, const struct lb_service_conf *s)
{
	int ret = 0;

	for (int family = 0; family < LB_FAMILIES && ret >= 0; family++) {
		struct ring r = {};

		ret = ring_make(&r, s, family);
		for (size_t i = 0; i < s->n_listens && ret > 0; i++) {
			struct lb_nft_class *list = c->list;

			if (!lb_listen_in(&s->listens[i], family))
				continue;
			if (c->n == *room)
				list = realloc(list, (*room += 64) * sizeof(*list));
			if (!list) {
				ret = -ENOMEM;
				break;
			}
			c->list = list;
			list[c->n++] = class_of(&r, &s->listens[i]);
		}
		ring_free(&r);
	}
	return ret < 0 ? ret : 0;
}

int lb_nft_classes_of(const struct lb_model *m, struct lb_nft_classes *c)
{
	size_t room = 0, kept = 0;
	int ret = 0;

	*c = (struct lb_nft_classes){};
	for (size_t i = 0; i < m->n_services && !ret; i++)
		ret = service_classes(c, &room, &m->services[i]);
	if (c->n)
		qsort(c->list, c->n, sizeof(*c->list), lb_nft_class_cmp);
	for (size_t i = 0; i < c->n; i++)
		if (!i || lb_nft_class_cmp(&c->list[kept - 1], &c->list[i]))
			c->list[kept++] = c->list[i];
	c->n = kept;
	return ret;
}

/* ---------------------------------------------------------------- the kind of table */

static void listen_format(uint8_t *fields, const struct lb_nft_class *c, bool ring)
{
	if (!c->any)
		*fields++ = c->family == LB_V4 ? LB_NFT_FIELD_V4 : LB_NFT_FIELD_V6;
	*fields++ = LB_NFT_FIELD_PORT;
	if (ring)
		*fields++ = LB_NFT_FIELD_NUMBER;
}

/* Of counters, and of what is masqueraded. */
static bool conn_format(const char *set, struct lb_nft_format *f)
{
	char name[32];

	for (int k = 0; k < (LB_NFT_COUNTS + 1) * 4; k++) {
		enum lb_family family = k & 1;
		uint8_t address = family == LB_V4 ? LB_NFT_FIELD_V4 : LB_NFT_FIELD_V6,
			*fields = f->key;
		bool any = k >> 1 & 1, count = k >> 2 < LB_NFT_COUNTS;

		if (strcmp(set, count ? lb_nft_count_set(name, k >> 2, family, any)
				      : lb_nft_masq_set(name, family, any)) != 0)
			continue;
		if (!any)
			*fields++ = address;
		*fields++ = LB_NFT_FIELD_PROTO;
		*fields++ = LB_NFT_FIELD_PORT;
		if (!count)
			return true;
		*fields++ = address;
		*fields++ = LB_NFT_FIELD_PORT;
		return true;
	}
	return false;
}

static bool sets_format(const char *set, struct lb_nft_format *f)
{
	char class[LB_NFT_CLASS_LEN + 8];
	struct lb_nft_class c;
	size_t len, end = strlen(LB_NFT_RING);

	if (conn_format(set, f))
		return true;
	snprintf(class, sizeof(class), "%s", set);
	len = strlen(class);
	if (len > end && !strcmp(class + len - end, LB_NFT_RING)) {
		class[len - end] = '\0';
		if (!lb_nft_class_parse(&c, class))
			return false;
		listen_format(f->key, &c, true);
		f->data[0] = c.family == LB_V4 ? LB_NFT_FIELD_V4 : LB_NFT_FIELD_V6;
		f->data[1] = LB_NFT_FIELD_PORT;
		return true;
	}
	if (!lb_nft_class_parse(&c, class))
		return false;
	listen_format(f->key, &c, false);
	return true;
}

const struct lb_nft_kind lb_nft_kind = {
	.prefix = "meshlb_",
	.magic = "meshlb nft 2",
	.oldest = 1, /* without masquerading */
	.format = sets_format,
};
