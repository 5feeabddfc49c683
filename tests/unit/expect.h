/* SPDX-License-Identifier: GPL-2.0-or-later */
/* expect.h - what several tests expect: a refusal, and the text of a difference. */
#ifndef TEST_EXPECT_H
#define TEST_EXPECT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/config.h"
#include "core/reconcile.h"

/* The config is refused as a whole, by this message. */
static inline void expect_refused(const char *text, size_t len, const char *message)
{
	static const struct lb_model empty;
	struct lb_err err = {.text = ""};
	struct lb_model m;
	int ret;

	memset(&m, 0xff, sizeof(m));
	ret = lb_config_parse(&m, text, len, "t", &err);
	if (ret != -EINVAL)
		fail_msg("returned %d: %s", ret, text);
	assert_string_equal(err.text, message);
	assert_memory_equal(&m, &empty, sizeof(m));
}

/* The diff of two models that nothing forbids. */
static inline void expect_diff(struct lb_diff *d, const struct lb_model *actual,
			       const struct lb_model *desired)
{
	struct lb_err err = {"no error"};
	int ret = lb_diff_make(d, actual, desired, LB_SOURCE_FILE, &err);

	if (ret)
		print_error("%s\n", err.text);
	assert_int_equal(ret, 0);
}

static inline void expect_text(const struct lb_model *actual, const struct lb_model *desired,
			       const char *expected)
{
	struct lb_diff d;
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	expect_diff(&d, actual, desired);
	lb_diff_print(&d, out);
	fclose(out);
	assert_string_equal(text, expected);
	free(text);
	lb_diff_free(&d);
}

#endif
