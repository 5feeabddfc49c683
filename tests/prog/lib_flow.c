/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lib_flow.c - connections, packet by packet.
 */
#include "lib_flow.h"
#include "lib_group.h"

static struct run_result result;

static int run_hook(const struct flow *f, enum lb_hook hook, uint32_t ifindex, const struct pkt *p,
		    const struct pkt_end *to)
{
	char why[WHY_SIZE];
	struct pkt_view v;
	int rc;

	if (run_packet(f->run, hook, ifindex, p, &result))
		return FLOW_WRONG;
	pkt_parse(result.out.data, result.out.len, &v);
	rc = result.forwarded
		     ? judge_forwarded(f->run, hook, ifindex, p, &result, to ? to : &v.dst, to, why)
		     : judge_accounts(p, &result, why);
	if (!rc)
		return result.reason;
	judge_report(to ? "an answer" : "a client's packet", hook, why, p, &result);
	return FLOW_WRONG;
}

/* As on an interface with both programs: what XDP leaves to tc comes there. `to`: what an answer's
 * source must become. */
static int run_flow(const struct flow *f, uint32_t ifindex, const struct pkt *p,
		    const struct pkt_end *to)
{
	int rc = run_hook(f, f->hook, ifindex, p, to);

	if (rc == LB_REASON_TO_TC && f->hook == LB_HOOK_XDP && !f->alone)
		rc = run_hook(f, LB_HOOK_TC, ifindex, p, to);
	return rc;
}

struct flow flow_make(struct run *run, enum lb_hook hook, enum lb_family family, uint16_t cport,
		      uint16_t sport, uint8_t proto)
{
	return (struct flow){.run = run,
			     .hook = hook,
			     .client = family == LB_V4 ? NET_CLIENT : NET_CLIENT6,
			     .service = family == LB_V4 ? NET_VIP : NET_VIP6,
			     .cport = cport,
			     .sport = sport,
			     .proto = proto};
}

int flow_send(struct flow *f, uint8_t flags)
{
	struct pkt_spec s = {.src = f->client,
			     .dst = f->service,
			     .sport = f->cport,
			     .dport = f->sport,
			     .proto = f->proto,
			     .flags = flags,
			     .seq = f->seq,
			     /* the field may say it without the flag, too */
			     .ack = flags & PKT_SYN ? 0 : f->backend_seq,
			     .payload = f->payload ? f->payload : 11};
	struct pkt_view v;
	struct pkt p;
	int rc;

	pkt_build(&p, &s);
	rc = run_flow(f, f->run->net.c0, &p, NULL);
	pkt_parse(result.out.data, result.out.len, &v);
	if (rc == RUN_FORWARDED)
		f->backend = v.dst;
	return rc;
}

int flow_answer(struct flow *f, uint8_t flags)
{
	static const uint8_t b0_mac[6] = NET_B0_MAC;
	struct pkt_end to = pkt_end(f->service, f->sport);
	char from[64];
	struct pkt_spec s = {.src = pkt_addr_str(from, &f->backend.addr),
			     .dst = f->client,
			     .sport = f->backend.port,
			     .dport = f->cport,
			     .proto = f->proto,
			     .flags = flags,
			     .seq = f->backend_seq ? f->backend_seq : 2000000,
			     .ack = f->seq ? f->seq : 1000000,
			     .payload = f->payload ? f->payload : 7,
			     .dmac = b0_mac};
	struct pkt p;

	pkt_build(&p, &s);
	return run_flow(f, f->run->net.b0, &p, &to);
}

void sends(struct flow *f, uint8_t flags)
{
	assert_int_equal(flow_send(f, flags), RUN_FORWARDED);
}

void answers(struct flow *f, uint8_t flags)
{
	assert_int_equal(flow_answer(f, flags), RUN_FORWARDED);
}

struct flow flow_guessed(const struct flow *f)
{
	struct flow guessed = *f;

	guessed.seq = (f->seq ? f->seq : 1000000) + (32 << 20);
	guessed.backend_seq = (f->backend_seq ? f->backend_seq : 2000000) - (32 << 20);
	return guessed;
}

int flow_establish(struct flow *f)
{
	int rc = flow_send(f, PKT_SYN);

	if (rc == RUN_FORWARDED)
		rc = flow_answer(f, PKT_SYN | PKT_ACK);
	if (rc == RUN_FORWARDED && f->proto != PKT_UDP)
		rc = flow_send(f, PKT_ACK);
	return rc;
}

struct flow flow_established(struct flow f)
{
	assert_int_equal(flow_establish(&f), RUN_FORWARDED);
	assert_int_equal(flow_state(&f), LB_CONN_ESTABLISHED);
	return f;
}

int flow_state(const struct flow *f)
{
	struct pkt_end client = pkt_end(f->client, f->cport);
	struct pkt_end service = pkt_end(f->service, f->sport);
	struct run_entries e;

	run_entries(f->run, f->proto, &client, &service, &e);
	return e.n == 1 ? e.state : -1;
}
