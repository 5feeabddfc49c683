/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_timeouts.c - lb_timeouts: sets of timeouts in seconds as configured, and in ticks as the
 * programs look them up. Set 0 is the instance's; services that differ from it name another.
 */
#include <errno.h>
#include <string.h>

#include "ebpf_internal.h"

static const __u8 timeout_of[LB_CONN_STATES] = {
	[LB_CONN_SYN_SENT] = LB_TIMEOUT_SYN,
	[LB_CONN_SYN_RECV] = LB_TIMEOUT_SYN,
	[LB_CONN_ESTABLISHED] = LB_TIMEOUT_ESTABLISHED,
	[LB_CONN_FIN_CLIENT] = LB_TIMEOUT_HALF_CLOSED,
	[LB_CONN_FIN_BACKEND] = LB_TIMEOUT_HALF_CLOSED,
	[LB_CONN_CLOSING] = LB_TIMEOUT_CLOSING,
	[LB_CONN_CLOSED] = LB_TIMEOUT_CLOSED,
	[LB_CONN_UDP_NEW] = LB_TIMEOUT_UDP_NEW,
	[LB_CONN_UDP] = LB_TIMEOUT_UDP,
	[LB_CONN_AFFINITY_UDP] = LB_TIMEOUT_AFFINITY,
	[LB_CONN_AFFINITY] = LB_TIMEOUT_AFFINITY,
};

/* What somebody has written into the map is not believed. */
static bool is_sound(int timeout, __u32 seconds)
{
	return seconds >= lb_timeout_min(timeout) && seconds <= LB_TIMEOUT_MAX;
}

static __u32 seconds_in_force(const struct lb_timeouts *t, __u32 set, int timeout)
{
	if (set && is_sound(timeout, t->seconds[set][timeout]))
		return t->seconds[set][timeout];
	return is_sound(timeout, t->seconds[0][timeout]) ? t->seconds[0][timeout]
							 : lb_timeout_default(timeout);
}

static __u32 least(__u32 a, __u32 b)
{
	return a < b ? a : b;
}

/* As what is half-open, but until its connection's next packet is noted. */
static __u32 affinity_new_seconds(const struct lb_timeouts *t, __u32 set)
{
	__u32 seconds = least(seconds_in_force(t, set, LB_TIMEOUT_SYN),
			      seconds_in_force(t, set, LB_TIMEOUT_UDP_NEW)),
	      min = lb_timeout_min(LB_TIMEOUT_AFFINITY);

	return least(seconds > min ? seconds : min, seconds_in_force(t, set, LB_TIMEOUT_AFFINITY));
}

/* Nobody knows whether it is over: as long as it would be kept if it were not. */
static __u32 reset_seconds(const struct lb_timeouts *t, __u32 set)
{
	__u32 established = seconds_in_force(t, set, LB_TIMEOUT_ESTABLISHED),
	      half = seconds_in_force(t, set, LB_TIMEOUT_HALF_CLOSED);

	return established > half ? established : half;
}

static __u32 ticks_of(const struct lb_timeouts *t, __u32 life)
{
	__u32 state = life & 15;

	if (state == LB_CONN_BUSY)
		return ~0u;
	if (state < LB_CONN_BUSY || state >= LB_CONN_STATES)
		return 0;
	if (state == LB_CONN_AFFINITY_NEW)
		return lb_clock_ticks(affinity_new_seconds(t, life >> 4));
	if (state == LB_CONN_RESET)
		return lb_clock_ticks(reset_seconds(t, life >> 4));
	return lb_clock_ticks(seconds_in_force(t, life >> 4, timeout_of[state]));
}

static void ticks_fill(struct lb_timeouts *t, __u32 from, __u32 to)
{
	for (__u32 life = from; life < to; life++)
		__atomic_store_n(&t->ticks[life], ticks_of(t, life), __ATOMIC_RELAXED);
}

void lb_timeouts_fill(struct lb_timeouts *t, const uint32_t seconds[LB_TIMEOUTS])
{
	memcpy(t->seconds[0], seconds, sizeof(t->seconds[0]));
	for (int set = 1; set < LB_TIMEOUT_SETS; set++)
		for (int i = 0; i < LB_TIMEOUTS; i++)
			if (!is_sound(i, t->seconds[set][i]))
				t->seconds[set][i] = 0;
	ticks_fill(t, 0, LB_TIMEOUT_SETS << 4);
}

/* Bits of all sets but the instance's. */
#define SETS ((1u << LB_TIMEOUT_SETS) - 2)

