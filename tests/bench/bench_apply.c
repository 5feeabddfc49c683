// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * bench_apply.c - milliseconds of whole `meshlb apply` commands, as a shell waits for them: many
 * services at once, and one changed backend among them.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>

#include "bench_env.h"
#include "bench_report.h"
#include "bench_rows.h"

#define SERVICES 1000
#define BACKENDS 10
#define ROUNDS   5

enum { FIRST, CHANGED, SAME, APPLIES };

/* Datapaths that any kernel has, and what is to be reached, in ms. */
static const struct {
	const char *name;
	double all, one;
} datapaths[] = {{"ebpf", 1000, 50}, {"nft", 2000, 100}};
#define DATAPATHS (sizeof(datapaths) / sizeof(datapaths[0]))

/* The configuration as text; `port`: of one backend of one service. */
static char *config_make(const char *datapath, unsigned int port)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		bench_die("out of memory");
	fprintf(f, "datapath: %s\ninterfaces: [{ name: c0 }]\nservices:\n", datapath);
	for (unsigned int s = 0; s < SERVICES; s++) {
		fprintf(f, "  - name: s%u\n    listen: [\"198.18.%u.%u:80\"]\n    backends:\n", s,
			s >> 8, s & 255);
		for (unsigned int b = 0; b < BACKENDS; b++)
			fprintf(f, "      - { address: \"172.16.%u.%u:%u\" }\n", b, s & 255,
				s == SERVICES / 2 && !b ? port : 1000 + s);
	}
	if (fclose(f))
		bench_die("out of memory");
	return text;
}

/* Runs meshlb with `text` as its standard input. Returns milliseconds. */
static double meshlb(const char *program, const char *arguments, const char *text)
{
	struct timespec from, to;
	char command[256];
	FILE *f;

	snprintf(command, sizeof(command), "%s --instance bench %s >/dev/null", program, arguments);
	clock_gettime(CLOCK_MONOTONIC, &from);
	f = popen(command, "w");
	if (!f || fputs(text, f) < 0 || pclose(f))
		bench_die("failed: %s", command);
	clock_gettime(CLOCK_MONOTONIC, &to);
	return (to.tv_sec - from.tv_sec) * 1e3 + (to.tv_nsec - from.tv_nsec) / 1e6;
}

static void report(const char *datapath, const char *what, double ms[ROUNDS], double target)
{
	char name[64];

	snprintf(name, sizeof(name), "%s: %s", datapath, what);
	bench_report_value("apply", name, bench_median(ms, ROUNDS), "ms", target, false);
}

static void apply_on(const char *program, size_t datapath)
{
	const char *name = datapaths[datapath].name;
	char *text[2] = {config_make(name, 1), config_make(name, 2)};
	double ms[APPLIES][ROUNDS];

	for (int i = 0; i < ROUNDS; i++) {
		ms[FIRST][i] = meshlb(program, "-q apply -f -", text[0]);
		ms[CHANGED][i] = meshlb(program, "-q apply -f -", text[1]);
		ms[SAME][i] = meshlb(program, "-q apply -f -", text[1]);
		meshlb(program, "-q down", "");
	}
	report(name, "all of them new", ms[FIRST], datapaths[datapath].all);
	report(name, "one changed backend", ms[CHANGED], datapaths[datapath].one);
	report(name, "no difference", ms[SAME], 0);
	free(text[0]);
	free(text[1]);
}

/* `program`: the path of meshlb. */
void bench_apply(const char *program)
{
	struct bench_net net;

	/* Pins of our own, in a bpffs that goes with the mount namespace. */
	if (mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL))
		bench_die("mounting a bpffs: %s", strerror(errno));
	if (bench_net_open(&net))
		bench_die("making the network namespace");
	bench_report_part("meshlb apply, 1,000 services x 10 backends", "");
	for (size_t i = 0; i < DATAPATHS; i++)
		apply_on(program, i);
	if (umount2("/sys/fs/bpf", MNT_DETACH))
		bench_die("unmounting the bpffs: %s", strerror(errno));
}
