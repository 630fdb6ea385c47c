/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include <nacre/hash.h>
#include <nacre/nar.h>
#include <nacre/tree.h>

#include "base/mem.h"
#include "base/sinks.h"
#include "base/thread-sink.h"
#include "cli/cmd-nar.h"
#include "cli/nar-stream.h"

CLEANUP_FUNC(struct nar_writer, nar_writer_free)
CLEANUP_FUNC(struct tree_writer, tree_writer_free)

static const char help[] =
	"Usage: nacre nar COMMAND [OPTION]... [ARGUMENT]...\n"
	"\n"
	"Works with NARs, the archives of Nix store paths. A NAR that is read may be compressed\n"
	"(zstd, xz, gzip, bzip2, lz4, lzip), and may be - for standard input.\n"
	"\n"
	"Commands:\n"
	"  dump      write the NAR of a file tree\n"
	"  restore   make a file tree from a NAR\n"
	"  ls        list what is in a NAR\n"
	"  cat       print one file of a NAR\n"
	"  hash      print the hash of a file tree or NAR\n"
	"  to-tar    make a store layer of a NAR\n"
	"  from-tar  make NARs of a store layer\n"
	"\n"
	"nacre nar COMMAND --help tells of a command.\n";

static const char dump_help[] =
	"Usage: nacre nar dump PATH\n"
	"\n"
	"Writes the NAR of the file, symlink or directory PATH to standard output, as\n"
	"nix-store --dump does.\n";

static int cmd_nar_dump(int argc, char **argv)
{
	struct err err = ERR_INIT;

	while (cli_getopt(argc, argv, "", NULL, dump_help) >= 0)
		;
	cli_operands(argc, argv, 1, 1, dump_help);
	nar_widen_pipe(STDOUT_FILENO);
	if (cli_check_binary_stdout(&err) < 0 ||
	    tree_dump_nar(AT_FDCWD, argv[optind], STDOUT_FILENO, &err) < 0)
		return cli_fail(&err);
	return CLI_OK;
}

static const char restore_help[] =
	"Usage: nacre nar restore [OPTION]... PATH\n"
	"\n"
	"Makes PATH, which must not exist, from a NAR on standard input. If that fails, nothing "
	"of\n"
	"it is left.\n"
	"\n"
	"Options:\n"
	"  -f, --file FILE   read the NAR from FILE\n"
	"      --canonical   modes and times as in a store: 0444, 0555, time 1\n"
	"      --durable     on disk when the command ends\n";

enum { OPT_CANONICAL = CLI_OPT, OPT_DURABLE };

static const struct option restore_options[] = {
	{"file", required_argument, NULL, 'f'},
	{"canonical", no_argument, NULL, OPT_CANONICAL},
	{"durable", no_argument, NULL, OPT_DURABLE},
	{0},
};

static int restore_from(struct nar_input *in, const char *path,
			const struct tree_restore_options *options, struct err *err)
{
	CLEANUP(tree_writer_free)
	struct tree_writer *writer = tree_writer_new(AT_FDCWD, path, options);
	struct err remove_err = ERR_INIT;
	struct nar_decoder decoder;
	int r;

	nar_decoder_init(&decoder, tree_writer_node_sink(writer));
	in->decoder = in->codec == CODEC_NONE ? &decoder : NULL;
	r = nar_input_read(in, &decoder.sink, err);
	nar_decoder_release(&decoder);
	if (r < 0 && tree_writer_created(writer) && tree_remove(AT_FDCWD, path, &remove_err) < 0)
		cli_note("warning: what was restored so far is left: %s", remove_err.text);
	return r;
}

static int restore(const char *file, const char *path, const struct tree_restore_options *options,
		   struct err *err)
{
	struct nar_input in;
	int r = nar_input_open(&in, file, err);

	if (r < 0)
		return r;
	r = restore_from(&in, path, options, err);
	nar_input_close(&in);
	return r;
}

static int cmd_nar_restore(int argc, char **argv)
{
	struct tree_restore_options options = {0};
	const char *file = "-";
	struct err err = ERR_INIT;
	int c;

	while ((c = cli_getopt(argc, argv, "f:", restore_options, restore_help)) >= 0) {
		if (c == 'f')
			file = optarg;
		else if (c == OPT_CANONICAL)
			options.canonical = true;
		else
			options.durable = true;
	}
	cli_operands(argc, argv, 1, 1, restore_help);
	if (restore(file, argv[optind], &options, &err) < 0)
		return cli_fail(&err);
	return CLI_OK;
}

