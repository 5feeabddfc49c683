// SPDX-License-Identifier: GPL-2.0-or-later
/* conntrack_walk.c - entries of the kernel's conntrack: reading one, and going through all. */
#include <arpa/inet.h>
#include <errno.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack_tcp.h>
#include <string.h>

#include "conntrack_walk.h"
#include "net/route.h"
#include "net/sysctl.h"

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

/* Untranslated, to the port of a `*`, but on its way through this host: none of ours. */
static bool passes_through(struct lb_ct_walk *w, const struct lb_pair *p, const struct lb_conn *c)
{
	struct lb_route route;

	return w->plain && p->any &&
	       (lb_route_get(&w->nl, &route, &c->service.addr, c->service.family) || !route.local);
}

/* Has a backend begun it? */
static bool is_senders(const struct lb_ct_walk *w, const struct lb_conn *c)
{
	const struct lb_conn said = {
		.proto = c->proto, .service = c->client, .backend = c->backend};

	return w->plain && lb_pairs_find(&w->senders, &said);
}

static bool is_wanted(struct lb_ct_walk *w, const struct lb_conn *c, const struct lb_pair *p)
{
	if (!p)
		return is_senders(w, c);
	if (lb_pairs_find(&w->standing, c))
		return false;
	return !(p->any && lb_pairs_find(&w->exact, c)) && !passes_through(w, p, c);
}

static int walk_one(enum nf_conntrack_msg_type type, struct nf_conntrack *ct, void *data)
{
	struct lb_ct_walk *w = data;
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
static int dump(struct nfct_handle *h, const struct lb_ct_walk *w, struct lb_err *err)
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
static int look_at_all(struct lb_ct_walk *w, bool flush, struct lb_err *err)
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

/* Of no pairs nobody need look. */
int lb_ct_walk(struct lb_ct_walk *w, int ret, bool flush, struct lb_err *err)
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

int lb_ct_walk_model(const struct lb_model *m, struct lb_ct_walk *w, bool flush, struct lb_err *err)
{
	int ret = 0;

	for (size_t i = 0; i < m->n_services && !ret; i++) {
		const struct lb_service_conf *s = &m->services[i];

		ret = lb_pairs_add_service(&w->pairs, s);
		if (w->f && w->f->service && !strcmp(w->f->service, s->name))
			w->service = s->id;
	}
	return lb_ct_walk(w, ret, flush, err);
}
