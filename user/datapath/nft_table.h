/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nft_table.h - a table of nftables that holds an instance: a model as records, sets and maps as
 * lists of elements, changed by one transaction. For the datapaths that have one; it knows none.
 */
#ifndef LB_NFT_TABLE_H
#define LB_NFT_TABLE_H

#include <nftables/libnftables.h>

#include "datapath.h"

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

#define LB_NFT_SET_MODEL      "model"       /* records, see nft_model.c */
#define LB_NFT_SET_INTERFACES "interfaces"  /* by which clients come in */
#define LB_NFT_MODEL_TYPE     "mark . mark" /* of its keys */
#define LB_NFT_KEY_MAGIC      "0 . 0"       /* of records: whose table it is, and its layout */
#define LB_NFT_KEY_RULES      "0 . 1000000" /* the hash of the rules as apply has made them */
#define LB_NFT_GONE_ID        1000000000u /* services' ids are below, those of gone backends above */
#define LB_NFT_RULE_REDIRECT  "redirect"  /* and 4 or 6: those of chain output */

/* lb_model_pairs() of more, and an apply that has something else to do does not look at each: 0.3 s
 * for 10,000. */
#define LB_LOOK_AT_ALL 1000

/* Names what is not as wanted: missing, another value, or nobody's. */
void lb_nft_elements_audit(struct lb_findings *f, const struct lb_nft_elements *wanted,
			   const struct lb_nft_elements *is);

struct lb_text { /* grows */
	char *s;
	size_t len, room;
	bool no_memory;
};
void lb_text_add(struct lb_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Commands for the elements that are in `a` and not, or otherwise, in `b`. Both are sorted. */
void lb_nft_text_elements(struct lb_text *t, const char *table, const struct lb_nft_elements *a,
			  const struct lb_nft_elements *b, bool add);

/* ---------------------------------------------------------------- nft_model.c */

void lb_nft_record_add(struct lb_nft_elements *all, uint32_t id, uint32_t n, const char *text);
/* Of all but the services: records, and the set `interfaces`. */
void lb_nft_head_elements(struct lb_nft_elements *all, const struct lb_model *m, const char *magic);
/* `gone`: of removed backends, whose connections are still to be forgotten. */
void lb_nft_service_records(struct lb_nft_elements *all, const struct lb_service_conf *s,
			    uint32_t id, bool gone);
/* Backwards. Records that cannot be understood are left out: audit() names them. */
int lb_nft_model_read(const struct lb_nft_elements *all, bool gone, struct lb_model *m,
		      struct lb_err *err);

/* Can nftables write down its name? Else why not. */
const char *lb_nft_interface_why_not(const struct lb_interface_conf *i);

/* ---------------------------------------------------------------- nft_read.c - what is there */

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
	uint32_t model_key; /* type of the keys of set `model`, in nft's numbers; 0: no such set */
	struct lb_nft_chain *chains;
	size_t n_chains;
	struct lb_nft_rule *rules; /* in order */
	size_t n_rules;
	uint64_t rules_hash; /* of all that they consist of */
	uint32_t flags;      /* NFT_TABLE_F_* */
};

/* Into *s, of a table `inet`: sets, chains, rules, not elements. What *s was is freed. 0 or -errno.
 */
int lb_nft_state_read(const char *table, struct lb_nft_state **s);
void lb_nft_state_free(struct lb_nft_state *s);
bool lb_nft_state_has_set(const struct lb_nft_state *s, const char *name);
/* The number of nftables' state in this network namespace: another one after each change. */
uint32_t lb_nft_generation(void);
/* Has it, whosever it is, one of n chains? `family` is NFPROTO_*. False also where that cannot be
 * told. */
bool lb_nft_has_chain(uint8_t family, const char *table, const char *const *chains, size_t n);
/* Is one of them in table "filter", at a hook, and not as iptables-nft makes its own? Of such a one
 * iptables-nft-save says "ACCEPT". */
bool lb_nft_filter_is_others(uint8_t family, const char *const *chains, size_t n);

/* A chain of whoever that drops at a hook (NF_INET_*) what none of its rules accepts, by its policy
 * or a last rule; iptables-nft's own in "filter" apart. *list is to be freed. */
struct lb_nft_drop {
	uint8_t family;            /* NFPROTO_* */
	char table[64], chain[64]; /* cut if longer */
	bool drops;
	bool passes_dnat; /* by conntrack's state, as firewalld does */
};
int lb_nft_drops(uint32_t hook, struct lb_nft_drop **list, size_t *n);

