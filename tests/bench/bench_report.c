// SPDX-License-Identifier: GPL-2.0-or-later
/* bench_report.c - see bench_report.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <jansson.h>

#include "bench_report.h"

static json_t *root, *rows;
static unsigned int n_met, n_targets, n_errors;

static void cpu_name(char *buf, size_t size)
{
	FILE *f = fopen("/proc/cpuinfo", "r");
	char line[256];

	snprintf(buf, size, "?");
	while (f && fgets(line, sizeof(line), f)) {
		char *at = strstr(line, ": ");

		if (strncmp(line, "model name", 10) != 0 || !at)
			continue;
		line[strcspn(line, "\n")] = 0;
		snprintf(buf, size, "%s", at + 2);
		break;
	}
	if (f)
		fclose(f);
}

void bench_report_open(bool quick)
{
	struct utsname os;
	char cpu[128];

	uname(&os);
	cpu_name(cpu, sizeof(cpu));
	rows = json_array();
	root = json_pack("{s:i, s:s, s:s, s:b, s:i, s:o}", "schema", 1, "kernel", os.release, "cpu",
			 cpu, "quick", quick, "rounds", (int)bench_rounds, "rows", rows);
	if (!root)
		bench_die("out of memory");
	printf("%s, Linux %s, one core, medians of %u rounds\n", cpu, os.release, bench_rounds);
}

void bench_report_part(const char *title, const char *columns)
{
	printf("\n%-50s %s\n", title, columns);
	fflush(stdout);
}

static void target_print(double target, bool at_least, bool met)
{
	n_targets++;
	n_met += met;
	printf("  %s %-6g %s", at_least ? ">=" : "<=", target, met ? "met" : "NOT MET");
}

static void row_add(json_t *row, double target, bool met)
{
	if (target > 0) {
		json_object_set_new(row, "target", json_real(target));
		json_object_set_new(row, "met", json_boolean(met));
	}
	if (!row || json_array_append_new(rows, row))
		bench_die("out of memory");
	putchar('\n');
	fflush(stdout);
}

void bench_report_ns(const char *group, const char *name, const struct bench_figures *f,
		     double target)
{
	json_t *row = json_pack("{s:s, s:s, s:s, s:f, s:f, s:f, s:f}", "group", group, "name", name,
				"unit", "ns", "total", f->total, "floor", f->floor, "net", f->net,
				"best", f->best);

	printf("  %-48s %7.1f %7.1f %7.1f %7.1f", name, f->total, f->floor, f->net, f->best);
	if (target > 0)
		target_print(target, false, f->net <= target);
	row_add(row, target, f->net <= target);
}

void bench_report_value(const char *group, const char *name, double value, const char *unit,
			double target, bool at_least)
{
	bool met = at_least ? value >= target : value <= target;

	printf("  %-48s %23.*f %-7s", name, value < 100 ? 2 : 0, value, unit);
	if (target > 0)
		target_print(target, at_least, met);
	row_add(json_pack("{s:s, s:s, s:s, s:f}", "group", group, "name", name, "unit", unit,
			  "value", value),
		target, met);
}

void bench_report_rate(const char *group, const char *name, double chain, double balancer)
{
	printf("  %-48s %15.0f  %15.0f", name, chain / 1000, balancer / 1000);
	row_add(json_pack("{s:s, s:s, s:s, s:f, s:f}", "group", group, "name", name, "unit", "pps",
			  "chain", chain, "balancer", balancer),
		0, true);
}

static void ratio_print(double ratio, int width)
{
	if (ratio > 0)
		printf(" %*.2f", width, ratio);
	else
		printf(" %*s", width, "-");
}

static void ratio_add(json_t *row, const char *key, double ratio)
{
	if (ratio > 0)
		json_object_set_new(row, key, json_real(ratio));
}

void bench_report_cost(const char *group, const char *name, const struct bench_cost *c)
{
	json_t *row = json_pack("{s:s, s:s, s:s, s:f, s:f, s:f, s:f}", "group", group, "name", name,
				"unit", "us", "generator", c->generator, "balancer", c->balancer,
				"sink", c->sink, "net", c->net);

	printf("  %-48s %9.2f %8.2f %5.2f %6.2f", name, c->generator, c->balancer, c->sink, c->net);
	ratio_print(c->to_forwarding, 12);
	ratio_print(c->to_ipvs, 6);
	ratio_add(row, "to_forwarding", c->to_forwarding);
	ratio_add(row, "to_ipvs", c->to_ipvs);
	row_add(row, 0, true);
}

void bench_report_error(const char *group, const char *name, const char *error)
{
	n_errors++;
	printf("  %-48s error: %s", name, error);
	row_add(json_pack("{s:s, s:s, s:s}", "group", group, "name", name, "error", error), 0,
		true);
}

void bench_report_note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("    ");
	vprintf(fmt, ap);
	putchar('\n');
	va_end(ap);
	fflush(stdout);
}

static unsigned int number_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

int bench_report_adopt(const char *json)
{
	json_t *from = json_load_file(json, 0, NULL), *row;
	size_t i;

	if (!json_is_array(json_object_get(from, "rows"))) {
		json_decref(from);
		return -1;
	}
	json_array_foreach(json_object_get(from, "rows"), i, row)
	{
		json_object_set(row, "kernel", json_object_get(from, "kernel"));
		json_object_set(row, "cpu", json_object_get(from, "cpu"));
		if (json_array_append(rows, row))
			bench_die("out of memory");
	}
	n_targets += number_of(from, "targets");
	n_met += number_of(from, "targets_met");
	n_errors += number_of(from, "errors");
	json_decref(from);
	return 0;
}

unsigned int bench_report_close(const char *json, bool sum)
{
	if (sum)
		printf("\n%u of %u targets met\n", n_met, n_targets);
	if (sum && n_errors)
		printf("%u rows without a figure\n", n_errors);
	json_object_set_new(root, "targets", json_integer(n_targets));
	json_object_set_new(root, "targets_met", json_integer(n_met));
	json_object_set_new(root, "errors", json_integer(n_errors));
	if (json && json_dump_file(root, json, JSON_INDENT(2) | JSON_REAL_PRECISION(6)))
		bench_die("writing \"%s\": %s", json, strerror(errno));
	json_decref(root);
	return n_errors;
}
