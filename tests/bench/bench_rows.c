// SPDX-License-Identifier: GPL-2.0-or-later
/* bench_rows.c - the rows of the table of ns per packet. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/model.h"
#include "datapath/ebpf_internal.h"
#include "bench_report.h"
#include "bench_rows.h"
#include "lb.skel.h"

#define TCP_SYN 2
#define TCP_ACK 16
#define LIMIT   1048576

static const uint32_t sizes[] = {1, 65536, 1048576};

static struct bench_tuple *forward, *reverse; /* BENCH_FLOWS_MAX each */
static uint32_t hot_packets = 50000;          /* of a sample that has few flows */
static bool quick;

static void row(struct bench_env *e, const struct bench_case *c, const char *group,
		const char *name, double target)
{
	struct bench_job job = {.e = e, .c = *c};

	bench_measure(&job, 1, name);
	bench_report_ns(group, name, &job.f, target);
}

/* Both directions of n connections. */
static void hit_rows(struct bench_env *e, const struct bench_case *base, const char *group,
		     uint32_t n, double target)
{
	uint32_t got = bench_connect(e, base->family, n, forward, reverse);
	const char *const name[] = {"forward", "reverse"};
	struct bench_case c = *base;
	char text[80];

	c.packets = got < hot_packets ? hot_packets / got * got : got;
	c.whole_ticks = n > 500000;
	for (int i = 0; i < 2; i++) {
		c.want = i ? BENCH_REVERSE : BENCH_FORWARD;
		bench_flows_set(e, c.family, i ? reverse : forward, got, TCP_ACK);
		snprintf(text, sizeof(text), "hit IPv%d %s, %u connection%s",
			 c.family == LB_V4 ? 4 : 6, name[i], n, n > 1 ? "s" : "");
		row(e, &c, group, text, target);
	}
	if (n - got > n / 1000)
		bench_report_note("%u of these connections (%.2f %%) evicted each other", n - got,
				  100. * (n - got) / n);
}

static void floor_row(struct bench_env *e, enum lb_family family, enum bench_way way,
		      const char *name)
{
	const struct bench_case c = {.family = family, .way = way};
	struct bench_figures f = {};
	double v[bench_rounds];

	forward[0] = bench_client_flow(e, family, 0);
	bench_flows_set(e, family, forward, 1, TCP_ACK);
	for (unsigned int i = 0; i < bench_rounds; i++)
		v[i] = bench_run(e, &c, BENCH_FLOOR, hot_packets);
	f.total = f.floor = bench_median(v, bench_rounds);
	bench_report_ns("floor", name, &f, 0);
}

/* One random line of the table a packet: the memory's share of a hit, on this machine, now. */
static void line_row(struct bench_env *e, uint32_t n)
{
	const struct bench_case c = {.want = BENCH_NOTHING, .packets = n};
	char text[80];

	for (uint32_t k = 0; k < n; k++)
		forward[k] = bench_client_flow(e, LB_V4, k);
	bench_flows_set(e, LB_V4, forward, n, TCP_ACK);
	snprintf(text, sizeof(text), "floor, and one line of the table, %u flows", n);
	row(e, &c, "floor", text, 0);
}

/* ---------------------------------------------------------------------------- pass */

enum pass_kind { PASS_PORT, PASS_ADDRESS, PASS_REPLY, PASS_KINDS };

static struct bench_tuple pass_flow(const struct bench_env *e, enum lb_family family,
				    enum pass_kind kind)
{
	struct bench_tuple t = bench_client_flow(e, family, 0);

	if (kind == PASS_PORT)
		t.dport = htons(22);
	if (kind == PASS_ADDRESS) /* a neighbour of the client's: there is a route to it */
		memcpy(t.daddr, t.saddr, sizeof(t.daddr));
	if (kind == PASS_REPLY) {
		t.dport = htons(40000);
		t.sport = htons(80);
	}
	return t;
}

static void pass_rows(struct bench_env *e)
{
	static const char *const names[PASS_KINDS] = {
		[PASS_PORT] = "pass: no service has this port",
		[PASS_ADDRESS] = "pass: a service's port, another address",
		[PASS_REPLY] = "pass: from a backend's port, no connection",
	};
	struct bench_case c = {.want = BENCH_PASS_NO_SERVICE, .packets = hot_packets};
	char text[80];

	for (int family = LB_V4; family <= LB_V6; family++) {
		c.family = family;
		for (int kind = 0; kind < PASS_KINDS; kind++) {
			forward[0] = pass_flow(e, c.family, kind);
			bench_flows_set(e, c.family, forward, 1, TCP_ACK);
			snprintf(text, sizeof(text), "%s, IPv%d", names[kind], family ? 6 : 4);
			row(e, &c, "pass", text, 15);
		}
	}
}

