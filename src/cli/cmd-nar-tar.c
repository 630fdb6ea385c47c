/* SPDX-License-Identifier: Apache-2.0 */
/* `nacre nar to-tar` and `nacre nar from-tar`: NARs as a store layer, and back. SPEC nacre 2 */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include <nacre/nar.h>
#include <nacre/storepath.h>
#include <nacre/tar.h>

#include "base/mem.h"
#include "base/thread-sink.h"
#include "cli/cmd-nar.h"
#include "cli/nar-stream.h"

CLEANUP_FUNC(struct nar_writer, nar_writer_free)
CLEANUP_FUNC(struct tar_writer, tar_writer_free)
CLEANUP_FUNC(struct tar_reader, tar_reader_free)

static const char to_tar_help[] =
	"Usage: nacre nar to-tar [--digest] STOREPATH NARFILE [STOREPATH NARFILE]...\n"
	"\n"
	"Writes the store layer (an uncompressed, canonical tar) that holds the NARs at these "
	"store\n"
	"paths to standard output. Paths must be in order and in one store dir.\n"
	"\n"
	"Options:\n"
	"      --digest   print the layer's diffID (the digest of the tar) in place of the tar\n";

enum { OPT_DIGEST = CLI_OPT };

static const struct option to_tar_options[] = {
	{"digest", no_argument, NULL, OPT_DIGEST},
	{0},
};

static int parse_store_path(struct store_path *ret, const char *text, struct err *err)
{
	if (store_path_parse_any(ret, slice_str(text)) < 0)
		return err_set(err, E_USAGE, "'%s' is not a store path (/nix/store/HASH-NAME)",
			       text);
	return 0;
}

static int add_path(struct tar_writer *tar, const struct store_path *path, const char *file,
		    struct err *err)
{
	struct nar_decoder decoder;
	struct nar_input in;
	int r;

	if (tar_writer_path(tar, store_path_base(path), err) < 0)
		return err_wrap(err, "%s", path->text);
	if (nar_input_open(&in, file, err) < 0)
		return err->code;
	nar_decoder_init(&decoder, tar_writer_node_sink(tar));
	r = nar_input_read(&in, &decoder.sink, err);
	nar_decoder_release(&decoder);
	nar_input_close(&in);
	return r;
}

/* `pairs` are store paths and files, in turn. */
static int write_layer(struct sink *out, char **pairs, int count, struct err *err)
{
	CLEANUP(tar_writer_free) struct tar_writer *tar = NULL;
	struct store_path first, path;
	cleanup_free char *store_dir = NULL;

	if (parse_store_path(&first, pairs[0], err) < 0)
		return err->code;
	store_dir = xstrndup(first.text, first.dir_len);
	tar = tar_writer_new(out, store_dir);
	if (tar_writer_preamble(tar, err) < 0)
		return err->code;
	for (int i = 0; i < count; i += 2) {
		if (store_path_parse(&path, store_dir, slice_str(pairs[i])) < 0)
			return err_set(err, E_USAGE, "'%s' is not a store path in %s", pairs[i],
				       store_dir);
		if (add_path(tar, &path, pairs[i + 1], err) < 0)
			return err->code;
	}
	if (tar_writer_trailer(tar, err) < 0)
		return err->code;
	return sink_finish(out, err);
}

static int to_tar(char **pairs, int count, struct err *err)
{
	struct nar_output out __attribute__((cleanup(nar_output_release)));

	nar_output_open(&out);
	if (cli_check_binary_stdout(err) < 0)
		return err->code;
	return write_layer(&out.buffer.sink, pairs, count, err);
}

static int print_diff_id(char **pairs, int count, struct err *err)
{
	char text[HASH_TEXT_MAX];
	struct thread_sink thread;
	struct hash_sink hash;
	struct hash diff_id;
	int r;

	hash_sink_init(&hash, HASH_SHA256, NULL);
	thread_sink_init(&thread, &hash.sink);
	r = write_layer(&thread.sink, pairs, count, err);
	thread_sink_release(&thread);
	if (r >= 0) {
		hash_sink_final(&hash, &diff_id);
		hash_format(text, &diff_id, HASH_HEX);
		printf("%s\n", text);
	}
	hash_sink_release(&hash);
	return r;
}

