/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf.c - the ebpf datapath: its table of operations, and the life of an instance (open, create,
 * close, down). Each other operation has a file of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conntrack.h"
#include "ebpf_internal.h"
#include "lock.h"

static int probe_btf(void)
{
	return access("/sys/kernel/btf/vmlinux", R_OK) ? errno : 0;
}

static int probe_map(void)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "lb_probe", sizeof(__u32), sizeof(__u64), 1,
				&opts);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static int probe_xdp(void)
{
	return lb_prog_probe(BPF_PROG_TYPE_XDP, 0, 0);
}

static int probe_tc(void)
{
	return lb_prog_probe(BPF_PROG_TYPE_SCHED_CLS, 0, 0);
}

static int probe_attach(void)
{
	return lb_tcx_probe() ? lb_clsact_probe() : 0;
}

static const struct capability {
	const char *name, *remark;
	int (*probe)(void); /* errno, 0: it is there */
	bool needed;
} capabilities[] = {
	{"BTF of the kernel", "", probe_btf, true},
	{"BPF maps in memory", "", probe_map, true},
	{"bpffs", "", lb_bpffs_probe, true},
	{"XDP programs", "", probe_xdp, true},
	{"tc programs", "", probe_tc, true},
	{"tcx or clsact", "tc programs cannot be attached", probe_attach, true},
	{"tcx", "tc programs attach as clsact filters", lb_tcx_probe, false},
	{"iterators over maps", "no file \"connections\"", lb_iterator_probe, false},
};
#define CAPABILITIES (sizeof(capabilities) / sizeof(capabilities[0]))

/* What the programs call, but for what each kernel with BPF has. */
static const struct helper {
	enum bpf_prog_type type;
	enum bpf_func_id id;
	const char *name;
} helpers[] = {
	{BPF_PROG_TYPE_XDP, BPF_FUNC_fib_lookup, "XDP: helper bpf_fib_lookup"},
	{BPF_PROG_TYPE_XDP, BPF_FUNC_redirect, "XDP: helper bpf_redirect"},
	{BPF_PROG_TYPE_XDP, BPF_FUNC_xdp_get_buff_len, "XDP: helper bpf_xdp_get_buff_len"},
	{BPF_PROG_TYPE_XDP, BPF_FUNC_jiffies64, "XDP: helper bpf_jiffies64"},
	{BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_fib_lookup, "tc: helper bpf_fib_lookup"},
	{BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_redirect_neigh, "tc: helper bpf_redirect_neigh"},
	{BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_skb_change_head, "tc: helper bpf_skb_change_head"},
	{BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_csum_update, "tc: helper bpf_csum_update"},
	{BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_jiffies64, "tc: helper bpf_jiffies64"},
};
#define HELPERS (sizeof(helpers) / sizeof(helpers[0]))

/* errno; 0: it is there. */
static int probe_helper(const struct helper *h)
{
	int ret = libbpf_probe_bpf_helper(h->type, h->id, NULL);

	return ret > 0 ? 0 : ret ? -ret : ENOSYS;
}

static int ebpf_probe(struct lb_err *err)
{
	lb_libbpf_init();
	for (size_t i = 0; i < CAPABILITIES; i++) {
		int errnum = capabilities[i].needed ? capabilities[i].probe() : 0;

		if (errnum)
			return lb_err_sys(err, errnum, "datapath \"ebpf\": %s",
					  capabilities[i].name);
	}
	for (size_t i = 0; i < HELPERS; i++)
		if (probe_helper(&helpers[i]) == ENOSYS)
			return lb_err_sys(err, ENOSYS, "datapath \"ebpf\": %s", helpers[i].name);
	return 0;
}

static void ebpf_capabilities(lb_capability_fn fn, void *arg)
{
	lb_libbpf_init();
	for (size_t i = 0; i < CAPABILITIES; i++)
		fn(arg, capabilities[i].name, capabilities[i].probe(), capabilities[i].remark);
	for (size_t i = 0; i < HELPERS; i++)
		fn(arg, helpers[i].name, probe_helper(&helpers[i]), "");
}

void lb_dp_init(struct lb_dp *dp, const char *instance)
{
	*dp = (struct lb_dp){.dir_fd = -1, .progs = LB_PROGS_NONE};
	snprintf(dp->instance, sizeof(dp->instance), "%s", instance);
	for (int i = 0; i < LB_MAPS; i++)
		dp->map_fd[i] = -1;
}

static int dp_make(struct lb_dp **dp, const struct lb_dp_options *opt, struct lb_err *err)
{
	*dp = NULL;
	lb_libbpf_init();
	if (lb_instance_check(opt->instance, err))
		return -EINVAL;
	*dp = calloc(1, sizeof(**dp));
	if (!*dp) {
		lb_err_sys(err, ENOMEM, "opening instance \"%s\"", opt->instance);
		return -ENOMEM;
	}
	lb_dp_init(*dp, opt->instance);
	(*dp)->write = opt->write;
	(*dp)->force = opt->force;
	return 0;
}

/* Programs go one after another: where clients come in they must not go on translating what nobody
 * translates back any more. Whoever is killed in between leaves services that pass, to another
 * datapath if they move there. */
static void pass_all(struct lb_dp *dp)
{
	for (int proto = 0; dp->ports && proto < LB_PROTOS; proto++)
		for (int port = 0; port < 65536; port++)
			dp->ports->flags[proto][port] &= LB_PORT_BACKEND;
}

static int instance_remove(struct lb_dp *dp, struct lb_err *err)
{
	int ret = lb_instance_removable(dp, err);

	if (ret)
		return ret;
	pass_all(dp);
	lb_hooks_remove(dp);
	return lb_instance_unlink(dp, err);
}

