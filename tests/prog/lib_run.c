/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lib_run.c - loads the programs and runs packets through them.
 */
#include "lib_run.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <linux/bpf.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "datapath/ebpf_internal.h"

#define TC_NEXT     (-1)
#define TC_DROP     2
#define TC_REDIRECT 7

#define SERVICES   64
#define MEMBERS    1024
#define RING_LINES 1024

static const struct {
	const char *name;
	bool drops;
} reasons[LB_REASONS] = {
#define REASON(name, text, drop, help) {text, drop},
	LB_REASON_LIST(REASON)
#undef REASON
};

const char *run_reason_name(int reason)
{
	return reason == RUN_FORWARDED ? "(forwarded)" : reasons[reason].name;
}

bool run_reason_drops(int reason)
{
	return reason != RUN_FORWARDED && reasons[reason].drops;
}

static void *map_mmap(struct bpf_map *map)
{
	size_t size = (size_t)((bpf_map__value_size(map) + 7) & ~7u) * bpf_map__max_entries(map);
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	return p == MAP_FAILED ? NULL : p;
}

static void size_maps(struct run *r)
{
	struct {
		struct bpf_map *map;
		uint32_t n;
	} sizes[] = {
		{r->skel->maps.lb_listens, 4 * SERVICES},  {r->skel->maps.lb_services, SERVICES},
		{r->skel->maps.lb_members, MEMBERS},       {r->skel->maps.lb_rings, RING_LINES},
		{r->skel->maps.lb_backends, RUN_IDS},      {r->skel->maps.lb_loads, RUN_IDS},
		{r->skel->maps.lb_backend_stats, RUN_IDS}, {r->skel->maps.lb_conn4, r->buckets4},
		{r->skel->maps.lb_conn6, r->buckets6},     {r->skel->maps.lb_seqs4, r->buckets4},
		{r->skel->maps.lb_seqs6, r->buckets6},
	};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		bpf_map__set_max_entries(sizes[i].map, sizes[i].n);
}

/* splitmix64: the secret must only look random, and be the same for the same seed. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static int map_all(struct run *r)
{
	r->config = map_mmap(r->skel->maps.lb_config);
	r->ports = map_mmap(r->skel->maps.data_lb_ports);
	r->backends = map_mmap(r->skel->maps.lb_backends);
	r->loads = map_mmap(r->skel->maps.lb_loads);
	r->conn4 = map_mmap(r->skel->maps.lb_conn4);
	r->conn6 = map_mmap(r->skel->maps.lb_conn6);
	r->cpus = libbpf_num_possible_cpus();
	if (r->cpus < 1 || !r->config || !r->ports || !r->backends || !r->loads || !r->conn4 ||
	    !r->conn6)
		return -ENOMEM;
	r->per_cpu = calloc(r->cpus, sizeof(*r->per_cpu));
	return r->per_cpu ? 0 : -ENOMEM;
}

uint32_t run_resets_max = 1000, run_tick_ns = 1000000000;

int run_open(struct run *r, uint32_t buckets4, uint32_t buckets6, uint64_t seed)
{
	uint32_t seconds[LB_TIMEOUTS];
	int rc;

	memset(r, 0, sizeof(*r));
	r->buckets4 = buckets4;
	r->buckets6 = buckets6;
	rc = net_open(&r->net);
	if (rc)
		return rc;
	r->skel = lb_bpf__open();
	if (!r->skel)
		return -errno;
	size_maps(r);
	r->skel->rodata->lb_conn4_buckets = buckets4;
	r->skel->rodata->lb_conn6_buckets = buckets6;
	r->skel->rodata->lb_conn4_homes = LB_CONN_HOMES(buckets4);
	r->skel->rodata->lb_conn6_homes = LB_CONN_HOMES(buckets6);
	r->skel->rodata->lb_tick_shift = 64 /* LB_TEST_CLOCK */;
	r->skel->rodata->lb_jiffy_ns = run_tick_ns;
	r->skel->rodata->lb_resets_max = run_resets_max;
	lb_timeouts_default(seconds);
	lb_timeouts_fill(&r->skel->data_timeouts->lb_timeouts, seconds);
	for (size_t i = 0; i < LB_SECRET_WORDS; i++)
		r->skel->rodata->lb_secret[i] = next_random(&seed);
	rc = lb_bpf__load(r->skel);
	if (!rc)
		rc = map_all(r);
	if (rc)
		return rc;
	r->prog[LB_HOOK_XDP] = bpf_program__fd(r->skel->progs.meshlb_xdp);
	r->prog[LB_HOOK_TC] = bpf_program__fd(r->skel->progs.meshlb_tc);
	r->services = r->next_backend = 1;
	r->config->abi = LB_ABI_VERSION;
	r->config->generation = 1;
	run_clock(r, 1001);
	run_iface_flags(r, r->net.c0, LB_IFACE_XMIT | LB_IFACE_TX | LB_IFACE_ATTACHED);
	run_iface_flags(r, r->net.b0, LB_IFACE_XMIT | LB_IFACE_TX | LB_IFACE_ATTACHED);
	run_iface_flags(r, r->net.j0, LB_IFACE_XMIT | LB_IFACE_TX | LB_IFACE_ATTACHED);
	return 0;
}

