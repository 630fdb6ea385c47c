/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>

#include <nacre/buf.h>

#include "base/mem.h"

int buf_reserve(struct buf *b, size_t len)
{
	size_t max = b->max ? b->max : BUF_MAX_DEFAULT;
	size_t need, cap;
	uint8_t *grown;

	if (b->len > max || len > max - b->len)
		return E_LIMIT;
	need = b->len + len + 1; /* room for the NUL */
	if (need <= b->cap)
		return 0;
	cap = b->cap ? b->cap : 64;
	while (cap < need)
		cap *= 2;
	if (cap > max + 1)
		cap = max + 1;
	grown = realloc(b->data, cap);
	if (!grown)
		return E_NOMEM;
	b->data = grown;
	b->cap = cap;
	b->data[b->len] = '\0';
	return 0;
}

int buf_add(struct buf *b, const void *data, size_t len)
{
	int r = buf_reserve(b, len);

	if (r < 0)
		return r;
	if (len)
		memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
	return 0;
}

int buf_add_str(struct buf *b, const char *s)
{
	return buf_add(b, s, strlen(s));
}

int buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int len, r;

	va_start(ap, fmt);
	len = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (len < 0)
		return E_INVALID;
	r = buf_reserve(b, (size_t)len);
	if (r < 0)
		return r;
	va_start(ap, fmt);
	vsnprintf((char *)b->data + b->len, (size_t)len + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)len;
	return 0;
}

void buf_reset(struct buf *b)
{
	b->len = 0;
	if (b->data)
		b->data[0] = '\0';
}

void buf_release(struct buf *b)
{
	free(b->data);
	b->data = NULL;
	b->len = b->cap = 0;
}

char *buf_take_str(struct buf *b)
{
	char *text = b->data ? (char *)b->data : xstrdup("");

	b->data = NULL;
	b->len = b->cap = 0;
	return text;
}

static int buf_sink_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct buf_sink *s = container_of(self, struct buf_sink, sink);
	int r = buf_add(s->buf, data, len);

	if (r == E_LIMIT)
		return err_set(err, r, "more than %zu bytes",
			       s->buf->max ? s->buf->max : (size_t)BUF_MAX_DEFAULT);
	return r < 0 ? err_set(err, r, "out of memory") : 0;
}

void buf_sink_init(struct buf_sink *s, struct buf *buf)
{
	*s = (struct buf_sink){.sink = {.write = buf_sink_write}, .buf = buf};
}

void strv_take(struct strv *v, char *s)
{
	array_grow(v->items, v->cap, v->len + 2);
	v->items[v->len++] = s;
	v->items[v->len] = NULL;
}

void strv_add(struct strv *v, const char *s)
{
	strv_take(v, xstrdup(s));
}

void strv_add_slice(struct strv *v, struct slice s)
{
	strv_take(v, xstrndup((const char *)s.data, s.len));
}

void strv_addf(struct strv *v, const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	va_end(ap);
	strv_take(v, text);
}

int strv_compare_items(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void strv_sort_unique(struct strv *v)
{
	size_t kept = 0;

	if (v->len < 2)
		return;
	qsort(v->items, v->len, sizeof(v->items[0]), strv_compare_items);
	for (size_t i = 0; i < v->len; i++) {
		if (kept && strcmp(v->items[kept - 1], v->items[i]) == 0)
			free(v->items[i]);
		else
			v->items[kept++] = v->items[i];
	}
	v->len = kept;
	v->items[kept] = NULL;
}

bool strv_contains(const struct strv *v, const char *s)
{
	for (size_t i = 0; i < v->len; i++)
		if (strcmp(v->items[i], s) == 0)
			return true;
	return false;
}

void strv_copy(struct strv *ret, const struct strv *from)
{
	*ret = (struct strv){0};
	for (size_t i = 0; i < from->len; i++)
		strv_add(ret, from->items[i]);
}

void strv_release(struct strv *v)
{
	for (size_t i = 0; i < v->len; i++)
		free(v->items[i]);
	free(v->items);
	*v = (struct strv){0};
}
