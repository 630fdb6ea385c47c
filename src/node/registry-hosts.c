/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/registry-hosts.h"

enum { FILE_MAX = 256 << 10, HOSTS_MAX = 64, PARTS_MAX = 8, WORD_MAX = 4096 };

/* Of a key's value. */
enum toml_kind { TOML_TEXT, TOML_LIST, TOML_LISTS, TOML_WORD };
struct toml_value {
	enum toml_kind kind;
	struct strv texts; /* one for a text or a bare word */
};

struct toml {
	struct slice rest;
	unsigned line;
	struct registry_hosts *hosts;
	struct registry_host *host; /* of the table that is read; NULL: none */
	bool is_top;                /* before the first table */
	bool is_header;             /* in a table of a host's headers */
	const char *dir;
	char *server;             /* owned */
	struct registry_host top; /* what is said of the server, before the first table */
	struct err *err;
};

static void host_release(struct registry_host *h)
{
	free(h->domain);
	free(h->ca_file);
	free(h->why_not);
}

void registry_hosts_release(struct registry_hosts *h)
{
	for (size_t i = 0; i < h->len; i++)
		host_release(&h->items[i]);
	free(h->items);
	*h = (struct registry_hosts){0};
}

static int fail(struct toml *t, const char *what)
{
	return err_set(t->err, E_INVALID, "%s/hosts.toml:%u: %s", t->dir, t->line, what);
}

/* ---- TOML ---- */

static int peek(const struct toml *t)
{
	return t->rest.len ? (unsigned char)t->rest.data[0] : -1;
}

static void next(struct toml *t)
{
	t->line += peek(t) == '\n';
	slice_advance(&t->rest, 1);
}

static void skip_blanks(struct toml *t, bool with_lines)
{
	for (;;) {
		int c = peek(t);

		if (c == '#') {
			while (peek(t) != '\n' && peek(t) != -1)
				next(t);
		} else if (c == ' ' || c == '\t' || c == '\r' || (with_lines && c == '\n')) {
			next(t);
		} else {
			return;
		}
	}
}

static bool is_word(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '-';
}

static int take_quoted(struct toml *t, struct buf *b)
{
	int quote = peek(t), c;

	next(t);
	while ((c = peek(t)) != quote) {
		char byte;

		if (c < ' ' && c != '\t')
			return fail(t, "a text has no end on its line");
		next(t);
		if (c == '\\' && quote == '"') {
			c = peek(t);
			if (c != '"' && c != '\\')
				return fail(t, "only \\\" and \\\\ are understood in a text");
			next(t);
		}
		byte = (char)c;
		if (buf_add(b, &byte, 1) < 0)
			return fail(t, "a text is too long");
	}
	next(t);
	return 0;
}

/* A text in quotes, or a bare word; `ret` is owned. */
static int take_text(struct toml *t, bool *ret_quoted, char **ret)
{
	cleanup_buf struct buf b = BUF_INIT(WORD_MAX);
	int c = peek(t);

	*ret_quoted = c == '"' || c == '\'';
	buf_add_str(&b, "");
	if (*ret_quoted) {
		if (take_quoted(t, &b) < 0)
			return t->err->code;
	} else {
		while (is_word(peek(t)) || peek(t) == '+') {
			const char byte = (char)peek(t);

			next(t);
			if (buf_add(&b, &byte, 1) < 0)
				return fail(t, "a word is too long");
		}
		if (!b.len)
			return fail(t, "a key, a text, true, false or a list of texts is wanted");
	}
	*ret = b.len ? buf_take_str(&b) : xstrdup("");
	return 0;
}

/* Of texts, or of lists of them: pairs of a certificate and its key. */
static int take_list(struct toml *t, struct toml_value *ret)
{
	unsigned depth = 1;

	next(t);
	while (depth) {
		bool quoted;
		char *text = NULL;

		skip_blanks(t, true);
		if (peek(t) == '[' && depth == 1) {
			next(t);
			ret->kind = TOML_LISTS;
			depth++;
			continue;
		}
		if (peek(t) != ']') {
			if (take_text(t, &quoted, &text) < 0)
				return t->err->code;
			strv_take(&ret->texts, text);
			skip_blanks(t, true);
		}
		for (; peek(t) == ']' && depth; skip_blanks(t, depth > 0)) {
			next(t);
			depth--;
		}
		if (depth && peek(t) == ',')
			next(t);
		else if (depth)
			return fail(t, "',' or ']' is wanted");
	}
	return 0;
}

static int take_value(struct toml *t, struct toml_value *ret)
{
	bool quoted;
	char *text = NULL;

	if (peek(t) == '[') {
		ret->kind = TOML_LIST;
		return take_list(t, ret);
	}
	if (take_text(t, &quoted, &text) < 0)
		return t->err->code;
	ret->kind = quoted ? TOML_TEXT : TOML_WORD;
	strv_take(&ret->texts, text);
	return 0;
}