static void ebpf_close(struct lb_dp *dp)
{
	struct lb_err err;

	if (dp->fresh && instance_remove(dp, &err))
		lb_warn("%s", err.text);
	lb_grace_drop(&dp->grace);
	lb_displaced_forget(dp);
	lb_progs_close(&dp->progs);
	lb_maps_close(dp);
	if (dp->dir_fd >= 0)
		close(dp->dir_fd);
	free(dp);
}

/* The directory is open, and locked where the handle is to write. */
static int instance_open(struct lb_dp *dp, struct lb_err *err)
{
	int ret = lb_progs_open(dp, err);

	if (!ret)
		ret = lb_maps_open(dp, err);
	if (!ret)
		ret = lb_netns_check(dp, err);
	if (!ret)
		ret = lb_generation_check(dp, err);
	dp->dead = ret == -ENOENT || ret == -ESTALE || ret == -EXDEV;
	return ret;
}

static int ebpf_open(struct lb_dp **dp, const struct lb_dp_options *opt, struct lb_err *err)
{
	int ret = dp_make(dp, opt, err);

	if (ret)
		return ret;
	ret = lb_instance_lock(*dp, false, err);
	if (!ret)
		ret = instance_open(*dp, err);
	if (ret && !(*dp)->dead) {
		ebpf_close(*dp);
		*dp = NULL;
	}
	return ret;
}

/* Where nothing is, or what a killed first apply left, or what cannot be used any more. */
static int instance_make(struct lb_dp *dp, const struct lb_model *model, struct lb_err *err)
{
	int ret = lb_instance_removable(dp, err);

	if (ret)
		return ret;
	if (dp->wreck)
		lb_warn("instance \"%s\": maps of it are lost: it is made anew, and connections "
			"that it had are lost",
			dp->instance);
	lb_hooks_remove(dp);
	lb_progs_close(&dp->progs);
	lb_maps_close(dp);
	ret = lb_instance_clear(dp, err);
	dp->fresh = !ret;
	dp->dead = dp->wreck = false;
	return ret ? ret : lb_object_create(dp, model, err);
}

/* From here on it is one of this ABI. */
static int instance_migrate(struct lb_dp *dp, struct lb_err *err)
{
	int ret = lb_migrate(dp, err);

	if (ret)
		return ret;
	lb_progs_close(&dp->progs);
	lb_maps_close(dp);
	return instance_open(dp, err);
}

static int ebpf_create(struct lb_dp **dp, const struct lb_dp_options *opt,
		       const struct lb_model *model, struct lb_err *err)
{
	const struct lb_dp_options writing = {
		.instance = opt->instance, .write = true, .force = opt->force};
	int ret = dp_make(dp, &writing, err);

	if (ret)
		return ret;
	ret = lb_instance_lock(*dp, true, err);
	if (!ret)
		ret = instance_open(*dp, err);
	if (ret == -ESTALE && lb_migrate_can((*dp)->abi))
		ret = instance_migrate(*dp, err);
	else if (ret == -ENOENT)
		ret = instance_make(*dp, model, err);
	if (ret) {
		ebpf_close(*dp);
		*dp = NULL;
	}
	return ret;
}

static void ebpf_await(const char *instance)
{
	const struct lb_dp_options opt = {.instance = instance};
	struct lb_dp *dp;
	struct lb_err ignored;

	if (dp_make(&dp, &opt, &ignored))
		return;
	if (!lb_instance_lock(dp, false, &ignored)) /* opens it, for who only reads */
		lb_lock_wait_file(dp->dir_fd);
	ebpf_close(dp);
}

/* `moves`: conntrack does not know our connections, and goes on with those that it has. */
static int ebpf_down(struct lb_dp *dp, bool moves, struct lb_err *err)
{
	struct lb_model m = {};
	/* Whose maps were not opened is of another layout, or was never whole. */
	bool known = !moves && !dp->foreign_netns && dp->config && !lb_ebpf_read(dp, &m, err);
	bool left = false;
	int ret;

	if (dp->foreign_netns && !dp->force)
		ret = lb_err_set(err, EXDEV,
				 "instance \"%s\": it serves another network namespace: take it "
				 "down from there, or use --force where that is gone",
				 dp->instance);
	else
		ret = instance_remove(dp, err);
	if (!ret && known)
		left = lb_conntrack_forget_all(&m, err);
	lb_model_free(&m);
	dp->fresh = false;
	ebpf_close(dp);
	return ret ? ret : left;
}

const struct lb_dp_ops lb_dp_ebpf = {
	.name = "ebpf",
	.has_programs = true,
	.keeps_connections = true,
	.migrates = true,
	.forwardings = 1 << LB_FORWARDING_NAT,
	.schedulers = (1 << LB_SCHEDULERS) - 1,
	.portions = lb_ebpf_portions,
	.probe = ebpf_probe,
	.capabilities = ebpf_capabilities,
	.open = ebpf_open,
	.create = ebpf_create,
	.close = ebpf_close,
	.await = ebpf_await,
	.read = lb_ebpf_read,
	.apply = lb_ebpf_apply,
	.audit = lb_ebpf_audit,
	.status = lb_ebpf_status,
	.status_free = lb_ebpf_status_free,
	.stats = lb_ebpf_stats,
	.stats_free = lb_ebpf_stats_free,
	.conn_list = lb_ebpf_conn_list,
	.conn_flush = lb_ebpf_conn_flush,
	.conn_gc = lb_ebpf_conn_gc,
	.list = lb_ebpf_list,
	.down = ebpf_down,
};
