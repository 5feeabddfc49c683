// SPDX-License-Identifier: GPL-2.0-or-later
/* test_config_write.c - what is written reads back equal, and looks as people expect. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/config.h"
#include "model_util.h"

static void random_endpoint(struct lb_endpoint *at, bool v6)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	memcpy(at->addr.b, mapped, sizeof(mapped));
	at->family = v6 ? LB_V6 : LB_V4;
	for (int i = v6 ? 0 : 12; i < 16; i++)
		at->addr.b[i] = (uint8_t)(test_random(3) ? test_random(256) : 0);
	at->addr.b[v6 ? 0 : 12] = (uint8_t)(1 + test_random(126)); /* one that hosts have */
	at->port = (uint16_t)(1 + test_random(65535));
}

static uint32_t random_timeout(int timeout)
{
	uint32_t min = lb_timeout_min(timeout);

	return min + test_random(test_random(2) ? 100 : LB_TIMEOUT_MAX - min + 1);
}

static void random_affinity(struct lb_service_conf *s, bool timeout)
{
	s->affinity.mask[LB_V4] = (uint8_t)(1 + test_random(32));
	s->affinity.mask[LB_V6] = (uint8_t)(1 + test_random(128));
	s->affinity.across_ports = test_random(2);
	if (timeout && test_random(2))
		s->timeouts[LB_TIMEOUT_AFFINITY] = 301 + test_random(1000);
}

static void random_service(struct lb_model *m, uint32_t number)
{
	static const uint32_t primes[] = {101, 251, 65537, 655373};
	struct lb_service_conf *s = lb_model_add_service(m);
	uint32_t backends = test_random(20);

	snprintf(s->name, sizeof(s->name), "%x%s%u", test_random(0xffff),
		 (const char *[]){"", ".", "_", "-x-"}[test_random(4)], number);
	s->source = LB_SOURCE_FILE;
	s->scheduler = (uint8_t)test_random(LB_SCHEDULERS);
	s->maglev_size = primes[test_random(4)];
	s->forwarding = (uint8_t)test_random(LB_FORWARDINGS);
	s->unknown = (uint8_t)test_random(LB_UNKNOWNS);
	s->on_remove = (uint8_t)test_random(LB_ON_REMOVES);
	for (int i = 0; i < LB_TIMEOUTS_NAMED && number < LB_TIMEOUT_SETS; i++)
		if (!test_random(3))
			s->timeouts[i] = random_timeout(i);
	if (test_random(2))
		random_affinity(s, number < LB_TIMEOUT_SETS);
	for (uint32_t i = 0; i < backends; i++) {
		struct lb_backend_conf *b = lb_service_add_backend(s);

		random_endpoint(&b->at, test_random(2));
		b->weight = test_random(2) ? 1 : test_random(LB_WEIGHT_MAX + 1);
		b->max_connections = test_random(2) ? 0 : test_random(UINT32_MAX);
		b->override = test_random(2) ? LB_NO_OVERRIDE : test_random(100);
	}
	for (uint32_t i = 0; i < 1 + test_random(6); i++) {
		struct lb_listen *l = lb_service_add_listen(s);
		bool v6 = test_random(2) && lb_service_has_family(s, LB_V6);

		random_endpoint(&l->at, v6);
		l->proto = (uint8_t)test_random(LB_PROTOS);
		if (!lb_service_has_family(s, v6 ? LB_V6 : LB_V4)) {
			l->any = LB_ANY_BOTH;
			v6 = false;
		} else if (!test_random(3)) {
			l->any = (uint8_t)(v6 ? LB_ANY_ONE : test_random(LB_ANY_BOTH) + 1);
		}
		if (l->any) {
			lb_addr_parse(&l->at.addr, &l->at.family, v6 ? "::" : "0.0.0.0");
			l->at.port = (uint16_t)(number * 6 + i + 1); /* nobody else's */
		}
	}
}

