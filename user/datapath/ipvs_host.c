// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ipvs_host.c - what all instances in a network namespace share: the numbers in their marks, and
 * the sysctls that IPVS needs (kernel: Documentation/networking/ipvs-sysctl.rst). They stand in a
 * file of LB_RUN_DIR, not in the instances' tables: `nft flush ruleset` and a change of datapath
 * must not lose them, and the last instance that goes restores what the first one found. A line for
 * each:
 *
 *     instance NAME NUMBER
 *     sysctl PATH VALUE-BEFORE
 *
 * Of IP_FORWARD it is only noted what it was.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <linux/ipv6_route.h>
#include <linux/route.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/list.h"
#include "ipvs_internal.h"
#include "net/netns.h"
#include "net/sysctl.h"

#define PATH_LEN   96
#define IP_FORWARD "net/ipv4/ip_forward"

struct host_instance {
	char name[LB_INSTANCE_MAX + 1];
	uint32_t number;
};
struct host_sysctl {
	char path[PATH_LEN]; /* below /proc/sys */
	int before;
};
struct host {
	struct lb_lock lock;
	char path[128];
	struct host_instance *instances;
	size_t n_instances;
	struct host_sysctl *sysctls; /* in the order in which they were set */
	size_t n_sysctls;
};

/* ---------------------------------------------------------------- the file */

static int line_read(struct host *h, const char *line)
{
	struct host_instance i = {}, *instance;
	struct host_sysctl s = {}, *sysctl;
	char number[16];

	if (sscanf(line, "instance %64s %15s", i.name, number) == 2) {
		i.number = strtoul(number, NULL, 10);
		instance = lb_list_add((void **)&h->instances, &h->n_instances, sizeof(*instance));
		if (!instance)
			return -ENOMEM;
		*instance = i;
	} else if (sscanf(line, "sysctl %95s %15s", s.path, number) == 2) {
		s.before = (int)strtol(number, NULL, 10);
		sysctl = lb_list_add((void **)&h->sysctls, &h->n_sysctls, sizeof(*sysctl));
		if (!sysctl)
			return -ENOMEM;
		*sysctl = s;
	}
	return 0;
}

static void host_close(struct host *h)
{
	lb_lock_release(&h->lock, false);
	free(h->instances);
	free(h->sysctls);
	h->instances = NULL;
	h->sysctls = NULL;
}

static int host_read(struct host *h)
{
	FILE *f = fopen(h->path, "re");
	char line[256];
	int ret = 0;

	if (!f)
		return errno == ENOENT ? 0 : -errno;
	while (!ret && fgets(line, sizeof(line), f))
		ret = line_read(h, line);
	fclose(f);
	return ret;
}

/* Locked, unless only looked at. */
static int host_open(struct host *h, bool write, struct lb_err *err)
{
	char name[32];
	int ret = 0;

	*h = (struct host){.lock = LB_LOCK_NONE};
	snprintf(name, sizeof(name), "ipvs-%016" PRIx64, lb_netns_cookie());
	snprintf(h->path, sizeof(h->path), LB_RUN_DIR "/%s", name);
	if (write)
		ret = lb_lock_take(&h->lock, name, "host", err);
	if (ret)
		return ret;
	ret = host_read(h);
	if (!ret)
		return 0;
	host_close(h);
	return lb_err_sys(err, -ret, "reading \"%s\"", h->path);
}

/* Whole under its name, or as it was. */
static int host_write(const struct host *h, struct lb_err *err)
{
	char new[sizeof(h->path) + 8];
	FILE *f;
	int ret;

	if (!h->n_instances)
		return unlink(h->path) && errno != ENOENT
			       ? lb_err_sys(err, errno, "removing \"%s\"", h->path)
			       : 0;
	snprintf(new, sizeof(new), "%s.new", h->path);
	f = fopen(new, "we");
	if (!f)
		return lb_err_sys(err, errno, "writing \"%s\"", new);
	for (size_t i = 0; i < h->n_instances; i++)
		fprintf(f, "instance %s %u\n", h->instances[i].name, h->instances[i].number);
	for (size_t i = 0; i < h->n_sysctls; i++)
		fprintf(f, "sysctl %s %d\n", h->sysctls[i].path, h->sysctls[i].before);
	ret = ferror(f) ? -EIO : 0;
	if (fclose(f) || (!ret && rename(new, h->path)))
		ret = -errno;
	if (ret)
		unlink(new);
	return ret ? lb_err_sys(err, -ret, "writing \"%s\"", h->path) : 0;
}

