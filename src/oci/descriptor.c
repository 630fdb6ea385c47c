/* SPDX-License-Identifier: Apache-2.0 */
#include <nacre/descriptor.h>

#include <nacre/encode.h>

#include "base/mem.h"
#include "oci/oci-internal.h"

/* Index of `key`, or where it belongs. */
static size_t annotation_place(const struct annotations *a, const char *key, bool *ret_found)
{
	size_t low = 0, high = a->len;

	*ret_found = false;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = strcmp(a->items[mid].key, key);

		if (c == 0) {
			*ret_found = true;
			return mid;
		}
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

void annotations_set(struct annotations *a, const char *key, const char *value)
{
	char *copy = xstrdup(value); /* `value` may be what is replaced */
	bool found;
	size_t i = annotation_place(a, key, &found);

	if (found) {
		free(a->items[i].value);
		a->items[i].value = copy;
		return;
	}
	array_grow(a->items, a->cap, a->len + 1);
	memmove(a->items + i + 1, a->items + i, (a->len - i) * sizeof(*a->items));
	a->items[i] = (struct annotation){xstrdup(key), copy};
	a->len++;
}

/* By key; of one key, as they were appended. */
static int compare_annotations(const void *a, const void *b)
{
	const struct annotation *x = *(const struct annotation *const *)a;
	const struct annotation *y = *(const struct annotation *const *)b;
	int c = strcmp(x->key, y->key);

	return c ? c : (x > y) - (x < y);
}

void annotations_append(struct annotations *a, const char *key, const char *value)
{
	array_grow(a->items, a->cap, a->len + 1);
	a->items[a->len++] = (struct annotation){xstrdup(key), xstrdup(value)};
}

void annotations_sort(struct annotations *a)
{
	cleanup_free struct annotation **order = xcalloc(a->len + 1, sizeof(struct annotation *));
	struct annotation *sorted = xcalloc(a->len + 1, sizeof(*sorted));
	size_t n = 0;

	for (size_t i = 0; i < a->len; i++)
		order[i] = &a->items[i];
	qsort(order, a->len, sizeof(struct annotation *), compare_annotations);
	for (size_t i = 0; i < a->len; i++) {
		if (n && strcmp(sorted[n - 1].key, order[i]->key) == 0) {
			n--;
			free(sorted[n].key);
			free(sorted[n].value);
		}
		sorted[n++] = *order[i];
	}
	free(a->items);
	*a = (struct annotations){.items = sorted, .len = n, .cap = a->len + 1};
}

const char *annotations_get(const struct annotations *a, const char *key)
{
	bool found;
	size_t i = annotation_place(a, key, &found);

	return found ? a->items[i].value : NULL;
}

void annotations_copy(struct annotations *ret, const struct annotations *from)
{
	*ret = (struct annotations){0};
	for (size_t i = 0; i < from->len; i++)
		annotations_append(ret, from->items[i].key, from->items[i].value);
}

void annotations_release(struct annotations *a)
{
	for (size_t i = 0; i < a->len; i++) {
		free(a->items[i].key);
		free(a->items[i].value);
	}
	free(a->items);
	*a = (struct annotations){0};
}

char *copy_or_null(const char *s)
{
	return s ? xstrdup(s) : NULL;
}

void platform_copy(struct platform *ret, const struct platform *from)
{
	*ret = (struct platform){
		.architecture = copy_or_null(from->architecture),
		.os = copy_or_null(from->os),
		.variant = copy_or_null(from->variant),
		.os_version = copy_or_null(from->os_version),
	};
	strv_copy(&ret->os_features, &from->os_features);
}

void platform_release(struct platform *p)
{
	free(p->architecture);
	free(p->os);
	free(p->variant);
	free(p->os_version);
	strv_release(&p->os_features);
	*p = (struct platform){0};
}

void descriptor_make(struct descriptor *ret, const char *media_type, const struct hash *digest,
		     uint64_t size)
{
	*ret = (struct descriptor){
		.media_type = xstrdup(media_type), .digest = *digest, .size = size};
}

void descriptor_copy(struct descriptor *ret, const struct descriptor *from)
{
	*ret = (struct descriptor){
		.media_type = copy_or_null(from->media_type),
		.digest = from->digest,
		.size = from->size,
		.data = copy_or_null(from->data),
		.artifact_type = copy_or_null(from->artifact_type),
		.has_platform = from->has_platform,
	};
	strv_copy(&ret->urls, &from->urls);
	annotations_copy(&ret->annotations, &from->annotations);
	if (from->has_platform)
		platform_copy(&ret->platform, &from->platform);
}

void descriptor_release(struct descriptor *d)
{
	free(d->media_type);
	free(d->data);
	free(d->artifact_type);
	strv_release(&d->urls);
	annotations_release(&d->annotations);
	platform_release(&d->platform);
	*d = (struct descriptor){0};
}

/* Decodes behind ret->len without changing it; the number of bytes. */
static int decode_data(const struct descriptor *d, struct buf *ret)
{
	size_t max = strlen(d->data) / 4 * 3;
	struct hash h;
	int n = buf_reserve(ret, max);

	if (n < 0)
		return n;
	n = base64_decode(ret->data + ret->len, max, slice_str(d->data));
	if (n < 0)
		return E_INVALID;
	hash_bytes(&h, d->digest.algo, ret->data + ret->len, (size_t)n);
	return (uint64_t)n == d->size && hash_equal(&h, &d->digest) ? n : E_MISMATCH;
}

int descriptor_data(const struct descriptor *d, struct buf *ret)
{
	int n = d->data ? decode_data(d, ret) : E_NOTFOUND;

	if (n > 0)
		ret->len += (size_t)n;
	if (ret->data)
		ret->data[ret->len] = '\0';
	return n < 0 ? n : 0;
}

void descriptors_take(struct descriptors *list, struct descriptor *d)
{
	array_grow(list->items, list->cap, list->len + 1);
	list->items[list->len++] = *d;
	*d = (struct descriptor){0};
}

void descriptors_release(struct descriptors *list)
{
	for (size_t i = 0; i < list->len; i++)
		descriptor_release(&list->items[i]);
	free(list->items);
	*list = (struct descriptors){0};
}
