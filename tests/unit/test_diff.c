// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_diff.c - on random models: a diff applied to one gives the other and touches nothing else,
 * and two of the same lines in any order have none. How long a large one takes.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/reconcile.h"
#include "model_make.h"
#include "model_util.h"

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

static void shuffle(void *list, size_t n, size_t size)
{
	char *p = list, tmp[sizeof(struct lb_service_conf)];

	for (size_t i = n; i > 1; i--) {
		size_t k = test_random((uint32_t)i);

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
		s->line = (int)test_random(INT_MAX);
		s->id = test_random(1000);
		for (size_t k = 0; k < s->n_listens; k++)
			s->listens[k].line = (int)test_random(INT_MAX);
		for (size_t k = 0; k < s->n_backends; k++)
			s->backends[k].line = s->backends[k].id = test_random(1000);
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
	s = make_service(m, text, LB_SOURCE_FILE);
	s->scheduler = (uint8_t)test_random(2);
	s->maglev_size = test_random(4) ? 65537 : 251;
	s->unknown = test_random(4) ? LB_UNKNOWN_RESET : LB_UNKNOWN_HASH;
	s->on_remove = test_random(4) ? LB_ON_REMOVE_RESET : LB_ON_REMOVE_DROP;
	s->affinity.mask[LB_V4] = test_random(4) ? 32 : 24;
	s->affinity.mask[LB_V6] = test_random(4) ? 128 : 64;
	s->affinity.across_ports = !test_random(4);
	s->timeouts[test_random(LB_TIMEOUTS)] = test_random(4) ? 0 : 600;
	for (uint32_t i = 0; i < 5; i++) {
		snprintf(text, sizeof(text), forms[i], 1000 + number);
		if (test_random(2))
			make_listen(s, text);
	}
	for (uint32_t i = 0; i < 6; i++) {
		snprintf(text, sizeof(text), i % 2 ? "10.0.0.%u:80" : "[fd00::%u]:80", i / 2 + 1);
		if (test_random(3))
			make_backend(s, text, test_random(2))->override =
				test_random(5) ? LB_NO_OVERRIDE : test_random(2);
	}
}

static void random_model(struct lb_model *m)
{
	char text[LB_IFNAME_MAX];

	lb_model_init(m);
	m->datapath = (uint8_t)test_random(2);
	m->default_scheduler = test_random(4) ? LB_SCHED_RR : LB_SCHED_MAGLEV;
	m->default_maglev_size = test_random(4) ? 65537 : 251;
	m->timeouts[LB_TIMEOUT_UDP] = test_random(4) ? 180 : 60;
	m->rates.per_source = test_random(4) ? 0 : 100;
	m->rates.source_mask = test_random(4) ? 32 : 24;
	for (uint32_t i = 0; i < 4; i++) {
		snprintf(text, sizeof(text), "eth%u", i);
		if (test_random(2))
			make_interface(m, text, (enum lb_hook_kind)test_random(2));
	}
	for (uint32_t i = 0; i < 12; i++)
		if (test_random(3))
			random_service(m, i);
	shuffle_model(m);
}

static void copy_service(struct lb_model *m, const struct lb_service_conf *from)
{
	struct lb_service_conf *s = make_service(m, from->name, (enum lb_source)from->source);

	s->scheduler = from->scheduler;
	s->maglev_size = from->maglev_size;
	s->unknown = from->unknown;
	s->on_remove = from->on_remove;
	s->affinity = from->affinity;
	memcpy(s->timeouts, from->timeouts, sizeof(s->timeouts));
	for (size_t i = 0; i < from->n_listens; i++)
		*lb_service_add_listen(s) = from->listens[i];
	for (size_t i = 0; i < from->n_backends; i++)
		*lb_service_add_backend(s) = from->backends[i];
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
			memcpy(m->timeouts, d->desired->timeouts, sizeof(m->timeouts));
			m->rates = d->desired->rates;
			continue;
		}
		if (c->kind == LB_CHANGE_INTERFACE) {
			assert_true((c->verb == LB_ADDED) == !c->ifrom);
			assert_true((c->verb == LB_REMOVED) == !c->ito);
			if (c->ifrom)
				remove_interface(m, c->ifrom->name);
			if (c->ito)
				make_interface(m, c->ito->name, (enum lb_hook_kind)c->ito->hook);
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

	fprintf(out, "%s %u %u %u %u %u:", s->name, s->source, s->scheduler, s->maglev_size,
		s->unknown, s->on_remove);
	fprintf(out, " %u %u %u:", s->affinity.mask[LB_V4], s->affinity.mask[LB_V6],
		s->affinity.across_ports);
	for (int i = 0; i < LB_TIMEOUTS; i++)
		fprintf(out, " %u", s->timeouts[i]);
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
	fprintf(out, "%u %u %u", m->datapath, m->default_scheduler, m->default_maglev_size);
	for (int i = 0; i < LB_TIMEOUTS; i++)
		fprintf(out, " %u", m->timeouts[i]);
	fprintf(out, " %u %u %u %u", m->rates.per_cpu, m->rates.per_source, m->rates.source_mask,
		m->rates.source_mask6);
	fputc('\n', out);
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

static void large_model(struct lb_model *m)
{
	char text[64];

	lb_model_init(m);
	for (uint32_t i = 0; i < 1000; i++) {
		struct lb_service_conf *s;

		snprintf(text, sizeof(text), "service%u", i);
		s = make_service(m, text, i % 10 ? LB_SOURCE_FILE : LB_SOURCE_SWARM);
		snprintf(text, sizeof(text), "*:%u", 1000 + i);
		make_listen(s, text);
		for (uint32_t k = 0; k < 10; k++) {
			snprintf(text, sizeof(text), "10.0.%u.%u:80", i % 256, k + 1);
			make_backend(s, text, 1);
		}
	}
	lb_model_sort(m);
}

static void large_diff(void **state)
{
	struct lb_model a, b;
	struct timespec t[2];
	struct lb_diff d;
	double ms;

	(void)state;
	large_model(&a);
	large_model(&b);
	the_service(&b, "service555")->backends[7].weight = 2;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t[0]);
	assert_int_equal(diff(&d, &a, &b), 1);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t[1]);
	ms = (double)(t[1].tv_sec - t[0].tv_sec) * 1e3 +
	     (double)(t[1].tv_nsec - t[0].tv_nsec) / 1e6;
	print_message("           1,000 services of 10 backends, one changed: %.2f ms\n", ms);
	assert_string_equal(d.changes[0].to->name, "service555");
	lb_diff_free(&d);
	lb_model_free(&a);
	lb_model_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(applied_diff_gives_desired),
		cmocka_unit_test(line_order_is_no_difference),
		cmocka_unit_test(large_diff),
	};

	test_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
