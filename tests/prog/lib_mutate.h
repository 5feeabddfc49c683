/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lib_mutate.h - random packets near the packet tables, the same for the same seed.
 */
#ifndef LIB_MUTATE_H
#define LIB_MUTATE_H

#include "lib_rows.h"

struct mutate {
	uint64_t state;
	const struct row **rows;
	size_t n_rows;
	struct pkt *frames; /* of the rows, then of their openers */
	size_t n_frames;
};

int mutate_open(struct mutate *m, uint64_t seed); /* 0 or -ENOMEM */
void mutate_close(struct mutate *m);
uint32_t mutate_random(struct mutate *m, uint32_t below);
bool mutate_one_in(struct mutate *m, uint32_t n);

/* A frame, changed or not; *from_backend: the side it comes from. */
void mutate_next(struct mutate *m, struct pkt *p, bool *from_backend);

#endif
