// SPDX-License-Identifier: GPL-2.0-or-later
/* main.c - the table of commands, the table of options, and the command line. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "text.h"

const struct lb_command lb_commands[] = {
	{"check", NULL, "", 0, 0, LB_OPT_FILE | LB_OPT_FORCE | LB_OPT_BEST_EFFORT, lb_cmd_check,
	 "check a config file",
	 "Reads the config and says what is wrong with it, what of this host would be in its way,\n"
	 "and the memory that its limits take. Changes nothing; needs neither root nor an "
	 "instance.\n"},
	{"apply", NULL, "", 0, 0,
	 LB_OPT_FILE | LB_OPT_DRY_RUN | LB_OPT_CONFIRM_TIMEOUT | LB_OPT_RESET_OVERRIDES |
		 LB_OPT_FORCE | LB_OPT_BEST_EFFORT,
	 lb_cmd_apply, "make the kernel match a config file",
	 "Applies the difference between the config and what is running, whole or not at all, and\n"
	 "prints it. Also repairs whatever `meshlb verify` would find.\n"},
	{"confirm", NULL, "", 0, 0, 0, lb_cmd_confirm, "keep what `apply --confirm-timeout` did",
	 NULL},
	{"export", NULL, "", 0, 0, 0, lb_cmd_export, "print the running state as a config file",
	 "`meshlb export | meshlb apply -f -` changes nothing.\n"},
	{"verify", NULL, "", 0, 0, LB_OPT_FILE | LB_OPT_BEST_EFFORT, lb_cmd_verify,
	 "compare config, maps and hooks; 3 if different",
	 "Compares the config file (where it exists) with the running state, and the running "
	 "state\n"
	 "with all that it consists of in the kernel. The next `meshlb apply` repairs what it "
	 "finds.\n"},
	{"status", NULL, "", 0, 0, 0, lb_cmd_status, "show hooks, limits, overrides", NULL},
	{"probe", NULL, "", 0, 0, 0, lb_cmd_probe,
	 "show what this host can run, and why not the rest",
	 "The first datapath that is there, and that can do all that the config asks for, is what\n"
	 "`datapath: auto` takes.\n"},
	{"instance", "ls", "", 0, 0, 0, lb_cmd_instance_ls, "list all instances on this host",
	 NULL},
	{"service", "ls", "", 0, 0, 0, lb_cmd_service_ls, "list the services", NULL},
	{"service", "show", "NAME", 1, 1, 0, lb_cmd_service_show,
	 "show a service with its backends and counters", NULL},
	{"backend", "drain", "SERVICE ADDR:PORT", 2, 2, LB_OPT_WAIT, lb_cmd_backend_drain,
	 "give a backend no new connections",
	 "Its connections live on. Holds over applies and upgrades, until `meshlb backend undrain` "
	 "or\n"
	 "`meshlb apply --reset-overrides`. With --wait it returns when no connection is left.\n"},
	{"backend", "undrain", "SERVICE ADDR:PORT", 2, 2, 0, lb_cmd_backend_undrain,
	 "give a backend its configured weight back",
	 "Ends what `backend drain` or `backend weight` began.\n"},
	{"backend", "weight", "SERVICE ADDR:PORT N", 3, 3, 0, lb_cmd_backend_weight,
	 "give a backend another weight",
	 "0 to 65535; 0 drains. Holds until `meshlb backend undrain`, as a drain does.\n"},
	{"conn", "ls", "", 0, 0, LB_OPT_FILTERS, lb_cmd_conn_ls, "list the connections", NULL},
	{"conn", "count", "", 0, 0, LB_OPT_FILTERS, lb_cmd_conn_count, "count the connections",
	 NULL},
	{"conn", "flush", "", 0, 0, LB_OPT_FILTERS, lb_cmd_conn_flush, "forget connections",
	 "Without a filter: all of them. A TCP connection that was forgotten cannot go on, but at\n"
	 "services with `unknown: hash`, which take it up at once. Affinities are forgotten, too,\n"
	 "and with --affinity they alone.\n"},
	{"conn", "gc", "", 0, 0, 0, lb_cmd_conn_gc, "take expired connections out of the table",
	 "A timer does so by itself, within seconds to half a minute; this does it at once, and\n"
	 "counts anew what lc, wlc and max-connections go by. On datapaths nft and ipvs there is\n"
	 "nothing to do.\n"},
	{"stats", NULL, "[--watch [SECONDS]]", 0, 1, LB_OPT_WATCH, lb_cmd_stats,
	 "show counters of services, backends and reasons", NULL},
	{"down", NULL, "", 0, 0, LB_OPT_FORCE, lb_cmd_down,
	 "take everything of the instance out of the kernel", "Connections through it end.\n"},
	{"version", NULL, "", 0, 0, 0, lb_cmd_version, "print the version", NULL},
	{"help", NULL, "[COMMAND [VERB]]", 0, 2, 0, lb_cmd_help, "print help", NULL},
	{},
};

const struct lb_option lb_options[] = {
	{"file", 'f', "FILE", LB_OPT_FILE, "config file, `-`: standard input (" LB_CONFIG_PATH ")"},
	{"instance", 0, "NAME", 0, "which instance on this host (default)"},
	{"json", 'j', NULL, 0, "print JSON, as described in meshlb(8)"},
	{"quiet", 'q', NULL, 0, "print errors and warnings alone"},
	{"verbose", 'v', NULL, 0, "print more of what is being done"},
	{"help", 'h', NULL, 0, "print help, of a command where one is given"},
	{"version", 'V', NULL, 0, "print the version"},
	{"dry-run", 'n', NULL, LB_OPT_DRY_RUN,
	 "print the difference, apply nothing; 3 if different"},
	{"confirm-timeout", 0, "TIME", LB_OPT_CONFIRM_TIMEOUT,
	 "go back after TIME (60s, 5m) unless `meshlb confirm` follows"},
	{"reset-overrides", 0, NULL, LB_OPT_RESET_OVERRIDES,
	 "end all drains and weights set by hand"},
	{"force", 0, NULL, LB_OPT_FORCE,
	 "go on although others hold a port, a hook or the instance"},
	{"best-effort", 0, NULL, LB_OPT_BEST_EFFORT,
	 "leave out what the datapath cannot do, and say what"},
	{"wait", 0, NULL, LB_OPT_WAIT, "return when it has no connection any more"},
	{"timeout", 0, "TIME", LB_OPT_WAIT,
	 "of --wait: give up after TIME (60s, 5m), with status 5"},
	{"service", 0, "NAME", LB_OPT_FILTERS, "only those of this service"},
	{"backend", 0, "ADDR[:PORT]", LB_OPT_FILTERS, "only those to this backend"},
	{"client", 0, "ADDR[/BITS|:PORT]", LB_OPT_FILTERS, "only those from here"},
	{"affinity", 0, NULL, LB_OPT_FILTERS, "affinities instead of connections"},
	{"watch", 'w', "[SECONDS]", LB_OPT_WATCH, "show rates, again and again (every 2 s)"},
	{},
};

#define LB_N_OPTIONS (sizeof(lb_options) / sizeof(lb_options[0]) - 1)

/* `index`: in lb_options. */
static int option_set(struct lb_cli *cli, size_t index, const char *value)
{
	const char *name = lb_options[index].name;

	if (!strcmp(name, "file")) {
		cli->file = value;
		cli->file_given = true;
	} else if (!strcmp(name, "instance")) {
		cli->instance = value;
	} else if (!strcmp(name, "json")) {
		cli->json = true;
	} else if (!strcmp(name, "quiet")) {
		lb_log_quiet = true;
	} else if (!strcmp(name, "verbose")) {
		lb_log_verbose = true;
	} else if (!strcmp(name, "help")) {
		cli->help = true;
	} else if (!strcmp(name, "version")) {
		cli->version = true;
	} else if (!strcmp(name, "dry-run")) {
		cli->dry_run = true;
	} else if (!strcmp(name, "confirm-timeout")) {
		if (lb_duration_parse(&cli->confirm_timeout, value))
			return lb_usage_error(cli, "--%s: \"%s\": not a time like 60s, 5m or 1h30m",
					      name, value);
	} else if (!strcmp(name, "reset-overrides")) {
		cli->reset_overrides = true;
	} else if (!strcmp(name, "force")) {
		cli->force = true;
	} else if (!strcmp(name, "best-effort")) {
		cli->best_effort = true;
	} else if (!strcmp(name, "wait")) {
		cli->wait = true;
	} else if (!strcmp(name, "timeout")) {
		if (lb_duration_parse(&cli->timeout, value))
			return lb_usage_error(cli, "--%s: \"%s\": not a time like 60s, 5m or 1h30m",
					      name, value);
	} else if (!strcmp(name, "service")) {
		cli->service = value;
	} else if (!strcmp(name, "backend")) {
		cli->backend = value;
	} else if (!strcmp(name, "client")) {
		cli->client = value;
	} else if (!strcmp(name, "affinity")) {
		cli->affinity = true;
	} else if (!strcmp(name, "watch")) {
		cli->watch = true;
		if (value && lb_interval_parse(&cli->interval, value))
			return lb_usage_error(cli, "--%s: \"%s\": not a time like 2, 5s or 0.5",
					      name, value);
	}
	return LB_EXIT_DONE;
}

