// SPDX-License-Identifier: GPL-2.0-or-later
/* config_write.c - a model as a config file that reads back to an equal model. */

#include "config.h"

#include <errno.h>
#include <string.h>

#include "affinity.h"
#include "duration.h"

/* All names are quoted: `no`, `1e3` or `~` would be something else to other readers of YAML. */
static void write_quoted(FILE *out, const char *text)
{
	putc('"', out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putc('\\', out);
		putc(*text, out);
	}
	putc('"', out);
}

static void write_interfaces(const struct lb_model *m, FILE *out)
{
	fprintf(out, "interfaces:%s\n", m->n_interfaces ? "" : " []");
	for (size_t i = 0; i < m->n_interfaces; i++) {
		fputs("  - { name: ", out);
		write_quoted(out, m->interfaces[i].name);
		fprintf(out, ", hook: %s }\n", lb_hook_kind_name(m->interfaces[i].hook));
	}
}

static void write_limits(const struct lb_limits *l, FILE *out)
{
	fprintf(out, "limits:\n");
	fprintf(out, "  connections: %u\n", l->connections);
	fprintf(out, "  connections6: %u\n", l->connections6);
	fprintf(out, "  services: %u\n", l->services);
	fprintf(out, "  backends: %u\n", l->backends);
	fprintf(out, "  ring-slots: %u\n", l->ring_slots);
}

/* Those that differ from `usual`. */
static void write_timeouts(const uint32_t *timeouts, const uint32_t *usual, const char *indent,
			   FILE *out)
{
	char text[LB_DURATION_MAX];
	const char *sep = " ";

	if (!memcmp(timeouts, usual, LB_TIMEOUTS_NAMED * sizeof(*timeouts)))
		return;
	fprintf(out, "%stimeouts: {", indent);
	for (int i = 0; i < LB_TIMEOUTS_NAMED; i++) {
		if (timeouts[i] == usual[i])
			continue;
		fprintf(out, "%s%s: %s", sep, lb_timeout_name(i),
			lb_duration_exact(text, timeouts[i]));
		sep = ", ";
	}
	fputs(" }\n", out);
}

static void write_affinity(const struct lb_service_conf *s, FILE *out)
{
	const struct lb_affinity_conf *a = &s->affinity;
	char text[LB_DURATION_MAX];

	if (!lb_service_has_affinity(s))
		return;
	fprintf(out, "    affinity: { timeout: %s, mask: %u, mask6: %u, across-ports: %s }\n",
		lb_duration_exact(text, lb_affinity_timeout(s)), a->mask[LB_V4], a->mask[LB_V6],
		a->across_ports ? "true" : "false");
}

static void write_rates(const struct lb_rates_conf *r, FILE *out)
{
	if (!memcmp(r, &LB_RATES_DEFAULT, sizeof(*r)))
		return;
	fprintf(out, "rates:\n  per-cpu: %u\n  per-source: %u\n", r->per_cpu, r->per_source);
	fprintf(out, "  source-mask: %u\n  source-mask6: %u\n", r->source_mask, r->source_mask6);
}

static void write_listen(const struct lb_listen *l, FILE *out)
{
	char text[LB_ENDPOINT_STRLEN];
	int len = (int)strlen(lb_listen_str(text, l));

	if (l->proto == LB_TCP) /* needs no /tcp */
		len -= (int)strlen("/tcp");
	fprintf(out, "      - \"%.*s\"\n", len, text);
}

static void write_backend(const struct lb_backend_conf *b, FILE *out)
{
	char text[LB_ENDPOINT_STRLEN];

	fprintf(out, "      - { address: \"%s\", weight: %u", lb_endpoint_str(text, &b->at),
		b->weight);
	if (b->max_connections)
		fprintf(out, ", max-connections: %u", b->max_connections);
	fputs(" }\n", out);
}

static void write_service(const struct lb_model *m, const struct lb_service_conf *s, FILE *out)
{
	static const uint32_t none[LB_TIMEOUTS];

	fputs("  - name: ", out);
	write_quoted(out, s->name);
	fputs("\n    listen:\n", out);
	for (size_t i = 0; i < s->n_listens; i++)
		write_listen(&s->listens[i], out);
	if (s->scheduler != m->default_scheduler)
		fprintf(out, "    scheduler: %s\n", lb_scheduler_name(s->scheduler));
	if (s->maglev_size != m->default_maglev_size)
		fprintf(out, "    maglev-size: %u\n", s->maglev_size);
	if (s->forwarding != LB_FORWARDING_NAT)
		fprintf(out, "    forwarding: %s\n", lb_forwarding_name(s->forwarding));
	if (s->unknown != lb_unknown_default(s->scheduler))
		fprintf(out, "    unknown: %s\n", lb_unknown_name(s->unknown));
	if (s->on_remove != LB_ON_REMOVE_RESET)
		fprintf(out, "    on-remove: %s\n", lb_on_remove_name(s->on_remove));
	write_affinity(s, out);
	write_timeouts(s->timeouts, none, "    ", out);
	fprintf(out, "    backends:%s\n", s->n_backends ? "" : " []");
	for (size_t i = 0; i < s->n_backends; i++)
		write_backend(&s->backends[i], out);
}

int lb_config_write(const struct lb_model *m, FILE *out)
{
	uint32_t usual[LB_TIMEOUTS];

	errno = 0; /* stdio keeps that a write failed, not why */
	fputs("# meshlb.yaml(5), written by meshlb\n", out);
	fprintf(out, "datapath: %s\n", lb_datapath_kind_name(m->datapath));
	write_interfaces(m, out);
	write_limits(&m->limits, out);
	fprintf(out, "defaults:\n  scheduler: %s\n  maglev-size: %u\n",
		lb_scheduler_name(m->default_scheduler), m->default_maglev_size);
	lb_timeouts_default(usual);
	write_timeouts(m->timeouts, usual, "", out);
	write_rates(&m->rates, out);
	fprintf(out, "services:%s\n", m->n_services ? "" : " []");
	for (size_t i = 0; i < m->n_services; i++)
		write_service(m, &m->services[i], out);
	if (!fflush(out) && !ferror(out))
		return 0;
	return errno ? -errno : -EIO;
}
