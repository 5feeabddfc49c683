// SPDX-License-Identifier: GPL-2.0-or-later
/* bench_measure.c - see bench_measure.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "core/model.h"
#include "datapath/ebpf_internal.h"
#include "bench_measure.h"
#include "bench.skel.h"
#include "lb.skel.h"

#define TCP_SYN 2
#define TCP_ACK 16
/* Packets of a sample that XDP may leave to tc, which confirms next hops, and collisions. */
#define ODD_PACKETS 200

/* Samples that last several ticks are taken less often. */
#define TICK_ROUNDS(rounds) ((rounds) / 8 + 1)

#define TICK_PARTS 16 /* of a template, so that the last tick's end is not far from a sample's */

unsigned int bench_rounds;

static double now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static struct bpf_program *wrapper(const struct bench_env *e, const struct bench_case *c)
{
	struct bpf_program *const way[BENCH_WAYS][LB_FAMILIES] = {
		[BENCH_XDP] = {e->wrap->progs.bench_xdp4, e->wrap->progs.bench_xdp6},
		[BENCH_XDP_NEW] = {e->wrap->progs.bench_xdp4_new, e->wrap->progs.bench_xdp6_new},
		[BENCH_XDP_SAME] = {e->wrap->progs.bench_xdp4_same, NULL},
		[BENCH_TC] = {e->wrap->progs.bench_tc4, e->wrap->progs.bench_tc6},
	};

	return way[c->way][c->family];
}

/* The processor time of this thread: what others do on the processor meanwhile is not in it. */
double bench_run(struct bench_env *e, const struct bench_case *c, enum bench_slot slot,
		 uint32_t packets)
{
	uint8_t frame[BENCH_FRAME_WORDS * 8];
	uint32_t len = c->family == LB_V4 ? BENCH_FRAME4 : BENCH_FRAME6;
	struct xdp_md md = {.data_end = len, .ingress_ifindex = e->net->c0};
	struct __sk_buff skb = {.ifindex = e->net->c0};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = len,
		    .repeat = packets);
	double start;

	if (c->way == BENCH_TC) {
		opts.ctx_in = &skb;
		opts.ctx_size_in = sizeof(skb);
	} else {
		opts.ctx_in = &md;
		opts.ctx_size_in = sizeof(md);
	}
	memcpy(frame, e->wrap->bss->bench_frame, sizeof(frame));
	e->wrap->bss->bench_slot = slot;
	start = now_ns(CLOCK_THREAD_CPUTIME_ID);
	if (bpf_prog_test_run_opts(bpf_program__fd(wrapper(e, c)), &opts))
		bench_die("running \"%s\": %s", bpf_program__name(wrapper(e, c)), strerror(errno));
	return (now_ns(CLOCK_THREAD_CPUTIME_ID) - start) / packets;
}

