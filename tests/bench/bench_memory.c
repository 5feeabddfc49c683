// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * bench_memory.c - the latency of dependent loads from as much memory as the tables take: by it the
 * rows with many connections are to be judged, on a machine whose caches are shared with others.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bench_report.h"
#include "bench_rows.h"

#define LINE 64

static double cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

/* A single cycle through all lines, in random order (Sattolo). */
static void cycle_make(uint8_t *memory, uint32_t lines)
{
	uint32_t *order = malloc(lines * sizeof(*order));

	if (!order)
		bench_die("out of memory");
	for (uint32_t i = 0; i < lines; i++)
		order[i] = i;
	for (uint32_t i = lines - 1; i; i--) {
		uint32_t with = ((uint64_t)random() << 16 ^ random()) % i, swap = order[i];

		order[i] = order[with];
		order[with] = swap;
	}
	for (uint32_t i = 0; i < lines; i++)
		*(uint32_t *)(memory + (size_t)i * LINE) = order[i];
	free(order);
}

static double latency(uint32_t bytes, uint32_t loads)
{
	uint8_t *memory = malloc(bytes);
	uint32_t at = 0;
	double start;

	if (!memory)
		bench_die("out of memory");
	cycle_make(memory, bytes / LINE);
	start = cpu_ns();
	for (uint32_t i = 0; i < loads; i++)
		at = *(volatile uint32_t *)(memory + (size_t)at * LINE);
	start = cpu_ns() - start;
	free(memory);
	return start / loads;
}

void bench_memory(bool quick)
{
	static const uint32_t mib[] = {1, 4, 16, 64};
	double v[3];
	char text[64];

	bench_report_part("Memory latency of this machine, now", "");
	for (int i = 0; i < 4; i++) {
		for (int k = 0; k < 3; k++)
			v[k] = latency(mib[i] << 20, quick ? 200000 : 1000000);
		snprintf(text, sizeof(text), "dependent loads over %u MiB", mib[i]);
		bench_report_value("memory", text, bench_median(v, 3), "ns", 0, false);
	}
}
