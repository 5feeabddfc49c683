// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * live.c - packets per second through real interfaces: generator -> veth -> balancer -> veth ->
 * sink, all on one processor, by meshlb and by what else does the same DNAT. One-armed, the sink
 * hangs on the generator's own veth.
 *
 * Each datapath has three namespaces of its own, so that the rounds can go round all of them. The
 * receive queue of the balancer's veth has a kernel thread (threaded NAPI), in which all the work
 * of receiving, balancing and sending is done, and that of the sink's veth another. Both are
 * real-time threads: each batch of the generator goes through at once, nothing is lost to full
 * queues, and the processor time of the three tells what a packet costs, whatever else runs on the
 * processor.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/sockios.h>

#include "bench_report.h"
#include "bench_rows.h"
#include "live.h"
#include "live.skel.h"
#include "lb.skel.h"

#define VIP          "198.18.0.1"
#define VIP_PORT     1001
#define BACKEND      "172.24.0.1"
#define BACKEND_NEAR "172.16.0.1" /* on the clients' wire */
#define BACKEND_PORT 80
#define BATCH        128 /* of 256 that a veth's queue holds */

struct live {
	const struct datapath *datapath;
	bool one_armed;
	int client, balancer, backend; /* namespaces */
	struct bench_net net;
	uint32_t generator;        /* ifindex in `client` */
	pid_t thread, sink_thread; /* of the balancer's and the sink's receive queue */
	struct bench_env env;
	struct live_bpf *ends;
	struct live_flow *flows;
};

/* ---------------------------------------------------------------------------- namespaces */

static int ns_here(void)
{
	int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		bench_die("opening the network namespace: %s", strerror(errno));
	return fd;
}

static int ns_make(void)
{
	if (unshare(CLONE_NEWNET))
		bench_die("making a network namespace: %s", strerror(errno));
	return ns_here();
}

static void ns_enter(int fd)
{
	if (setns(fd, CLONE_NEWNET))
		bench_die("entering a network namespace: %s", strerror(errno));
}

