// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fuzz_config.c - libFuzzer target: any text is refused with file and line, or reads back equal
 * once written. Build and run:
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -Iinclude -Iuser \
 *         tests/unit/fuzz_config.c tests/unit/model_util.c user/core/[a-z]*.c -lyaml -o build/fuzz
 *     build/fuzz -max_total_time=60
 */

#include "fuzz_config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/config.h"
#include "model_util.h"

static void require(bool holds, const char *what, const struct lb_err *err)
{
	if (holds)
		return;
	fprintf(stderr, "fuzz_config: %s: %s\n", what, err->text);
	abort();
}

static void require_refusal(const struct lb_model *m, int ret, const struct lb_err *err)
{
	char *end;

	require(ret == -EINVAL, "refused otherwise than by -EINVAL", err);
	require(!strncmp(err->text, "f.yaml:", 7), "no file", err);
	require(strtol(err->text + 7, &end, 10) > 0 && !strncmp(end, ": ", 2), "no line", err);
	for (const char *p = err->text; *p; p++)
		require(*p >= ' ' && *p <= '~', "unprintable byte in a message", err);
	require(!m->services && !m->n_services && !m->interfaces && !m->n_interfaces,
		"a refused model is not empty", err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lb_err err = {.text = ""};
	struct lb_model m, again;
	char *text = NULL;
	size_t len = 0;
	FILE *out;
	int ret;

	ret = lb_config_parse(&m, (const char *)data, size, "f.yaml", &err);
	if (ret) {
		require_refusal(&m, ret, &err);
		return 0;
	}
	out = open_memstream(&text, &len);
	require(out && !lb_config_write(&m, out) && !fclose(out), "cannot write", &err);
	ret = lb_config_parse(&again, text, len, "again.yaml", &err);
	require(!ret, "refuses what it has written", &err);
	require(model_equal(&m, &again), "what was written reads back different", &err);
	free(text);
	lb_model_free(&again);
	lb_model_free(&m);
	return 0;
}
