// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * nft_conn.c - the connections: entries of the kernel's conntrack whose original destination is a
 * listen of ours, and which are answered by one of its backends.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack_tcp.h>
#include <stdlib.h>
#include <string.h>

#include "conntrack.h"
#include "net/route.h"
#include "net/sysctl.h"
#include "nft_internal.h"
#include "pairs.h"

/* ---------------------------------------------------------------- one entry */

static const struct {
	uint8_t state; /* enum lb_conn_state */
	const char *timeout;
} tcp_states[TCP_CONNTRACK_MAX] = {
	[TCP_CONNTRACK_NONE] = {LB_CONN_SYN_SENT, "tcp_timeout_unacknowledged"},
	[TCP_CONNTRACK_SYN_SENT] = {LB_CONN_SYN_SENT, "tcp_timeout_syn_sent"},
	[TCP_CONNTRACK_SYN_RECV] = {LB_CONN_SYN_RECV, "tcp_timeout_syn_recv"},
	[TCP_CONNTRACK_ESTABLISHED] = {LB_CONN_ESTABLISHED, "tcp_timeout_established"},
	[TCP_CONNTRACK_FIN_WAIT] = {LB_CONN_FIN_CLIENT, "tcp_timeout_fin_wait"},
	[TCP_CONNTRACK_CLOSE_WAIT] = {LB_CONN_FIN_BACKEND, "tcp_timeout_close_wait"},
	[TCP_CONNTRACK_LAST_ACK] = {LB_CONN_CLOSING, "tcp_timeout_last_ack"},
	[TCP_CONNTRACK_TIME_WAIT] = {LB_CONN_CLOSING, "tcp_timeout_time_wait"},
	[TCP_CONNTRACK_CLOSE] = {LB_CONN_CLOSED, "tcp_timeout_close"},
	[TCP_CONNTRACK_SYN_SENT2] = {LB_CONN_SYN_SENT, "tcp_timeout_syn_sent"},
};

/* The kernel's IP_CT_TCP_FLAG_DATA_UNACKNOWLEDGED: its header and the library's exclude each
 * other. */
#define TCP_DATA_UNACKNOWLEDGED 0x10

static uint32_t timeout_get(const char *name)
{
	char path[96];
	int seconds;

	snprintf(path, sizeof(path), "net/netfilter/nf_conntrack_%s", name);
	seconds = lb_sysctl_get(path);
	return seconds > 0 ? seconds : 0;
}

/* Conntrack keeps such a one for no longer than the timeouts below. */
static bool is_unanswered(const struct nf_conntrack *ct)
{
	uint8_t flags = nfct_get_attr_u8(ct, ATTR_TCP_FLAGS_ORIG) |
			nfct_get_attr_u8(ct, ATTR_TCP_FLAGS_REPL);

	return flags & TCP_DATA_UNACKNOWLEDGED ||
	       (nfct_get_attr_u8(ct, ATTR_TCP_STATE) == TCP_CONNTRACK_ESTABLISHED &&
		!(nfct_get_attr_u32(ct, ATTR_STATUS) & IPS_SEEN_REPLY));
}

/* How long ago its last packet was: what is left of its timeout tells. Which of the shorter ones it
 * has depends on how often it was retransmitted, which the kernel does not tell: the shortest that
 * can be. */
static uint32_t idle_of(const struct nf_conntrack *ct, const char *timeout)
{
	static const char *const shorter[] = {"tcp_timeout_unacknowledged",
					      "tcp_timeout_max_retrans"};
	uint32_t left = nfct_get_attr_u32(ct, ATTR_TIMEOUT), whole = timeout_get(timeout);

	for (size_t i = 0; is_unanswered(ct) && i < 2; i++) {
		uint32_t seconds = timeout_get(shorter[i]);

		if (seconds < whole && seconds >= left)
			whole = seconds;
	}
	return whole > left ? whole - left : 0;
}

static void state_read(const struct nf_conntrack *ct, struct lb_conn *c, bool age)
{
	const char *timeout = "udp_timeout";
	uint8_t tcp;

	if (c->proto == LB_TCP) {
		tcp = nfct_get_attr_u8(ct, ATTR_TCP_STATE);
		tcp = tcp < TCP_CONNTRACK_MAX ? tcp : TCP_CONNTRACK_NONE;
		c->state = tcp_states[tcp].state;
		timeout = tcp_states[tcp].timeout;
	} else {
		c->state = LB_CONN_UDP_NEW;
		if (nfct_get_attr_u32(ct, ATTR_STATUS) & IPS_SEEN_REPLY)
			c->state = LB_CONN_UDP;
		if (nfct_get_attr_u32(ct, ATTR_STATUS) & IPS_ASSURED)
			timeout = "udp_timeout_stream";
	}
	c->age = age ? idle_of(ct, timeout) : 0;
}

