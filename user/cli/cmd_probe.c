// SPDX-License-Identifier: GPL-2.0-or-later
/* cmd_probe.c - `meshlb probe`: what this host has of all that the datapaths use, and what not. */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "datapath/firewall.h"
#include "json.h"
#include "net/link.h"
#include "net/sysctl.h"
#include "net/xdp_features.h"
#include "table.h"

struct probe {
	struct lb_table table;
	json_t *list;
	const char *of; /* what the next ones are of */
};

static void add(struct probe *p, const char *name, const char *here, const char *why)
{
	lb_table_add(&p->table, "%s", p->of);
	lb_table_add(&p->table, "%s", name);
	lb_table_add(&p->table, "%s", here);
	lb_table_add(&p->table, "%s", why);
	json_array_append_new(p->list, json_pack("{s:s, s:s, s:s, s:s}", "of", p->of, "name", name,
						 "here", here, "why", why));
}

static void add_capability(void *arg, const char *name, int errnum, const char *remark)
{
	char why[600];

	snprintf(why, sizeof(why), "%s%s%s", errnum ? strerror(errnum) : "",
		 errnum && *remark ? ": " : "", errnum ? remark : "");
	add(arg, name, errnum ? "no" : "yes", why);
}

static void add_datapaths(struct probe *p)
{
	for (size_t i = 0; lb_datapaths[i]; i++) {
		struct lb_err err = {};
		int ret = lb_datapaths[i]->probe(&err);

		p->of = lb_datapaths[i]->name;
		add(p, "datapath", ret ? "no" : "yes", ret ? err.text : "");
		lb_datapaths[i]->capabilities(add_capability, p);
	}
}

static const char *hook_auto(const struct lb_link *link, bool native)
{
	if (!native)
		return "its driver has none: hook auto is tc";
	return strcmp(link->kind, "veth")
		       ? "hook auto is XDP"
		       : "hook auto is tc: XDP on veth sees unfinished checksums";
}

static void add_interfaces(struct probe *p)
{
	struct lb_xdp_features features = {};
	struct lb_links links = {};

	p->of = "interface";
	if (lb_links_read(&links) || lb_xdp_features_read(&features))
		add(p, "all", "?", "they cannot be read");
	for (size_t i = 0; i < links.n; i++) {
		const struct lb_link *l = &links.list[i];
		bool native = lb_xdp_features_native(&features, l->ifindex);
		char name[64];

		if (l->flags & IFF_LOOPBACK)
			continue;
		snprintf(name, sizeof(name), "%s: native XDP", l->name);
		if (features.known)
			add(p, name, native ? "yes" : "no", hook_auto(l, native));
		else
			add(p, name, "?", "this kernel does not tell: apply tries");
	}
	lb_xdp_features_free(&features);
	lb_links_free(&links);
}

static void add_sysctl(struct probe *p, const char *path)
{
	int value = lb_sysctl_get(path);

	add(p, path,
	    value > 0 ? "yes"
	    : value   ? "?"
		      : "no",
	    value < 0 ? strerror(-value)
	    : value   ? ""
		      : "packets are not forwarded");
}

/* Whose rules stand beside ours, and in which flavour of iptables. */
static void add_flavour(void *arg, const char *name, bool in_use)
{
	char text[48];

	snprintf(text, sizeof(text), "%s: table filter", name);
	add(arg, text, in_use ? "yes" : "no",
	    in_use ? "datapaths ipvs and nft have a chain in it where it filters"
		   : "none is seen in use: datapaths ipvs and nft add no chain");
}

int lb_cmd_probe(struct lb_cli *cli)
{
	struct probe p = {.table = LB_TABLE("OF", "CAPABILITY", "HERE", "WHY"),
			  .list = json_array()};
	json_t *o;

	add_datapaths(&p);
	add_interfaces(&p);
	p.of = "kernel";
	add_sysctl(&p, "net/ipv4/ip_forward");
	add_sysctl(&p, "net/ipv6/conf/all/forwarding");
	lb_firewall_flavours(add_flavour, &p);
	if (cli->json) {
		o = lb_json_new("probe");
		json_object_set_new(o, "capabilities", p.list);
		lb_json_print(o);
	} else {
		lb_table_print(&p.table, stdout);
		json_decref(p.list);
	}
	lb_table_free(&p.table);
	return LB_EXIT_DONE;
}
