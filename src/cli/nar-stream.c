/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/nar-stream.h"

enum { BLOCK = 256 << 10 };

void nar_widen_pipe(int fd)
{
	fcntl(fd, F_SETPIPE_SZ, 1 << 20);
}

static int sniff(struct nar_input *in, struct err *err)
{
	struct stat st;
	ssize_t n;

	nar_widen_pipe(in->fd);
	n = read_full(in->fd, in->head, sizeof(in->head));
	if (n < 0)
		return err_errno(err, "read %s", in->name);
	in->head_len = (size_t)n;
	in->codec = codec_sniff(slice_make(in->head, in->head_len));
	if (fstat(in->fd, &st) == 0 && S_ISREG(st.st_mode)) {
		in->size = (uint64_t)st.st_size;
		in->seekable = in->codec == CODEC_NONE &&
			       lseek(in->fd, 0, SEEK_CUR) == (off_t)in->head_len;
	}
	return 0;
}

int nar_input_open(struct nar_input *in, const char *path, struct err *err)
{
	*in = (struct nar_input){.name = path, .fd = STDIN_FILENO};
	if (strcmp(path, "-") != 0) {
		in->fd = open(path, O_RDONLY | O_CLOEXEC);
		if (in->fd < 0)
			return err_errno(err, "open %s", path);
	} else {
		in->name = "standard input";
		if (isatty(STDIN_FILENO))
			return err_set(err, E_USAGE,
				       "a NAR is binary: redirect standard input or name a file");
	}
	if (sniff(in, err) < 0) {
		nar_input_close(in);
		return err->code;
	}
	return 0;
}

void nar_input_close(struct nar_input *in)
{
	if (in->fd != STDIN_FILENO)
		close_fd(&in->fd);
}

/* Counts what passes, for the progress line. */
struct progress_sink {
	struct sink sink;
	struct sink *next;
	struct progress progress;
};

static int progress_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct progress_sink *s = container_of(self, struct progress_sink, sink);

	progress_add(&s->progress, len);
	return sink_write(s->next, data, len, err);
}

static size_t read_size(const struct nar_input *in)
{
	const struct nar_reader *reader = in->decoder ? in->decoder->reader : NULL;

	return BLOCK - (reader ? (size_t)(nar_reader_content_offset(reader) % BLOCK) : 0);
}

static int copy_rest(const struct nar_input *in, struct sink *out, struct err *err)
{
	cleanup_free uint8_t *block = xmalloc(BLOCK);

	for (;;) {
		ssize_t n = read(in->fd, block, read_size(in));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, "read %s", in->name);
		if (n == 0)
			return 0;
		if (sink_write(out, block, (size_t)n, err) < 0)
			return err->code;
	}
}

static int copy(struct nar_input *in, struct sink *out, struct err *err)
{
	struct progress_sink counted = {.sink = {.write = progress_write}, .next = out};
	int r;

	progress_begin(&counted.progress, in->name, in->size);
	r = sink_write(&counted.sink, in->head, in->head_len, err);
	if (r >= 0)
		r = copy_rest(in, &counted.sink, err);
	progress_end(&counted.progress);
	if (r >= 0)
		r = sink_finish(out, err);
	return r;
}

int nar_input_read(struct nar_input *in, struct sink *out, struct err *err)
{
	static const struct codec_limits no_limits;
	struct sink *decoder;
	int r;

	if (in->codec == CODEC_NONE) {
		r = copy(in, out, err);
	} else {
		r = decoder_new(&decoder, in->codec, out, &no_limits, err);
		if (r >= 0) {
			r = copy(in, decoder, err);
			decoder_free(decoder);
		}
	}
	return r < 0 ? err_wrap(err, "%s", in->name) : 0;
}

void nar_output_open(struct nar_output *o)
{
	nar_widen_pipe(STDOUT_FILENO);
	fd_sink_init(&o->fd, STDOUT_FILENO, "standard output");
	buffer_sink_init(&o->buffer, &o->fd.sink, BLOCK);
}

void nar_output_release(struct nar_output *o)
{
	buffer_sink_release(&o->buffer);
}
