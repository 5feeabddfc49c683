// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * live_lab.c - see live_lab.h.
 *
 * The receive queue of the balancer's veth has a kernel thread (threaded NAPI), in which all the
 * work of receiving, balancing and sending is done, and that of the sink's veth another. Both are
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

#include "live_lab.h"
#include "live.skel.h"

#define BATCH       128 /* of 256 that a veth's queue holds */
#define THREADS_MAX 64

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

int live_lab_run(const char *fmt, ...)
{
	char command[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	if (system(command) == 0)
		return 0;
	fprintf(stderr, "bench: failed: %s\n", command);
	return -1;
}

/* Hands interface `name` of this namespace over to another. */
static void iface_move(const char *name, int ns)
{
	if (live_lab_run("ip link set %s netns /proc/%d/fd/%d", name, getpid(), ns))
		bench_die("moving \"%s\"", name);
}

static void iface_up(const char *name)
{
	if (live_lab_run("ip link set %s up", name))
		bench_die("switching \"%s\" on", name);
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

/* ---------------------------------------------------------------------------- threads */

/* The threads of all labs. */
static pid_t threads[THREADS_MAX];
static unsigned int n_threads;

static bool thread_taken(pid_t pid)
{
	for (unsigned int i = 0; i < n_threads; i++)
		if (threads[i] == pid)
			return true;
	return false;
}

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

	if (!pid || n_threads == THREADS_MAX || sched_getaffinity(0, sizeof(cpus), &cpus) ||
	    sched_setaffinity(pid, sizeof(cpus), &cpus) ||
	    sched_setscheduler(pid, SCHED_FIFO, &param))
		bench_die("setting up the thread of %s's receive queue: %s", name, strerror(errno));
	threads[n_threads++] = pid;
	return pid;
}

/* ---------------------------------------------------------------------------- packets */

const char *live_lab_backend(const struct live_lab *l)
{
	return l->one_armed ? LIVE_BACKEND_NEAR : LIVE_BACKEND;
}

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

static void frame_make(const struct live_lab *l, uint8_t f[LIVE_FRAME_WORDS * 8])
{
	static const uint8_t head[] = {2, 0, 0,    0, 0,  1,          2, 0, 0,
				       0, 0, 0xfe, 8, 0,  0x45,       0, 0, LIVE_FRAME - 14,
				       0, 0, 0x40, 0, 64, IPPROTO_UDP};

	memset(f, 0, LIVE_FRAME_WORDS * 8);
	memcpy(f, head, sizeof(head));
	inet_pton(AF_INET, l->straight ? live_lab_backend(l) : LIVE_VIP, f + 30);
	*(uint16_t *)(f + 36) = htons(l->straight ? LIVE_BACKEND_PORT : LIVE_VIP_PORT);
	*(uint16_t *)(f + 38) = htons(LIVE_FRAME - 34);
}

/* Flow k is client 10.x.y.z, in no order. */
static void flows_make(struct live_lab *l)
{
	uint8_t frame[LIVE_FRAME_WORDS * 8];
	uint32_t ip_sum, udp_sum;

	frame_make(l, frame);
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

static void ends_load(struct live_lab *l)
{
	l->ends = live_bpf__open_and_load();
	if (!l->ends)
		bench_die("loading the generator: %s", strerror(errno));
	l->flows = mmap(NULL, LIVE_FLOWS_MAX * sizeof(*l->flows), PROT_READ | PROT_WRITE,
			MAP_SHARED, bpf_map__fd(l->ends->maps.live_flows), 0);
	if (l->flows == MAP_FAILED)
		bench_die("mapping the flows: %s", strerror(errno));
	inet_pton(AF_INET, live_lab_backend(l), &l->ends->bss->live_backend);
	l->ends->bss->live_port = htons(LIVE_BACKEND_PORT);
	flows_make(l);
}

static void generate(struct live_lab *l, uint32_t packets)
{
	uint8_t frame[LIVE_FRAME_WORDS * 8];
	struct xdp_md md = {.data_end = LIVE_FRAME, .ingress_ifindex = l->generator};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = LIVE_FRAME,
		    .ctx_in = &md, .ctx_size_in = sizeof(md), .repeat = packets,
		    .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = BATCH);

	frame_make(l, frame);
	if (bpf_prog_test_run_opts(bpf_program__fd(l->ends->progs.live_generate), &opts))
		bench_die("generating packets: %s", strerror(errno));
}

/* ---------------------------------------------------------------------------- the lab */

/* What ends in interface `name` of this namespace is counted and dropped. */
static void sink_start(struct live_lab *l, const char *name)
{
	if (bpf_xdp_attach(if_nametoindex(name), bpf_program__fd(l->ends->progs.live_sink),
			   XDP_FLAGS_DRV_MODE, NULL))
		bench_die("attaching the sink: %s", strerror(errno));
	thread_on(name);
	l->sink_thread = thread_take(name, 1);
}

void live_lab_open(struct live_lab *l)
{
	ends_load(l);
	l->client = ns_make();
	l->backend = ns_make();
	if (bench_net_open(&l->net))
		bench_die("making the network namespace");
	l->balancer = ns_here();
	gro_on("c0");
	thread_on("c0");
	l->thread = thread_take("c0", 2);
	iface_move("c1", l->client);
	iface_move("b1", l->backend);
	ns_enter(l->client);
	iface_up("c1");
	l->generator = if_nametoindex("c1");
	if (l->one_armed)
		sink_start(l, "c1");
	else if (bench_pass_attach(l->generator))
		bench_die("attaching to the generator's interface");
	ns_enter(l->backend);
	iface_up("b1");
	if (!l->one_armed)
		sink_start(l, "b1");
	ns_enter(l->balancer);
}

int live_lab_attach(const struct live_lab *l, const struct bpf_program *prog)
{
	return bpf_xdp_attach(l->net.c0, bpf_program__fd(prog), XDP_FLAGS_DRV_MODE, NULL);
}

int live_lab_direct(struct live_lab *l)
{
	l->ends->bss->live_way_out = l->one_armed ? 0 : l->net.b0;
	return live_lab_attach(l, l->ends->progs.live_direct);
}

int live_lab_no_balancer(struct live_lab *l)
{
	return live_lab_attach(l, l->ends->progs.live_sink);
}

int live_lab_iptables(struct live_lab *l)
{
	return live_lab_run("iptables-legacy -t nat -A PREROUTING -d %s -p udp --dport %d -j DNAT "
			    "--to-destination %s:%d",
			    LIVE_VIP, LIVE_VIP_PORT, live_lab_backend(l), LIVE_BACKEND_PORT);
}

int live_lab_nft(struct live_lab *l)
{
	return live_lab_run("nft 'add table ip t; "
			    "add chain ip t p { type nat hook prerouting priority dstnat; }; "
			    "add rule ip t p dnat ip to ip daddr . udp dport map "
			    "{ %s . %d : %s . %d }'",
			    LIVE_VIP, LIVE_VIP_PORT, live_lab_backend(l), LIVE_BACKEND_PORT);
}

/* ---------------------------------------------------------------------------- samples */

static double seconds(pid_t thread) /* 0: this one */
{
	clockid_t clock = CLOCK_THREAD_CPUTIME_ID;
	struct timespec t;

	if ((thread && clock_getcpuclockid(thread, &clock)) || clock_gettime(clock, &t))
		bench_die("asking for the time of thread %d", thread);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static struct live_sample counters_read(const struct live_lab *l)
{
	return (struct live_sample){
		.generator = seconds(0),
		.balancer = seconds(l->thread),
		.sink = seconds(l->sink_thread),
		.right = l->ends->bss->live_right,
		.other = l->ends->bss->live_other,
	};
}

struct live_sample live_lab_sample(struct live_lab *l, uint32_t flows, uint32_t packets)
{
	struct live_sample from, to;

	ns_enter(l->client);
	l->ends->bss->live_count = flows;
	l->ends->bss->live_at = 0;
	generate(l, flows < 1024 ? 1024 : flows); /* opens the connections */
	from = counters_read(l);
	generate(l, packets);
	to = counters_read(l);
	ns_enter(l->balancer);
	return (struct live_sample){
		.generator = to.generator - from.generator,
		.balancer = to.balancer - from.balancer,
		.sink = to.sink - from.sink,
		.right = to.right - from.right,
		.other = to.other - from.other,
	};
}
