// SPDX-License-Identifier: GPL-2.0-or-later
/* model.c - the model's lists, their order, and the text form of addresses and listens. */
#include "list.h"
#include "model.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_CONNECTIONS 1000000u
#define LIMIT_SERVICES    10000u
#define LIMIT_BACKENDS    100000u
#define LIMIT_RING_SLOTS  16777216u

static const struct {
	uint32_t seconds, min;
} timeouts[LB_TIMEOUTS] = {
	[LB_TIMEOUT_SYN] = {30, 1},           [LB_TIMEOUT_ESTABLISHED] = {4 * 3600, 60},
	[LB_TIMEOUT_HALF_CLOSED] = {3600, 1}, [LB_TIMEOUT_CLOSING] = {120, 1},
	[LB_TIMEOUT_CLOSED] = {10, 1},        [LB_TIMEOUT_UDP_NEW] = {30, 1},
	[LB_TIMEOUT_UDP] = {180, 10},         [LB_TIMEOUT_AFFINITY] = {300, 10},
};

static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff}; /* RFC 4291, 2.5.5.2 */

void lb_model_init(struct lb_model *m)
{
	*m = (struct lb_model){
		.datapath = LB_DATAPATH_AUTO,
		.default_scheduler = LB_SCHED_RR,
		.default_maglev_size = LB_MAGLEV_SIZE_DEFAULT,
		.limits =
			{
				.connections = LIMIT_CONNECTIONS,
				.connections6 = LIMIT_CONNECTIONS,
				.services = LIMIT_SERVICES,
				.backends = LIMIT_BACKENDS,
				.ring_slots = LIMIT_RING_SLOTS,
			},
		.rates = LB_RATES_DEFAULT,
	};
	lb_timeouts_default(m->timeouts);
}

uint32_t lb_timeout_default(enum lb_timeout timeout)
{
	return timeouts[timeout].seconds;
}

void lb_timeouts_default(uint32_t seconds[LB_TIMEOUTS])
{
	for (int i = 0; i < LB_TIMEOUTS; i++)
		seconds[i] = timeouts[i].seconds;
}

uint32_t lb_timeout_min(enum lb_timeout timeout)
{
	return timeouts[timeout].min;
}

static void service_free(struct lb_service_conf *s)
{
	free(s->listens);
	free(s->backends);
}

void lb_model_free(struct lb_model *m)
{
	for (size_t i = 0; i < m->n_services; i++)
		service_free(&m->services[i]);
	free(m->services);
	free(m->interfaces);
	*m = (struct lb_model){0};
}

static int service_copy(struct lb_service_conf *to, const struct lb_service_conf *from)
{
	void *listens, *backends;

	if (lb_list_copy(&listens, from->listens, from->n_listens, sizeof(*from->listens)))
		return -ENOMEM;
	if (lb_list_copy(&backends, from->backends, from->n_backends, sizeof(*from->backends))) {
		free(listens);
		return -ENOMEM;
	}
	*to = *from;
	to->listens = listens;
	to->backends = backends;
	return 0;
}

int lb_model_copy(struct lb_model *to, const struct lb_model *from)
{
	void *interfaces, *services;

	*to = (struct lb_model){0};
	if (lb_list_copy(&interfaces, from->interfaces, from->n_interfaces,
			 sizeof(*from->interfaces)))
		return -ENOMEM;
	if (lb_list_copy(&services, from->services, from->n_services, sizeof(*from->services))) {
		free(interfaces);
		return -ENOMEM;
	}
	*to = *from;
	to->interfaces = interfaces;
	to->services = services;
	for (to->n_services = 0; to->n_services < from->n_services; to->n_services++) {
		if (service_copy(&to->services[to->n_services], &from->services[to->n_services])) {
			lb_model_free(to);
			return -ENOMEM;
		}
	}
	return 0;
}

struct lb_interface_conf *lb_model_add_interface(struct lb_model *m)
{
	return lb_list_add((void **)&m->interfaces, &m->n_interfaces, sizeof(*m->interfaces));
}

struct lb_service_conf *lb_model_add_service(struct lb_model *m)
{
	return lb_list_add((void **)&m->services, &m->n_services, sizeof(*m->services));
}

struct lb_listen *lb_service_add_listen(struct lb_service_conf *s)
{
	return lb_list_add((void **)&s->listens, &s->n_listens, sizeof(*s->listens));
}

