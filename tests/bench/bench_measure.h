/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench_measure.h - nanoseconds per packet: rounds of floor and program in turn, and their medians.
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include "bench_env.h"

/* Which wrapper brings the packets. */
enum bench_way { BENCH_XDP, BENCH_XDP_NEW, BENCH_XDP_SAME, BENCH_TC, BENCH_WAYS };

/* What every packet must turn out to be; the counters are checked after the rounds. */
enum bench_want {
	BENCH_NOTHING,    /* the program is not run: one line of the table is read */
	BENCH_FORWARD,    /* of a known connection, to the backend */
	BENCH_REVERSE,    /* of a known connection, to the client */
	BENCH_CONNECTION, /* opens one */
	BENCH_SHED,       /* is dropped by a rate of new flows */
	BENCH_PASS_NO_SERVICE,
	BENCH_PASS_NOT_LOCAL,
};

struct bench_case {
	enum lb_family family;
	enum bench_way way;
	enum bench_want want;
	uint32_t packets; /* of a sample; where the template matters, a multiple of it */
	bool whole_ticks; /* a sample lasts several ticks, see run_ticks() */
};

/* ns per packet, medians over the rounds; floor and net of the same rounds. */
struct bench_figures {
	double total, floor, net;
	double best; /* of the quickest rounds: less the noise of a machine shared with others */
};

extern unsigned int bench_rounds;

/* Runs a wrapper over the template for `packets` packets. Returns ns per packet. */
double bench_run(struct bench_env *e, const struct bench_case *c, enum bench_slot slot,
		 uint32_t packets);

/* What is measured together: each round takes a sample of each. */
struct bench_job {
	struct bench_env *e;
	struct bench_case c;
	struct bench_figures f; /* filled by bench_measure() */
};

/* Ends the bench where the counters do not say of every packet what c.want does. */
void bench_measure(struct bench_job *jobs, unsigned int n, const char *name);

/* Opens n connections through the program: SYN, SYN-ACK, ACK. Fills both lists, BENCH_FLOWS_MAX
 * each; returns how many connections stand at the end. */
uint32_t bench_connect(struct bench_env *e, enum lb_family family, uint32_t n,
		       struct bench_tuple *forward, struct bench_tuple *reverse);

double bench_median(double *v, unsigned int n);

#endif