static struct host_instance *instance_find(const struct host *h, const char *name)
{
	for (size_t i = 0; i < h->n_instances; i++)
		if (!strcmp(h->instances[i].name, name))
			return &h->instances[i];
	return NULL;
}

/* ---------------------------------------------------------------- sysctls */

const char *const lb_ipvs_sysctls[LB_IPVS_SYSCTLS] = {
	/* Conntrack knows of its connections, or rules as "ct state invalid drop" (Docker's,
	 * firewalld's) take the answers for nobody's. */
	"net/ipv4/vs/conntrack",
	/* A client that uses its port anew is balanced anew. */
	"net/ipv4/vs/conn_reuse_mode",
	/* A connection to a backend that is gone is forgotten, instead of swallowed. */
	"net/ipv4/vs/expire_nodest_conn",
	/* The same for affinity to a drained one. */
	"net/ipv4/vs/expire_quiescent_template",
};

/* Switching forwarding on deletes default routes that routers have announced, and no others are
 * accepted any more, but where accept_ra is 2 (kernel: addrconf_fixup_forwarding()). So it is to be
 * 2 where there is such a route. A line of the file, in hexadecimal but for the name: destination,
 * prefix length, source, its length, next hop, metric, two counters, flags, name. */
static int accept_ra_each(int (*fn)(void *arg, const char *path, int value), void *arg)
{
	const unsigned int announced = RTF_ADDRCONF | RTF_DEFAULT;
	FILE *f = fopen("/proc/net/ipv6_route", "re");
	char line[256], flags[16], name[LB_IFNAME_MAX], path[PATH_LEN];
	int ret = 0;

	while (f && !ret && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%*s %*s %*s %*s %*s %*s %*s %*s %15s %15s", flags, name) != 2 ||
		    (strtoul(flags, NULL, 16) & announced) != announced)
			continue;
		snprintf(path, sizeof(path), "net/ipv6/conf/%s/accept_ra", name);
		if (lb_sysctl_get(path) == 1)
			ret = fn(arg, path, 2);
	}
	if (f)
		fclose(f);
	return ret;
}

/* Calls fn for each that a model needs, and the value. */
static int sysctls_each(const struct lb_model *m, int (*fn)(void *arg, const char *path, int value),
			void *arg)
{
	bool v4 = lb_model_has_family(m, LB_V4);
	char path[PATH_LEN];
	int ret = 0;

	for (size_t i = 0; i < LB_IPVS_SYSCTLS && !ret; i++)
		ret = fn(arg, lb_ipvs_sysctls[i], 1);
	/* IPv4 looks at the interface by which an answer comes in; ip_forward would change others,
	 * and more than forwarding. IPv6 looks at the switch for all (until Linux 6.17). */
	for (size_t i = 0; v4 && i < m->n_interfaces && !ret; i++) {
		snprintf(path, sizeof(path), "net/ipv4/conf/%s/forwarding", m->interfaces[i].name);
		ret = fn(arg, path, 1);
	}
	if (!ret && lb_model_has_family(m, LB_V6))
		ret = accept_ra_each(fn, arg);
	if (!ret && lb_model_has_family(m, LB_V6))
		ret = fn(arg, "net/ipv6/conf/all/forwarding", 1);
	return ret;
}

static int record(struct host *h, const char *path, int before)
{
	struct host_sysctl *s;

	for (size_t i = 0; i < h->n_sysctls; i++)
		if (!strcmp(h->sysctls[i].path, path))
			return 0;
	s = lb_list_add((void **)&h->sysctls, &h->n_sysctls, sizeof(*s));
	if (!s)
		return -ENOMEM;
	snprintf(s->path, sizeof(s->path), "%s", path);
	s->before = before;
	return 0;
}

/* The switch for all sets that of each interface, too: those that are on would not be on again. */
static int record_interfaces(struct host *h)
{
	glob_t all;
	int ret = 0;

	if (glob("/proc/sys/net/ipv6/conf/*/forwarding", 0, NULL, &all))
		return 0;
	for (size_t i = 0; i < all.gl_pathc && !ret; i++) {
		const char *path = all.gl_pathv[i] + strlen("/proc/sys/");

		if (strlen(path) < PATH_LEN && lb_sysctl_get(path) > 0)
			ret = record(h, path, lb_sysctl_get(path));
	}
	globfree(&all);
	return ret;
}

