/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hash.h - a 64-bit hash with a fixed key: the same number on every node, build and machine. */
#ifndef LB_HASH_H
#define LB_HASH_H

#include <endian.h>
#include <string.h>

#include "model.h"

/* Takes one word into a hash. For a given `hash` it is a bijection of `word` (the finalizer of
 * splitmix64), so that inputs that differ in one word never collide. */
static inline uint64_t lb_hash_word(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) + 0x9e3779b97f4a7c15;
	hash = (hash ^ hash >> 30) * 0xbf58476d1ce4e5b9;
	hash = (hash ^ hash >> 27) * 0x94d049bb133111eb;
	return hash ^ hash >> 31;
}

static inline uint64_t lb_hash_endpoint(uint64_t hash, const struct lb_endpoint *at)
{
	uint64_t half[2];

	memcpy(half, at->addr.b, sizeof(half));
	hash = lb_hash_word(hash, be64toh(half[0]));
	hash = lb_hash_word(hash, be64toh(half[1]));
	return lb_hash_word(hash, (uint64_t)at->family << 16 | at->port);
}

#endif
