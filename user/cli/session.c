// SPDX-License-Identifier: GPL-2.0-or-later
/* session.c - an instance that is open, and the model that was read from it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "pending.h"
#include "text.h"

int lb_session_read(struct lb_session *s, struct lb_err *err)
{
	lb_model_free(&s->model);
	return s->ops->read(s->dp, &s->model, err);
}

int lb_session_open_on(struct lb_session *s, const struct lb_dp_ops *ops, const char *instance,
		       enum lb_access access, bool force, struct lb_err *err)
{
	struct lb_dp_options opt = {
		.instance = instance,
		.write = access == LB_WRITE,
		.parts = access == LB_READ_PARTS,
		.force = force,
	};
	int ret;

	*s = (struct lb_session){.ops = ops};
	ret = s->ops->open(&s->dp, &opt, err);
	if (!ret)
		ret = lb_session_read(s, err);
	s->part = ret && s->dp; /* good for down() alone */
	if (ret)
		lb_session_close(s);
	return ret;
}

static int open_any(struct lb_session *s, const char *instance, enum lb_access access, bool force,
		    struct lb_err *err)
{
	struct lb_err one;
	int first = 0;

	/* After a change of datapath that was interrupted there may be two: the first serves. */
	for (size_t i = 0; lb_datapaths_met[i]; i++) {
		int ret = lb_session_open_on(s, lb_datapaths_met[i], instance, access, force, &one);

		if (!ret)
			return 0;
		if (first && (first != -ENOENT || (ret == -ENOENT && !s->part)))
			continue;
		first = ret;
		*err = one;
	}
	return first;
}

int lb_session_open(struct lb_session *s, const char *instance, enum lb_access access, bool force,
		    struct lb_err *err)
{
	int ret = open_any(s, instance, access, force, err);

	/* While we waited for one's lock it may have gone to another, where we had looked before.
	 */
	if (ret == -ENOENT && access == LB_WRITE)
		ret = open_any(s, instance, access, force, err);
	return ret;
}

/* Who has not confirmed a first apply looks for it in vain. */
static void say_undone(const char *instance)
{
	struct lb_pending p;
	struct lb_err ignored;
	char at[LB_TEXT_MAX];

	if (!lb_pending_read(instance, &p, &ignored) && p.state == LB_PENDING_UNDONE)
		lb_info("instance \"%s\": the last change was not confirmed until %s, and has been "
			"undone",
			instance, lb_time_str(at, p.deadline));
}

int lb_session_start(struct lb_session *s, const struct lb_cli *cli, enum lb_access access)
{
	struct lb_err err;
	int ret = lb_session_open(s, cli->instance, access, false, &err);

	if (ret)
		lb_error("%s", err.text);
	if (ret == -ENOENT)
		say_undone(cli->instance);
	return ret;
}

void lb_session_release(struct lb_session *s)
{
	if (s->dp)
		s->ops->close(s->dp);
	s->dp = NULL;
}

void lb_session_close(struct lb_session *s)
{
	lb_model_free(&s->model);
	lb_session_release(s);
}

#define LB_LISTED_MAX 20 /* names in an error: who has more of them knows where to look */

static void list_names(char *buf, size_t size, const struct lb_texts *names)
{
	size_t len = 0;

	snprintf(buf, size, "there is none");
	for (size_t i = 0; i < names->n && len < size; i++) {
		if (i == LB_LISTED_MAX) {
			snprintf(buf + len, size - len, " and %zu more", names->n - i);
			break;
		}
		len += snprintf(buf + len, size - len, "%s%s",
				i ? ", " : "there are: ", names->list[i]);
	}
}

struct lb_service_conf *lb_need_service(const struct lb_model *m, const char *name)
{
	struct lb_service_conf *s = lb_model_find_service(m, name);
	struct lb_texts names = {};
	char list[800];

	if (s)
		return s;
	for (size_t i = 0; i < m->n_services; i++)
		lb_texts_add(&names, "%s", m->services[i].name);
	list_names(list, sizeof(list), &names);
	lb_error("service \"%s\": no such service; %s", name, list);
	lb_texts_free(&names);
	return NULL;
}

struct lb_backend_conf *lb_need_backend(const struct lb_service_conf *s, const char *text)
{
	char list[800], buf[LB_ENDPOINT_STRLEN];
	struct lb_backend_conf *b;
	struct lb_texts names = {};
	struct lb_endpoint at;
	const char *why;

	if (lb_endpoint_parse(&at, text, &why)) {
		lb_error("backend \"%s\": %s", text, why);
		return NULL;
	}
	b = lb_service_find_backend(s, &at);
	if (b)
		return b;
	for (size_t i = 0; i < s->n_backends; i++)
		lb_texts_add(&names, "%s", lb_endpoint_str(buf, &s->backends[i].at));
	list_names(list, sizeof(list), &names);
	lb_error("backend \"%s\": service \"%s\" has no such backend; %s", text, s->name, list);
	lb_texts_free(&names);
	return NULL;
}
