// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * firewall.c - a chain of our own in iptables' table "filter", by iptables-save and -restore of the
 * flavour that is in use. It stands first in FORWARD, but for the jump to DOCKER-USER, where an
 * administrator's own rules are.
 */
#include <netinet/in.h> /* before the kernel's headers, which else define the same */

#include <errno.h>
#include <linux/netfilter.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "firewall.h"
#include "nft_table.h"

#define CHAIN_MAX 28 /* XT_EXTENSION_MAXNAMELEN - 1 */

/* A table "filter". */
static const struct filter {
	const char *name; /* of the command, and in messages */
	const char *proc; /* where the kernel lists legacy tables; NULL: iptables-nft's */
	uint8_t nfproto;
} filters[] = {
	{"iptables-nft", NULL, NFPROTO_IPV4},
	{"ip6tables-nft", NULL, NFPROTO_IPV6},
	{"iptables-legacy", "/proc/net/ip_tables_names", NFPROTO_IPV4},
	{"ip6tables-legacy", "/proc/net/ip6_tables_names", NFPROTO_IPV6},
};
#define FILTERS (sizeof(filters) / sizeof(filters[0]))

/* All but the first are of what comes to this host, and leaves it. */
static const char *const hooks[] = {"FORWARD", "INPUT", "OUTPUT"};
#define HOOKS 3

static int hooks_of(const struct lb_firewall *w)
{
	return w->host ? HOOKS : 1;
}

/* To look must not bring a table about: iptables makes what it is asked for. */
static bool is_in_use(const struct filter *t)
{
	char line[64];
	bool found = false;
	FILE *f;

	if (!t->proc)
		return lb_nft_has_chain(t->nfproto, "filter", hooks, HOOKS);
	f = fopen(t->proc, "re");
	while (f && !found && fgets(line, sizeof(line), f))
		found = !strcmp(line, "filter\n");
	if (f)
		fclose(f);
	return found;
}

static const char *chain_name(const struct lb_firewall *w, char buf[CHAIN_MAX + 1])
{
	if (snprintf(buf, CHAIN_MAX + 1, "%s%s", w->prefix, w->instance) <= CHAIN_MAX)
		return buf;
	snprintf(buf + CHAIN_MAX - 9, 10, "-%08x", lb_name_hash(w->instance));
	return buf;
}

/* ---------------------------------------------------------------- commands */

/* Where cron's PATH does not lead. */
#define MORE_PATH "PATH=\"${PATH:+$PATH:}/usr/sbin:/sbin\"; "

static int run(const char *line, struct lb_text *out)
{
	FILE *f = popen(line, "re");
	char buf[512];

	if (!f)
		return -errno;
	while (fgets(buf, sizeof(buf), f))
		lb_text_add(out, "%s", buf);
	if (pclose(f))
		return -EIO;
	return out->no_memory ? -ENOMEM : 0;
}

static void failed(const struct filter *t, const char *what, int says, struct lb_err *err)
{
	char reason[256];
	ssize_t len = pread(says, reason, sizeof(reason) - 1, 0);

	reason[len > 0 ? len : 0] = '\0';
	reason[strcspn(reason, "\n")] = '\0';
	lb_err_set(err, EIO, "%s-%s failed%s%s", t->name, what, *reason ? ": " : "", reason);
}

/* Runs a command of the flavour with `input`; its output, to be freed, in *out. */
static int command(const struct filter *t, const char *what, const struct lb_text *input,
		   struct lb_text *out, struct lb_err *err)
{
	int fd = memfd_create("meshlb", 0), says = memfd_create("meshlb", 0); /* are inherited */
	char line[256];
	int ret = 0;

	if (fd < 0 || says < 0 || (input && write(fd, input->s, input->len) != (ssize_t)input->len))
		ret = -errno;
	snprintf(line, sizeof(line), MORE_PATH "%s-%s </proc/self/fd/%d 2>/proc/self/fd/%d",
		 t->name, what, fd, says);
	if (!ret)
		ret = run(line, out);
	if (ret == -EIO)
		failed(t, what, says, err);
	else if (ret)
		lb_err_sys(err, -ret, "running %s-%s", t->name, what);
	if (fd >= 0)
		close(fd);
	if (says >= 0)
		close(says);
	return ret;
}

