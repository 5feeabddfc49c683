/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_packets.c - each row of the packet tables through both hooks; every frame cut at every byte;
 * every checksum that a packet can have.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "lib_judge.h"

static struct run run;
static struct run_result result;

static int open_connection(const struct row *row, enum lb_hook hook, char *why)
{
	struct pkt p;

	run_forget_connections(&run);
	if (!row->open)
		return 0;
	row_opener(row, &p);
	if (run_packet(&run, hook, run.net.c0, &p, &result)) {
		snprintf(why, WHY_SIZE, "the opening packet did not run");
		return -1;
	}
	if (!result.forwarded) {
		snprintf(why, WHY_SIZE, "the opening packet was not forwarded: %s",
			 run_reason_name(result.reason));
		return -1;
	}
	return 0;
}

static int run_row(const struct row *row, enum lb_hook hook, const struct pkt *p, char *why)
{
	if (open_connection(row, hook, why))
		return -1;
	memset(&result, 0, sizeof(result));
	if (run_packet(&run, hook, row_ifindex(row, &run), p, &result)) {
		snprintf(why, WHY_SIZE, "did not run, or verdict %d", result.verdict);
		return -1;
	}
	return 0;
}

static void test_group(void **state)
{
	const struct row_group *g = *state;
	unsigned int failed = 0;
	char why[WHY_SIZE];
	struct pkt p;

	for (size_t i = 0; i < g->n; i++) {
		row_build(&g->rows[i], &p);
		for (int hook = 0; hook < LB_HOOKS; hook++) {
			if (!run_accepts(hook, &p))
				continue;
			if (!run_row(&g->rows[i], hook, &p, why) &&
			    !judge_row(&run, &g->rows[i], hook, &p, &result, why))
				continue;
			judge_report(g->rows[i].name, hook, why, &p, &result);
			failed++;
		}
	}
	assert_int_equal(failed, 0);
}

/* All rows that end in a forwarded packet; fn returns how often it failed. */
static unsigned int each_forwarded(unsigned int (*fn)(const struct row *row, enum lb_hook hook))
{
	unsigned int failed = 0;

	for (size_t g = 0; g < rows_forward_n; g++) {
		for (size_t i = 0; i < rows_forward[g].n; i++) {
			const struct row *row = &rows_forward[g].rows[i];

			if (!row->to || row->reason || row->to_tc)
				continue;
			for (int hook = 0; hook < LB_HOOKS; hook++)
				failed += fn(row, hook);
		}
	}
	return failed;
}

static unsigned int expect_reason(const struct row *row, enum lb_hook hook, const struct pkt *p,
				  int reason)
{
	char why[WHY_SIZE];

	if (!run_accepts(hook, p))
		return 0;
	if (!run_row(row, hook, p, why) && !judge_reason(p, &result, reason, why))
		return 0;
	judge_report(row->name, hook, why, p, &result);
	return 1;
}

/* The frame ends before its IP packet does. */
static unsigned int cut_frame(const struct row *row, enum lb_hook hook)
{
	unsigned int failed = 0;
	struct pkt_view v;
	struct pkt p;
	size_t step, end;

	row_build(row, &p);
	pkt_parse(p.data, p.len, &v);
	end = v.end;
	for (p.len = 14; p.len < end && !failed; p.len += step) {
		failed += expect_reason(row, hook, &p, LB_REASON_MALFORMED);
		step = p.len < 200 || p.len > end - 20 ? 1 : 97;
	}
	return failed;
}

static void test_cut_frames(void **state)
{
	(void)state;
	assert_int_equal(each_forwarded(cut_frame), 0);
}

static void set_length(struct pkt *p, const struct pkt_view *v, size_t end)
{
	size_t at = v->l3 + (v->family == 4 ? 2 : 4), n = end - v->l3 - (v->family == 4 ? 0 : 40);

	p->data[at] = n >> 8;
	p->data[at + 1] = n & 0xff;
	if (v->proto == PKT_UDP) {
		p->data[v->l4_off + 4] = (end - v->l4_off) >> 8;
		p->data[v->l4_off + 5] = (end - v->l4_off) & 0xff;
	}
	pkt_fix_csums(p);
}

