/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_others.c - other instances of this host that take what this one takes: of two the one whose
 * program comes first has the packets, and the other waits in vain.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ebpf_internal.h"

struct overlap {
	const char *ifname;
	const struct lb_service_conf *service;
	const struct lb_listen *listen;
	size_t n; /* listens; the first one is told */
};

static unsigned int families_of(const struct lb_listen *l)
{
	return l->any == LB_ANY_BOTH ? 1 << LB_V4 | 1 << LB_V6 : 1 << l->at.family;
}

static bool listens_meet(const struct lb_listen *a, const struct lb_listen *b)
{
	return a->proto == b->proto && a->at.port == b->at.port &&
	       families_of(a) & families_of(b) &&
	       (a->any || b->any || !memcmp(&a->at.addr, &b->at.addr, sizeof(a->at.addr)));
}

static bool is_listened(const struct lb_model *m, const struct lb_listen *l)
{
	for (size_t i = 0; i < m->n_services; i++)
		for (size_t j = 0; j < m->services[i].n_listens; j++)
			if (listens_meet(&m->services[i].listens[j], l))
				return true;
	return false;
}

static const char *common_interface(const struct lb_model *a, const struct lb_model *b)
{
	for (size_t i = 0; i < a->n_interfaces; i++)
		for (size_t j = 0; j < b->n_interfaces; j++)
			if (!strcmp(a->interfaces[i].name, b->interfaces[j].name))
				return a->interfaces[i].name;
	return NULL;
}

static struct overlap overlap_find(const struct lb_model *ours, const struct lb_model *theirs)
{
	struct overlap o = {.ifname = common_interface(ours, theirs)};

	for (size_t i = 0; o.ifname && i < ours->n_services; i++) {
		const struct lb_service_conf *s = &ours->services[i];

		for (size_t j = 0; j < s->n_listens; j++) {
			if (!is_listened(theirs, &s->listens[j]) || o.n++)
				continue;
			o.service = s;
			o.listen = &s->listens[j];
		}
	}
	return o;
}

/* Asked first, for most others serve another network namespace. */
static bool serves(const char *pin, __u64 netns)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info), zero = 0;
	int fd = bpf_obj_get(pin);
	struct lb_config c = {};

	if (fd < 0)
		return false;
	if (!bpf_obj_get_info_by_fd(fd, &info, &len) && info.value_size == sizeof(c))
		bpf_map_lookup_elem(fd, &zero, &c);
	close(fd);
	return c.netns == netns;
}

/* One that cannot be opened takes nothing from us. */
static void other_warn(const char *instance, const struct lb_model *m)
{
	const struct lb_dp_options opt = {.instance = instance};
	char text[LB_ENDPOINT_STRLEN];
	struct lb_model theirs = {};
	struct lb_dp *dp;
	struct overlap o;
	struct lb_err err;

	if (!lb_dp_ebpf.open(&dp, &opt, &err) && !lb_dp_ebpf.read(dp, &theirs, &err)) {
		o = overlap_find(m, &theirs);
		if (o.n)
			lb_warn("service \"%s\": listen \"%s\" is instance \"%s\"'s, too, on "
				"interface \"%s\": whose program comes first takes it%s",
				o.service->name, lb_listen_str(text, o.listen), instance, o.ifname,
				o.n > 1 ? "; and others" : "");
	}
	lb_model_free(&theirs);
	if (dp)
		lb_dp_ebpf.close(dp);
}

void lb_others_warn(const struct lb_dp *dp, const struct lb_model *m)
{
	DIR *dir = lb_instance_list(dp, "..");
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		char name[sizeof(dp->instance)], pin[LB_PIN_MAX * 2];

		if (e->d_name[0] == '.' || strlen(e->d_name) >= sizeof(name))
			continue;
		snprintf(name, sizeof(name), "%.64s", e->d_name);
		for (char *p = name; *p; p++)
			if (*p == ':') /* as lb_pin_path() has it */
				*p = '.';
		snprintf(pin, sizeof(pin), "%s/../%.64s/%s", dp->dir, e->d_name,
			 lb_map_name(LB_MAP_CONFIG));
		if (strcmp(name, dp->instance) != 0 && serves(pin, dp->config->netns))
			other_warn(name, m);
	}
	if (dir)
		closedir(dir);
}