struct lb_backend_conf *lb_service_add_backend(struct lb_service_conf *s)
{
	struct lb_backend_conf *b;

	b = lb_list_add((void **)&s->backends, &s->n_backends, sizeof(*s->backends));
	if (b)
		b->override = LB_NO_OVERRIDE; /* zero would be a drain */
	return b;
}

void lb_model_remove_service(struct lb_model *m, size_t index)
{
	struct lb_service_conf *s = &m->services[index];

	service_free(s);
	memmove(s, s + 1, (m->n_services - index - 1) * sizeof(*s));
	m->n_services--;
}

void lb_model_remove_interface(struct lb_model *m, size_t index)
{
	struct lb_interface_conf *i = &m->interfaces[index];

	memmove(i, i + 1, (m->n_interfaces - index - 1) * sizeof(*i));
	m->n_interfaces--;
}

void lb_service_remove_listen(struct lb_service_conf *s, size_t index)
{
	struct lb_listen *l = &s->listens[index];

	memmove(l, l + 1, (s->n_listens - index - 1) * sizeof(*l));
	s->n_listens--;
}

/* ---------------------------------------------------------------------------- order */

int lb_endpoint_cmp(const struct lb_endpoint *a, const struct lb_endpoint *b)
{
	int cmp = a->family - b->family;

	if (!cmp)
		cmp = memcmp(&a->addr, &b->addr, sizeof(a->addr));
	return cmp ? cmp : a->port - b->port;
}

int lb_listen_cmp(const struct lb_listen *a, const struct lb_listen *b)
{
	int cmp = lb_endpoint_cmp(&a->at, &b->at);

	if (!cmp)
		cmp = a->proto - b->proto;
	return cmp ? cmp : a->any - b->any;
}

/* Equal keys lie in the order of their lines, for those who look for duplicates. */
static int interface_order(const void *a, const void *b)
{
	const struct lb_interface_conf *x = a, *y = b;
	int cmp = strcmp(x->name, y->name);

	return cmp ? cmp : x->line - y->line;
}

static int service_order(const void *a, const void *b)
{
	const struct lb_service_conf *x = a, *y = b;
	int cmp = strcmp(x->name, y->name);

	return cmp ? cmp : x->line - y->line;
}

static int listen_order(const void *a, const void *b)
{
	const struct lb_listen *x = a, *y = b;
	int cmp = lb_listen_cmp(x, y);

	return cmp ? cmp : x->line - y->line;
}

static int backend_order(const void *a, const void *b)
{
	const struct lb_backend_conf *x = a, *y = b;
	int cmp = lb_endpoint_cmp(&x->at, &y->at);

	return cmp ? cmp : x->line - y->line;
}

/* qsort() wants no null pointer, which an empty list is. */
static void list_sort(void *list, size_t n, size_t size, int (*order)(const void *, const void *))
{
	if (n)
		qsort(list, n, size, order);
}

void lb_model_sort(struct lb_model *m)
{
	list_sort(m->interfaces, m->n_interfaces, sizeof(*m->interfaces), interface_order);
	list_sort(m->services, m->n_services, sizeof(*m->services), service_order);
	for (size_t i = 0; i < m->n_services; i++) {
		struct lb_service_conf *s = &m->services[i];

		list_sort(s->listens, s->n_listens, sizeof(*s->listens), listen_order);
		list_sort(s->backends, s->n_backends, sizeof(*s->backends), backend_order);
	}
}

static int service_name_cmp(const void *key, const void *element)
{
	return strcmp(key, ((const struct lb_service_conf *)element)->name);
}

struct lb_service_conf *lb_model_find_service(const struct lb_model *m, const char *name)
{
	if (!m->n_services)
		return NULL;
	return bsearch(name, m->services, m->n_services, sizeof(*m->services), service_name_cmp);
}

static int backend_at_cmp(const void *key, const void *element)
{
	return lb_endpoint_cmp(key, &((const struct lb_backend_conf *)element)->at);
}

struct lb_backend_conf *lb_service_find_backend(const struct lb_service_conf *s,
						const struct lb_endpoint *at)
{
	if (!s->n_backends)
		return NULL;
	return bsearch(at, s->backends, s->n_backends, sizeof(*s->backends), backend_at_cmp);
}

bool lb_service_has_family(const struct lb_service_conf *s, enum lb_family family)
{
	for (size_t i = 0; i < s->n_backends; i++)
		if (s->backends[i].at.family == family)
			return true;
	return false;
}

