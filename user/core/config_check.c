// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * config_check.c - what a config must be beyond its grammar: a text before, a whole model after.
 *
 * Duplicates are found by sorting: a config of 10,000 services must not take minutes.
 */

#include "config_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ring.h"

int lb_config_refuse(struct lb_err *err, const char *file, int line, const char *what,
		     const char *value, const char *fmt, ...)
{
	char right[256], quoted[96] = "";
	size_t len = 0;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(right, sizeof(right), fmt, ap);
	va_end(ap);
	if (!value)
		return lb_err_set(err, EINVAL, "%.128s:%d: %s: %s", file, line, what, right);
	for (const char *p = value; *p; p++) {
		bool plain = *p >= ' ' && *p <= '~';

		if (len > sizeof(quoted) - 16) {
			sprintf(quoted + len, "...");
			break;
		}
		len += sprintf(quoted + len, plain ? "%c" : "\\x%02x", (unsigned char)*p);
	}
	return lb_err_set(err, EINVAL, "%.128s:%d: %s: \"%s\": %s", file, line, what, quoted,
			  right);
}

/* ---------------------------------------------------------------------------- the text */

/* Bytes of the character at p, if it is one that YAML allows (1.2, 5.1); else 0. */
static size_t char_len(const unsigned char *p, const unsigned char *end)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t c = *p;
	size_t n;

	if (c < 0x80)
		return c == '\t' || c == '\n' || c == '\r' || (c >= ' ' && c <= '~');
	n = c >= 0xf0 && c < 0xf8 ? 4 : c >= 0xe0 ? 3 : 2;
	if (c < 0xc0 || c >= 0xf8 || (size_t)(end - p) < n)
		return 0;
	c &= 0x7f >> n;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least[n] || (c < 0xa0 && c != 0x85) || (c >= 0xd800 && c < 0xe000) || c == 0xfffe ||
	    c == 0xffff || c > 0x10ffff)
		return 0;
	return n;
}

int lb_config_check_text(const char *text, size_t len, const char *file, struct lb_err *err)
{
	const unsigned char *p = (const unsigned char *)text, *end = p + len;
	char value[8];
	int line = 1;
	size_t n;

	if (len > LB_CONFIG_SIZE_MAX)
		return lb_err_set(err, E2BIG,
				  "%.128s:1: config: \"%zu bytes\": too large: write at most %u",
				  file, len, LB_CONFIG_SIZE_MAX);
	for (; p < end; p += n) {
		n = char_len(p, end);
		if (!n) {
			snprintf(value, sizeof(value), "\\x%02x", *p);
			return lb_config_refuse(err, file, line, "text", value,
						"not a printable character in UTF-8");
		}
		line += *p == '\n';
	}
	return 0;
}

/* ---------------------------------------------------------------------------- the model */

/* Before the sort, while services are in the order of their lines. */
static int check_limits(const struct lb_model *m, const char *file, struct lb_err *err)
{
	const struct lb_limits *l = &m->limits;
	size_t backends = 0;
	char number[24];

	if (m->n_services > l->services) {
		snprintf(number, sizeof(number), "%zu", m->n_services);
		return lb_config_refuse(err, file, m->services[l->services].line,
					"number of services", number,
					"limits.services is %u: raise it", l->services);
	}
	for (size_t i = 0; i < m->n_services; i++) {
		backends += m->services[i].n_backends;
		if (backends <= l->backends)
			continue;
		return lb_config_refuse(
			err, file, m->services[i].line, "backends of service", m->services[i].name,
			"with those before, more than limits.backends, %u: raise it", l->backends);
	}
	return 0;
}

static int check_interfaces(const struct lb_model *m, const char *file, struct lb_err *err)
{
	for (size_t i = 1; i < m->n_interfaces; i++) {
		const struct lb_interface_conf *a = &m->interfaces[i - 1], *b = a + 1;

		if (!strcmp(a->name, b->name))
			return lb_config_refuse(err, file, b->line, "interface", b->name,
						"already in line %d: write it once", a->line);
	}
	return 0;
}

static int check_backends(const struct lb_service_conf *s, const char *file, struct lb_err *err)
{
	size_t n[LB_FAMILIES] = {0}, most;
	char at[LB_ENDPOINT_STRLEN];

	for (size_t i = 0; i < s->n_backends; i++) {
		const struct lb_backend_conf *b = &s->backends[i];

		n[b->at.family]++;
		if (i && !lb_endpoint_cmp(&b[-1].at, &b->at))
			return lb_config_refuse(err, file, b->line, "backend",
						lb_endpoint_str(at, &b->at),
						"already in line %d of service %s: write it once",
						b[-1].line, s->name);
	}
	most = n[LB_V4] > n[LB_V6] ? n[LB_V4] : n[LB_V6];
	if (most > LB_RING_MEMBERS_MAX)
		return lb_config_refuse(err, file, s->line, "backends of service", s->name,
					"%zu of one address family: at most %u", most,
					LB_RING_MEMBERS_MAX);
	/* Those of weight 0 count: an operator may give them one by hand. */
	if (s->scheduler == LB_SCHED_MAGLEV && most > s->maglev_size)
		return lb_config_refuse(err, file, s->line, "service", s->name,
					"maglev-size %u is less than its %zu backends: a prime "
					"of 100 times as many spreads well",
					s->maglev_size, most);
	return 0;
}