static void endpoint_read(const struct nf_conntrack *ct, enum nf_conntrack_attr v4,
			  enum nf_conntrack_attr v6, enum nf_conntrack_attr port,
			  struct lb_endpoint *at)
{
	uint32_t address;

	at->port = ntohs(nfct_get_attr_u16(ct, port));
	if (at->family == LB_V6) {
		memcpy(at->addr.b, nfct_get_attr(ct, v6), 16);
		return;
	}
	address = nfct_get_attr_u32(ct, v4);
	at->addr.b[10] = at->addr.b[11] = 0xff;
	memcpy(&at->addr.b[12], &address, sizeof(address));
}

/* A connection whose destination is translated; or one whose is not (`plain`): somebody may
 * masquerade it. */
static bool conn_read(const struct nf_conntrack *ct, bool plain, struct lb_conn *c)
{
	uint8_t family = nfct_get_attr_u8(ct, ATTR_ORIG_L3PROTO) == AF_INET ? LB_V4 : LB_V6;
	uint8_t proto = nfct_get_attr_u8(ct, ATTR_ORIG_L4PROTO);
	bool translated = nfct_get_attr_u32(ct, ATTR_STATUS) & IPS_DST_NAT;

	if (proto != IPPROTO_TCP && proto != IPPROTO_UDP)
		return false;
	if (translated == plain)
		return false;
	*c = (struct lb_conn){.proto = proto == IPPROTO_TCP ? LB_TCP : LB_UDP,
			      .client.family = family,
			      .service.family = family,
			      .backend.family = family};
	endpoint_read(ct, ATTR_ORIG_IPV4_SRC, ATTR_ORIG_IPV6_SRC, ATTR_ORIG_PORT_SRC, &c->client);
	endpoint_read(ct, ATTR_ORIG_IPV4_DST, ATTR_ORIG_IPV6_DST, ATTR_ORIG_PORT_DST, &c->service);
	endpoint_read(ct, ATTR_REPL_IPV4_SRC, ATTR_REPL_IPV6_SRC, ATTR_REPL_PORT_SRC, &c->backend);
	return true;
}

/* ---------------------------------------------------------------- walk */

struct conn_walk {
	const struct lb_conn_filter *f; /* NULL: all */
	uint32_t service;
	struct lb_pairs pairs;
	struct lb_pairs
		exact; /* what may as well be a connection of a listen that goes before `*` */
	struct lb_pairs standing; /* whosever it was: it is none of those that are looked for */
	bool plain;               /* looks for untranslated UDP, to any listen in `pairs`, */
	struct lb_pairs senders;  /* or by one of these */
	struct lb_nl nl;          /* of `plain`, for routes */
	lb_conn_fn fn;
	void *arg;
	struct nfct_handle *flush; /* NULL: only looked at */
	uint64_t n[LB_FAMILIES];
	int failed;
};

/* Untranslated, to the port of a `*`, but on its way through this host: none of ours. */
static bool passes_through(struct conn_walk *w, const struct lb_pair *p, const struct lb_conn *c)
{
	struct lb_route route;

	return w->plain && p->any &&
	       (lb_route_get(&w->nl, &route, &c->service.addr, c->service.family) || !route.local);
}

/* Has a backend begun it? */
static bool is_senders(const struct conn_walk *w, const struct lb_conn *c)
{
	const struct lb_conn said = {
		.proto = c->proto, .service = c->client, .backend = c->backend};

	return w->plain && lb_pairs_find(&w->senders, &said);
}

static bool is_wanted(struct conn_walk *w, const struct lb_conn *c, const struct lb_pair *p)
{
	if (!p)
		return is_senders(w, c);
	if (lb_pairs_find(&w->standing, c))
		return false;
	return !(p->any && lb_pairs_find(&w->exact, c)) && !passes_through(w, p, c);
}

