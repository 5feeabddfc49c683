// SPDX-License-Identifier: GPL-2.0-or-later
/* bench_net.c - the namespace: two veths, routes to clients and backends, permanent neighbours. */
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>

#include "bench_env.h"

static const char *const batch =
	"link set lo up\n"
	"link add c0 address 02:00:00:00:00:01 type veth peer name c1\n"
	"link add b0 address 02:00:00:00:00:0b type veth peer name b1\n"
	"link set c0 up\nlink set c1 up\nlink set b0 up\nlink set b1 up\n"
	"addr add 192.0.2.1/24 dev c0\n"
	"addr add 198.51.100.1/24 dev b0\n"
	"addr add 2001:db8::1/64 dev c0 nodad\n"
	"addr add 2001:db8:b::1/64 dev b0 nodad\n"
	/* The clients' router, the backends' on the same wire and the backends' on the other one.
	 */
	"neigh add 192.0.2.254 lladdr 02:00:00:00:00:fe dev c0 nud permanent\n"
	"neigh add 192.0.2.253 lladdr 02:00:00:00:00:fd dev c0 nud permanent\n"
	"neigh add 198.51.100.254 lladdr 02:00:00:00:00:fc dev b0 nud permanent\n"
	"neigh add 2001:db8::fe lladdr 02:00:00:00:00:fe dev c0 nud permanent\n"
	"neigh add 2001:db8::fd lladdr 02:00:00:00:00:fd dev c0 nud permanent\n"
	"neigh add 2001:db8:b::fe lladdr 02:00:00:00:00:fc dev b0 nud permanent\n"
	"route add 10.0.0.0/8 via 192.0.2.254\n"
	"route add 172.16.0.0/13 via 192.0.2.253\n"
	"route add 172.24.0.0/13 via 198.51.100.254\n"
	"route add 2001:db8:c::/48 via 2001:db8::fe\n"
	"route add fd00:1::/32 via 2001:db8::fd\n"
	"route add fd00:2::/32 via 2001:db8:b::fe\n";

static int sysctl_on(const char *path)
{
	FILE *f = fopen(path, "w");

	if (!f)
		return -errno;
	fputs("1\n", f);
	return fclose(f) ? -errno : 0;
}

/* test_run wants a registered receive queue, which a veth has only under an XDP program. */
int bench_pass_attach(uint32_t ifindex)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "pass", "GPL", insns, 2, NULL), rc;

	if (fd < 0)
		return fd;
	rc = bpf_xdp_attach(ifindex, fd, XDP_FLAGS_DRV_MODE, NULL);
	close(fd);
	return rc;
}

int bench_net_open(struct bench_net *net)
{
	FILE *f;
	int rc;

	if (unshare(CLONE_NEWNET))
		return -errno;
	f = popen("ip -batch -", "w");
	if (!f)
		return -errno;
	fputs(batch, f);
	if (pclose(f))
		return -EIO;
	net->c0 = if_nametoindex("c0");
	net->b0 = if_nametoindex("b0");
	rc = sysctl_on("/proc/sys/net/ipv4/ip_forward");
	if (!rc)
		rc = sysctl_on("/proc/sys/net/ipv6/conf/all/forwarding");
	return rc;
}
