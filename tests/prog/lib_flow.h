/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lib_flow.h - whole connections, packet by packet, for the tests of what lasts longer than one.
 */
#ifndef LIB_FLOW_H
#define LIB_FLOW_H

#include "lib_judge.h"

struct flow {
	struct run *run;
	enum lb_hook hook;
	const char *client, *service;
	uint16_t cport, sport;
	uint8_t proto;             /* 0: TCP */
	uint32_t seq, backend_seq; /* of the next packet of each side; 0: as ever */
	uint16_t payload;          /* of each packet; 0: a few bytes */
	bool alone;                /* no tc program stands behind the XDP one */
	struct pkt_end backend;    /* that took its last packet */
};

/* From port `cport` of the usual client of a family to port `sport` of the usual address. */
struct flow flow_make(struct run *run, enum lb_hook hook, enum lb_family family, uint16_t cport,
		      uint16_t sport, uint8_t proto);

/* One packet of the client, or of `backend`; TCP's flags. Returns the reason, or RUN_FORWARDED. A
 * forwarded packet has been judged whole; prints and returns FLOW_WRONG if it was not right. */
#define FLOW_WRONG (-2)
int flow_send(struct flow *f, uint8_t flags);
int flow_answer(struct flow *f, uint8_t flags);

/* The same of a packet that must be forwarded: else the test has failed. */
void sends(struct flow *f, uint8_t flags);
void answers(struct flow *f, uint8_t flags);

/* The same connection, of which somebody guesses the numbers, and is too far from them. */
struct flow flow_guessed(const struct flow *f);

/* A TCP handshake, or a datagram and its answer. RUN_FORWARDED, or the first that was not. */
int flow_establish(struct flow *f);

/* The same of a TCP flow that must be established: else the test has failed. */
struct flow flow_established(struct flow f);

/* Its state in the table; -1: it has no entry, or several. */
int flow_state(const struct flow *f);

#endif