static int end_line(struct toml *t)
{
	skip_blanks(t, false);
	return peek(t) == '\n' || peek(t) == -1 ? 0 : fail(t, "the end of the line is wanted");
}

/* "" where there is none. */
static const char *text_at(const struct strv *texts, size_t i)
{
	return i < texts->len ? texts->items[i] : "";
}

/* ---- what it says ---- */

static void rule_out(struct registry_host *host, const char *why)
{
	if (!host->why_not)
		host->why_not = xstrdup(why);
}

/* "https://host:port/v2" */
static void set_address(struct registry_host *host, const char *url)
{
	const char *rest = url;

	if (strncmp(url, "http://", 7) == 0) {
		host->is_http = true;
		rest += 7;
	} else if (strncmp(url, "https://", 8) == 0) {
		rest += 8;
	}
	host->domain = xstrndup(rest, strcspn(rest, "/"));
	rest += strlen(host->domain);
	if (strcmp(rest, "") != 0 && strcmp(rest, "/") != 0 && strcmp(rest, "/v2") != 0 &&
	    strcmp(rest, "/v2/") != 0)
		rule_out(host, "its address has a path");
	if (!*host->domain || strpbrk(host->domain, "?#@\\"))
		rule_out(host, "its address is none of a host");
}

static struct registry_host *add_host(struct registry_hosts *hosts)
{
	array_grow(hosts->items, hosts->cap, hosts->len + 1);
	hosts->items[hosts->len] = (struct registry_host){.can_pull = true};
	return &hosts->items[hosts->len++];
}

/* The entry of this address, or a new one. */
static struct registry_host *enter_host(struct toml *t, const char *url)
{
	struct registry_host wanted = {0}, *found = NULL;

	set_address(&wanted, url);
	for (size_t i = 0; i < t->hosts->len; i++)
		if (strcmp(t->hosts->items[i].domain, wanted.domain) == 0 &&
		    t->hosts->items[i].is_http == wanted.is_http)
			found = &t->hosts->items[i];
	host_release(&wanted);
	if (!found && t->hosts->len < HOSTS_MAX) {
		found = add_host(t->hosts);
		set_address(found, url);
	}
	return found;
}

/* "[host."https://x".header]", behind its first bracket. */
static int take_table(struct toml *t)
{
	cleanup_strv struct strv parts = {0};

	next(t);
	for (;;) {
		bool quoted;
		char *part = NULL;

		skip_blanks(t, false);
		if (parts.len == PARTS_MAX)
			return fail(t, "the name of a table has too many parts");
		if (take_text(t, &quoted, &part) < 0)
			return t->err->code;
		strv_take(&parts, part);
		skip_blanks(t, false);
		if (peek(t) != '.')
			break;
		next(t);
	}
	if (peek(t) != ']')
		return fail(t, "']' is wanted");
	next(t);
	t->is_top = false;
	t->host = NULL;
	t->is_header = parts.len > 2;
	if (parts.len == 1 && strcmp(text_at(&parts, 0), "header") == 0) {
		t->is_header = true;
		t->host = &t->top;
	}
	if (strcmp(text_at(&parts, 0), "host") != 0 || parts.len < 2)
		return end_line(t);
	t->host = enter_host(t, text_at(&parts, 1));
	return t->host ? end_line(t) : fail(t, "too many hosts");
}

static int set_flag(struct toml *t, const struct toml_value *v, bool *ret)
{
	const char *word = v->kind == TOML_WORD ? text_at(&v->texts, 0) : "";

	if (strcmp(word, "true") != 0 && strcmp(word, "false") != 0)
		return fail(t, "true or false is wanted");
	*ret = strcmp(word, "true") == 0;
	return 0;
}

static int set_ca(struct toml *t, const struct toml_value *v)
{
	const char *file = text_at(&v->texts, 0);

	if (v->kind == TOML_WORD || v->kind == TOML_LISTS || !*file)
		return fail(t, "ca wants the name of a file");
	if (v->texts.len > 1)
		rule_out(t->host, "it has more than one ca");
	free(t->host->ca_file);
	t->host->ca_file = *file == '/' ? xstrdup(file) : xasprintf("%s/%s", t->dir, file);
	return 0;
}

static int set_host_key(struct toml *t, const char *key, const struct toml_value *v)
{
	bool ignored;

	if (strcmp(key, "capabilities") == 0) {
		t->host->can_pull = !v->texts.len || strv_contains(&v->texts, "pull");
		return v->kind == TOML_LIST ? 0 : fail(t, "capabilities wants a list");
	}
	if (strcmp(key, "skip_verify") == 0)
		return set_flag(t, v, &t->host->skip_verify);
	if (strcmp(key, "override_path") == 0)
		return set_flag(t, v, &ignored);
	if (strcmp(key, "ca") == 0)
		return set_ca(t, v);
	if (strcmp(key, "client") == 0)
		rule_out(t->host, "client certificates are not supported here");
	return 0;
}

