/* SPDX-License-Identifier: Apache-2.0 */
/* `nacre nar ls` and `nacre nar cat`: looking into a NAR. A plain file is searched by seeking. */
#include <inttypes.h>
#include <stdio.h>

#include <nacre/buf.h>
#include <nacre/nar.h>

#include "base/mem.h"
#include "cli/cmd-nar.h"
#include "cli/nar-stream.h"
#include "nix/node-select.h"

CLEANUP_FUNC(struct nar_lister, nar_lister_free)

/* All events, or all but contents, of a NAR in a file or stream. */
static int read_headers(struct nar_input *in, struct node_sink *out, struct err *err)
{
	struct nar_decoder decoder;
	int r;

	if (in->seekable)
		return nar_scan(in->fd, out, err) < 0 ? err_wrap(err, "%s", in->name) : 0;
	nar_decoder_init(&decoder, out);
	r = nar_input_read(in, &decoder.sink, err);
	nar_decoder_release(&decoder);
	return r;
}

static const char ls_help[] = "Usage: nacre nar ls [OPTION]... NARFILE [PATH]\n"
			      "\n"
			      "Lists the directory PATH (default: the root) in a NAR, or PATH "
			      "itself if it is none. Bytes\n"
			      "of names that would move a terminal's cursor are shown as \\xNN.\n"
			      "\n"
			      "Options:\n"
			      "  -R, --recursive   and all below it\n"
			      "  -l, --long        with type, mode and size\n"
			      "      --json        all below it as in a binary cache's .ls file\n";

enum { OPT_JSON = CLI_OPT };

static const struct option ls_options[] = {
	{"recursive", no_argument, NULL, 'R'},
	{"long", no_argument, NULL, 'l'},
	{"json", no_argument, NULL, OPT_JSON},
	{0},
};

enum { LISTING_MAX = 1 << 30 };

/* Prints a line for each object. */
struct ls {
	struct node_sink node_sink;
	bool recursive, with_mode, json;
	const char *root;               /* borrowed: what to call the object asked for */
	struct buf path;                /* of the directory that is open, with a slash at its end */
	size_t len[NODE_DEPTH_MAX + 1]; /* len[d]: of the path of a directory at depth d */
};

static void print_name(struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.data[i];

		if (c < 0x20 || c == 0x7f)
			printf("\\x%02x", c);
		else if (c == '\\')
			fputs("\\\\", stdout);
		else
			putchar(c);
	}
}

static void print_node(const struct ls *ls, const struct node_event *ev)
{
	if (ls->with_mode)
		printf("%s %12" PRIu64 " ",
		       ev->type == NODE_DIRECTORY ? "dr-xr-xr-x"
		       : ev->type == NODE_SYMLINK ? "lrwxrwxrwx"
		       : ev->executable           ? "-r-xr-xr-x"
						  : "-r--r--r--",
		       ev->size);
	if (ev->depth == 0)
		print_name(slice_str(ls->root));
	print_name(buf_slice(&ls->path));
	print_name(ev->name);
	if (ls->with_mode && ev->type == NODE_SYMLINK) {
		fputs(" -> ", stdout);
		print_name(ev->data);
	}
	putchar('\n');
}

static int ls_event(struct node_sink *self, const struct node_event *ev, struct err *err)
{
	struct ls *ls = container_of(self, struct ls, node_sink);

	switch (ev->type) {
	case NODE_DIRECTORY:
	case NODE_REGULAR:
	case NODE_SYMLINK:
		/* Of the root, if it is a directory, the entries are listed. */
		if (ev->depth == 0 ? ev->type != NODE_DIRECTORY : ls->recursive || ev->depth == 1)
			print_node(ls, ev);
		if (ev->type != NODE_DIRECTORY)
			return 0;
		ls->len[ev->depth] = ls->path.len;
		if (ev->depth && (buf_add(&ls->path, ev->name.data, ev->name.len) < 0 ||
				  buf_add_str(&ls->path, "/") < 0))
			return err_set(err, E_NOMEM, "out of memory");
		return 0;
	case NODE_DIRECTORY_END:
		ls->path.len = ls->len[ev->depth];
		return 0;
	default:
		return 0;
	}
}

static int list(struct ls *ls, const char *file, const char *path, struct err *err)
{
	CLEANUP(nar_lister_free) struct nar_lister *lister = nar_lister_new(LISTING_MAX);
	struct node_select select;
	struct nar_input in;
	struct slice json;
	int r = node_select_init(&select, path,
				 ls->json ? nar_lister_node_sink(lister) : &ls->node_sink, err);

	if (r < 0 || nar_input_open(&in, file, err) < 0)
		return err->code;
	r = read_headers(&in, &select.node_sink, err);
	if (r >= 0 && node_select_finish(&select, err) < 0)
		r = err_wrap(err, "%s", in.name);
	nar_input_close(&in);
	json = nar_lister_json(lister);
	if (r >= 0 && ls->json) {
		fwrite(json.data, 1, json.len, stdout);
		putchar('\n');
	}
	return r;
}