static bool is_ipv4_forwarding(const char *path)
{
	return !strncmp(path, "net/ipv4/conf/", strlen("net/ipv4/conf/"));
}

static int record_one(void *host, const char *path, int value)
{
	int is = lb_sysctl_get(path), ret;

	if (is == value || is < 0)
		return 0;
	ret = record(host, path, is);
	if (!ret && is_ipv4_forwarding(path))
		ret = record(host, IP_FORWARD, lb_sysctl_get(IP_FORWARD));
	if (!ret && !strcmp(path, "net/ipv6/conf/all/forwarding"))
		ret = record_interfaces(host);
	return ret;
}

static int set_one(void *err, const char *path, int value)
{
	int is = lb_sysctl_get(path), ret;

	if (is == value || is == -ENOENT) /* an interface may be gone */
		return 0;
	ret = is < 0 ? is : lb_sysctl_set(path, value);
	if (ret)
		return lb_err_sys(err, -ret, "datapath ipvs: setting /proc/sys/%s to %d", path,
				  value);
	lb_info("sysctl %s: %d, was %d (`meshlb down` restores it)", path, value, is);
	return 0;
}

/* Has somebody else (dockerd does) switched all interfaces on meanwhile? */
static bool forwards_by_others(const struct host *h)
{
	for (size_t i = 0; i < h->n_sysctls; i++)
		if (!strcmp(h->sysctls[i].path, IP_FORWARD))
			return !h->sysctls[i].before && lb_sysctl_get(IP_FORWARD) > 0;
	return false;
}

/* From the `first` on. An interface that is gone took its sysctls along. */
static void restore(const struct host *h, size_t first)
{
	bool others = forwards_by_others(h);

	for (size_t i = first; i < h->n_sysctls; i++) {
		const struct host_sysctl *s = &h->sysctls[i];
		int is = lb_sysctl_get(s->path), ret;

		if (is < 0 || is == s->before || !strcmp(s->path, IP_FORWARD) ||
		    (others && is_ipv4_forwarding(s->path)))
			continue;
		ret = lb_sysctl_set(s->path, s->before);
		if (ret)
			lb_warn("restoring /proc/sys/%s to %d: %s", s->path, s->before,
				strerror(-ret));
	}
}

static int probe_one(void *err, const char *path, int value)
{
	int is = lb_sysctl_get(path), ret;

	if (is == value || is == -ENOENT)
		return 0;
	ret = is < 0 ? is : lb_sysctl_can_set(path);
	return ret ? lb_err_sys(err, -ret, "datapath \"ipvs\": setting /proc/sys/%s to %d", path,
				value)
		   : 0;
}

int lb_ipvs_sysctls_probe(const struct lb_model *m, struct lb_err *err)
{
	return sysctls_each(m, probe_one, err);
}

static int audit_one(void *findings, const char *path, int value)
{
	int is = lb_sysctl_get(path);

	if (is >= 0 && is != value)
		lb_found(findings, "sysctl %s is %d, should be %d", path, is, value);
	return 0;
}

void lb_ipvs_sysctls_audit(struct lb_findings *f, const struct lb_model *m)
{
	sysctls_each(m, audit_one, f);
}

/* ---------------------------------------------------------------- instances */

/* Not what another instance, or anybody else's mark, has. */
static int number_choose(struct lb_dp *dp, const struct host *h, struct lb_err *err)
{
	bool taken[LB_IPVS_NUMBERS] = {};
	struct lb_ipvs_services all;
	int ret = lb_ipvs_services_read(&dp->ipvs, &all);

	if (ret)
		return lb_err_sys(err, -ret, "listing the virtual services of IPVS");
	for (size_t i = 0; i < all.n; i++)
		for (uint32_t k = 0; k < LB_IPVS_NUMBERS; k++)
			taken[k] |= lb_ipvs_mark_is_of(k, all.list[i].mark);
	lb_ipvs_services_free(&all);
	for (size_t i = 0; i < h->n_instances; i++)
		if (h->instances[i].number < LB_IPVS_NUMBERS)
			taken[h->instances[i].number] = true;
	for (uint32_t i = 0; i < LB_IPVS_NUMBERS; i++) {
		dp->number = (lb_ipvs_number_of_name(dp->table.instance) + i) % LB_IPVS_NUMBERS;
		if (!taken[dp->number])
			return 0;
	}
	return lb_err_set(err, ENOSPC, "instance \"%s\": datapath ipvs has room for %d instances",
			  dp->table.instance, LB_IPVS_NUMBERS);
}

