// SPDX-License-Identifier: GPL-2.0-or-later
/* help.c - help out of the tables of commands and options. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "text.h"

#define LB_HELP_COLUMN 34

static void print_option(const struct lb_option *o, FILE *out)
{
	char left[64], letter[8] = "    ";

	if (o->letter)
		snprintf(letter, sizeof(letter), "-%c, ", o->letter);
	snprintf(left, sizeof(left), "%s--%s%s%s", letter, o->name, o->arg ? " " : "",
		 o->arg ? o->arg : "");
	fprintf(out, "  %-*s  %s\n", LB_HELP_COLUMN, left, o->help);
}

const char *lb_command_name(char *buf, const struct lb_command *c)
{
	snprintf(buf, LB_TEXT_MAX, "%s%s%s", c->noun, c->verb ? " " : "", c->verb ? c->verb : "");
	return buf;
}

static void print_command(const struct lb_command *c, FILE *out)
{
	char left[64], name[LB_TEXT_MAX];

	snprintf(left, sizeof(left), "%s %s", lb_command_name(name, c), c->operands);
	fprintf(out, "  %-*s  %s\n", LB_HELP_COLUMN, left, c->summary);
}

static void print_options(unsigned int mask, FILE *out)
{
	for (const struct lb_option *o = lb_options; o->name; o++)
		if (!mask ? !o->commands : (o->commands & mask) != 0)
			print_option(o, out);
}

void lb_help_all(FILE *out)
{
	fprintf(out, "meshlb " LB_VERSION " - a load balancer in the kernel, on eBPF\n\n"
		     "usage: meshlb [OPTIONS] COMMAND\n\ncommands:\n");
	for (const struct lb_command *c = lb_commands; c->noun; c++)
		print_command(c, out);
	fprintf(out, "\noptions of every command:\n");
	print_options(0, out);
	fprintf(out, "\n`meshlb help COMMAND` tells more of one. Exit status: 0 done; 1 failed, "
		     "nothing\n"
		     "changed; 2 wrong usage; 3 different; 4 done in part; 5 not in time.\n");
}

void lb_help_command(const struct lb_command *c, FILE *out)
{
	char name[LB_TEXT_MAX];

	fprintf(out, "meshlb %s - %s\n\n", lb_command_name(name, c), c->summary);
	fprintf(out, "usage: meshlb %s%s%s [OPTIONS]\n", name, *c->operands ? " " : "",
		c->operands);
	if (c->details)
		fprintf(out, "\n%s", c->details);
	fprintf(out, "\noptions:\n");
	if (c->options)
		print_options(c->options, out);
	print_options(0, out);
}

bool lb_help_noun(const char *noun, FILE *out)
{
	bool found = false;

	for (const struct lb_command *c = lb_commands; c->noun; c++) {
		if (strcmp(c->noun, noun) != 0)
			continue;
		if (!c->verb)
			lb_help_command(c, out);
		else if (!found)
			fprintf(out, "usage: meshlb %s VERB [OPTIONS]\n\n", noun);
		if (c->verb)
			print_command(c, out);
		found = true;
	}
	return found;
}

#define LB_COMMANDS_MAX 32

const char *lb_help_nearest(const char *noun, const char *verb)
{
	const char *words[LB_COMMANDS_MAX + 1];
	size_t n = 0;

	for (const struct lb_command *c = lb_commands; c->noun && n < LB_COMMANDS_MAX; c++)
		if (!verb || !strcmp(c->noun, noun))
			words[n++] = verb ? c->verb : c->noun;
	words[n] = NULL;
	return lb_nearest(verb ? verb : noun, words);
}

int lb_usage_hint(const struct lb_cli *cli)
{
	const struct lb_command *c = cli->command;
	char name[LB_TEXT_MAX];

	fprintf(stderr, "`meshlb help%s%s` tells how.\n", c ? " " : "",
		c ? lb_command_name(name, c) : "");
	return LB_EXIT_USAGE;
}

int lb_cmd_help(struct lb_cli *cli)
{
	const char *noun = cli->argc > 0 ? cli->argv[0] : NULL;
	const char *verb = cli->argc > 1 ? cli->argv[1] : NULL;
	const char *near;

	if (!noun) {
		lb_help_all(stdout);
		return LB_EXIT_DONE;
	}
	for (const struct lb_command *c = lb_commands; c->noun && verb; c++) {
		if (!c->verb || strcmp(c->noun, noun) != 0 || strcmp(c->verb, verb) != 0)
			continue;
		lb_help_command(c, stdout);
		return LB_EXIT_DONE;
	}
	if (!verb && lb_help_noun(noun, stdout))
		return LB_EXIT_DONE;
	near = lb_help_nearest(noun, NULL);
	return lb_usage_error(cli, "unknown command \"%s%s%s\"%s%s%s", noun, verb ? " " : "",
			      verb ? verb : "", near ? "; did you mean \"" : "", near ? near : "",
			      near ? "\"?" : "");
}