/* Options may stand anywhere: getopt_long() moves the operands to the end. `given`: which of
 * lb_options. */
static int options_parse(struct lb_cli *cli, int argc, char **argv, bool given[LB_N_OPTIONS])
{
	struct option longs[LB_N_OPTIONS + 1] = {};
	char letters[3 * LB_N_OPTIONS + 1] = "";
	int c;

	for (size_t i = 0; i < LB_N_OPTIONS; i++) {
		const struct lb_option *o = &lb_options[i];
		int has_arg = !o->arg          ? no_argument
			      : *o->arg == '[' ? optional_argument
					       : required_argument;
		size_t len = strlen(letters);

		longs[i] = (struct option){o->name, has_arg, NULL, 256 + (int)i};
		if (o->letter)
			snprintf(letters + len, sizeof(letters) - len, "%c%.*s", o->letter, has_arg,
				 "::");
	}
	while ((c = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
		size_t i = c - 256;
		int ret;

		if (c == '?')
			return lb_usage_hint(cli);
		if (c < 256)
			for (i = 0; lb_options[i].letter != c; i++)
				;
		given[i] = true;
		ret = option_set(cli, i, optarg);
		if (ret)
			return ret;
	}
	cli->argc = argc - optind;
	cli->argv = argv + optind;
	return LB_EXIT_DONE;
}

static int command_find(struct lb_cli *cli)
{
	const char *noun = cli->argv[0], *verb = cli->argc > 1 ? cli->argv[1] : NULL;
	const struct lb_command *c;
	bool known = false;
	const char *near;

	for (c = lb_commands; c->noun; c++) {
		if (strcmp(c->noun, noun) != 0)
			continue;
		known = true;
		if (c->verb && (!verb || strcmp(c->verb, verb) != 0))
			continue;
		cli->command = c;
		cli->argc -= c->verb ? 2 : 1;
		cli->argv += c->verb ? 2 : 1;
		return LB_EXIT_DONE;
	}
	if (known && !verb) {
		lb_help_noun(noun, stderr);
		return LB_EXIT_USAGE;
	}
	near = lb_help_nearest(noun, known ? verb : NULL);
	return lb_usage_error(cli, "unknown command \"%s%s%s\"%s%s%s", noun, known ? " " : "",
			      known ? verb : "", near ? "; did you mean \"" : "", near ? near : "",
			      near ? "\"?" : "");
}

static int command_check(const struct lb_cli *cli, const bool given[LB_N_OPTIONS])
{
	const struct lb_command *c = cli->command;
	char name[LB_TEXT_MAX];

	for (size_t i = 0; i < LB_N_OPTIONS; i++)
		if (given[i] && lb_options[i].commands & ~c->options)
			return lb_usage_error(cli, "`%s` takes no --%s", lb_command_name(name, c),
					      lb_options[i].name);
	if (cli->argc > c->max)
		return lb_usage_error(cli, "\"%s\": one operand too many", cli->argv[c->max]);
	if (cli->argc < c->min)
		return lb_usage_error(cli, "operands are missing: %s", c->operands);
	return LB_EXIT_DONE;
}

static bool instance_name_ok(const char *name)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_.-";
	size_t len = strlen(name);

	return len >= 1 && len <= 64 && strspn(name, letters) == len && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0;
}

