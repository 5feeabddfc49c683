// SPDX-License-Identifier: GPL-2.0-or-later
/* ipvs_probe.c - what of IPVS this host has. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ipvs_internal.h"
#include "net/sysctl.h"

int lb_ipvs_connect(struct lb_ipvs *v, struct lb_err *err)
{
	int ret = lb_ipvs_open(v);

	if (ret == -ENOENT)
		return lb_err_set(
			err, ENODEV,
			"datapath \"ipvs\": this kernel has no IPVS, nor is there a module "
			"ip_vs that can be loaded");
	return ret ? lb_err_sys(err, -ret, "datapath \"ipvs\": opening IPVS") : 0;
}

/* The rules that give the marks. */
static void probe_text(struct lb_text *t, const char *table)
{
	struct lb_dp dp = {};

	snprintf(dp.table.name, sizeof(dp.table.name), "%s", table);
	lb_ipvs_text_table(t, &dp);
	lb_ipvs_text_masq(t, table);
}

/* Of no instance's number. */
#define PROBE_MARK (LB_IPVS_MARK | LB_IPVS_NUMBERS << LB_IPVS_NUMBER_BIT)

/* What a killed probe has left has no destinations. */
static int leftover_remove(struct lb_ipvs *v)
{
	struct lb_ipvs_dests dests;
	int ret = lb_ipvs_dests_read(v, PROBE_MARK, LB_V4, &dests);

	if (!ret && dests.n)
		ret = -EEXIST;
	lb_ipvs_dests_free(&dests);
	return ret ? ret : lb_ipvs_service_remove(v, PROBE_MARK, LB_V4);
}

/* The only way to know whether a scheduler's module is there is to use it. Nobody else is at it. */
static int probe_scheduler(struct lb_ipvs *v, const char *name)
{
	struct lb_ipvs_service s = {.mark = PROBE_MARK, .family = LB_V4};
	int ret;

	snprintf(s.scheduler, sizeof(s.scheduler), "%s", name);
	ret = lb_ipvs_service_add(v, &s);
	if (ret == -EEXIST && !leftover_remove(v))
		ret = lb_ipvs_service_add(v, &s);
	return ret ? ret : lb_ipvs_service_remove(v, s.mark, s.family);
}

static int probe_rr(void *v, struct lb_err *err)
{
	int ret = probe_scheduler(v, "rr");

	return ret ? lb_err_sys(err, -ret, "datapath \"ipvs\": making a virtual service") : 0;
}

/* 0 where it is 1, or can be set: apply sets it. */
static int sysctl_probe(const char *path)
{
	int value = lb_sysctl_get(path);

	return value < 0 ? value : value == 1 ? 0 : lb_sysctl_can_set(path);
}

int lb_ipvs_probe(struct lb_err *err)
{
	struct lb_ipvs v;
	int ret = lb_ipvs_connect(&v, err);

	if (ret)
		return ret;
	ret = lb_ipvs_alone(probe_rr, &v, err);
	lb_ipvs_close(&v);
	ret = ret ? ret : lb_ipvs_sysctls_probe(&(struct lb_model){}, err);
	return ret ? ret : lb_nft_probe(lb_dp_ipvs.name, probe_text, err);
}

static const char *const probed[] = {"rr", "wrr", "sh", "mh", "lc", "wlc"};
#define PROBED (sizeof(probed) / sizeof(probed[0]))

struct schedulers {
	struct lb_ipvs ipvs;
	int errnum[PROBED];
};

static int probe_schedulers(void *arg, struct lb_err *err)
{
	struct schedulers *s = arg;

	(void)err;
	for (size_t i = 0; i < PROBED; i++)
		s->errnum[i] = -probe_scheduler(&s->ipvs, probed[i]);
	return 0;
}

void lb_ipvs_capabilities(lb_capability_fn fn, void *arg)
{
	struct schedulers s = {};
	struct lb_err err;
	int open = lb_ipvs_connect(&s.ipvs, &err), ret;
	char text[64];

	fn(arg, "IPVS (module ip_vs)", -open, open ? err.text : "");
	ret = open ? open : lb_ipvs_alone(probe_schedulers, &s, &err);
	for (size_t i = 0; i < PROBED; i++) {
		snprintf(text, sizeof(text), "IPVS scheduler %s (module ip_vs_%s)", probed[i],
			 probed[i]);
		fn(arg, text, ret ? -ret : s.errnum[i],
		   ret ? err.text : "services with it are refused");
	}
	for (size_t i = 0; !open && i < LB_IPVS_SYSCTLS; i++) {
		snprintf(text, sizeof(text), "sysctl %s", lb_ipvs_sysctls[i]);
		fn(arg, text, -sysctl_probe(lb_ipvs_sysctls[i]), "");
	}
	if (!open)
		lb_ipvs_close(&s.ipvs);
	ret = lb_nft_probe(lb_dp_ipvs.name, probe_text, &err);
	fn(arg, "nftables with marks by maps, fib", -ret, ret ? err.text : "");
}

struct wanted {
	struct lb_ipvs ipvs;
	const char *scheduler;
	int ret;
};

static int probe_wanted(void *arg, struct lb_err *err)
{
	struct wanted *w = arg;

	(void)err;
	w->ret = probe_scheduler(&w->ipvs, w->scheduler);
	return 0;
}

/* A thousand services have one scheduler: it is tried once in a process. */
const char *lb_ipvs_lacks_scheduler(const char *name)
{
	static struct {
		const char *name; /* of a table of ours */
		char why[96];
	} known[LB_SCHEDULERS];
	struct wanted w = {.scheduler = name};
	struct lb_err ignored;
	size_t i = 0;

	while (i < LB_SCHEDULERS && known[i].name && known[i].name != name)
		i++;
	if (i == LB_SCHEDULERS)
		return NULL;
	if (!known[i].name && !lb_ipvs_connect(&w.ipvs, &ignored)) {
		if (!lb_ipvs_alone(probe_wanted, &w, &ignored) && w.ret == -ENOENT)
			snprintf(known[i].why, sizeof(known[i].why),
				 "has no %s here: module ip_vs_%s cannot be loaded", name, name);
		lb_ipvs_close(&w.ipvs);
	}
	known[i].name = name;
	return *known[i].why ? known[i].why : NULL;
}
