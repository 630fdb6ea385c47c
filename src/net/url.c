/* SPDX-License-Identifier: Apache-2.0 */
#include "net/url.h"

#include <ctype.h>

#include <nacre/encode.h>

#include "base/mem.h"
#include "net/libcurl.h"

void url_release(struct url *u)
{
	free(u->user);
	free(u->password);
	free(u->host);
	free(u->text);
	*u = (struct url){0};
}

/* A C string for libcurl; NULL when no address can look like that. */
static char *checked_str(struct slice text)
{
	if (text.len > URL_MAX)
		return NULL;
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] < 0x20 || text.data[i] == 0x7f)
			return NULL;
	}
	return xstrndup((const char *)text.data, text.len);
}

/* One part as an owned string of malloc(); NULL when it is not there. */
static char *get_part(CURLU *cu, CURLUPart part, unsigned int flags)
{
	char *got = NULL, *copy = NULL;

	if (curl_url_get(cu, part, &got, flags) == CURLUE_OK && got)
		copy = xstrdup(got);
	curl_free(got);
	return copy;
}

static int fill(struct url *u, CURLU *cu)
{
	cleanup_free char *scheme = get_part(cu, CURLUPART_SCHEME, 0);
	cleanup_free char *port = get_part(cu, CURLUPART_PORT, CURLU_DEFAULT_PORT);
	uint64_t number;

	if (!scheme || !port)
		return E_INVALID;
	u->https = strcmp(scheme, "https") == 0;
	if (!u->https && strcmp(scheme, "http") != 0)
		return E_INVALID;
	if (parse_u64(&number, slice_str(port)) < 0 || number == 0 || number > UINT16_MAX)
		return E_INVALID;
	u->port = (uint16_t)number;
	u->user = get_part(cu, CURLUPART_USER, CURLU_URLDECODE);
	u->password = get_part(cu, CURLUPART_PASSWORD, CURLU_URLDECODE);
	u->host = get_part(cu, CURLUPART_HOST, 0);
	curl_url_set(cu, CURLUPART_USER, NULL, 0);
	curl_url_set(cu, CURLUPART_PASSWORD, NULL, 0);
	curl_url_set(cu, CURLUPART_OPTIONS, NULL, 0);
	curl_url_set(cu, CURLUPART_FRAGMENT, NULL, 0);
	u->text = get_part(cu, CURLUPART_URL, 0);
	if (!u->host || !u->host[0] || !u->text)
		return E_INVALID;
	for (char *p = u->host; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return 0;
}

/* `base` may be NULL. */
static int parse(struct url *ret, const char *base, const char *text)
{
	cleanup_url struct url u = {0};
	struct err ignored = ERR_INIT;
	int r = libcurl_load(&ignored);
	CURLU *cu;

	if (r < 0)
		return r;
	cu = curl_url();
	if (!cu)
		return E_NOMEM;
	r = E_INVALID;
	if ((!base || curl_url_set(cu, CURLUPART_URL, base, 0) == CURLUE_OK) &&
	    curl_url_set(cu, CURLUPART_URL, text, 0) == CURLUE_OK)
		r = fill(&u, cu);
	curl_url_cleanup(cu);
	if (r < 0)
		return r;
	*ret = u;
	u = (struct url){0};
	return 0;
}

int url_parse(struct url *ret, struct slice text)
{
	cleanup_free char *copy = checked_str(text);

	return copy ? parse(ret, NULL, copy) : E_INVALID;
}

int url_resolve(char **ret, const char *base, struct slice ref)
{
	cleanup_free char *copy = checked_str(ref);
	cleanup_url struct url u = {0};
	int r;

	if (!copy)
		return E_INVALID;
	/* SPEC rfc3986 5.2.2: nothing, or a fragment alone, is the base itself. libcurl drops
	 * the query then. */
	r = copy[0] == '\0' || copy[0] == '#' ? parse(&u, NULL, base) : parse(&u, base, copy);
	if (r < 0)
		return r;
	if (strlen(u.text) > URL_MAX)
		return E_INVALID;
	*ret = take_ptr(u.text);
	return 0;
}

bool url_same_origin(const char *a, const char *b)
{
	cleanup_url struct url x = {0}, y = {0};

	if (parse(&x, NULL, a) < 0 || parse(&y, NULL, b) < 0)
		return false;
	return x.https == y.https && x.port == y.port && strcmp(x.host, y.host) == 0;
}

bool url_downgrades(const char *from, const char *to)
{
	return strncasecmp(from, "https:", 6) == 0 && strncasecmp(to, "https:", 6) != 0;
}

void url_display(char *ret, size_t size, const char *url)
{
	const char *query = strchr(url, '?');
	int len = query ? (int)(query - url) : (int)strnlen(url, URL_MAX);

	snprintf(ret, size, "%.*s%s", len, url, query ? "?…" : "");
}

int url_encode(struct buf *ret, struct slice text, const char *keep)
{
	for (size_t i = 0; i < text.len; i++) {
		char c = (char)text.data[i];
		bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
			     (c >= 'A' && c <= 'Z') ||
			     (c && (strchr("-._~", c) || strchr(keep, c)));
		int r = plain ? buf_add(ret, &c, 1) : buf_addf(ret, "%%%02X", text.data[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

bool url_host_is_local(const char *host)
{
	return strcasecmp(host, "localhost") == 0 || strcmp(host, "127.0.0.1") == 0 ||
	       strcmp(host, "[::1]") == 0;
}
