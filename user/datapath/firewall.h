/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * firewall.h - on a host whose iptables filter what is forwarded (Docker's FORWARD drops by its
 * policy), a chain of our own lets through what a datapath in the kernel's stack has marked. In
 * each flavour, iptables-nft and -legacy, and family whose table "filter" is in use; others' rules
 * are never touched.
 */
#ifndef LB_FIREWALL_H
#define LB_FIREWALL_H

#include "datapath.h"

#define LB_FIREWALL_PREFIX "MESHLB-" /* of all chains of ours */

struct lb_firewall {
	const char *prefix; /* of the chain's name, before the instance's */
	const char *instance;
	bool fresh;    /* nothing else of the instance is there: a chain with other rules is
			  somebody else's */
	bool host;     /* comes to this host and leaves it: INPUT and OUTPUT, too */
	bool dnat;     /* conntrack takes its packets for DNAT's */
	char mark[32]; /* that they have there: VALUE/MASK */
	const char
		*rules[4]; /* as iptables-save writes them, without "-A CHAIN "; NULL ends them */
};

/* Names where our chain is missing, changed, or behind rules that may drop; and tables that cannot
 * be read, which put() cannot mend. */
void lb_firewall_audit(struct lb_findings *f, const struct lb_firewall *w);
/* Puts it where audit() would miss it, and says so to f; warns of tables that cannot be read. 0 or
 * -errno. */
int lb_firewall_put(const struct lb_firewall *w, struct lb_findings *f, struct lb_err *err);
/* Before the first put(): -EEXIST where a chain of somebody else's has its name. */
int lb_firewall_refuse(const struct lb_firewall *w, struct lb_err *err);
/* Is a chain of its there, whatever becomes of it? */
bool lb_firewall_is_there(const struct lb_firewall *w);
/* Takes it away everywhere. 0; or -errno of the last that failed, and err says which. */
int lb_firewall_remove(const struct lb_firewall *w, struct lb_err *err);

/* Warns of chains of nftables that may drop its packets, where a chain of ours would not help:
 * their verdict is final. */
void lb_firewall_warn(const struct lb_firewall *w);

/* Calls fn for each flavour of iptables and family: is its table "filter" in use? */
void lb_firewall_flavours(void (*fn)(void *arg, const char *name, bool in_use), void *arg);

#endif
