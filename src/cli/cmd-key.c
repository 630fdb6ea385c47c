/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nacre/pathinfo.h>

#include "base/fs.h"
#include "base/mem.h"
#include "cli/cli.h"

enum { KEY_TEXT_MAX = 4096 };

static const char help[] = "Usage: nacre key COMMAND [OPTION]...\n"
			   "\n"
			   "Keys that sign store paths, in Nix's format.\n"
			   "\n"
			   "Commands:\n"
			   "  generate NAME   make a secret key\n"
			   "  public          print the public key of a secret key\n";

static const char generate_help[] =
	"Usage: nacre key generate NAME [-o FILE]\n"
	"\n"
	"Makes a secret key and prints it, or writes it into a new file that only its owner can\n"
	"read. By convention NAME is a host name and a number: cache.example.org-1.\n"
	"\n"
	"Options:\n"
	"  -o, --output FILE   write it there; an existing file is never overwritten\n";

static const char public_help[] =
	"Usage: nacre key public [FILE]\n"
	"\n"
	"Prints the public key of the secret key in FILE, or on standard input.\n";

/* The key goes to its file at once and whole; nobody else may read it. */
static int write_key(const char *file, struct slice text, struct err *err)
{
	cleanup_fd int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_errno(err, "create %s", file);
	if (write_full(fd, text.data, text.len) < 0 || fsync(fd) < 0) {
		err_errno(err, "write %s", file);
		unlink(file);
		return err->code;
	}
	return 0;
}

static int generate(const char *name, const char *file, struct err *err)
{
	struct secret_key key;
	struct buf text = {0};
	int r = secret_key_generate(&key, name, err);

	if (r >= 0) {
		secret_key_format(&text, &key);
		if (file)
			r = write_key(file, buf_slice(&text), err);
		else
			printf("%s", (char *)text.data);
	}
	secret_key_release(&key);
	if (text.data)
		explicit_bzero(text.data, text.cap);
	buf_release(&text);
	return r;
}

static int cmd_generate(int argc, char **argv)
{
	static const struct option options[] = {{"output", required_argument, NULL, 'o'}, {0}};
	const char *file = NULL;
	struct err err = ERR_INIT;

	while (cli_getopt(argc, argv, "o:", options, generate_help) != -1)
		file = optarg;
	cli_operands(argc, argv, 1, 1, generate_help);
	return generate(argv[optind], file, &err) < 0 ? cli_fail(&err) : CLI_OK;
}

static int print_public(const char *file, struct err *err)
{
	struct buf text = {0}, out = {0};
	struct secret_key secret;
	struct public_key public;
	int r = file ? read_file_at(AT_FDCWD, file, KEY_TEXT_MAX, &text, err)
		     : read_fd(STDIN_FILENO, KEY_TEXT_MAX, &text, err);

	if (r >= 0 && secret_key_parse(&secret, buf_slice(&text)) < 0)
		r = err_set(err, E_INVALID, "%s: not a secret key (NAME:BASE64 of 64 bytes)",
			    file ? file : "standard input");
	if (r >= 0) {
		secret_key_public(&public, &secret);
		secret_key_release(&secret);
		public_key_format(&out, &public);
		printf("%s", (char *)out.data);
	}
	if (text.data)
		explicit_bzero(text.data, text.cap);
	buf_release(&text);
	buf_release(&out);
	return r;
}

static int cmd_public(int argc, char **argv)
{
	struct err err = ERR_INIT;

	while (cli_getopt(argc, argv, "", NULL, public_help) != -1)
		;
	cli_operands(argc, argv, 0, 1, public_help);
	return print_public(argv[optind], &err) < 0 ? cli_fail(&err) : CLI_OK;
}

int cmd_key(int argc, char **argv)
{
	static const struct cli_command commands[] = {
		{"generate", "make a secret key", cmd_generate},
		{"public", "print the public key of a secret key", cmd_public},
		{NULL, NULL, NULL},
	};

	return cli_dispatch(commands, help, argc, argv);
}
