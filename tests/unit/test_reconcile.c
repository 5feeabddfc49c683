// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_reconcile.c - what a diff says of each difference, what it leaves alone, what is refused.
 * test_diff.c proves on random models that nothing is missing in one.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "expect.h"
#include "model_make.h"

/* Two services of the file, one of Swarm, two interfaces. */
static void small_model(struct lb_model *m)
{
	struct lb_service_conf *s;

	lb_model_init(m);
	make_interface(m, "eth0", LB_KIND_AUTO);
	make_interface(m, "br0", LB_KIND_TC);
	s = make_service(m, "web", LB_SOURCE_FILE);
	make_listen(s, "*:80");
	make_listen(s, "192.0.2.1:53/udp");
	make_backend(s, "10.0.1.4:80", 1);
	make_backend(s, "10.0.1.5:80", 1);
	make_backend(s, "[fd00::5]:80", 2);
	s = make_service(m, "old", LB_SOURCE_FILE);
	make_listen(s, "[2001:db8::1]:443");
	make_backend(s, "[fd00::6]:443", 7);
	s = make_service(m, "task", LB_SOURCE_SWARM);
	make_listen(s, "*:8080");
	make_backend(s, "10.0.1.9:80", 1);
	lb_model_sort(m);
}

static size_t diff(struct lb_diff *d, const struct lb_model *actual, const struct lb_model *desired)
{
	expect_diff(d, actual, desired);
	return d->n;
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

	s = the_service(&b, "web");
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
	s->backends[0].max_connections = 5;
	expect_text(&a, &b, "~ service web\n    ~ 10.0.1.4:80 max-connections 0 -> 5\n");
	s->backends[0].override = 0;
	s->backends[0].max_connections = 0;
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
	make_interface(&b, "eth1", LB_KIND_XDP);
	s = make_service(&b, "vote", LB_SOURCE_FILE);
	make_listen(s, "*:8081");
	make_listen(s, "192.0.2.1:53");
	make_backend(s, "10.0.1.3:80", 2);
	make_backend(s, "[fd00::3]:80", 1);
	s = make_service(&b, "zero", LB_SOURCE_FILE);
	make_listen(s, "*:82");
	make_backend(s, "10.0.1.3:80", 1)->override = 0;
	lb_model_sort(&b);
	s = the_service(&b, "web");
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
	make_listen(make_service(&a, "task", LB_SOURCE_SWARM), "192.0.2.77:9999");
	make_listen(&a.services[0], theirs);
	make_listen(make_service(&b, "new", LB_SOURCE_FILE), ours);
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

/* Each of many is found, whatever the order of their names. */
static void all_listens_of_other_sources_are_known(void **state)
{
	static const char *const listens[] = {"*:83/tcp", "[fd00::1]:7/udp", "10.0.0.1:9/tcp",
					      "*:81/udp", "[::]:80/tcp",     "*:82/tcp"};
	struct lb_model a;
	char name[] = "task0";

	(void)state;
	lb_model_init(&a);
	for (size_t i = 0; i < sizeof(listens) / sizeof(*listens); i++, name[4]++)
		make_listen(make_service(&a, name, LB_SOURCE_SWARM), listens[i]);
	for (size_t i = 0; i < a.n_services; i++) {
		struct lb_model b;
		char text[256];

		lb_model_init(&b);
		make_listen(make_service(&b, "new", LB_SOURCE_FILE), listens[i]);
		snprintf(text, sizeof(text),
			 "service new: listen: \"%s\": taken by service task%zu of source swarm: "
			 "choose another address or port, or remove it there",
			 listens[i], i);
		expect_refusal(&a, &b, EBUSY, text);
		lb_model_free(&b);
	}
	lb_model_free(&a);
}

static void names_of_other_sources_are_theirs(void **state)
{
	struct lb_model a, b;

	(void)state;
	small_model(&a);
	small_model(&b);
	the_service(&b, "task")->source = LB_SOURCE_FILE;
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
	the_service(&b, "task")->scheduler = LB_SCHED_SH;
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
	make_listen(the_service(&b, "old"), "*:80");
	the_service(&b, "web")->listens[0].at.port = 81;
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
	the_service(&a, "web")->backends[1].override = 0;
	the_service(&a, "web")->backends[1].override_since = 1234;
	the_service(&a, "web")->backends[2].override = 9; /* whose like will be gone */
	the_service(&a, "old")->backends[0].override = 5; /* and here the service */
	the_service(&b, "web")->n_backends--;
	remove_service(&b, "old");
	make_backend(the_service(&b, "task"), "10.0.1.5:80",
		     1); /* the same one, of another service */
	lb_model_sort(&b);
	the_service(&b, "web")->backends[1].weight = 4;

	assert_int_equal(lb_overrides_carry(&b, &a), 1);
	x = &the_service(&b, "web")->backends[1];
	assert_int_equal(x->override, 0);
	assert_int_equal(x->override_since, 1234);
	assert_int_equal(x->weight, 4);
	assert_int_equal(the_service(&b, "web")->backends[0].override, LB_NO_OVERRIDE);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(the_service(&b, "task")->backends[i].override, LB_NO_OVERRIDE);
	lb_model_free(&a);
	lb_model_free(&b);

	/* So an apply of the unchanged file changes nothing. */
	small_model(&a);
	small_model(&b);
	the_service(&a, "web")->backends[0].override = 0;
	assert_int_equal(lb_overrides_carry(&b, &a), 1);
	expect_text(&a, &b, "");
	lb_model_free(&a);
	lb_model_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_difference_is_printed),
		cmocka_unit_test(whole_objects_are_printed),
		cmocka_unit_test(limits_are_fixed),
		cmocka_unit_test(listens_of_other_sources_are_theirs),
		cmocka_unit_test(all_listens_of_other_sources_are_known),
		cmocka_unit_test(names_of_other_sources_are_theirs),
		cmocka_unit_test(other_sources_are_left_alone),
		cmocka_unit_test(listen_moves_between_own_services),
		cmocka_unit_test(overrides_are_carried),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
