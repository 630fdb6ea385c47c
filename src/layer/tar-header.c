/* SPDX-License-Identifier: Apache-2.0 */
#include "layer/tar-header.h"

#include "base/mem.h"

/* SPEC nacre 2, posix ustar: where the fields are. */
enum {
	NAME = 0,
	MODE = 100,
	UID = 108,
	GID = 116,
	SIZE = 124,
	MTIME = 136,
	CHECKSUM = 148,
	TYPE = 156,
	LINK = 157,
	MAGIC = 257,
	UNAME = 265,
	GNAME = 297,
	DEVMAJOR = 329,
	DEVMINOR = 337,
	PREFIX = 345,
	END = 500,
};

static const struct {
	size_t offset;
	const char *name;
} fields[] = {
	{NAME, "name"},         {MODE, "mode"},         {UID, "uid"},
	{GID, "gid"},           {SIZE, "size"},         {MTIME, "mtime"},
	{CHECKSUM, "checksum"}, {TYPE, "type"},         {LINK, "link"},
	{MAGIC, "magic"},       {UNAME, "user name"},   {GNAME, "group name"},
	{DEVMAJOR, "devmajor"}, {DEVMINOR, "devminor"}, {PREFIX, "prefix"},
	{END, "padding"},
};

const char *tar_field_name(size_t offset)
{
	size_t i = ARRAY_LEN(fields) - 1;

	while (fields[i].offset > offset)
		i--;
	return fields[i].name;
}

/* Octal, zero-padded to `width` - 1 digits, and a NUL. */
static void put_octal(uint8_t *field, size_t width, uint64_t n)
{
	field[width - 1] = '\0';
	for (size_t i = width - 1; i-- > 0; n >>= 3)
		field[i] = (uint8_t)('0' + (n & 7));
}

/* The sum of all bytes, in four sums of two bytes each: 128 bytes cannot make one of them overflow. */
static unsigned sum_block(const uint8_t *block)
{
	const uint64_t even_bytes = 0x00ff00ff00ff00ff;
	uint64_t sums = 0;

	for (size_t i = 0; i < TAR_BLOCK; i += 8) {
		uint64_t word;

		memcpy(&word, block + i, 8);
		sums += (word & even_bytes) + (word >> 8 & even_bytes);
	}
	sums = (sums & 0x0000ffff0000ffff) + (sums >> 16 & 0x0000ffff0000ffff);
	return (unsigned)(sums + (sums >> 32));
}

static void put_checksum(uint8_t *block)
{
	memset(block + CHECKSUM, ' ', 8);
	/* Six digits, NUL, space. */
	put_octal(block + CHECKSUM, 7, sum_block(block));
}

static void put_text(uint8_t *field, struct slice text)
{
	memcpy(field, text.data, text.len < TAR_FIELD_TEXT ? text.len : TAR_FIELD_TEXT);
}

static void put_block(uint8_t *block, char type, unsigned mode, uint64_t size, struct slice name,
		      struct slice target)
{
	static const char zero[8] = "0000000", one[12] = "00000000001";

	memset(block, 0, TAR_BLOCK);
	put_text(block + NAME, name);
	put_octal(block + MODE, 8, mode);
	memcpy(block + UID, zero, sizeof(zero));
	memcpy(block + GID, zero, sizeof(zero));
	put_octal(block + SIZE, 12, size);
	memcpy(block + MTIME, one, sizeof(one));
	block[TYPE] = (uint8_t)type;
	if (target.len)
		put_text(block + LINK, target);
	memcpy(block + MAGIC, "ustar\00000", 8);
	memcpy(block + DEVMAJOR, zero, sizeof(zero));
	memcpy(block + DEVMINOR, zero, sizeof(zero));
	put_checksum(block);
}

static size_t decimal_digits(size_t n)
{
	size_t digits = 1;

	while (n >= 10) {
		n /= 10;
		digits++;
	}
	return digits;
}

/* "<length> <key>=<value>\n", where the length counts itself. */
static size_t put_record(uint8_t *ret, const char *key, struct slice value)
{
	size_t rest = 1 + strlen(key) + 1 + value.len + 1;
	size_t len = rest + decimal_digits(rest);
	size_t used;

	/* One more digit may be needed once the digits are counted. */
	len = rest + decimal_digits(len);
	used = (size_t)snprintf((char *)ret, 64, "%zu %s=", len, key);
	memcpy(ret + used, value.data, value.len);
	ret[used + value.len] = '\n';
	return len;
}

static size_t put_pax(uint8_t *ret, const struct tar_entry *e)
{
	static const char pax_name[] = "././@PaxHeader";
	uint8_t *records = ret + TAR_BLOCK;
	size_t len = 0, padding;
	char number[24];

	if (e->name.len > TAR_FIELD_TEXT)
		len += put_record(records + len, "path", e->name);
	if (e->target.len > TAR_FIELD_TEXT)
		len += put_record(records + len, "linkpath", e->target);
	if (e->size > TAR_FIELD_SIZE_MAX) {
		snprintf(number, sizeof(number), "%llu", (unsigned long long)e->size);
		len += put_record(records + len, "size", slice_str(number));
	}
	if (len == 0)
		return 0;
	padding = tar_padding(len);
	memset(records + len, 0, padding);
	put_block(ret, TAR_TYPE_PAX, 0644, len, slice_str(pax_name), (struct slice){0});
	return TAR_BLOCK + len + padding;
}

size_t tar_headers_format(uint8_t *ret, const struct tar_entry *e)
{
	size_t len = put_pax(ret, e);

	put_block(ret + len, (char)e->type, e->mode, e->size > TAR_FIELD_SIZE_MAX ? 0 : e->size,
		  e->name, e->target);
	return len + TAR_BLOCK;
}

static int parse_octal(const uint8_t *field, size_t width, uint64_t *ret)
{
	uint64_t n = 0;

	for (size_t i = 0; i < width - 1; i++) {
		if (field[i] < '0' || field[i] > '7')
			return E_INVALID;
		n = n << 3 | (uint64_t)(field[i] - '0');
	}
	*ret = n;
	return 0;
}

static struct slice field_text(const uint8_t *field)
{
	return slice_make(field, strnlen((const char *)field, TAR_FIELD_TEXT));
}

int tar_block_parse(struct tar_fields *ret, const uint8_t *block)
{
	uint64_t mode;

	if (parse_octal(block + MODE, 8, &mode) < 0 ||
	    parse_octal(block + SIZE, 12, &ret->size) < 0)
		return E_INVALID;
	ret->mode = (unsigned)mode;
	ret->type = (char)block[TYPE];
	ret->name = field_text(block + NAME);
	ret->target = field_text(block + LINK);
	return 0;
}
