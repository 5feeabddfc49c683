// SPDX-License-Identifier: GPL-2.0-or-later
/* test_config.c - configs that are read, hostile and large ones, files. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/config.h"
#include "fuzz_config.h"
#include "model_util.h"

static void parse(struct lb_model *m, const char *text)
{
	struct lb_err err = {.text = ""};

	if (lb_config_parse(m, text, strlen(text), "t", &err))
		fail_msg("%s", err.text);
}

/* ---------------------------------------------------------------------------- good ones */

/* The example of docs/meshlb.yaml.5. */
static const char example[] = "datapath: auto              # auto | ebpf\n"
			      "interfaces:\n"
			      "  - { name: eth0, hook: auto }\n"
			      "  - { name: br0, hook: tc }\n"
			      "limits: { connections: 2000000, services: 20, backends: 300 }\n"
			      "defaults: { scheduler: wrr }\n"
			      "timeouts: { established: 2h30m, udp: 90 }\n"
			      "rates: { per-source: 1000, source-mask6: 56 }\n"
			      "services:\n"
			      "  - name: vote\n"
			      "    listen: [\"*:8080\", \"[2001:db8::1]:8080/tcp\", "
			      "\"192.0.2.1:53/udp\"]\n"
			      "    scheduler: maglev\n"
			      "    maglev-size: 251\n"
			      "    forwarding: masq\n"
			      "    unknown: drop\n"
			      "    on-remove: rehash\n"
			      "    timeouts: { established: 48h, closed: 1s }\n"
			      "    backends:\n"
			      "      - { address: \"10.0.1.3:80\", weight: 2 }\n"
			      "      - { address: \"[fd00::3]:80\" }\n"
			      "  - name: dns\n"
			      "    listen: \"*:53/udp\"\n"
			      "    backends: [10.0.1.4:53, 10.0.1.3:53]\n";

static void test_example(void **state)
{
	const struct lb_service_conf *s;
	char buf[LB_ENDPOINT_STRLEN];
	struct lb_model m;

	(void)state;
	parse(&m, example);
	assert_int_equal(m.datapath, LB_DATAPATH_AUTO);
	assert_int_equal(m.n_interfaces, 2);
	assert_string_equal(m.interfaces[0].name, "br0");
	assert_int_equal(m.interfaces[0].hook, LB_KIND_TC);
	assert_int_equal(m.interfaces[0].line, 4);
	assert_string_equal(m.interfaces[1].name, "eth0");
	assert_int_equal(m.interfaces[1].hook, LB_KIND_AUTO);
	assert_int_equal(m.limits.connections, 2000000);
	assert_int_equal(m.limits.connections6, 2000000); /* as connections */
	assert_int_equal(m.limits.services, 20);
	assert_int_equal(m.limits.backends, 300);
	assert_int_equal(m.limits.ring_slots, 16777216);
	assert_int_equal(m.timeouts[LB_TIMEOUT_ESTABLISHED], 9000);
	assert_int_equal(m.timeouts[LB_TIMEOUT_UDP], 90);
	assert_int_equal(m.timeouts[LB_TIMEOUT_HALF_CLOSED], 3600);
	assert_int_equal(m.timeouts_line, 7);
	assert_int_equal(m.rates.per_cpu, 0);
	assert_int_equal(m.rates.per_source, 1000);
	assert_int_equal(m.rates.source_mask, 32);
	assert_int_equal(m.rates.source_mask6, 56);
	assert_int_equal(m.rates_line, 8);
	assert_int_equal(m.n_services, 2);

	s = &m.services[0]; /* sorted */
	assert_string_equal(s->name, "dns");
	assert_int_equal(s->scheduler, LB_SCHED_WRR);
	assert_int_equal(s->maglev_size, 65537);
	assert_int_equal(s->forwarding, LB_FORWARDING_NAT);
	assert_int_equal(s->source, LB_SOURCE_FILE);
	assert_false(lb_service_has_timeouts(s));
	assert_int_equal(s->unknown, LB_UNKNOWN_RESET);
	assert_int_equal(s->on_remove, LB_ON_REMOVE_RESET);
	assert_int_equal(s->line, 21);
	assert_int_equal(s->n_listens, 1);
	assert_string_equal(lb_listen_str(buf, &s->listens[0]), "*:53/udp");
	assert_int_equal(s->n_backends, 2);
	assert_string_equal(lb_endpoint_str(buf, &s->backends[0].at), "10.0.1.3:53");
	assert_int_equal(s->backends[0].weight, 1);
	assert_int_equal(s->backends[0].override, LB_NO_OVERRIDE);
	assert_int_equal(s->backends[0].line, 23);

	s = &m.services[1];
	assert_string_equal(s->name, "vote");
	assert_int_equal(s->scheduler, LB_SCHED_MAGLEV);
	assert_int_equal(s->maglev_size, 251);
	assert_int_equal(s->forwarding, LB_FORWARDING_MASQ);
	assert_int_equal(s->unknown, LB_UNKNOWN_DROP);
	assert_int_equal(s->on_remove, LB_ON_REMOVE_REHASH);
	assert_int_equal(s->timeouts[LB_TIMEOUT_ESTABLISHED], 48 * 3600);
	assert_int_equal(s->timeouts[LB_TIMEOUT_CLOSED], 1);
	assert_int_equal(s->timeouts[LB_TIMEOUT_UDP], 0); /* as the instance's */
	assert_int_equal(s->n_listens, 3);
	assert_string_equal(lb_listen_str(buf, &s->listens[0]), "*:8080/tcp");
	assert_string_equal(lb_listen_str(buf, &s->listens[1]), "192.0.2.1:53/udp");
	assert_string_equal(lb_listen_str(buf, &s->listens[2]), "[2001:db8::1]:8080/tcp");
	assert_int_equal(s->listens[2].line, 11);
	assert_int_equal(s->n_backends, 2);
	assert_int_equal(s->backends[0].weight, 2);
	assert_int_equal(s->backends[0].line, 19);
	assert_string_equal(lb_endpoint_str(buf, &s->backends[1].at), "[fd00::3]:80");
	assert_int_equal(s->backends[1].weight, 1);
	lb_model_free(&m);
}

