// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_reconcile.c - a diff applied to one model gives the other, says nothing of equal models, and
 * is refused where another source or the limits forbid it.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/reconcile.h"

/* ---------------------------------------------------------------------------- making models */

static struct lb_service_conf *add_service(struct lb_model *m, const char *name,
					   enum lb_source source)
{
	struct lb_service_conf *s = lb_model_add_service(m);

	assert_non_null(s);
	snprintf(s->name, sizeof(s->name), "%s", name);
	s->source = (uint8_t)source;
	s->scheduler = LB_SCHED_RR;
	s->maglev_size = LB_MAGLEV_SIZE_DEFAULT;
	return s;
}

static void add_listen(struct lb_service_conf *s, const char *text)
{
	struct lb_listen *l = lb_service_add_listen(s), parsed;
	const char *why;

	assert_non_null(l);
	assert_int_equal(lb_listen_parse(&parsed, text, &why), 0);
	*l = parsed;
}

static struct lb_backend_conf *add_backend(struct lb_service_conf *s, const char *text,
					   uint32_t weight)
{
	struct lb_backend_conf *b = lb_service_add_backend(s);
	struct lb_endpoint at;
	const char *why;

	assert_non_null(b);
	assert_int_equal(lb_endpoint_parse(&at, text, &why), 0);
	b->at = at;
	b->weight = weight;
	return b;
}

static void add_interface(struct lb_model *m, const char *name, enum lb_hook_kind hook)
{
	struct lb_interface_conf *i = lb_model_add_interface(m);

	assert_non_null(i);
	snprintf(i->name, sizeof(i->name), "%s", name);
	i->hook = (uint8_t)hook;
}

static struct lb_service_conf *service(struct lb_model *m, const char *name)
{
	struct lb_service_conf *s = lb_model_find_service(m, name);

	assert_non_null(s);
	return s;
}

/* Two services of the file, one of Swarm, two interfaces. */
static void small_model(struct lb_model *m)
{
	struct lb_service_conf *s;

	lb_model_init(m);
	add_interface(m, "eth0", LB_KIND_AUTO);
	add_interface(m, "br0", LB_KIND_TC);
	s = add_service(m, "web", LB_SOURCE_FILE);
	add_listen(s, "*:80");
	add_listen(s, "192.0.2.1:53/udp");
	add_backend(s, "10.0.1.4:80", 1);
	add_backend(s, "10.0.1.5:80", 1);
	add_backend(s, "[fd00::5]:80", 2);
	s = add_service(m, "old", LB_SOURCE_FILE);
	add_listen(s, "[2001:db8::1]:443");
	add_backend(s, "[fd00::6]:443", 7);
	s = add_service(m, "task", LB_SOURCE_SWARM);
	add_listen(s, "*:8080");
	add_backend(s, "10.0.1.9:80", 1);
	lb_model_sort(m);
}

static void remove_service(struct lb_model *m, const char *name)
{
	lb_model_remove_service(m, (size_t)(service(m, name) - m->services));
}

/* The diff of two models that nothing forbids. */
static size_t diff(struct lb_diff *d, const struct lb_model *actual, const struct lb_model *desired)
{
	struct lb_err err = {"no error"};
	int ret = lb_diff_make(d, actual, desired, LB_SOURCE_FILE, &err);

	if (ret)
		print_error("%s\n", err.text);
	assert_int_equal(ret, 0);
	return d->n;
}

static void expect_text(const struct lb_model *actual, const struct lb_model *desired,
			const char *expected)
{
	struct lb_diff d;
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	diff(&d, actual, desired);
	lb_diff_print(&d, out);
	fclose(out);
	assert_string_equal(text, expected);
	free(text);
	lb_diff_free(&d);
}

/* ------------------------------------------------------------------- random models, applying */

static uint32_t below(uint32_t n)
{
	return (uint32_t)rand() % n;
}

static void shuffle(void *list, size_t n, size_t size)
{
	char *p = list, tmp[sizeof(struct lb_service_conf)];

	for (size_t i = n; i > 1; i--) {
		size_t k = below((uint32_t)i);

		memcpy(tmp, p + k * size, size);
		memcpy(p + k * size, p + (i - 1) * size, size);
		memcpy(p + (i - 1) * size, tmp, size);
	}
}

