/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a cache, and what is the same for both kinds of it. */
#include <inttypes.h>

#include <nacre/encode.h>

#include "base/fs.h"
#include "base/mem.h"
#include "net/cache-internal.h"
#include "net/credentials.h"
#include "net/url.h"

static struct slice trim(struct slice s)
{
	while (s.len && memchr(" \t\r", s.data[0], 3))
		slice_advance(&s, 1);
	while (s.len && memchr(" \t\r", s.data[s.len - 1], 3))
		s.len--;
	return s;
}

static int parse_info_line(struct cache_info *info, struct slice key, struct slice value)
{
	uint64_t n;

	if (slice_equal_str(key, "StoreDir")) {
		if (store_dir_check(value) < 0)
			return E_INVALID;
		memcpy(info->store_dir, value.data, value.len);
		info->store_dir[value.len] = '\0';
	} else if (slice_equal_str(key, "WantMassQuery")) {
		info->want_mass_query = slice_equal_str(value, "1");
	} else if (slice_equal_str(key, "Priority")) {
		if (parse_u64(&n, value) < 0 || n > INT32_MAX)
			return E_INVALID;
		info->priority = (int)n;
	}
	return 0;
}

int cache_info_parse(struct cache_info *ret, struct slice text)
{
	struct cache_info info = {0};

	while (text.len) {
		const uint8_t *end = memchr(text.data, '\n', text.len);
		struct slice line =
			slice_make(text.data, end ? (size_t)(end - text.data) : text.len);
		const uint8_t *colon = line.len ? memchr(line.data, ':', line.len) : NULL;
		size_t at = colon ? (size_t)(colon - line.data) : 0;

		slice_advance(&text, line.len + (end ? 1 : 0));
		if (colon && parse_info_line(&info, slice_make(line.data, at),
					     trim(slice_make(colon + 1, line.len - at - 1))) < 0)
			return E_INVALID;
	}
	*ret = info;
	return 0;
}

void narinfos_release(struct narinfos *n)
{
	for (size_t i = 0; i < n->len; i++)
		narinfo_release(&n->items[i]);
	free(n->items);
	*n = (struct narinfos){0};
}