/* The first of `sets` that has these timeouts; 0: none has. */
static __u32 set_with(const struct lb_timeouts *t, __u32 sets, const uint32_t seconds[LB_TIMEOUTS])
{
	for (__u32 set = 1; set < LB_TIMEOUT_SETS; set++)
		if ((sets >> set & 1) && !memcmp(t->seconds[set], seconds, sizeof(t->seconds[set])))
			return set;
	return 0;
}

/* One that nobody names, neither a service in force nor an entry of the connection table; 0: there
 * is none. The table is gone through once a change: the grace period since the last commit is over,
 * so that an entry takes no set any more but one in force and the one that it has. */
static int set_unnamed(struct lb_tx *tx, __u32 *set, struct lb_err *err)
{
	__u32 asked = SETS & ~tx->sets, free;
	int ret = 0;

	if (asked && !tx->entries_asked)
		ret = lb_conn_sets(tx->dp, asked, &tx->entries_sets, err);
	if (ret)
		return ret;
	tx->entries_asked = true;
	free = asked & ~tx->entries_sets;
	*set = free ? __builtin_ctz(free) : 0;
	return 0;
}

/* A set that has these timeouts, in force or from former times, or one that they can be written to;
 * 0: there is none. One of zeros was never given to anybody. */
static int set_find(struct lb_tx *tx, const uint32_t seconds[LB_TIMEOUTS], __u32 *set,
		    struct lb_err *err)
{
	static const uint32_t never_used[LB_TIMEOUTS];
	const struct lb_timeouts *t = tx->dp->timeouts;

	*set = set_with(t, tx->sets, seconds);
	if (!*set)
		*set = set_with(t, ~tx->sets, seconds);
	if (!*set)
		*set = set_with(t, ~tx->sets, never_used);
	return *set ? 0 : set_unnamed(tx, set, err);
}

int lb_timeouts_take(struct lb_tx *tx, const struct lb_service_conf *s, __u8 *set,
		     struct lb_err *err)
{
	bool own = lb_service_has_any_timeouts(s);
	struct lb_timeouts *t = tx->dp->timeouts;
	__u32 i = 0;
	int ret = own ? set_find(tx, s->timeouts, &i, err) : 0;

	if (ret)
		return ret;
	if (own && !i)
		return lb_err_set(
			err, ENOSPC,
			"timeouts (and affinity.timeout) of service \"%s\": %d different "
			"ones are in use, by services (old and new stand side by side) or "
			"by connections that still live by them: change less at a time, use "
			"those of before, wait, or end connections by `meshlb conn flush`",
			s->name, LB_TIMEOUT_SETS - 1);
	/* Before the commit, and it may fail: nobody sees what nobody names. The ones of former
	 * times stay as they are. */
	if (i && !(tx->sets >> i & 1)) {
		memcpy(t->seconds[i], s->timeouts, sizeof(s->timeouts));
		ticks_fill(t, i << 4, (i + 1) << 4);
	}
	tx->sets |= 1 << i;
	*set = i;
	return 0;
}

void lb_timeouts_read(const struct lb_dp *dp, __u32 set, uint32_t seconds[LB_TIMEOUTS])
{
	for (int i = 0; i < LB_TIMEOUTS; i++) {
		seconds[i] = set < LB_TIMEOUT_SETS ? dp->timeouts->seconds[set][i] : 0;
		if (!is_sound(i, seconds[i]))
			seconds[i] = set ? 0 : lb_timeout_default(i);
	}
}

void lb_timeouts_audit(const struct lb_dp *dp, struct lb_audit *a)
{
	const struct lb_timeouts *t = dp->timeouts;

	if (dp->fresh) /* the first commit fills it */
		return;
	for (int set = 0; set < LB_TIMEOUT_SETS; set++)
		for (int i = 0; i < LB_TIMEOUTS; i++)
			if ((!set || t->seconds[set][i]) && !is_sound(i, t->seconds[set][i]))
				lb_finding(a,
					   "lb_timeouts: seconds[%d][%d] is %u, should be %u to %u",
					   set, i, t->seconds[set][i], lb_timeout_min(i),
					   LB_TIMEOUT_MAX);
	for (__u32 life = 0; life < LB_TIMEOUT_SETS << 4; life++)
		if (t->ticks[life] != ticks_of(t, life))
			lb_finding(a, "lb_timeouts: ticks[%u] is %u, should be %u", life,
				   t->ticks[life], ticks_of(t, life));
}
