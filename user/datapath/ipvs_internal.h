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

#include "lock.h"
#include "net/ipvs.h"
#include "nft_table.h"

extern const struct lb_nft_kind lb_ipvs_kind;

struct lb_dp {
	struct lb_nft_table table;
	struct lb_lock lock;
	struct lb_ipvs ipvs;
	bool ipvs_is_open;
	uint32_t number;   /* of the instance among those here, in its marks */
	bool fresh;        /* no apply has made it yet; what there is goes with close() */
	bool has_table;    /* fresh: of one that was killed while it was made, or ours already */
	bool state_is_new; /* read when it was opened, and not used yet */
};

/*
 * Marks: a bit that says whose, the instance's number, the service's id. Ids count from 2 and have
 * the one of the two slots that is in force in their lowest bit.
 */
#define LB_IPVS_MARK        0x40000000u
#define LB_IPVS_NUMBERS     256
#define LB_IPVS_NUMBER_BIT  22
#define LB_IPVS_IDS         (1u << LB_IPVS_NUMBER_BIT)
#define LB_IPVS_FIRST_ID    2
#define LB_IPVS_OTHER(id)   ((id) ^ 1u)
#define LB_IPVS_SERVICE(id) ((id) & ~1u)
static inline uint32_t lb_ipvs_mark(const struct lb_dp *dp, uint32_t id)
{
	return LB_IPVS_MARK | dp->number << LB_IPVS_NUMBER_BIT | id;
}
static inline bool lb_ipvs_mark_is_of(uint32_t number, uint32_t mark)
{
	return mark >> LB_IPVS_NUMBER_BIT == (LB_IPVS_MARK >> LB_IPVS_NUMBER_BIT | number);
}

/* ---------------------------------------------------------------- ipvs_table.c */

/* Records of the head, beside the model's. */
enum lb_ipvs_record {
	LB_IPVS_RECORD_NUMBER = 2000000, /* the instance's, "marks NUMBER" */
	LB_IPVS_RECORD_UNDONE,           /* an apply is at work, or was killed */
	LB_IPVS_RECORD_SYSCTL,           /* and those after it: "sysctl PATH VALUE-BEFORE" */
};
const char *lb_ipvs_record(const struct lb_nft_state *s, uint32_t record); /* NULL: none */
void lb_ipvs_record_add(struct lb_nft_elements *all, uint32_t record, const char *text);
/* The number of an instance whose records these are; without a record the one of its name. */
uint32_t lb_ipvs_number_read(const struct lb_nft_elements *all, const char *instance);
/* A number that no other instance has. */
int lb_ipvs_number_choose(struct lb_dp *dp, struct lb_err *err);
/* Calls fn with the records of each other instance in this network namespace. */
int lb_ipvs_others(const struct lb_dp *dp,
		   void (*fn)(void *arg, const char *instance,
			      const struct lb_nft_elements *records),
		   void *arg, struct lb_err *err);

void lb_ipvs_text_table(struct lb_text *t, const char *table); /* table, sets, maps, rules */
void lb_ipvs_head_elements(struct lb_nft_elements *all, const struct lb_model *m);
/* A service's records, and what leads to its mark. */
void lb_ipvs_service_elements(const struct lb_dp *dp, struct lb_nft_elements *all,
			      const struct lb_service_conf *s, uint32_t id);
/* What of the table's sets, chains and rules is not as it should be. */
void lb_ipvs_frame_audit(struct lb_findings *f, const struct lb_nft_table *t);

/* ---------------------------------------------------------------- ipvs_sysctl.c */

/* Adds the records of what must be set for a model: those that there are, and what is new; m NULL:
 * those that there are. */
int lb_ipvs_sysctl_records(const struct lb_dp *dp, const struct lb_model *m,
			   struct lb_nft_elements *all, struct lb_err *err);
int lb_ipvs_sysctls_set(const struct lb_model *m, struct lb_err *err);
/* As the records say; not while another instance needs them, and where the datapath changes not
 * what goes on. */
void lb_ipvs_sysctls_restore(const struct lb_dp *dp, bool moves);
void lb_ipvs_sysctls_audit(struct lb_findings *f, const struct lb_model *m);

/* ---------------------------------------------------------------- ipvs_sync.c - virtual services
 */

/* What IPVS calls a scheduler of ours, and its flags. */
const char *lb_ipvs_scheduler(const struct lb_service_conf *s, uint32_t *flags);
/* Makes the virtual service of a service's id and family as the model says. Destinations that are
 * not the model's get no new connection; with `whole` they go. */
int lb_ipvs_sync(struct lb_dp *dp, const struct lb_service_conf *s, uint32_t id,
		 enum lb_family family, bool whole, struct lb_err *err);
/* Takes away what is not the model's at both marks of an id: of `s` NULL all. */
int lb_ipvs_prune(struct lb_dp *dp, const struct lb_service_conf *s, uint32_t id,
		  struct lb_err *err);
/* All that is at the instance's marks and not the model's; m NULL: all. */
int lb_ipvs_settle(struct lb_dp *dp, const struct lb_model *m, struct lb_err *err);
/* Names what at the instance's marks is not as the model says. */
int lb_ipvs_services_audit(struct lb_dp *dp, const struct lb_model *m, struct lb_findings *f,
			   struct lb_err *err);

/* ---------------------------------------------------------------- ipvs_commit.c */

int lb_ipvs_apply(struct lb_dp *dp, const struct lb_diff *d, lb_finding_fn fn, void *arg,
		  struct lb_err *err);
int lb_ipvs_audit(struct lb_dp *dp, const struct lb_model *m, lb_finding_fn fn, void *arg,
		  struct lb_err *err);
/* Takes all away that is the instance's: virtual services, table, sysctls. */
int lb_ipvs_unmake(struct lb_dp *dp, bool moves, struct lb_err *err);

/* ---------------------------------------------------------------- ipvs_conn.c - connections */

int lb_ipvs_conn_list(struct lb_dp *dp, const struct lb_conn_filter *f, lb_conn_fn fn, void *arg,
		      uint64_t *n, struct lb_err *err);
int lb_ipvs_conn_flush(struct lb_dp *dp, const struct lb_conn_filter *f, uint64_t *n,
		       struct lb_err *err);
int lb_ipvs_conn_usage(struct lb_dp *dp, const struct lb_model *m, uint64_t used[LB_FAMILIES],
		       struct lb_err *err);

#endif