/* Configs that are right, and say the same as the second one. */
static void test_same(void **state)
{
	static const struct {
		const char *text, *same;
	} cases[] = {
		{"services: []", "datapath: auto\nservices: []\n"},
		{"services: []", "interfaces: []\nservices: []"},
		{"limits:\nservices: []\ndefaults:\n", "services: []"},
		{"---\nservices: []\n...\n", "services: []"},
		{"%YAML 1.1\n---\nservices: []\n", "services: []"},
		{"\xef\xbb\xbfservices: []\n", "services: []"},
		{"services: []\r\ndatapath: auto\r\n", "services: []"},
		{"{\"services\": []}", "services: []"},
		{"datapath: 'auto'\nservices: []", "datapath: \"auto\"\nservices: []"},
		{"interfaces: [eth0]\nservices: []",
		 "interfaces: [{name: eth0, hook: auto}]\nservices: []"},
		{"interfaces: [b, a]\nservices: []",
		 "interfaces: [a, {hook: auto, name: b}]\nservices: []"},
		{"interfaces: ['a\"b\\c']\nservices: []",
		 "interfaces: [{name: \"a\\\"b\\\\c\"}]\nservices: []"},
		{"limits: {connections: 5000}\nservices: []",
		 "limits: {connections: 5000, connections6: 5000}\nservices: []"},
		{"limits: {connections6: 5000}\nservices: []",
		 "limits: {connections: 1000000, connections6: 5000}\nservices: []"},
		{"limits: {connections: 1024, services: 1, backends: 1, ring-slots: "
		 "1024}\nservices: []",
		 "limits: {ring-slots: 1024, backends: 1, services: 1, connections: "
		 "1024}\nservices: []"},
		{"limits: {connections: 500000000, services: 1000000, backends: 262143, "
		 "ring-slots: 1073741824}\nservices: []",
		 "limits: {connections: '500000000', services: 1000000, backends: 262143, "
		 "ring-slots: 1073741824}\nservices: []"},
		/* Defaults hold whether they come before or after. */
		{"services: [{name: a, listen: '*:1'}]\ndefaults: {scheduler: sh, maglev-size: 7}",
		 "services: [{name: a, listen: ['*:1'], scheduler: sh, maglev-size: 7}]\n"
		 "defaults: {maglev-size: 7, scheduler: sh}"},
		/* As many backends as the Maglev table has slots. */
		{"services: [{name: a, listen: '*:1', scheduler: maglev, maglev-size: 3"
		 ", backends: [10.0.0.1:1, 10.0.0.1:2, 10.0.0.1:3, '[fd00::1]:1']}]",
		 "services: [{name: a, listen: '*:1', scheduler: maglev, maglev-size: 3"
		 ", backends: [10.0.0.1:3, 10.0.0.1:2, 10.0.0.1:1, '[fd00::1]:1']}]"},
		/* One address, several ports and protocols. */
		{"services: [{name: a, listen: ['*:1', '*:1/udp', '*:2', '10.0.0.1:1']"
		 ", backends: [10.0.0.2:1]}]",
		 "services: [{name: a, backends: [{weight: 1, address: '10.0.0.2:1'}]"
		 ", listen: ['10.0.0.1:1', '*:2/tcp', '*:1/udp', '*:1']}]"},
		/* Both families apart are not one twice. */
		{"services: [{name: a, listen: ['0.0.0.0:1', '[::]:1']"
		 ", backends: [10.0.0.1:1, '[fd00::1]:1']}]",
		 "services: [{name: a, listen: ['[::]:1', '0.0.0.0:1']"
		 ", backends: ['[fd00::1]:1', 10.0.0.1:1]}]"},
		/* The same backend in two services; weights' ends. */
		{"services: [{name: a, listen: '*:1', backends: [{address: 10.0.0.1:1, weight: 0}]}"
		 ", {name: b, listen: '*:2', backends: [{address: 10.0.0.1:1, weight: 65535}]}]",
		 "services: [{name: b, listen: '*:2', backends: [{address: 10.0.0.1:1, weight: "
		 "65535}"
		 "]}, {name: a, listen: '*:1', backends: [{address: 10.0.0.1:1, weight: 0}]}]"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct lb_model a, b;

		parse(&a, cases[i].text);
		parse(&b, cases[i].same);
		if (!model_equal(&a, &b))
			fail_msg("differ:\n%s\n%s", cases[i].text, cases[i].same);
		lb_model_free(&a);
		lb_model_free(&b);
	}
}

static void test_names_taken(void **state)
{
	static const char *const names[] = {
		"a",
		"0",
		"vote",
		"a.b_c-D",
		"no",
		"1e3",
		"a23456789012345678901234567890123456789012345678901234567890123",
	};
	char text[256];
	struct lb_model m;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(text, sizeof(text), "services: [{name: %s, listen: '*:80'}]", names[i]);
		parse(&m, text);
		assert_string_equal(m.services[0].name, names[i]);
		lb_model_free(&m);
	}
}

