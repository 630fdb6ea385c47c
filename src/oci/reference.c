/* SPDX-License-Identifier: Apache-2.0 */
/* SPEC distribution/reference: reference.go's grammar, and the normalisation of normalize.go. */
#include <nacre/reference.h>

#include <nacre/encode.h>

#define DOCKER_DOMAIN "docker.io"

static bool is_lower(uint8_t c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static bool is_alnum(uint8_t c)
{
	return is_lower(c) || is_digit(c) || (c >= 'A' && c <= 'Z');
}

/* Offset of `c`, or s.len. */
static size_t find(struct slice s, char c)
{
	const uint8_t *at = s.len ? memchr(s.data, c, s.len) : NULL;

	return at ? (size_t)(at - s.data) : s.len;
}

static struct slice slice_head(struct slice s, size_t len)
{
	return slice_make(s.data, len);
}

static struct slice slice_tail(struct slice s, size_t from)
{
	return slice_make(s.data + from, s.len - from);
}

/* Length of the separator that `s` begins with: ".", "_", "__" or any number of "-"; 0: none. */
static size_t separator_len(struct slice s)
{
	size_t n = 0;

	while (n < s.len && s.data[n] == '-')
		n++;
	if (n || !s.len)
		return n;
	if (s.data[0] == '.')
		return 1;
	if (s.data[0] != '_')
		return 0;
	return s.len > 1 && s.data[1] == '_' ? 2 : 1;
}

static bool is_path_component(struct slice s)
{
	bool word = false; /* ends in a letter or digit so far */

	while (s.len) {
		size_t n = is_lower(s.data[0]) || is_digit(s.data[0]) ? 1 : 0;

		if (!n && !word)
			return false;
		word = n;
		if (!n)
			n = separator_len(s);
		if (!n)
			return false;
		slice_advance(&s, n);
	}
	return word;
}

int repository_check(struct slice name)
{
	if (name.len > REPOSITORY_MAX)
		return E_LIMIT;
	for (;;) {
		size_t slash = find(name, '/');

		if (!is_path_component(slice_head(name, slash)))
			return E_INVALID;
		if (slash == name.len)
			return 0;
		slice_advance(&name, slash + 1);
	}
}

int tag_check(struct slice tag)
{
	if (!tag.len)
		return E_INVALID;
	for (size_t i = 0; i < tag.len; i++) {
		uint8_t c = tag.data[i];

		if (!is_alnum(c) && c != '_' && (i == 0 || (c != '.' && c != '-')))
			return E_INVALID;
	}
	return tag.len > TAG_MAX ? E_LIMIT : 0;
}

/* Components of letters, digits and inner hyphens, between dots: host names and IPv4 alike. */
static bool is_host_name(struct slice s)
{
	uint8_t before = '.';

	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.data[i];

		if (c == '.' ? !is_alnum(before) : c == '-' ? before == '.' : !is_alnum(c))
			return false;
		before = c;
	}
	return s.len && is_alnum(before);
}

/* "[", hex digits and colons, "]". Whether it is an address is for the resolver to say. */
static bool is_ipv6(struct slice s)
{
	if (s.len < 3 || s.data[0] != '[' || s.data[s.len - 1] != ']')
		return false;
	for (size_t i = 1; i + 1 < s.len; i++)
		if (!is_digit(s.data[i]) && !memchr("abcdefABCDEF:", s.data[i], 13))
			return false;
	return true;
}

static bool is_domain(struct slice s)
{
	size_t host = s.len;

	while (host && is_digit(s.data[host - 1]))
		host--;
	/* "name:80"; but "name:" has no port, and "[::1]" ends in no digit. */
	if (host && host < s.len && s.data[host - 1] == ':')
		s.len = host - 1;
	return is_host_name(s) || is_ipv6(s);
}

static int copy(char *ret, size_t max, struct slice s)
{
	if (s.len > max)
		return E_LIMIT;
	if (s.len)
		memcpy(ret, s.data, s.len);
	ret[s.len] = '\0';
	return 0;
}

/* Takes "@digest" and ":tag" off the end of `text`. */
static int parse_suffixes(struct reference *ret, struct slice *text)
{
	size_t at = find(*text, '@'), slash = 0, colon;
	struct hash digest;
	int r;

	if (at < text->len) {
		r = digest_parse(&digest, slice_tail(*text, at + 1));
		if (r < 0)
			return r;
		digest_format(ret->digest, &digest);
		text->len = at;
	}
	/* A colon before the last slash belongs to a port. */
	for (size_t i = 0; i < text->len; i++)
		if (text->data[i] == '/')
			slash = i;
	colon = slash + find(slice_tail(*text, slash), ':');
	if (colon == text->len)
		return 0;
	r = tag_check(slice_tail(*text, colon + 1));
	if (r < 0)
		return r;
	copy(ret->tag, TAG_MAX, slice_tail(*text, colon + 1));
	text->len = colon;
	return 0;
}

