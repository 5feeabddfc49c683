// SPDX-License-Identifier: GPL-2.0-or-later
/* preflight_listens.c - who has a listen already, and would get no more connections by it. */
#include <errno.h>
#include <stdio.h>

#include "net/ipvs.h"
#include "net/sock.h"
#include "preflight.h"

/* Of `*` in one family: the listen of that one. */
static struct lb_listen narrowed(const struct lb_wanted_listen *w)
{
	struct lb_listen l = *w->listen;

	if (l.any != LB_ANY_BOTH || (w->in[LB_V4] && w->in[LB_V6]))
		return l;
	l.any = LB_ANY_ONE;
	l.at.family = w->in[LB_V4] ? LB_V4 : LB_V6;
	return l;
}

/* A local program: of a `*` port, for at an address it may wait on another one. */
static int program_check(const struct lb_listeners *programs, const struct lb_wanted_listen *w,
			 const char *file, struct lb_err *err)
{
	const struct lb_listen *l = w->listen, narrow = narrowed(w);
	const struct lb_listener *taken = lb_listeners_find(programs, &narrow);
	char text[LB_ENDPOINT_STRLEN], name[64], who[128] = "";
	pid_t pid;

	if (!taken)
		return 0;
	pid = lb_listener_owner(taken, name, sizeof(name));
	if (pid)
		snprintf(who, sizeof(who), " (%s, pid %d)", name, pid);
	return lb_err_set(
		err, EADDRINUSE,
		"%s:%d: listen: \"%s\": a local program listens there%s, and would get no "
		"more connections: use --force or another port",
		file, l->line, lb_listen_str(text, l), who);
}

/* Whichever datapath: IPVS sees packets last, and marks before addresses. */
static int virtual_service_check(const struct lb_ipvs_services *foreign,
				 const struct lb_wanted_listen *w, const char *file,
				 struct lb_err *err)
{
	const struct lb_listen *l = w->listen, narrow = narrowed(w);
	char text[LB_ENDPOINT_STRLEN], at[LB_ENDPOINT_STRLEN];

	for (size_t i = 0; i < foreign->n; i++)
		if (lb_ipvs_service_meets(&foreign->list[i], &narrow) &&
		    (foreign->list[i].own || !l->any))
			return lb_err_set(err, EADDRINUSE,
					  "%s:%d: listen: \"%s\": a virtual service of IPVS that "
					  "meshlb has not made is at %s, and would get no more "
					  "connections: use --force or another port",
					  file, l->line, lb_listen_str(text, l),
					  lb_endpoint_str(at, &foreign->list[i].at));
	return 0;
}

static int programs_check(const struct lb_wanted_listen *l, size_t n, const char *file,
			  struct lb_err *err)
{
	struct lb_listeners programs = {};
	bool have_read = false;
	int ret = 0;

	for (size_t i = 0; i < n && !ret; i++) {
		if (l[i].listen->any == LB_ANY_NOT)
			continue;
		if (!have_read) /* most applies add no `*` port, and some hosts have many sockets */
			ret = lb_listeners_read(&programs);
		have_read = true;
		ret = ret ? lb_err_sys(err, -ret, "reading the listening sockets (/proc/net)")
			  : program_check(&programs, &l[i], file, err);
	}
	lb_listeners_free(&programs);
	return ret;
}

static int virtual_services_check(const struct lb_wanted_listen *l, size_t n, const char *file,
				  struct lb_err *err)
{
	struct lb_ipvs_services foreign;
	int ret = lb_ipvs_foreign_read(&foreign);

	if (ret)
		return lb_err_sys(err, -ret, "listing the virtual services of IPVS");
	for (size_t i = 0; i < n && !ret; i++)
		ret = virtual_service_check(&foreign, &l[i], file, err);
	lb_ipvs_services_free(&foreign);
	return ret;
}

int lb_preflight_listens(const struct lb_wanted_listen *l, size_t n, const char *file,
			 struct lb_err *err)
{
	int ret = programs_check(l, n, file, err);

	return ret || !n ? ret : virtual_services_check(l, n, file, err);
}