static void run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void run(const char *fmt, ...)
{
	char command[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	if (system(command))
		bench_die("failed: %s", command);
}

/* Without an XDP program a veth takes frames from XDP only if GRO is on. */
static void gro_on(const char *name)
{
	struct ethtool_value value = {.cmd = ETHTOOL_SGRO, .data = 1};
	struct ifreq req = {.ifr_data = (void *)&value};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", name);
	if (fd < 0 || ioctl(fd, SIOCETHTOOL, &req))
		bench_die("switching GRO on: %s", strerror(errno));
	close(fd);
}

/* Gives the receive queue of a veth in this network namespace a thread. /sys shows the namespace
 * that mounted it; the process has a mount namespace of its own. */
static void thread_on(const char *name)
{
	char path[64];
	FILE *f;

	if (mount("sysfs", "/sys", "sysfs", 0, NULL))
		bench_die("mounting sysfs: %s", strerror(errno));
	snprintf(path, sizeof(path), "/sys/class/net/%s/threaded", name);
	f = fopen(path, "w");
	if (!f || fputs("1", f) < 0 || fclose(f))
		bench_die("writing \"%s\": %s", path, strerror(errno));
	if (umount2("/sys", MNT_DETACH))
		bench_die("unmounting sysfs: %s", strerror(errno));
}

static bool thread_taken(pid_t pid);

/* The newest thread of such a receive queue that is not taken yet; 0: there is none. */
static pid_t thread_find(const char *name)
{
	char want[16], path[64], comm[32];
	DIR *proc = opendir("/proc");
	struct dirent *d;
	pid_t best = 0;

	snprintf(want, sizeof(want), "napi/%s-", name);
	while (proc && (d = readdir(proc))) {
		pid_t pid = strtol(d->d_name, NULL, 10);
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%d/comm", pid);
		f = pid > best && !thread_taken(pid) ? fopen(path, "r") : NULL;
		if (f && fgets(comm, sizeof(comm), f) && strncmp(comm, want, strlen(want)) == 0)
			best = pid;
		if (f)
			fclose(f);
	}
	if (proc)
		closedir(proc);
	return best;
}

/* Gives it this processor and a priority. */
static pid_t thread_take(const char *name, int priority)
{
	const struct sched_param param = {.sched_priority = priority};
	pid_t pid = thread_find(name);
	cpu_set_t cpus;

	if (!pid || sched_getaffinity(0, sizeof(cpus), &cpus) ||
	    sched_setaffinity(pid, sizeof(cpus), &cpus) ||
	    sched_setscheduler(pid, SCHED_FIFO, &param))
		bench_die("setting up the thread of %s's receive queue: %s", name, strerror(errno));
	return pid;
}

static const char *backend_of(const struct live *l)
{
	return l->one_armed ? BACKEND_NEAR : BACKEND;
}

/* What ends in interface `name` of this namespace is counted and dropped. */
static void sink_start(struct live *l, const char *name)
{
	if (bpf_xdp_attach(if_nametoindex(name), bpf_program__fd(l->ends->progs.live_sink),
			   XDP_FLAGS_DRV_MODE, NULL))
		bench_die("attaching the sink: %s", strerror(errno));
	thread_on(name);
	l->sink_thread = thread_take(name, 1);
}

static void lab_open(struct live *l)
{
	l->client = ns_make();
	l->backend = ns_make();
	if (bench_net_open(&l->net))
		bench_die("making the network namespace");
	l->balancer = ns_here();
	gro_on("c0");
	thread_on("c0");
	l->thread = thread_take("c0", 2);
	run("ip link set c1 netns /proc/%d/fd/%d", getpid(), l->client);
	run("ip link set b1 netns /proc/%d/fd/%d", getpid(), l->backend);
	ns_enter(l->client);
	run("ip link set c1 up");
	l->generator = if_nametoindex("c1");
	if (l->one_armed)
		sink_start(l, "c1");
	else if (bench_pass_attach(l->generator))
		bench_die("attaching to the generator's interface");
	ns_enter(l->backend);
	run("ip link set b1 up");
	if (!l->one_armed)
		sink_start(l, "b1");
	ns_enter(l->balancer);
}

/* ---------------------------------------------------------------------------- datapaths */

static int xdp_attach(const struct live *l, const struct bpf_program *prog)
{
	return bpf_xdp_attach(l->net.c0, bpf_program__fd(prog), XDP_FLAGS_DRV_MODE, NULL);
}

static int direct_start(struct live *l)
{
	l->ends->bss->live_way_out = l->one_armed ? 0 : l->net.b0;
	return xdp_attach(l, l->ends->progs.live_direct);
}

static int tc_start(struct live *l)
{
	const struct bench_services one = {.n = 1,
					   .scheduler = LB_SCHED_RR,
					   .backends = 1,
					   .proto = LB_UDP,
					   .redirect = !l->one_armed};
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = l->net.c0, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = 1);
	int rc;

	bench_env_open(&l->env, &l->net, BENCH_FLOWS_MAX);
	bench_services_set(&l->env, &one);
	opts.prog_fd = bpf_program__fd(l->env.lb->progs.meshlb_tc);
	rc = bpf_tc_hook_create(&hook);
	return rc ? rc : bpf_tc_attach(&hook, &opts);
}

static int xdp_start(struct live *l)
{
	int rc = tc_start(l); /* behind XDP, as always */

	return rc ? rc : xdp_attach(l, l->env.lb->progs.meshlb_xdp);
}

static int iptables_start(struct live *l)
{
	run("iptables-legacy -t nat -A PREROUTING -d %s -p udp --dport %d -j DNAT "
	    "--to-destination %s:%d",
	    VIP, VIP_PORT, backend_of(l), BACKEND_PORT);
	return 0;
}

static int nft_start(struct live *l)
{
	run("nft 'add table ip t; add chain ip t p { type nat hook prerouting priority dstnat; }; "
	    "add rule ip t p ip daddr %s udp dport %d dnat to %s:%d'",
	    VIP, VIP_PORT, backend_of(l), BACKEND_PORT);
	return 0;
}

enum { DIRECT, XDP, TC, NFT, IPTABLES, DATAPATHS };