static int set_key(struct toml *t, const char *key, const struct toml_value *v)
{
	if (t->is_top && strcmp(key, "server") == 0) {
		if (v->kind != TOML_TEXT)
			return fail(t, "server wants a text");
		free(t->server);
		t->server = xstrdup(text_at(&v->texts, 0));
		return 0;
	}
	if (!t->host)
		return 0;
	if (t->is_header) {
		rule_out(t->host, "headers of its own are not supported here");
		return 0;
	}
	return set_host_key(t, key, v);
}

static int take_key(struct toml *t)
{
	cleanup_free char *key = NULL;
	struct toml_value value = {0};
	bool quoted;
	int r;

	if (take_text(t, &quoted, &key) < 0 || !key)
		return t->err->code;
	skip_blanks(t, false);
	if (peek(t) != '=')
		return fail(t, "'=' is wanted");
	next(t);
	skip_blanks(t, false);
	r = take_value(t, &value);
	if (r >= 0)
		r = set_key(t, key, &value);
	strv_release(&value.texts);
	return r < 0 ? r : end_line(t);
}

/* The registry itself comes last, as containerd has it, and what stands before the tables is said of it. A table of its own
 * says more. */
static void add_server(struct toml *t, const char *own)
{
	const size_t before = t->hosts->len;
	struct registry_host *host;

	if (t->server && *t->server) {
		host = enter_host(t, t->server);
		if (!host || t->hosts->len == before)
			return;
	} else if (own) {
		host = add_host(t->hosts);
		host->domain = xstrdup(own);
		host->is_own = true;
	} else {
		return;
	}
	host->can_pull = t->top.can_pull;
	host->skip_verify = t->top.skip_verify;
	host->ca_file = t->top.ca_file;
	t->top.ca_file = NULL;
	if (t->top.why_not)
		rule_out(host, t->top.why_not);
}

int registry_hosts_parse(struct registry_hosts *ret, struct slice text, const char *dir,
			 const char *own, struct err *err)
{
	struct registry_hosts hosts = {0};
	struct toml t = {.rest = text, .line = 1, .hosts = &hosts, .dir = dir, .err = err};
	int r = 0;

	t.is_top = true;
	t.top.can_pull = true;
	t.host = &t.top;
	for (skip_blanks(&t, true); r >= 0 && peek(&t) != -1; skip_blanks(&t, true))
		r = peek(&t) == '[' ? take_table(&t) : take_key(&t);
	if (r >= 0) {
		add_server(&t, own);
		*ret = hosts;
	} else {
		registry_hosts_release(&hosts);
	}
	free(t.server);
	host_release(&t.top);
	return r;
}

/* ---- finding it ---- */

/* 1: there is a file; 0: there is none. */
static int read_hosts(struct registry_hosts *ret, const char *certs_dir, const char *name,
		      const char *own, struct err *err)
{
	cleanup_free char *dir = xasprintf("%s/%s", certs_dir, name);
	cleanup_free char *file = xasprintf("%s/hosts.toml", dir);
	cleanup_buf struct buf text = {0};
	struct err local = ERR_INIT;
	int r = read_file_at(AT_FDCWD, file, FILE_MAX, &text, &local);

	if (r == E_NOTFOUND)
		return 0;
	if (r < 0) {
		*err = local;
		return r;
	}
	r = registry_hosts_parse(ret, buf_slice(&text), dir, own, err);
	return r < 0 ? r : 1;
}

/* Before it becomes part of a file's name. SPEC distribution/reference domain */
static bool is_domain(const char *domain)
{
	return *domain && *domain != '.' && *domain != '_' && !strstr(domain, "..") &&
	       strspn(domain, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.:"
			      "[]") == strlen(domain);
}

int registry_hosts_find(struct registry_hosts *ret, const char *certs_dir,
			const struct strv *allowed, const char *domain, struct err *err)
{
	const char *colon = strrchr(domain, ':');
	cleanup_free char *name = NULL;
	int r = 0;

	if (!is_domain(domain))
		return err_set(err, E_INVALID, "'%.200s' is not the name of a registry", domain);
	if (colon && colon[1])
		name = xasprintf("%.*s_%s_", (int)(colon - domain), domain, colon + 1);
	if (certs_dir && name)
		r = read_hosts(ret, certs_dir, name, domain, err);
	if (certs_dir && r == 0)
		r = read_hosts(ret, certs_dir, domain, domain, err);
	if (certs_dir && r == 0)
		r = read_hosts(ret, certs_dir, "_default",
			       strv_contains(allowed, domain) ? domain : NULL, err);
	if (r < 0)
		return r;
	if (r == 0 && strv_contains(allowed, domain)) {
		struct registry_host *host = add_host(ret);

		host->domain = xstrdup(domain);
		host->is_own = true;
	}
	if (!ret->len)
		return err_set(err, E_NOTFOUND,
			       "nothing that is configured allows to ask the registry %s", domain);
	return 0;
}