void run_close(struct run *r)
{
	lb_bpf__destroy(r->skel);
	free(r->per_cpu);
	memset(r, 0, sizeof(*r));
}

void run_clock(struct run *r, uint32_t tick)
{
	r->skel->bss->lb_clock = tick;
}

uint32_t run_now(struct run *r)
{
	return r->skel->bss->lb_clock;
}

void run_later(struct run *r, uint32_t ticks)
{
	run_clock(r, run_now(r) + ticks);
}

void run_fresh(struct run *r)
{
	run_forget_connections(r);
	run_later(r, 10000);
}

uint32_t run_ticks(const struct run *r, int state)
{
	return r->skel->data_timeouts->lb_timeouts.ticks[state];
}

uint32_t run_unsettled(const struct run *r)
{
	return r->skel->rodata->lb_fresh[LB_CONN_ESTABLISHED] + 1;
}

int run_stay_on(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

void run_iface_flags(struct run *r, uint32_t ifindex, uint8_t flags)
{
	struct lb_iface i = {.flags = flags, .wanted = LB_KIND_XDP, .actual = LB_KIND_XDP};

	bpf_map_update_elem(bpf_map__fd(r->skel->maps.lb_ifaces), &ifindex, &i, BPF_ANY);
}

void run_counters(struct run *r, uint32_t backend, struct lb_counters *c)
{
	struct lb_counters per_cpu[r->cpus];

	memset(c, 0, sizeof(*c));
	if (bpf_map_lookup_elem(bpf_map__fd(r->skel->maps.lb_backend_stats), &backend, per_cpu))
		return;
	for (int i = 0; i < r->cpus; i++) {
		for (int d = 0; d < 2; d++) {
			c->packets[d] += per_cpu[i].packets[d];
			c->bytes[d] += per_cpu[i].bytes[d];
		}
		c->connections += per_cpu[i].connections;
	}
}

/* Which reasons were counted since the last call. */
static int read_reasons(struct run *r, enum lb_hook hook, struct run_result *res)
{
	struct lb_reasons sum = {0};
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(bpf_map__fd(r->skel->maps.lb_reasons), &zero, r->per_cpu))
		return -errno;
	for (int cpu = 0; cpu < r->cpus; cpu++) {
		for (size_t i = 0; i < sizeof(sum) / sizeof(uint64_t); i++)
			((uint64_t *)&sum)[i] += ((uint64_t *)&r->per_cpu[cpu])[i];
	}
	res->reason = RUN_FORWARDED;
	res->reasons = 0;
	for (int h = 0; h < LB_HOOKS; h++) {
		for (int i = 0; i < LB_REASONS; i++) {
			uint64_t n = sum.count[h][i] - r->seen.count[h][i];

			/* Counted for the other hook: more than one, whatever else. */
			res->reasons += n && h != (int)hook ? 2 : n;
			if (n)
				res->reason = i;
		}
	}
	r->seen = sum;
	return 0;
}

static int judge_verdict(enum lb_hook hook, struct run_result *res)
{
	bool xdp = hook == LB_HOOK_XDP;
	bool sent = xdp ? res->verdict == XDP_TX || res->verdict == XDP_REDIRECT
			: res->verdict == TC_REDIRECT;

	res->answered = sent && (res->reason == LB_REASON_BACKEND_GONE_RESET ||
				 res->reason == LB_REASON_BACKEND_DRAINED_RESET ||
				 res->reason == LB_REASON_NO_CONNECTION_RESET ||
				 res->reason == LB_REASON_BACKENDS_FULL_RESET);
	res->forwarded = sent && !res->answered;
	res->dropped = res->verdict == (xdp ? XDP_DROP : TC_DROP);
	return sent || res->dropped || res->verdict == (xdp ? XDP_PASS : TC_NEXT) ? 0 : -EPROTO;
}

bool run_accepts(enum lb_hook hook, const struct pkt *p)
{
	return hook == LB_HOOK_XDP ? p->len >= 14 : p->len >= 14 + 40 && p->len <= 3500;
}

int run_packet(struct run *r, enum lb_hook hook, uint32_t ifindex, const struct pkt *in,
	       struct run_result *res)
{
	struct xdp_md xdp = {.data_end = in->len, .ingress_ifindex = ifindex};
	struct __sk_buff skb = {.ifindex = ifindex,
				.ingress_ifindex = ifindex,
				.gso_size = r->gso_size,
				.gso_segs = r->gso_segs};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = in->data, .data_size_in = in->len,
		    .data_out = res->out.data, .data_size_out = PKT_MAX, .repeat = 1);
	int rc;

	opts.ctx_in = hook == LB_HOOK_XDP ? (void *)&xdp : (void *)&skb;
	opts.ctx_size_in = hook == LB_HOOK_XDP ? sizeof(xdp) : sizeof(skb);
	rc = bpf_prog_test_run_opts(r->prog[hook], &opts);
	if (rc)
		return rc;
	res->verdict = (int)opts.retval;
	res->out.len = opts.data_size_out;
	rc = read_reasons(r, hook, res);
	return rc ? rc : judge_verdict(hook, res);
}
