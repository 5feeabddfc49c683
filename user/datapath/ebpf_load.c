/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_load.c - the BPF object that this binary embeds: loading it for a new instance, loading a
 * new build onto the maps of a standing one, and the pins of its programs.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "ebpf_internal.h"
#include "lb.skel.h"

static const char *const prog_names[LB_HOOKS] = {
	[LB_HOOK_XDP] = "meshlb_xdp",
	[LB_HOOK_TC] = "meshlb_tc",
};

/* libbpf explains at length what fails, the verifier's log included. */
static int libbpf_print(enum libbpf_print_level level, const char *fmt, va_list args)
{
	char *text;

	if (!lb_log_verbose || level == LIBBPF_DEBUG || vasprintf(&text, fmt, args) < 0)
		return 0;
	lb_debug("%s", text);
	free(text);
	return 0;
}

void lb_libbpf_init(void)
{
	libbpf_set_print(libbpf_print);
}

__u64 lb_build_id(void)
{
	static __u64 id;
	const unsigned char *bytes;
	size_t size;

	if (id)
		return id;
	bytes = lb_bpf__elf_bytes(&size);
	id = 0xcbf29ce484222325; /* FNV-1a */
	for (size_t i = 0; i < size; i++)
		id = (id ^ bytes[i]) * 0x100000001b3;
	return id;
}

static struct lb_bpf *object_open(struct lb_err *err)
{
	struct lb_bpf *skel;

	skel = lb_bpf__open();
	if (!skel)
		lb_err_sys(err, errno, "opening the embedded BPF object");
	return skel;
}

/* The least program of a type; its descriptor or -errno. */
int lb_prog_least(enum bpf_prog_type type, enum bpf_attach_type attach, int btf_id)
{
	const struct bpf_insn returns_0[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = attach,
		    .attach_btf_id = btf_id);
	int fd = bpf_prog_load(type, "lb_probe", "GPL", returns_0, 2, &opts);

	return fd < 0 ? -errno : fd;
}

/* Does the kernel take it? 0 or the errno. */
int lb_prog_probe(enum bpf_prog_type type, enum bpf_attach_type attach, int btf_id)
{
	int fd = lb_prog_least(type, attach, btf_id);

	if (fd < 0)
		return -fd;
	close(fd);
	return 0;
}

/*
 * Kernels under lockdown may refuse the iterator (EPERM), as they do other tracing programs. It
 * only prints, so all else is loaded without it; libbpf would give up the whole object.
 */
int lb_iterator_probe(void)
{
	int id = libbpf_find_vmlinux_btf_id("bpf_map_elem", BPF_TRACE_ITER);

	return id < 0 ? -id : lb_prog_probe(BPF_PROG_TYPE_TRACING, BPF_TRACE_ITER, id);
}

static int object_load(struct lb_bpf *skel, struct lb_progs *progs, struct lb_err *err)
{
	int ret;

	*progs = LB_PROGS_NONE;
	progs->no_iterator = lb_iterator_probe();
	bpf_program__set_autoload(skel->progs.meshlb_conns, !progs->no_iterator);
	ret = lb_bpf__load(skel);
	if (ret)
		return lb_err_sys(err, -ret, "loading the BPF programs (--verbose tells why)");
	return 0;
}

static int iterator_take(const struct lb_bpf *skel, struct lb_progs *progs, struct lb_err *err)
{
	union bpf_iter_link_info over = {.map.map_fd = bpf_map__fd(skel->maps.lb_conn4)};
	LIBBPF_OPTS(bpf_link_create_opts, opts, .iter_info = &over, .iter_info_len = sizeof(over));

	if (progs->no_iterator)
		return 0;
	progs->iter_link = bpf_link_create(bpf_program__fd(skel->progs.meshlb_conns), 0,
					   BPF_TRACE_ITER, &opts);
	return progs->iter_link < 0
		       ? lb_err_sys(err, errno, "making the iterator over the connections")
		       : 0;
}

