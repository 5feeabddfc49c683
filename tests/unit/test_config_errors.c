// SPDX-License-Identifier: GPL-2.0-or-later
/* test_config_errors.c - wrong configs, each refused as a whole and by its own message. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "expect.h"

struct wrong {
	const char *text, *message;
};

static void check_wrong(const struct wrong *cases, size_t n)
{
	for (size_t i = 0; i < n; i++)
		expect_refused(cases[i].text, strlen(cases[i].text), cases[i].message);
}
#define CHECK_WRONG(cases) check_wrong(cases, sizeof(cases) / sizeof((cases)[0]))

static const struct wrong wrong_shape[] = {
	{"", "t:1: config: is empty: write at least \"services: []\""},
	{"# nothing\n", "t:2: config: is empty: write at least \"services: []\""},
	{"---\n", "t:2: config: is empty: write at least \"services: []\""},
	{"{}", "t:1: config: has no services: add \"services: []\""},
	{"# cut\ninterfaces: [eth0]\nlimits: {}\n",
	 "t:2: config: has no services: add \"services: []\""},
	{"services:\n", "t:1: services: is empty: write its items, or []"},
	{"services: ~\n",
	 "t:1: services: \"services: ~\": not a list: begin each of its lines with \"- \""},
	{"interfaces:\nservices: []\n", "t:1: interfaces: is empty: write its items, or []"},
	{"services:\n- name: a\n  listen: '*:80'\n  backends:",
	 "t:4: backends: is empty: write its items, or []"},
	{"services", "t:1: config: \"services\": not a mapping: write \"KEY: VALUE\" with "
		     "the keys datapath, interfaces, limits, defaults, timeouts, rates, services"},
	{"- services",
	 "t:1: config: \"- services\": not a mapping: write \"KEY: VALUE\" "
	 "with the keys datapath, interfaces, limits, defaults, timeouts, rates, services"},
	{"service: []", "t:1: key of config: \"service\": unknown: write one of datapath, "
			"interfaces, limits, defaults, timeouts, rates, services"},
	{"datapath: auto\n\nservcies: []\n",
	 "t:3: key of config: \"servcies\": unknown: write one of datapath, interfaces, "
	 "limits, defaults, timeouts, rates, services"},
	{"services: []\ndatapath: auto\nservices: []\n",
	 "t:3: key of config: \"services\": is there twice: write it once"},
	{"services: []\n---\nservices: []\n",
	 "t:2: document: \"---\": a second document: a config is one, remove the rest"},
	{"services: {}", "t:1: services: \"services: {}\": not a list: begin each of its "
			 "lines with \"- \""},
	{"services: a",
	 "t:1: services: \"services: a\": not a list: begin each of its lines with \"- \""},
	{"services: [a]",
	 "t:1: service: \"services: [a]\": not a mapping: write \"KEY: VALUE\" with the "
	 "keys name, listen, scheduler, maglev-size, forwarding, unknown, on-remove, affinity, "
	 "timeouts, max-connections, backends"},
	{"services: [[]]",
	 "t:1: service: \"services: [[]]\": not a mapping: write \"KEY: VALUE\" with the "
	 "keys name, listen, scheduler, maglev-size, forwarding, unknown, on-remove, affinity, "
	 "timeouts, max-connections, backends"},
	{"limits: []",
	 "t:1: limits: \"limits: []\": not a mapping: write \"KEY: VALUE\" with the keys "
	 "connections, connections6, services, backends, ring-slots"},
	{"limits: 5",
	 "t:1: limits: \"limits: 5\": not a mapping: write \"KEY: VALUE\" with the keys "
	 "connections, connections6, services, backends, ring-slots"},
	{"? [a]\n: b\n", "t:1: key of config: \"? [a]\": not one value: write its name"},
	{"\"\": b\n", "t:1: key of config: \"\": is empty: write its name"},
	{"\"services\\0\": []\n",
	 "t:1: key of config: \"services\": has a NUL character: write its name"},
	{"services:\n  - name: a\n    port: 80\n",
	 "t:3: key of service: \"port\": unknown: write one of name, listen, scheduler, "
	 "maglev-size, forwarding, unknown, on-remove, affinity, timeouts, max-connections, "
	 "backends"},
	{"services:\n  - name: a\n    listen: ['*:80'\n    backends: []\n",
	 "t:4: syntax: \"backends: []\": while parsing a flow sequence: did not find "
	 "expected ',' or ']'"},
	{"services:\n  - name: a\n    listen: *:80\n",
	 "t:3: syntax: \"listen: *:80\": while scanning an alias: did not find expected "
	 "alphabetic or numeric character; what begins with * needs quotes: \"*:80\""},
	{"services:\n  - name: a\n    listen: [::1]:80\n",
	 "t:3: syntax: \"listen: [::1]:80\": while parsing a flow node: did not find "
	 "expected node content; an IPv6 address needs quotes: \"[::1]:80\""},
	{"services:\n\t- name: a\n",
	 "t:2: syntax: \"- name: a\": while scanning for the next token: found character "
	 "that cannot start any token; indent by spaces, not tabs"},
	{"datapath: auto\nservices\n",
	 "t:2: syntax: \"services\": while scanning a simple key: could not find expected "
	 "':'"},
	{"services: []\ninterfaces: [eth0\n\n",
	 "t:2: syntax: \"interfaces: [eth0\": while parsing a flow sequence: did not find "
	 "expected ',' or ']'"},
	{"services: []\ndatapath: \"auto\n\n\n",
	 "t:2: syntax: \"datapath: \"auto\": while scanning a quoted scalar: found "
	 "unexpected end of stream"},
	{"services: &a []\n", "t:1: anchor: \"a\": anchors are not supported: remove it"},
	{"services: *a\n", "t:1: alias: \"a\": aliases are not supported: write the value itself"},
	{"services: !!seq []\n",
	 "t:1: tag: \"tag:yaml.org,2002:seq\": tags are not supported: remove it"},
	{"datapath: !x auto\n", "t:1: tag: \"!x\": tags are not supported: remove it"},
};

static void test_wrong_shape(void **state)
{
	(void)state;
	CHECK_WRONG(wrong_shape);
}

static const struct wrong wrong_values[] = {
	{"datapath: xdp",
	 "t:1: datapath: \"xdp\": unknown datapath: write one of auto, ebpf, nft, ipvs"},
	{"datapath:", "t:1: datapath: \"\": is empty: write one of auto, ebpf, nft, ipvs"},
	{"datapath: [auto]",
	 "t:1: datapath: \"datapath: [auto]\": not one value: write one of auto, ebpf, nft, ipvs"},
	{"interfaces: [{hook: tc}]", "t:1: interface: has no name: add \"name: NAME\""},
	{"interfaces: [{name: eth0, hook: xpd}]",
	 "t:1: hook: \"xpd\": unknown hook: write one of auto, xdp, xdp-generic, tc"},
	{"interfaces: [{name: eth0, mode: tc}]",
	 "t:1: key of interface: \"mode\": unknown: write one of name, hook"},
	{"interfaces:\n- a234567890123456\n",
	 "t:2: interface: \"a234567890123456\": not a name: up to 15 characters, no space, "
	 "\"/\" or \":\""},
	{"interfaces:\n- eth0\n- ../x\n", "t:3: interface: \"../x\": not a name: up to 15 "
					  "characters, no space, \"/\" or \":\""},
	{"interfaces: ['a b']", "t:1: interface: \"a b\": not a name: up to 15 characters, "
				"no space, \"/\" or \":\""},
	{"interfaces: ['..']", "t:1: interface: \"..\": not a name: up to 15 characters, "
			       "no space, \"/\" or \":\""},
	{"interfaces: [\"a\\x07\"]", "t:1: interface: \"a\\x07\": not a name: up to 15 "
				     "characters, no space, \"/\" or \":\""},
	{"interfaces: ['']", "t:1: interface: \"\": is empty: write its name"},
	{"interfaces: [eth0,\n eth1,\n {name: eth0, hook: tc}]\nservices: []",
	 "t:3: interface: \"eth0\": already in line 1: write it once"},
	{"limits: {connections: 1023}", "t:1: limits.connections: \"1023\": out of range: "
					"write a number from 1024 to 500000000"},
	{"limits: {connections: 500000001}",
	 "t:1: limits.connections: \"500000001\": out of range: write a number from 1024 "
	 "to 500000000"},
	{"limits: {connections6: 0}", "t:1: limits.connections6: \"0\": out of range: "
				      "write a number from 1024 to 500000000"},
	{"limits: {services: 0}",
	 "t:1: limits.services: \"0\": out of range: write a number from 1 to 1000000"},
	{"limits: {services: 1000001}", "t:1: limits.services: \"1000001\": out of range: "
					"write a number from 1 to 1000000"},
	{"limits: {backends: 1048576}", "t:1: limits.backends: \"1048576\": out of range: "
					"write a number from 1 to 262143"},
	{"limits: {ring-slots: 1073741825}",
	 "t:1: limits.ring-slots: \"1073741825\": out of range: write a number from 1024 "
	 "to 1073741824"},
	{"limits: {ring-slots: 99999999999999999999}",
	 "t:1: limits.ring-slots: \"99999999999999999999\": not a plain decimal number: "
	 "write a number from 1024 to 1073741824"},
	{"limits: {services: -1}", "t:1: limits.services: \"-1\": not a plain decimal "
				   "number: write a number from 1 to 1000000"},
	{"limits: {services: 1e3}", "t:1: limits.services: \"1e3\": not a plain decimal "
				    "number: write a number from 1 to 1000000"},
	{"limits: {services: 0x10}", "t:1: limits.services: \"0x10\": not a plain decimal "
				     "number: write a number from 1 to 1000000"},
	{"limits: {services: 010}", "t:1: limits.services: \"010\": not a plain decimal "
				    "number: write a number from 1 to 1000000"},
	{"limits: {services: many}", "t:1: limits.services: \"many\": not a plain decimal "
				     "number: write a number from 1 to 1000000"},
	{"limits: {services: }",
	 "t:1: limits.services: \"\": is empty: write a number from 1 to 1000000"},
	{"limits: {service: 5}",
	 "t:1: key of limits: \"service\": unknown: write one of connections, "
	 "connections6, services, backends, ring-slots"},
	{"limits: {services: 5, services: 6}",
	 "t:1: key of limits: \"services\": is there twice: write it once"},
	{"defaults: {scheduler: dh}", "t:1: scheduler: \"dh\": unknown scheduler: write "
				      "one of rr, wrr, random, sh, maglev, lc, wlc"},
	{"defaults: {scheduler: ''}",
	 "t:1: scheduler: \"\": is empty: write one of rr, wrr, random, sh, maglev, lc, wlc"},
	{"services: [{name: a, listen: '*:1', forwarding: dsr}]",
	 "t:1: forwarding: \"dsr\": unknown forwarding: write one of nat, masq"},
	{"services: [{name: a, listen: '*:1', unknown: pass}]",
	 "t:1: unknown: \"pass\": unknown unknown: write one of hash, reset, drop"},
	{"services: [{name: a, listen: '*:1', on-remove: hash}]",
	 "t:1: on-remove: \"hash\": unknown on-remove: write one of reset, rehash, drop"},
	{"defaults: {maglev-size: 65536}",
	 "t:1: maglev-size: \"65536\": not a prime number: the next one is 65537"},
	{"defaults: {maglev-size: 1}",
	 "t:1: maglev-size: \"1\": out of range: write a number from 2 to 655373"},
	{"defaults: {maglev-size: 655374}",
	 "t:1: maglev-size: \"655374\": out of range: write a number from 2 to 655373"},
	{"defaults: {weight: 1}",
	 "t:1: key of defaults: \"weight\": unknown: write one of scheduler, maglev-size"},
};

static void test_wrong_values(void **state)
{
	(void)state;
	CHECK_WRONG(wrong_values);
}

#define SERVICE "services:\n- name: a\n  listen: ['*:80']\n"
#define BACKEND SERVICE "  backends:\n  - 10.0.0.1:80\n  - "

static const struct wrong wrong_services[] = {
	{"services:\n- listen: '*:80'\n", "t:2: service: has no name: add \"name: NAME\""},
	{"services:\n- {}\n", "t:2: service: has no name: add \"name: NAME\""},
	{"services:\n- name: a\n",
	 "t:2: service: \"a\": has no listen: add \"listen: ['*:PORT']\""},
	{"services:\n- name: a\n  listen: []\n",
	 "t:2: service: \"a\": has no listen: add \"listen: ['*:PORT']\""},
	{"services:\n- name: ''\n",
	 "t:2: service name: \"\": is empty: write letters, digits and \"_.-\""},
	{"services:\n- name: .a\n", "t:2: service name: \".a\": write a letter or digit, "
				    "then up to 62 more or \"_.-\""},
	{"services:\n- name: a b\n", "t:2: service name: \"a b\": write a letter or digit, "
				     "then up to 62 more or \"_.-\""},
	{"services:\n- name: 'a/b'\n", "t:2: service name: \"a/b\": write a letter or "
				       "digit, then up to 62 more or \"_.-\""},
	{"services:\n- name: m\xc3\xbcller\n",
	 "t:2: service name: \"m\\xc3\\xbcller\": write a letter or digit, then up to 62 "
	 "more or \"_.-\""},
	{"services:\n- name: "
	 "a234567890123456789012345678901234567890123456789012345678901234\n",
	 "t:2: service name: "
	 "\"a234567890123456789012345678901234567890123456789012345678901234\": write a "
	 "letter or digit, then up to 62 more or \"_.-\""},
	{SERVICE "  name: b\n", "t:4: key of service: \"name\": is there twice: write it once"},
	{SERVICE "  scheduler: dh\n", "t:4: scheduler: \"dh\": unknown scheduler: write "
				      "one of rr, wrr, random, sh, maglev, lc, wlc"},
	{SERVICE "  maglev-size: 100\n",
	 "t:4: maglev-size: \"100\": not a prime number: the next one is 101"},
	{SERVICE "- name: b\n  listen: '*:81'\n- name: a\n  listen: '*:82'\n",
	 "t:6: service: \"a\": already in line 2: give each its own name"},
	{"services:\n- name: a\n  listen:\n  - '*:80'\n  - '*:0'\n",
	 "t:5: listen: \"*:0\": a port is a number from 1 to 65535"},
	{"services:\n- name: a\n  listen: '*:80/sctp'\n",
	 "t:3: listen: \"*:80/sctp\": a protocol is /tcp or /udp"},
	{"services:\n- name: a\n  listen: 10.0.0.300:80\n",
	 "t:3: listen: \"10.0.0.300:80\": not an IP address: write A.B.C.D:PORT or "
	 "[IPV6]:PORT"},
	{"services:\n- name: a\n  listen: 80\n",
	 "t:3: listen: \"80\": no port: write A.B.C.D:PORT or [IPV6]:PORT"},
	{"services:\n- name: a\n  listen: 224.0.0.1:80\n",
	 "t:3: listen: \"224.0.0.1:80\": a group address: write that of one host"},
	{"services:\n- name: a\n  listen: 127.0.0.2:80\n",
	 "t:3: listen: \"127.0.0.2:80\": a loopback address, which no packet on a network has"},
	{"services:\n- name: a\n  listen: '[febf::1]:80'\n",
	 "t:3: listen: \"[febf::1]:80\": a link-local address, which means nothing without its "
	 "link: write another of the host's"},
	{"services:\n- name: a\n  listen: ['[::ffff:10.0.0.1]:80']\n",
	 "t:3: listen: \"[::ffff:10.0.0.1]:80\": an IPv4-mapped IPv6 address: write the "
	 "IPv4 address itself"},
	{"services:\n- name: a\n  listen: [[::1]:80]\n",
	 "t:3: listen: \"listen: [[::1]:80]\": not one value: write *:PORT, A.B.C.D:PORT "
	 "or [IPV6]:PORT; an IPv6 address needs quotes: \"[::1]:80\""},
	{"services:\n- name: a\n  listen: {port: 80}\n",
	 "t:3: listen: \"listen: {port: 80}\": not a list: begin each of its lines with "
	 "\"- \""},
	{BACKEND "10.0.0.300:80\n", "t:6: backend: \"10.0.0.300:80\": not an IP address: "
				    "write A.B.C.D:PORT or [IPV6]:PORT"},
	{BACKEND "10.0.0.2:0\n",
	 "t:6: backend: \"10.0.0.2:0\": a port is a number from 1 to 65535"},
	{BACKEND "10.0.0.2\n",
	 "t:6: backend: \"10.0.0.2\": no port: write A.B.C.D:PORT or [IPV6]:PORT"},
	{BACKEND "node2:80\n", "t:6: backend: \"node2:80\": not an IP address: write "
			       "A.B.C.D:PORT or [IPV6]:PORT"},
	{BACKEND "0.0.0.0:80\n",
	 "t:6: backend: \"0.0.0.0:80\": the unspecified address: write the backend's own"},
	{BACKEND "'[::]:80'\n",
	 "t:6: backend: \"[::]:80\": the unspecified address: write the backend's own"},
	{BACKEND "127.0.0.1:80\n", "t:6: backend: \"127.0.0.1:80\": a loopback address, which no "
				   "packet on a network has"},
	{BACKEND "255.255.255.255:80\n",
	 "t:6: backend: \"255.255.255.255:80\": a reserved address, which no host has"},
	{BACKEND "'[fe80::1]:80'\n", "t:6: backend: \"[fe80::1]:80\": a link-local address, which "
				     "means nothing without its link: write another of the host's"},
	{BACKEND "10.0.0.2:80/tcp\n",
	 "t:6: backend: \"10.0.0.2:80/tcp\": a protocol is for `listen`, "
	 "and its backends have the same: write no /tcp"},
	{BACKEND "224.0.0.1:80\n",
	 "t:6: backend: \"224.0.0.1:80\": a group address: write that of one host"},
	{BACKEND "'[ff02::1]:80'\n",
	 "t:6: backend: \"[ff02::1]:80\": a group address: write that of one host"},
	{BACKEND "'[::ffff:10.0.0.1]:80'\n",
	 "t:6: backend: \"[::ffff:10.0.0.1]:80\": an IPv4-mapped IPv6 address: write the "
	 "IPv4 address itself"},
	{BACKEND "[fd00::1]:80\n",
	 "t:6: backend: \"- [fd00::1]:80\": not a mapping: write \"KEY: VALUE\" with the "
	 "keys address, weight, max-connections; an IPv6 address needs quotes: \"[::1]:80\""},
	{BACKEND "{weight: 5}\n", "t:6: backend: has no address: add \"address: A.B.C.D:PORT\""},
	{BACKEND "{address: [fd00::1]:80}\n",
	 "t:6: backend: \"- {address: [fd00::1]:80}\": not one value: write A.B.C.D:PORT "
	 "or [IPV6]:PORT; an IPv6 address needs quotes: \"[::1]:80\""},
	{BACKEND "{address: 10.0.0.2:80, weight: 65536}\n",
	 "t:6: weight: \"65536\": out of range: write a number from 0 to 65535"},
	{BACKEND "{address: 10.0.0.2:80, weight: -1}\n",
	 "t:6: weight: \"-1\": not a plain decimal number: write a number from 0 to 65535"},
	{BACKEND "{address: 10.0.0.2:80, weight: 1.5}\n",
	 "t:6: weight: \"1.5\": not a plain decimal number: write a number from 0 to "
	 "65535"},
	{BACKEND "{address: 10.0.0.2:80, weigth: 1}\n",
	 "t:6: key of backend: \"weigth\": unknown: write one of address, weight, max-connections"},
	{BACKEND "{address: 10.0.0.2:80}\n  - {address: '10.0.0.1:80', weight: 3}\n",
	 "t:7: backend: \"10.0.0.1:80\": already in line 5 of service a: write it once"},
	{SERVICE "  backends: 10.0.0.1:80\n",
	 "t:4: backends: \"backends: 10.0.0.1:80\": not a list: begin each of its lines "
	 "with \"- \""},
};

static void test_wrong_services(void **state)
{
	(void)state;
	CHECK_WRONG(wrong_services);
}

/* Each of the second and third listen takes what the one before has. */
static void test_wrong_listens(void **state)
{
	static const char *const twice[][2] = {
		{"*:80", "*:80/tcp"},
		{"*:80", "0.0.0.0:80"},
		{"0.0.0.0:80", "*:80"},
		{"*:80", "[::]:80"},
		{"[::]:80", "*:80"},
		{"0.0.0.0:80", "0.0.0.0:80/tcp"},
		{"10.0.0.9:80/udp", "10.0.0.9:80/udp"},
		{"[fd00::9]:80", "[fd00:0::9]:80"},
	};
	char text[512], message[256], at[LB_ENDPOINT_STRLEN];
	struct lb_listen l;
	const char *why;

	(void)state;
	for (size_t i = 0; i < sizeof(twice) / sizeof(twice[0]); i++) {
		for (int two = 0; two < 2; two++) { /* in one service, in two */
			snprintf(
				text, sizeof(text),
				"services:\n- name: z\n  backends:\n  - 10.0.0.1:80\n"
				"  - '[fd00::1]:80'\n  listen:\n  - '*:81'\n  - '%s'\n%s  - '%s'\n",
				twice[i][0],
				two ? "- name: b\n  backends: [10.0.0.1:80, '[fd00::1]:80']\n"
				      "  listen:\n"
				    : "",
				twice[i][1]);
			assert_int_equal(lb_listen_parse(&l, twice[i][1], &why), 0);
			snprintf(message, sizeof(message),
				 "t:%d: listen: \"%s\": service z has it already, in line 8: "
				 "give it to one",
				 two ? 12 : 9, lb_listen_str(at, &l));
			expect_refused(text, strlen(text), message);
		}
	}
}

