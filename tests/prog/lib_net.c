/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lib_net.c - builds the namespace with ip(8), from the same tables that tell what to expect.
 */
#include "lib_net.h"

#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_link.h>

static const struct device {
	const char *name, *peer, *addr, *addr6;
	int mtu;
	uint8_t mac[6];
} devices[] = {
	{"c0", "c1", NET_VIP "/24", NET_VIP6 "/64", NET_MTU, NET_C0_MAC},
	{"b0", "b1", "10.1.0.1/24", "fd00:1::1/64", NET_MTU, NET_B0_MAC},
	{"j0", "j1", "10.9.0.1/24", "fd00:9::1/64", NET_JUMBO, {0x02, 0, 0, 0, 0, 0x09}},
};

#define N(a) (sizeof(a) / sizeof((a)[0]))

/* Neighbours; the one at index i has MAC 02:aa:00:00:00:i. */
static const struct neighbour {
	int device;
	const char *addr;
} neighbours[] = {
	{0, NET_CLIENT},    {0, "192.0.2.11"}, {0, "192.0.2.12"},   {0, "192.0.2.20"},
	{0, "192.0.2.254"}, {0, NET_CLIENT6},  {0, "2001:db8::20"}, {0, "2001:db8::fe"},
	{1, "10.1.0.11"},   {1, "10.1.0.12"},  {1, "10.1.0.13"},    {1, "10.1.0.14"},
	{1, "10.1.0.254"},  {1, "fd00:1::11"}, {1, "fd00:1::12"},   {1, "fd00:1::13"},
	{1, "fd00:1::14"},  {1, "fd00:1::fe"}, {2, "10.9.0.11"},    {2, "fd00:9::11"},
};

static const struct route {
	const char *net;
	int bits;
	const char *via; /* one of the neighbours */
} routes[] = {
	{"198.51.100.0", 24, "192.0.2.254"},   {"10.200.0.0", 16, "192.0.2.254"},
	{"2001:db8:51::", 48, "2001:db8::fe"}, {"10.50.0.0", 16, "10.1.0.254"},
	{"fd00:50::", 32, "fd00:1::fe"},       {"10.60.0.0", 16, "fd00:1::fe"}, /* RFC 5549 */
};

static const char *const more_routes[] = {
	"route add blackhole 10.71.0.0/16",
	"route add unreachable 10.70.0.0/16",
};

static bool in_net(const struct pkt_addr *a, const char *net, int bits)
{
	struct pkt_addr n = pkt_addr(net);

	return a->family == n.family && !memcmp(a->b, n.b, bits / 8);
}

static const struct neighbour *neighbour_find(const struct pkt_addr *a)
{
	for (size_t i = 0; i < N(neighbours); i++) {
		struct pkt_addr n = pkt_addr(neighbours[i].addr);

		if (pkt_addr_equal(&n, a))
			return &neighbours[i];
	}
	return NULL;
}

static void neighbour_mac(const struct neighbour *n, uint8_t mac[6])
{
	const uint8_t m[6] = {0x02, 0xaa, 0, 0, 0, n - neighbours};

	memcpy(mac, m, 6);
}

bool net_hop(const struct net *net, const struct pkt_addr *dst, struct net_hop *hop)
{
	const uint32_t index[] = {net->c0, net->b0, net->j0};
	struct pkt_addr next = *dst;
	const struct neighbour *n;

	for (size_t i = 0; i < N(routes); i++) {
		if (in_net(dst, routes[i].net, routes[i].bits))
			next = pkt_addr(routes[i].via);
	}
	n = neighbour_find(&next);
	if (!n)
		return false;
	neighbour_mac(n, hop->dmac);
	memcpy(hop->smac, devices[n->device].mac, 6);
	hop->ifindex = index[n->device];
	return true;
}

static void mac_str(char *out, const uint8_t *m)
{
	sprintf(out, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
}

static void write_batch(FILE *f)
{
	char mac[18];
	uint8_t m[6];

	fprintf(f, "link set lo up\n");
	for (size_t i = 0; i < N(devices); i++) {
		const struct device *d = &devices[i];

		mac_str(mac, d->mac);
		fprintf(f, "link add %s address %s mtu %d type veth peer name %s mtu %d\n", d->name,
			mac, d->mtu, d->peer, d->mtu);
		fprintf(f, "link set %s up\nlink set %s up\n", d->name, d->peer);
		fprintf(f, "addr add %s dev %s\n", d->addr, d->name);
		fprintf(f, "addr add %s dev %s nodad\n", d->addr6, d->name);
	}
	for (size_t i = 0; i < N(neighbours); i++) {
		neighbour_mac(&neighbours[i], m);
		mac_str(mac, m);
		fprintf(f, "neigh add %s lladdr %s dev %s nud permanent\n", neighbours[i].addr, mac,
			devices[neighbours[i].device].name);
	}
	for (size_t i = 0; i < N(routes); i++) {
		struct pkt_addr via = pkt_addr(routes[i].via), to = pkt_addr(routes[i].net);
		const struct neighbour *n = neighbour_find(&via);

		fprintf(f, "route add %s/%d via %s %s dev %s\n", routes[i].net, routes[i].bits,
			via.family == to.family ? "" : "inet6", routes[i].via,
			devices[n->device].name);
	}
	for (size_t i = 0; i < N(more_routes); i++)
		fprintf(f, "%s\n", more_routes[i]);
}

int net_sysctl(const char *path, int value)
{
	char full[128];
	FILE *f;
	int rc;

	snprintf(full, sizeof(full), "/proc/sys/net/%s", path);
	f = fopen(full, "w");
	if (!f)
		return -errno;
	rc = fprintf(f, "%d\n", value) < 0 ? -EIO : 0;
	return fclose(f) ? -errno : rc;
}

/* A veth has a registered receive queue, which XDP's test_run wants, only under an XDP program. */
static int attach_pass(uint32_t ifindex)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int fd, rc;

	fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "pass", "GPL", insns, N(insns), NULL);
	if (fd < 0)
		return fd;
	rc = bpf_xdp_attach(ifindex, fd, XDP_FLAGS_DRV_MODE, NULL);
	close(fd);
	return rc;
}

int net_open(struct net *n)
{
	FILE *f;
	int rc;

	if (unshare(CLONE_NEWNET))
		return -errno;
	f = popen("ip -batch -", "w");
	if (!f)
		return -errno;
	write_batch(f);
	if (pclose(f))
		return -EIO;
	n->c0 = if_nametoindex("c0");
	n->b0 = if_nametoindex("b0");
	n->j0 = if_nametoindex("j0");
	rc = net_sysctl("ipv4/ip_forward", 1);
	if (!rc)
		rc = net_sysctl("ipv6/conf/all/forwarding", 1);
	if (!rc)
		rc = attach_pass(n->c0);
	return rc ? rc : attach_pass(n->b0);
}
