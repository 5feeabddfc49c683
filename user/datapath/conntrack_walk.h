/* SPDX-License-Identifier: GPL-2.0-or-later */
/* conntrack_walk.h - goes through the entries of the kernel's conntrack that are of pairs of a
 * listen and a backend: counts, tells or forgets them. */
#ifndef LB_CONNTRACK_WALK_H
#define LB_CONNTRACK_WALK_H

#include "datapath.h"
#include "net/nl.h"
#include "pairs.h"

struct nfct_handle;

struct lb_ct_walk {
	const struct lb_conn_filter *f; /* NULL: all */
	uint32_t service;
	struct lb_pairs pairs;
	struct lb_pairs exact;    /* a listen's that goes before `*`: it may as well be of that */
	struct lb_pairs standing; /* whosever it was: it is none of those that are looked for */
	bool plain;               /* looks for untranslated UDP, to any listen in `pairs`, */
	struct lb_pairs senders;  /* or by one of these */
	struct lb_nl nl;          /* of `plain`, for routes */
	lb_conn_fn fn;
	void *arg;
	struct nfct_handle *flush; /* NULL: only looked at */
	uint64_t n[LB_FAMILIES];
	int failed;
};

/* Can it be asked, of which nft makes use? Else err names the module; `datapath`: whose probe. */
int lb_conntrack_probe(const char *datapath, struct lb_err *err);
/* Ends w, also if `ret`, of gathering its pairs, says that this has failed. 0 or -errno. */
int lb_ct_walk(struct lb_ct_walk *w, int ret, bool flush, struct lb_err *err);
/* Of the model's pairs, and those that w has already. */
int lb_ct_walk_model(const struct lb_model *m, struct lb_ct_walk *w, bool flush,
		     struct lb_err *err);

#endif