static void test_wrong_families(void **state)
{
	static const struct wrong cases[] = {
		{"services:\n- name: a\n  listen: 10.0.0.9:80\n",
		 "t:3: listen: \"10.0.0.9:80/tcp\": service a has no IPv4 backend: add one"},
		{"services:\n- name: a\n  listen:\n  - '*:80'\n  - '[fd00::9]:80'\n"
		 "  backends: [10.0.0.1:80]\n",
		 "t:5: listen: \"[fd00::9]:80/tcp\": service a has no IPv6 backend: add one"},
		{"services:\n- name: a\n  listen: 0.0.0.0:53/udp\n  backends: ['[fd00::1]:80']\n",
		 "t:3: listen: \"0.0.0.0:53/udp\": service a has no IPv4 backend: add one"},
		{"services:\n- name: a\n  listen: '[::]:80'\n  backends: [10.0.0.1:80]\n",
		 "t:3: listen: \"[::]:80/tcp\": service a has no IPv6 backend: add one"},
	};

	(void)state;
	CHECK_WRONG(cases);
}

static void test_wrong_numbers(void **state)
{
	static const struct wrong cases[] = {
		{"limits: {services: 2}\nservices:\n- {name: z, listen: '*:1'}\n"
		 "- {name: y, listen: '*:2'}\n- {name: a, listen: '*:3'}\n",
		 "t:5: number of services: \"3\": limits.services is 2: raise it"},
		{"services:\n- {name: z, listen: '*:1', backends: [10.0.0.1:1, 10.0.0.1:2]}\n"
		 "- {name: a, listen: '*:2', backends: [10.0.0.1:3, 10.0.0.1:4]}\n"
		 "limits: {backends: 3}\n",
		 "t:3: backends of service: \"a\": with those before, more than limits.backends, "
		 "3: raise it"},
		/* Equal rings are one: that of y is that of z. */
		{"limits: {ring-slots: 2048}\n"
		 "defaults: {maglev-size: 997, scheduler: maglev}\nservices:\n"
		 "- {name: z, listen: '*:1', backends: [10.0.0.1:1, '[fd00::1]:1']}\n"
		 "- {name: y, listen: '*:2', backends: [10.0.0.1:1]}\n"
		 "- {name: a, listen: '*:3', backends: [10.0.0.2:1]}\n",
		 "t:6: service: \"a\": with those before, its ring is more than "
		 "limits.ring-slots, 2048, has room for: raise it to 3072 at least"},
		{"defaults: {maglev-size: 2, scheduler: maglev}\nservices:\n"
		 "- {name: z, listen: '*:1', backends: [10.0.0.1:1, 10.0.0.1:2, '[fd00::1]:1']}\n"
		 "- {name: a, listen: '*:2', backends: [10.0.0.1:1, 10.0.0.1:2, 10.0.0.1:3]}\n",
		 "t:4: service: \"a\": maglev-size 2 is less than its 3 backends: a prime of 100 "
		 "times as many spreads well"},
	};

	(void)state;
	CHECK_WRONG(cases);
}

