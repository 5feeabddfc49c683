// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * nft_model.c - the model as records, comments of the elements of the set `model`: what the rules
 * alone do not tell (names, weights, overrides, limits). Key: service's id (0: the head) . record.
 *
 *     0 . 0  meshlb nft 2            1 . 0  service 0 1 65537 0
 *     0 . 1  limits 1000000 ...      1 . 1  name vote
 *     0 . 2  interface 0 eth0        1 . 2  listen *:8080/tcp
 *                                    1 . 3  backend 10.0.1.2:80 1 - 0
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nft_table.h"

#define RECORD_MAX 120 /* of a comment, whose limit is 128 */
#define NAME_PIECE 30  /* characters of a name in a record: 3 bytes each where encoded */

void lb_nft_record_add(struct lb_nft_elements *all, uint32_t id, uint32_t n, const char *text)
{
	char key[32];

	snprintf(key, sizeof(key), "%u . %u", id, n);
	lb_nft_element_add(all, LB_NFT_SET_MODEL, key, text);
}

/* nft's strings have no escapes: what would end one, and what is not printable, as %XX. */
static void encode(char *out, const char *text, size_t n)
{
	for (; n && *text; n--, text++) {
		unsigned char c = *text;

		if (c > ' ' && c < 0x7f && c != '"' && c != '%' && c != '\\')
			*out++ = c;
		else
			out += sprintf(out, "%%%02X", c);
	}
	*out = '\0';
}

static void decode(char *out, size_t size, const char *text)
{
	while (*text && size > 1) {
		char hex[3] = {text[0] == '%' ? text[1] : '\0', 0, 0};

		hex[1] = hex[0] ? text[2] : '\0';
		if (isxdigit((unsigned char)hex[0]) && isxdigit((unsigned char)hex[1])) {
			*out++ = (char)strtoul(hex, NULL, 16);
			text += 3;
		} else {
			*out++ = *text++;
		}
		size--;
	}
	*out = '\0';
}

/* `gone`: backends that were removed, whose connections are not forgotten yet. */
static const char *header(bool gone)
{
	return gone ? "gone" : "service";
}

void lb_nft_head_elements(struct lb_nft_elements *all, const struct lb_model *m, const char *magic)
{
	const struct lb_limits *l = &m->limits;
	char text[RECORD_MAX];
	uint32_t n = 0;

	lb_nft_record_add(all, 0, n++, magic);
	snprintf(text, sizeof(text), "limits %u %u %u %u %u", l->connections, l->connections6,
		 l->services, l->backends, l->ring_slots);
	lb_nft_record_add(all, 0, n++, text);
	snprintf(text, sizeof(text), "defaults %u %u %u", m->datapath, m->default_scheduler,
		 m->default_maglev_size);
	lb_nft_record_add(all, 0, n++, text);
	for (size_t i = 0; i < m->n_interfaces; i++) {
		char name[3 * LB_IFNAME_MAX + 1];

		encode(name, m->interfaces[i].name, LB_IFNAME_MAX);
		snprintf(text, sizeof(text), "interface %u %s", m->interfaces[i].hook, name);
		lb_nft_record_add(all, 0, n++, text);
		lb_nft_element_add(all, LB_NFT_SET_INTERFACES, m->interfaces[i].name, "");
	}
}

void lb_nft_service_records(struct lb_nft_elements *all, const struct lb_service_conf *s,
			    uint32_t id, bool gone)
{
	char text[RECORD_MAX], buf[3 * NAME_PIECE + 1], at[LB_ENDPOINT_STRLEN];
	uint32_t n = 0;

	snprintf(text, sizeof(text), "%s %u %u %u %u", header(gone), s->scheduler, s->source,
		 s->maglev_size, s->forwarding);
	lb_nft_record_add(all, id, n++, text);
	for (size_t i = 0; i < strlen(s->name); i += NAME_PIECE) {
		encode(buf, s->name + i, NAME_PIECE);
		snprintf(text, sizeof(text), "name %s", buf);
		lb_nft_record_add(all, id, n++, text);
	}
	for (size_t i = 0; i < s->n_listens; i++) {
		snprintf(text, sizeof(text), "listen %s", lb_listen_str(at, &s->listens[i]));
		lb_nft_record_add(all, id, n++, text);
	}
	for (size_t i = 0; i < s->n_backends; i++) {
		const struct lb_backend_conf *b = &s->backends[i];
		char by_hand[16] = "-";

		if (b->override != LB_NO_OVERRIDE)
			snprintf(by_hand, sizeof(by_hand), "%u", b->override);
		snprintf(text, sizeof(text), "backend %s %u %s %u", lb_endpoint_str(at, &b->at),
			 b->weight, by_hand, b->override == LB_NO_OVERRIDE ? 0 : b->override_since);
		lb_nft_record_add(all, id, n++, text);
	}
}

/* ---------------------------------------------------------------- back to a model */

struct record {
	uint32_t id, n;
	const char *text;
};

static int record_order(const void *a, const void *b)
{
	const struct record *x = a, *y = b;

	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return x->n < y->n ? -1 : x->n > y->n;
}

/* Behind `word` n numbers, a space before each. Returns what follows, or NULL where it is not so.
 */