/* As if the lines came in another order and from another read: also ids and line numbers. */
static void shuffle_model(struct lb_model *m)
{
	shuffle(m->interfaces, m->n_interfaces, sizeof(*m->interfaces));
	shuffle(m->services, m->n_services, sizeof(*m->services));
	for (size_t i = 0; i < m->n_services; i++) {
		struct lb_service_conf *s = &m->services[i];

		shuffle(s->listens, s->n_listens, sizeof(*s->listens));
		shuffle(s->backends, s->n_backends, sizeof(*s->backends));
		s->line = rand();
		s->id = below(1000);
		for (size_t k = 0; k < s->n_listens; k++)
			s->listens[k].line = rand();
		for (size_t k = 0; k < s->n_backends; k++)
			s->backends[k].line = s->backends[k].id = rand();
	}
	lb_model_sort(m);
}

static void random_service(struct lb_model *m, uint32_t number)
{
	static const char *const forms[] = {"*:%u", "0.0.0.0:%u/udp", "[::]:%u/udp", "10.9.8.7:%u",
					    "[fd00::1]:%u/tcp"};
	struct lb_service_conf *s;
	char text[64];

	snprintf(text, sizeof(text), "s%u", number);
	s = add_service(m, text, LB_SOURCE_FILE);
	s->scheduler = (uint8_t)below(2);
	s->maglev_size = below(4) ? 65537 : 251;
	for (uint32_t i = 0; i < 5; i++) {
		snprintf(text, sizeof(text), forms[i], 1000 + number);
		if (below(2))
			add_listen(s, text);
	}
	for (uint32_t i = 0; i < 6; i++) {
		snprintf(text, sizeof(text), i % 2 ? "10.0.0.%u:80" : "[fd00::%u]:80", i / 2 + 1);
		if (below(3))
			add_backend(s, text, below(2))->override =
				below(5) ? LB_NO_OVERRIDE : below(2);
	}
}

static void random_model(struct lb_model *m)
{
	char text[LB_IFNAME_MAX];

	lb_model_init(m);
	m->datapath = (uint8_t)below(2);
	m->default_scheduler = below(4) ? LB_SCHED_RR : LB_SCHED_MAGLEV;
	m->default_maglev_size = below(4) ? 65537 : 251;
	for (uint32_t i = 0; i < 4; i++) {
		snprintf(text, sizeof(text), "eth%u", i);
		if (below(2))
			add_interface(m, text, (enum lb_hook_kind)below(2));
	}
	for (uint32_t i = 0; i < 12; i++)
		if (below(3))
			random_service(m, i);
	shuffle_model(m);
}

static void copy_service(struct lb_model *m, const struct lb_service_conf *from)
{
	struct lb_service_conf *s = add_service(m, from->name, (enum lb_source)from->source);

	s->scheduler = from->scheduler;
	s->maglev_size = from->maglev_size;
	for (size_t i = 0; i < from->n_listens; i++)
		*lb_service_add_listen(s) = from->listens[i];
	for (size_t i = 0; i < from->n_backends; i++)
		*lb_service_add_backend(s) = from->backends[i];
}

static void remove_interface(struct lb_model *m, const char *name)
{
	size_t i = 0;

	while (i < m->n_interfaces && strcmp(m->interfaces[i].name, name) != 0)
		i++;
	assert_true(i < m->n_interfaces);
	m->interfaces[i] = m->interfaces[--m->n_interfaces];
	lb_model_sort(m);
}

/* What a datapath does, on a model: only what the diff says. */
static void apply(struct lb_model *m, const struct lb_diff *d)
{
	for (size_t i = 0; i < d->n; i++) {
		const struct lb_change *c = &d->changes[i];

		if (c->kind == LB_CHANGE_DEFAULTS) {
			m->datapath = d->desired->datapath;
			m->default_scheduler = d->desired->default_scheduler;
			m->default_maglev_size = d->desired->default_maglev_size;
			continue;
		}
		if (c->kind == LB_CHANGE_INTERFACE) {
			assert_true((c->verb == LB_ADDED) == !c->ifrom);
			assert_true((c->verb == LB_REMOVED) == !c->ito);
			if (c->ifrom)
				remove_interface(m, c->ifrom->name);
			if (c->ito)
				add_interface(m, c->ito->name, (enum lb_hook_kind)c->ito->hook);
		} else {
			assert_true((c->verb == LB_ADDED) == !c->from);
			assert_true((c->verb == LB_REMOVED) == !c->to);
			if (c->from)
				remove_service(m, c->from->name);
			if (c->to)
				copy_service(m, c->to);
		}
		lb_model_sort(m);
	}
}

