// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ipvs_sysctl.c - the sysctls that IPVS needs (kernel: Documentation/networking/ipvs-sysctl.rst).
 * What they were before stands in the table, for the way back. Several instances share them: each
 * has it in its records, and the last one restores.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipvs_internal.h"
#include "net/sysctl.h"

enum need { ALWAYS, IPV4, IPV6 };

static const struct {
	const char *path;
	int value;
	uint8_t need;
	bool stays; /* where another datapath takes over */
} sysctls[] = {
	/* Conntrack knows of its connections, or rules as "ct state invalid drop" (Docker's,
	 * firewalld's) take the answers for nobody's. */
	{"net/ipv4/vs/conntrack", 1, ALWAYS, false},
	/* A client that uses its port anew is balanced anew. */
	{"net/ipv4/vs/conn_reuse_mode", 1, ALWAYS, false},
	/* A connection to a backend that is gone is forgotten, and its client hears of it; else
	 * its packets are swallowed until it times out. So those of an instance that is gone, too.
	 */
	{"net/ipv4/vs/expire_nodest_conn", 1, ALWAYS, true},
	/* The same for affinity to a drained one. */
	{"net/ipv4/vs/expire_quiescent_template", 1, ALWAYS, false},
	/* Which the other datapaths need as well. */
	{"net/ipv4/ip_forward", 1, IPV4, true},
	{"net/ipv6/conf/all/forwarding", 1, IPV6, true},
};
#define SYSCTLS (sizeof(sysctls) / sizeof(sysctls[0]))

static bool needs(const struct lb_model *m, uint8_t need)
{
	enum lb_family family = need == IPV6 ? LB_V6 : LB_V4;

	if (need == ALWAYS)
		return true;
	for (size_t i = 0; i < m->n_services; i++)
		if (lb_service_has_family(&m->services[i], family))
			return true;
	return false;
}

/* Text of a record to its sysctl and the value before; -1: it is none that we set. */
static int record_parse(const char *text, int *before)
{
	for (size_t i = 0; text && i < SYSCTLS; i++) {
		char format[96];

		snprintf(format, sizeof(format), "sysctl %s %%d", sysctls[i].path);
		if (sscanf(text, format, before) == 1)
			return (int)i;
	}
	return -1;
}

struct befores {
	int value[SYSCTLS]; /* -1: it is not ours */
};

static void befores_read(void *arg, const char *instance, const struct lb_nft_elements *records)
{
	struct befores *b = arg;
	int before, i;

	(void)instance;
	for (size_t k = 0; k < records->n; k++) {
		if (strcmp(records->list[k].set, LB_NFT_SET_MODEL) != 0)
			continue;
		i = record_parse(records->list[k].value, &before);
		if (i >= 0)
			b->value[i] = before;
	}
}

int lb_ipvs_sysctl_records(const struct lb_dp *dp, const struct lb_model *m,
			   struct lb_nft_elements *all, struct lb_err *err)
{
	uint32_t n = LB_IPVS_RECORD_SYSCTL;
	struct befores ours, others;
	int ret = 0;

	memset(&ours, 0xff, sizeof(ours));
	memset(&others, 0xff, sizeof(others));
	if (dp->table.state)
		befores_read(&ours, dp->table.instance, &dp->table.state->elements);
	if (m)
		ret = lb_ipvs_others(dp, befores_read, &others, err);
	for (size_t i = 0; i < SYSCTLS && !ret; i++) {
		int before = ours.value[i] >= 0 ? ours.value[i] : others.value[i];
		char text[96];

		if (before < 0 && m && needs(m, sysctls[i].need)) {
			before = lb_sysctl_get(sysctls[i].path);
			if (before == sysctls[i].value)
				before = -1;
		}
		if (before < 0)
			continue;
		snprintf(text, sizeof(text), "sysctl %s %d", sysctls[i].path, before);
		lb_ipvs_record_add(all, n++, text);
	}
	return ret;
}

int lb_ipvs_sysctls_set(const struct lb_model *m, struct lb_err *err)
{
	for (size_t i = 0; i < SYSCTLS; i++) {
		int is = lb_sysctl_get(sysctls[i].path), ret;

		if (!needs(m, sysctls[i].need) || is == sysctls[i].value)
			continue;
		ret = is < 0 ? is : lb_sysctl_set(sysctls[i].path, sysctls[i].value);
		if (ret)
			return lb_err_sys(err, -ret, "datapath ipvs: setting /proc/sys/%s to %d",
					  sysctls[i].path, sysctls[i].value);
		lb_info("sysctl %s: %d, was %d (`meshlb down` restores it)", sysctls[i].path,
			sysctls[i].value, is);
	}
	return 0;
}

static void count_one(void *arg, const char *instance, const struct lb_nft_elements *records)
{
	(void)instance;
	(void)records;
	++*(size_t *)arg;
}

void lb_ipvs_sysctls_restore(const struct lb_dp *dp, bool moves)
{
	struct befores ours;
	struct lb_err err;
	size_t others = 0;

	memset(&ours, 0xff, sizeof(ours));
	if (!dp->table.state || lb_ipvs_others(dp, count_one, &others, &err) || others)
		return;
	befores_read(&ours, dp->table.instance, &dp->table.state->elements);
	for (size_t i = 0; i < SYSCTLS; i++) {
		int ret;

		if (ours.value[i] < 0 || (moves && sysctls[i].stays) ||
		    lb_sysctl_get(sysctls[i].path) != sysctls[i].value) /* somebody else's now */
			continue;
		ret = lb_sysctl_set(sysctls[i].path, ours.value[i]);
		if (ret)
			lb_warn("restoring /proc/sys/%s to %d: %s", sysctls[i].path, ours.value[i],
				strerror(-ret));
	}
}

void lb_ipvs_sysctls_audit(struct lb_findings *f, const struct lb_model *m)
{
	for (size_t i = 0; i < SYSCTLS; i++) {
		int is = lb_sysctl_get(sysctls[i].path);

		if (needs(m, sysctls[i].need) && is >= 0 && is != sysctls[i].value)
			lb_found(f, "sysctl %s is %d, should be %d", sysctls[i].path, is,
				 sysctls[i].value);
	}
}
