// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * bench_guest.c - the comparison (compare.c) in the guest of scripts/guest-run: Debian's stock
 * kernel, which has IPVS where this machine's may not, and a clock that counts instructions, so
 * that neither this machine nor its load matter.
 *
 * An instruction is not a nanosecond: a cache miss counts as one, as an addition does.
 */
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench_report.h"
#include "bench_rows.h"

#define GUEST_RUN "scripts/guest-run"

/* All processors: QEMU has more than one thread. */
static void cpus_all(void)
{
	cpu_set_t set;

	memset(&set, 0xff, sizeof(set));
	if (sched_setaffinity(0, sizeof(set), &set))
		bench_die("taking all processors: %s", strerror(errno));
}

/*
 * Real-time threads may take the whole processor: else the kernel stops them 50 ms in each second,
 * and the generator's packets get lost. And `rep movsb` would count each byte as an instruction, so
 * that clearing a page costs 4,096: by ERMS the kernel would choose it everywhere.
 */
static void guest_exec(bool quick, char *self, char *program, char *dir, char *json)
{
	char rounds[16];
	char *argv[] = {GUEST_RUN,
			"-i",
			"1",
			"-t",
			"600",
			"-m",
			"2048",
			"-w",
			dir,
			"-k",
			"sysctl.kernel.sched_rt_runtime_us=-1",
			"-q",
			"-cpu",
			"-q",
			"max,la57=off,erms=off,fsrm=off",
			"--",
			self,
			"--rounds",
			rounds,
			"--no-sum",
			"--json",
			json,
			"--meshlb",
			program,
			"compare",
			quick ? "--quick" : NULL,
			NULL};

	snprintf(rounds, sizeof(rounds), "%d", quick ? 3 : 7);
	prctl(PR_SET_PDEATHSIG, SIGTERM); /* it takes QEMU down with it */
	cpus_all();
	execv(GUEST_RUN, argv);
	bench_die("running \"%s\": %s", GUEST_RUN, strerror(errno));
}

static int guest_run(bool quick, char *self, char *program, char *dir, char *json)
{
	pid_t pid;
	int status;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		bench_die("starting the guest: %s", strerror(errno));
	if (pid == 0)
		guest_exec(quick, self, program, dir, json);
	if (waitpid(pid, &status, 0) != pid)
		bench_die("waiting for the guest: %s", strerror(errno));
	return status;
}

void bench_guest(bool quick, const char *meshlb)
{
	char self[PATH_MAX] = "", program[PATH_MAX], dir[PATH_MAX], json[PATH_MAX + 16];
	struct utsname os;
	int status;

	uname(&os);
	if (strcmp(os.machine, "x86_64") != 0) {
		bench_report_part("The guest is an x86-64 one: not measured here", "");
		return;
	}
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0 || !realpath(meshlb, program))
		bench_die("finding \"%s\": %s", meshlb, strerror(errno));
	snprintf(dir, sizeof(dir), "%s", self);
	*strrchr(dir, '/') = 0; /* of the build: the one place that the guest may write to */
	snprintf(json, sizeof(json), "%s/guest.json", dir);
	unlink(json);
	bench_report_part("In the guest, where 1 us is 500 instructions:", "");
	status = guest_run(quick, self, program, dir, json);
	/* One that lacks some rows fails too. */
	if (bench_report_adopt(json) || (status && WEXITSTATUS(status) != 1))
		bench_report_error("compare", "the guest", "it ended without a result");
}