static int register_in(struct host *h, struct lb_dp *dp, const struct lb_model *m,
		       struct lb_err *err)
{
	struct host_instance *i = instance_find(h, dp->table.instance);
	int ret = 0;

	dp->sysctls_before = h->n_sysctls; /* what is undone is this apply's alone */
	dp->was_registered = i;
	if (i)
		dp->number = i->number;
	else if (dp->fresh && !dp->has_table)
		ret = number_choose(dp, h, err);
	if (ret)
		return ret;
	dp->registered = true;
	if (!i) {
		i = lb_list_add((void **)&h->instances, &h->n_instances, sizeof(*i));
		if (!i)
			return lb_err_sys(err, ENOMEM, "noting the instance");
		snprintf(i->name, sizeof(i->name), "%s", dp->table.instance);
		i->number = dp->number;
	}
	if (sysctls_each(m, record_one, h))
		return lb_err_sys(err, ENOMEM, "noting the sysctls");
	/* A change of what is noted already must do on a full disk. */
	return dp->was_registered && h->n_sysctls == dp->sysctls_before ? 0 : host_write(h, err);
}

int lb_ipvs_register(struct lb_dp *dp, const struct lb_model *m, struct lb_err *err)
{
	struct host h;
	int ret = host_open(&h, true, err);

	if (ret)
		return ret;
	ret = register_in(&h, dp, m, err);
	if (!ret)
		ret = sysctls_each(m, set_one, err);
	if (ret)
		restore(&h, dp->sysctls_before);
	host_close(&h);
	return ret;
}

void lb_ipvs_register_undo(struct lb_dp *dp)
{
	struct lb_err err;
	struct host h;
	int ret = host_open(&h, true, &err);

	/* What another one has found set meanwhile it has not noted: the last `down` restores. */
	if (!ret && h.n_instances == 1 && dp->sysctls_before < h.n_sysctls) {
		restore(&h, dp->sysctls_before);
		h.n_sysctls = dp->sysctls_before;
		ret = host_write(&h, &err);
	}
	if (ret)
		lb_warn("%s", err.text);
	host_close(&h);
}

static void unregister_in(struct host *h, const char *instance)
{
	struct host_instance *i = instance_find(h, instance);

	if (i)
		*i = h->instances[--h->n_instances];
	if (h->n_instances)
		return;
	restore(h, 0);
	h->n_sysctls = 0;
}

int lb_ipvs_unregister(struct lb_dp *dp, struct lb_err *err)
{
	struct host h;
	int ret = host_open(&h, true, err);

	if (ret)
		return ret;
	ret = lb_ipvs_settle(dp, NULL, err);
	if (!ret) {
		unregister_in(&h, dp->table.instance);
		ret = host_write(&h, err);
	}
	lb_lock_release(&h.lock, !ret && !h.n_instances);
	host_close(&h);
	return ret;
}

void lb_ipvs_note_audit(struct lb_findings *f, const struct lb_dp *dp)
{
	struct lb_err err;
	struct host h;

	if (host_open(&h, false, &err)) {
		lb_found(f, "%s", err.text);
		return;
	}
	if (!instance_find(&h, dp->table.instance))
		lb_found(f,
			 "\"%s\" does not name the instance: another one may take its marks, and "
			 "`meshlb down` may not restore the sysctls",
			 h.path);
	host_close(&h);
}

bool lb_ipvs_is_registered(struct lb_dp *dp)
{
	const struct host_instance *i;
	struct lb_err ignored;
	struct host h;

	if (host_open(&h, false, &ignored))
		return false;
	i = instance_find(&h, dp->table.instance);
	if (i)
		dp->number = i->number;
	host_close(&h);
	return i;
}

int lb_ipvs_alone(int (*fn)(void *arg, struct lb_err *err), void *arg, struct lb_err *err)
{
	struct host h;
	int ret = host_open(&h, true, err);

	if (ret)
		return ret;
	ret = fn(arg, err);
	lb_lock_release(&h.lock, !h.n_instances);
	host_close(&h);
	return ret;
}