static void describe_service(const struct lb_service_conf *s, FILE *out)
{
	char text[LB_ENDPOINT_STRLEN];

	fprintf(out, "%s %u %u %u:", s->name, s->source, s->scheduler, s->maglev_size);
	for (size_t i = 0; i < s->n_listens; i++)
		fprintf(out, " %s", lb_listen_str(text, &s->listens[i]));
	for (size_t i = 0; i < s->n_backends; i++)
		fprintf(out, " %s=%u/%x", lb_endpoint_str(text, &s->backends[i].at),
			s->backends[i].weight, s->backends[i].override);
	fputc('\n', out);
}

/* All of a model that counts as text, not made by anything that is tested here. */
static char *describe(const struct lb_model *m)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	fprintf(out, "%u %u %u\n", m->datapath, m->default_scheduler, m->default_maglev_size);
	for (size_t i = 0; i < m->n_interfaces; i++)
		fprintf(out, "%s %u\n", m->interfaces[i].name, m->interfaces[i].hook);
	for (size_t i = 0; i < m->n_services; i++)
		describe_service(&m->services[i], out);
	fclose(out);
	return text;
}

/* Lines of `a` that are not in `b`. */
static size_t lines_missing(const char *a, const char *b)
{
	char *copy = strdup(a), *rest = copy, *line, *at;
	size_t n = 0;

	assert_non_null(copy);
	while ((line = strsep(&rest, "\n")) && rest) {
		size_t len = strlen(line);

		for (at = strstr(b, line); at; at = strstr(at + 1, line))
			if ((at == b || at[-1] == '\n') && at[len] == '\n')
				break;
		n += !at;
	}
	free(copy);
	return n;
}

static void applied_diff_gives_desired(void **state)
{
	(void)state;
	srand(3);
	for (int round = 0; round < 2000; round++) {
		struct lb_model actual, desired, copy;
		char *was, *want, *got;
		struct lb_diff d;
		size_t n = 0;

		random_model(&actual);
		random_model(&desired);
		assert_int_equal(lb_model_copy(&copy, &actual), 0);
		was = describe(&actual);
		want = describe(&desired);
		assert_int_equal(diff(&d, &actual, &desired) == 0, !strcmp(was, want));
		apply(&copy, &d);
		got = describe(&copy);
		assert_string_equal(got, want);
		/* Nothing is touched that need not be. */
		for (size_t i = 0; i < d.n; i++)
			n += d.changes[i].verb != LB_REMOVED;
		assert_int_equal(n, lines_missing(want, was));
		n = 0;
		for (size_t i = 0; i < d.n; i++)
			n += d.changes[i].verb != LB_ADDED;
		assert_int_equal(n, lines_missing(was, want));
		lb_diff_free(&d);
		assert_int_equal(diff(&d, &copy, &desired), 0);
		lb_diff_free(&d);
		free(was);
		free(want);
		free(got);
		lb_model_free(&actual);
		lb_model_free(&desired);
		lb_model_free(&copy);
	}
}

static void line_order_is_no_difference(void **state)
{
	(void)state;
	srand(4);
	for (int round = 0; round < 500; round++) {
		struct lb_model actual, desired;
		struct lb_diff d;

		random_model(&actual);
		assert_int_equal(lb_model_copy(&desired, &actual), 0);
		shuffle_model(&desired);
		assert_int_equal(diff(&d, &actual, &desired), 0);
		lb_diff_free(&d);
		lb_model_free(&actual);
		lb_model_free(&desired);
	}
}

/* ---------------------------------------------------------------------------- text */