/* `*` services ask the routing table about each address that they do not know. */
static void pass_any_row(struct bench_env *e)
{
	const struct bench_case c = {.want = BENCH_PASS_NOT_LOCAL, .packets = hot_packets};

	forward[0] = pass_flow(e, LB_V4, PASS_ADDRESS);
	bench_flows_set(e, LB_V4, forward, 1, TCP_SYN);
	row(e, &c, "pass", "pass: a `*` service's port, not our address", 0);
}

/* ---------------------------------------------------------------------------- new connections */

static void fresh_set(struct bench_env *e, enum lb_family family)
{
	for (uint32_t k = 0; k < e->n_services; k++)
		forward[k] = bench_fresh_flow(e, family, k);
	bench_flows_set(e, family, forward, e->n_services, TCP_SYN);
}

/* Always-new flows: while the table fills up to its limit, and where each pushes out others. */
static void new_rows(struct bench_env *e, enum lb_family family, const char *what, double target)
{
	struct bench_case c = {.family = family, .way = BENCH_XDP_NEW, .want = BENCH_CONNECTION};
	char text[80];

	fresh_set(e, family);
	bench_table_clear(e);
	c.packets = LIMIT / (bench_rounds + 1);
	snprintf(text, sizeof(text), "new, %s, always-new flows, table filling", what);
	row(e, &c, "new", text, target);
	bench_run(e, &c, BENCH_PROGRAM, 2 * LIMIT);
	snprintf(text, sizeof(text), "new, %s, always-new flows, table full", what);
	row(e, &c, "new", text, target);
}

static void schedulers_rows(struct bench_env *e)
{
	struct bench_services s = {.n = 1, .backends = 10};

	for (s.scheduler = 0; s.scheduler < LB_SCHEDULERS; s.scheduler++) {
		if (quick && s.scheduler != LB_SCHED_RR && s.scheduler != LB_SCHED_MAGLEV)
			continue;
		bench_services_set(e, &s);
		new_rows(e, LB_V4, lb_scheduler_name(s.scheduler), 250);
	}
	s.scheduler = LB_SCHED_RR;
	bench_services_set(e, &s);
	if (!quick)
		new_rows(e, LB_V6, "rr, IPv6", 0);
	s.affinity = 1; /* all clients have one of two */
	bench_services_set(e, &s);
	new_rows(e, LB_V4, "rr, affinity known", 0);
	s.affinity = 0;
	s.any = true;
	bench_services_set(e, &s);
	if (!quick)
		new_rows(e, LB_V4, "rr, `*`", 250);
	pass_any_row(e);
}

/* The same flow again and again: a table of BENCH_SAME_BUCKETS, wiped before each packet. */
static void same_rows(const struct bench_net *net)
{
	struct bench_case c = {.way = BENCH_XDP_SAME, .want = BENCH_CONNECTION};
	struct bench_services s = {.n = 1, .backends = 10};
	struct bench_env e;
	char text[80];

	c.packets = hot_packets;
	bench_env_open(&e, net, 1);
	for (s.scheduler = 0; s.scheduler < LB_SCHEDULERS; s.scheduler++) {
		bench_services_set(&e, &s);
		forward[0] = bench_client_flow(&e, LB_V4, 0);
		bench_flows_set(&e, LB_V4, forward, 1, TCP_SYN);
		snprintf(text, sizeof(text), "new, %s, the same flow, its entries wiped before",
			 lb_scheduler_name(s.scheduler));
		row(&e, &c, "new", text, 0);
	}
	s.scheduler = LB_SCHED_RR;
	s.affinity = 32;
	bench_services_set(&e, &s);
	row(&e, &c, "new", "new, rr, the same flow, its entries and affinity wiped before", 0);
	bench_env_close(&e);
}

/* ---------------------------------------------------------------------------- a flood */

#define FLOOD_BESIDE 10000 /* established connections */

/* A table full of SYNs of random clients, and more of them to come. Returns how many connections
 * are established beside them. */
static uint32_t flood_begin(struct bench_job *job, enum lb_family family, uint32_t beside)
{
	uint32_t got = 0;

	job->c = (struct bench_case){.family = family,
				     .way = BENCH_XDP_NEW,
				     .want = BENCH_CONNECTION,
				     .packets = LIMIT / (bench_rounds + 1)};
	bench_table_clear(job->e);
	if (beside)
		got = bench_connect(job->e, family, beside, forward, reverse);
	fresh_set(job->e, family);
	bench_run(job->e, &job->c, BENCH_PROGRAM, 4 * LIMIT);
	return got;
}