/* What the bytes of a set's elements are: the fields of its keys and of its data. */
#define LB_NFT_FIELDS_MAX 6
enum lb_nft_field {
	LB_NFT_FIELD_END,
	LB_NFT_FIELD_NUMBER, /* host byte order */
	LB_NFT_FIELD_NAME,
	LB_NFT_FIELD_V4,
	LB_NFT_FIELD_V6,
	LB_NFT_FIELD_PROTO,
	LB_NFT_FIELD_PORT
};
struct lb_nft_format {
	uint8_t key[LB_NFT_FIELDS_MAX], data[LB_NFT_FIELDS_MAX]; /* enum lb_nft_field */
};

/* ---------------------------------------------------------------- nft_table.c */

/* A kind of tables: `inet <prefix><instance>`. */
struct lb_nft_kind {
	const char *prefix;
	const char *magic;   /* its first record: what it is, and its layout's version */
	unsigned int oldest; /* version that is still read; an apply makes it anew */
	/* Of the sets that are its own; false: it makes no such set. */
	bool (*format)(const char *set, struct lb_nft_format *f);
};
struct lb_nft_table {
	const struct lb_nft_kind *kind;
	char instance[LB_INSTANCE_MAX + 1];
	char name[LB_INSTANCE_MAX + 16];
	struct nft_ctx *nft;
	struct lb_nft_state *state; /* as last read; NULL: not yet */
};
int lb_nft_table_init(struct lb_nft_table *t, const struct lb_nft_kind *kind, const char *instance,
		      struct lb_err *err);
void lb_nft_table_fini(struct lb_nft_table *t);

/* Runs commands, all or none of them. */
int lb_nft_run(struct lb_nft_table *t, const char *commands, const char *doing, struct lb_err *err);
/* Into t->state: the set `model`; with it names of sets, chains and rules; or all. -ENOENT where
 * there is no such table, -EEXIST where it is not ours. */
enum lb_nft_part { LB_NFT_MODEL, LB_NFT_FRAME, LB_NFT_ALL };
int lb_nft_list(struct lb_nft_table *t, enum lb_nft_part part, struct lb_err *err);
/* The frame, and the elements that were read before: of a writer, whom nobody disturbs. */
int lb_nft_frame(struct lb_nft_table *t, struct lb_err *err);
/* Has somebody emptied the set `model`? It is warned of once, where an instance is opened. */
#define LB_NFT_MODEL_LOST "set \"" LB_NFT_SET_MODEL "\" is empty"
bool lb_nft_model_is_lost(const struct lb_nft_table *t);
void lb_nft_model_warn(const struct lb_nft_table *t);
bool lb_nft_table_is_there(const struct lb_nft_table *t); /* also where that cannot be told */
/* Calls fn with the instance of each table of that kind. */
int lb_nft_tables(const struct lb_nft_kind *kind, void (*fn)(void *arg, const char *instance),
		  void *arg, struct lb_err *err);

/* May this process ask nftables for anything? Else -EPERM: what libnftables says of that goes to
 * standard error. */
int lb_nft_permitted(const char *datapath, struct lb_err *err);
/* Can this host do it? Makes what fn writes in a table that is gone in the same transaction. */
int lb_nft_probe(const char *datapath, void (*fn)(struct lb_text *t, const char *table),
		 struct lb_err *err);

/* What a status says first, and the model that is there. */
int lb_nft_status(struct lb_nft_table *t, enum lb_nft_part part, const char *datapath,
		  struct lb_dp_status *s, struct lb_model *m, struct lb_err *err);

/* ---------------------------------------------------------------- nft_frame.c */

const struct lb_nft_chain *lb_nft_chain_find(const struct lb_nft_state *s, const char *name);
/* Are the chains there, as they should be, no others, and is the table in force? */
void lb_nft_chains_audit(struct lb_findings *f, const struct lb_nft_state *s,
			 const struct lb_nft_chain *chains, size_t n);
/*
 * The rules of chain `output`: no ICMP redirects (RFC 792, RFC 4861, 8) by the clients' interfaces.
 * A backend in the client's own network would be told to send to the client directly, where its
 * answers are not translated; the kernel has no switch for those of IPv6.
 */
void lb_nft_text_output(struct lb_text *t, const char *table);
/* Leaves in the table by what verify tells that a rule is another than apply has made. */
int lb_nft_rules_note(struct lb_nft_table *t, struct lb_err *err);
bool lb_nft_rules_are_noted(const struct lb_nft_table *t); /* as they are */

/* ---------------------------------------------------------------- nft_elems.c */

/* Adds the elements of a set; of one that we do not make none. -ENOENT: there is no such set. */
int lb_nft_set_read(const struct lb_nft_table *t, const char *set, struct lb_nft_elements *all,
		    struct lb_err *err);

#endif