static int walk_one(enum nf_conntrack_msg_type type, struct nf_conntrack *ct, void *data)
{
	struct conn_walk *w = data;
	const struct lb_pair *p;
	struct lb_conn c;

	(void)type;
	if (!conn_read(ct, w->plain, &c))
		return NFCT_CB_CONTINUE;
	if (w->plain)
		memset(&c.backend, 0, sizeof(c.backend));
	p = lb_pairs_find(&w->pairs, &c);
	if (!is_wanted(w, &c, p))
		return NFCT_CB_CONTINUE;
	c.service_id = p ? p->service : 0;
	if (w->f && !lb_conn_filter_holds(w->f, w->service, &c))
		return NFCT_CB_CONTINUE;
	if (w->fn) {
		state_read(ct, &c, true);
		w->fn(w->arg, &c);
	}
	/* Gone meanwhile is as good. */
	if (w->flush && nfct_query(w->flush, NFCT_Q_DESTROY, ct) && errno != ENOENT)
		w->failed = errno;
	w->n[c.client.family]++;
	return NFCT_CB_CONTINUE;
}

#define NO_CONNTRACK                                                                               \
	"this kernel does not tell what conntrack has (netlink), nor is there a module "           \
	"nf_conntrack_netlink that can be loaded"

/* nfnetlink's answer about a part of it that it does not have. */
static bool is_missing(int errnum)
{
	return errnum == EINVAL;
}

/* How many entries it has is the least that can be asked for. */
int lb_conntrack_probe(const char *datapath, struct lb_err *err)
{
	char buf[MNL_NLMSG_HDRLEN + sizeof(struct nfgenmsg) + 64] = {};
	struct nlmsghdr *req = mnl_nlmsg_put_header(buf);
	struct lb_nl nl;
	int ret = lb_nl_open(&nl, NETLINK_NETFILTER);

	req->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET_STATS;
	mnl_nlmsg_put_extra_header(req, sizeof(struct nfgenmsg));
	if (!ret) {
		ret = lb_nl_request(&nl, req, NULL, NULL);
		lb_nl_close(&nl);
	}
	if (is_missing(-ret))
		return lb_err_set(err, EOPNOTSUPP, "datapath \"%s\": " NO_CONNTRACK, datapath);
	return ret ? lb_err_sys(err, -ret, "datapath \"%s\": asking conntrack", datapath) : 0;
}

static int read_failed(struct lb_err *err)
{
	if (is_missing(errno))
		return lb_err_set(err, EOPNOTSUPP, "reading conntrack: " NO_CONNTRACK);
	return lb_err_sys(err, errno, "reading conntrack");
}

/* The kernel itself leaves out what is not looked for: to be told of others' entries takes a second
 * for 230,000. One before Linux 5.15 tells of all. */
static int dump(struct nfct_handle *h, const struct conn_walk *w, struct lb_err *err)
{
	const struct nfct_filter_dump_mark status = {
		.val = w->plain ? 0 : IPS_DST_NAT,
		.mask = IPS_DST_NAT,
	};
	struct nfct_filter_dump *filter = nfct_filter_dump_create();
	int ret;

	if (!filter)
		return lb_err_sys(err, ENOMEM, "reading conntrack");
	nfct_filter_dump_set_attr(filter, NFCT_FILTER_DUMP_STATUS, &status);
	ret = nfct_query(h, NFCT_Q_DUMP_FILTER, filter) ? read_failed(err) : 0;
	nfct_filter_dump_destroy(filter);
	return ret;
}

/* All of conntrack that may be of w, once it has its pairs. */
static int look_at_all(struct conn_walk *w, bool flush, struct lb_err *err)
{
	struct nfct_handle *h = nfct_open(CONNTRACK, 0);
	int ret = 0;

	if (flush)
		w->flush = nfct_open(CONNTRACK, 0);
	if (!h || (flush && !w->flush))
		ret = lb_err_sys(err, errno, "opening conntrack");
	else
		nfct_callback_register(h, NFCT_T_ALL, walk_one, w);
	if (!ret)
		ret = dump(h, w, err);
	if (!ret && w->failed)
		ret = lb_err_sys(err, w->failed, "forgetting connections in conntrack");
	if (h)
		nfct_close(h);
	if (w->flush)
		nfct_close(w->flush);
	w->flush = NULL;
	return ret;
}

/* Is there anything to look at? Where conntrack is not loaded its dump would have it loaded. */
static bool has_entries(void)
{
	return lb_sysctl_get("net/netfilter/nf_conntrack_count") > 0;
}

