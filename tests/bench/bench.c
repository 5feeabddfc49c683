// SPDX-License-Identifier: GPL-2.0-or-later
/* bench.c - early version */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "bench_measure.h"

static struct bench_tuple *fwd, *rev;

static void row(struct bench_env *e, struct bench_case c, const char *name, double target)
{
	struct bench_figures f = bench_measure(e, &c, name);

	printf("%-46s %7.1f %7.1f %7.1f", name, f.total, f.floor, f.net);
	if (target)
		printf("  <= %4.0f %s", target, f.net <= target ? "met" : "NOT MET");
	if (c.whole_ticks)
		printf("  (first in tick %.1f, later %.1f)", f.net_first, f.net_later);
	putchar('\n');
	fflush(stdout);
}

static void hits(struct bench_env *e, enum lb_family fam, uint32_t n, enum bench_way way, double target)
{
	uint32_t got = bench_connect(e, fam, n, fwd, rev);
	struct bench_case c = { .family = fam, .way = way, .packets = n < 200000 ? (200000 / n) * n : n,
		.whole_ticks = n > 500000 };
	char name[64];

	if (got != n)
		printf("# %u of %u stand\n", got, n);
	if (n >= 65536) c.packets = n < 500000 ? 4 * got : got;
	c.want = BENCH_FORWARD;
	bench_flows_set(e, fam, fwd, got, 16);
	snprintf(name, sizeof(name), "%s hit v%d forward %u", way == BENCH_TC ? "tc" : "xdp", fam == LB_V4 ? 4 : 6, n);
	row(e, c, name, target);
	c.want = BENCH_REVERSE;
	bench_flows_set(e, fam, rev, got, 16);
	snprintf(name, sizeof(name), "%s hit v%d reverse %u", way == BENCH_TC ? "tc" : "xdp", fam == LB_V4 ? 4 : 6, n);
	row(e, c, name, target);
}

int main(int argc, char **argv)
{
	struct bench_services one = { .n = 1, .scheduler = LB_SCHED_RR, .backends = 10 };
	struct bench_net net;
	struct bench_env e;
	cpu_set_t cpus;

	if (argc > 1) bench_rounds = atoi(argv[1]);
	CPU_ZERO(&cpus);
	CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	fwd = calloc(BENCH_FLOWS_MAX, sizeof(*fwd));
	rev = calloc(BENCH_FLOWS_MAX, sizeof(*rev));
	if (bench_net_open(&net)) bench_die("net");
	bench_env_open(&e, &net, 1048576);
	bench_services_set(&e, &one);
	printf("%-46s %7s %7s %7s\n", "", "total", "floor", "net");
	hits(&e, LB_V4, 1, BENCH_XDP, 20);
	hits(&e, LB_V6, 1, BENCH_XDP, 30);
	hits(&e, LB_V4, 65536, BENCH_XDP, 60);
	hits(&e, LB_V4, 1048576, BENCH_XDP, 110);
	hits(&e, LB_V6, 65536, BENCH_XDP, 0);
	hits(&e, LB_V6, 1048576, BENCH_XDP, 0);
	hits(&e, LB_V4, 1, BENCH_TC, 0);
	hits(&e, LB_V6, 1, BENCH_TC, 0);
	{
		struct bench_case c = { .family = LB_V4, .way = BENCH_XDP, .want = BENCH_PASS_NO_SERVICE, .packets = 200000 };
		fwd[0] = bench_client_flow(&e, LB_V4, 0);
		fwd[0].dport = 0x1234;
		bench_flows_set(&e, LB_V4, fwd, 1, 16);
		row(&e, c, "pass: no service's port", 15);
		fwd[0] = bench_client_flow(&e, LB_V4, 0);
		fwd[0].daddr[0] ^= 0x01000000;
		bench_flows_set(&e, LB_V4, fwd, 1, 16);
		row(&e, c, "pass: service's port, other address", 15);
		c.way = BENCH_XDP_NEW;
		c.want = BENCH_CONNECTION;
		fwd[0] = bench_fresh_flow(&e, LB_V4, 0);
		bench_flows_set(&e, LB_V4, fwd, 1, 2);
		bench_table_clear(&e);
		row(&e, c, "new, filling", 250);
		bench_run(&e, &c, 1, 6000000);
		row(&e, c, "new, full", 250);
	}
	bench_env_close(&e);
	return 0;
}