/* Takes its map, and starts the timer in it, which runs as long as the map is held or pinned. */
static int sweeper_take(const struct lb_bpf *skel, struct lb_progs *progs, struct lb_err *err)
{
	const __u8 packet[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = packet, .data_size_in = sizeof(packet));
	int ret;

	progs->sweeper = fcntl(bpf_map__fd(skel->maps.lb_sweeper), F_DUPFD_CLOEXEC, 3);
	if (progs->sweeper < 0)
		return lb_err_sys(err, errno, "taking map \"lb_sweeper\"");
	ret = bpf_prog_test_run_opts(bpf_program__fd(skel->progs.meshlb_sweeper), &run);
	if (!ret)
		ret = (int)run.retval;
	return ret ? lb_err_sys(err, -ret, "starting the timer that collects expired connections")
		   : 0;
}

static int progs_take(const struct lb_bpf *skel, struct lb_progs *progs, struct lb_err *err)
{
	const struct bpf_program *const from[LB_HOOKS] = {
		[LB_HOOK_XDP] = skel->progs.meshlb_xdp,
		[LB_HOOK_TC] = skel->progs.meshlb_tc,
	};
	int ret;

	for (int i = 0; i < LB_HOOKS; i++) {
		struct bpf_prog_info info = {};
		__u32 len = sizeof(info);

		progs->fd[i] = fcntl(bpf_program__fd(from[i]), F_DUPFD_CLOEXEC, 3);
		if (progs->fd[i] < 0 || bpf_obj_get_info_by_fd(progs->fd[i], &info, &len))
			return lb_err_sys(err, errno, "taking program \"%s\"", prog_names[i]);
		progs->id[i] = info.id;
	}
	ret = iterator_take(skel, progs, err);
	return ret ? ret : sweeper_take(skel, progs, err);
}

/* What is fixed as long as the programs are loaded. */
static void rodata_fill(struct lb_bpf *skel, const __u64 *secret, __u32 buckets4, __u32 buckets6)
{
	_Static_assert(sizeof(skel->rodata->lb_secret) == sizeof(((struct lb_config *)0)->secret),
		       "one secret");
	__u32 shortest = lb_clock_ticks(lb_timeout_min(LB_TIMEOUT_AFFINITY));

	for (size_t i = 0; i < sizeof(skel->rodata->lb_secret) / sizeof(*secret); i++)
		skel->rodata->lb_secret[i] = secret[i];
	skel->rodata->lb_conn4_buckets = buckets4;
	skel->rodata->lb_conn6_buckets = buckets6;
	skel->rodata->lb_conn4_homes = LB_CONN_HOMES(buckets4);
	skel->rodata->lb_conn6_homes = LB_CONN_HOMES(buckets6);
	/* Or an affinity could lapse beside a connection that is in use: ticks may be 1.28 s. */
	if (skel->rodata->lb_fresh[LB_CONN_ESTABLISHED] >= shortest)
		skel->rodata->lb_fresh[LB_CONN_ESTABLISHED] = shortest - 1;
	skel->rodata->lb_tick_shift = lb_clock_shift();
	skel->rodata->lb_tick_ms = lb_clock_tick_ms();
	skel->rodata->lb_jiffy_ns = lb_clock_jiffy_ns();
}

static struct bpf_map *object_map(const struct lb_bpf *skel, enum lb_map map)
{
	return bpf_object__find_map_by_name(skel->obj, lb_map_object_name(map));
}

static int object_size(struct lb_bpf *skel, const struct lb_limits *l, struct lb_err *err)
{
	for (int i = 0; i < LB_MAPS; i++) {
		__u32 n = lb_map_entries(i, l);
		int ret = bpf_map__set_max_entries(object_map(skel, i), n);

		if (ret)
			return lb_err_sys(err, -ret, "sizing map \"%s\" for %u entries",
					  lb_map_name(i), n);
	}
	return 0;
}

