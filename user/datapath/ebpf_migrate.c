/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_migrate.c - takes over an instance of an older ABI while its programs serve (docs/design.md,
 * 11). Maps and programs of this ABI are made beside it, in the directory "next", with all that it
 * has but for the connections. Then they take its programs' places on the hooks, and hand each
 * packet that finds no connection to these. So nothing changes until the connections are copied,
 * one by one, and each is served by the present programs from the moment that it is in their table.
 *
 * Killed before the hooks are taken, the next apply begins anew; after that, it goes on.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ebpf_migrate.h"

struct migration {
	struct lb_dp *former;
	struct lb_dp next;
	bool made; /* by this process, and on no hook yet */
	struct lb_former_conns conns;
	struct lb_counters *before; /* that next began with; NULL: another process made it */
};

bool lb_migrate_can(__u32 abi)
{
	return abi >= LB_ABI_OLDEST && abi < LB_ABI_VERSION && lb_conn_words_of(abi);
}

/* ---------------------------------------------------------------- what takes its place */

static int next_open(struct migration *m, struct lb_err *err)
{
	struct lb_dp *next = &m->next;

	next->write = true;
	snprintf(next->dir, sizeof(next->dir), "%.*s/" LB_PIN_NEXT,
		 (int)(sizeof(next->dir) - sizeof("/" LB_PIN_NEXT)), m->former->dir);
	if (mkdirat(m->former->dir_fd, LB_PIN_NEXT, 0700) && errno != EEXIST)
		return lb_err_sys(err, errno, "making \"%s\"", next->dir);
	next->dir_fd = openat(m->former->dir_fd, LB_PIN_NEXT,
			      O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return next->dir_fd < 0 ? lb_err_sys(err, errno, "opening \"%s\"", next->dir) : 0;
}

static void next_forget(struct migration *m)
{
	lb_progs_close(&m->next.progs);
	lb_maps_close(&m->next);
}

/* Its pins go from one directory to the other when all else is done. */
static bool is_being_moved(const struct lb_dp *next)
{
	for (int i = 0; i < LB_MAPS; i++)
		if (next->unpinned[i])
			return true;
	return false;
}

/* 1: an apply that was interrupted had begun to serve by it, 0: it had not, or there was none. */
static int next_find(struct migration *m, struct lb_err *err)
{
	int ret = lb_progs_open(&m->next, err);

	if (!ret)
		ret = lb_maps_open(&m->next, err);
	if (!ret && (is_being_moved(&m->next) || lb_hooks_are_here(&m->next)))
		return 1;
	next_forget(m);
	return ret == -ENOENT ? 0 : ret;
}

static int next_fill(struct migration *m, const struct lb_former_config *config, struct lb_err *err)
{
	struct lb_dp *next = &m->next;
	struct lb_progs progs = LB_PROGS_NONE;
	int ret = lb_object_make(next, &config->limits, config->secret, &progs, err);

	if (!ret)
		ret = lb_former_copy(m->former, next, err);
	if (!ret)
		ret = lb_netns_check(next, err);
	if (!ret)
		ret = lb_object_pin(next, &progs, err);
	lb_progs_close(&progs);
	if (ret)
		return ret;
	m->before = lb_former_counters(next, next);
	return m->before ? 0 : lb_err_sys(err, ENOMEM, "copying the counters");
}

static int next_make(struct migration *m, struct lb_err *err)
{
	struct lb_dp *next = &m->next;
	struct lb_former_config config;
	int ret = lb_instance_clear(next, err);

	if (!ret)
		ret = lb_former_config_read(m->former, &config, err);
	if (!ret)
		ret = next_fill(m, &config, err);
	m->made = true;
	if (ret)
		return ret;
	next->config->applied = config.applied;
	__atomic_store_n(&next->config->generation, config.generation, __ATOMIC_RELEASE);
	return 0;
}

/* ---------------------------------------------------------------- the change */

static int former_check(const struct lb_dp *former, struct lb_err *err)
{
	for (int hook = 0; hook < LB_HOOKS; hook++)
		if (former->progs.fd[hook] < 0)
			return lb_err_set(err, ENOENT,
					  "instance \"%s\": pins of its programs are missing: run "
					  "`meshlb apply` of the build that made it first",
					  former->instance);
	return 0;
}

/* Whatever has ports goes the slow way, where a former program can be asked. */
static void ports_raise(struct lb_dp *next)
{
	for (int proto = 0; proto < LB_PROTOS; proto++)
		for (int port = 0; port < 65536; port++)
			__atomic_fetch_or(&next->ports->flags[proto][port], LB_PORT_ANY,
					  __ATOMIC_RELAXED);
}

static int hooks_take(struct migration *m, struct lb_err *err)
{
	int ret = lb_hooks_replace(m->former, &m->next.progs, err);
	struct lb_err ignored;

	if (!ret) {
		m->made = false;
		return 0;
	}
	if (m->made && lb_hooks_replace(m->former, &m->former->progs, &ignored))
		lb_warn("%s", ignored.text);
	return ret;
}

/* What the former programs have counted since the counters were copied goes to the service: those
 * of a backend are written by packets now. */
static void counters_settle(struct migration *m)
{
	struct lb_dp *next = &m->next;
	struct lb_counters *now = lb_former_counters(m->former, next);

	for (__u32 id = 1; now && m->before && id < next->max_entries[LB_MAP_BACKENDS]; id++) {
		__u32 service = next->backends[id].service;
		struct lb_counters *sum;

		if (!service || service >= next->max_entries[LB_MAP_SERVICES])
			continue;
		sum = &next->services[service].retired;
		for (int way = 0; way < 2; way++) {
			sum->packets[way] += now[id].packets[way] - m->before[id].packets[way];
			sum->bytes[way] += now[id].bytes[way] - m->before[id].bytes[way];
		}
		sum->connections += now[id].connections - m->before[id].connections;
	}
	free(now);
}

/* No packet is on its way any more that began before. */
static void packets_wait(void)
{
	struct lb_grace grace = {};

	lb_grace_end(&grace);
}

/*
 * While the first passes run the former programs still open connections. Those of UDP that they
 * open between a pass and the end of it, and that send again before the next one, may get another
 * backend; their answers are still known to the former programs.
 */
static int connections_take(struct migration *m, struct lb_err *err)
{
	int ret;

	lb_former_conns_copy(&m->conns);
	lb_former_conns_copy(&m->conns);
	ret = lb_slow_former(&m->next, LB_CALL_FORMER_OPENS, NULL, err);
	if (ret)
		return ret;
	lb_former_conns_copy(&m->conns);
	packets_wait();
	lb_former_conns_copy(&m->conns);
	ret = lb_loads_recount(&m->next, err);
	if (ret)
		return ret;
	counters_settle(m);
	ret = lb_former_ports(m->former, &m->next, err);
	return ret ? ret : lb_slow_former(&m->next, LB_CALL_FORMER, NULL, err);
}

static int hand_over(struct migration *m, struct lb_err *err)
{
	int ret = former_check(m->former, err);

	if (!ret)
		ret = lb_former_conns_open(&m->conns, m->former, &m->next, err);
	if (!ret)
		ret = lb_slow_former(&m->next, LB_CALL_FORMER, &m->former->progs, err);
	if (!ret)
		ret = lb_slow_former(&m->next, LB_CALL_FORMER_OPENS, &m->former->progs, err);
	if (ret)
		return ret;
	ports_raise(&m->next);
	ret = hooks_take(m, err);
	if (!ret)
		ret = connections_take(m, err);
	if (m->conns.no_room)
		lb_warn("instance \"%s\": %" PRIu64 " connections found no room in the new table",
			m->former->instance, m->conns.no_room);
	return ret;
}

static int run(struct migration *m, struct lb_err *err)
{
	int found = next_find(m, err), ret = found < 0 ? found : 0;

	if (!found)
		ret = next_make(m, err);
	if (!ret && (!found || lb_slow_has_former(&m->next)))
		ret = hand_over(m, err);
	if (ret)
		return ret;
	lb_info("instance \"%s\": taken over from layout %u to %u, with %" PRIu64 " connections",
		m->former->instance, m->former->abi, LB_ABI_VERSION, m->conns.taken);
	return lb_instance_adopt(m->former, &m->next, err);
}

int lb_migrate(struct lb_dp *dp, struct lb_err *err)
{
	struct migration m = {.former = dp};
	int ret;

	lb_dp_init(&m.next, dp->instance);
	ret = next_open(&m, err);
	if (!ret)
		ret = run(&m, err);
	if (ret && m.made)
		lb_instance_forget_next(dp);
	lb_former_conns_close(&m.conns);
	free(m.before);
	next_forget(&m);
	if (m.next.dir_fd >= 0)
		close(m.next.dir_fd);
	return ret;
}
