// SPDX-License-Identifier: GPL-2.0-or-later
/* conntrack.c - forgets what conntrack holds of flows that a change makes ours, or that were. */
#include <errno.h>

#include "conntrack.h"
#include "conntrack_walk.h"

/* What a `*` listen has no backend for passes to the host. */
static bool has_new_family(const struct lb_service_conf *from, const struct lb_service_conf *to)
{
	for (int family = 0; family < LB_FAMILIES; family++)
		if (lb_service_has_family(to, family) &&
		    !(from && lb_service_has_family(from, family)))
			return true;
	return false;
}

static bool has_new_udp(const struct lb_service_conf *from, const struct lb_service_conf *to)
{
	bool all = to && has_new_family(from, to);

	for (size_t i = 0; to && i < to->n_listens; i++)
		if (to->listens[i].proto == LB_UDP &&
		    (all || !from || !lb_service_has_listen(from, &to->listens[i])))
			return true;
	return false;
}

static bool has_udp(const struct lb_service_conf *s)
{
	for (size_t i = 0; i < s->n_listens; i++)
		if (s->listens[i].proto == LB_UDP)
			return true;
	return false;
}

/* Backends that `from` (or NULL) has not. */
static int senders_add(struct lb_ct_walk *w, const struct lb_service_conf *from,
		       const struct lb_service_conf *s)
{
	int ret = 0;

	for (size_t b = 0; has_udp(s) && b < s->n_backends && !ret; b++) {
		const struct lb_listen as = {.at = s->backends[b].at, .proto = LB_UDP};

		if (!from || !lb_service_find_backend(from, &as.at))
			ret = lb_pairs_add_listen(&w->senders, &as, as.at.family);
	}
	return ret;
}

static int plain_add(struct lb_ct_walk *w, const struct lb_service_conf *s)
{
	int ret = 0;

	for (size_t k = 0; k < 2 * s->n_listens && !ret; k++) {
		const struct lb_listen *l = &s->listens[k / 2];

		if (l->proto == LB_UDP && lb_listen_in(l, k % 2))
			ret = lb_pairs_add_listen(&w->pairs, l, k % 2);
	}
	return ret;
}

/* Where conntrack does not tell nft does not serve, so there is nothing of its to forget. */
static int told(int ret)
{
	return ret == -EOPNOTSUPP ? 0 : ret;
}

int lb_conntrack_forget_new(const struct lb_diff *d, bool all, struct lb_err *err)
{
	const struct lb_model *m = d->desired;
	struct lb_ct_walk w = {.plain = true};
	int ret = 0;

	for (size_t i = 0; i < d->n; i++)
		all |= d->changes[i].kind == LB_CHANGE_INTERFACE && !d->changes[i].ifrom;
	for (size_t i = 0; all && i < m->n_services && !ret; i++) {
		ret = plain_add(&w, &m->services[i]);
		ret = ret ? ret : senders_add(&w, NULL, &m->services[i]);
	}
	for (size_t i = 0; !all && i < d->n && !ret; i++) {
		const struct lb_service_conf *from = d->changes[i].from, *to = d->changes[i].to;

		if (d->changes[i].kind != LB_CHANGE_SERVICE || !to)
			continue;
		if (has_new_udp(from, to))
			ret = plain_add(&w, to);
		ret = ret ? ret : senders_add(&w, from, to);
	}
	return told(lb_ct_walk(&w, ret, true, err));
}

static int gone_add(struct lb_pairs *pairs, const struct lb_service_conf *from,
		    const struct lb_service_conf *to)
{
	int ret = 0;

	for (size_t b = 0; b < from->n_backends; b++)
		for (size_t l = 0; l < from->n_listens && !ret; l++)
			if (!to || !lb_service_find_backend(to, &from->backends[b].at))
				ret = lb_pairs_add(pairs, from, &from->listens[l],
						   &from->backends[b]);
	return ret;
}

int lb_conntrack_forget_gone(const struct lb_diff *d, struct lb_err *err)
{
	struct lb_ct_walk w = {};
	int ret = 0;

	for (size_t i = 0; i < d->n && !ret; i++)
		if (d->changes[i].kind == LB_CHANGE_SERVICE && d->changes[i].from)
			ret = gone_add(&w.pairs, d->changes[i].from, d->changes[i].to);
	return told(lb_ct_walk(&w, ret, true, err));
}

int lb_conntrack_forget_all(const struct lb_model *m, struct lb_err *err)
{
	struct lb_ct_walk w = {};

	return told(lb_ct_walk_model(m, &w, true, err));
}