const struct narinfo *narinfos_find(const struct narinfos *n, const char *base)
{
	size_t low = 0, high = n->len;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = strcmp(store_path_base(&n->items[mid].info.path), base);

		if (c == 0)
			return &n->items[mid];
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

static int get_small(struct cache *c, const char *name, size_t max, struct buf *ret,
		     struct err *err)
{
	return c->http ? cache_http_get(c, name, max, ret, err)
		       : cache_file_get(c, name, max, ret, err);
}

static int put_small(struct cache *c, const char *name, const char *type, struct slice bytes,
		     struct err *err)
{
	struct http_slice_source body;

	if (!c->http)
		return cache_file_put(c, name, bytes, err);
	http_slice_source_init(&body, bytes);
	return cache_http_put(c, name, type, &body.source, err);
}

static int create_info(struct cache *c, const char *store_dir, struct err *err)
{
	cleanup_buf struct buf text = {0};

	buf_addf(&text, "StoreDir: %s\n", store_dir ? store_dir : STORE_DIR_DEFAULT);
	return put_small(c, "nix-cache-info", "text/x-nix-cache-info", buf_slice(&text), err);
}

static int read_info(struct cache *c, const struct cache_options *o, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT(CACHE_INFO_MAX);
	struct err why = ERR_INIT;
	int r = get_small(c, "nix-cache-info", CACHE_INFO_MAX, &text, &why);

	if (r == E_NOTFOUND && !o->create)
		return err_set(err, E_NOTFOUND,
			       "%s is not a binary cache: it has no nix-cache-info", c->name);
	if (r == E_NOTFOUND)
		r = create_info(c, o->store_dir, &why);
	if (r < 0) {
		*err = why;
		return err_wrap(err, "nix-cache-info of %s", c->name);
	}
	if (cache_info_parse(&c->info, buf_slice(&text)) < 0)
		return err_set(err, E_INVALID,
			       "nix-cache-info of %s: StoreDir or Priority is malformed", c->name);
	if (o->store_dir && c->info.store_dir[0] && strcmp(o->store_dir, c->info.store_dir) != 0)
		return err_set(err, E_MISMATCH, "%s is a cache for %s, not for %s", c->name,
			       c->info.store_dir, o->store_dir);
	snprintf(c->store_dir, sizeof(c->store_dir), "%s",
		 o->store_dir           ? o->store_dir
		 : c->info.store_dir[0] ? c->info.store_dir
					: STORE_DIR_DEFAULT);
	return 0;
}

/* Takes the password out of the URL, or looks one up. */
static int find_authorization(struct cache *c, const struct url *u, const char *netrc_file,
			      struct err *err)
{
	cleanup_credentials struct credentials who = {0};
	int r = 1;

	if (u->user || u->password) {
		who.user = xstrdup(u->user ? u->user : "");
		who.password = xstrdup(u->password ? u->password : "");
	} else {
		cleanup_free char *host = u->host[0] == '['
						  ? xstrndup(u->host + 1, strlen(u->host) - 2)
						  : xstrdup(u->host);

		r = credentials_for_cache(&who, netrc_file, host, err);
	}
	if (r <= 0)
		return r;
	if (credentials_basic(&c->authorization, &who) < 0)
		return err_set(err, E_INVALID, "credentials of %s: the user must not have a ':'",
			       c->name);
	return 0;
}

static int open_http(struct cache *c, const char *url, const struct cache_options *o,
		     struct err *err)
{
	cleanup_url struct url u = {0};
	size_t len;
	int r = http_require(err);

	if (r < 0)
		return r;
	if (url_parse(&u, slice_str(url)) < 0 || strchr(u.text, '?'))
		return err_set(err, E_USAGE,
			       "%s is not the address of a cache (http://HOST/…, https://HOST/…, "
			       "file:///DIR)",
			       strchr(url, '@') ? "this" : url);
	len = strlen(u.text);
	while (len && u.text[len - 1] == '/')
		u.text[--len] = '\0';
	c->name = xstrdup(u.text);
	c->base = xasprintf("%s/", u.text);
	r = find_authorization(c, &u, o->netrc_file, err);
	return r < 0 ? r : http_new(&c->http, &o->http, err);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that %XX stands for, or -1 where it is not that; NUL stands for nothing. */
static int percent_byte(const char *text)
{
	int high = text[0] == '%' ? hex_digit(text[1]) : -1;
	int low = high >= 0 ? hex_digit(text[2]) : -1;

	return low >= 0 && (high || low) ? high * 16 + low : -1;
}

/* file:///dir, file://localhost/dir: the directory, owned; NULL: neither. */
static char *file_path(const char *url)
{
	const char *in = url + strlen("file://");
	char *ret, *out;

	if (strncmp(in, "localhost/", 10) == 0)
		in += 9;
	if (in[0] != '/')
		return NULL;
	ret = xstrdup(in);
	for (out = ret; *in; out++) {
		int byte = *in == '%' ? percent_byte(in) : (uint8_t)*in;

		if (byte < 0) {
			free(ret);
			return NULL;
		}
		in += *in == '%' ? 3 : 1;
		*out = (char)byte;
	}
	*out = '\0';
	return ret;
}

static int open_file(struct cache *c, const char *url, const struct cache_options *o,
		     struct err *err)
{
	cleanup_free char *path = file_path(url);
	int r;

	if (!path)
		return err_set(err, E_USAGE, "%s: wanted file:///DIR", url);
	c->name = xstrdup(url);
	if (o->create) {
		r = make_dirs_at(AT_FDCWD, path, err);
		if (r < 0)
			return r;
	}
	c->dirfd = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	return c->dirfd < 0 ? err_errno(err, "open %s", path) : 0;
}

int cache_open(struct cache **ret, const char *url, const struct cache_options *options,
	       struct err *err)
{
	static const struct cache_options defaults = {0};
	const struct cache_options *o = options ? options : &defaults;
	CLEANUP(cache_free) struct cache *c = xcalloc(1, sizeof(*c));
	int r;

	c->dirfd = -1;
	c->trusted = o->trusted;
	c->n_trusted = o->n_trusted;
	if (o->store_dir && store_dir_check(slice_str(o->store_dir)) < 0)
		return err_set(err, E_USAGE, "%s is not a store directory", o->store_dir);
	r = strncmp(url, "file://", 7) == 0 ? open_file(c, url, o, err) : open_http(c, url, o, err);
	if (r == 0)
		r = read_info(c, o, err);
	if (r < 0)
		return r;
	*ret = take_ptr(c);
	return 0;
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	if (c->authorization)
		explicit_bzero(c->authorization, strlen(c->authorization));
	free(c->authorization);
	free(c->name);
	free(c->base);
	http_free(c->http);
	close_fd(&c->dirfd);
	free(c);
}

const char *cache_name(const struct cache *c)
{
	return c->name;
}

const char *cache_store_dir(const struct cache *c)
{
	return c->store_dir;
}

const struct cache_info *cache_info_of(const struct cache *c)
{
	return &c->info;
}

int cache_get_file(struct cache *c, const char *name, size_t max, struct buf *ret, struct err *err)
{
	cleanup_buf struct buf encoded = BUF_INIT(URL_MAX);
	bool inside = true;

	for (const char *part = name; inside;) {
		size_t len = strcspn(part, "/");

		inside = len && !(part[0] == '.' && (len == 1 || (len == 2 && part[1] == '.')));
		if (!part[len])
			break;
		part += len + 1;
	}
	if (!inside)
		return err_set(err, E_USAGE, "%s is no name of a file in a cache", name);
	if (!c->http)
		return cache_file_get(c, name, max, ret, err);
	if (url_encode(&encoded, slice_str(name), "/:!=+") < 0 || buf_add(&encoded, "", 1) < 0)
		return err_set(err, E_LIMIT, "the name of a file in %s is too long", c->name);
	return cache_http_get(c, (const char *)encoded.data, max, ret, err);
}

int cache_check_narinfo(const struct cache *c, struct slice text, const char *base,
			struct narinfo *ret, struct err *err)
{
	cleanup_narinfo struct narinfo n = {0};
	const char *got;
	int r = narinfo_parse(&n, c->store_dir, text, err);

	if (r < 0)
		return err_wrap(err, "%s: narinfo of %s", c->name, base);
	got = store_path_base(&n.info.path);
	if (strncmp(got, base, STORE_HASH_LEN) != 0 ||
	    (strlen(base) > STORE_HASH_LEN && strcmp(got, base) != 0))
		return err_set(err, E_MISMATCH, "%s: the narinfo of %s is about %s", c->name, base,
			       got);
	/* A content address is proven when the content is there: cache_get_nar(). */
	if (c->n_trusted && !path_info_verify(&n.info, c->trusted, c->n_trusted) &&
	    path_info_ca_matches(&n.info) <= 0)
		return err_set(err, E_DENIED, "%s: %s is not signed by a trusted key", c->name,
			       got);
	*ret = n;
	n = (struct narinfo){0};
	return 0;
}

int cache_get_narinfo(struct cache *c, struct slice hash_part, struct narinfo *ret, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT(NARINFO_MAX);
	cleanup_free char *base = xstrndup((const char *)hash_part.data, hash_part.len);
	cleanup_free char *name = xasprintf("%s.narinfo", base);
	struct err why = ERR_INIT;
	int r;

	if (store_hash_part_check(hash_part) < 0)
		return err_set(err, E_USAGE, "%s is not the hash part of a store path", base);
	r = get_small(c, name, NARINFO_MAX, &text, &why);
	if (r == E_NOTFOUND)
		return err_set(err, E_NOTFOUND, "%s has no path %s", c->name, base);
	if (r < 0) {
		*err = why;
		return r;
	}
	return cache_check_narinfo(c, buf_slice(&text), base, ret, err);
}