static int double_cmp(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_median(double *v, unsigned int n)
{
	qsort(v, n, sizeof(*v), double_cmp);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/*
 * A sample over a template so large that every flow's entry is in main memory. The first packet of
 * a flow refreshes its entry once lb_fresh ticks have passed since the last such, so the mean
 * depends on how long one measures: here for as many ticks as lie between two of them.
 */
static double run_ticks(struct bench_env *e, const struct bench_case *c)
{
	uint32_t start, ticks = e->lb->rodata->lb_fresh[LB_CONN_ESTABLISHED] + 1, n = 0;
	double sum = 0;

	bench_run(e, c, BENCH_PROGRAM, c->packets);
	start = lb_clock_now();
	while (lb_clock_now() - start < ticks) {
		sum += bench_run(e, c, BENCH_PROGRAM, c->packets / TICK_PARTS);
		n++;
	}
	return sum / n;
}

static void counts_check(const struct bench_case *c, const char *name, const struct bench_counts *a,
			 const struct bench_counts *b)
{
	const int hook = c->way == BENCH_TC ? LB_HOOK_TC : LB_HOOK_XDP;
	uint64_t connections = b->connections - a->connections, got = 0;

	switch (c->want) {
	case BENCH_NOTHING:
		return;
	case BENCH_FORWARD:
		got = b->forward - a->forward - connections;
		break;
	case BENCH_REVERSE:
		got = b->reverse - a->reverse;
		break;
	case BENCH_CONNECTION:
		got = connections;
		break;
	case BENCH_SHED:
		got = b->reasons[hook][LB_REASON_RATE_CPU] - a->reasons[hook][LB_REASON_RATE_CPU] +
		      b->reasons[hook][LB_REASON_RATE_SOURCE] -
		      a->reasons[hook][LB_REASON_RATE_SOURCE];
		break;
	case BENCH_PASS_NO_SERVICE:
		got = b->reasons[hook][LB_REASON_NO_SERVICE] -
		      a->reasons[hook][LB_REASON_NO_SERVICE];
		break;
	case BENCH_PASS_NOT_LOCAL:
		got = b->reasons[hook][LB_REASON_NOT_LOCAL] - a->reasons[hook][LB_REASON_NOT_LOCAL];
		break;
	}
	if (got <= c->packets && c->packets - got <= ODD_PACKETS)
		return;
	fprintf(stderr, "bench: \"%s\": of %u packets only %lu were what is measured\n", name,
		c->packets, got);
	fprintf(stderr, "  to backends %lu, to clients %lu, connections %lu\n",
		b->forward - a->forward, b->reverse - a->reverse, connections);
	for (int r = 0; r < LB_REASONS; r++)
		if (b->reasons[hook][r] != a->reasons[hook][r])
			fprintf(stderr, "  %s %lu\n", lb_reason_name(r),
				b->reasons[hook][r] - a->reasons[hook][r]);
	exit(1);
}

/* One round's sample of a job, between two of the floor. */
static struct bench_figures sample(const struct bench_job *job)
{
	const enum bench_slot slot = job->c.want == BENCH_NOTHING ? BENCH_LINE : BENCH_PROGRAM;
	struct bench_figures f = {};

	f.floor = bench_run(job->e, &job->c, BENCH_FLOOR, job->c.packets);
	if (job->c.whole_ticks) {
		f.total = run_ticks(job->e, &job->c);
	} else {
		if (job->c.want != BENCH_CONNECTION) /* bring the entries to this tick */
			bench_run(job->e, &job->c, slot, job->c.packets);
		f.total = bench_run(job->e, &job->c, slot, job->c.packets);
	}
	f.floor = (f.floor + bench_run(job->e, &job->c, BENCH_FLOOR, job->c.packets)) / 2;
	f.net = f.total - f.floor;
	return f;
}

/* The medians over the rounds, and the best round. */
static struct bench_figures summary(const struct bench_figures *f, unsigned int n)
{
	double total[n], floor[n], net[n];
	struct bench_figures sum;
	unsigned int i = 0;

	do {
		total[i] = f[i].total;
		floor[i] = f[i].floor;
		net[i] = f[i].net;
	} while (++i < n);
	sum.total = bench_median(total, n);
	sum.floor = bench_median(floor, n);
	sum.net = bench_median(net, n);
	sum.best = total[0] - floor[0]; /* they are sorted now */
	return sum;
}

static void job_check(const struct bench_job *job, const char *name)
{
	struct bench_counts before, after;

	bench_counts_read(job->e, &before);
	bench_run(job->e, &job->c, BENCH_PROGRAM, job->c.packets);
	bench_counts_read(job->e, &after);
	counts_check(&job->c, name, &before, &after);
}

void bench_measure(struct bench_job *jobs, unsigned int n, const char *name)
{
	unsigned int rounds = jobs->c.whole_ticks ? TICK_ROUNDS(bench_rounds) : bench_rounds;
	struct bench_figures f[n][rounds];

	for (unsigned int i = 0; i < rounds; i++)
		for (unsigned int j = 0; j < n; j++)
			f[j][i] = sample(&jobs[j]);
	for (unsigned int j = 0; j < n; j++) {
		job_check(&jobs[j], name);
		jobs[j].f = summary(f[j], rounds);
	}
}

uint32_t bench_connect(struct bench_env *e, enum lb_family family, uint32_t n,
		       struct bench_tuple *forward, struct bench_tuple *reverse)
{
	const struct bench_case c = {.family = family, .way = BENCH_XDP};

	bench_table_clear(e);
	for (uint32_t k = 0; k < n; k++)
		forward[k] = bench_client_flow(e, family, k);
	bench_flows_set(e, family, forward, n, TCP_SYN);
	bench_run(e, &c, BENCH_PROGRAM, n);
	n = bench_table_list(e, family, forward, reverse, false);
	bench_flows_set(e, family, reverse, n, TCP_SYN | TCP_ACK);
	bench_run(e, &c, BENCH_PROGRAM, n);
	bench_flows_set(e, family, forward, n, TCP_ACK);
	bench_run(e, &c, BENCH_PROGRAM, n);
	return bench_table_list(e, family, forward, reverse, true);
}
