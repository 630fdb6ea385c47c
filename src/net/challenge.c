/* SPDX-License-Identifier: Apache-2.0 */
#include "net/challenge.h"

#include "base/mem.h"
#include "net/header-scan.h"

static void challenge_release(struct challenge *c)
{
	free(c->realm);
	free(c->service);
	free(c->scope);
	free(c->error);
	*c = (struct challenge){0};
}

void challenges_release(struct challenges *c)
{
	for (size_t i = 0; i < c->len; i++)
		challenge_release(&c->items[i]);
	c->len = 0;
}

/* Where the value of a parameter that we know is kept; NULL: one that we don't. */
static char **param_place(struct challenge *c, struct slice name)
{
	if (header_name_is(name, "realm"))
		return &c->realm;
	if (header_name_is(name, "service"))
		return &c->service;
	if (header_name_is(name, "scope"))
		return &c->scope;
	return header_name_is(name, "error") ? &c->error : NULL;
}

/* auth-param = token BWS "=" BWS ( token / quoted-string ); a name twice is refused. */
static int take_param(struct challenge *c, struct slice name, struct slice *s)
{
	char **place = param_place(c, name);
	cleanup_free char *value = NULL;

	header_skip_blanks(s);
	if (!header_take_char(s, '='))
		return E_INVALID;
	header_skip_blanks(s);
	if (header_take_value(s, &value) < 0)
		return E_INVALID;
	if (!place)
		return 0;
	if (*place)
		return E_INVALID;
	*place = take_ptr(value);
	return 0;
}

/* token68 is a token with "/" and a tail of "="; taken only if nothing but a comma or the end
 * follows. */
static bool take_token68(struct slice *s)
{
	struct slice at = *s;

	while (at.len) {
		if (header_take_token(&at).len == 0 && !header_take_char(&at, '/'))
			break;
	}
	if (at.len == s->len)
		return false;
	while (header_take_char(&at, '='))
		;
	header_skip_blanks(&at);
	if (at.len && at.data[0] != ',')
		return false;
	*s = at;
	return true;
}

/* Is "token BWS =" next? Then it is a parameter, else the next challenge's scheme. */
static bool at_param(struct slice s)
{
	if (header_take_token(&s).len == 0)
		return false;
	header_skip_blanks(&s);
	return header_take_char(&s, '=');
}

static int take_params(struct challenge *c, struct slice *s)
{
	for (size_t n = 0;; n++) {
		struct slice before;
		int r;

		if (n == CHALLENGE_PARAMS_MAX)
			return E_LIMIT;
		r = take_param(c, header_take_token(s), s);
		if (r < 0)
			return r;
		header_skip_blanks(s);
		before = *s;
		if (!s->len)
			return 0;
		if (!header_take_char(s, ','))
			return E_INVALID;
		header_skip_blanks(s);
		if (!at_param(*s)) {
			*s = before; /* the list of challenges takes the comma */
			return 0;
		}
	}
}

/* challenge = auth-scheme [ 1*SP ( token68 / #auth-param ) ] */
static int take_challenge(struct challenge *c, struct slice *s)
{
	struct slice scheme = header_take_token(s);

	if (!scheme.len)
		return E_INVALID;
	if (header_name_is(scheme, "basic"))
		c->scheme = AUTH_BASIC;
	else if (header_name_is(scheme, "bearer"))
		c->scheme = AUTH_BEARER;
	if (!s->len || s->data[0] == ',')
		return 0;
	if (s->data[0] != ' ' && s->data[0] != '\t')
		return E_INVALID;
	header_skip_blanks(s);
	if (!s->len || s->data[0] == ',')
		return 0;
	if (take_token68(s))
		return 0;
	return at_param(*s) ? take_params(c, s) : E_INVALID;
}

static int take_challenges(struct challenges *all, struct slice *s)
{
	for (;;) {
		int r;

		/* SPEC rfc9110 5.6.1.2: empty list elements are to be tolerated. */
		header_skip_blanks(s);
		while (header_take_char(s, ','))
			header_skip_blanks(s);
		if (!s->len)
			return 0;
		if (all->len == CHALLENGES_MAX)
			return E_LIMIT;
		r = take_challenge(&all->items[all->len++], s);
		if (r < 0)
			return r;
		header_skip_blanks(s);
		if (s->len && s->data[0] != ',')
			return E_INVALID;
	}
}

int challenges_parse(struct challenges *ret, struct slice header)
{
	size_t before = ret->len;
	int r = take_challenges(ret, &header);

	while (r < 0 && ret->len > before)
		challenge_release(&ret->items[--ret->len]);
	return r;
}

const struct challenge *challenges_find(const struct challenges *c, enum auth_scheme scheme)
{
	for (size_t i = 0; i < c->len; i++) {
		if (c->items[i].scheme == scheme)
			return &c->items[i];
	}
	return NULL;
}