static const struct datapath {
	const char *name;
	int (*start)(struct live *l); /* in the balancer's namespace */
} datapaths[DATAPATHS] = {
	[DIRECT] = {"no balancer: bare XDP", direct_start},
	[XDP] = {"meshlb XDP", xdp_start},
	[TC] = {"meshlb tc", tc_start},
	[NFT] = {"nftables", nft_start},
	[IPTABLES] = {"iptables", iptables_start},
};

static struct live lives[2][DATAPATHS]; /* two-armed, one-armed */

static bool thread_taken(pid_t pid)
{
	for (int arms = 0; arms < 2; arms++)
		for (int d = 0; d < DATAPATHS; d++)
			if (lives[arms][d].thread == pid || lives[arms][d].sink_thread == pid)
				return true;
	return false;
}

/* ---------------------------------------------------------------------------- packets */

static uint32_t sum_be(uint32_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i += 2)
		sum += p[i] << 8 | p[i + 1];
	return sum;
}

static uint16_t sum_end(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons(~sum & 0xffff);
}

static void frame_make(uint8_t f[LIVE_FRAME_WORDS * 8])
{
	static const uint8_t head[] = {2, 0, 0,    0, 0,  1,          2, 0, 0,
				       0, 0, 0xfe, 8, 0,  0x45,       0, 0, LIVE_FRAME - 14,
				       0, 0, 0x40, 0, 64, IPPROTO_UDP};

	memset(f, 0, LIVE_FRAME_WORDS * 8);
	memcpy(f, head, sizeof(head));
	inet_pton(AF_INET, VIP, f + 30);
	*(uint16_t *)(f + 36) = htons(VIP_PORT);
	*(uint16_t *)(f + 38) = htons(LIVE_FRAME - 34);
}

/* Flow k is client 10.x.y.z, in no order. */
static void flows_make(struct live *l)
{
	uint8_t frame[LIVE_FRAME_WORDS * 8];
	uint32_t ip_sum, udp_sum;

	frame_make(frame);
	memcpy(l->ends->bss->live_frame, frame, sizeof(frame));
	ip_sum = sum_be(0, frame + 14, 20);
	udp_sum = sum_be(IPPROTO_UDP + LIVE_FRAME - 34, frame + 30, LIVE_FRAME - 30);
	for (uint32_t k = 0; k < LIVE_FLOWS_MAX; k++) {
		uint32_t x = k * 0x9e3779b1;
		struct live_flow f = {.saddr = htonl(10u << 24 | x >> 10),
				      .sport = htons(0x8000 | (x & 1023))};

		f.ip_check = sum_end(sum_be(ip_sum, &f.saddr, 4));
		f.udp_check = sum_end(sum_be(sum_be(udp_sum, &f.saddr, 4), &f.sport, 2));
		l->flows[k] = f;
	}
}

static void ends_load(struct live *l)
{
	l->ends = live_bpf__open_and_load();
	if (!l->ends)
		bench_die("loading the generator: %s", strerror(errno));
	l->flows = mmap(NULL, LIVE_FLOWS_MAX * sizeof(*l->flows), PROT_READ | PROT_WRITE,
			MAP_SHARED, bpf_map__fd(l->ends->maps.live_flows), 0);
	if (l->flows == MAP_FAILED)
		bench_die("mapping the flows: %s", strerror(errno));
	inet_pton(AF_INET, backend_of(l), &l->ends->bss->live_backend);
	l->ends->bss->live_port = htons(BACKEND_PORT);
	flows_make(l);
}

static void generate(struct live *l, uint32_t packets)
{
	uint8_t frame[LIVE_FRAME_WORDS * 8];
	struct xdp_md md = {.data_end = LIVE_FRAME, .ingress_ifindex = l->generator};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = LIVE_FRAME,
		    .ctx_in = &md, .ctx_size_in = sizeof(md), .repeat = packets,
		    .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = BATCH);

	frame_make(frame);
	if (bpf_prog_test_run_opts(bpf_program__fd(l->ends->progs.live_generate), &opts))
		bench_die("generating packets: %s", strerror(errno));
}

/* ---------------------------------------------------------------------------- rates */

