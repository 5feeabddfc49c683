// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ebpf_clock.c - the programs' clock: ticks of 2^shift jiffies, about a second each.
 *
 * Jiffies are what a program reads without a call. Userspace computes them: they begin at
 * INITIAL_JIFFIES (include/linux/jiffies.h: -300 s, as 32 bits) when CLOCK_MONOTONIC begins at 0.
 * That clock may be another one in a time namespace (time_namespaces(7)), jiffies are not.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "datapath/ebpf_internal.h"

#define NSEC 1000000000ull

/* Length of a jiffy: what the coarse clocks resolve. Asked once: it is needed for each timeout. */
__u64 lb_clock_jiffy_ns(void)
{
	static __u64 ns;
	struct timespec res;

	if (ns)
		return ns;
	if (clock_getres(CLOCK_MONOTONIC_COARSE, &res) || res.tv_sec || res.tv_nsec < 100000)
		ns = NSEC / 250;
	else
		ns = res.tv_nsec;
	return ns;
}

/* The shift that makes a tick nearest to a second: 0.85 s (HZ 300) to 1.28 s (HZ 100). */
__u32 lb_clock_shift(void)
{
	__u64 ns = lb_clock_jiffy_ns();
	__u32 shift = 0;

	while (ns << (shift + 1) <= NSEC * 4 / 3)
		shift++;
	return shift;
}

__u32 lb_clock_tick_ms(void)
{
	return (lb_clock_jiffy_ns() << lb_clock_shift()) / 1000000;
}

/* Until Linux 6.2 who has unshared a time namespace comes into it by a fork alone, and what /proc
 * tells is the children's. */
static bool is_of_children(void)
{
	struct stat own, children;

	return stat("/proc/self/ns/time", &own) ||
	       stat("/proc/self/ns/time_for_children", &children) || own.st_ino != children.st_ino;
}

/* "monotonic           86400         0": seconds and nanoseconds. */
static __s64 offset_read(void)
{
	FILE *f = fopen("/proc/self/timens_offsets", "re");
	__s64 seconds = 0, ns = 0;
	char line[128], *end;

	if (!f) /* this kernel has no such namespaces */
		return 0;
	if (fgets(line, sizeof(line), f) && !strncmp(line, "monotonic ", 10)) {
		seconds = strtoll(line + 10, &end, 10);
		ns = strtoll(end, NULL, 10);
	}
	fclose(f);
	return seconds * (__s64)NSEC + ns;
}

/* By how much CLOCK_MONOTONIC is ahead here. Asked once: a process does not change over. */
static __s64 offset_ns(void)
{
	static __s64 offset;
	static bool known;

	if (!known && !is_of_children())
		offset = offset_read();
	known = true;
	return offset;
}

__u32 lb_clock_now(void)
{
	return lb_clock_all() & LB_META_TICK_MASK;
}

__u32 lb_clock_all(void)
{
	__u64 ns = lb_clock_jiffy_ns(), hz = (NSEC + ns / 2) / ns;
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return ((__u32)(-300 * (__s64)hz) + (t.tv_sec * NSEC + t.tv_nsec - offset_ns()) / ns) >>
	       lb_clock_shift();
}

__u32 lb_clock_ticks(__u32 seconds)
{
	__u64 tick = lb_clock_jiffy_ns() << lb_clock_shift();

	return (seconds * NSEC + tick - 1) / tick;
}

__u32 lb_clock_seconds(__u32 ticks)
{
	return ticks * (lb_clock_jiffy_ns() << lb_clock_shift()) / NSEC;
}
