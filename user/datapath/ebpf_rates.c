/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ebpf_rates.c - lb_rates: how many new flows in a second the programs let in. */
#include <arpa/inet.h>
#include <string.h>

#include "ebpf_internal.h"

static void mask_make(__be32 mask[4], __u32 bits)
{
	for (__u32 i = 0; i < 4; i++) {
		__u32 n = bits < i * 32 ? 0 : bits - i * 32;

		mask[i] = n < 32 ? htonl(~(~0u >> n)) : ~0u;
	}
}

/* How many bits, at most `max`; 0: it is no mask of a prefix. */
static __u32 mask_bits(const __be32 mask[4], __u32 max)
{
	__be32 should[4];

	for (__u32 bits = 1; bits <= max; bits++) {
		mask_make(should, bits);
		if (!memcmp(should, mask, sizeof(should)))
			return bits;
	}
	return 0;
}

void lb_rates_fill(struct lb_rates *r, const struct lb_rates_conf *conf)
{
	mask_make(r->mask[LB_V4], conf->source_mask);
	mask_make(r->mask[LB_V6], conf->source_mask6);
	__atomic_store_n(&r->per_cpu, conf->per_cpu, __ATOMIC_RELAXED);
	__atomic_store_n(&r->per_source, conf->per_source, __ATOMIC_RELAXED);
}

void lb_rates_read(const struct lb_dp *dp, struct lb_rates_conf *conf)
{
	const struct lb_rates *r = dp->rates;
	__u32 mask = mask_bits(r->mask[LB_V4], 32), mask6 = mask_bits(r->mask[LB_V6], 128);

	*conf = LB_RATES_DEFAULT;
	if (r->per_cpu <= LB_RATE_MAX)
		conf->per_cpu = r->per_cpu;
	if (r->per_source <= LB_RATE_MAX)
		conf->per_source = r->per_source;
	if (mask)
		conf->source_mask = mask;
	if (mask6)
		conf->source_mask6 = mask6;
}

void lb_rates_audit(const struct lb_dp *dp, struct lb_audit *a)
{
	const struct lb_rates *r = dp->rates;

	if (r->per_cpu > LB_RATE_MAX)
		lb_finding(a, "lb_rates: per_cpu is %u, should be at most %u", r->per_cpu,
			   LB_RATE_MAX);
	if (r->per_source > LB_RATE_MAX)
		lb_finding(a, "lb_rates: per_source is %u, should be at most %u", r->per_source,
			   LB_RATE_MAX);
	if (!mask_bits(r->mask[LB_V4], 32))
		lb_finding(a, "lb_rates: mask of IPv4 sources: it is none of a prefix");
	if (!mask_bits(r->mask[LB_V6], 128))
		lb_finding(a, "lb_rates: mask of IPv6 sources: it is none of a prefix");
}