static void random_model(struct lb_model *m)
{
	uint32_t services = test_random(12), interfaces = test_random(4);

	lb_model_init(m);
	m->datapath = (uint8_t)test_random(LB_DATAPATHS);
	m->default_scheduler = (uint8_t)test_random(LB_SCHEDULERS);
	m->default_maglev_size = test_random(2) ? 65537 : 251;
	for (int i = 0; i < LB_TIMEOUTS_NAMED; i++)
		if (test_random(2))
			m->timeouts[i] = random_timeout(i);
	if (test_random(2))
		m->rates = (struct lb_rates_conf){
			.per_cpu = test_random(2) ? 0 : test_random(LB_RATE_MAX + 1),
			.per_source = test_random(2) ? 0 : test_random(LB_RATE_MAX + 1),
			.source_mask = 1 + test_random(32),
			.source_mask6 = 1 + test_random(128)};
	m->limits.connections = 1024 + test_random(1000000);
	m->limits.connections6 = 1024 + test_random(1000000);
	m->limits.services = 12 + test_random(1000000 - 12);
	m->limits.backends = 240 + test_random(LB_BACKENDS_MAX - 240);
	m->limits.ring_slots = 16000000 + test_random(1000000000); /* room for all */
	for (uint32_t i = 0; i < interfaces; i++) {
		struct lb_interface_conf *c = lb_model_add_interface(m);

		snprintf(c->name, sizeof(c->name), "%s%u",
			 (const char *[]){"eth", "a\"b", "\\", "'#&*", "br-0.", "{[",
					  "~"}[test_random(7)],
			 i);
		c->hook = (uint8_t)test_random(LB_KINDS);
	}
	for (uint32_t i = 0; i < services; i++)
		random_service(m, i);
	lb_model_sort(m);
}

static char *written(const struct lb_model *m, size_t *len)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, len);

	assert_non_null(out);
	assert_int_equal(lb_config_write(m, out), 0);
	fclose(out);
	return text;
}

static void test_round_trip(void **state)
{
	(void)state;
	test_seed();
	for (int i = 0; i < 500; i++) {
		struct lb_err err;
		struct lb_model m, again;
		size_t len, len2;
		char *text, *text2;

		random_model(&m);
		text = written(&m, &len);
		if (lb_config_parse(&again, text, len, "t", &err))
			fail_msg("%s\n%s", err.text, text);
		if (!model_equal(&m, &again))
			fail_msg("reads back different:\n%s", text);
		text2 = written(&again, &len2);
		assert_string_equal(text, text2);
		free(text);
		free(text2);
		lb_model_free(&m);
		lb_model_free(&again);
	}
}

static const char example[] =
	"limits: { connections: 2000000, services: 20, backends: 300 }\n"
	"interfaces: [{ name: eth0 }, { name: br0, hook: tc }]\n"
	"services:\n"
	"- name: vote\n"
	"  listen: ['*:8080', '[2001:db8::1]:8080/tcp', '192.0.2.1:53/udp']\n"
	"  scheduler: maglev\n"
	"  maglev-size: 251\n"
	"  backends: [{ address: '10.0.1.3:80', weight: 2 }, '[fd00::3]:80']\n"
	"- { name: dns, listen: '*:53/udp', backends: ['10.0.1.4:53', '10.0.1.3:53'] }\n"
	"defaults: { scheduler: wrr }\n";

static void test_written_text(void **state)
{
	static const char expected[] = "# meshlb.yaml(5), written by meshlb\n"
				       "datapath: auto\n"
				       "interfaces:\n"
				       "  - { name: \"br0\", hook: tc }\n"
				       "  - { name: \"eth0\", hook: auto }\n"
				       "limits:\n"
				       "  connections: 2000000\n"
				       "  connections6: 2000000\n"
				       "  services: 20\n"
				       "  backends: 300\n"
				       "  ring-slots: 16777216\n"
				       "defaults:\n"
				       "  scheduler: wrr\n"
				       "  maglev-size: 65537\n"
				       "services:\n"
				       "  - name: \"dns\"\n"
				       "    listen:\n"
				       "      - \"*:53/udp\"\n"
				       "    backends:\n"
				       "      - { address: \"10.0.1.3:53\", weight: 1 }\n"
				       "      - { address: \"10.0.1.4:53\", weight: 1 }\n"
				       "  - name: \"vote\"\n"
				       "    listen:\n"
				       "      - \"*:8080\"\n"
				       "      - \"192.0.2.1:53/udp\"\n"
				       "      - \"[2001:db8::1]:8080\"\n"
				       "    scheduler: maglev\n"
				       "    maglev-size: 251\n"
				       "    backends:\n"
				       "      - { address: \"10.0.1.3:80\", weight: 2 }\n"
				       "      - { address: \"[fd00::3]:80\", weight: 1 }\n";
	struct lb_err err;
	struct lb_model m;
	size_t len;
	char *text;

	(void)state;
	assert_int_equal(lb_config_parse(&m, example, strlen(example), "t", &err), 0);
	m.services[1].backends[0].override = 7; /* by hand: not the file's business */
	text = written(&m, &len);
	assert_string_equal(text, expected);
	free(text);
	lb_model_free(&m);
}

static void test_write_fails(void **state)
{
	FILE *full = fopen("/dev/full", "w");
	struct lb_model m;

	(void)state;
	assert_non_null(full);
	lb_model_init(&m);
	assert_int_equal(lb_config_write(&m, full), -ENOSPC);
	fclose(full);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_written_text),
		cmocka_unit_test(test_write_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