/* One more than a ring's positions can tell apart. */
static void test_too_many_backends(void **state)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	(void)state;
	assert_non_null(out);
	fprintf(out, SERVICE "  backends:\n");
	for (int i = 0; i < 65536; i++)
		fprintf(out, "  - 10.0.%d.%d:80\n", i >> 8, i & 255);
	fclose(out);
	expect_refused(
		text, len,
		"t:2: backends of service: \"a\": 65536 of one address family: at most 65535");
	free(text);
}

static void test_bytes(void **state)
{
	static const struct {
		const char *text;
		size_t len;
		const char *message;
	} cases[] = {
		{"a\0b", 3, "t:1: text: \"\\x00\": not a printable character in UTF-8"},
		{"services: []\n# \x01\n", 16,
		 "t:2: text: \"\\x01\": not a printable character in UTF-8"},
		{"# \x7f\n", 4, "t:1: text: \"\\x7f\": not a printable character in UTF-8"},
		{"# \xff\n", 4, "t:1: text: \"\\xff\": not a printable character in UTF-8"},
		{"# \x80\n", 4, "t:1: text: \"\\x80\": not a printable character in UTF-8"},
		{"\n\n# \xc3\n", 6,
		 "t:3: text: \"\\xc3\": not a printable character in UTF-8"}, /* truncated */
		{"# \xc3", 3,
		 "t:1: text: \"\\xc3\": not a printable character in UTF-8"}, /* at the end */
		{"# \xc0\xaf\n", 5,
		 "t:1: text: \"\\xc0\": not a printable character in UTF-8"}, /* overlong */
		{"# \xe0\x80\xaf\n", 6,
		 "t:1: text: \"\\xe0\": not a printable character in UTF-8"}, /* overlong */
		{"# \xe0\x82\xa9\n", 6,
		 "t:1: text: \"\\xe0\": not a printable character in UTF-8"}, /* U+A9, overlong */
		{"# \xf0\x82\x82\xac\n", 7,
		 "t:1: text: \"\\xf0\": not a printable character in UTF-8"}, /* U+20AC, overlong */
		{"# \xed\xa0\x80\n", 6,
		 "t:1: text: \"\\xed\": not a printable character in UTF-8"}, /* surrogate */
		{"# \xf4\x90\x80\x80\n", 7,
		 "t:1: text: \"\\xf4\": not a printable character in UTF-8"}, /* above U+10FFFF */
		{"# \xf8\x88\x80\x80\x80\n", 8,
		 "t:1: text: \"\\xf8\": not a printable character in UTF-8"}, /* five bytes */
		{"# \xc2\x80\n", 5,
		 "t:1: text: \"\\xc2\": not a printable character in UTF-8"}, /* C1 control */
		{"# \xef\xbf\xbf\n", 6,
		 "t:1: text: \"\\xef\": not a printable character in UTF-8"}, /* U+FFFF */
	};
	static const char good[] = "# \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\t\r\nservices: []\n";
	struct lb_err err;
	struct lb_model m;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_refused(cases[i].text, cases[i].len, cases[i].message);
	assert_int_equal(lb_config_parse(&m, good, strlen(good), "t", &err), 0);
	lb_model_free(&m);
}

