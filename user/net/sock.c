// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * sock.c - ports on which programs of this host wait for clients, from /proc/net.
 *
 * Not by sock_diag: that needs modules (tcp_diag, udp_diag) which a host may lack.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/list.h"
#include "sock.h"

#define LB_TCP_CLOSE  7 /* enum in the kernel's net/tcp_states.h; of an unconnected UDP socket */
#define LB_TCP_LISTEN 10

/* "0100007F:1F90", or 32 digits: words in the host's byte order that hold the address's bytes. */
static int endpoint_from_hex(struct lb_endpoint *at, const char *text)
{
	uint32_t word[4] = {0, 0, htonl(0xffff), 0};
	size_t n = strcspn(text, ":") / 8;

	if ((n != 1 && n != 4) || text[8 * n] != ':')
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		char digits[9] = "";

		memcpy(digits, text + 8 * i, 8);
		word[4 - n + i] = strtoul(digits, NULL, 16);
	}
	memcpy(&at->addr, word, sizeof(at->addr));
	/* An IPv6 socket bound to an IPv4 address is an IPv4 one in all but name. */
	at->family = n == 1 || IN6_IS_ADDR_V4MAPPED((struct in6_addr *)word) ? LB_V4 : LB_V6;
	at->port = strtoul(text + 8 * n + 1, NULL, 16);
	return 0;
}

static bool is_loopback(const struct lb_endpoint *at)
{
	static const struct lb_addr one = {{[15] = 1}};

	if (at->family == LB_V4)
		return at->addr.b[12] == 127;
	return !memcmp(&at->addr, &one, sizeof(one));
}

static bool is_any(const struct lb_endpoint *at)
{
	for (size_t i = at->family == LB_V4 ? 12 : 0; i < sizeof(at->addr); i++)
		if (at->addr.b[i])
			return false;
	return true;
}

static int listener_add(struct lb_listeners *l, const struct lb_listener *one)
{
	struct lb_listener *new = lb_list_add((void **)&l->list, &l->n, sizeof(*new));

	if (!new)
		return -ENOMEM;
	*new = *one;
	return 0;
}

enum { FIELD_LOCAL = 1, FIELD_STATE = 3, FIELD_INODE = 9, FIELDS };

static int line_split(char *line, char *fields[FIELDS])
{
	char *rest = line;

	for (int i = 0; i < FIELDS; i++) {
		fields[i] = strtok_r(i ? NULL : line, " ", &rest);
		if (!fields[i])
			return -EINVAL;
	}
	return 0;
}

static int listeners_read_file(struct lb_listeners *l, const char *path, enum lb_proto proto)
{
	unsigned long want = proto == LB_TCP ? LB_TCP_LISTEN : LB_TCP_CLOSE;
	FILE *f = fopen(path, "re");
	char line[512], *fields[FIELDS];
	int err = 0;

	if (!f)
		return errno == ENOENT ? 0 : -errno; /* IPv6 switched off at boot */
	while (!err && fgets(line, sizeof(line), f)) {
		struct lb_listener one = {.proto = proto};

		if (line_split(line, fields) || endpoint_from_hex(&one.at, fields[FIELD_LOCAL]))
			continue; /* the heading */
		if (strtoul(fields[FIELD_STATE], NULL, 16) != want) {
			if (proto == LB_TCP)
				break; /* the listening ones come first: spare the rest */
			continue;
		}
		one.inode = strtoull(fields[FIELD_INODE], NULL, 10);
		if (!is_loopback(&one.at))
			err = listener_add(l, &one);
	}
	fclose(f);
	return err;
}

int lb_listeners_read(struct lb_listeners *l)
{
	static const struct {
		const char *path;
		enum lb_proto proto;
	} files[] = {{"/proc/net/tcp", LB_TCP},
		     {"/proc/net/tcp6", LB_TCP},
		     {"/proc/net/udp", LB_UDP},
		     {"/proc/net/udp6", LB_UDP}};
	int err = 0;

	*l = (struct lb_listeners){};
	for (size_t i = 0; !err && i < sizeof(files) / sizeof(files[0]); i++)
		err = listeners_read_file(l, files[i].path, files[i].proto);
	if (err)
		lb_listeners_free(l);
	return err;
}

void lb_listeners_free(struct lb_listeners *l)
{
	free(l->list);
	*l = (struct lb_listeners){};
}

/* [::] takes IPv4 clients too unless IPV6_V6ONLY is set, which /proc does not tell: but then this
 * address can be bound. */
static bool ipv4_can_be_bound(enum lb_proto proto, uint16_t port)
{
	const struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	int type = proto == LB_TCP ? SOCK_STREAM : SOCK_DGRAM, one = 1;
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	bool free = false;

	if (fd < 0)
		return false;
	if (proto == LB_TCP) /* else old connections are in the way, too */
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	free = !bind(fd, (const struct sockaddr *)&at, sizeof(at));
	close(fd);
	return free;
}

static bool takes_family(const struct lb_listener *one, const struct lb_listen *listen)
{
	if (listen->any == LB_ANY_BOTH || one->at.family == listen->at.family)
		return true;
	return one->at.family == LB_V6 && is_any(&one->at) &&
	       !ipv4_can_be_bound(listen->proto, listen->at.port);
}

const struct lb_listener *lb_listeners_find(const struct lb_listeners *l,
					    const struct lb_listen *listen)
{
	for (size_t i = 0; i < l->n; i++) {
		const struct lb_listener *one = &l->list[i];

		if (one->proto == listen->proto && one->at.port == listen->at.port &&
		    takes_family(one, listen))
			return one;
	}
	return NULL;
}

static bool process_holds(const char *pid, const char *socket)
{
	char path[300], target[64];
	struct dirent *entry;
	bool found = false;
	ssize_t len;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	dir = opendir(path);
	if (!dir)
		return false;
	while (!found && (entry = readdir(dir))) {
		len = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);
		target[len > 0 ? len : 0] = '\0';
		found = !strcmp(target, socket);
	}
	closedir(dir);
	return found;
}

static void process_name(const char *pid, char *name, size_t size)
{
	char path[300];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	f = fopen(path, "re");
	if (!f || !fgets(name, size, f))
		snprintf(name, size, "?");
	name[strcspn(name, "\n")] = '\0';
	if (f)
		fclose(f);
}

pid_t lb_listener_owner(const struct lb_listener *l, char *name, size_t size)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	char socket[64];
	pid_t pid = 0;

	if (!proc)
		return 0;
	snprintf(socket, sizeof(socket), "socket:[%" PRIu64 "]", l->inode);
	while (!pid && (entry = readdir(proc))) {
		if (!isdigit((unsigned char)*entry->d_name) ||
		    !process_holds(entry->d_name, socket))
			continue;
		pid = (pid_t)strtol(entry->d_name, NULL, 10);
		process_name(entry->d_name, name, size);
	}
	closedir(proc);
	return pid;
}