/* Of a table that somebody has changed by other means it may tell nothing, and not fail. */
static int save(const struct filter *t, struct lb_text *out, struct lb_err *err)
{
	int ret = command(t, "save -t filter", NULL, out, err);
	const char *text = out->s ? out->s : "";

	if (ret || strstr(text, "\n:FORWARD "))
		return ret;
	return lb_err_set(err, EIO, "%s-save shows no chain FORWARD of table filter%s%.*s", t->name,
			  *text ? ": " : "", (int)strcspn(text, "\n"), text);
}

/* What may drop our packets. Of a chain that iptables has not made it would say "ACCEPT". */
static int look(const struct filter *t, const struct lb_firewall *w, struct lb_text *out,
		struct lb_err *err)
{
	if (!t->proc && lb_nft_filter_is_others(t->nfproto, hooks, hooks_of(w)))
		return lb_err_set(err, EIO,
				  "%s-save cannot tell of table filter: a chain in it is not as "
				  "iptables makes it",
				  t->name);
	return save(t, out, err);
}

static int restore(const struct filter *t, struct lb_text *input, struct lb_err *err)
{
	struct lb_text out = {};
	int ret = input->no_memory ? lb_err_sys(err, ENOMEM, "writing the rules")
				   : command(t, "restore -w 5 --noflush", input, &out, err);

	free(out.s);
	return ret;
}

/* ---------------------------------------------------------------- what is there */

/* A line of iptables-save, without its end; NULL behind the last. */
static const char *next_line(const char **text, char *buf, size_t size)
{
	size_t len = strcspn(*text, "\n");

	if (!**text)
		return NULL;
	snprintf(buf, size, "%.*s", (int)len, *text);
	*text += len + ((*text)[len] == '\n');
	return buf;
}

/* Of a built-in chain. */
struct hook_look {
	bool filters; /* drops by its policy, or has rules of others */
	int ours;     /* jumps to our chain */
	bool early;   /* the first of them stands before the one to DOCKER-USER */
	int before;   /* rules in front of it; where there is DOCKER-USER, from there on */
	int position; /* where it should be, from 1: behind DOCKER-USER, which is the
			 administrator's */
};

static struct hook_look hook_look(const char *text, const char *hook, const char *chain)
{
	char line[1024], policy[32], rule[32], all[64], ours[64], docker[64];
	struct hook_look h = {.position = 1};
	int rules = 0; /* but for ours */

	snprintf(policy, sizeof(policy), ":%s ", hook);
	snprintf(rule, sizeof(rule), "-A %s ", hook);
	snprintf(all, sizeof(all), "-A %s -j " LB_FIREWALL_PREFIX, hook);
	snprintf(ours, sizeof(ours), "-A %s -j %s", hook, chain);
	snprintf(docker, sizeof(docker), "-A %s -j DOCKER-USER", hook);
	while (next_line(&text, line, sizeof(line))) {
		if (!strncmp(line, policy, strlen(policy)))
			h.filters |= strncmp(line + strlen(policy), "ACCEPT ", 7) != 0;
		if (strncmp(line, rule, strlen(rule)) != 0)
			continue;
		if (!strcmp(line, ours)) {
			h.ours++;
			continue;
		}
		rules++;
		if (!strncmp(line, all, strlen(all))) /* other instances drop nothing */
			continue;
		h.filters = true;
		if (!strcmp(line, docker)) {
			h.early = h.ours > 0;
			h.before = 0;
			h.position = rules + 1;
		} else if (!h.ours) {
			h.before++;
		}
	}
	return h;
}

/* Does iptables-save declare it? */
static bool has_chain(const char *text, const char *chain)
{
	char head[64];

	snprintf(head, sizeof(head), "\n:%s ", chain);
	return strstr(text, head);
}

/* Is our chain there, and does it consist of our rules? */
static bool chain_is_sound(const char *text, const char *chain, const struct lb_firewall *w)
{
	const char *next = text;
	char line[1024], rule[64];
	size_t n = 0;

	snprintf(rule, sizeof(rule), "-A %s ", chain);
	while (next_line(&next, line, sizeof(line))) {
		if (strncmp(line, rule, strlen(rule)) != 0)
			continue;
		if (!w->rules[n] || strcmp(line + strlen(rule), w->rules[n]) != 0)
			return false;
		n++;
	}
	return has_chain(text, chain) && !w->rules[n];
}

