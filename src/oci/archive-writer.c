/* SPDX-License-Identifier: Apache-2.0 */
/* SPEC posix pax: ustar interchange format. See tar-file.h. */
#include "base/fs.h"
#include "base/mem.h"
#include "oci/tar-file.h"

enum { HEADER = 512, USTAR_NAME = 100 };

static const uint8_t zeros[2 * HEADER];

static void put_octal(uint8_t *field, size_t len, uint64_t value)
{
	field[len - 1] = '\0';
	for (size_t i = len - 1; i-- > 0; value >>= 3)
		field[i] = (uint8_t)('0' + (value & 7));
}

/* Twelve octal digits end at 8 GiB - 1; past that, the number in base 256 with the first bit set,
 * as GNU tar has it and everything reads it. */
static void put_size(uint8_t *field, uint64_t size)
{
	if (size < (uint64_t)1 << 33) {
		put_octal(field, 12, size);
		return;
	}
	memset(field, 0, 12);
	field[0] = 0x80;
	for (size_t i = 11; i > 3; i--, size >>= 8)
		field[i] = (uint8_t)size;
}

static void make_header(uint8_t *h, const char *name, char type, uint64_t size)
{
	unsigned sum = 0;

	memset(h, 0, HEADER);
	memcpy(h, name, strnlen(name, USTAR_NAME));
	put_octal(h + 100, 8, type == '5' ? 0755 : 0644);
	put_octal(h + 108, 8, 0);
	put_octal(h + 116, 8, 0);
	put_size(h + 124, size);
	put_octal(h + 136, 12, 0);
	memset(h + 148, ' ', 8);
	h[156] = (uint8_t)type;
	memcpy(h + 257, "ustar\00000", 8);
	put_octal(h + 329, 8, 0);
	put_octal(h + 337, 8, 0);
	for (size_t i = 0; i < HEADER; i++)
		sum += h[i];
	put_octal(h + 148, 7, sum);
}

static int write_at_end(struct archive_writer *w, const void *data, size_t len, struct err *err)
{
	return write_full(w->fd, data, len) < 0 ? err_errno(err, "write the archive") : 0;
}

static int write_padding(struct archive_writer *w, uint64_t size, struct err *err)
{
	return write_at_end(w, zeros, (size_t)(-size & (HEADER - 1)), err);
}

static int member_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct archive_writer *w = container_of(self, struct archive_writer, sink);
	int r = write_at_end(w, data, len, err);

	if (r >= 0)
		w->size += len;
	return r;
}

void archive_writer_init(struct archive_writer *w, int fd)
{
	*w = (struct archive_writer){.sink = {.write = member_write}, .fd = fd};
}

void archive_writer_release(struct archive_writer *w)
{
	free(w->name);
	w->name = NULL;
}

/* A pax record counts its own length, digits included. */
static int make_path_record(struct buf *ret, const char *name)
{
	size_t len = strlen(" path=\n") + strlen(name), total = len + 1;

	for (size_t digits = 1;; digits++) {
		total = len + digits;
		if ((size_t)snprintf(NULL, 0, "%zu", total) == digits)
			break;
	}
	return buf_addf(ret, "%zu path=%s\n", total, name);
}

static int write_long_name(struct archive_writer *w, const char *name, struct err *err)
{
	cleanup_buf struct buf record = {0};
	uint8_t header[HEADER];
	int r = make_path_record(&record, name);

	if (r < 0)
		return err_set(err, r, "%.200s: name too long", name);
	make_header(header, "././@PaxHeader", 'x', record.len);
	r = write_at_end(w, header, HEADER, err);
	if (r >= 0)
		r = write_at_end(w, record.data, record.len, err);
	if (r >= 0)
		r = write_padding(w, record.len, err);
	if (r >= 0)
		w->header += HEADER + ((record.len + HEADER - 1) & ~(uint64_t)(HEADER - 1));
	return r;
}

int archive_writer_begin(struct archive_writer *w, const char *name, struct err *err)
{
	int r = 0;

	w->size = 0;
	w->header = w->start;
	free(w->name);
	w->name = name ? xstrdup(name) : NULL;
	if (name && strlen(name) > USTAR_NAME)
		r = write_long_name(w, name, err);
	/* The header's place; what it says is known at the end. */
	return r < 0 ? r : write_at_end(w, zeros, HEADER, err);
}

int archive_writer_end(struct archive_writer *w, const char *name, struct err *err)
{
	uint8_t header[HEADER];
	int r = write_padding(w, w->size, err);

	if (r < 0)
		return r;
	make_header(header, w->name ? w->name : name, '0', w->size);
	if (pwrite(w->fd, header, HEADER, (off_t)w->header) != HEADER)
		return err_errno(err, "write the archive");
	w->start = w->header + HEADER + ((w->size + HEADER - 1) & ~(uint64_t)(HEADER - 1));
	return 0;
}

int archive_writer_drop(struct archive_writer *w, struct err *err)
{
	if (ftruncate(w->fd, (off_t)w->start) < 0 || lseek(w->fd, (off_t)w->start, SEEK_SET) < 0)
		return err_errno(err, "cut the archive");
	return 0;
}

int archive_writer_add(struct archive_writer *w, const char *name, struct slice content,
		       struct err *err)
{
	int r = archive_writer_begin(w, name, err);

	if (r >= 0)
		r = sink_write(&w->sink, content.data, content.len, err);
	return r < 0 ? r : archive_writer_end(w, name, err);
}

int archive_writer_add_dir(struct archive_writer *w, const char *name, struct err *err)
{
	uint8_t header[HEADER];
	int r;

	make_header(header, name, '5', 0);
	r = write_at_end(w, header, HEADER, err);
	if (r >= 0)
		w->start += HEADER;
	return r;
}

int archive_writer_finish(struct archive_writer *w, struct err *err)
{
	return write_at_end(w, zeros, sizeof(zeros), err);
}