/* The IP packet itself ends in its L4 header. */
static unsigned int cut_packet(const struct row *row, enum lb_hook hook)
{
	unsigned int failed = 0;
	size_t header, n;
	struct pkt_view v;
	struct pkt p;

	row_build(row, &p);
	pkt_parse(p.data, p.len, &v);
	header = v.proto == PKT_UDP ? 8 : (p.data[v.l4_off + 12] >> 4) * 4;
	for (n = 0; n < header && !failed; n++) {
		row_build(row, &p);
		set_length(&p, &v, v.l4_off + n);
		failed += expect_reason(row, hook, &p, LB_REASON_MALFORMED); /* padding behind */
		p.len = v.l4_off + n;
		failed += expect_reason(row, hook, &p, LB_REASON_MALFORMED);
	}
	return failed;
}

static void test_cut_packets(void **state)
{
	(void)state;
	assert_int_equal(each_forwarded(cut_packet), 0);
}

/* One packet with each checksum from 0 to 0xffff (in the guest: every 61st, and the edges). */
static unsigned int sweep_csums(const struct row *row, enum lb_hook hook)
{
	unsigned int failed = 0, step = getenv("TEST_GUEST") ? 61 : 1;
	struct pkt_end to = pkt_end(row->to, row->to_port);
	char why[WHY_SIZE];
	struct pkt p;

	row_build(row, &p);
	if (run_row(row, hook, &p, why))
		return 1;
	for (uint32_t sum = 0; sum <= 0xffff && !failed; sum++) {
		if (step > 1 && sum % step && (uint16_t)(sum + 8) > 16)
			continue;
		if (!sum && row->p.proto == PKT_UDP)
			continue; /* that is "none": a row of its own */
		pkt_tune_csum(&p, sum);
		if (!run_packet(&run, hook, row_ifindex(row, &run), &p, &result) &&
		    !judge_forwarded(&run, hook, row_ifindex(row, &run), &p, &result, &to,
				     row->from_backend, why))
			continue;
		judge_report(row->name, hook, why, &p, &result);
		failed++;
	}
	return failed;
}

static void test_checksums(void **state)
{
	static const struct row rows[] = {
		{"TCP",
		 {.src = NET_CLIENT, .dst = NET_VIP, .sport = 1, .dport = 80, .payload = 2},
		 .open = true,
		 .to = "10.1.0.11",
		 .to_port = 8080},
		{"UDP",
		 {.src = NET_CLIENT,
		  .dst = NET_VIP,
		  .sport = 1,
		  .dport = 53,
		  .proto = PKT_UDP,
		  .payload = 2},
		 .open = true,
		 .to = "10.1.0.11",
		 .to_port = 5353},
		{"UDP v6",
		 {.src = NET_CLIENT6,
		  .dst = NET_VIP6,
		  .sport = 1,
		  .dport = 53,
		  .proto = PKT_UDP,
		  .payload = 3},
		 .open = true,
		 .to = "fd00:1::11",
		 .to_port = 5353},
		{"UDP answer",
		 {.src = "10.1.0.11",
		  .dst = NET_CLIENT,
		  .sport = 5353,
		  .dport = 1,
		  .proto = PKT_UDP,
		  .payload = 2},
		 .open = true,
		 .from_backend = true,
		 .to = NET_VIP,
		 .to_port = 53},
		{"UDP answer v6",
		 {.src = "fd00:1::11",
		  .dst = NET_CLIENT6,
		  .sport = 5353,
		  .dport = 1,
		  .proto = PKT_UDP,
		  .payload = 2},
		 .open = true,
		 .from_backend = true,
		 .to = NET_VIP6,
		 .to_port = 53},
	};
	unsigned int failed = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (int hook = 0; hook < LB_HOOKS; hook++)
			failed += sweep_csums(&rows[i], hook);
	}
	assert_int_equal(failed, 0);
}

static void add_groups(struct CMUnitTest *tests, size_t *n, const struct row_group *g, size_t count)
{
	for (size_t i = 0; i < count; i++)
		tests[(*n)++] = (struct CMUnitTest){
			.name = g[i].name, .test_func = test_group, .initial_state = (void *)&g[i]};
}

int main(void)
{
	struct CMUnitTest tests[32] = {
		cmocka_unit_test(test_cut_frames),
		cmocka_unit_test(test_cut_packets),
		cmocka_unit_test(test_checksums),
	};
	size_t n = 3;
	int rc;

	rc = run_open(&run, 1024, 256, 1);
	if (rc) {
		fprintf(stderr, "test_packets: loading the programs: %s\n", strerror(-rc));
		return 1;
	}
	rows_add_services(&run);
	add_groups(tests, &n, rows_forward, rows_forward_n);
	add_groups(tests, &n, rows_pass, rows_pass_n);
	rc = _cmocka_run_group_tests("packets", tests, n, NULL, NULL);
	run_close(&run);
	return rc;
}
