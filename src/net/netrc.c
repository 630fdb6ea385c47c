/* SPDX-License-Identifier: Apache-2.0 */
/* netrc files, as curl (and through it Nix) reads them: words separated by blanks, "quoted"
 * where they have some, comments from # at the beginning of a word, macro definitions up to an
 * empty line. */
#include "net/credentials.h"

#include "base/mem.h"

enum { NETRC_WORD_MAX = 4096 /* bytes */ };

struct netrc_scan {
	struct slice rest;
	size_t line;
	char word[NETRC_WORD_MAX + 1];
	bool quoted; /* then it is no keyword */
};

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static uint8_t take_byte(struct netrc_scan *s)
{
	uint8_t c = s->rest.data[0];

	if (c == '\n')
		s->line++;
	slice_advance(&s->rest, 1);
	return c;
}

static void skip_line(struct netrc_scan *s)
{
	while (s->rest.len && take_byte(s) != '\n')
		;
}

/* Behind the opening quote: \" \\ \n \r \t are escapes. */
static int take_quoted(struct netrc_scan *s)
{
	size_t len = 0;

	s->quoted = true;
	while (s->rest.len) {
		uint8_t c = take_byte(s);

		if (c == '"') {
			s->word[len] = '\0';
			return 1;
		}
		if (c == '\\' && s->rest.len) {
			c = take_byte(s);
			c = c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : c;
		}
		if (c == '\0' || len == NETRC_WORD_MAX)
			return E_INVALID;
		s->word[len++] = (char)c;
	}
	return E_INVALID;
}

/* 1: there is a word; 0: the end; E_INVALID. */
static int take_word(struct netrc_scan *s)
{
	size_t len = 0;

	for (;;) {
		while (s->rest.len && is_blank(s->rest.data[0]))
			take_byte(s);
		if (!s->rest.len)
			return 0;
		if (s->rest.data[0] != '#')
			break;
		skip_line(s);
	}
	s->quoted = false;
	if (s->rest.data[0] == '"') {
		take_byte(s);
		return take_quoted(s);
	}
	while (s->rest.len && !is_blank(s->rest.data[0])) {
		if (s->rest.data[0] == '\0' || len == NETRC_WORD_MAX)
			return E_INVALID;
		s->word[len++] = (char)take_byte(s);
	}
	s->word[len] = '\0';
	return 1;
}

/* A macro ends at the first empty line. */
static void skip_macro(struct netrc_scan *s)
{
	bool empty = false;

	skip_line(s);
	while (s->rest.len && !empty) {
		empty = s->rest.data[0] == '\n' ||
			(s->rest.data[0] == '\r' && s->rest.len > 1 && s->rest.data[1] == '\n');
		skip_line(s);
	}
}

static bool is_keyword(const struct netrc_scan *s, const char *word)
{
	return !s->quoted && strcmp(s->word, word) == 0;
}

static int netrc_scan_for(struct netrc_scan *s, const char *host, struct credentials *c)
{
	bool in_entry = false;
	int r;

	while ((r = take_word(s)) > 0) {
		char **place = NULL;

		if (is_keyword(s, "machine") || is_keyword(s, "default")) {
			bool any = s->word[0] == 'd';

			if (in_entry)
				return 0;
			if (!any && take_word(s) <= 0)
				return E_INVALID;
			in_entry = any || strcasecmp(s->word, host) == 0;
			continue;
		}
		if (is_keyword(s, "macdef")) {
			skip_macro(s);
			continue;
		}
		if (is_keyword(s, "login"))
			place = &c->user;
		else if (is_keyword(s, "password"))
			place = &c->password;
		else if (!is_keyword(s, "account"))
			continue; /* a word of another program: as curl, take no notice */
		if (take_word(s) <= 0)
			return E_INVALID;
		if (in_entry && place && !*place)
			*place = xstrdup(s->word);
	}
	return r;
}

int netrc_find(struct credentials *ret, struct slice text, const char *host, struct err *err)
{
	cleanup_credentials struct credentials c = {0};
	struct netrc_scan s = {.rest = text, .line = 1};
	int r = netrc_scan_for(&s, host, &c);

	explicit_bzero(s.word, sizeof(s.word));
	if (r < 0)
		return err_set(
			err, E_INVALID,
			"line %zu: not in the form `machine HOST login USER password SECRET`",
			s.line);
	if (!c.password)
		return 0;
	if (!c.user)
		c.user = xstrdup("");
	*ret = c;
	c = (struct credentials){0};
	return 1;
}
