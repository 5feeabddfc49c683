/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_settle.c - leaves in the maps only what is in force: before an apply it removes what an
 * interrupted one left, after a failed one it is the undo, after a committed one it cleans up.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ebpf_internal.h"

#define NO_MEMBARRIER_US 50000

/* The kernel's synchronize_rcu(). It is refused on kernels with nohz_full. */
static void *grace_wait(void *arg)
{
	if (syscall(__NR_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0))
		usleep(NO_MEMBARRIER_US);
	return arg;
}

void lb_grace_begin(struct lb_grace *g)
{
	g->running = !pthread_create(&g->thread, NULL, grace_wait, NULL);
}

void lb_grace_end(struct lb_grace *g)
{
	if (g->running)
		pthread_join(g->thread, NULL);
	else if (!g->over)
		grace_wait(NULL);
	g->running = false;
	g->over = true;
}

void lb_grace_drop(struct lb_grace *g)
{
	if (g->running)
		pthread_join(g->thread, NULL);
	*g = (struct lb_grace){};
}

size_t lb_listen_keys(const struct lb_listen *l, struct lb_listen_key keys[2])
{
	memset(keys, 0, 2 * sizeof(*keys));
	keys[0].addr = l->at.addr;
	keys[0].port = htons(l->at.port);
	keys[0].proto = l->proto;
	if (l->any != LB_ANY_BOTH)
		return 1;
	keys[1].port = keys[0].port;
	keys[1].proto = keys[0].proto;
	return 2;
}

bool lb_listen_key_is_sound(const struct lb_listen_key *key)
{
	return key->proto < LB_PROTOS && key->port && !key->pad;
}

__u32 lb_listen_flags(const struct lb_listen_entry *e)
{
	static const struct lb_addr any[LB_FAMILIES] = {{.b = {[10] = 0xff, [11] = 0xff}}};

	for (int f = 0; f < LB_FAMILIES; f++)
		if (!memcmp(&e->key.addr, &any[f], sizeof(any[f])))
			return e->value.flags & LB_LISTEN_BOTH;
	return 0;
}

static void port_need(struct lb_dp *dp, const struct lb_service_conf *s, unsigned int proto,
		      unsigned int port, __u8 bit, struct lb_audit *a)
{
	__u8 *flags = &dp->ports->flags[proto][port];

	if (*flags & bit)
		return;
	if (a)
		lb_finding(a, "service \"%s\": lb_ports lacks bit %u of port %u/%s", s->name, bit,
			   port, lb_proto_name(proto));
	else
		__atomic_fetch_or(flags, bit, __ATOMIC_RELEASE);
}

/* The address of a listen that is not `*`, likewise. */
static void address_need(struct lb_dp *dp, const struct lb_service_conf *s,
			 const struct lb_listen *l, struct lb_audit *a)
{
	__u32 bit = lb_listen_bit(&l->at.addr, htons(l->at.port), l->proto);
	__u8 *byte = &dp->ports->listens[bit / 8];
	char text[LB_ENDPOINT_STRLEN];

	if (*byte >> bit % 8 & 1)
		return;
	if (a)
		lb_finding(a, "service \"%s\": lb_ports lacks the bit of %s/%s", s->name,
			   lb_endpoint_str(text, &l->at), lb_proto_name(l->proto));
	else
		__atomic_fetch_or(byte, 1 << bit % 8, __ATOMIC_RELEASE);
}

void lb_ports_need(struct lb_dp *dp, const struct lb_service_conf *s, struct lb_audit *a)
{
	unsigned int protos = 0;

	for (size_t i = 0; i < s->n_listens; i++) {
		const struct lb_listen *l = &s->listens[i];

		protos |= 1 << l->proto;
		port_need(dp, s, l->proto, l->at.port, l->any ? LB_PORT_ANY : LB_PORT_EXACT, a);
		if (!l->any)
			address_need(dp, s, l, a);
	}
	for (unsigned int proto = 0; proto < LB_PROTOS; proto++)
		for (size_t i = 0; protos >> proto & 1 && i < s->n_backends; i++)
			port_need(dp, s, proto, s->backends[i].at.port, LB_PORT_BACKEND, a);
}