static double seconds(pid_t thread) /* 0: this one */
{
	clockid_t clock = CLOCK_THREAD_CPUTIME_ID;
	struct timespec t;

	if ((thread && clock_getcpuclockid(thread, &clock)) || clock_gettime(clock, &t))
		bench_die("asking for the time of thread %d", thread);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* Packets per second of the whole chain, and of the balancer alone. */
struct live_rate {
	double chain, balancer;
};

static struct live_rate rate(struct live *l, uint32_t flows, uint32_t packets)
{
	struct live_bpf__bss *bss = l->ends->bss;
	double all, balancer;
	uint64_t right;

	ns_enter(l->client);
	bss->live_count = flows;
	bss->live_at = 0;
	generate(l, flows < 1024 ? 1024 : flows); /* opens the connections */
	right = bss->live_right;
	balancer = seconds(l->thread);
	all = seconds(0) + seconds(l->sink_thread) + balancer;
	generate(l, packets);
	all = seconds(0) + seconds(l->sink_thread) + seconds(l->thread) - all;
	balancer = seconds(l->thread) - balancer;
	ns_enter(l->balancer);
	right = bss->live_right - right;
	if (right < packets - packets / 100 || bss->live_other)
		bench_die("%s: of %u packets %lu came to the sink as they should, %lu otherwise",
			  l->datapath->name, packets, right, (uint64_t)bss->live_other);
	return (struct live_rate){right / all, right / balancer};
}

static void rates_rows(struct live *labs, uint32_t flows, bool quick,
		       struct live_rate result[DATAPATHS])
{
	const unsigned int rounds = quick ? 5 : 11;
	const uint32_t packets = quick ? 50000 : 200000;
	double chain[DATAPATHS][rounds], balancer[DATAPATHS][rounds];
	struct live_rate r;
	char text[80];

	for (unsigned int i = 0; i < rounds; i++) {
		for (int d = 0; d < DATAPATHS; d++) {
			r = rate(&labs[d], flows, packets);
			chain[d][i] = r.chain;
			balancer[d][i] = r.balancer;
		}
	}
	for (int d = 0; d < DATAPATHS; d++) {
		result[d].chain = bench_median(chain[d], rounds);
		result[d].balancer = bench_median(balancer[d], rounds);
		snprintf(text, sizeof(text), "%s, %u flow%s", datapaths[d].name, flows,
			 flows > 1 ? "s" : "");
		bench_report_rate(labs->one_armed ? "live one-armed" : "live", text,
				  result[d].chain, result[d].balancer);
	}
}

static void arms_rows(bool one_armed, bool quick)
{
	struct live_rate one[DATAPATHS], thousand[DATAPATHS], many[DATAPATHS];
	const char *part = one_armed ? "live one-armed" : "live";
	struct live *labs = lives[one_armed];

	bench_report_part(one_armed ? "The same one-armed (XDP_TX)"
				    : "Live UDP packets, generator -> balancer -> sink",
			  "kpps, one core: all   balancer alone");
	for (int d = 0; d < DATAPATHS; d++) {
		labs[d].datapath = &datapaths[d];
		labs[d].one_armed = one_armed;
		ends_load(&labs[d]);
		lab_open(&labs[d]);
		if (datapaths[d].start(&labs[d]))
			bench_die("starting \"%s\": %s", datapaths[d].name, strerror(errno));
	}
	rates_rows(labs, 1, quick, one);
	rates_rows(labs, 1000, quick, thousand);
	rates_rows(labs, 50000, quick, many);
	bench_report_value(part, "meshlb XDP / iptables, 1,000 flows, all",
			   thousand[XDP].chain / thousand[IPTABLES].chain, "x", 10, true);
	bench_report_value(part, "meshlb XDP / iptables, 1,000 flows, balancer",
			   thousand[XDP].balancer / thousand[IPTABLES].balancer, "x", 10, true);
	bench_report_value(part, "meshlb XDP, 50,000 flows / 1,000 flows, balancer",
			   many[XDP].balancer / thousand[XDP].balancer, "x", 0.5, true);
}

void bench_live(bool quick)
{
	arms_rows(false, quick);
	arms_rows(true, quick);
}
