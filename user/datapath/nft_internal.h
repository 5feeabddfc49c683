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

#include <nftables/libnftables.h>

#include "core/ring.h"
#include "datapath.h"

#define LB_NFT_PREFIX "meshlb_"
#define LB_NFT_MAGIC                                                                               \
	"meshlb nft 1" /* first record of a table of ours, with its layout's version               \
			*/

struct lb_dp {
	char instance[65];
	char table[80];
	int lock_fd; /* -1: a reader */
	bool fresh;  /* made by this handle and not applied yet: there is no table */
	struct nft_ctx *nft;
	struct lb_nft_state *state; /* as last read; NULL: not yet */
	bool state_is_new;          /* read when it was opened, and not used yet */
};

/* ---------------------------------------------------------------- nft_elements.c */

/* An element of a set or map, in the words in which nft lists it. */
struct lb_nft_element {
	const char *set, *key;
	const char *value; /* of a map: its data; of `model`: the comment; else "" */
	uint64_t packets, bytes;
};
struct lb_nft_elements {
	struct lb_nft_element *list;
	size_t n, room;
	bool no_memory;
};
/* Copies the texts. What fails is told by no_memory, at the end. */
void lb_nft_element_add(struct lb_nft_elements *all, const char *set, const char *key,
			const char *value);
void lb_nft_elements_sort(struct lb_nft_elements *all); /* by set and key, equal ones once */
int lb_nft_element_cmp(const void *a, const void *b);   /* by set and key */
const struct lb_nft_element *lb_nft_element_find(const struct lb_nft_elements *all, const char *set,
						 const char *key);
void lb_nft_elements_cut(struct lb_nft_elements *all, size_t n); /* keeps the first n */
void lb_nft_elements_free(struct lb_nft_elements *all);

/* Sets that every table has; the counters by enum lb_nft_count and family, exact and `*`. */
#define LB_NFT_SET_MODEL      "model"
#define LB_NFT_KEY_RULES      "0 . 1000000" /* in it: the hash of the rules as apply made them */
#define LB_NFT_SET_INTERFACES "interfaces"
enum lb_nft_count { LB_NFT_IN, LB_NFT_OUT, LB_NFT_CONN, LB_NFT_COUNTS };
const char *lb_nft_count_set(char buf[32], enum lb_nft_count what, enum lb_family family, bool any);
/* The key of a listen and a backend in it. */
const char *lb_nft_count_key(char buf[192], const struct lb_listen *l, const struct lb_endpoint *b);

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

/* All elements of a service, its records in `model` under `id` (from 1); of the rest. */
int lb_nft_service_elements(struct lb_nft_elements *all, const struct lb_service_conf *s,
			    uint32_t id);
void lb_nft_head_elements(struct lb_nft_elements *all, const struct lb_model *m);
/* Of all services, sorted, each once. */
int lb_nft_classes_of(const struct lb_model *m, struct lb_nft_classes *c);

/* ---------------------------------------------------------------- nft_model.c - records in `model`
 */

void lb_nft_head_records(struct lb_nft_elements *all, const struct lb_model *m);
/* `gone`: of removed backends, whose connections are still to be forgotten. */
void lb_nft_service_records(struct lb_nft_elements *all, const struct lb_service_conf *s,
			    uint32_t id, bool gone);
/* Backwards. Records that cannot be understood are left out: audit() names them. */
int lb_nft_model_read(const struct lb_nft_elements *all, bool gone, struct lb_model *m,
		      struct lb_err *err);

/* ---------------------------------------------------------------- nft_rules.c */

struct lb_text { /* grows */
	char *s;
	size_t len, room;
	bool no_memory;
};
void lb_text_add(struct lb_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void lb_nft_text_table(struct lb_text *t, const char *table); /* table, static sets, chains */
void lb_nft_text_sets(struct lb_text *t, const char *table, const struct lb_nft_class *c);
void lb_nft_text_unset(struct lb_text *t, const char *table, const struct lb_nft_class *c);
/* All rules of chain `prerouting`, which is emptied first. */
void lb_nft_text_rules(struct lb_text *t, const char *table, const struct lb_nft_classes *c);
/* The texts of the rules of a chain as they should be: each one's comment. NULL behind the last. */
const char *lb_nft_rule_name(char buf[LB_NFT_CLASS_LEN], const struct lb_nft_classes *c,
			     const char *chain, size_t n);

/* ---------------------------------------------------------------- nft_elems.c */

/* Adds the elements of a set; of one that we do not make none. -ENOENT: there is no such set. */
int lb_nft_set_read(const char *table, const char *set, struct lb_nft_elements *all,
		    struct lb_err *err);

/* ---------------------------------------------------------------- nft_list.c - what is there */

struct lb_nft_rule {
	char *chain, *comment, *expr; /* expr: "lookup SET; numgen SIZE; nat; ..." */
};
struct lb_nft_chain {
	char *name, *type;
	int hook, priority; /* hook: NF_INET_*, -1: none */
	uint32_t policy;    /* NF_ACCEPT, ... */
};
struct lb_nft_state {
	struct lb_nft_elements elements; /* sorted */
	char **sets;                     /* names of all sets and maps */
	size_t n_sets;
	struct lb_nft_chain *chains;
	size_t n_chains;
	struct lb_nft_rule *rules; /* in order */
	size_t n_rules;
	uint64_t rules_hash; /* of all that they consist of */
	uint32_t flags;      /* NFT_TABLE_F_* */
};
/* Runs commands, all or none of them. */
int lb_nft_run(struct lb_dp *dp, const char *commands, const char *doing, struct lb_err *err);
/* Into dp->state: the set `model`; with it names of sets, chains and rules; or all. -ENOENT where
 * there is no such table, -EEXIST where it is not ours. */
enum lb_nft_part { LB_NFT_MODEL, LB_NFT_FRAME, LB_NFT_ALL };
int lb_nft_list(struct lb_dp *dp, enum lb_nft_part part, struct lb_err *err);
/* The frame, and the elements that were read before: of a writer, whom nobody disturbs. */
int lb_nft_frame(struct lb_dp *dp, struct lb_err *err);
bool lb_nft_table_is_there(const struct lb_dp *dp); /* also where that cannot be told */
/* The number of nftables' state in this network namespace: another one after each change. */
uint32_t lb_nft_generation(void);
void lb_nft_state_free(struct lb_nft_state *s);
bool lb_nft_state_has_set(const struct lb_nft_state *s, const char *name);
int lb_nft_tables(void (*fn)(void *arg, const char *instance), void *arg, struct lb_err *err);

/* ---------------------------------------------------------------- nft_commit.c */

#define LB_NFT_GONE_ID 1000000000u /* services' ids are below, those of gone backends above */
bool lb_nft_same_value(const struct lb_nft_element *a, const struct lb_nft_element *b);
/* All that a model means, sorted. Services that have no id get one. */
int lb_nft_everything(const struct lb_model *m, struct lb_nft_elements *all, struct lb_err *err);
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
 * service of `standing` (NULL: none) listens on the very address. */
int lb_nft_conn_forget(const struct lb_model *gone, const struct lb_model *standing,
		       struct lb_err *err);
/* Forgets what conntrack took up, untranslated, while nobody listened there: a UDP client that goes
 * on would never come to the service. */
int lb_nft_conn_forget_plain(const struct lb_model *m, struct lb_err *err);
int lb_nft_conn_usage(const struct lb_model *m, uint64_t used[LB_FAMILIES], struct lb_err *err);

#endif