/* `repository` was checked for nothing yet. */
static int set_name(struct reference *r, struct slice domain, struct slice repository)
{
	int c = repository_check(repository);

	if (c < 0)
		return c;
	copy(r->repository, REPOSITORY_MAX, repository);
	return copy(r->domain, REFERENCE_DOMAIN_MAX, domain);
}

int reference_parse(struct reference *ret, struct slice text)
{
	struct reference parsed = {0};
	size_t slash;
	int r = parse_suffixes(&parsed, &text);

	if (r < 0)
		return r;
	slash = find(text, '/');
	if (slash < text.len && is_domain(slice_head(text, slash)))
		r = set_name(&parsed, slice_head(text, slash), slice_tail(text, slash + 1));
	else
		r = set_name(&parsed, slice_head(text, 0), text);
	if (r == 0)
		*ret = parsed;
	return r;
}

/* What docker takes for a host rather than for the first part of a name on Docker Hub. */
static bool looks_like_domain(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.data[i] == '.' || s.data[i] == ':' || (s.data[i] >= 'A' && s.data[i] <= 'Z'))
			return true;
	return slice_equal_str(s, "localhost");
}

/* 64 hex digits are an image ID wherever people write references. */
static bool is_image_id(struct slice s)
{
	uint8_t id[32];

	return s.len == 64 && hex_decode(id, sizeof(id), s) >= 0;
}

int reference_parse_normalized(struct reference *ret, struct slice text)
{
	struct reference parsed = {0};
	struct slice domain = slice_str(DOCKER_DOMAIN), name;
	char library[REPOSITORY_MAX + 1];
	size_t slash;
	int r;

	if (is_image_id(text))
		return E_INVALID;
	r = parse_suffixes(&parsed, &text);
	if (r < 0)
		return r;
	name = text;
	slash = find(text, '/');
	if (slash < text.len && looks_like_domain(slice_head(text, slash))) {
		domain = slice_head(text, slash);
		name = slice_tail(text, slash + 1);
		if (!is_domain(domain))
			return E_INVALID;
	}
	if (slice_equal_str(domain, "index." DOCKER_DOMAIN))
		domain = slice_str(DOCKER_DOMAIN);
	if (slice_equal_str(domain, DOCKER_DOMAIN) && find(name, '/') == name.len) {
		if (name.len > REPOSITORY_MAX - strlen("library/"))
			return E_LIMIT;
		snprintf(library, sizeof(library), "library/%.*s", (int)name.len,
			 name.len ? (const char *)name.data : "");
		/* A NUL in the name must not shorten it. */
		if (strlen(library) != strlen("library/") + name.len)
			return E_INVALID;
		name = slice_str(library);
	}
	r = set_name(&parsed, domain, name);
	if (r == 0)
		*ret = parsed;
	return r;
}

int reference_parse_err(struct reference *ret, struct slice text, struct err *err)
{
	int shown = text.len > 300 ? 300 : (int)text.len;
	const char *start = shown ? (const char *)text.data : "";
	int r = reference_parse_normalized(ret, text);

	if (r == E_LIMIT)
		return err_set(err, r,
			       "'%.*s': the name of an image has at most %d characters, its tag at "
			       "most %d",
			       shown, start, REPOSITORY_MAX, TAG_MAX);
	if (r == E_UNSUPPORTED)
		return err_set(err, r,
			       "'%.*s': the digest's algorithm is not supported (sha256, sha512 "
			       "are)",
			       shown, start);
	if (r < 0)
		return err_set(err, E_INVALID,
			       "'%.*s' is not the name of an image ([host[:port]/]name[:tag]"
			       "[@digest], the name in lower case)",
			       shown, start);
	return 0;
}

void reference_default_tag(struct reference *r)
{
	if (!r->tag[0] && !r->digest[0])
		copy(r->tag, TAG_MAX, slice_str("latest"));
}

void reference_format(char *ret, const struct reference *r)
{
	snprintf(ret, REFERENCE_TEXT_MAX, "%s%s%s%s%s%s%s", r->domain, r->domain[0] ? "/" : "",
		 r->repository, r->tag[0] ? ":" : "", r->tag, r->digest[0] ? "@" : "", r->digest);
}

void referrers_tag(char *ret, const struct hash *digest)
{
	char hex[HASH_TEXT_MAX];

	hash_format_bare(hex, digest, HASH_HEX);
	snprintf(ret, TAG_MAX + 1, "%s-%.64s", hash_algo_name(digest->algo), hex);
}