/* Ends w. `ret`: of gathering its pairs; of none nobody need look. */
static int walk(struct conn_walk *w, int ret, bool flush, struct lb_err *err)
{
	bool look;

	if (ret)
		lb_err_sys(err, -ret, "reading conntrack");
	lb_pairs_sort(&w->pairs);
	lb_pairs_sort(&w->exact);
	lb_pairs_sort(&w->standing);
	lb_pairs_sort(&w->senders);
	look = !ret && w->pairs.n + w->senders.n && has_entries();
	if (look && w->plain) {
		ret = lb_nl_open(&w->nl, NETLINK_ROUTE);
		if (ret)
			lb_err_sys(err, -ret, "asking for routes (netlink)");
	}
	if (look && !ret) {
		ret = look_at_all(w, flush, err);
		if (w->plain)
			lb_nl_close(&w->nl);
	}
	lb_pairs_free(&w->pairs);
	lb_pairs_free(&w->exact);
	lb_pairs_free(&w->standing);
	lb_pairs_free(&w->senders);
	return ret;
}

static int walk_model(const struct lb_model *m, struct conn_walk *w, bool flush, struct lb_err *err)
{
	int ret = 0;

	for (size_t i = 0; i < m->n_services && !ret; i++) {
		const struct lb_service_conf *s = &m->services[i];

		ret = lb_pairs_add_service(&w->pairs, s);
		if (w->f && w->f->service && !strcmp(w->f->service, s->name))
			w->service = s->id;
	}
	return walk(w, ret, flush, err);
}

static int walk_all(struct lb_dp *dp, struct conn_walk *w, bool flush, struct lb_err *err)
{
	struct lb_model m;
	int ret = lb_nft_model_read(&dp->table.state->elements, false, &m, err);

	if (ret)
		return ret;
	ret = walk_model(&m, w, flush, err);
	lb_model_free(&m);
	return ret;
}

int lb_nft_conn_list(struct lb_dp *dp, const struct lb_conn_filter *f, lb_conn_fn fn, void *arg,
		     uint64_t *n, struct lb_err *err)
{
	struct conn_walk w = {.f = f, .fn = fn, .arg = arg};
	int ret = walk_all(dp, &w, false, err);

	*n = w.n[LB_V4] + w.n[LB_V6];
	return ret;
}

int lb_nft_conn_flush(struct lb_dp *dp, const struct lb_conn_filter *f, uint64_t *n,
		      struct lb_err *err)
{
	struct conn_walk w = {.f = f};
	int ret = walk_all(dp, &w, true, err);

	*n = w.n[LB_V4] + w.n[LB_V6];
	return ret;
}

/* The exact listens of a service, with those of its backends that it still has. */
static int exact_add(struct lb_pairs *exact, const struct lb_service_conf *s,
		     const struct lb_service_conf *standing)
{
	int ret = 0;

	for (size_t b = 0; b < s->n_backends; b++)
		for (size_t l = 0; l < s->n_listens && !ret; l++)
			if (!s->listens[l].any &&
			    lb_service_find_backend(standing, &s->backends[b].at))
				ret = lb_pairs_add(exact, s, &s->listens[l], &s->backends[b]);
	return ret;
}

static bool has_any(const struct lb_model *m)
{
	for (size_t i = 0; i < m->n_services; i++)
		for (size_t l = 0; l < m->services[i].n_listens; l++)
			if (m->services[i].listens[l].any)
				return true;
	return false;
}

int lb_nft_conn_forget(const struct lb_model *gone, const struct lb_model *before,
		       const struct lb_model *standing, struct lb_err *err)
{
	bool any = has_any(gone); /* else nobody asks for exact ones, which are many */
	struct conn_walk w = {};
	int ret = 0;

	for (size_t i = 0; i < standing->n_services && !ret; i++) {
		const struct lb_service_conf *s = &standing->services[i], *old;

		if (!before) {
			ret = lb_pairs_add_service(&w.standing, s);
		} else if (any) {
			old = lb_model_find_service(before, s->name);
			ret = exact_add(&w.exact, s, s);
			if (!ret && old)
				ret = exact_add(&w.exact, old, s);
		}
	}
	return ret ? walk(&w, ret, true, err) : walk_model(gone, &w, true, err);
}

