// SPDX-License-Identifier: GPL-2.0-or-later
/* bench.c - what is measured, in which order, on which processor. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "bench_report.h"
#include "bench_rows.h"

static void usage(FILE *out)
{
	fputs("Usage: bench [--quick] [--rounds N] [--cpu N] [--json FILE] [--no-sum]\n"
	      "             [--meshlb PROGRAM] [rows|live|apply|guest|compare]\n",
	      out);
}

static void cpu_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu < 0 ? sysconf(_SC_NPROCESSORS_ONLN) - 1 : cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		bench_die("pinning to processor %d", cpu);
}

/* What is mounted here goes with the process. */
static void mounts_private(void)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		bench_die("making a mount namespace: %s", strerror(errno));
}

static int net_here(void)
{
	int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		bench_die("opening the network namespace: %s", strerror(errno));
	return fd;
}

/* guest-run may have to download a kernel, by the network of whoever called. */
static void guest(bool quick, const char *meshlb, int net)
{
	if (setns(net, CLONE_NEWNET))
		bench_die("going back to the network namespace: %s", strerror(errno));
	bench_guest(quick, meshlb);
}

/* All parts, or `only` one. */
static void parts_run(const char *only, bool quick, const char *meshlb)
{
	int net = net_here();

	if (strcmp(only, "compare") == 0) {
		bench_compare(quick, meshlb);
		return;
	}
	if (strcmp(only, "guest") != 0)
		bench_memory(quick);
	if (!*only || strcmp(only, "rows") == 0)
		bench_rows(quick);
	if (!*only || strcmp(only, "live") == 0)
		bench_live(quick);
	if (!*only || strcmp(only, "apply") == 0)
		bench_apply(meshlb);
	if (!*only || strcmp(only, "guest") == 0)
		guest(quick, meshlb, net);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"quick", no_argument, NULL, 'q'},        {"rounds", required_argument, NULL, 'r'},
		{"cpu", required_argument, NULL, 'c'},    {"json", required_argument, NULL, 'j'},
		{"no-sum", no_argument, NULL, 's'},       {"help", no_argument, NULL, 'h'},
		{"meshlb", required_argument, NULL, 'm'}, {},
	};
	const char *json = NULL, *only = "", *meshlb = "build/meshlb";
	unsigned int rounds = 0;
	bool quick = false, sum = true;
	int opt, cpu = -1;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'q')
			quick = true;
		else if (opt == 'r')
			rounds = strtoul(optarg, NULL, 10);
		else if (opt == 'c')
			cpu = strtol(optarg, NULL, 10);
		else if (opt == 'j')
			json = optarg;
		else if (opt == 's')
			sum = false;
		else if (opt == 'm')
			meshlb = optarg;
		else
			return usage(opt == 'h' ? stdout : stderr), opt == 'h' ? 0 : 2;
	}
	if (optind < argc)
		only = argv[optind];
	bench_rounds = rounds ? rounds : quick ? 7 : 41;
	cpu_pin(cpu);
	mounts_private();
	bench_report_open(quick);
	parts_run(only, quick, meshlb);
	return bench_report_close(json, sum) ? 1 : 0;
}
