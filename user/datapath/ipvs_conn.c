// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ipvs_conn.c - the connections: lines of /proc/net/ip_vs_conn, the only place where IPVS tells
 * them, with a service's listen and one of its backends.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipvs_internal.h"
#include "pairs.h"

#define FILE_NAME "/proc/net/ip_vs_conn"

/* Seconds of a state (kernel: net/netfilter/ipvs/ip_vs_proto_tcp.c); 0: settable. */
static const struct {
	const char *name;
	uint8_t state; /* enum lb_conn_state */
	uint32_t timeout;
} states[] = {
	{"NONE", LB_CONN_SYN_SENT, 2},       {"ESTABLISHED", LB_CONN_ESTABLISHED, 0},
	{"SYN_SENT", LB_CONN_SYN_SENT, 120}, {"SYN_RECV", LB_CONN_SYN_RECV, 60},
	{"FIN_WAIT", LB_CONN_FIN_CLIENT, 0}, {"TIME_WAIT", LB_CONN_CLOSING, 120},
	{"CLOSE", LB_CONN_CLOSED, 10},       {"CLOSE_WAIT", LB_CONN_FIN_BACKEND, 60},
	{"LAST_ACK", LB_CONN_CLOSING, 30},   {"LISTEN", LB_CONN_CLOSED, 120},
	{"SYNACK", LB_CONN_SYN_RECV, 120},   {"UDP", LB_CONN_UDP, 0},
};

struct conn_walk {
	struct lb_dp *dp;
	const struct lb_conn_filter *f; /* NULL: all */
	uint32_t service;
	struct lb_pairs pairs;
	struct lb_ipvs_timeouts timeouts;
	lb_conn_fn fn;
	void *arg;
	uint64_t n[LB_FAMILIES];
};

/* "C0000201" or "2001:0db8:...:0001", and a port in hexadecimal. */
static bool endpoint_read(struct lb_endpoint *at, const char *address, const char *port)
{
	uint32_t v4 = strtoul(address, NULL, 16);
	char text[64];
	uint8_t family;

	if (strchr(address, ':'))
		snprintf(text, sizeof(text), "%s", address);
	else
		snprintf(text, sizeof(text), "%u.%u.%u.%u", v4 >> 24, v4 >> 16 & 0xff,
			 v4 >> 8 & 0xff, v4 & 0xff);
	*at = (struct lb_endpoint){.port = strtoul(port, NULL, 16)};
	if (lb_addr_parse(&at->addr, &family, text))
		return false;
	at->family = family;
	return true;
}

static uint32_t timeout_of(const struct lb_ipvs_timeouts *t, uint8_t state)
{
	return state == LB_CONN_UDP ? t->udp : state == LB_CONN_FIN_CLIENT ? t->tcp_fin : t->tcp;
}

/* Left over of its timeout: how long ago its last packet was. */
static void state_read(const struct conn_walk *w, struct lb_conn *c, const char *name,
		       uint32_t left)
{
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		uint32_t whole = states[i].timeout;

		if (strcmp(states[i].name, name) != 0)
			continue;
		c->state = states[i].state;
		whole = whole ? whole : timeout_of(&w->timeouts, c->state);
		c->age = whole > left ? whole - left : 0;
	}
}

static bool line_read(const struct conn_walk *w, const char *line, struct lb_conn *c)
{
	char proto[4], from[48], to[48], by[48], ports[3][8], state[16], left[16];

	if (sscanf(line, "%3s %47s %7s %47s %7s %47s %7s %15s %15s", proto, from, ports[0], to,
		   ports[1], by, ports[2], state, left) != 9)
		return false;
	*c = (struct lb_conn){.proto = strcmp(proto, "UDP") ? LB_TCP : LB_UDP};
	if (!endpoint_read(&c->client, from, ports[0]) ||
	    !endpoint_read(&c->service, to, ports[1]) || !endpoint_read(&c->backend, by, ports[2]))
		return false;
	state_read(w, c, state, strtoul(left, NULL, 10));
	return true;
}

static void walk_one(struct conn_walk *w, const char *line)
{
	const struct lb_pair *p;
	struct lb_conn c;

	if (!line_read(w, line, &c))
		return;
	p = lb_pairs_find(&w->pairs, &c);
	if (!p)
		return;
	c.service_id = p->service;
	if (w->f && !lb_conn_filter_holds(w->f, w->service, &c))
		return;
	if (w->fn)
		w->fn(w->arg, &c);
	w->n[c.client.family]++;
}

static int walk(struct conn_walk *w, const struct lb_model *m, struct lb_err *err)
{
	char line[512];
	int ret = lb_ipvs_timeouts_read(&w->dp->ipvs, &w->timeouts);
	FILE *f = fopen(FILE_NAME, "re");

	if (!f)
		ret = -errno;
	for (size_t i = 0; i < m->n_services && !ret; i++) {
		ret = lb_pairs_add_service(&w->pairs, &m->services[i]);
		if (w->f && w->f->service && !strcmp(w->f->service, m->services[i].name))
			w->service = m->services[i].id;
	}
	lb_pairs_sort(&w->pairs);
	while (!ret && fgets(line, sizeof(line), f))
		walk_one(w, line);
	if (!ret && ferror(f))
		ret = -EIO;
	if (f)
		fclose(f);
	lb_pairs_free(&w->pairs);
	return ret ? lb_err_sys(err, -ret, "reading \"" FILE_NAME "\"") : 0;
}

int lb_ipvs_conn_list(struct lb_dp *dp, const struct lb_conn_filter *f, lb_conn_fn fn, void *arg,
		      uint64_t *n, struct lb_err *err)
{
	struct conn_walk w = {.dp = dp, .f = f, .fn = fn, .arg = arg};
	struct lb_model m;
	int ret = lb_nft_model_read(&dp->table.state->elements, false, &m, err);

	*n = 0;
	if (ret)
		return ret;
	ret = walk(&w, &m, err);
	lb_model_free(&m);
	*n = w.n[LB_V4] + w.n[LB_V6];
	return ret;
}

int lb_ipvs_conn_usage(struct lb_dp *dp, const struct lb_model *m, uint64_t used[LB_FAMILIES],
		       struct lb_err *err)
{
	struct conn_walk w = {.dp = dp};
	int ret = walk(&w, m, err);

	memcpy(used, w.n, sizeof(w.n));
	return ret;
}

int lb_ipvs_conn_flush(struct lb_dp *dp, const struct lb_conn_filter *f, uint64_t *n,
		       struct lb_err *err)
{
	(void)dp;
	(void)f;
	*n = 0;
	return lb_err_set(err, EOPNOTSUPP,
			  "datapath ipvs cannot forget connections: the kernel has no way to; they "
			  "end by themselves, or with their backend when it is removed");
}