static const char hash_help[] =
	"Usage: nacre nar hash [OPTION]... PATH\n"
	"       nacre nar hash [OPTION]... --nar FILE\n"
	"\n"
	"Prints the hash of the NAR of PATH, or of the NAR in FILE once it is decompressed, which\n"
	"must be well formed: what a narinfo calls NarHash.\n"
	"\n"
	"Options:\n"
	"  -t, --type TYPE        md5, sha1, sha256 (default) or sha512\n"
	"      --format FORMAT    nix32 (default), hex, base64: TYPE:HASH; sri: TYPE-HASH\n"
	"      --nar FILE         read a NAR\n"
	"      --json             print narHash and narSize\n";

enum { OPT_FORMAT = CLI_OPT, OPT_NAR, OPT_JSON };

static const struct option hash_options[] = {
	{"type", required_argument, NULL, 't'},
	{"format", required_argument, NULL, OPT_FORMAT},
	{"nar", required_argument, NULL, OPT_NAR},
	{"json", no_argument, NULL, OPT_JSON},
	{0},
};

static bool parse_notation(const char *name, enum hash_notation *ret)
{
	static const char *const names[] = {
		[HASH_NIX32] = "nix32",
		[HASH_HEX] = "hex",
		[HASH_BASE64] = "base64",
		[HASH_SRI] = "sri",
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (strcmp(name, names[i]) != 0)
			continue;
		*ret = (enum hash_notation)i;
		return true;
	}
	return false;
}

static int ignore_event(struct node_sink *self, const struct node_event *ev, struct err *err)
{
	return 0;
}

/* Hashes a NAR while its grammar is checked. */
static int hash_input(struct nar_input *in, struct sink *hash, struct err *err)
{
	struct node_sink ignore = {ignore_event};
	struct nar_decoder decoder;
	struct tee_sink tee;
	int r;

	nar_decoder_init(&decoder, &ignore);
	tee_sink_init(&tee, hash, &decoder.sink);
	r = nar_input_read(in, &tee.sink, err);
	nar_decoder_release(&decoder);
	return r;
}

static int hash_file(const char *path, enum hash_algo algo, struct hash *ret, uint64_t *ret_size,
		     struct err *err)
{
	struct hash_sink sink;
	struct thread_sink thread;
	struct nar_input in;
	int r = nar_input_open(&in, path, err);

	if (r < 0)
		return r;
	hash_sink_init(&sink, algo, NULL);
	thread_sink_init(&thread, &sink.sink);
	r = hash_input(&in, &thread.sink, err);
	thread_sink_release(&thread);
	if (r >= 0) {
		hash_sink_final(&sink, ret);
		*ret_size = sink.bytes;
	}
	hash_sink_release(&sink);
	nar_input_close(&in);
	return r;
}

static void print_hash(const struct hash *hash, uint64_t size, enum hash_notation notation,
		       bool json)
{
	char text[HASH_TEXT_MAX];

	hash_format(text, hash, notation);
	if (json)
		printf("{\"narHash\":\"%s\",\"narSize\":%" PRIu64 "}\n", text, size);
	else
		printf("%s\n", text);
}

static int cmd_nar_hash(int argc, char **argv)
{
	enum hash_notation notation = HASH_NIX32;
	enum hash_algo algo = HASH_SHA256;
	const char *nar = NULL;
	struct hash hash = {0};
	struct err err = ERR_INIT;
	uint64_t size = 0;
	bool json = false;
	int c, r;

	while ((c = cli_getopt(argc, argv, "t:", hash_options, hash_help)) >= 0) {
		if (c == 't')
			algo = hash_algo_parse(slice_str(optarg));
		else if (c == OPT_NAR)
			nar = optarg;
		else if (c == OPT_JSON)
			json = true;
		else if (!parse_notation(optarg, &notation))
			return cli_usage("unknown format '%s' (nix32, hex, base64, sri)", optarg);
		if (algo == HASH_NONE)
			return cli_usage("unknown type '%s' (md5, sha1, sha256, sha512)", optarg);
	}
	cli_operands(argc, argv, nar ? 0 : 1, nar ? 0 : 1, hash_help);
	r = nar ? hash_file(nar, algo, &hash, &size, &err)
		: tree_hash(AT_FDCWD, argv[optind], algo, &hash, &size, &err);
	if (r < 0)
		return cli_fail(&err);
	print_hash(&hash, size, notation, json);
	return CLI_OK;
}

int cmd_nar(int argc, char **argv)
{
	static const struct cli_command table[] = {
		{"dump", NULL, cmd_nar_dump},
		{"restore", NULL, cmd_nar_restore},
		{"ls", NULL, cmd_nar_ls},
		{"cat", NULL, cmd_nar_cat},
		{"hash", NULL, cmd_nar_hash},
		{"to-tar", NULL, cmd_nar_to_tar},
		{"from-tar", NULL, cmd_nar_from_tar},
		{0},
	};

	return cli_dispatch(table, help, argc, argv);
}
