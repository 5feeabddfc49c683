/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ipvs_internal.h - what the files of the ipvs datapath share. Nobody outside of
 * user/datapath/ipvs*.c includes it.
 *
 * An instance is a table `inet meshlb-ipvs_<instance>` of nftables, which gives packets to its
 * listens a firewall mark, and IPVS's virtual services of those marks. A service has two marks, of
 * which one is in force: a change is made at the other one, where no new connection comes, and the
 * table's transaction that leads there makes all of it true at once.
 */
#ifndef LB_IPVS_INTERNAL_H
#define LB_IPVS_INTERNAL_H

#include "firewall.h"
#include "lock.h"
#include "net/ipvs.h"
#include "nft_table.h"

extern const struct lb_nft_kind lb_ipvs_kind;

struct lb_dp {
	struct lb_nft_table table;
	struct lb_lock lock;
	struct lb_ipvs ipvs;
	bool ipvs_is_open;
	uint32_t number;       /* of the instance among those here, in its marks */
	size_t sysctls_before; /* how many were noted before this apply */
	bool fresh;            /* no apply has made it yet; what there is goes with close() */
	bool has_table;        /* also of an apply that was killed while it made it */
	bool registered;       /* by this handle */
	bool was_registered;   /* before that */
	bool state_is_new;     /* read when it was opened, and not used yet */
};

/*
 * Marks: a bit that says whose, the instance's number, the service's id. Ids count from 2 and have
 * the one of the two slots that is in force in their lowest bit.
 */
#define LB_IPVS_MARK        0x40000000u
#define LB_IPVS_NUMBERS     255 /* and one more, for probes */
#define LB_IPVS_NUMBER_BIT  22
#define LB_IPVS_IDS         (1u << LB_IPVS_NUMBER_BIT)
#define LB_IPVS_FIRST_ID    2
#define LB_IPVS_OTHER(id)   ((id) ^ 1u)
#define LB_IPVS_SERVICE(id) ((id) & ~1u)
#define LB_IPVS_ANSWER_MARK "0x80000000" /* a bit of answers' marks, in nobody's of the above */
static inline uint32_t lb_ipvs_mark(const struct lb_dp *dp, uint32_t id)
{
	return LB_IPVS_MARK | dp->number << LB_IPVS_NUMBER_BIT | id;
}
static inline bool lb_ipvs_mark_is_of(uint32_t number, uint32_t mark)
{
	return mark >> LB_IPVS_NUMBER_BIT == (LB_IPVS_MARK >> LB_IPVS_NUMBER_BIT | number);
}

/* ---------------------------------------------------------------- ipvs_probe.c */

int lb_ipvs_probe(struct lb_err *err);
void lb_ipvs_capabilities(lb_capability_fn fn, void *arg);
/* In words that follow a service's name; NULL: the scheduler's module is there, or it cannot be
 * told. */
const char *lb_ipvs_lacks_scheduler(const char *name);
int lb_ipvs_connect(struct lb_ipvs *v, struct lb_err *err);

/* ---------------------------------------------------------------- ipvs_table.c */

/* Records of the head, beside the model's. */
enum lb_ipvs_record {
	LB_IPVS_RECORD_NUMBER = 2000000, /* the instance's, "marks NUMBER" */
	LB_IPVS_RECORD_UNDONE,           /* an apply is at work, or was killed */
	LB_IPVS_RECORD_NEW,              /* and it was the one that makes the instance */
};
const char *lb_ipvs_record(const struct lb_nft_state *s, uint32_t record); /* NULL: none */
/* The number of an instance whose records these are; without a record the one of its name. */
uint32_t lb_ipvs_number_read(const struct lb_nft_elements *all, const char *instance);
uint32_t lb_ipvs_number_of_name(const char *instance);

void lb_ipvs_text_table(struct lb_text *t, const struct lb_dp *dp); /* table, sets, maps, rules */
/* The chain that masquerades, which is there where a service wants it. */
bool lb_ipvs_has_masq(const struct lb_model *m);
void lb_ipvs_text_masq(struct lb_text *t, const char *table);
/* A service's records, and what leads to its mark. */
void lb_ipvs_service_elements(const struct lb_dp *dp, struct lb_nft_elements *all,
			      const struct lb_service_conf *s, uint32_t id);
