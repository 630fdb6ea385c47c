/* SPDX-License-Identifier: Apache-2.0 */
#include "net/header-scan.h"

#include <strings.h>

#include "base/mem.h"

static bool is_token_char(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && c < 0x80 && strchr("!#$%&'*+-.^_`|~", c));
}

void header_skip_blanks(struct slice *s)
{
	while (s->len && (s->data[0] == ' ' || s->data[0] == '\t'))
		slice_advance(s, 1);
}

bool header_take_char(struct slice *s, char c)
{
	if (!s->len || s->data[0] != (uint8_t)c)
		return false;
	slice_advance(s, 1);
	return true;
}

struct slice header_take_token(struct slice *s)
{
	struct slice token = slice_make(s->data, 0);

	while (s->len && is_token_char(s->data[0])) {
		token.len++;
		slice_advance(s, 1);
	}
	return token;
}

/* Behind the opening quote. */
static int take_quoted(struct slice *s, struct buf *ret)
{
	while (s->len) {
		uint8_t c = s->data[0];

		slice_advance(s, 1);
		if (c == '"')
			return 0;
		if (c == '\\') {
			if (!s->len)
				return E_INVALID;
			c = s->data[0];
			slice_advance(s, 1);
		}
		if (c < 0x20 || c == 0x7f || buf_add(ret, &c, 1) < 0)
			return E_INVALID;
	}
	return E_INVALID;
}

int header_take_value(struct slice *s, char **ret)
{
	cleanup_buf struct buf text = BUF_INIT(HEADER_VALUE_MAX);

	if (header_take_char(s, '"')) {
		if (take_quoted(s, &text) < 0)
			return E_INVALID;
		*ret = text.len ? buf_take_str(&text) : xstrdup("");
		return 0;
	}
	{
		struct slice token = header_take_token(s);

		if (!token.len || token.len > HEADER_VALUE_MAX)
			return E_INVALID;
		*ret = xstrndup((const char *)token.data, token.len);
		return 0;
	}
}

bool header_name_is(struct slice name, const char *want)
{
	return name.len == strlen(want) &&
	       strncasecmp((const char *)name.data, want, name.len) == 0;
}