static void each_difference_is_printed(void **state)
{
	struct lb_model a, b;
	struct lb_service_conf *s;

	(void)state;
	small_model(&a);
	small_model(&b);
	expect_text(&a, &b, "");

	s = service(&b, "web");
	s->scheduler = LB_SCHED_MAGLEV;
	expect_text(&a, &b, "~ service web: scheduler rr -> maglev\n");
	s->maglev_size = 251;
	expect_text(&a, &b, "~ service web: scheduler rr -> maglev, maglev-size 65537 -> 251\n");
	s->scheduler = LB_SCHED_RR;
	expect_text(&a, &b, "~ service web: maglev-size 65537 -> 251\n");
	s->maglev_size = 65537;

	s->listens[0].any = LB_ANY_ONE; /* *:80 -> 0.0.0.0:80 */
	expect_text(&a, &b, "~ service web\n    + listen 0.0.0.0:80/tcp\n    - listen *:80/tcp\n");
	s->listens[0].any = LB_ANY_BOTH;
	s->listens[1].proto = LB_TCP;
	expect_text(
		&a, &b,
		"~ service web\n    + listen 192.0.2.1:53/tcp\n    - listen 192.0.2.1:53/udp\n");
	s->listens[1].proto = LB_UDP;

	s->backends[0].weight = 3;
	expect_text(&a, &b, "~ service web\n    ~ 10.0.1.4:80 weight 1 -> 3\n");
	s->backends[0].override = 0;
	expect_text(&a, &b, "~ service web\n    ~ 10.0.1.4:80 weight 1 -> 3 (by hand 0)\n");
	expect_text(&b, &a, "~ service web\n    ~ 10.0.1.4:80 weight 3 (by hand 0) -> 1\n");
	s->backends[0].weight = 1;
	expect_text(&a, &b, "~ service web\n    ~ 10.0.1.4:80 weight 1 -> 1 (by hand 0)\n");
	s->backends[0].override = LB_NO_OVERRIDE;

	b.interfaces[1].hook = LB_KIND_XDP_GENERIC;
	expect_text(&a, &b, "~ interface eth0: hook auto -> xdp-generic\n");
	b.interfaces[1].hook = LB_KIND_AUTO;
	b.datapath = LB_DATAPATH_EBPF;
	expect_text(&a, &b, "~ defaults: datapath auto -> ebpf\n");
	b.default_scheduler = LB_SCHED_SH;
	b.default_maglev_size = 251;
	expect_text(&a, &b,
		    "~ defaults: datapath auto -> ebpf, scheduler rr -> sh, maglev-size 65537 -> "
		    "251\n");
	lb_model_free(&a);
	lb_model_free(&b);
}

static void whole_objects_are_printed(void **state)
{
	size_t added, changed, removed;
	struct lb_model a, b;
	struct lb_service_conf *s;
	struct lb_diff d;

	(void)state;
	small_model(&a);
	small_model(&b);
	remove_service(&b, "old");
	remove_interface(&b, "br0");
	add_interface(&b, "eth1", LB_KIND_XDP);
	s = add_service(&b, "vote", LB_SOURCE_FILE);
	add_listen(s, "*:8081");
	add_listen(s, "192.0.2.1:53");
	add_backend(s, "10.0.1.3:80", 2);
	add_backend(s, "[fd00::3]:80", 1);
	s = add_service(&b, "zero", LB_SOURCE_FILE);
	add_listen(s, "*:82");
	add_backend(s, "10.0.1.3:80", 1)->override = 0;
	lb_model_sort(&b);
	s = service(&b, "web");
	s->n_backends--; /* [fd00::5]:80 */
	expect_text(&a, &b,
		    "- interface br0\n"
		    "+ interface eth1 (xdp)\n"
		    "- service old\n"
		    "+ service vote: *:8081/tcp, 192.0.2.1:53/tcp, rr, 2 backends\n"
		    "    + 10.0.1.3:80 weight 2\n"
		    "    + [fd00::3]:80\n"
		    "~ service web\n"
		    "    - [fd00::5]:80\n"
		    "+ service zero: *:82/tcp, rr, 1 backend\n"
		    "    + 10.0.1.3:80 weight 1 (by hand 0)\n");
	b.datapath = LB_DATAPATH_EBPF; /* no object: counts as none */
	assert_int_equal(diff(&d, &a, &b), 7);
	assert_int_equal(d.changes[0].kind, LB_CHANGE_DEFAULTS);
	lb_diff_count(&d, &added, &changed, &removed);
	assert_int_equal(added, 3);
	assert_int_equal(changed, 1);
	assert_int_equal(removed, 2);
	lb_diff_free(&d);
	lb_model_free(&a);
	lb_model_free(&b);
}

/* ---------------------------------------------------------------------------- refusals */

static void expect_refusal(const struct lb_model *actual, const struct lb_model *desired,
			   int errnum, const char *text)
{
	struct lb_err err = {""};
	struct lb_diff d;

	assert_int_equal(lb_diff_make(&d, actual, desired, LB_SOURCE_FILE, &err), -errnum);
	assert_string_equal(err.text, text);
	assert_int_equal(d.n, 0);
	lb_diff_free(&d);
}