void lb_ipvs_backends_elements(struct lb_nft_elements *all, const struct lb_model *m);
#define LB_IPVS_RULE_LEN 96
/* How its packets get through iptables; its own rule lies in `rule`. */
struct lb_firewall lb_ipvs_firewall(const struct lb_dp *dp, char rule[LB_IPVS_RULE_LEN]);
/* What of the table's sets, chains and rules is not as it should be. */
void lb_ipvs_frame_audit(struct lb_findings *f, const struct lb_nft_table *t,
			 const struct lb_model *m);

/* ---------------------------------------------------------------- ipvs_host.c */

#define LB_IPVS_SYSCTLS 4
extern const char *const lb_ipvs_sysctls[LB_IPVS_SYSCTLS]; /* below /proc/sys: they are to be 1 */
/* Notes the instance, its number (which a new one gets here), and what sysctls were before; then
 * sets those that the model needs. undo: those that are new to it. */
int lb_ipvs_register(struct lb_dp *dp, const struct lb_model *m, struct lb_err *err);
void lb_ipvs_register_undo(struct lb_dp *dp);
/* Removes its virtual services, and the note; the last one restores the sysctls. */
int lb_ipvs_unregister(struct lb_dp *dp, struct lb_err *err);
/* With its number in dp. Also without a table: another datapath has it, or somebody took it away.
 */
bool lb_ipvs_is_registered(struct lb_dp *dp);
void lb_ipvs_note_audit(struct lb_findings *f, const struct lb_dp *dp);
/* May those that it needs be set, where they are not yet? */
int lb_ipvs_sysctls_probe(const struct lb_model *m, struct lb_err *err);
void lb_ipvs_sysctls_audit(struct lb_findings *f, const struct lb_model *m);
/* Calls fn while nobody else in this network namespace registers or calls this. */
int lb_ipvs_alone(int (*fn)(void *arg, struct lb_err *err), void *arg, struct lb_err *err);

/* ---------------------------------------------------------------- ipvs_sync.c - virtual services
 */

/* What IPVS calls a scheduler of ours, and its flags. */
const char *lb_ipvs_scheduler(const struct lb_service_conf *s, uint32_t *flags);
/* The weights of a service's backends of a family as IPVS gets them, in their order. -E2BIG: they
 * are more than its scheduler has room for. */
int lb_ipvs_weights(const struct lb_service_conf *s, enum lb_family family, uint32_t *weights);
const char *lb_ipvs_service_why_not(const struct lb_service_conf *s); /* NULL: it has room */
const char *lb_ipvs_scheduler_why_not(unsigned int scheduler);
/* Makes the virtual service of a service's id and family as the model says. Destinations that are
 * not the model's get no new connection. */
int lb_ipvs_sync(struct lb_dp *dp, const struct lb_service_conf *s, uint32_t id,
		 enum lb_family family, struct lb_err *err);
/* Takes away what is not the model's at both marks of an id: of `s` NULL all. */
int lb_ipvs_prune(struct lb_dp *dp, const struct lb_service_conf *s, uint32_t id,
		  struct lb_err *err);
/* All that is at the instance's marks and not the model's; m NULL: all. */
int lb_ipvs_settle(struct lb_dp *dp, const struct lb_model *m, struct lb_err *err);
/* Is anything at the instance's marks? */
bool lb_ipvs_has_services(struct lb_dp *dp);
/* Names what at the instance's marks is not as the model says; with or without a look at each
 * destination. */
int lb_ipvs_services_audit(struct lb_dp *dp, const struct lb_model *m, bool dests,
			   struct lb_findings *f, struct lb_err *err);

/* ---------------------------------------------------------------- ipvs_commit.c */

int lb_ipvs_apply(struct lb_dp *dp, const struct lb_diff *d, lb_finding_fn fn, void *arg,
		  struct lb_err *err);
int lb_ipvs_audit(struct lb_dp *dp, const struct lb_model *m, lb_finding_fn fn, void *arg,
		  struct lb_err *err);
/* Takes all away that is the instance's; the note and the sysctls stay if it `moves`. */
int lb_ipvs_unmake(struct lb_dp *dp, bool moves, struct lb_err *err);

/* ---------------------------------------------------------------- ipvs_conn.c - connections */

int lb_ipvs_conn_list(struct lb_dp *dp, const struct lb_conn_filter *f, lb_conn_fn fn, void *arg,
		      uint64_t *n, struct lb_err *err);
int lb_ipvs_conn_flush(struct lb_dp *dp, const struct lb_conn_filter *f, uint64_t *n,
		       struct lb_err *err);
int lb_ipvs_conn_usage(struct lb_dp *dp, const struct lb_model *m, uint64_t used[LB_FAMILIES],
		       struct lb_err *err);

#endif