/* What a `*` listen has no backend for passes to the host. */
static bool has_new_family(const struct lb_service_conf *from, const struct lb_service_conf *to)
{
	for (int family = 0; family < LB_FAMILIES; family++)
		if (lb_service_has_family(to, family) &&
		    !(from && lb_service_has_family(from, family)))
			return true;
	return false;
}

static bool has_new_udp(const struct lb_service_conf *from, const struct lb_service_conf *to)
{
	bool all = to && has_new_family(from, to);

	for (size_t i = 0; to && i < to->n_listens; i++)
		if (to->listens[i].proto == LB_UDP &&
		    (all || !from || !lb_service_has_listen(from, &to->listens[i])))
			return true;
	return false;
}

static bool has_udp(const struct lb_service_conf *s)
{
	for (size_t i = 0; i < s->n_listens; i++)
		if (s->listens[i].proto == LB_UDP)
			return true;
	return false;
}

/* Backends that `from` (or NULL) has not. */
static int senders_add(struct conn_walk *w, const struct lb_service_conf *from,
		       const struct lb_service_conf *s)
{
	int ret = 0;

	for (size_t b = 0; has_udp(s) && b < s->n_backends && !ret; b++) {
		const struct lb_listen as = {.at = s->backends[b].at, .proto = LB_UDP};

		if (!from || !lb_service_find_backend(from, &as.at))
			ret = lb_pairs_add_listen(&w->senders, &as, as.at.family);
	}
	return ret;
}

static int plain_add(struct conn_walk *w, const struct lb_service_conf *s)
{
	int ret = 0;

	for (size_t k = 0; k < 2 * s->n_listens && !ret; k++) {
		const struct lb_listen *l = &s->listens[k / 2];

		if (l->proto == LB_UDP && lb_listen_in(l, k % 2))
			ret = lb_pairs_add_listen(&w->pairs, l, k % 2);
	}
	return ret;
}

/* Where conntrack does not tell nft does not serve, so there is nothing of its to forget. */
static int told(int ret)
{
	return ret == -EOPNOTSUPP ? 0 : ret;
}

int lb_conntrack_forget_new(const struct lb_diff *d, bool all, struct lb_err *err)
{
	const struct lb_model *m = d->desired;
	struct conn_walk w = {.plain = true};
	int ret = 0;

	for (size_t i = 0; i < d->n; i++)
		all |= d->changes[i].kind == LB_CHANGE_INTERFACE && !d->changes[i].ifrom;
	for (size_t i = 0; all && i < m->n_services && !ret; i++) {
		ret = plain_add(&w, &m->services[i]);
		ret = ret ? ret : senders_add(&w, NULL, &m->services[i]);
	}
	for (size_t i = 0; !all && i < d->n && !ret; i++) {
		const struct lb_service_conf *from = d->changes[i].from, *to = d->changes[i].to;

		if (d->changes[i].kind != LB_CHANGE_SERVICE || !to)
			continue;
		if (has_new_udp(from, to))
			ret = plain_add(&w, to);
		ret = ret ? ret : senders_add(&w, from, to);
	}
	return told(walk(&w, ret, true, err));
}

static int gone_add(struct lb_pairs *pairs, const struct lb_service_conf *from,
		    const struct lb_service_conf *to)
{
	int ret = 0;

	for (size_t b = 0; b < from->n_backends; b++)
		for (size_t l = 0; l < from->n_listens && !ret; l++)
			if (!to || !lb_service_find_backend(to, &from->backends[b].at))
				ret = lb_pairs_add(pairs, from, &from->listens[l],
						   &from->backends[b]);
	return ret;
}

int lb_conntrack_forget_gone(const struct lb_diff *d, struct lb_err *err)
{
	struct conn_walk w = {};
	int ret = 0;

	for (size_t i = 0; i < d->n && !ret; i++)
		if (d->changes[i].kind == LB_CHANGE_SERVICE && d->changes[i].from)
			ret = gone_add(&w.pairs, d->changes[i].from, d->changes[i].to);
	return told(walk(&w, ret, true, err));
}

int lb_conntrack_forget_all(const struct lb_model *m, struct lb_err *err)
{
	struct conn_walk w = {};

	return told(walk_model(m, &w, true, err));
}

int lb_nft_conn_usage(const struct lb_model *m, uint64_t used[LB_FAMILIES], struct lb_err *err)
{
	struct conn_walk w = {};
	int ret = walk_model(m, &w, false, err);

	memcpy(used, w.n, sizeof(w.n));
	return ret;
}