static void limits_are_fixed(void **state)
{
	struct lb_model a, b;
	struct lb_limits *l = &b.limits;

	(void)state;
	small_model(&a);
	small_model(&b);
	l->connections = 2000000;
	expect_refusal(&a, &b, EPERM,
		       "limits.connections: \"2000000\": the running instance has 1000000; run "
		       "meshlb down first");
	*l = a.limits;
	l->connections6 = 7;
	expect_refusal(&a, &b, EPERM,
		       "limits.connections6: \"7\": the running instance has 1000000; run meshlb "
		       "down first");
	*l = a.limits;
	l->services = 8;
	expect_refusal(&a, &b, EPERM,
		       "limits.services: \"8\": the running instance has 10000; run meshlb down "
		       "first");
	*l = a.limits;
	l->backends = 9;
	expect_refusal(&a, &b, EPERM,
		       "limits.backends: \"9\": the running instance has 100000; run meshlb down "
		       "first");
	*l = a.limits;
	l->ring_slots = 10;
	expect_refusal(&a, &b, EPERM,
		       "limits.ring-slots: \"10\": the running instance has 16777216; run meshlb "
		       "down first");
	lb_model_free(&a);
	lb_model_free(&b);
}

/* One file service "new" with one listen, against the Swarm service that listens on `theirs`. */
static void expect_listen(const char *theirs, const char *ours, bool refused)
{
	struct lb_model a, b;
	char text[256];

	lb_model_init(&a);
	lb_model_init(&b);
	add_listen(add_service(&a, "task", LB_SOURCE_SWARM), "192.0.2.77:9999");
	add_listen(&a.services[0], theirs);
	add_listen(add_service(&b, "new", LB_SOURCE_FILE), ours);
	lb_model_sort(&a);
	if (refused) {
		snprintf(text, sizeof(text),
			 "service new: listen: \"%s\": taken by service task of source swarm: "
			 "choose another address or port, or remove it there",
			 ours);
		expect_refusal(&a, &b, EBUSY, text);
	} else {
		struct lb_diff d;

		assert_int_equal(diff(&d, &a, &b), 1);
		lb_diff_free(&d);
	}
	lb_model_free(&a);
	lb_model_free(&b);
}

static void listens_of_other_sources_are_theirs(void **state)
{
	(void)state;
	expect_listen("*:80/tcp", "*:80/tcp", true);
	expect_listen("*:80/tcp", "[::]:80/tcp", true);
	expect_listen("*:80/tcp", "0.0.0.0:80/tcp", true);
	expect_listen("[::]:80/tcp", "*:80/tcp", true);
	expect_listen("0.0.0.0:80/udp", "*:80/udp", true);
	expect_listen("[fd00::1]:80/tcp", "[fd00::1]:80/tcp", true);
	expect_listen("192.0.2.1:80/udp", "192.0.2.1:80/udp", true);
	expect_listen("*:80/tcp", "*:80/udp", false);
	expect_listen("*:80/tcp", "*:81/tcp", false);
	expect_listen("*:80/tcp", "192.0.2.1:80/tcp", false);
	expect_listen("0.0.0.0:80/tcp", "[::]:80/tcp", false);
	expect_listen("192.0.2.1:80/tcp", "192.0.2.2:80/tcp", false);
}

static void names_of_other_sources_are_theirs(void **state)
{
	struct lb_model a, b;

	(void)state;
	small_model(&a);
	small_model(&b);
	service(&b, "task")->source = LB_SOURCE_FILE;
	expect_refusal(&a, &b, EBUSY,
		       "service: \"task\": source swarm has a service of this name: choose another "
		       "name, or remove it there");
	lb_model_free(&a);
	lb_model_free(&b);
}

/* Neither removed where `desired` lacks them, nor added or changed where it has them. */
static void other_sources_are_left_alone(void **state)
{
	struct lb_model a, b;

	(void)state;
	small_model(&a);
	small_model(&b);
	remove_service(&b, "task");
	expect_text(&a, &b, "");
	expect_text(&b, &a, "");
	lb_model_free(&b);
	small_model(&b);
	service(&b, "task")->scheduler = LB_SCHED_SH;
	expect_text(&a, &b, "");
	lb_model_free(&a);
	lb_model_free(&b);
}