bool lb_model_has_family(const struct lb_model *m, enum lb_family family)
{
	for (size_t i = 0; i < m->n_services; i++)
		if (lb_service_has_family(&m->services[i], family))
			return true;
	return false;
}

bool lb_service_has_timeouts(const struct lb_service_conf *s)
{
	for (int i = 0; i < LB_TIMEOUTS_NAMED; i++)
		if (s->timeouts[i])
			return true;
	return false;
}

bool lb_service_has_listen(const struct lb_service_conf *s, const struct lb_listen *l)
{
	for (size_t i = 0; i < s->n_listens; i++)
		if (!lb_listen_cmp(&s->listens[i], l))
			return true;
	return false;
}

size_t lb_model_pairs(const struct lb_model *m)
{
	size_t n = 0;

	for (size_t i = 0; i < m->n_services; i++)
		n += m->services[i].n_listens * m->services[i].n_backends;
	return n;
}

/* ---------------------------------------------------------------------------- text */

const char *lb_addr_str(char *buf, const struct lb_addr *addr, enum lb_family family)
{
	if (family == LB_V4)
		inet_ntop(AF_INET, addr->b + sizeof(v4_prefix), buf, LB_ENDPOINT_STRLEN);
	else
		inet_ntop(AF_INET6, addr->b, buf, LB_ENDPOINT_STRLEN);
	return buf;
}

const char *lb_endpoint_str(char *buf, const struct lb_endpoint *at)
{
	char addr[LB_ENDPOINT_STRLEN];
	const char *form = at->family == LB_V4 ? "%s:%u" : "[%s]:%u";

	lb_addr_str(addr, &at->addr, at->family);
	snprintf(buf, LB_ENDPOINT_STRLEN, form, addr, at->port);
	return buf;
}

const char *lb_listen_str(char *buf, const struct lb_listen *l)
{
	size_t len;

	if (l->any == LB_ANY_BOTH)
		snprintf(buf, LB_ENDPOINT_STRLEN, "*:%u", l->at.port);
	else
		lb_endpoint_str(buf, &l->at);
	len = strlen(buf);
	snprintf(buf + len, LB_ENDPOINT_STRLEN - len, "/%s", lb_proto_name(l->proto));
	return buf;
}

int lb_addr_parse(struct lb_addr *addr, uint8_t *family, const char *text)
{
	uint8_t b[16];

	memcpy(b, v4_prefix, sizeof(v4_prefix));
	if (inet_pton(AF_INET, text, b + sizeof(v4_prefix)) == 1)
		*family = LB_V4;
	else if (inet_pton(AF_INET6, text, b) == 1 && memcmp(b, v4_prefix, sizeof(v4_prefix)) != 0)
		*family = LB_V6;
	else
		return -EINVAL;
	memcpy(addr->b, b, sizeof(b));
	return 0;
}

bool lb_addr_is_any(const struct lb_addr *addr, enum lb_family family)
{
	static const uint8_t zero[16];
	size_t skip = family == LB_V4 ? sizeof(v4_prefix) : 0;

	return !memcmp(addr->b + skip, zero, sizeof(zero) - skip);
}

bool lb_addr_is_link_local(const struct lb_addr *addr, enum lb_family family)
{
	return family == LB_V6 && addr->b[0] == 0xfe && addr->b[1] >> 6 == 2;
}

const char *lb_addr_why_not(const struct lb_addr *addr, enum lb_family family)
{
	static const uint8_t loopback6[16] = {[15] = 1};
	const uint8_t *v4 = addr->b + sizeof(v4_prefix);
	bool is_v4 = family == LB_V4;

	if (lb_addr_is_any(addr, family))
		return NULL;
	if (is_v4 ? v4[0] == 127 : !memcmp(addr->b, loopback6, sizeof(loopback6)))
		return "a loopback address, which no packet on a network has";
	if (is_v4 ? v4[0] >> 4 == 0xe : addr->b[0] == 0xff)
		return "a group address: write that of one host";
	if (is_v4 && (v4[0] == 0 || v4[0] >= 240))
		return "a reserved address, which no host has";
	return NULL;
}

/* Why lb_addr_parse() refused it. */
static const char *addr_why(const char *text)
{
	struct in6_addr a;

	if (inet_pton(AF_INET6, text, &a) == 1)
		return "an IPv4-mapped IPv6 address: write the IPv4 address itself";
	return "not an IP address: write A.B.C.D:PORT or [IPV6]:PORT";
}