/* As some editors write: YAML 1.2, 5.2. */
static void test_byte_order_mark(void **state)
{
	struct lb_model m;

	(void)state;
	parse(&m, "\xef\xbb\xbf"
		  "limits: { services: 7 }\nservices: []\n");
	assert_int_equal(m.limits.services, 7);
	lb_model_free(&m);
}

/* ---------------------------------------------------------------------------- hostile ones */

/* `text` again and again, to 1 MiB: must be refused, whatever the message, and soon. */
static void refused_soon(const char *text, size_t len, const char *what)
{
	struct lb_err err = {.text = ""};
	clock_t start = clock();
	struct lb_model m;
	int ret = lb_config_parse(&m, text, len, "t", &err);

	if (ret != -EINVAL || strncmp(err.text, "t:", 2) != 0)
		fail_msg("%s: %d: %s", what, ret, err.text);
	if ((double)(clock() - start) / CLOCKS_PER_SEC > 5)
		fail_msg("%s: took %g s", what, (double)(clock() - start) / CLOCKS_PER_SEC);
}

static void test_garbage(void **state)
{
	static const char *const repeated[] = {
		"[",    "{",    "- ",  "? ",  ": ",     "\"", "'",    "|",
		"a: ",  "[[[,", "&a ", "!",   "%",      "#",  "*",    "services: [",
		"- - ", "{a: ", "\n",  "\n ", "a: \n ", "]",  "--- ", "? - ",
	};
	const size_t size = 1 << 20;
	char *text = malloc(size);

	(void)state;
	assert_non_null(text);
	test_seed();
	for (int i = 0; i < 5; i++) {
		for (size_t j = 0; j < size; j++)
			text[j] = (char)test_random(256);
		refused_soon(text, size, "random bytes");
		for (size_t j = 0; j < size; j++)
			text[j] = (char)(' ' + test_random('~' - ' ' + 1));
		refused_soon(text, size, "random printable text");
		for (size_t j = 0; j < size; j++)
			text[j] = "[]{}:,-?&*!|>'\"%# \na1"[test_random(21)];
		refused_soon(text, size, "random YAML punctuation");
	}
	for (size_t i = 0; i < sizeof(repeated) / sizeof(repeated[0]); i++) {
		size_t len = strlen(repeated[i]);

		for (size_t j = 0; j < size; j++)
			text[j] = repeated[i][j % len];
		refused_soon(text, size, repeated[i]);
	}
	free(text);
}

/* A quadratic search for duplicates would take minutes here. */
static void test_large(void **state)
{
	const int services = 30000, backends = 60000;
	struct lb_err err = {.text = ""};
	struct lb_model m;
	char *text = NULL;
	clock_t start;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	(void)state;
	assert_non_null(out);
	fprintf(out, "limits: {services: %d, backends: %d}\nservices:\n", services, backends);
	for (int i = 1; i < services; i++)
		fprintf(out, "- {name: s%d, listen: ['*:%d', '*:%d/udp']}\n", i, i, i);
	fprintf(out, "- name: s0\n  listen: '*:65535'\n  backends:\n");
	for (int i = 0; i < backends; i++)
		fprintf(out, "  - 10.0.%d.%d:80\n", i >> 8, i & 255);
	fclose(out);
	start = clock();
	if (lb_config_parse(&m, text, len, "t", &err))
		fail_msg("%s", err.text);
	assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 5);
	assert_int_equal(m.n_services, services);
	assert_int_equal(m.services[0].n_backends, backends);
	lb_model_free(&m);
	free(text);
}