static int maps_take(struct lb_dp *dp, const struct lb_bpf *skel, struct lb_err *err)
{
	for (int i = 0; i < LB_MAPS; i++) {
		dp->map_fd[i] = fcntl(bpf_map__fd(object_map(skel, i)), F_DUPFD_CLOEXEC, 3);
		if (dp->map_fd[i] < 0)
			return lb_err_sys(err, errno, "taking map \"%s\"", lb_map_name(i));
	}
	return lb_maps_adopt(dp, err);
}

/* With generation 0 an instance counts as half made, and the next create() begins anew. */
static int maps_pin(const struct lb_dp *dp, struct lb_err *err)
{
	char path[LB_PIN_MAX];

	for (int i = LB_MAPS - 1; i >= 0; i--)
		if (bpf_obj_pin(dp->map_fd[i], lb_pin_path(dp, path, lb_map_name(i))))
			return lb_err_sys(err, errno, "pinning \"%s\"", path);
	return 0;
}

static void config_fill(struct lb_config *c, const struct lb_limits *l, const __u64 *secret)
{
	c->abi = LB_ABI_VERSION;
	memcpy(c->secret, secret, sizeof(c->secret));
	c->netns = lb_netns_inode();
	c->created = time(NULL);
	c->connections = l->connections;
	c->connections6 = l->connections6;
	c->services = l->services;
	c->backends = l->backends;
	c->ring_slots = l->ring_slots;
}

/* Maps, and programs that work on them; nothing is attached, and only the slow way is pinned. */
int lb_object_make(struct lb_dp *dp, const struct lb_limits *l, const __u64 secret[LB_SECRET_WORDS],
		   struct lb_progs *progs, struct lb_err *err)
{
	struct lb_bpf *skel = object_open(err);
	int ret;

	if (!skel)
		return -errno;
	ret = object_size(skel, l, err);
	if (ret)
		goto out;
	rodata_fill(skel, secret, lb_map_entries(LB_MAP_CONN4, l), lb_map_entries(LB_MAP_CONN6, l));
	ret = object_load(skel, progs, err);
	if (!ret)
		ret = maps_take(dp, skel, err);
	if (ret)
		goto out;
	/* Before the first pin: by any of them the maps are found again. */
	config_fill(dp->config, l, secret);
	ret = progs_take(skel, progs, err);
	if (!ret)
		ret = lb_slow_pin(dp, skel, progs, err);
out:
	lb_bpf__destroy(skel);
	return ret;
}

int lb_object_pin(struct lb_dp *dp, struct lb_progs *progs, struct lb_err *err)
{
	int ret = lb_progs_pin(dp, progs, err);

	return ret ? ret : maps_pin(dp, err);
}

int lb_object_create(struct lb_dp *dp, const struct lb_model *m, struct lb_err *err)
{
	struct lb_progs progs = LB_PROGS_NONE;
	__u64 secret[LB_SECRET_WORDS];
	int ret;

	if (!lb_netns_inode())
		return lb_err_set(err, EIO,
				  "which network namespace this is cannot be told: it needs "
				  "CAP_NET_ADMIN, or /proc");
	if (getrandom(secret, sizeof(secret), 0) != sizeof(secret))
		return lb_err_sys(err, errno, "asking for random bytes");
	ret = lb_object_make(dp, &m->limits, secret, &progs, err);
	if (!ret) {
		lb_timeouts_fill(dp->timeouts, m->timeouts);
		lb_rates_fill(dp->rates, &m->rates);
		ret = lb_object_pin(dp, &progs, err);
	}
	lb_progs_close(&progs);
	return ret;
}

static int map_reuse(const struct lb_dp *dp, struct bpf_map *map, int fd, struct lb_err *err)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	int ret;

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return lb_err_sys(err, errno, "asking for map \"%s\"", bpf_map__name(map));
	if (info.type != bpf_map__type(map) || info.key_size != bpf_map__key_size(map) ||
	    info.value_size != bpf_map__value_size(map) ||
	    info.map_flags != bpf_map__map_flags(map))
		return lb_err_set(err, ESTALE,
				  "map \"%s\" of instance \"%s\" is of another kind than this "
				  "program's: run `meshlb down`, then `meshlb apply`",
				  bpf_map__name(map), dp->instance);
	ret = bpf_map__reuse_fd(map, fd);
	return ret ? lb_err_sys(err, -ret, "reusing map \"%s\"", bpf_map__name(map)) : 0;
}

