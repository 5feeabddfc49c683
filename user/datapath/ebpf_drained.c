/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_drained.c - lb_backend.drained: that a backend takes no new connections, as the programs
 * know it who have one in their hands already (bpf/affinity.h). It is committed with all else.
 */
#include "ebpf_internal.h"

/* From the next generation on. True: until then it is not so. */
bool lb_drained_set(const struct lb_tx *tx, __u32 id, bool drained)
{
	struct lb_backend *b = &tx->dp->backends[id];

	if (lb_slot(b->drained, tx->generation) == drained)
		return false;
	lb_select_store(&b->drained, tx->next << 1 | drained);
	return true;
}

const char *lb_drained_why_wrong(const struct lb_dp *dp, __u32 id, bool drained)
{
	__u32 select = dp->backends[id].drained, generation = lb_generation(dp);

	if (lb_slot(select, generation) != drained)
		return drained ? "it takes new connections, and its weight is 0"
			       : "it takes no new connections, and its weight is not 0";
	/* The next one is what an interrupted apply leaves. */
	return select >> 1 > generation + 1
		       ? "it is drained, or not, from a generation that is to come"
		       : NULL;
}
