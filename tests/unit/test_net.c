// SPDX-License-Identifier: GPL-2.0-or-later
/* test_net.c - what the netlink and /proc helpers say of sockets and links that are known here. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/link.h"
#include "net/route.h"
#include "net/sock.h"
#include "net/sysctl.h"

/* Binds to a free port of `addr`; returns the socket and the port. */
static int bind_any_port(int family, int type, const char *addr, uint16_t *port)
{
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6};
	struct sockaddr_in a4 = {.sin_family = AF_INET};
	struct sockaddr *sa = family == AF_INET ? (void *)&a4 : (void *)&a6;
	socklen_t len = family == AF_INET ? sizeof(a4) : sizeof(a6);
	int fd = socket(family, type | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(
		inet_pton(family, addr,
			  family == AF_INET ? (void *)&a4.sin_addr : (void *)&a6.sin6_addr),
		1);
	assert_int_equal(bind(fd, sa, len), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, sa, &len), 0);
	*port = ntohs(family == AF_INET ? a4.sin_port : a6.sin6_port);
	return fd;
}

/* Is a listener found that would lose its clients to a service at `prefix`:<port of the socket>? */
static bool conflicts(int family, int type, const char *addr, const char *prefix, const char *proto)
{
	const struct lb_listener *found;
	struct lb_listeners all;
	struct lb_listen listen;
	char text[64], name[64];
	const char *why;
	uint16_t port;
	int fd = bind_any_port(family, type, addr, &port);

	snprintf(text, sizeof(text), "%s:%u/%s", prefix, port, proto);
	assert_int_equal(lb_listen_parse(&listen, text, &why), 0);
	assert_int_equal(lb_listeners_read(&all), 0);
	found = lb_listeners_find(&all, &listen);
	if (found) {
		assert_int_equal(lb_listener_owner(found, name, sizeof(name)), getpid());
		assert_string_equal(name, "test_net");
	}
	lb_listeners_free(&all);
	close(fd);
	return found;
}

static void test_listeners(void **state)
{
	(void)state;
	assert_true(conflicts(AF_INET, SOCK_STREAM, "0.0.0.0", "*", "tcp"));
	assert_true(conflicts(AF_INET, SOCK_STREAM, "0.0.0.0", "0.0.0.0", "tcp"));
	assert_false(conflicts(AF_INET, SOCK_STREAM, "0.0.0.0", "[::]", "tcp"));
	assert_false(conflicts(AF_INET, SOCK_STREAM, "0.0.0.0", "*", "udp"));
	assert_true(conflicts(AF_INET, SOCK_DGRAM, "0.0.0.0", "*", "udp"));
	assert_true(conflicts(AF_INET6, SOCK_STREAM, "::", "*", "tcp"));
	assert_true(conflicts(AF_INET6, SOCK_STREAM, "::", "0.0.0.0", "tcp"));
	assert_true(conflicts(AF_INET6, SOCK_STREAM, "::", "[::]", "tcp"));
	/* Nobody else's clients reach these. */
	assert_false(conflicts(AF_INET, SOCK_STREAM, "127.0.0.1", "*", "tcp"));
	assert_false(conflicts(AF_INET6, SOCK_DGRAM, "::1", "*", "udp"));
	assert_false(conflicts(AF_INET6, SOCK_STREAM, "::ffff:127.0.0.1", "*", "tcp"));
}

static void test_links(void **state)
{
	char names[256], small[12];
	const struct lb_link *lo;
	struct lb_links links;

	(void)state;
	assert_int_equal(lb_links_read(&links), 0);
	lo = lb_links_find(&links, "lo");
	assert_non_null(lo);
	assert_int_equal(lo->ifindex, 1);
	assert_ptr_equal(lb_links_at(&links, 1), lo);
	assert_null(lb_links_find(&links, "no-such-link"));
	assert_null(lb_links_at(&links, 0x7fffffff));
	assert_non_null(strstr(lb_links_names(&links, names, sizeof(names)), "lo"));
	assert_true(strlen(lb_links_names(&links, small, sizeof(small))) < sizeof(small));
	lb_links_free(&links);
}

static void test_routes(void **state)
{
	struct lb_route route;
	struct lb_addr addr;
	struct lb_nl nl;
	uint8_t family;

	(void)state;
	assert_int_equal(lb_nl_open(&nl, NETLINK_ROUTE), 0);
	assert_int_equal(lb_addr_parse(&addr, &family, "127.0.0.5"), 0);
	assert_int_equal(lb_route_get(&nl, &route, &addr, family), 0);
	assert_int_equal(route.ifindex, 1);
	assert_true(route.local);
	assert_false(route.has_gateway);
	lb_nl_close(&nl);
}

/* A fresh network namespace has no route at all. The last test: there is no way back from it. */
static void test_no_route(void **state)
{
	struct lb_route route;
	struct lb_addr addr;
	struct lb_nl nl;
	uint8_t family;

	(void)state;
	if (unshare(CLONE_NEWNET)) { /* not root */
		skip();
		return;
	}
	assert_int_equal(lb_nl_open(&nl, NETLINK_ROUTE), 0);
	assert_int_equal(lb_addr_parse(&addr, &family, "192.0.2.1"), 0);
	assert_int_equal(lb_route_get(&nl, &route, &addr, family), -ENETUNREACH);
	assert_int_equal(lb_addr_parse(&addr, &family, "2001:db8::1"), 0);
	assert_int_equal(lb_route_get(&nl, &route, &addr, family), -ENETUNREACH);
	lb_nl_close(&nl);
}

static void test_sysctls(void **state)
{
	(void)state;
	assert_in_range(lb_sysctl_get("net/ipv4/conf/lo/forwarding"), 0, 1);
	assert_int_equal(lb_sysctl_get("net/ipv4/conf/no-such-link/forwarding"), -ENOENT);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_listeners), cmocka_unit_test(test_links),
		cmocka_unit_test(test_routes),    cmocka_unit_test(test_sysctls),
		cmocka_unit_test(test_no_route),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