static void flood_report(const struct bench_job *job, const char *what)
{
	const int version = job->c.family == LB_V4 ? 4 : 6;
	char name[80];

	snprintf(name, sizeof(name), "SYN flood IPv%d%s", version, what);
	bench_report_ns("flood", name, &job->f, 0);
	snprintf(name, sizeof(name), "  packets per second, IPv%d%s", version, what);
	bench_report_value("flood", name, 1000 / job->f.total, "million", 0, true);
}

/* What those pay that are established, all of which must stand it. */
static void flood_hit_row(struct bench_env *e, enum lb_family family, uint32_t got)
{
	struct bench_case hit = {.family = family, .want = BENCH_FORWARD};
	uint32_t left = bench_table_list(e, family, forward, reverse, true);
	char name[80];

	snprintf(name, sizeof(name), "hit IPv%d forward, the %d beside it", family == LB_V4 ? 4 : 6,
		 FLOOD_BESIDE);
	if (!left || left != got) {
		bench_report_error("flood", name, "some of them were pushed out");
		return;
	}
	hit.packets = hot_packets / left * left;
	bench_flows_set(e, family, forward, left, TCP_ACK);
	row(e, &hit, "flood", name, 0);
}

/* The flood where rates are set: no source reaches its own; then the CPU's sheds all but a few. */
static void flood_rate_rows(struct bench_job *job)
{
	struct lb_rates_conf rates = LB_RATES_DEFAULT;
	struct lb_rates *set = &job->e->lb->data_rates->lb_rates;

	rates.per_source = LB_RATE_MAX;
	lb_rates_fill(set, &rates);
	bench_measure(job, 1, "SYN flood, per-source");
	flood_report(job, ", per-source looked at");
	rates.per_cpu = 1;
	lb_rates_fill(set, &rates);
	job->c.want = BENCH_SHED;
	bench_measure(job, 1, "SYN flood, per-cpu");
	flood_report(job, ", shed by per-cpu");
	rates = LB_RATES_DEFAULT;
	lb_rates_fill(set, &rates);
}

/* Without and with established connections beside it, and with rates. */
static void flood_family_rows(struct bench_job jobs[2], enum lb_family family)
{
	uint32_t got;

	flood_begin(&jobs[0], family, 0);
	got = flood_begin(&jobs[1], family, FLOOD_BESIDE);
	bench_measure(jobs, 2, "SYN flood");
	flood_report(&jobs[0], "");
	flood_report(&jobs[1], ", 10000 beside");
	flood_hit_row(jobs[1].e, family, got);
	flood_rate_rows(&jobs[0]);
}

static void flood_rows(const struct bench_net *net)
{
	const struct bench_services one = {.n = 1, .scheduler = LB_SCHED_RR, .backends = 10};
	struct bench_job jobs[2] = {};
	struct bench_env e[2];

	for (int i = 0; i < 2; i++) {
		bench_env_open(&e[i], net, LIMIT);
		bench_services_set(&e[i], &one);
		jobs[i].e = &e[i];
	}
	flood_family_rows(jobs, LB_V4);
	if (!quick)
		flood_family_rows(jobs, LB_V6);
	for (int i = 0; i < 2; i++)
		bench_env_close(&e[i]);
}

/* ---------------------------------------------------------------------------- many services */

#define COUNTS 3
static const uint32_t service_counts[COUNTS] = {1, 1000, 10000};

/* The same row with each number of services. ratio: the target for the last one against the first.
 */
static void services_row(struct bench_job *jobs, const char *what, double ratio)
{
	char text[80];

	bench_measure(jobs, COUNTS, what);
	for (int i = 0; i < COUNTS; i++) {
		snprintf(text, sizeof(text), "%s, %u service%s", what, service_counts[i],
			 i ? "s" : "");
		bench_report_ns("services", text, &jobs[i].f, 0);
	}
	snprintf(text, sizeof(text), "  10,000 services / 1 service");
	bench_report_value("services", text, jobs[COUNTS - 1].f.net / jobs[0].f.net, "x", ratio,
			   false);
}

static void services_hit(struct bench_job *jobs, uint32_t n, const char *what, double ratio)
{
	uint32_t got;

	for (int i = 0; i < COUNTS; i++) {
		got = bench_connect(jobs[i].e, LB_V4, n, forward, reverse);
		bench_flows_set(jobs[i].e, LB_V4, forward, got, TCP_ACK);
		jobs[i].c = (struct bench_case){
			.want = BENCH_FORWARD,
			.packets = got < hot_packets ? hot_packets / got * got : got,
		};
	}
	services_row(jobs, what, ratio);
}

static void services_pass(struct bench_job *jobs, enum pass_kind kind, const char *what)
{
	for (int i = 0; i < COUNTS; i++) {
		forward[0] = pass_flow(jobs[i].e, LB_V4, kind);
		bench_flows_set(jobs[i].e, LB_V4, forward, 1, TCP_ACK);
		jobs[i].c =
			(struct bench_case){.want = BENCH_PASS_NO_SERVICE, .packets = hot_packets};
	}
	services_row(jobs, what, 1.1);
}

