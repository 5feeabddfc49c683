// SPDX-License-Identifier: GPL-2.0-or-later
/* drain.c - `meshlb backend drain --wait`: until nobody is connected to a backend any more. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "drain.h"
#include "text.h"

#define LOOK_EVERY 500 /* milliseconds */

/* What has been closed from both sides, or reset, is kept for late packets alone. The same number
 * as `active` of `service show`. */
static void count_open(void *arg, const struct lb_conn *c)
{
	uint64_t *n = arg;

	*n += lb_conn_is_active(c);
}

/*
 * The instance may be another one each time: applied, upgraded, moved to another datapath. With
 * LB_WRITE those that seem to be reset are forgotten, which are not waited for: whoever takes the
 * replica down then must not leave them behind, for SYNs by their clients' ports would go there,
 * and nobody would answer.
 */
static int look(struct lb_drain *d, enum lb_access access, bool *doubts, struct lb_err *err)
{
	struct lb_conn_filter filter = {
		.service = d->service, .by_backend = true, .backend = d->backend};
	char at[LB_ENDPOINT_STRLEN];
	const struct lb_service_conf *s;
	const struct lb_backend_conf *b;
	struct lb_session session;
	uint64_t all;
	int ret = lb_session_open(&session, d->instance, access, false, err);

	if (ret)
		return ret;
	d->left = 0;
	*doubts = session.ops->keeps_connections;
	s = lb_model_find_service(&session.model, d->service);
	b = s ? lb_service_find_backend(s, &d->backend) : NULL;
	d->removed = !b;
	if (b && lb_backend_weight(b))
		ret = lb_err_set(err, ECANCELED,
				 "service \"%s\", backend %s: it is not drained any more: its "
				 "weight is %u",
				 d->service, lb_endpoint_str(at, &d->backend),
				 lb_backend_weight(b));
	filter.doubtful = true;
	if (b && !ret && access == LB_WRITE)
		ret = session.ops->conn_flush(session.dp, &filter, &all, err);
	filter.doubtful = false;
	if (b && !ret)
		ret = session.ops->conn_list(session.dp, &filter, count_open, &d->left, &all, err);
	lb_session_close(&session);
	return ret;
}

static void show(const struct lb_drain *d, uint64_t before)
{
	bool terminal = isatty(STDERR_FILENO);
	char at[LB_ENDPOINT_STRLEN], waited[LB_TEXT_MAX];

	if (lb_log_quiet || (!terminal && d->left == before))
		return;
	fprintf(stderr, "%sservice \"%s\", backend %s: ", terminal ? "\r\033[K" : "", d->service,
		lb_endpoint_str(at, &d->backend));
	if (d->removed)
		fputs("it was removed meanwhile\n", stderr);
	else
		fprintf(stderr, "%" PRIu64 " connection%s left after %s%s", d->left,
			d->left == 1 ? "" : "s", lb_duration_str(waited, d->waited),
			terminal && d->left ? "" : "\n");
	fflush(stderr);
}

int lb_drain_wait(struct lb_drain *d, struct lb_err *err)
{
	const struct timespec pause = {.tv_nsec = LOOK_EVERY * 1000000L};
	char at[LB_ENDPOINT_STRLEN], text[LB_TEXT_MAX];
	uint64_t before = UINT64_MAX;
	struct timespec begin, now;
	bool doubts;
	int ret;

	clock_gettime(CLOCK_BOOTTIME, &begin);
	for (;;) {
		ret = look(d, LB_READ, &doubts, err);
		if (!ret && !d->left && doubts)
			ret = look(d, LB_WRITE, &doubts, err);
		clock_gettime(CLOCK_BOOTTIME, &now);
		d->waited = now.tv_sec - begin.tv_sec - (now.tv_nsec < begin.tv_nsec);
		if (!ret)
			show(d, before);
		if (ret || !d->left || (d->timeout && d->waited >= d->timeout))
			break;
		before = d->left;
		nanosleep(&pause, NULL);
	}
	if (!lb_log_quiet && isatty(STDERR_FILENO) && (ret || d->left))
		fputc('\n', stderr);
	if (ret || !d->left)
		return ret;
	return lb_err_set(err, ETIMEDOUT,
			  "service \"%s\", backend %s: after %s it has %" PRIu64
			  " connection%s still; it stays drained",
			  d->service, lb_endpoint_str(at, &d->backend),
			  lb_duration_str(text, d->waited), d->left, d->left == 1 ? "" : "s");
}
