/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sample.h - the model and the counters of one moment, and what happened between two. */
#ifndef LB_SAMPLE_H
#define LB_SAMPLE_H

#include <time.h>

#include "cli.h"

struct lb_sample {
	struct lb_session s;
	struct lb_dp_stats stats;
	struct timespec at;
};

int lb_sample_take(struct lb_sample *sample, const struct lb_cli *cli); /* -errno: error printed */
void lb_sample_free(struct lb_sample *sample);

/* What was counted between two samples, in the order of now's model; freed by lb_delta_free().
 * 0 or -ENOMEM. */
int lb_delta_make(struct lb_dp_stats *delta, const struct lb_sample *now,
		  const struct lb_sample *before);
void lb_delta_free(struct lb_dp_stats *delta);
double lb_sample_seconds(const struct lb_sample *now, const struct lb_sample *before);

#endif
