// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * config_yaml.c - libyaml's events read as mappings, lists, numbers and names.
 *
 * Nothing nests deeper than the tables of keys do: what is not expected is refused at its first
 * event, so neither the depth of a text nor an alias can make the work larger than the text.
 */

#include "config_yaml.h"
#include "duration.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LINE_TEXT 128 /* a message shows less */

/* ---------------------------------------------------------------------------- events */

int lb_yaml_line(const struct lb_yaml *y)
{
	return (int)y->event.start_mark.line + 1;
}

int lb_yaml_no_memory(const struct lb_yaml *y)
{
	return lb_err_set(y->err, ENOMEM, "%s: out of memory", y->name);
}

/* The beginning of the text of one line, for messages about what has no value of its own. */
static const char *line_text(const struct lb_yaml *y, int line, char *buf)
{
	const char *from = y->text, *end = y->text + y->len, *nl;

	for (; line > 1 && (nl = memchr(from, '\n', end - from)); line--)
		from = nl + 1;
	while (from < end && (*from == ' ' || *from == '\t'))
		from++;
	nl = memchr(from, '\n', end - from);
	snprintf(buf, LINE_TEXT, "%.*s", (int)((nl ? nl : end) - from), from);
	return buf;
}

/* What people forget most often, where the text looks like it. */
static const char *quotes_hint(const char *text)
{
	if (strstr(text, "]:"))
		return "; an IPv6 address needs quotes: \"[::1]:80\"";
	if (strstr(text, "*:"))
		return "; what begins with * needs quotes: \"*:80\"";
	return "";
}

static int syntax_error(struct lb_yaml *y)
{
	const yaml_parser_t *p = &y->parser;
	const char *problem = p->problem ? p->problem : "not YAML", *hint;
	const char *context = p->context ? p->context : "";
	int at = (int)p->problem_mark.line + 1;
	char buf[LINE_TEXT];

	if (p->error == YAML_MEMORY_ERROR)
		return lb_yaml_no_memory(y);
	line_text(y, at, buf);
	/* A key without `:` and what nothing closes are noticed behind their own line. */
	if (*context && (!*buf || strstr(context, "simple key"))) {
		at = (int)p->context_mark.line + 1;
		line_text(y, at, buf);
	}
	hint = strstr(problem, "start any token") ? "; indent by spaces, not tabs"
						  : quotes_hint(buf);
	return lb_config_refuse(y->err, y->name, at, "syntax", buf, "%s%s%s%s", context,
				*context ? ": " : "", problem, hint);
}

/* Anchors and aliases are how a small text becomes a huge tree; tags mean nothing here. */
static int refuse_extras(struct lb_yaml *y)
{
	const yaml_char_t *anchor = NULL, *tag = NULL;

	switch (y->event.type) {
	case YAML_ALIAS_EVENT:
		anchor = y->event.data.alias.anchor;
		return lb_yaml_refuse(y, "alias", (char *)anchor,
				      "aliases are not supported: write the value itself");
	case YAML_SCALAR_EVENT:
		anchor = y->event.data.scalar.anchor;
		tag = y->event.data.scalar.tag;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = y->event.data.sequence_start.anchor;
		tag = y->event.data.sequence_start.tag;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = y->event.data.mapping_start.anchor;
		tag = y->event.data.mapping_start.tag;
		break;
	default:
		break;
	}
	if (anchor)
		return lb_yaml_refuse(y, "anchor", (char *)anchor,
				      "anchors are not supported: remove it");
	if (tag)
		return lb_yaml_refuse(y, "tag", (char *)tag, "tags are not supported: remove it");
	return 0;
}

int lb_yaml_open(struct lb_yaml *y)
{
	/* libyaml counts a byte order mark as a column where it is told the encoding. */
	size_t bom = y->len >= 3 && !memcmp(y->text, "\xef\xbb\xbf", 3) ? 3 : 0;

	y->event = (yaml_event_t){0};
	if (!yaml_parser_initialize(&y->parser))
		return lb_yaml_no_memory(y);
	yaml_parser_set_encoding(&y->parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&y->parser, (const unsigned char *)y->text + bom,
				     y->len - bom);
	return 0;
}

