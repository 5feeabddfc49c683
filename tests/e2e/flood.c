// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * flood.c - flood INTERFACE MAC ADDRESS PORT: sends TCP SYNs from random clients to ADDRESS:PORT,
 * out of a veth whose other end has MAC, as fast as one processor can (the last one), until SIGTERM
 * or SIGINT. Prints how many there were.
 */
#include <errno.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_link.h>

#include "flood.h"
#include "flood.skel.h"

#define TCP_SYN 2
#define BATCH   128   /* of 256 that a veth's queue holds */
#define REPEAT  65536 /* of one run, between two looks at `stop` */

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
	(void)number;
	stop = 1;
}

static void die(const char *what)
{
	fprintf(stderr, "flood: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint32_t sum(const uint8_t *data, size_t len)
{
	uint32_t all = 0;

	for (size_t i = 0; i < len; i += 2) {
		uint16_t half;

		memcpy(&half, data + i, 2);
		all += half;
	}
	return all;
}

/* The frame but for the client, in flood_frame, and its sums. */
static void frame_make(struct flood_bpf__bss *bss, bool v6, const uint8_t mac[6],
		       const uint8_t address[16], uint16_t port)
{
	static const uint8_t head4[] = {8, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, IPPROTO_TCP};
	static const uint8_t head6[] = {0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, IPPROTO_TCP, 64};
	static const uint8_t source[6] = {2, 0, 0, 0, 0, 2}, net6[] = {0x20, 1, 0xd, 0xb8, 0, 0x66};
	static const uint8_t pseudo[] = {0, IPPROTO_TCP, 0, 20};
	uint8_t frame[FLOOD_WORDS * 8] = {}, *tcp = frame + (v6 ? 54 : 34);

	memcpy(frame, mac, 6);
	memcpy(frame + 6, source, 6);
	memcpy(frame + 12, v6 ? head6 : head4, v6 ? sizeof(head6) : sizeof(head4));
	if (v6)
		memcpy(frame + 22, net6, sizeof(net6));
	memcpy(frame + (v6 ? 38 : 30), address, v6 ? 16 : 4);
	port = htons(port);
	memcpy(tcp + 2, &port, 2);
	tcp[12] = 5 << 4;
	tcp[13] = TCP_SYN;
	tcp[14] = 0x20; /* window */
	memcpy(bss->flood_frame, frame, sizeof(frame));
	bss->flood_ip_sum = sum(frame + 14, 20);
	bss->flood_tcp_sum =
		sum(pseudo, sizeof(pseudo)) + sum(frame + (v6 ? 22 : 26), v6 ? 52 : 28);
}

static void cpu_pin(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("pinning to a processor");
}

static void flood(const struct flood_bpf *skel, bool v6, uint32_t ifindex)
{
	const uint32_t len = v6 ? FLOOD_FRAME6 : FLOOD_FRAME4;
	int fd = bpf_program__fd(v6 ? skel->progs.flood6 : skel->progs.flood4);
	struct xdp_md md = {.data_end = len, .ingress_ifindex = ifindex};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = skel->bss->flood_frame, .data_size_in = len,
		    .ctx_in = &md, .ctx_size_in = sizeof(md), .repeat = REPEAT,
		    .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = BATCH);

	while (!stop)
		if (bpf_prog_test_run_opts(fd, &opts) && errno != EINTR)
			die("sending");
}

int main(int argc, char **argv)
{
	uint32_t ifindex = argc == 5 ? if_nametoindex(argv[1]) : 0;
	struct ether_addr *mac = argc == 5 ? ether_aton(argv[2]) : NULL;
	bool v6 = argc == 5 && strchr(argv[3], ':');
	struct flood_bpf *skel;
	uint8_t address[16];

	if (!ifindex || !mac || inet_pton(v6 ? AF_INET6 : AF_INET, argv[3], address) != 1) {
		fputs("Usage: flood INTERFACE MAC ADDRESS PORT\n", stderr);
		return 2;
	}
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	skel = flood_bpf__open_and_load();
	if (!skel)
		die("loading the generator");
	if (bpf_xdp_attach(ifindex, bpf_program__fd(skel->progs.flood_pass), XDP_FLAGS_DRV_MODE,
			   NULL))
		die("attaching to the interface");
	frame_make(skel->bss, v6, mac->ether_addr_octet, address, strtoul(argv[4], NULL, 10));
	cpu_pin();
	flood(skel, v6, ifindex);
	printf("%llu\n", skel->bss->flood_count);
	bpf_xdp_detach(ifindex, XDP_FLAGS_DRV_MODE, NULL);
	flood_bpf__destroy(skel);
	return 0;
}
