/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lib_mutate.c - changes rows of the packet tables at random: mildly (another client, other flags:
 * still a packet of a service) or wildly (bits, lengths, cuts, pieces of other rows).
 */
#include "lib_mutate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

uint32_t mutate_random(struct mutate *m, uint32_t below)
{
	uint64_t z = m->state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return (z ^ z >> 31) % below;
}

bool mutate_one_in(struct mutate *m, uint32_t n)
{
	return !mutate_random(m, n);
}

static void take(struct mutate *m, const struct row_group *groups, size_t n)
{
	for (size_t g = 0; g < n; g++) {
		for (size_t i = 0; i < groups[g].n; i++)
			m->rows[m->n_rows++] = &groups[g].rows[i];
	}
}

int mutate_open(struct mutate *m, uint64_t seed)
{
	size_t n = 0;

	memset(m, 0, sizeof(*m));
	m->state = seed;
	for (size_t g = 0; g < rows_forward_n; g++)
		n += rows_forward[g].n;
	for (size_t g = 0; g < rows_pass_n; g++)
		n += rows_pass[g].n;
	if (!n)
		return -EINVAL;
	m->rows = calloc(n, sizeof(const struct row *));
	m->frames = calloc(2 * n, sizeof(*m->frames));
	if (!m->rows || !m->frames)
		return -ENOMEM;
	take(m, rows_forward, rows_forward_n);
	take(m, rows_pass, rows_pass_n);
	for (size_t i = 0; i < n; i++)
		row_build(m->rows[i], &m->frames[i]);
	m->n_frames = n;
	for (size_t i = 0; i < n; i++) {
		if (m->rows[i]->open)
			row_opener(m->rows[i], &m->frames[m->n_frames++]);
	}
	return 0;
}

void mutate_close(struct mutate *m)
{
	free(m->rows);
	free(m->frames);
}

static void set16(struct pkt *p, size_t at, uint16_t v)
{
	if (at + 2 > p->len)
		return;
	p->data[at] = v >> 8;
	p->data[at + 1] = v & 0xff;
}

/* Another client, other TCP flags, other data: checksums right again. */
static void mutate_mildly(struct mutate *m, struct pkt *p, bool from_backend)
{
	struct pkt_view v;

	pkt_parse(p->data, p->len, &v);
	if (!v.l4)
		return;
	if (mutate_one_in(m, 2)) /* few, so that connections are met again */
		set16(p, v.l4_off + (from_backend ? 2 : 0), 40000 + mutate_random(m, 64));
	if (mutate_one_in(m, 4) && !from_backend && v.family == 4)
		p->data[v.l3 + 15] = 10 + mutate_random(m, 3);
	if (mutate_one_in(m, 4) && v.proto == PKT_TCP)
		p->data[v.l4_off + 13] = mutate_random(m, 64);
	if (mutate_one_in(m, 8))
		p->data[v.end - 1] = mutate_random(m, 256);
	if (mutate_one_in(m, 16))
		p->data[v.l3 + (v.family == 4 ? 8 : 7)] = mutate_random(m, 3);
	if (!mutate_one_in(m, 8) && !v.no_csum)
		pkt_fix_csums(p);
}

static void mutate_once(struct mutate *m, struct pkt *p)
{
	static const uint16_t interesting[] = {0, 1, 7, 8, 19, 20, 39, 40, 0x7fff, 0x8000, 0xffff};
	size_t header = p->len < 120 ? p->len : 120, at = mutate_random(m, header), n;
	const struct pkt *other;

	switch (mutate_random(m, 8)) {
	case 0:
		p->data[at] ^= 1 << mutate_random(m, 8);
		break;
	case 1:
		p->data[at] = mutate_random(m, 256);
		break;
	case 2:
		set16(p, at, interesting[mutate_random(m, 11)]);
		break;
	case 3: /* a length near the true one */
		set16(p, mutate_one_in(m, 2) ? 16 : 18, p->len - 70 + mutate_random(m, 80));
		break;
	case 4:
		p->len = 14 + mutate_random(m, p->len - 13);
		break;
	case 5:
		n = mutate_random(m, 64);
		if (p->len + n <= PKT_MAX) {
			memset(p->data + p->len, 0x5a, n);
			p->len += n;
		}
		break;
	case 6: /* a piece of another row */
		other = &m->frames[mutate_random(m, m->n_frames)];
		n = 1 + mutate_random(m, 24);
		if (at + n <= p->len && at + n <= other->len)
			memcpy(p->data + at, other->data + at, n);
		break;
	default: /* version, header lengths, next protocols */
		p->data[(const uint8_t[]){14, 20, 23, 46, 54, 66}[mutate_random(m, 6)]] =
			mutate_random(m, 256);
		p->len = p->len < 67 ? 67 : p->len;
	}
}

void mutate_next(struct mutate *m, struct pkt *p, bool *from_backend)
{
	size_t i = mutate_random(m, m->n_frames);

	*from_backend = i < m->n_rows && m->rows[i]->from_backend;
	p->len = m->frames[i].len;
	memcpy(p->data, m->frames[i].data, p->len);
	if (mutate_one_in(m, 8))
		return;
	if (mutate_random(m, 16) < 9) {
		mutate_mildly(m, p, *from_backend);
		return;
	}
	for (i = 1 + mutate_random(m, 3); i; i--)
		mutate_once(m, p);
	if (mutate_one_in(m, 2))
		pkt_fix_csums(p);
}