void lb_yaml_close(struct lb_yaml *y)
{
	yaml_event_delete(&y->event);
	yaml_parser_delete(&y->parser);
}

int lb_yaml_next(struct lb_yaml *y)
{
	yaml_event_delete(&y->event);
	if (!yaml_parser_parse(&y->parser, &y->event))
		return syntax_error(y);
	return refuse_extras(y);
}

bool lb_yaml_is(const struct lb_yaml *y, yaml_event_type_t type)
{
	return y->event.type == type;
}

bool lb_yaml_is_nothing(const struct lb_yaml *y)
{
	return lb_yaml_is(y, YAML_SCALAR_EVENT) && !y->event.data.scalar.length &&
	       y->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

const char *lb_yaml_value(const struct lb_yaml *y)
{
	return lb_yaml_is(y, YAML_SCALAR_EVENT) ? (const char *)y->event.data.scalar.value : "";
}

static bool is_one_value(const struct lb_yaml *y)
{
	return *lb_yaml_value(y) && strlen(lb_yaml_value(y)) == y->event.data.scalar.length;
}

int lb_yaml_expect_scalar(struct lb_yaml *y, const char *what, const char *right)
{
	char buf[LINE_TEXT];

	if (is_one_value(y))
		return 0;
	if (!lb_yaml_is(y, YAML_SCALAR_EVENT)) {
		line_text(y, lb_yaml_line(y), buf);
		return lb_yaml_refuse(y, what, buf, "not one value: write %s%s", right,
				      quotes_hint(buf));
	}
	if (y->event.data.scalar.length)
		return lb_yaml_refuse(y, what, lb_yaml_value(y), "has a NUL character: write %s",
				      right);
	return lb_yaml_refuse(y, what, "", "is empty: write %s", right);
}

/* ---------------------------------------------------------------------------- shapes */

/* Texts for messages are made where one is refused: large configs have many keys and numbers. */
#define KNOWN_KEYS 160 /* characters of the longest list of names */
#define KEY_OF     32
#define RANGE      64

static const char *known_keys(const struct lb_yaml_key *keys, size_t n, char *buf)
{
	for (size_t i = 0, len = 0; i < n; i++)
		len += snprintf(buf + len, KNOWN_KEYS - len, "%s%s", i ? ", " : "", keys[i].name);
	return buf;
}

static const char *key_of(const char *what, char *buf)
{
	snprintf(buf, KEY_OF, "key of %s", what);
	return buf;
}

static const char *range(uint32_t min, uint32_t max, char *buf)
{
	snprintf(buf, RANGE, "a number from %u to %u", min, max);
	return buf;
}

static int refuse_missing(const struct lb_yaml *y, int line, const char *what,
			  const struct lb_yaml_key *keys, size_t n, unsigned int seen)
{
	for (size_t i = 0; i < n; i++)
		if (keys[i].needed && !(seen & 1u << i))
			return lb_config_refuse(y->err, y->name, line, what, NULL,
						"has no %s: add \"%s\"", keys[i].name,
						keys[i].needed);
	return 0;
}

int lb_yaml_mapping(struct lb_yaml *y, const char *what, const struct lb_yaml_key *keys, size_t n,
		    void *into)
{
	char text[LINE_TEXT], known[KNOWN_KEYS], key[KEY_OF];
	int line = lb_yaml_line(y), err;
	unsigned int seen = 0;
	size_t i;

	if (lb_yaml_is_nothing(y))
		return refuse_missing(y, line, what, keys, n, seen);
	if (!lb_yaml_is(y, YAML_MAPPING_START_EVENT)) {
		line_text(y, lb_yaml_line(y), text);
		return lb_yaml_refuse(y, what, text,
				      "not a mapping: write \"KEY: VALUE\" with the keys %s%s",
				      known_keys(keys, n, known), quotes_hint(text));
	}
	while (!(err = lb_yaml_next(y)) && !lb_yaml_is(y, YAML_MAPPING_END_EVENT)) {
		if (!is_one_value(y))
			return lb_yaml_expect_scalar(y, key_of(what, key), "its name");
		for (i = 0; i < n && strcmp(keys[i].name, lb_yaml_value(y)) != 0; i++)
			;
		if (i == n)
			return lb_yaml_refuse(y, key_of(what, key), lb_yaml_value(y),
					      "unknown: write one of %s",
					      known_keys(keys, n, known));
		if (seen & 1u << i)
			return lb_yaml_refuse(y, key_of(what, key), lb_yaml_value(y),
					      "is there twice: write it once");
		seen |= 1u << i;
		err = lb_yaml_next(y);
		if (!err)
			err = keys[i].read(y, into);
		if (err)
			return err;
	}
	return err ? err : refuse_missing(y, line, what, keys, n, seen);
}

int lb_yaml_list(struct lb_yaml *y, const char *what, int (*item)(struct lb_yaml *, void *),
		 void *into)
{
	char buf[LINE_TEXT];
	int err;

	/* Not an empty list: a file that was cut short here must not remove anything. */
	if (lb_yaml_is_nothing(y))
		return lb_yaml_refuse(y, what, NULL, "is empty: write its items, or []");
	if (!lb_yaml_is(y, YAML_SEQUENCE_START_EVENT))
		return lb_yaml_refuse(y, what, line_text(y, lb_yaml_line(y), buf),
				      "not a list: begin each of its lines with \"- \"");
	while (!(err = lb_yaml_next(y)) && !lb_yaml_is(y, YAML_SEQUENCE_END_EVENT)) {
		err = item(y, into);
		if (err)
			return err;
	}
	return err;
}

int lb_yaml_number(struct lb_yaml *y, const char *what, uint32_t min, uint32_t max, uint32_t *into)
{
	const char *v = lb_yaml_value(y);
	unsigned long number;
	char right[RANGE];

	if (!is_one_value(y))
		return lb_yaml_expect_scalar(y, what, range(min, max, right));
	/* A leading 0 means octal in YAML 1.1 and nothing in 1.2. */
	if (strspn(v, "0123456789") != strlen(v) || strlen(v) > 10 || (v[0] == '0' && v[1]))
		return lb_yaml_refuse(y, what, v, "not a plain decimal number: write %s",
				      range(min, max, right));
	number = strtoul(v, NULL, 10);
	if (number < min || number > max)
		return lb_yaml_refuse(y, what, v, "out of range: write %s", range(min, max, right));
	*into = (uint32_t)number;
	return 0;
}

int lb_yaml_duration(struct lb_yaml *y, const char *what, uint32_t min, uint32_t max,
		     uint32_t *into)
{
	char right[RANGE], least[LB_DURATION_MAX], most[LB_DURATION_MAX];
	const char *v = lb_yaml_value(y);
	uint32_t seconds;
	int err;

	snprintf(right, sizeof(right), "%s to %s, as 90s, 5m, 1h30m", lb_duration_exact(least, min),
		 lb_duration_exact(most, max));
	err = lb_yaml_expect_scalar(y, what, right);
	if (err)
		return err;
	if (lb_duration_parse(&seconds, v))
		return lb_yaml_refuse(y, what, v, "not a length of time: write %s", right);
	if (seconds < min || seconds > max)
		return lb_yaml_refuse(y, what, v, "out of range: write %s", right);
	*into = seconds;
	return 0;
}

int lb_yaml_bool(struct lb_yaml *y, const char *what, bool *into)
{
	const char *v = lb_yaml_value(y);
	int err = lb_yaml_expect_scalar(y, what, "true or false");

	if (err)
		return err;
	*into = !strcmp(v, "true");
	return *into || !strcmp(v, "false") ? 0 : lb_yaml_refuse(y, what, v, "write true or false");
}

int lb_yaml_choice(struct lb_yaml *y, const char *what, const char *(*name)(unsigned int),
		   int (*from_name)(const char *), unsigned int n, uint8_t *into)
{
	char right[128] = "one of ";
	int err, choice;

	for (unsigned int i = 0, len = strlen(right); i < n; i++)
		len += snprintf(right + len, sizeof(right) - len, "%s%s", i ? ", " : "", name(i));
	err = lb_yaml_expect_scalar(y, what, right);
	if (err)
		return err;
	choice = from_name(lb_yaml_value(y));
	if (choice < 0)
		return lb_yaml_refuse(y, what, lb_yaml_value(y), "unknown %s: write %s", what,
				      right);
	*into = (uint8_t)choice;
	return 0;
}
