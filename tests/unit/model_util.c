// SPDX-License-Identifier: GPL-2.0-or-later
/* model_util.c - comparing whole models, and random numbers that a printed seed repeats. */

#include "model_util.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static bool service_equal(const struct lb_service_conf *a, const struct lb_service_conf *b)
{
	if (strcmp(a->name, b->name) != 0 || a->scheduler != b->scheduler ||
	    a->source != b->source || a->maglev_size != b->maglev_size ||
	    a->forwarding != b->forwarding || a->n_listens != b->n_listens ||
	    a->n_backends != b->n_backends)
		return false;
	for (size_t i = 0; i < a->n_listens; i++)
		if (lb_listen_cmp(&a->listens[i], &b->listens[i]))
			return false;
	for (size_t i = 0; i < a->n_backends; i++)
		if (lb_endpoint_cmp(&a->backends[i].at, &b->backends[i].at) ||
		    a->backends[i].weight != b->backends[i].weight ||
		    a->backends[i].max_connections != b->backends[i].max_connections)
			return false;
	return true;
}

bool model_equal(const struct lb_model *a, const struct lb_model *b)
{
	if (a->datapath != b->datapath || a->default_scheduler != b->default_scheduler ||
	    a->default_maglev_size != b->default_maglev_size ||
	    memcmp(&a->limits, &b->limits, sizeof(a->limits)) != 0 ||
	    a->n_interfaces != b->n_interfaces || a->n_services != b->n_services)
		return false;
	for (size_t i = 0; i < a->n_interfaces; i++)
		if (strcmp(a->interfaces[i].name, b->interfaces[i].name) != 0 ||
		    a->interfaces[i].hook != b->interfaces[i].hook)
			return false;
	for (size_t i = 0; i < a->n_services; i++)
		if (!service_equal(&a->services[i], &b->services[i]))
			return false;
	return true;
}

static uint64_t state;

void test_seed(void)
{
	const char *seed = getenv("SEED");

	state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
	printf("SEED=%llu\n", (unsigned long long)state);
}

/* splitmix64 (Steele, Lea, Flood, OOPSLA 2014) */
uint32_t test_random(uint32_t below)
{
	uint64_t z = state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (uint32_t)((z ^ z >> 31) >> 32) % below;
}
