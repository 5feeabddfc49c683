/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_clock.c - the clock that userspace computes is the programs', in a time namespace, too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <linux/bpf.h>
#include <sched.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <bpf/bpf.h>

#include "datapath/ebpf_internal.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

/* Ticks. CLOCK_MONOTONIC begins a little before the jiffies do, in the course of the boot. */
#define SLACK 2

/* The kernel's own, as a program reads it: the lower 32 bits of its jiffies. */
static bool kernel_clock(uint32_t *ticks)
{
	const struct bpf_insn code[] = {
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_jiffies64},
		{.code = BPF_JMP | BPF_EXIT},
	};
	const uint8_t packet[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));
	int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "clock", "GPL", code, 2, NULL);
	int rc = fd < 0 ? -1 : bpf_prog_test_run_opts(fd, &opts);

	close(fd);
	*ticks = opts.retval >> lb_clock_shift();
	return !rc;
}

static bool clocks_agree(void)
{
	uint32_t from, now, to, mask = ~0u >> lb_clock_shift();

	if (!kernel_clock(&from))
		return false;
	now = lb_clock_all() & mask;
	if (!kernel_clock(&to))
		return false;
	printf("  the kernel's: %u to %u, ours: %u\n", from, to, now);
	fflush(stdout);
	return ((now - from + SLACK) & mask) <= ((to - from + 2 * SLACK) & mask);
}

static void test_here(void **state)
{
	(void)state;
	assert_true(clocks_agree());
}

static bool offset_set(const char *monotonic)
{
	FILE *f = fopen("/proc/self/timens_offsets", "we");
	bool done = f && fprintf(f, "monotonic %s\n", monotonic) > 0;

	return f && !fclose(f) && done;
}

/* Exit codes of the processes below. */
enum { AGREE, DIFFER, NO_NAMESPACE };

static int in_child(int (*fn)(const char *arg), const char *arg)
{
	int status;
	pid_t child = fork();

	if (!child)
		_exit(fn(arg));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int compare(const char *arg)
{
	(void)arg;
	return clocks_agree() ? AGREE : DIFFER;
}

/* Its children are in the namespace, it is not itself, though /proc tells it of the offset. */
static int unshared(const char *monotonic)
{
	int children;

	if (unshare(CLONE_NEWTIME) || !offset_set(monotonic))
		return NO_NAMESPACE;
	children = in_child(compare, NULL);
	return children ? children : compare(NULL);
}

static void expect_agreement(const char *monotonic)
{
	int rc = in_child(unshared, monotonic);

	if (rc == NO_NAMESPACE)
		skip();
	assert_int_equal(rc, AGREE);
}

static void test_ahead(void **state)
{
	(void)state;
	expect_agreement("100000 999999999");
}

static void test_behind(void **state)
{
	(void)state;
	expect_agreement("-5 1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_behind), cmocka_unit_test(test_ahead),
		cmocka_unit_test(test_here), /* what it has found out stays with the process */
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
