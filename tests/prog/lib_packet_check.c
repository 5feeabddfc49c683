/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lib_packet_check.c - parses frames from scratch, sums them (RFC 1071) and compares them.
 */
#include "lib_packet.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static uint16_t get16(const uint8_t *p)
{
	return p[0] << 8 | p[1];
}

/* One's complement sum, folded; `sum` carries on from earlier pieces of even length. */
static uint16_t ones_sum(const uint8_t *p, size_t n, uint32_t sum)
{
	for (; n > 1; p += 2, n -= 2)
		sum += get16(p);
	if (n)
		sum += p[0] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Over pseudo header and segment, checksum included: 0xffff where it is right. */
static uint16_t l4_sum(const uint8_t *data, const struct pkt_view *v)
{
	size_t n = v->family == 4 ? 4 : 16, size = v->end - v->l4_off;
	uint32_t sum;

	if (v->proto == PKT_UDP && get16(data + v->l4_off + 4) >= 8 &&
	    get16(data + v->l4_off + 4) < size)
		size = get16(data + v->l4_off + 4);
	sum = ones_sum(v->src.addr.b, n, v->proto + size);
	sum = ones_sum(v->dst.addr.b, n, sum);
	return ones_sum(data + v->l4_off, size, sum);
}

static size_t csum_offset(const struct pkt_view *v)
{
	return v->l4_off + (v->proto == PKT_TCP ? 16 : 6);
}

/* Two one's complement numbers: 0 and 0xffff are one. */
static bool ones_equal(uint16_t a, uint16_t b)
{
	return a % 0xffff == b % 0xffff;
}

static void parse_l4(const uint8_t *data, struct pkt_view *v)
{
	const uint8_t *l4 = data + v->l4_off;
	size_t room = v->end - v->l4_off;

	if (v->proto == PKT_TCP) {
		if (room < 20 || (l4[12] >> 4) < 5 || (size_t)(l4[12] >> 4) * 4 > room)
			return;
		v->flags = l4[13];
	} else if (v->proto == PKT_UDP) {
		if (room < 8)
			return;
		v->no_csum = !get16(l4 + 6);
	} else {
		return;
	}
	v->l4 = true;
	v->src.port = get16(l4);
	v->dst.port = get16(l4 + 2);
	v->l4_csum_ok = v->no_csum ? v->family == 4 : l4_sum(data, v) == 0xffff;
}

static void parse_ipv4(const uint8_t *data, size_t len, struct pkt_view *v)
{
	const uint8_t *ip = data + v->l3;
	size_t header, total;

	if (len < v->l3 + 20 || ip[0] >> 4 != 4)
		return;
	header = (ip[0] & 15) * 4;
	total = get16(ip + 2);
	if (header < 20 || total < header || v->l3 + total > len)
		return;
	v->ip = true;
	v->end = v->l3 + total;
	v->ttl = ip[8];
	v->src.addr.family = v->dst.addr.family = 4;
	memcpy(v->src.addr.b, ip + 12, 4);
	memcpy(v->dst.addr.b, ip + 16, 4);
	v->ip_csum_ok = ones_sum(ip, header, 0) == 0xffff;
	if (get16(ip + 6) & 0x3fff)
		return; /* a fragment */
	v->proto = ip[9];
	v->l4_off = v->l3 + header;
	parse_l4(data, v);
}

static void parse_ipv6(const uint8_t *data, size_t len, struct pkt_view *v)
{
	const uint8_t *ip = data + v->l3;
	size_t at = v->l3 + 40;
	uint8_t next;

	if (len < at || ip[0] >> 4 != 6 || at + get16(ip + 4) > len)
		return;
	v->ip = v->ip_csum_ok = true;
	v->end = at + get16(ip + 4);
	v->ttl = ip[7];
	v->src.addr.family = v->dst.addr.family = 6;
	memcpy(v->src.addr.b, ip + 8, 16);
	memcpy(v->dst.addr.b, ip + 24, 16);
	for (next = ip[6];; next = data[at], at += v->l4_off) {
		if (next != PKT_HOPOPTS && next != PKT_DSTOPTS && next != PKT_ROUTING &&
		    next != PKT_FRAGMENT && next != PKT_AH)
			break;
		if (at + 8 > v->end)
			return;
		if (next == PKT_FRAGMENT && get16(data + at + 2) & 0xfff9)
			return; /* not atomic (RFC 6946) */
		v->l4_off = next == PKT_FRAGMENT ? 8
			    : next == PKT_AH     ? (data[at + 1] + 2) * 4
						 : (data[at + 1] + 1) * 8;
		if (at + v->l4_off > v->end)
			return;
	}
	v->proto = next;
	v->l4_off = at;
	parse_l4(data, v);
}

void pkt_parse(const uint8_t *data, size_t len, struct pkt_view *v)
{
	memset(v, 0, sizeof(*v));
	if (len < 14)
		return;
	v->l3 = 14;
	switch (get16(data + 12)) {
	case 0x0800:
		v->family = 4;
		parse_ipv4(data, len, v);
		break;
	case 0x86dd:
		v->family = 6;
		parse_ipv6(data, len, v);
		break;
	}
}

static void set_csum(struct pkt *p, size_t at, uint16_t sum)
{
	p->data[at] = sum >> 8;
	p->data[at + 1] = sum & 0xff;
}

void pkt_fix_csums(struct pkt *p)
{
	uint16_t type = get16(p->data + 12), sum;
	struct pkt_view v;

	if (type == 0x0800 && p->len >= 34 && (size_t)(p->data[14] & 15) * 4 + 14 <= p->len) {
		set_csum(p, 24, 0);
		set_csum(p, 24, ~ones_sum(p->data + 14, (p->data[14] & 15) * 4, 0));
	}
	pkt_parse(p->data, p->len, &v);
	if (!v.l4)
		return;
	set_csum(p, csum_offset(&v), 0);
	sum = ~l4_sum(p->data, &v);
	set_csum(p, csum_offset(&v), sum || v.proto == PKT_TCP ? sum : 0xffff);
}

void pkt_tune_csum(struct pkt *p, uint16_t sum)
{
	struct pkt_view v;
	size_t payload;

	pkt_parse(p->data, p->len, &v);
	payload = v.l4_off + (v.proto == PKT_TCP ? (p->data[v.l4_off + 12] >> 4) * 4 : 8);
	if (!v.l4 || payload + 2 > v.end) {
		fprintf(stderr, "test's own mistake: no payload to tune a checksum by\n");
		abort();
	}
	set_csum(p, payload, 0);
	set_csum(p, csum_offset(&v), sum);
	set_csum(p, payload, ~l4_sum(p->data, &v));
}

static size_t addr_offset(const struct pkt_view *v, bool source)
{
	if (v->family == 4)
		return v->l3 + (source ? 12 : 16);
	return v->l3 + (source ? 8 : 24);
}

/* What `in` must look like on its way out, checksums aside. */
static void expect(struct pkt *e, const struct pkt *in, const struct pkt_view *v,
		   const struct pkt_want *want)
{
	*e = *in;
	if (want->dmac)
		memcpy(e->data, want->dmac, 6);
	if (want->smac)
		memcpy(e->data + 6, want->smac, 6);
	e->data[v->l3 + (v->family == 4 ? 8 : 7)]--;
	memcpy(e->data + addr_offset(v, want->reverse), want->to.addr.b, v->family == 4 ? 4 : 16);
	set_csum(e, v->l4_off + (want->reverse ? 0 : 2), want->to.port);
}

static int check_csums(const struct pkt *in, const struct pkt_view *vi, const struct pkt *out,
		       const struct pkt_view *vo, char *why, size_t size)
{
	size_t header = vi->l4_off - vi->l3;
	uint16_t before, after;

	if (vi->family == 4) {
		before = ones_sum(in->data + vi->l3, header, 0);
		after = ones_sum(out->data + vo->l3, header, 0);
		if (!ones_equal(before, after)) {
			snprintf(why, size, "IPv4 header sums to %#06x, was %#06x", after, before);
			return -1;
		}
	}
	if (vi->no_csum != vo->no_csum) {
		snprintf(why, size, "UDP checksum was %s, now is %s", vi->no_csum ? "0" : "set",
			 vo->no_csum ? "0" : "set");
		return -1;
	}
	before = l4_sum(in->data, vi);
	after = l4_sum(out->data, vo);
	if (!vi->no_csum && !ones_equal(before, after)) {
		snprintf(why, size, "segment sums to %#06x, was %#06x", after, before);
		return -1;
	}
	return 0;
}

int pkt_check(const struct pkt *in, const struct pkt *out, const struct pkt_want *want, char *why,
	      size_t size)
{
	struct pkt_view vi, vo;
	struct pkt e;

	if (in->len != out->len) {
		snprintf(why, size, "%zu bytes became %zu", in->len, out->len);
		return -1;
	}
	pkt_parse(in->data, in->len, &vi);
	if (!vi.l4) {
		snprintf(why, size, "forwarded, though it is no whole TCP or UDP packet");
		return -1;
	}
	if (want->to.addr.family != vi.family || vi.ttl < 2) {
		snprintf(why, size, "forwarded with TTL %d, IPv%d", vi.ttl, vi.family);
		return -1;
	}
	expect(&e, in, &vi, want);
	/* The checksums are judged by what they sum up to. */
	memcpy(e.data + csum_offset(&vi), out->data + csum_offset(&vi), 2);
	if (vi.family == 4)
		memcpy(e.data + vi.l3 + 10, out->data + vi.l3 + 10, 2);
	for (size_t i = 0; i < in->len; i++) {
		if (e.data[i] != out->data[i]) {
			snprintf(why, size, "byte %zu is %02x, should be %02x (was %02x)", i,
				 out->data[i], e.data[i], in->data[i]);
			return -1;
		}
	}
	pkt_parse(out->data, out->len, &vo);
	return check_csums(in, &vi, out, &vo, why, size);
}
static bool same_end(const struct pkt_end *a, const struct pkt_end *b)
{
	return a->port == b->port && pkt_addr_equal(&a->addr, &b->addr);
}

static uint32_t word_at(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

int pkt_check_reset(const struct pkt *in, const struct pkt *out, char *why, size_t size)
{
	const uint8_t *tcp_in, *tcp;
	struct pkt_view vi, vo;
	bool opens;

	pkt_parse(in->data, in->len, &vi);
	pkt_parse(out->data, out->len, &vo);
	tcp_in = in->data + vi.l4_off;
	tcp = out->data + vo.l4_off;
	opens = !(vi.flags & PKT_ACK); /* RFC 9293, 3.10.7.1 */
	if (!vi.l4 || !vo.l4 || vi.proto != PKT_TCP || vo.proto != PKT_TCP)
		snprintf(why, size, "a reset, and one of them is no whole TCP packet");
	else if (vo.end != out->len || vo.l4_off + 20 != vo.end || tcp[12] != 5 << 4)
		snprintf(why, size, "a reset with more than its headers");
	else if (!vo.ip_csum_ok || !vo.l4_csum_ok)
		snprintf(why, size, "a reset with wrong checksums");
	else if (!same_end(&vi.src, &vo.dst) || !same_end(&vi.dst, &vo.src))
		snprintf(why, size, "a reset to somebody else");
	else if (memcmp(in->data, out->data + 6, 6) != 0 || memcmp(in->data + 6, out->data, 6) != 0)
		snprintf(why, size, "a reset with other MACs");
	else if (vi.flags & PKT_RST || vo.flags != (opens ? PKT_RST | PKT_ACK : PKT_RST))
		snprintf(why, size, "flags %#x answered by %#x", vi.flags, vo.flags);
	else if (word_at(tcp + 4) != (opens ? 0 : word_at(tcp_in + 8)) ||
		 word_at(tcp + 8) != (opens ? word_at(tcp_in + 4) + 1 : 0) || vo.ttl != 64)
		snprintf(why, size, "a reset with another sequence number, or TTL %d", vo.ttl);
	else
		return 0;
	return -1;
}
