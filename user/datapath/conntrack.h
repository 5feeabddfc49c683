/* SPDX-License-Identifier: GPL-2.0-or-later */
/* conntrack.h - what the kernel's conntrack holds of flows that a change makes ours, or that were.
 */
#ifndef LB_CONNTRACK_H
#define LB_CONNTRACK_H

#include "core/reconcile.h"

/*
 * Forgets UDP that conntrack has taken up untranslated, to listens, families and interfaces that
 * are new in `d` (with `all` to all UDP listens): a client that sends without a pause would never
 * come to the service (nft), or get its answers from another port (ipvs). And what backends that
 * are new (or all) have said before a client asked them: it would be told to a client's port that
 * is taken by that. 0, also where conntrack cannot be asked, or -errno.
 */
int lb_conntrack_forget_new(const struct lb_diff *d, bool all, struct lb_err *err);
/*
 * Forgets what conntrack itself translates to backends that are removed by `d`, or to all of `m`:
 * of ipvs and ebpf, what an instance on nft has left, which lives on where anybody masquerades. 0,
 * also where conntrack cannot be asked (nft does not serve there), or -errno.
 */
int lb_conntrack_forget_gone(const struct lb_diff *d, struct lb_err *err);
int lb_conntrack_forget_all(const struct lb_model *m, struct lb_err *err);

#endif
