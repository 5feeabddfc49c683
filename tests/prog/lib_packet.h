/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lib_packet.h - builds frames from short descriptions, and judges what came out of a program.
 *
 * Independent of bpf/ and user/ on purpose: it parses every frame from scratch and recomputes every
 * checksum by the plain sum of RFC 1071, so that a mistake there cannot hide behind the same one
 * here.
 */
#ifndef LIB_PACKET_H
#define LIB_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define PKT_MAX      9216
#define PKT_EXTS_MAX 12

#define PKT_FIN 0x01
#define PKT_SYN 0x02
#define PKT_RST 0x04
#define PKT_PSH 0x08
#define PKT_ACK 0x10

/* IP protocol numbers and IPv6 next headers that the tables use. */
enum {
	PKT_HOPOPTS = 0,
	PKT_ICMP = 1,
	PKT_TCP = 6,
	PKT_UDP = 17,
	PKT_ROUTING = 43,
	PKT_FRAGMENT = 44,
	PKT_ESP = 50,
	PKT_AH = 51,
	PKT_ICMPV6 = 58,
	PKT_NONE = 59,
	PKT_DSTOPTS = 60,
	PKT_MOBILITY = 135,
};

struct pkt {
	uint8_t data[PKT_MAX];
	size_t len;
};

/* An address: 4 or 16 bytes in network order. */
struct pkt_addr {
	uint8_t family; /* 4 or 6 */
	uint8_t b[16];
};
struct pkt_addr pkt_addr(const char *text); /* aborts on nonsense */
const char *pkt_addr_str(char out[64], const struct pkt_addr *a);
bool pkt_addr_equal(const struct pkt_addr *a, const struct pkt_addr *b);

struct pkt_end {
	struct pkt_addr addr;
	uint16_t port; /* host order */
};
struct pkt_end pkt_end(const char *addr, uint16_t port);

/* What to build. Zero is the plain choice everywhere. */
struct pkt_spec {
	const char *src, *dst; /* "192.0.2.1", "2001:db8::1"; the family is src's */
	uint16_t sport, dport;
	uint8_t proto;              /* 0: TCP */
	uint8_t flags;              /* TCP, 0: ACK */
	uint32_t seq, ack;          /* TCP, 0: 1000000 and 2000000 */
	uint8_t ttl;                /* 0: 64 */
	uint8_t tos;                /* or traffic class */
	uint16_t payload;           /* bytes of a fixed pattern */
	uint8_t options;            /* bytes of IPv4 options, multiple of 4 (NOPs) */
	uint8_t tcp_options;        /* bytes of TCP options, multiple of 4 (NOPs) */
	uint8_t exts[PKT_EXTS_MAX]; /* IPv6 extension headers in order */
	uint8_t n_exts;
	uint8_t ext_units; /* length of each, in 8 bytes beyond the first 8 */
	uint8_t vlans;     /* 802.1Q tags, the outer ones 802.1ad */
	bool frag_more;    /* more fragments follow */
	uint16_t frag_off; /* fragment offset in 8-byte units; IPv6: in its fragment header */
	bool dont_fragment;
	bool udp_no_csum;           /* UDP checksum 0 */
	uint16_t ethertype;         /* instead of the right one */
	uint16_t trailer;           /* padding bytes behind the IP packet */
	const uint8_t *dmac, *smac; /* NULL: 02:00:00:00:00:01 and :02 */
};

void pkt_build(struct pkt *p, const struct pkt_spec *s);

/* Puts right the checksums of a frame after it was changed by hand; only what pkt_parse() reaches.
 */
void pkt_fix_csums(struct pkt *p);

/* Makes the UDP or TCP checksum come out as `sum` (0 is sent as 0xffff by UDP) by the payload's
 * first two bytes, which must be there. */
void pkt_tune_csum(struct pkt *p, uint16_t sum);

/* A frame as parsed from scratch. */
struct pkt_view {
	bool ip;        /* whole, well-formed IPv4 or IPv6 header; no VLAN tag */
	bool l4;        /* whole TCP or UDP header in a packet that is no fragment */
	uint8_t family; /* 4 or 6 */
	uint8_t proto;  /* of l4 */
	size_t l3, l4_off;
	size_t end; /* of the IP packet by its own length field */
	struct pkt_end src, dst;
	uint8_t ttl;
	uint8_t flags;   /* TCP */
	bool ip_csum_ok; /* true for IPv6 */
	bool l4_csum_ok; /* true for an absent UDP one over IPv4 */
	bool no_csum;    /* UDP checksum is 0 */
};
void pkt_parse(const uint8_t *data, size_t len, struct pkt_view *v);

/* What a forwarded packet must have become. */
struct pkt_want {
	bool reverse;               /* the source changes, else the destination */
	struct pkt_end to;          /* to this */
	const uint8_t *dmac, *smac; /* NULL: as before */
};

/*
 * Compares a forwarded frame with the one that went in: same length; MACs as wanted; TTL less one;
 * address and port as wanted; each checksum valid where it was, off by the same where it was not,
 * absent where it was; every other byte as it was. Returns 0, or -1 with what is wrong in `why`.
 */
int pkt_check(const struct pkt *in, const struct pkt *out, const struct pkt_want *want, char *why,
	      size_t why_size);

/* Is `out` a TCP reset that the sender of `in` believes at once: with just the sequence number that
 * it waits for, and nothing else? As pkt_check(). */
int pkt_check_reset(const struct pkt *in, const struct pkt *out, char *why, size_t why_size);

void pkt_hexdump(FILE *f, const char *title, const struct pkt *p);

#endif
