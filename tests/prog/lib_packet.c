/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lib_packet.c - builds frames from descriptions.
 */
#include "lib_packet.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t default_dmac[6] = {0x02, 0, 0, 0, 0, 0x01};
static const uint8_t default_smac[6] = {0x02, 0, 0, 0, 0, 0x02};

struct pkt_addr pkt_addr(const char *text)
{
	struct pkt_addr a = {0};

	if (inet_pton(AF_INET, text, a.b) == 1) {
		a.family = 4;
	} else if (inet_pton(AF_INET6, text, a.b) == 1) {
		a.family = 6;
	} else {
		fprintf(stderr, "test's own mistake: \"%s\" is no address\n", text);
		abort();
	}
	return a;
}

const char *pkt_addr_str(char out[64], const struct pkt_addr *a)
{
	return inet_ntop(a->family == 4 ? AF_INET : AF_INET6, a->b, out, 64);
}

bool pkt_addr_equal(const struct pkt_addr *a, const struct pkt_addr *b)
{
	return a->family == b->family && !memcmp(a->b, b->b, a->family == 4 ? 4 : 16);
}

struct pkt_end pkt_end(const char *addr, uint16_t port)
{
	return (struct pkt_end){.addr = pkt_addr(addr), .port = port};
}

static void put(struct pkt *p, const void *bytes, size_t n)
{
	if (p->len + n > PKT_MAX) {
		fprintf(stderr, "test's own mistake: a frame of more than %d bytes\n", PKT_MAX);
		abort();
	}
	if (bytes)
		memcpy(p->data + p->len, bytes, n);
	else
		memset(p->data + p->len, 0, n);
	p->len += n;
}

static void put8(struct pkt *p, uint8_t v)
{
	put(p, &v, 1);
}

static void put16(struct pkt *p, uint16_t v)
{
	uint8_t b[2] = {v >> 8, v & 0xff};

	put(p, b, 2);
}

static void put32(struct pkt *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p, v & 0xffff);
}

static void set16(struct pkt *p, size_t at, uint16_t v)
{
	p->data[at] = v >> 8;
	p->data[at + 1] = v & 0xff;
}

static void build_ethernet(struct pkt *p, const struct pkt_spec *s, bool v6)
{
	uint16_t type = s->ethertype ? s->ethertype : v6 ? 0x86dd : 0x0800;
	int i;

	put(p, s->dmac ? s->dmac : default_dmac, 6);
	put(p, s->smac ? s->smac : default_smac, 6);
	for (i = s->vlans; i > 0; i--) {
		put16(p, i > 1 ? 0x88a8 : 0x8100);
		put16(p, 100 + i);
	}
	put16(p, type);
}

static void build_ipv4(struct pkt *p, const struct pkt_spec *s, uint8_t proto)
{
	struct pkt_addr src = pkt_addr(s->src), dst = pkt_addr(s->dst);
	uint16_t frag = s->frag_off | (s->frag_more ? 0x2000 : 0) | (s->dont_fragment ? 0x4000 : 0);

	put8(p, 0x40 | (5 + s->options / 4));
	put8(p, s->tos);
	put16(p, 0); /* total length: later */
	put16(p, 0x1234);
	put16(p, frag);
	put8(p, s->ttl ? s->ttl : 64);
	put8(p, proto);
	put16(p, 0); /* checksum: later */
	put(p, src.b, 4);
	put(p, dst.b, 4);
	for (int i = 0; i < s->options; i++)
		put8(p, 1); /* NOP */
}

/* One IPv6 extension header of `type`, followed by `next`. */
static void build_ext(struct pkt *p, const struct pkt_spec *s, uint8_t type, uint8_t next)
{
	size_t size = 8 + 8 * s->ext_units;

	put8(p, next);
	switch (type) {
	case PKT_FRAGMENT:
		put8(p, 0);
		put16(p, s->frag_off << 3 | s->frag_more);
		put32(p, 0xabcd1234);
		return;
	case PKT_AH: /* RFC 4302: in 4 bytes, less 2 */
		put8(p, (12 + 4 + 8 * s->ext_units) / 4 - 2);
		put(p, NULL, 14 + 8 * s->ext_units);
		return;
	case PKT_ROUTING:
		put8(p, s->ext_units);
		put8(p, 4);
		put8(p, 0); /* segments left */
		put(p, NULL, size - 4);
		return;
	default: /* one PadN option fills it */
		put8(p, s->ext_units);
		put8(p, 1);
		put8(p, size - 4);
		put(p, NULL, size - 4);
	}
}

static void build_ipv6(struct pkt *p, const struct pkt_spec *s, uint8_t proto)
{
	struct pkt_addr src = pkt_addr(s->src), dst = pkt_addr(s->dst);

	put32(p, 6u << 28 | (uint32_t)s->tos << 20 | 0x54321);
	put16(p, 0); /* payload length: later */
	put8(p, s->n_exts ? s->exts[0] : proto);
	put8(p, s->ttl ? s->ttl : 64);
	put(p, src.b, 16);
	put(p, dst.b, 16);
	for (int i = 0; i < s->n_exts; i++)
		build_ext(p, s, s->exts[i], i + 1 < s->n_exts ? s->exts[i + 1] : proto);
}

static void build_l4(struct pkt *p, const struct pkt_spec *s, uint8_t proto)
{
	switch (proto) {
	case PKT_TCP:
		put16(p, s->sport);
		put16(p, s->dport);
		put32(p, s->seq ? s->seq : 1000000);
		put32(p, s->ack ? s->ack : s->flags & PKT_ACK || !s->flags ? 2000000 : 0);
		put8(p, (5 + s->tcp_options / 4) << 4);
		put8(p, s->flags ? s->flags : PKT_ACK);
		put16(p, 64240);
		put16(p, 0);
		put16(p, 0);
		for (int i = 0; i < s->tcp_options; i++)
			put8(p, 1);
		break;
	case PKT_UDP:
		put16(p, s->sport);
		put16(p, s->dport);
		put16(p, 8 + s->payload);
		put16(p, 0);
		break;
	case PKT_ICMP:
	case PKT_ICMPV6:
		put8(p, proto == PKT_ICMP ? 8 : 128); /* echo request */
		put(p, NULL, 7);
		break;
	}
}

void pkt_build(struct pkt *p, const struct pkt_spec *s)
{
	bool v6 = pkt_addr(s->src).family == 6;
	uint8_t proto = s->proto ? s->proto : PKT_TCP;
	size_t l3;

	p->len = 0;
	build_ethernet(p, s, v6);
	l3 = p->len;
	if (v6)
		build_ipv6(p, s, proto);
	else
		build_ipv4(p, s, proto);
	build_l4(p, s, proto);
	for (int i = 0; i < s->payload; i++)
		put8(p, 'a' + i % 26);
	if (v6)
		set16(p, l3 + 4, p->len - l3 - 40);
	else
		set16(p, l3 + 2, p->len - l3);
	pkt_fix_csums(p);
	if (s->udp_no_csum) {
		struct pkt_view v;

		pkt_parse(p->data, p->len, &v);
		set16(p, v.l4_off + 6, 0);
	}
	for (int i = 0; i < s->trailer; i++)
		put8(p, 0xee);
}

void pkt_hexdump(FILE *f, const char *title, const struct pkt *p)
{
	fprintf(f, "  %s (%zu bytes):\n", title, p->len);
	for (size_t i = 0; i < p->len; i += 16) {
		fprintf(f, "    %04zx ", i);
		for (size_t j = i; j < i + 16 && j < p->len; j++)
			fprintf(f, " %02x", p->data[j]);
		fputc('\n', f);
	}
}
