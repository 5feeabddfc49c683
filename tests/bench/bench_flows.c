// SPDX-License-Identifier: GPL-2.0-or-later
/* bench_flows.c - fills the template from which the wrappers make their packets. */
#include <string.h>
#include <arpa/inet.h>

#include "bench_env.h"
#include "bench.skel.h"

static uint32_t csum_add(uint32_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += p[i] << 8 | p[i + 1];
	return sum;
}

static uint16_t csum_end(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons(~sum & 0xffff);
}

/* Frame without payload: zeroes where the flows differ. */
static void frame_make(uint8_t frame[BENCH_FRAME_WORDS * 8], enum lb_family family,
		       uint8_t tcp_flags)
{
	static const uint8_t macs[12] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0xfe};
	uint8_t *ip = frame + 14, *tcp = ip + (family == LB_V4 ? 20 : 40);

	memset(frame, 0, BENCH_FRAME_WORDS * 8);
	memcpy(frame, macs, 12);
	frame[12] = family == LB_V4 ? 0x08 : 0x86;
	frame[13] = family == LB_V4 ? 0x00 : 0xdd;
	if (family == LB_V4) {
		ip[0] = 0x45;
		ip[3] = 40;
		ip[8] = 64;
		ip[9] = IPPROTO_TCP;
	} else {
		ip[0] = 0x60;
		ip[5] = 20;
		ip[6] = IPPROTO_TCP;
		ip[7] = 64;
	}
	tcp[12] = 5 << 4;
	tcp[13] = tcp_flags;
	tcp[14] = 0x20;
}

void bench_flows_set(struct bench_env *e, enum lb_family family, const struct bench_tuple *flows,
		     uint32_t n, uint8_t tcp_flags)
{
	const size_t size = family == LB_V4 ? 4 : 16;
	uint8_t frame[BENCH_FRAME_WORDS * 8];
	uint32_t ip_sum, tcp_sum;

	frame_make(frame, family, tcp_flags);
	memcpy(e->wrap->bss->bench_frame, frame, sizeof(frame));
	e->wrap->bss->bench_count = n;
	e->wrap->bss->bench_at = 0;
	ip_sum = csum_add(0, frame + 14, 20);
	tcp_sum = csum_add(IPPROTO_TCP + 20, frame + 14 + (family == LB_V4 ? 20 : 40), 20);
	for (uint32_t i = 0; i < n; i++) {
		const struct bench_tuple *t = &flows[i];
		uint32_t pair = csum_add(csum_add(0, t->saddr, size), t->daddr, size);
		uint16_t check = csum_end(csum_add(tcp_sum + pair, &t->sport, 4));
		uint32_t ports;

		memcpy(&ports, &t->sport, 4);
		if (family == LB_V4) {
			e->flows4[i] = (struct bench_flow4){t->saddr[0], t->daddr[0], ports,
							    csum_end(ip_sum + pair), check};
		} else {
			memcpy(e->flows6[i].saddr, t->saddr, 16);
			memcpy(e->flows6[i].daddr, t->daddr, 16);
			e->flows6[i].ports = ports;
			e->flows6[i].l4_check = check;
		}
	}
}