static int run(struct lb_cli *cli, int argc, char **argv)
{
	bool given[LB_N_OPTIONS] = {};
	int ret = options_parse(cli, argc, argv, given);

	if (ret)
		return ret;
	if (cli->version)
		return lb_cmd_version(cli);
	if (!cli->argc) {
		lb_help_all(cli->help ? stdout : stderr);
		return cli->help ? LB_EXIT_DONE : LB_EXIT_USAGE;
	}
	if (cli->help && cli->argc == 1 && lb_help_noun(cli->argv[0], stdout))
		return LB_EXIT_DONE;
	ret = command_find(cli);
	if (ret)
		return ret;
	if (cli->help) {
		lb_help_command(cli->command, stdout);
		return LB_EXIT_DONE;
	}
	ret = command_check(cli, given);
	if (ret)
		return ret;
	if (!instance_name_ok(cli->instance))
		return lb_usage_error(cli, "--instance: \"%s\": not 1 to 64 of A-Z a-z 0-9 _ . -",
				      cli->instance);
	return cli->command->run(cli);
}

/* A file that we open must not become our standard output. What is closed is opened the wrong way
 * round: who reads or writes there fails as before. */
static void keep_standard_files(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_RDONLY : O_WRONLY) != fd)
			_exit(LB_EXIT_FAILED);
}

int main(int argc, char **argv)
{
	struct lb_cli cli = {.file = LB_CONFIG_PATH, .instance = "default", .interval = 2000};
	int ret;

	keep_standard_files();
	argv[0] = "meshlb"; /* for getopt's own messages */
	ret = run(&cli, argc, argv);
	if (fflush(stdout) || ferror(stdout)) {
		lb_error("writing the output: %s", strerror(errno));
		return ret ? ret : cli.changed ? LB_EXIT_PARTLY : LB_EXIT_FAILED;
	}
	return ret;
}