int cmd_nar_to_tar(int argc, char **argv)
{
	struct err err = ERR_INIT;
	bool digest = false;
	int count, r;

	while (cli_getopt(argc, argv, "", to_tar_options, to_tar_help) >= 0)
		digest = true;
	count = argc - optind;
	/* An odd number of operands lacks one. */
	cli_operands(argc, argv, count % 2 ? count + 1 : 2, -1, to_tar_help);
	r = digest ? print_diff_id(argv + optind, count, &err) : to_tar(argv + optind, count, &err);
	return r < 0 ? cli_fail(&err) : CLI_OK;
}

static const char from_tar_help[] =
	"Usage: nacre nar from-tar TARFILE [STOREPATH]\n"
	"       nacre nar from-tar --to DIR TARFILE\n"
	"\n"
	"Writes the NAR of STOREPATH, or of the only store path of a store layer, to standard\n"
	"output; with --to, those of all its paths to files DIR/HASH-NAME.nar. TARFILE may be\n"
	"compressed, and may be - for standard input. What is not a canonical store layer is\n"
	"refused.\n"
	"\n"
	"Options:\n"
	"      --to DIR   write all NARs to this directory\n";

enum { OPT_TO = CLI_OPT };

static const struct option from_tar_options[] = {
	{"to", required_argument, NULL, OPT_TO},
	{0},
};

/* A sink that reads a layer and writes NARs. */
struct from_tar {
	struct sink sink;
	struct tar_reader *reader;     /* owned */
	const struct store_path *want; /* borrowed; NULL: any */
	int dir;                       /* where files go; -1: to standard output */
	struct nar_output *out;        /* borrowed */
	struct nar_writer *writer;     /* owned; of the path that is read, if it is written */
	size_t paths;                  /* begun so far */
	bool found;
	/* With a directory: */
	struct temp_file file;
	struct fd_sink file_sink;
	struct buffer_sink buffer;
	char name[STORE_BASE_MAX + 1];
	struct strv written; /* files that are complete */
};

static int malformed(const struct from_tar *t, int code, struct err *err)
{
	if (code == E_UNSUPPORTED)
		return err_set(err, code, "not a store layer: expected %s at offset %" PRIu64,
			       tar_reader_expected(t->reader), tar_reader_offset(t->reader));
	return err_set(err, code, "not a canonical store layer: expected %s at offset %" PRIu64,
		       tar_reader_expected(t->reader), tar_reader_offset(t->reader));
}

static int not_found(const struct from_tar *t, struct err *err)
{
	return err_set(err, E_NOTFOUND, "the layer has no store path %s", t->want->text);
}

static int begin_path(struct from_tar *t, struct slice base, struct err *err)
{
	bool wanted = !t->want || slice_equal_str(base, store_path_base(t->want));
	struct sink *out = &t->out->buffer.sink;

	if (t->paths++ && t->dir < 0 && !t->want)
		return err_set(
			err, E_USAGE,
			"the layer holds several store paths: name one of them, or use --to DIR");
	if (!wanted || base.len > STORE_BASE_MAX)
		return 0;
	t->found = true;
	memcpy(t->name, base.data, base.len);
	t->name[base.len] = '\0';
	if (t->dir >= 0) {
		if (temp_file_open(&t->file, t->dir, err) < 0)
			return err->code;
		fd_sink_init(&t->file_sink, t->file.fd, t->name);
		buffer_sink_init(&t->buffer, &t->file_sink.sink, 256 << 10);
		out = &t->buffer.sink;
	}
	t->writer = nar_writer_new(out);
	return 0;
}