/* Somebody else's, by our name? An empty one is of no use to anybody: `iptables -F` makes ours so.
 */
static bool chain_is_others(const char *text, const char *chain, const struct lb_firewall *w)
{
	char rule[64];

	snprintf(rule, sizeof(rule), "\n-A %s ", chain);
	return strstr(text, rule) && !chain_is_sound(text, chain, w);
}

/* Calls fn for what is not as it should be. */
static void filter_audit(const struct filter *t, const char *text, const struct lb_firewall *w,
			 struct lb_findings *f)
{
	char chain[CHAIN_MAX + 1];
	size_t before = f->n;
	bool needed = false;

	chain_name(w, chain);
	for (int i = 0; i < hooks_of(w); i++) {
		const struct hook_look h = hook_look(text, hooks[i], chain);

		needed |= h.filters;
		if (!h.filters || (h.ours && !h.before && !h.early))
			continue;
		if (h.early)
			lb_found(f, "%s: %s leads to chain %s before DOCKER-USER", t->name,
				 hooks[i], chain);
		else
			lb_found(f, "%s: %s %s chain %s: our packets may be dropped", t->name,
				 hooks[i], h.ours ? "has rules before" : "does not lead to", chain);
	}
	if (needed && f->n == before && !chain_is_sound(text, chain, w))
		lb_found(f, "%s: chain %s is not as it should be", t->name, chain);
}

void lb_firewall_audit(struct lb_findings *f, const struct lb_firewall *w)
{
	for (size_t i = 0; i < FILTERS; i++) {
		struct lb_text text = {};
		struct lb_err err;

		if (!is_in_use(&filters[i]))
			continue;
		if (look(&filters[i], w, &text, &err))
			lb_found(f, "%s: what it drops is not known", err.text);
		else
			filter_audit(&filters[i], text.s ? text.s : "", w, f);
		free(text.s);
	}
}

/* ---------------------------------------------------------------- put and taken away */

static void unhook(struct lb_text *t, const char *text, const char *hook, const char *chain)
{
	const struct hook_look h = hook_look(text, hook, chain);

	for (int n = 0; n < h.ours; n++)
		lb_text_add(t, "-D %s -j %s\n", hook, chain);
}

static void put_text(struct lb_text *t, const char *text, const struct lb_firewall *w)
{
	char chain[CHAIN_MAX + 1];

	chain_name(w, chain);
	lb_text_add(t, "*filter\n:%s - [0:0]\n", chain); /* one that is there is emptied */
	for (size_t i = 0; w->rules[i]; i++)
		lb_text_add(t, "-A %s %s\n", chain, w->rules[i]);
	for (int i = 0; i < hooks_of(w); i++) {
		const struct hook_look h = hook_look(text, hooks[i], chain);

		if (!h.filters)
			continue;
		unhook(t, text, hooks[i], chain);
		lb_text_add(t, "-I %s %d -j %s\n", hooks[i], h.position, chain);
	}
	lb_text_add(t, "COMMIT\n");
}

static int filter_put(const struct filter *t, const struct lb_firewall *w, struct lb_findings *f,
		      struct lb_err *err)
{
	struct lb_text text = {}, input = {};
	size_t before = f->n;
	int ret = 0;

	if (look(t, w, &text, err))
		lb_warn("%s: what it drops is not known", err->text);
	else
		filter_audit(t, text.s ? text.s : "", w, f);
	if (f->n > before) {
		put_text(&input, text.s ? text.s : "", w);
		ret = restore(t, &input, err);
	}
	free(text.s);
	free(input.s);
	return ret;
}

int lb_firewall_put(const struct lb_firewall *w, struct lb_findings *f, struct lb_err *err)
{
	int ret = 0;

	for (size_t i = 0; i < FILTERS && !ret; i++)
		if (is_in_use(&filters[i]))
			ret = filter_put(&filters[i], w, f, err);
	return ret;
}

