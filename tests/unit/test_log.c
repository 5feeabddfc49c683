// SPDX-License-Identifier: GPL-2.0-or-later
/* test_log.c - what messages look like on stderr, and the texts that failing functions leave. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"

static void test_err(void **state)
{
	struct lb_err err;

	(void)state;
	assert_int_equal(lb_err_set(&err, EBUSY, "%s is %d", "x", 5), -EBUSY);
	assert_string_equal(err.text, "x is 5");
	/* Its own old text may be among the arguments. */
	assert_int_equal(lb_err_sys(&err, ENOENT, "why: %s", err.text), -ENOENT);
	assert_string_equal(err.text, "why: x is 5: No such file or directory");
	lb_err_sys(&err, ENOENT, "%*s", 2000, "x");
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

static void say_all(void)
{
	lb_error("e %d", 1);
	lb_warn("w \"a\nb\033[31m\"");
	lb_info("i");
	lb_debug("d");
}

/* What the four functions say, in a file in place of stderr. */
static void test_log(void **state)
{
	static const char expected[] = "meshlb: error: e 1\nmeshlb: warning: w \"a b [31m\"\n"
				       "meshlb: i\n"
				       "meshlb: error: e 1\nmeshlb: warning: w \"a b [31m\"\n"
				       "meshlb: debug: d\n";
	int saved = dup(STDERR_FILENO);
	FILE *file = tmpfile();
	char got[512];
	size_t n;

	(void)state;
	assert_non_null(file);
	dup2(fileno(file), STDERR_FILENO);
	say_all();
	lb_log_quiet = lb_log_verbose = true;
	say_all();
	lb_log_quiet = lb_log_verbose = false;
	dup2(saved, STDERR_FILENO);
	close(saved);
	rewind(file);
	n = fread(got, 1, sizeof(got) - 1, file);
	got[n] = '\0';
	fclose(file);
	assert_string_equal(got, expected);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_err),
		cmocka_unit_test(test_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