static void services_new(struct bench_job *jobs, bool all, const char *what, double ratio)
{
	for (int i = 0; i < COUNTS; i++) {
		fresh_set(jobs[i].e, LB_V4);
		if (!all)
			bench_flows_set(jobs[i].e, LB_V4, forward, 1, TCP_SYN);
		bench_table_clear(jobs[i].e);
		jobs[i].c = (struct bench_case){
			.way = BENCH_XDP_NEW,
			.want = BENCH_CONNECTION,
			.packets = LIMIT / (bench_rounds + 1),
		};
	}
	services_row(jobs, what, ratio);
}

static void services_rows(const struct bench_net *net)
{
	struct bench_env e[COUNTS];
	struct bench_job jobs[COUNTS] = {};

	for (int i = 0; i < COUNTS; i++) {
		const struct bench_services s = {.n = service_counts[i], .scheduler = BENCH_MIXED};

		bench_env_open(&e[i], net, LIMIT);
		bench_services_set(&e[i], &s);
		jobs[i].e = &e[i];
	}
	services_hit(jobs, 1, "hit, 1 connection", 1.1);
	services_pass(jobs, PASS_PORT, "pass, no service's port");
	services_pass(jobs, PASS_ADDRESS, "pass, another address");
	if (quick)
		goto out;
	services_new(jobs, false, "new, all to one service", 1.1);
	/* Spread over all services, the services' own data no longer fit into the caches. */
	services_hit(jobs, 65536, "hit, 65536 connections over all", 0);
	services_new(jobs, true, "new, over all services", 0);
out:
	for (int i = 0; i < COUNTS; i++)
		bench_env_close(&e[i]);
}

/* ---------------------------------------------------------------------------- all */

#define COLUMNS "  total   floor     net    best  target of the net"

static void one_service_rows(struct bench_env *e)
{
	struct bench_services one = {.n = 1, .scheduler = LB_SCHED_RR, .backends = 10};
	static const double target[LB_FAMILIES][3] = {{20, 60, 110}, {30, 0, 0}};
	struct bench_case c = {.way = BENCH_XDP};

	bench_services_set(e, &one);
	bench_report_part("XDP, one service, 10 backends [ns per packet]", COLUMNS);
	floor_row(e, LB_V4, BENCH_XDP, "floor IPv4");
	floor_row(e, LB_V6, BENCH_XDP, "floor IPv6");
	line_row(e, 65536);
	line_row(e, 1048576);
	pass_rows(e);
	for (size_t i = 0; i < 3; i++)
		for (c.family = LB_V4; c.family <= LB_V6; c.family++)
			if (!quick || c.family == LB_V4 || i == 0)
				hit_rows(e, &c, "hit", sizes[i], target[c.family][i]);
	one.redirect = true;
	bench_services_set(e, &one);
	bench_report_part("XDP, backends on another interface (XDP_REDIRECT)", COLUMNS);
	c.family = LB_V4;
	hit_rows(e, &c, "redirect", 1, 0);
}

static void tc_rows(struct bench_env *e)
{
	struct bench_services one = {.n = 1, .scheduler = LB_SCHED_RR, .backends = 10};
	struct bench_case c = {.way = BENCH_TC};

	bench_services_set(e, &one);
	bench_report_part("tc, one service, 10 backends", COLUMNS);
	floor_row(e, LB_V4, BENCH_TC, "floor IPv4");
	floor_row(e, LB_V6, BENCH_TC, "floor IPv6");
	for (size_t i = 0; i < (quick ? 1 : 3); i++)
		for (c.family = LB_V4; c.family <= LB_V6; c.family++)
			hit_rows(e, &c, "tc", sizes[i], 0);
}

void bench_rows(bool is_quick)
{
	struct bench_net net;
	struct bench_env e;

	quick = is_quick;
	forward = calloc(BENCH_FLOWS_MAX, sizeof(*forward));
	reverse = calloc(BENCH_FLOWS_MAX, sizeof(*reverse));
	if (!forward || !reverse || bench_net_open(&net) || bench_pass_attach(net.c0))
		bench_die("making the network namespace");
	bench_env_open(&e, &net, LIMIT);
	one_service_rows(&e);
	bench_report_part("XDP, a packet that opens a connection", COLUMNS);
	schedulers_rows(&e);
	same_rows(&net);
	tc_rows(&e);
	bench_env_close(&e);
	bench_report_part("XDP, a flood of SYNs, table full", COLUMNS);
	flood_rows(&net);
	bench_report_part("XDP, mixed schedulers, 1 to 19 backends each", COLUMNS);
	services_rows(&net);
	free(forward);
	free(reverse);
}