/* Of iptables-nft's the kernel tells, also of a table that is not iptables' alone. */
static bool may_have_chain(const struct filter *t, const char *chain)
{
	return t->proc ? is_in_use(t) : lb_nft_has_chain(t->nfproto, "filter", &chain, 1);
}

static int filter_remove(const struct filter *t, const struct lb_firewall *w, const char *chain,
			 struct lb_err *err)
{
	struct lb_text text = {}, input = {};
	int ret = save(t, &text, err);

	if (!ret && text.s && has_chain(text.s, chain) &&
	    !(w->fresh && chain_is_others(text.s, chain, w))) {
		lb_text_add(&input, "*filter\n:%s - [0:0]\n", chain);
		for (int i = 0; i < HOOKS; i++)
			unhook(&input, text.s, hooks[i], chain);
		lb_text_add(&input, "-X %s\nCOMMIT\n", chain);
		ret = restore(t, &input, err);
	}
	free(text.s);
	free(input.s);
	return ret;
}

/* The filter's rules where it may have the chain and can be read, to be freed; else NULL. */
static char *rules_beside(const struct filter *t, const char *chain)
{
	struct lb_text text = {};
	struct lb_err ignored;

	if (may_have_chain(t, chain) && !save(t, &text, &ignored))
		return text.s;
	free(text.s);
	return NULL;
}

bool lb_firewall_is_there(const struct lb_firewall *w)
{
	char buf[CHAIN_MAX + 1];
	const char *chain = chain_name(w, buf);
	bool found = false;

	for (size_t i = 0; i < FILTERS && !found; i++) {
		char *rules = rules_beside(&filters[i], chain);

		found = rules && has_chain(rules, chain) && !chain_is_others(rules, chain, w);
		free(rules);
	}
	return found;
}

int lb_firewall_refuse(const struct lb_firewall *w, struct lb_err *err)
{
	char buf[CHAIN_MAX + 1];
	const char *chain = chain_name(w, buf);
	int ret = 0;

	for (size_t i = 0; i < FILTERS && !ret; i++) {
		char *rules = rules_beside(&filters[i], chain);

		if (rules && chain_is_others(rules, chain, w))
			ret = lb_err_set(
				err, EEXIST,
				"instance \"%s\": %s: there is a chain \"%s\" that meshlb has "
				"not made: remove it (-F, -X), or use another --instance",
				w->instance, filters[i].name, chain);
		free(rules);
	}
	return ret;
}

int lb_firewall_remove(const struct lb_firewall *w, struct lb_err *err)
{
	char buf[CHAIN_MAX + 1];
	const char *chain = chain_name(w, buf);
	int ret = 0, one;

	for (size_t i = 0; i < FILTERS; i++) {
		one = may_have_chain(&filters[i], chain) ? filter_remove(&filters[i], w, chain, err)
							 : 0;
		ret = one ? one : ret;
	}
	return ret;
}

void lb_firewall_flavours(void (*fn)(void *arg, const char *name, bool in_use), void *arg)
{
	for (size_t i = 0; i < FILTERS; i++)
		fn(arg, filters[i].name, is_in_use(&filters[i]));
}

/* ---------------------------------------------------------------- nftables alone */

static const char *family_name(uint8_t nfproto)
{
	return nfproto == NFPROTO_INET ? "inet" : nfproto == NFPROTO_IPV6 ? "ip6" : "ip";
}

void lb_firewall_warn(const struct lb_firewall *w)
{
	static const uint32_t numbers[HOOKS] = {NF_INET_FORWARD, NF_INET_LOCAL_IN,
						NF_INET_LOCAL_OUT};

	for (int i = 0; i < hooks_of(w); i++) {
		struct lb_nft_drop *list;
		size_t n;

		if (lb_nft_drops(numbers[i], &list, &n))
			n = 0;
		for (size_t k = 0; k < n; k++)
			if (!(w->dnat && list[k].passes_dnat))
				lb_warn("table \"%s %s\" of nftables: chain \"%s\" drops what "
					"none of its rules accepts: let through there what has "
					"mark %s",
					family_name(list[k].family), list[k].table, list[k].chain,
					w->mark);
		free(list);
	}
}