int cmd_nar_ls(int argc, char **argv)
{
	struct ls ls = {.node_sink = {ls_event}};
	struct err err = ERR_INIT;
	const char *path;
	int c, r;

	while ((c = cli_getopt(argc, argv, "Rl", ls_options, ls_help)) >= 0) {
		if (c == 'R')
			ls.recursive = true;
		else if (c == 'l')
			ls.with_mode = true;
		else
			ls.json = true;
	}
	cli_operands(argc, argv, 1, 2, ls_help);
	path = argv[optind + 1] ? argv[optind + 1] : "";
	ls.root = *path ? path : "/";
	r = list(&ls, argv[optind], path, &err);
	buf_release(&ls.path);
	return r < 0 ? cli_fail(&err) : CLI_OK;
}

static const char cat_help[] = "Usage: nacre nar cat NARFILE PATH\n"
			       "\n"
			       "Prints the file PATH of a NAR on standard output.\n";

/* Passes a file's contents on. */
struct cat {
	struct node_sink node_sink;
	struct sink *out;
	const char *path;
};

static int not_a_file(enum node_event_type type, const char *path, struct slice target,
		      struct err *err)
{
	if (type == NODE_DIRECTORY)
		return err_set(err, E_INVALID, "\"%s\" is a directory", path);
	return err_set(err, E_INVALID, "\"%s\" is a symlink to \"%.*s\"", path, (int)target.len,
		       (const char *)target.data);
}

static int cat_event(struct node_sink *self, const struct node_event *ev, struct err *err)
{
	struct cat *cat = container_of(self, struct cat, node_sink);

	if (ev->type == NODE_DIRECTORY || ev->type == NODE_SYMLINK)
		return not_a_file(ev->type, cat->path, ev->data, err);
	if (ev->type == NODE_CONTENT)
		return sink_write(cat->out, ev->data.data, ev->data.len, err);
	return 0;
}

static int cat_stream(struct nar_input *in, const char *path, struct sink *out, struct err *err)
{
	struct cat cat = {{cat_event}, out, path};
	struct node_select select;

	if (node_select_init(&select, path, &cat.node_sink, err) < 0)
		return err->code;
	if (read_headers(in, &select.node_sink, err) < 0)
		return err->code;
	return node_select_finish(&select, err) < 0 ? err_wrap(err, "%s", in->name) : 0;
}

static int cat_member(struct nar_input *in, const char *path, struct sink *out, struct err *err)
{
	enum { BLOCK = 256 << 10 };
	cleanup_free uint8_t *block = xmalloc(BLOCK);
	struct nar_member m;

	if (nar_find(in->fd, path, &m, err) < 0)
		return err_wrap(err, "%s", in->name);
	if (m.type != NODE_REGULAR)
		return not_a_file(m.type, path, slice_str(m.target), err);
	while (m.size) {
		ssize_t n = pread_full(in->fd, block, m.size < BLOCK ? (size_t)m.size : BLOCK,
				       m.offset);

		if (n < 0)
			return err_errno(err, "read %s", in->name);
		if (n == 0)
			return err_set(err, E_TRUNCATED, "%s: ends within \"%s\"", in->name, path);
		if (sink_write(out, block, (size_t)n, err) < 0)
			return err->code;
		m.offset += (uint64_t)n;
		m.size -= (uint64_t)n;
	}
	return 0;
}

static int cat(const char *file, const char *path, struct err *err)
{
	struct nar_output out __attribute__((cleanup(nar_output_release)));
	struct nar_input in;
	int r;

	nar_output_open(&out);
	if (nar_input_open(&in, file, err) < 0)
		return err->code;
	r = in.seekable ? cat_member(&in, path, &out.buffer.sink, err)
			: cat_stream(&in, path, &out.buffer.sink, err);
	nar_input_close(&in);
	return r < 0 ? r : sink_finish(&out.buffer.sink, err);
}

int cmd_nar_cat(int argc, char **argv)
{
	struct err err = ERR_INIT;

	while (cli_getopt(argc, argv, "", NULL, cat_help) >= 0)
		;
	cli_operands(argc, argv, 2, 2, cat_help);
	if (cat(argv[optind], argv[optind + 1], &err) < 0)
		return cli_fail(&err);
	return CLI_OK;
}
