// SPDX-License-Identifier: GPL-2.0-or-later
/* test_fit.c - what a datapath cannot do is refused by name, or taken out of the model. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include "core/config.h"
#include "cli/fit.h"

/* clang-format off */
static const char config[] =
	"interfaces: [eth0, odd0]\n"                                               /* line 1 */
	"timeouts: { udp: 20s }\n"
	"rates: { source-mask: 24 }\n"
	"services:\n"
	"  - { name: brief, listen: '*:6', timeouts: { closed: 5s } }\n"              /* 5 */
	"  - { name: ends, listen: '*:7', unknown: hash, on-remove: drop, affinity: 1h }\n"
	"  - { name: far, listen: ['203.0.113.1:1'], backends: [10.0.0.1:1] }\n"
	"  - { name: half, listen: ['203.0.113.1:2', '*:2'], backends: [10.0.0.1:1] }\n"
	"  - { name: large, listen: '*:3', backends: [10.0.0.1:1, 10.0.0.2:1] }\n"    /* 9 */
	"  - { name: masked, listen: '*:4', forwarding: masq }\n"
	"  - { name: plain, listen: '*:5' }\n"                                        /* 11 */
	"  - { name: quiet, listen: '*:8', scheduler: lc }\n"
	"  - { name: rooms, listen: '*:9', scheduler: wlc, max-connections: 5, backends: [10.0.0.1:1] }\n";
/* clang-format on */

static const char *no_odd(const struct lb_interface_conf *i)
{
	return !strcmp(i->name, "odd0") ? "takes no odd names" : NULL;
}

static const char *no_two(const struct lb_service_conf *s)
{
	return s->n_backends > 1 ? "has room for one backend" : NULL;
}

static const struct lb_dp_ops able = {
	.name = "able",
	.keeps_connections = true,
	.forwardings = 1 << LB_FORWARDING_NAT | 1 << LB_FORWARDING_MASQ,
	.schedulers = (1 << LB_SCHEDULERS) - 1,
};
static const struct lb_dp_ops poor = {
	.name = "poor",
	.own_addresses = true,
	.forwardings = 1 << LB_FORWARDING_NAT,
	.schedulers = 1 << LB_SCHED_RR | 1 << LB_SCHED_WRR,
	.interface_why_not = no_odd,
	.service_why_not = no_two,
};

static const struct lb_fit here = {.file = "t"};

static void parse(struct lb_model *m)
{
	struct lb_err err = {};

	if (lb_config_parse(m, config, strlen(config), "t", &err))
		fail_msg("%s", err.text);
}

static char told[4096];

static void tell(void *arg, const char *text)
{
	size_t len = strlen(told);

	(void)arg;
	snprintf(told + len, sizeof(told) - len, "%s\n", text);
}

static void test_able(void **state)
{
	struct lb_model m;
	struct lb_err err;

	(void)state;
	parse(&m);
	assert_int_equal(lb_fit_check(&here, &m, &able, &err), 0);
	told[0] = '\0';
	assert_int_equal(lb_fit_cut(&here, &m, &able, tell, NULL, &err), 0);
	assert_string_equal(told, "");
	assert_int_equal(m.n_services, 9);
	assert_int_equal(m.timeouts[LB_TIMEOUT_UDP], 20);
	assert_int_equal(m.rates.source_mask, 24);
	lb_model_free(&m);
}