static const char *numbers_read(const char *text, const char *word, uint32_t *v, size_t n)
{
	size_t len = strlen(word);

	if (strncmp(text, word, len) != 0)
		return NULL;
	text += len;
	for (size_t i = 0; i < n; i++) {
		unsigned long number;
		char *end;

		if (text[0] != ' ' || !isdigit((unsigned char)text[1]))
			return NULL;
		number = strtoul(text + 1, &end, 10);
		if (number > UINT32_MAX)
			return NULL;
		v[i] = number;
		text = end;
	}
	return text;
}

static int head_read(struct lb_model *m, const char *text)
{
	struct lb_interface_conf *i;
	uint32_t v[5];
	const char *name;

	if (numbers_read(text, "limits", v, 5)) {
		m->limits = (struct lb_limits){v[0], v[1], v[2], v[3], v[4]};
	} else if (numbers_read(text, "defaults", v, 3) && v[0] < LB_DATAPATHS &&
		   v[1] < LB_SCHEDULERS) {
		m->datapath = v[0];
		m->default_scheduler = v[1];
		m->default_maglev_size = v[2];
	} else if ((name = numbers_read(text, "interface", v, 1)) && *name == ' ' &&
		   v[0] < LB_KINDS) {
		i = lb_model_add_interface(m);
		if (!i)
			return -ENOMEM;
		i->hook = v[0];
		decode(i->name, sizeof(i->name), name + 1);
	}
	return 0;
}

/* "ADDR:PORT WEIGHT BY-HAND SINCE"; BY-HAND is a number or `-`. */
static int backend_read(struct lb_service_conf *s, const char *text)
{
	char at[LB_ENDPOINT_STRLEN];
	struct lb_endpoint endpoint;
	struct lb_backend_conf *b;
	const char *why, *rest;
	uint32_t weight, by_hand[2];

	snprintf(at, sizeof(at), "%.*s", (int)strcspn(text, " "), text);
	rest = numbers_read(text + strcspn(text, " "), "", &weight, 1);
	if (!rest || lb_endpoint_parse(&endpoint, at, &why) || weight > LB_WEIGHT_MAX)
		return 0;
	b = lb_service_add_backend(s);
	if (!b)
		return -ENOMEM;
	b->at = endpoint;
	b->weight = weight;
	if (numbers_read(rest, "", by_hand, 2)) {
		b->override = by_hand[0];
		b->override_since = by_hand[1];
	}
	return 0;
}

static int service_read(struct lb_model *m, uint32_t id, const char *text, bool gone)
{
	struct lb_service_conf *s = m->n_services ? &m->services[m->n_services - 1] : NULL;
	struct lb_listen listen, *l;
	const char *why, *rest;
	uint32_t v[3];
	size_t len;

	rest = numbers_read(text, header(gone), v, 3);
	if (rest) {
		s = lb_model_add_service(m);
		if (!s)
			return -ENOMEM;
		s->id = id;
		s->scheduler = v[0] < LB_SCHEDULERS ? v[0] : LB_SCHED_RR;
		s->source = v[1] && v[1] < LB_SOURCES ? v[1] : LB_SOURCE_FILE;
		s->maglev_size = v[2];
		s->unknown = lb_unknown_default(s->scheduler);
		if (numbers_read(rest, "", v, 1) && v[0] < LB_FORWARDINGS)
			s->forwarding = v[0];
		return 0;
	}
	if (!s || s->id != id)
		return 0;
	if (!strncmp(text, "name ", 5)) {
		len = strlen(s->name);
		decode(s->name + len, sizeof(s->name) - len, text + 5);
		lb_name_mend(s->name);
	} else if (!strncmp(text, "listen ", 7) && !lb_listen_parse(&listen, text + 7, &why)) {
		l = lb_service_add_listen(s);
		if (!l)
			return -ENOMEM;
		*l = listen;
	} else if (!strncmp(text, "backend ", 8)) {
		return backend_read(s, text + 8);
	}
	return 0;
}

int lb_nft_model_read(const struct lb_nft_elements *all, bool gone, struct lb_model *m,
		      struct lb_err *err)
{
	struct record *records = calloc(all->n + 1, sizeof(*records));
	size_t n = 0;
	int ret = records ? 0 : -ENOMEM;

	lb_model_init(m);
	m->limits_free = true;
	for (size_t i = 0; i < all->n && records; i++) {
		const struct lb_nft_element *e = &all->list[i];
		char *end;

		if (strcmp(e->set, LB_NFT_SET_MODEL) != 0)
			continue;
		records[n].id = strtoul(e->key, &end, 10);
		if (end == e->key || strncmp(end, " . ", 3) != 0)
			continue;
		records[n].n = strtoul(end + 3, NULL, 10);
		records[n++].text = e->value;
	}
	m->lost = records && !n;
	if (n)
		qsort(records, n, sizeof(*records), record_order);
	for (size_t i = 0; i < n && !ret; i++)
		ret = records[i].id ? service_read(m, records[i].id, records[i].text, gone)
				    : head_read(m, records[i].text);
	free(records);
	if (ret) {
		lb_model_free(m);
		return lb_err_sys(err, ENOMEM, "reading the model");
	}
	lb_model_sort(m);
	return 0;
}

/* nft's strings know no escapes, and a `*` at their end is a wildcard. */
const char *lb_nft_interface_why_not(const struct lb_interface_conf *i)
{
	return strpbrk(i->name, "\"\\*") ? "takes no name with \", \\ or *" : NULL;
}