/* At the smallest limit there is room for 1,024 listens: of one family, or half as many. */
static void test_too_many_listens(void **state)
{
	static const struct {
		const char *item, *message;
		int fit;
	} cases[] = {
		{"'0.0.0.0:%d'",
		 "t:1027: listen: \"0.0.0.0:1025/tcp\": with those before, more "
		 "than the 1024 (* counts twice) that limits.services, 1, has room "
		 "for: raise it",
		 1024},
		{"'*:%d'",
		 "t:515: listen: \"*:513/tcp\": with those before, more than the 1024 "
		 "(* counts twice) that limits.services, 1, has room for: raise it",
		 512},
	};
	char *text, *p;

	(void)state;
	text = malloc(65536);
	assert_non_null(text);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (int more = 0; more < 2; more++) {
			struct lb_err err;
			struct lb_model m;

			p = text + sprintf(text, "limits: {services: 1}\nservices: [{name: a, "
						 "backends: [10.0.0.1:1], listen: [\n");
			for (int port = 1; port <= cases[i].fit + more; port++) {
				p += sprintf(p, cases[i].item, port);
				p += sprintf(p, ",\n");
			}
			sprintf(p, "]}]\n");
			if (more) {
				expect_refused(text, strlen(text), cases[i].message);
			} else {
				assert_int_equal(lb_config_parse(&m, text, strlen(text), "t", &err),
						 0);
				lb_model_free(&m);
			}
		}
	}
	free(text);
}