static int end_path(struct from_tar *t, struct err *err)
{
	char file_name[STORE_BASE_MAX + 8];

	nar_writer_free(take_ptr(t->writer));
	if (t->dir < 0)
		return 0;
	if (sink_finish(&t->buffer.sink, err) < 0)
		return err->code;
	buffer_sink_release(&t->buffer);
	snprintf(file_name, sizeof(file_name), "%s.nar", t->name);
	if (temp_file_commit(&t->file, t->dir, file_name, false, false, err) < 0)
		return err->code;
	strv_add(&t->written, file_name);
	return 0;
}

/* Whether the layer is canonical shows at its end: until then nothing of it may stay. */
static void remove_written(const struct from_tar *t)
{
	for (size_t i = 0; i < t->written.len; i++)
		unlinkat(t->dir, t->written.items[i], 0);
}

static int take_event(struct from_tar *t, const struct tar_event *ev, struct err *err)
{
	switch (ev->type) {
	case TAR_STORE_DIR:
		if (t->want && !slice_equal(ev->text, store_path_dir(t->want)))
			return not_found(t, err);
		return 0;
	case TAR_END:
		return 0;
	case TAR_PATH:
		return begin_path(t, ev->text, err);
	case TAR_NODE:
		if (!t->writer)
			return 0;
		if (node_sink_event(nar_writer_node_sink(t->writer), &ev->node, err) < 0)
			return err->code;
		return ev->node.type == NODE_END ? end_path(t, err) : 0;
	}
	return 0;
}

static int from_tar_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct from_tar *t = container_of(self, struct from_tar, sink);
	struct slice input = slice_make(data, len);
	struct tar_event ev;
	int r;

	while ((r = tar_reader_step(t->reader, &input, &ev)) > 0)
		if (take_event(t, &ev, err) < 0)
			return err->code;
	return r < 0 ? malformed(t, r, err) : 0;
}

static int from_tar_finish(struct sink *self, struct err *err)
{
	struct from_tar *t = container_of(self, struct from_tar, sink);

	if (tar_reader_finish(t->reader) < 0)
		return err_set(err, E_TRUNCATED,
			       "truncated store layer: it ends at offset %" PRIu64,
			       tar_reader_offset(t->reader));
	if (t->want && !t->found)
		return not_found(t, err);
	return 0;
}

static int from_tar(const char *file, const char *path, const char *dir, struct err *err)
{
	struct nar_output out __attribute__((cleanup(nar_output_release)));
	CLEANUP(tar_reader_free) struct tar_reader *reader = tar_reader_new();
	cleanup_fd int dirfd = -1;
	struct from_tar t = {
		.sink = {from_tar_write, from_tar_finish}, .reader = reader, .out = &out};
	struct store_path want;
	struct nar_input in;
	int r;

	nar_output_open(&out);
	t.file = TEMP_FILE_INIT;
	if (path && parse_store_path(&want, path, err) < 0)
		return err->code;
	t.want = path ? &want : NULL;
	dirfd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (dir && dirfd < 0)
		return err_errno(err, "open directory %s", dir);
	t.dir = dirfd;
	if (nar_input_open(&in, file, err) < 0)
		return err->code;
	r = nar_input_read(&in, &t.sink, err);
	nar_input_close(&in);
	if (t.writer)
		nar_writer_free(t.writer);
	buffer_sink_release(&t.buffer);
	temp_file_release(&t.file);
	if (r < 0)
		remove_written(&t);
	strv_release(&t.written);
	return r < 0 ? r : sink_finish(&out.buffer.sink, err);
}

int cmd_nar_from_tar(int argc, char **argv)
{
	const char *dir = NULL;
	struct err err = ERR_INIT;
	int c;

	while ((c = cli_getopt(argc, argv, "", from_tar_options, from_tar_help)) >= 0)
		if (c == OPT_TO)
			dir = optarg;
	cli_operands(argc, argv, 1, dir ? 1 : 2, from_tar_help);
	if ((!dir && cli_check_binary_stdout(&err) < 0) ||
	    from_tar(argv[optind], argv[optind + 1], dir, &err) < 0)
		return cli_fail(&err);
	return CLI_OK;
}
