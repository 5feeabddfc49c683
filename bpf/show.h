/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * show.h - the connection table as text: `cat <bpffs>/meshlb/<instance>/connections`.
 *
 * An iterator over lb_conn4's buckets that prints for each one also the share of lb_conn6's that
 * has the same place in the table, so that one file shows both families.
 */
#ifndef LB_SHOW_H
#define LB_SHOW_H

#include "common.h"
#include "conn.h"
#include <bpf/bpf_tracing.h>

/* No table of strings: rodata pointers need relocations that a section of a program lacks. */
static __always_inline void lb_show_state(struct seq_file *seq, __u32 state, __u32 age)
{
	const char *name = "?";

	switch (state) {
	case LB_CONN_SYN_SENT:
		name = "SYN_SENT";
		break;
	case LB_CONN_SYN_RECV:
		name = "SYN_RECV";
		break;
	case LB_CONN_ESTABLISHED:
		name = "ESTABLISHED";
		break;
	case LB_CONN_FIN_CLIENT:
		name = "FIN_CLIENT";
		break;
	case LB_CONN_FIN_BACKEND:
		name = "FIN_BACKEND";
		break;
	case LB_CONN_CLOSING:
		name = "CLOSING";
		break;
	case LB_CONN_CLOSED:
		name = "CLOSED";
		break;
	case LB_CONN_RESET:
		name = "RESET";
		break;
	case LB_CONN_UDP_NEW:
		name = "UDP_NEW";
		break;
	case LB_CONN_UDP:
		name = "UDP";
		break;
	}
	BPF_SEQ_PRINTF(seq, "%s %u\n", name, age);
}

static __always_inline void lb_show_entry(const int family, struct seq_file *seq,
					  struct lb_conn_head *h, __u32 i, __u32 now)
{
	union lb_conn_key *key = lb_conn_key_at(family, h, i);
	__u32 meta = lb_meta_read(&h->meta[i]), ref = READ_ONCE(key->ref), age;
	const __be32 *client = lb_conn_client_at(family, h, i);
	const __be32 *service = lb_conn_service_at(family, h, i);
	const char *proto = ref & LB_REF_UDP ? "udp" : "tcp";
	struct lb_backend *b;

	if (LB_META_STATE(meta) <= LB_CONN_BUSY || lb_conn_is_affinity(LB_META_STATE(meta)) ||
	    lb_conn_expired(meta, now))
		return;
	b = lb_backend_get(LB_REF_BACKEND(ref));
	if (!b)
		return;
	age = (__u64)lb_conn_age(meta, now) * lb_tick_ms / 1000;
	if (family == LB_V4)
		BPF_SEQ_PRINTF(seq, "%s %pI4:%u %pI4:%u %pI4:%u ", proto, client,
			       bpf_ntohs(key->cport), service, bpf_ntohs(key->sport),
			       &b->addr.b[12], bpf_ntohs(b->port));
	else
		BPF_SEQ_PRINTF(seq, "%s [%pI6]:%u [%pI6]:%u [%pI6]:%u ", proto, client,
			       bpf_ntohs(key->cport), service, bpf_ntohs(key->sport), b->addr.b,
			       bpf_ntohs(b->port));
	lb_show_state(seq, LB_META_STATE(meta), age);
}

/* Loops by callback: verified once, not once a turn. */
struct lb_show {
	struct seq_file *seq;
	__u32 first; /* slot to begin with, counted through all buckets */
	__u32 now;
};

static long lb_show4(__u32 i, struct lb_show *show)
{
	struct lb_conn_head *h = lb_conn_bucket(LB_V4, show->first / LB_CONN4_SLOTS);

	if (h && i < LB_CONN4_SLOTS)
		lb_show_entry(LB_V4, show->seq, h, i, show->now);
	return 0;
}

static long lb_show6(__u32 i, struct lb_show *show)
{
	__u32 slot = i % LB_CONN6_SLOTS;
	struct lb_conn_head *h = lb_conn_bucket(LB_V6, (show->first + i) / LB_CONN6_SLOTS);

	if (h)
		lb_show_entry(LB_V6, show->seq, h, slot, show->now);
	return 0;
}

/* `?`: loaded only where it is asked for, as some kernels refuse it. */
SEC("?iter/bpf_map_elem")
int meshlb_conns(struct bpf_iter__bpf_map_elem *ctx)
{
	struct lb_show show = {.seq = ctx->meta->seq};
	__u32 *key = ctx->key;
	__u32 bucket, end;

	if (!key) /* the end of the table */
		return 0;
	bucket = *key;
	if (!ctx->meta->seq_num)
		BPF_SEQ_PRINTF(show.seq, "proto client service backend state idle\n");
	show.now = lb_now();
	show.first = bucket * LB_CONN4_SLOTS;
	bpf_loop(LB_CONN4_SLOTS, lb_show4, &show, 0);
	show.first = (__u64)bucket * lb_conn6_buckets / lb_conn4_buckets * LB_CONN6_SLOTS;
	end = (__u64)(bucket + 1) * lb_conn6_buckets / lb_conn4_buckets * LB_CONN6_SLOTS;
	bpf_loop(end - show.first, lb_show6, &show, 0);
	return 0;
}

#endif
