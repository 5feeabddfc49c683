/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lib_rows.h - the packet tables: services to load, and packets with what must become of them.
 *
 * test_packets.c runs each row through both hooks; test_fuzz.c mutates them.
 */
#ifndef LIB_ROWS_H
#define LIB_ROWS_H

#include "lib_run.h"

/* Bytes changed in a built frame, checksums left as they are. */
struct row_edit {
	uint16_t at;
	uint8_t n;
	uint8_t bytes[4];
};

struct row {
	const char *name;
	struct pkt_spec p;
	bool open; /* a TCP SYN or UDP packet of the connection goes before it; see row_opener() */
	bool from_backend; /* it comes in by b0 and is translated back */
	struct row_edit edit[2];
	uint8_t fix_csum; /* after the edits */
	int reason;       /* enum lb_reason, where `to` is NULL */
	bool tc_differs;
	int tc_reason;  /* on tc instead; may be RUN_FORWARDED */
	const char *to; /* translated to this address and port */
	uint16_t to_port;
	bool to_tc; /* XDP leaves it to tc */
};

struct row_group {
	const char *name;
	const struct row *rows;
	size_t n;
};
extern const struct row_group rows_forward[], rows_pass[];
extern const size_t rows_forward_n, rows_pass_n;

void rows_add_services(struct run *r);
/* Has one of these services such a listen, and this backend? */
bool rows_serve(const struct pkt_end *at, uint8_t proto, const struct pkt_end *backend);
void row_build(const struct row *row, struct pkt *p);
/* The packet that opens the row's connection (of its own tuple, or of the one it answers). */
void row_opener(const struct row *row, struct pkt *p);
uint32_t row_ifindex(const struct row *row, const struct run *r);

#endif
