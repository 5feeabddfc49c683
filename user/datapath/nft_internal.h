/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nft_internal.h - what the files of the nft datapath share. Nobody outside of user/datapath/nft*.c
 * includes it.
 *
 * An instance is one table, `inet meshlb_<instance>`. All that differs between two models is
 * elements of its sets and maps; the rules depend only on which classes of rings there are.
 */
#ifndef LB_NFT_INTERNAL_H
#define LB_NFT_INTERNAL_H

#include "core/ring.h"
#include "firewall.h"
#include "lock.h"
#include "nft_table.h"

extern const struct lb_nft_kind lb_nft_kind;

struct lb_dp {
	struct lb_nft_table table;
	struct lb_lock lock;
	bool fresh;        /* made by this handle and not applied yet: there is no table */
	bool state_is_new; /* read when it was opened, and not used yet */
};

/* ---------------------------------------------------------------- nft_rings.c */

/* Sets of counters, by family, exact and `*`. */
enum lb_nft_count { LB_NFT_IN, LB_NFT_OUT, LB_NFT_CONN, LB_NFT_COUNTS };
const char *lb_nft_count_set(char buf[32], enum lb_nft_count what, enum lb_family family, bool any);
/* The key of a listen and a backend in it. */
const char *lb_nft_count_key(char buf[192], const struct lb_listen *l, const struct lb_endpoint *b);

/* The set of the listens whose connections are masqueraded, and of the chain that looks into it. */
const char *lb_nft_masq_set(char buf[32], enum lb_family family, bool any);

/*
 * Listens with equal rules: protocol, family, exact or `*`, how a ring is indexed, and its size.
 * Its listens are the set <class>, its slots the map <class>_ring.
 */
enum lb_nft_index {
	LB_NFT_NONE,
	LB_NFT_INC,
	LB_NFT_RANDOM,
	LB_NFT_SH,
	LB_NFT_MAGLEV,
	LB_NFT_INDEXES
};
struct lb_nft_class {
	uint8_t proto, family, any, index;
	uint32_t size;
};
struct lb_nft_classes {
	struct lb_nft_class *list; /* sorted, each once */
	size_t n;
};
int lb_nft_class_cmp(const void *a, const void *b);
bool lb_nft_classes_equal(const struct lb_nft_classes *a, const struct lb_nft_classes *b);
#define LB_NFT_CLASS_LEN 48
#define LB_NFT_RING      "_ring"
const char *lb_nft_class_name(char buf[LB_NFT_CLASS_LEN], const struct lb_nft_class *c);
bool lb_nft_class_parse(struct lb_nft_class *c, const char *set); /* of <class> alone */

/* All elements of a service, its records in `model` under `id` (from 1). */
int lb_nft_service_elements(struct lb_nft_elements *all, const struct lb_service_conf *s,
			    uint32_t id);
/* Has it more backends than its rings have room for, or a listen that is one of them? */
const char *lb_nft_service_why_not(const struct lb_service_conf *s);
int lb_nft_portions(const struct lb_service_conf *s, enum lb_family family, uint32_t *portions);
/* Tells where weights or a Maglev table are made smaller. */
void lb_nft_say_ring(const struct lb_service_conf *s);
/* Of all services, sorted, each once. */
int lb_nft_classes_of(const struct lb_model *m, struct lb_nft_classes *c);

/* ---------------------------------------------------------------- nft_rules.c */

/* A bit of the mark of packets of ours that are forwarded, by which iptables lets them through. */
#define LB_NFT_PASS_MARK "0x40000000"
/* A chain by which exact TCP listens that take SYNs alone go before a hash on `*`, and the rule
 * that leads there. It is there where both are. */
#define LB_NFT_EXACT "exact"
/* Rules that look into no set of ours. */
#define LB_NFT_RULE_LOCAL      "local"
#define LB_NFT_RULE_LOOPBACK   "loopback"
#define LB_NFT_RULE_LINK_LOCAL "link-local"
#define LB_NFT_RULE_RELATED    "related" /* the last of chain forward */
#define LB_NFT_RULE_KEPT       "kept"    /* the second of each chain that masquerades */
void lb_nft_text_table(struct lb_text *t, const char *table); /* table, static sets, chains */
void lb_nft_text_sets(struct lb_text *t, const char *table, const struct lb_nft_class *c);
void lb_nft_text_unset(struct lb_text *t, const char *table, const struct lb_nft_class *c);
/* Is there a chain LB_NFT_EXACT? */
bool lb_nft_has_exact(const struct lb_nft_classes *c);
/* All rules of chain `prerouting`, which is emptied first, and the chain that it leads to. `from`:
 * what stands. */
void lb_nft_text_rules(struct lb_text *t, const char *table, const struct lb_nft_classes *from,
		       const struct lb_nft_classes *c);
/* The texts of the rules of a chain as they should be: each one's comment. NULL behind the last. */
const char *lb_nft_rule_name(char buf[LB_NFT_CLASS_LEN], const struct lb_nft_classes *c,
			     const char *chain, size_t n);

/* ---------------------------------------------------------------- nft_commit.c */

/* All that a model means, sorted. Services that have no id get one. */
int lb_nft_everything(const struct lb_model *m, struct lb_nft_elements *all, struct lb_err *err);
struct lb_firewall lb_nft_firewall(const struct lb_dp *dp);
/* Are there connections of removed backends that an apply has yet to forget? */
bool lb_nft_is_undone(const struct lb_nft_elements *all);
int lb_nft_apply(struct lb_dp *dp, const struct lb_diff *d, lb_finding_fn fn, void *arg,
		 struct lb_err *err);

/* ---------------------------------------------------------------- nft_audit.c */

/* What is not as the model says: with or without a look at each element. */
int lb_nft_look(struct lb_dp *dp, const struct lb_model *m, bool elements, lb_finding_fn fn,
		void *arg, struct lb_err *err);
int lb_nft_audit(struct lb_dp *dp, const struct lb_model *m, lb_finding_fn fn, void *arg,
		 struct lb_err *err);

/* ---------------------------------------------------------------- nft_conn.c - conntrack */

int lb_nft_conn_list(struct lb_dp *dp, const struct lb_conn_filter *f, lb_conn_fn fn, void *arg,
		     uint64_t *n, struct lb_err *err);
int lb_nft_conn_flush(struct lb_dp *dp, const struct lb_conn_filter *f, uint64_t *n,
		      struct lb_err *err);
/* Forgets all connections to the backends of `gone` by its listens; but those by `*` only where no
 * service of `standing` with that backend listens on the very address, or did so in `before`. NULL:
 * they went earlier, and what stands has connections of its own since, which are not forgotten. */
int lb_nft_conn_forget(const struct lb_model *gone, const struct lb_model *before,
		       const struct lb_model *standing, struct lb_err *err);
int lb_nft_conn_usage(const struct lb_model *m, uint64_t used[LB_FAMILIES], struct lb_err *err);

#endif