/* Why port_parse() refused it. */
static const char *port_why(const char *text)
{
	size_t digits = strspn(text, "0123456789");

	if (digits && text[digits] == '/')
		return "a protocol is for `listen`, and its backends have the same: write no /tcp";
	if (digits > 1 && text[0] == '0')
		return "a port is a number from 1 to 65535: write it without leading zeroes";
	return "a port is a number from 1 to 65535";
}

/* Digits alone: strtoul() would take " +80" too, and a leading zero means octal to some. */
static int port_parse(uint16_t *port, const char *text)
{
	size_t len = strspn(text, "0123456789");
	unsigned long value;

	if (!len || len > 5 || text[len] || text[0] == '0')
		return -EINVAL;
	value = strtoul(text, NULL, 10);
	if (value > 65535)
		return -EINVAL;
	*port = (uint16_t)value;
	return 0;
}

/* Splits "addr:port" or "[addr]:port". Returns why it cannot, or NULL. */
static const char *endpoint_split(char *text, char **addr, char **port)
{
	char *end;

	if (text[0] == '[') {
		end = strchr(text, ']');
		if (!end)
			return "no `]` after the IPv6 address: write [IPV6]:PORT";
		if (end[1] != ':')
			return "no port: write [IPV6]:PORT";
		*addr = text + 1;
		*port = end + 2;
	} else {
		end = strchr(text, ':');
		if (!end)
			return "no port: write A.B.C.D:PORT or [IPV6]:PORT";
		if (strchr(end + 1, ':'))
			return "an IPv6 address needs brackets: write [IPV6]:PORT";
		*addr = text;
		*port = end + 1;
	}
	*end = '\0';
	return NULL;
}

static const char several[] = "more than one: write a list, each item in quotes of its own";

int lb_endpoint_parse(struct lb_endpoint *at, const char *text, const char **why)
{
	struct lb_endpoint parsed = {0};
	char copy[LB_ENDPOINT_STRLEN], *addr, *port;

	*why = several;
	if (strchr(text, ','))
		return -EINVAL;
	*why = "not an IP address: write A.B.C.D:PORT or [IPV6]:PORT";
	if (snprintf(copy, sizeof(copy), "%s", text) >= (int)sizeof(copy))
		return -EINVAL;
	*why = endpoint_split(copy, &addr, &port);
	if (*why)
		return -EINVAL;
	if (lb_addr_parse(&parsed.addr, &parsed.family, addr)) {
		*why = addr_why(addr);
		return -EINVAL;
	}
	if ((text[0] == '[') != (parsed.family == LB_V6)) {
		*why = "brackets are for IPv6 addresses: write A.B.C.D:PORT";
		return -EINVAL;
	}
	if (port_parse(&parsed.port, port)) {
		*why = port_why(port);
		return -EINVAL;
	}
	*at = parsed;
	return 0;
}

int lb_listen_parse(struct lb_listen *l, const char *text, const char **why)
{
	struct lb_listen parsed = {.proto = LB_TCP};
	char copy[LB_ENDPOINT_STRLEN], *slash;
	bool both = !strncmp(text, "*:", 2);
	int written;

	*why = several;
	if (strchr(text, ','))
		return -EINVAL;
	/* `*` is read as 0.0.0.0, which is what it is kept as. */
	written = snprintf(copy, sizeof(copy), "%s%s", both ? "0.0.0.0" : "", text + both);
	*why = "not an IP address: write A.B.C.D:PORT, [IPV6]:PORT or *:PORT";
	if (written >= (int)sizeof(copy))
		return -EINVAL;
	slash = strchr(copy, '/');
	if (slash) {
		*slash = '\0';
		if (!strcmp(slash + 1, "udp")) {
			parsed.proto = LB_UDP;
		} else if (strcmp(slash + 1, "tcp") != 0) {
			*why = "a protocol is /tcp or /udp";
			return -EINVAL;
		}
	}
	if (lb_endpoint_parse(&parsed.at, copy, why))
		return -EINVAL;
	*why = lb_addr_why_not(&parsed.at.addr, parsed.at.family);
	if (*why)
		return -EINVAL;
	if (lb_addr_is_any(&parsed.at.addr, parsed.at.family))
		parsed.any = both ? LB_ANY_BOTH : LB_ANY_ONE;
	*l = parsed;
	return 0;
}
