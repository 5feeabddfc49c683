/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sock.h - ports on which programs of this host wait for clients. */
#ifndef LB_SOCK_H
#define LB_SOCK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/model.h"

struct lb_listener {
	uint8_t proto; /* enum lb_proto */
	struct lb_endpoint at;
	uint64_t inode; /* of the socket */
};

struct lb_listeners {
	struct lb_listener *list;
	size_t n;
};

/* Listening TCP sockets and bound, unconnected UDP ones; those that only this host itself can
 * reach (127.0.0.0/8, ::1) are left out. 0 or -errno. */
int lb_listeners_read(struct lb_listeners *l);
void lb_listeners_free(struct lb_listeners *l);

/* One that takes packets which `listen` (a `*`, 0.0.0.0 or [::] one) wants; NULL: none. */
const struct lb_listener *lb_listeners_find(const struct lb_listeners *l,
					    const struct lb_listen *listen);

/* The process that holds the socket: its pid and name; 0 where it cannot be seen. */
pid_t lb_listener_owner(const struct lb_listener *l, char *name, size_t size);

#endif