/* The parser's own promises (fuzz_config.c) on texts near the example. */
static void test_mutations(void **state)
{
	static const char bytes[] = "\n\n  -[]{}:,\"'#&*!|>/0195azAZ\t\r\x7f\x80\xff";
	uint8_t text[sizeof(example)];

	(void)state;
	test_seed();
	for (int i = 0; i < 20000; i++) {
		size_t len = sizeof(example) - 1;

		memcpy(text, example, len);
		for (uint32_t n = test_random(4); n; n--) {
			size_t at = test_random((uint32_t)len), cut = test_random(8);

			if (test_random(2) && at + cut < len) {
				memmove(text + at, text + at + cut, len - at - cut);
				len -= cut;
			} else {
				text[at] = (uint8_t)bytes[test_random(sizeof(bytes))];
			}
		}
		LLVMFuzzerTestOneInput(text, len);
	}
}

/* ---------------------------------------------------------------------------- files */

static void test_load_file(void **state)
{
	char path[] = "/tmp/test_config.XXXXXX";
	int fd = mkstemp(path), ret;
	struct lb_err err = {.text = ""};
	char message[256];
	struct lb_model m;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, example, strlen(example)), strlen(example));
	ret = lb_config_load(&m, path, &err);
	assert_string_equal(err.text, "");
	assert_int_equal(ret, 0);
	assert_int_equal(m.n_services, 2);
	lb_model_free(&m);

	assert_int_equal(write(fd, "x", 1), 1);
	assert_int_equal(lb_config_load(&m, path, &err), -EINVAL);
	snprintf(message, sizeof(message), "%s:24: ", path);
	assert_memory_equal(err.text, message, strlen(message));

	/* One byte too large; sparse. */
	assert_int_equal(ftruncate(fd, (off_t)LB_CONFIG_SIZE_MAX + 1), 0);
	assert_int_equal(lb_config_load(&m, path, &err), -E2BIG);
	snprintf(message, sizeof(message),
		 "%s:1: config: \"67108865 bytes\": too large: write at most 67108864", path);
	assert_string_equal(err.text, message);
	assert_int_equal(m.n_services, 0);
	close(fd);
	unlink(path);
}

static void test_load_fails(void **state)
{
	struct lb_err err;
	struct lb_model m;

	(void)state;
	memset(&m, 0xff, sizeof(m));
	assert_int_equal(lb_config_load(&m, "/nonexistent/m.yaml", &err), -ENOENT);
	assert_string_equal(err.text, "/nonexistent/m.yaml: cannot open the config: "
				      "No such file or directory");
	assert_int_equal(m.n_services, 0);
	assert_null(m.services);
	assert_int_equal(lb_config_load(&m, "/tmp", &err), -EISDIR);
	assert_string_equal(err.text, "/tmp: cannot read the config: Is a directory");
}

/* Standard input is a pipe that hands out the text in pieces. */
static void test_load_stdin(void **state)
{
	const size_t half = strlen(example) / 2;
	int saved = dup(STDIN_FILENO), pipe_fds[2], status;
	struct lb_err err = {.text = ""};
	struct lb_model m;
	pid_t child;

	(void)state;
	assert_int_equal(pipe(pipe_fds), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		bool sent = write(pipe_fds[1], example, half) == (ssize_t)half;

		usleep(50000);
		sent &= write(pipe_fds[1], example + half, strlen(example) - half) > 0;
		for (int i = 0; i < 20000; i++) /* longer than any first guess */
			sent &= write(pipe_fds[1], "# comment\n", 10) == 10;
		_exit(!sent);
	}
	close(pipe_fds[1]);
	dup2(pipe_fds[0], STDIN_FILENO);
	close(pipe_fds[0]);
	lb_config_load(&m, "-", &err);
	dup2(saved, STDIN_FILENO);
	close(saved);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_string_equal(err.text, "");
	assert_int_equal(m.n_services, 2);
	lb_model_free(&m);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_example),     cmocka_unit_test(test_same),
		cmocka_unit_test(test_names_taken), cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_large),       cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_load_file),   cmocka_unit_test(test_load_fails),
		cmocka_unit_test(test_load_stdin),  cmocka_unit_test(test_byte_order_mark),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