static void test_refused(void **state)
{
	struct lb_model m;
	struct lb_err err;

	(void)state;
	parse(&m);
	assert_int_equal(lb_fit_check(&here, &m, &poor, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "t:2: timeouts: datapath poor leaves them to the kernel"));
	m.timeouts[LB_TIMEOUT_UDP] = lb_timeout_default(LB_TIMEOUT_UDP);
	assert_int_equal(lb_fit_check(&here, &m, &poor, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "t:3: rates: datapath poor lets in any number"));
	m.rates = LB_RATES_DEFAULT;
	assert_int_equal(lb_fit_check(&here, &m, &poor, &err), -EOPNOTSUPP);
	assert_string_equal(err.text, "t:1: interface: \"odd0\": datapath poor takes no odd names");
	lb_model_remove_interface(&m, 1);
	assert_int_equal(lb_fit_check(&here, &m, &poor, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "t:5: timeouts of service: \"brief\": datapath poor "));
	lb_model_remove_service(&m, 0);
	assert_int_equal(lb_fit_check(&here, &m, &poor, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "t:6: affinity of service: \"ends\": datapath poor has "));
	m.services[0].affinity = (struct lb_affinity_conf){};
	assert_int_equal(lb_fit_check(&here, &m, &poor, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "t:6: unknown of service: \"ends\": datapath poor "));
	lb_model_remove_service(&m, 0);
	assert_int_equal(lb_fit_check(&here, &m, &poor, &err), -EADDRNOTAVAIL);
	assert_non_null(strstr(err.text, "t:7: listen: \"203.0.113.1:1/tcp\": datapath poor "));
	lb_model_free(&m);
}

static void test_cut(void **state)
{
	struct lb_model m;
	struct lb_err err;
	char *line, *end;

	static const char *const lines[] = {
		"t:2: timeouts: ",
		"t:3: rates: ",
		"t:1: interface: \"odd0\": ",
		"t:5: timeouts of service: \"brief\": ",
		"t:6: affinity of service: \"ends\": ",
		"t:6: unknown of service: \"ends\": ",
		"t:6: on-remove of service: \"ends\": ",
		"t:7: listen: \"203.0.113.1:1/tcp\": ",
		"t:7: service: \"far\": it has",
		"t:8: listen: \"203.0.113.1:2/tcp\": ",
		"t:9: service: \"large\": ",
		"t:10: forwarding: \"masq\": service \"masked\": ",
		"t:12: scheduler: \"lc\": service \"quiet\": datapath poor does not count",
		"t:13: scheduler: \"wlc\": service \"rooms\": datapath poor does not count",
		"t:13: max-connections of service: \"rooms\": datapath poor does not limit them",
	};

	(void)state;
	parse(&m);
	told[0] = '\0';
	assert_int_equal(lb_fit_cut(&here, &m, &poor, tell, NULL, &err), 0);
	line = told;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++, line = end + 1) {
		assert_int_equal(strncmp(line, lines[i], strlen(lines[i])), 0);
		end = strchr(line, '\n');
		assert_non_null(end);
	}
	assert_string_equal(line, "");
	assert_int_equal(m.n_interfaces, 1);
	assert_int_equal(m.timeouts[LB_TIMEOUT_UDP], 180);
	assert_int_equal(m.rates.source_mask, 32);
	assert_int_equal(m.n_services, 7);
	assert_false(lb_service_has_timeouts(&m.services[0]));
	assert_false(lb_service_has_affinity(&m.services[1]));
	assert_false(lb_service_has_any_timeouts(&m.services[1]));
	assert_int_equal(m.services[1].unknown, LB_UNKNOWN_RESET);
	assert_int_equal(m.services[1].on_remove, LB_ON_REMOVE_RESET);
	assert_string_equal(m.services[2].name, "half");
	assert_int_equal(m.services[2].n_listens, 1);
	assert_int_equal(m.services[3].forwarding, LB_FORWARDING_NAT);
	assert_int_equal(m.services[5].scheduler, LB_SCHED_RR);
	assert_int_equal(m.services[6].scheduler, LB_SCHED_WRR);
	assert_int_equal(m.services[6].backends[0].max_connections, 0);
	assert_int_equal(lb_fit_check(&here, &m, &poor, &err), 0);
	lb_model_free(&m);
}

/* An address that went away: the listen stands already, and stays. */
static void test_standing(void **state)
{
	struct lb_session standing = {.ops = &poor, .dp = (struct lb_dp *)told};
	const struct lb_fit f = {.file = "t", .standing = &standing};
	struct lb_model m;
	struct lb_err err;

	(void)state;
	parse(&m);
	parse(&standing.model);
	told[0] = '\0';
	assert_int_equal(lb_fit_cut(&f, &m, &poor, tell, NULL, &err), 0);
	assert_null(strstr(told, "listen: "));
	assert_int_equal(m.n_services, 8);
	lb_model_free(&m);
	lb_model_free(&standing.model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_able),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_standing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
