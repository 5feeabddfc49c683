/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cli.h - what the commands share: options, exit codes, and an instance opened and read. */
#ifndef LB_CLI_H
#define LB_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "core/config.h"
#include "core/log.h"
#include "core/model.h"
#include "core/reconcile.h"
#include "datapath/datapath.h"

enum lb_exit {
	LB_EXIT_DONE = 0,
	LB_EXIT_FAILED = 1, /* nothing changed */
	LB_EXIT_USAGE = 2,
	LB_EXIT_DIFFERENT = 3, /* verify, apply --dry-run */
	LB_EXIT_PARTLY = 4,    /* only a part was done */
	LB_EXIT_TIMEOUT = 5,   /* done, but what was waited for has not come */
};

struct lb_command;

/* The command line, parsed. */
struct lb_cli {
	const struct lb_command *command;
	const char *file; /* LB_CONFIG_PATH unless given */
	bool file_given;
	const char *instance;
	bool help, version, json, dry_run, force, best_effort, reset_overrides, watch, wait;
	uint32_t confirm_timeout;               /* seconds, 0: none */
	uint32_t timeout;                       /* of --wait, seconds, 0: none */
	uint32_t interval;                      /* of --watch, milliseconds */
	const char *service, *backend, *client; /* filters, or NULL */
	bool affinity;                          /* not connections */
	bool changed;                           /* the kernel, by the command */
	int argc;                               /* operands of the command */
	char **argv;
};

static inline const char *lb_file_name(const struct lb_cli *cli) /* for messages */
{
	return cli->file[0] == '-' && !cli->file[1] ? "<stdin>" : cli->file;
}

/* Options that only some commands take. */
enum lb_option_bit {
	LB_OPT_DRY_RUN = 1,
	LB_OPT_CONFIRM_TIMEOUT = 2,
	LB_OPT_RESET_OVERRIDES = 4,
	LB_OPT_FORCE = 8,
	LB_OPT_FILTERS = 16,
	LB_OPT_WATCH = 32,
	LB_OPT_FILE = 64,
	LB_OPT_BEST_EFFORT = 128,
	LB_OPT_WAIT = 256,
};

struct lb_command {
	const char *noun, *verb;        /* verb: or NULL */
	const char *operands;           /* for the usage line */
	int min, max;                   /* operands */
	unsigned int options;           /* enum lb_option_bit */
	int (*run)(struct lb_cli *cli); /* returns enum lb_exit */
	const char *summary;
	const char *details; /* more lines of help, or NULL */
};

/* help.c */
extern const struct lb_command lb_commands[]; /* main.c; ends with a NULL noun */
struct lb_option {
	const char *name;
	char letter;           /* 0: none */
	const char *arg;       /* NULL: takes none; "[...]": may take one */
	unsigned int commands; /* enum lb_option_bit; 0: every command */
	const char *help;
};
extern const struct lb_option lb_options[]; /* main.c; ends with a NULL name */
const char *lb_command_name(char *buf, const struct lb_command *c); /* LB_TEXT_MAX */
void lb_help_all(FILE *out);
void lb_help_command(const struct lb_command *c, FILE *out);
bool lb_help_noun(const char *noun, FILE *out);                  /* false: no such one */
const char *lb_help_nearest(const char *noun, const char *verb); /* NULL: nothing is near */

/* Prints what is wrong with the command line and where help is. Returns LB_EXIT_USAGE. */
#define lb_usage_error(cli, ...) (lb_error(__VA_ARGS__), lb_usage_hint(cli))
int lb_usage_hint(const struct lb_cli *cli);

int lb_cmd_check(struct lb_cli *cli);
int lb_cmd_apply(struct lb_cli *cli);
int lb_cmd_confirm(struct lb_cli *cli);
int lb_cmd_export(struct lb_cli *cli);
int lb_cmd_verify(struct lb_cli *cli);
int lb_cmd_status(struct lb_cli *cli);
int lb_cmd_probe(struct lb_cli *cli);
int lb_cmd_instance_ls(struct lb_cli *cli);
int lb_cmd_service_ls(struct lb_cli *cli);
int lb_cmd_service_show(struct lb_cli *cli);
int lb_cmd_backend_drain(struct lb_cli *cli);
int lb_cmd_backend_undrain(struct lb_cli *cli);
int lb_cmd_backend_weight(struct lb_cli *cli);
int lb_cmd_conn_ls(struct lb_cli *cli);
int lb_cmd_conn_count(struct lb_cli *cli);
int lb_cmd_conn_flush(struct lb_cli *cli);
int lb_cmd_conn_gc(struct lb_cli *cli);
int lb_cmd_stats(struct lb_cli *cli);
int lb_cmd_down(struct lb_cli *cli);
int lb_cmd_version(struct lb_cli *cli);
int lb_cmd_help(struct lb_cli *cli);

/* session.c: an instance that is open, and the model that was read from it. */
struct lb_session {
	const struct lb_dp_ops *ops;
	struct lb_dp *dp;
	struct lb_model model;
	bool part; /* not opened, for only a part of it is there */
};

enum lb_access { LB_READ, LB_READ_PARTS, LB_WRITE }; /* parts: what killed changes leave, too */

/* Opens the instance and reads it. 0; or -errno with err filled, and *s needs no closing. On
 * whichever datapath it is, or on a certain one. */
int lb_session_open_on(struct lb_session *s, const struct lb_dp_ops *ops, const char *instance,
		       enum lb_access access, bool force, struct lb_err *err);
int lb_session_open(struct lb_session *s, const char *instance, enum lb_access access, bool force,
		    struct lb_err *err);
/* The same, the error printed. */
int lb_session_start(struct lb_session *s, const struct lb_cli *cli, enum lb_access access);
/* Reads the model again. */
int lb_session_read(struct lb_session *s, struct lb_err *err);
/* Gives up the instance and its lock, keeps the model. */
void lb_session_release(struct lb_session *s);
void lb_session_close(struct lb_session *s);

/* others.c: warns of those who take what this instance's model takes: other instances, on whichever
 * datapath, and virtual services of IPVS. `on`: where it is open; NULL: nowhere. */
void lb_others_warn(const char *instance, const struct lb_dp_ops *on, const struct lb_model *m);

/* What there is, for an error about what there is not; NULL where it is found. Errors are printed.
 */
struct lb_service_conf *lb_need_service(const struct lb_model *m, const char *name);
struct lb_backend_conf *lb_need_backend(const struct lb_service_conf *s, const char *text);

#endif