static bool service_exists(const struct lb_dp *dp, __u32 id, __u32 generation)
{
	return id && id < dp->max_entries[LB_MAP_SERVICES] &&
	       lb_service_in_force(dp, id, generation);
}

static int listens_settle(struct lb_dp *dp, struct lb_err *err)
{
	__u32 generation = lb_generation(dp);
	const struct lb_listen_entry *entries;
	size_t n;
	int ret = lb_listens_read(dp, &entries, &n, err);

	for (size_t i = 0; i < n && !ret; i++) {
		struct lb_listen_entry e = entries[i];
		__u32 slot = lb_slot(e.value.select, generation);

		if (!service_exists(dp, e.value.service[slot], generation) ||
		    !lb_listen_key_is_sound(&e.key)) {
			ret = lb_listen_delete(dp, &e.key);
		} else if (e.value.select >> 1 > generation ||
			   e.value.flags != lb_listen_flags(&e)) {
			if (e.value.select >> 1 > generation)
				e.value.select = generation << 1 | slot;
			e.value.flags = lb_listen_flags(&e);
			ret = lb_listen_put(dp, &e.key, &e.value);
		}
		if (ret)
			lb_err_sys(err, -ret, "putting \"lb_listens\" right");
	}
	return ret;
}

static void members_named(const struct lb_dp *dp, const struct lb_pool *pool, __u8 *named)
{
	__u32 end = pool->members + pool->n_members;

	if (end < pool->members || end > dp->max_entries[LB_MAP_MEMBERS])
		return;
	for (__u32 i = pool->members; i < end; i++) {
		__u32 id = dp->members[i].backend;

		if (id < dp->max_entries[LB_MAP_BACKENDS] && named[id] < 255)
			named[id]++;
	}
}

void lb_backends_named(const struct lb_dp *dp, __u8 *named)
{
	__u32 generation = lb_generation(dp);

	for (__u32 id = 1; id < dp->max_entries[LB_MAP_SERVICES]; id++) {
		const struct lb_service_version *v = lb_service_in_force(dp, id, generation);

		for (int f = 0; v && f < LB_FAMILIES; f++)
			members_named(dp, &v->pool[f], named);
	}
}

static void services_settle(struct lb_dp *dp)
{
	__u32 generation = lb_generation(dp);

	for (__u32 id = 1; id < dp->max_entries[LB_MAP_SERVICES]; id++) {
		struct lb_service *s = &dp->services[id];

		lb_select_settle(&s->select, generation);
		if (s->name[0] && !lb_service_in_force(dp, id, generation))
			memset(s->name, 0, sizeof(s->name));
	}
}

/* A backend that nobody names is gone: its connections are told so, its id may be given away. */
static void backends_settle(struct lb_dp *dp, const __u8 *named)
{
	__u32 generation = lb_generation(dp);

	for (__u32 id = 1; id < dp->max_entries[LB_MAP_BACKENDS]; id++) {
		struct lb_backend *b = &dp->backends[id];

		lb_select_settle(&b->drained, generation);
		lb_select_settle(&dp->loads[id].select, generation);
		if (b->state == LB_BACKEND_FREE || named[id])
			continue;
		if (b->state != LB_BACKEND_GONE) {
			b->gone = generation;
			__atomic_store_n(&b->state, LB_BACKEND_GONE, __ATOMIC_RELEASE);
		}
		/* The id of its service may go to another one, which must not inherit its counters.
		 */
		if (b->service && !service_exists(dp, b->service, generation))
			b->service = 0;
	}
}

int lb_settle(struct lb_dp *dp, struct lb_err *err)
{
	__u8 *named = calloc(dp->max_entries[LB_MAP_BACKENDS], sizeof(*named));

	if (!named)
		return lb_err_sys(err, ENOMEM, "looking for what is in force");
	services_settle(dp);
	lb_backends_named(dp, named);
	backends_settle(dp, named);
	free(named);
	return listens_settle(dp, err);
}
