/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_config.h - one run of the config fuzzer, for libFuzzer and for test_config.c. */
#ifndef TEST_FUZZ_CONFIG_H
#define TEST_FUZZ_CONFIG_H

#include <stddef.h>
#include <stdint.h>

/* Aborts where the parser breaks its word. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
