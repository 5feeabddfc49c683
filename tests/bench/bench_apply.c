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

/* The configuration as text; `port`: of one backend of one service. */
static char *config_make(unsigned int port)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		bench_die("out of memory");
	fputs("interfaces: [{ name: c0 }]\nservices:\n", f);
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

/* `program`: the path of meshlb. */
void bench_apply(const char *program)
{
	char *text[2] = {config_make(1), config_make(2)};
	double ms[APPLIES][ROUNDS];
	struct bench_net net;

	/* Pins of our own, in a bpffs that goes with the mount namespace. */
	if (mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL))
		bench_die("mounting a bpffs: %s", strerror(errno));
	if (bench_net_open(&net))
		bench_die("making the network namespace");
	for (int i = 0; i < ROUNDS; i++) {
		ms[FIRST][i] = meshlb(program, "apply -f -", text[0]);
		ms[CHANGED][i] = meshlb(program, "apply -f -", text[1]);
		ms[SAME][i] = meshlb(program, "apply -f -", text[1]);
		meshlb(program, "down 2>&1", "");
	}
	if (umount2("/sys/fs/bpf", MNT_DETACH))
		bench_die("unmounting the bpffs: %s", strerror(errno));
	bench_report_part("meshlb apply, 1,000 services x 10 backends", "");
	bench_report_value("apply", "all of them new", bench_median(ms[FIRST], ROUNDS), "ms", 1000,
			   false);
	bench_report_value("apply", "one changed backend", bench_median(ms[CHANGED], ROUNDS), "ms",
			   50, false);
	bench_report_value("apply", "no difference", bench_median(ms[SAME], ROUNDS), "ms", 0,
			   false);
	free(text[0]);
	free(text[1]);
}