/* Loads this binary's programs onto the instance's maps; nothing is attached or pinned yet. */
int lb_object_reload(struct lb_dp *dp, struct lb_progs *progs, struct lb_err *err)
{
	struct lb_bpf *skel = object_open(err);
	int ret = 0;

	if (!skel)
		return -errno;
	for (int i = 0; i < LB_MAPS && !ret; i++)
		ret = map_reuse(dp, object_map(skel, i), dp->map_fd[i], err);
	if (ret)
		goto out;
	rodata_fill(skel, dp->config->secret, dp->max_entries[LB_MAP_CONN4],
		    dp->max_entries[LB_MAP_CONN6]);
	ret = object_load(skel, progs, err);
	if (!ret)
		ret = progs_take(skel, progs, err);
	if (!ret)
		ret = lb_slow_pin(dp, skel, progs, err);
out:
	lb_bpf__destroy(skel);
	return ret;
}

int lb_progs_open(struct lb_dp *dp, struct lb_err *err)
{
	char path[LB_PIN_MAX];

	for (int i = 0; i < LB_HOOKS; i++) {
		struct bpf_prog_info info = {};
		__u32 len = sizeof(info);

		dp->progs.fd[i] = bpf_obj_get(lb_pin_path(dp, path, prog_names[i]));
		if (dp->progs.fd[i] < 0 && errno == ENOENT)
			continue; /* audit() reports it, apply() loads them anew */
		if (dp->progs.fd[i] < 0 || bpf_obj_get_info_by_fd(dp->progs.fd[i], &info, &len))
			return lb_err_sys(err, errno, "opening \"%s\"", path);
		dp->progs.id[i] = info.id;
	}
	dp->progs.iter_link = bpf_obj_get(lb_pin_path(dp, path, LB_PIN_ITERATOR));
	dp->progs.sweeper = bpf_obj_get(lb_pin_path(dp, path, LB_PIN_SWEEPER));
	return 0;
}

/* Makes `progs` the instance's: from here on hooks are compared with them. */
int lb_progs_pin(struct lb_dp *dp, struct lb_progs *progs, struct lb_err *err)
{
	char path[LB_PIN_MAX];
	int ret = 0;

	if (progs->iter_link >= 0)
		ret = lb_pin_replace(dp, LB_PIN_ITERATOR, progs->iter_link);
	else
		unlink(lb_pin_path(dp, path, LB_PIN_ITERATOR)); /* a former build's */
	if (ret)
		return lb_err_sys(err, -ret, "pinning \"%s/%s\"", dp->dir, LB_PIN_ITERATOR);
	ret = lb_pin_replace(dp, LB_PIN_SWEEPER, progs->sweeper);
	if (ret)
		return lb_err_sys(err, -ret, "pinning \"%s/%s\"", dp->dir, LB_PIN_SWEEPER);
	for (int i = 0; i < LB_HOOKS; i++) {
		ret = lb_pin_replace(dp, prog_names[i], progs->fd[i]);
		if (ret)
			return lb_err_sys(err, -ret, "pinning \"%s/%s\"", dp->dir, prog_names[i]);
	}
	dp->config->build = lb_build_id();
	dp->config->no_iterator = progs->no_iterator;
	lb_progs_close(&dp->progs);
	dp->progs = *progs;
	*progs = LB_PROGS_NONE;
	return 0;
}

void lb_progs_close(struct lb_progs *progs)
{
	for (int i = 0; i < LB_HOOKS; i++)
		if (progs->fd[i] >= 0)
			close(progs->fd[i]);
	if (progs->iter_link >= 0)
		close(progs->iter_link);
	if (progs->sweeper >= 0)
		close(progs->sweeper);
	*progs = LB_PROGS_NONE;
}