static int check_families(const struct lb_service_conf *s, const char *file, struct lb_err *err)
{
	bool has[LB_FAMILIES] = {lb_service_has_family(s, LB_V4), lb_service_has_family(s, LB_V6)};
	char at[LB_ENDPOINT_STRLEN];

	for (size_t i = 0; i < s->n_listens; i++) {
		const struct lb_listen *l = &s->listens[i];

		if (l->any == LB_ANY_BOTH || has[l->at.family])
			continue;
		return lb_config_refuse(err, file, l->line, "listen", lb_listen_str(at, l),
					"service %s has no IPv%d backend: add one", s->name,
					l->at.family == LB_V4 ? 4 : 6);
	}
	return 0;
}

static int check_services(const struct lb_model *m, const char *file, struct lb_err *err)
{
	int ret = 0;

	for (size_t i = 0; i < m->n_services && !ret; i++) {
		const struct lb_service_conf *s = &m->services[i];

		if (i && !strcmp(s[-1].name, s->name))
			return lb_config_refuse(err, file, s->line, "service", s->name,
						"already in line %d: give each its own name",
						s[-1].line);
		ret = check_backends(s, file, err);
		if (!ret)
			ret = check_families(s, file, err);
	}
	return ret;
}

/* An entry of the connection table names its set of timeouts by a number. */
static int check_timeouts(const struct lb_model *m, const char *file, struct lb_err *err)
{
	const uint32_t *sets[LB_TIMEOUT_SETS];
	size_t n = 1, k; /* the first is the instance's */

	for (size_t i = 0; i < m->n_services; i++) {
		const struct lb_service_conf *s = &m->services[i];

		if (!lb_service_has_any_timeouts(s))
			continue;
		for (k = 1; k < n && memcmp(sets[k], s->timeouts, sizeof(s->timeouts)) != 0; k++)
			;
		if (k == LB_TIMEOUT_SETS)
			return lb_config_refuse(err, file, s->line, "timeouts of service", s->name,
						"unlike those of %d others, affinity.timeout "
						"included: services may have %d different ones: "
						"make some alike",
						LB_TIMEOUT_SETS - 1, LB_TIMEOUT_SETS - 1);
		sets[k] = s->timeouts;
		n += k == n;
	}
	return 0;
}

/* What a listen takes: an address, port and protocol; `*` takes two. */
struct taken {
	struct lb_listen key;
	const struct lb_listen *listen;
	const struct lb_service_conf *service;
};

static int taken_order(const void *a, const void *b)
{
	const struct taken *x = a, *y = b;
	int cmp = lb_listen_cmp(&x->key, &y->key);

	return cmp ? cmp : x->key.line - y->key.line;
}

static struct taken *take(struct taken *t, const struct lb_service_conf *s,
			  const struct lb_listen *l)
{
	*t = (struct taken){.key = *l, .listen = l, .service = s};
	if (l->any != LB_ANY_BOTH)
		return t + 1;
	t->key.any = LB_ANY_ONE;
	t[1] = t[0];
	t[1].key.at = (struct lb_endpoint){.port = l->at.port, .family = LB_V6};
	return t + 2;
}

static int check_listens(const struct lb_model *m, const char *file, struct lb_err *err)
{
	struct taken *taken, *end, *t;
	char at[LB_ENDPOINT_STRLEN];
	size_t n = 0;
	int ret = 0;

	for (size_t i = 0; i < m->n_services; i++)
		n += m->services[i].n_listens;
	if (!n)
		return 0;
	taken = reallocarray(NULL, n, 2 * sizeof(*taken));
	if (!taken)
		return lb_err_set(err, ENOMEM, "%s: out of memory", file);
	end = taken;
	for (size_t i = 0; i < m->n_services; i++)
		for (size_t j = 0; j < m->services[i].n_listens; j++)
			end = take(end, &m->services[i], &m->services[i].listens[j]);
	qsort(taken, end - taken, sizeof(*taken), taken_order);
	for (t = taken + 1; t < end && !ret; t++)
		if (!lb_listen_cmp(&t[-1].key, &t->key))
			ret = lb_config_refuse(
				err, file, t->key.line, "listen", lb_listen_str(at, t->listen),
				"service %s has it already, in line %d: give it to one",
				t[-1].service->name, t[-1].key.line);
	free(taken);
	return ret;
}

int lb_config_check_model(struct lb_model *m, const char *file, struct lb_err *err)
{
	int ret = check_limits(m, file, err);

	if (ret)
		return ret;
	lb_model_sort(m);
	ret = check_interfaces(m, file, err);
	if (!ret)
		ret = check_services(m, file, err);
	if (!ret)
		ret = check_listens(m, file, err);
	if (!ret)
		ret = check_timeouts(m, file, err);
	if (!ret)
		ret = lb_config_check_room(m, file, err);
	return ret;
}
