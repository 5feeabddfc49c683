// SPDX-License-Identifier: GPL-2.0-or-later
/* bench_measure.c - see bench_measure.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bench_measure.h"
#include "bench.skel.h"

#define TCP_SYN 2
#define TCP_ACK 16
/* Packets that may go to tc, or to the slow path at a tick, in a row of samples. */
#define ODD_PACKETS 1000

unsigned int bench_rounds = 9;

static double now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static struct bpf_program *wrapper(const struct bench_env *e, const struct bench_case *c)
{
	struct bpf_program *const way[BENCH_WAYS][LB_FAMILIES] = {
		[BENCH_XDP] = { e->wrap->progs.bench_xdp4, e->wrap->progs.bench_xdp6 },
		[BENCH_XDP_NEW] = { e->wrap->progs.bench_xdp4_new, e->wrap->progs.bench_xdp6_new },
		[BENCH_XDP_SAME] = { e->wrap->progs.bench_xdp4_same, NULL },
		[BENCH_TC] = { e->wrap->progs.bench_tc4, e->wrap->progs.bench_tc6 },
	};

	return way[c->way][c->family];
}

/* The processor time of this thread: what others do on the processor meanwhile is not in it. */
double bench_run(struct bench_env *e, const struct bench_case *c, enum bench_slot slot,
		 uint32_t packets)
{
	uint8_t frame[BENCH_FRAME_WORDS * 8];
	uint32_t len = c->family == LB_V4 ? BENCH_FRAME4 : BENCH_FRAME6;
	struct xdp_md md = { .data_end = len, .ingress_ifindex = e->net->c0 };
	struct __sk_buff skb = { .ifindex = e->net->c0 };
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

/* The programs' tick, by the same clock. */
static uint64_t tick(void)
{
	return (uint64_t)now_ns(CLOCK_MONOTONIC_COARSE) >> LB_TICK_SHIFT;
}

/*
 * A sample over a template so large that every flow's entry is in main memory. The first packet of a
 * flow in a tick also refreshes the entry, so the mean depends on how long one measures: here from
 * the beginning of a tick to its end. Returns that mean.
 */
static double bench_ticks(struct bench_env *e, const struct bench_case *c, double *first,
			  double *later)
{
	double sum = 0, spent = 0, cost;
	uint64_t start = tick(), packets = 0;

	while (tick() == start)
		usleep(1000);
	start = tick();
	while (tick() == start) {
		cost = bench_run(e, c, BENCH_PROGRAM, c->packets);
		if (!packets)
			*first = cost;
		else
			spent += cost;
		sum += cost;
		packets++;
	}
	*later = packets > 1 ? spent / (packets - 1) : *first;
	return sum / packets;
}

static void counts_check(const struct bench_case *c, const char *name, uint64_t packets,
			 const struct bench_counts *a, const struct bench_counts *b)
{
	const int hook = c->way == BENCH_TC ? LB_HOOK_TC : LB_HOOK_XDP;
	uint64_t connections = b->connections - a->connections, got = 0;

	switch (c->want) {
	case BENCH_FORWARD:
		got = b->forward - a->forward - connections;
		break;
	case BENCH_REVERSE:
		got = b->reverse - a->reverse;
		break;
	case BENCH_CONNECTION:
		got = connections;
		break;
	case BENCH_PASS_NO_SERVICE:
		got = b->reasons[hook][LB_REASON_NO_SERVICE] -
		      a->reasons[hook][LB_REASON_NO_SERVICE];
		break;
	case BENCH_PASS_NOT_LOCAL:
		got = b->reasons[hook][LB_REASON_NOT_LOCAL] - a->reasons[hook][LB_REASON_NOT_LOCAL];
		break;
	}
	if (got <= packets && packets - got <= ODD_PACKETS)
		return;
	fprintf(stderr, "bench: \"%s\": of %lu packets only %lu were what is measured\n", name,
		packets, got);
	fprintf(stderr, "  to backends %lu, to clients %lu, connections %lu\n",
		b->forward - a->forward, b->reverse - a->reverse, connections);
	for (int r = 0; r < LB_REASONS; r++)
		if (b->reasons[hook][r] != a->reasons[hook][r])
			fprintf(stderr, "  reason %d: %lu\n", r,
				b->reasons[hook][r] - a->reasons[hook][r]);
	exit(1);
}

struct bench_figures bench_measure(struct bench_env *e, const struct bench_case *c,
				   const char *name)
{
	double total[bench_rounds], floor[bench_rounds], net[bench_rounds];
	double first[bench_rounds], later[bench_rounds];
	struct bench_counts before, after;
	struct bench_figures f = {};

	/* Brings the template, and the flows' entries to this tick, before the clock runs. */
	bench_run(e, c, BENCH_PROGRAM, c->packets);
	for (unsigned int i = 0; i < bench_rounds; i++) {
		floor[i] = bench_run(e, c, BENCH_FLOOR, c->packets);
		if (c->whole_ticks)
			total[i] = bench_ticks(e, c, &first[i], &later[i]);
		else if (c->way == BENCH_XDP_NEW || bench_run(e, c, BENCH_PROGRAM, c->packets) > 0)
			total[i] = bench_run(e, c, BENCH_PROGRAM, c->packets);
		floor[i] = (floor[i] + bench_run(e, c, BENCH_FLOOR, c->packets)) / 2;
		net[i] = total[i] - floor[i];
		first[i] -= floor[i];
		later[i] -= floor[i];
	}
	bench_counts_read(e, &before);
	bench_run(e, c, BENCH_PROGRAM, c->packets);
	bench_counts_read(e, &after);
	counts_check(c, name, c->packets, &before, &after);
	f.total = bench_median(total, bench_rounds);
	f.floor = bench_median(floor, bench_rounds);
	f.net = bench_median(net, bench_rounds);
	if (c->whole_ticks) {
		f.net_first = bench_median(first, bench_rounds);
		f.net_later = bench_median(later, bench_rounds);
	}
	return f;
}

uint32_t bench_connect(struct bench_env *e, enum lb_family family, uint32_t n,
		       struct bench_tuple *forward, struct bench_tuple *reverse)
{
	const struct bench_case c = { .family = family, .way = BENCH_XDP };

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