static void listen_moves_between_own_services(void **state)
{
	struct lb_model a, b;

	(void)state;
	small_model(&a);
	small_model(&b);
	add_listen(service(&b, "old"), "*:80");
	service(&b, "web")->listens[0].at.port = 81;
	lb_model_sort(&b);
	expect_text(&a, &b,
		    "~ service old\n    + listen *:80/tcp\n"
		    "~ service web\n    - listen *:80/tcp\n    + listen *:81/tcp\n");
	lb_model_free(&a);
	lb_model_free(&b);
}

/* ---------------------------------------------------------------------------- overrides */

static void overrides_are_carried(void **state)
{
	struct lb_model a, b;
	struct lb_backend_conf *x;

	(void)state;
	small_model(&a);
	small_model(&b);
	assert_int_equal(lb_overrides_carry(&b, &a), 0);
	service(&a, "web")->backends[1].override = 0;
	service(&a, "web")->backends[1].override_since = 1234;
	service(&a, "web")->backends[2].override = 9; /* whose like will be gone */
	service(&a, "old")->backends[0].override = 5; /* and here the service */
	service(&b, "web")->n_backends--;
	remove_service(&b, "old");
	add_backend(service(&b, "task"), "10.0.1.5:80", 1); /* the same one, of another service */
	lb_model_sort(&b);
	service(&b, "web")->backends[1].weight = 4;

	assert_int_equal(lb_overrides_carry(&b, &a), 1);
	x = &service(&b, "web")->backends[1];
	assert_int_equal(x->override, 0);
	assert_int_equal(x->override_since, 1234);
	assert_int_equal(x->weight, 4);
	assert_int_equal(service(&b, "web")->backends[0].override, LB_NO_OVERRIDE);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(service(&b, "task")->backends[i].override, LB_NO_OVERRIDE);
	lb_model_free(&a);
	lb_model_free(&b);

	/* So an apply of the unchanged file changes nothing. */
	small_model(&a);
	small_model(&b);
	service(&a, "web")->backends[0].override = 0;
	assert_int_equal(lb_overrides_carry(&b, &a), 1);
	expect_text(&a, &b, "");
	lb_model_free(&a);
	lb_model_free(&b);
}

/* ---------------------------------------------------------------------------- speed */

static void large_model(struct lb_model *m)
{
	char text[64];

	lb_model_init(m);
	for (uint32_t i = 0; i < 1000; i++) {
		struct lb_service_conf *s;

		snprintf(text, sizeof(text), "service%u", i);
		s = add_service(m, text, i % 10 ? LB_SOURCE_FILE : LB_SOURCE_SWARM);
		snprintf(text, sizeof(text), "*:%u", 1000 + i);
		add_listen(s, text);
		for (uint32_t k = 0; k < 10; k++) {
			snprintf(text, sizeof(text), "10.0.%u.%u:80", i % 256, k + 1);
			add_backend(s, text, 1);
		}
	}
	lb_model_sort(m);
}

static void large_diff_is_fast(void **state)
{
	struct lb_model a, b;
	struct timespec t[2];
	struct lb_diff d;
	double ms;

	(void)state;
	large_model(&a);
	large_model(&b);
	service(&b, "service555")->backends[7].weight = 2;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t[0]);
	assert_int_equal(diff(&d, &a, &b), 1);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t[1]);
	ms = (double)(t[1].tv_sec - t[0].tv_sec) * 1e3 +
	     (double)(t[1].tv_nsec - t[0].tv_nsec) / 1e6;
	print_message("           1,000 services of 10 backends, one changed: %.2f ms\n", ms);
	assert_string_equal(d.changes[0].to->name, "service555");
	assert_true(ms < 50); /* the bound of a whole apply */
	lb_diff_free(&d);
	lb_model_free(&a);
	lb_model_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(applied_diff_gives_desired),
		cmocka_unit_test(line_order_is_no_difference),
		cmocka_unit_test(each_difference_is_printed),
		cmocka_unit_test(whole_objects_are_printed),
		cmocka_unit_test(limits_are_fixed),
		cmocka_unit_test(listens_of_other_sources_are_theirs),
		cmocka_unit_test(names_of_other_sources_are_theirs),
		cmocka_unit_test(other_sources_are_left_alone),
		cmocka_unit_test(listen_moves_between_own_services),
		cmocka_unit_test(overrides_are_carried),
		cmocka_unit_test(large_diff_is_fast),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