static void test_bomb(void **state)
{
	static const char bomb[] = "a: &a [x,x,x,x,x,x,x,x,x]\n"
				   "b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
				   "services: [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n";
	static const char hidden[] = "services: &b\n- &a {name: a, listen: '*:80'}\n- *a\n";
	static const char merge[] = "services:\n- {name: a, <<: *x}\n";

	(void)state;
	expect_refused(
		bomb, strlen(bomb),
		"t:1: key of config: \"a\": unknown: write one of datapath, interfaces, limits, "
		"defaults, timeouts, rates, services");
	expect_refused(hidden, strlen(hidden),
		       "t:1: anchor: \"b\": anchors are not supported: remove it");
	expect_refused(
		merge, strlen(merge),
		"t:2: key of service: \"<<\": unknown: write one of name, listen, scheduler, "
		"maglev-size, forwarding, unknown, on-remove, affinity, timeouts, max-connections, "
		"backends");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wrong_shape),
		cmocka_unit_test(test_wrong_values),
		cmocka_unit_test(test_wrong_services),
		cmocka_unit_test(test_wrong_listens),
		cmocka_unit_test(test_wrong_families),
		cmocka_unit_test(test_wrong_numbers),
		cmocka_unit_test(test_too_many_backends),
		cmocka_unit_test(test_too_many_listens),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_bomb),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
