/* SPDX-License-Identifier: Apache-2.0 */
#include "node/unstarted.h"

#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <jansson.h>

#include "base/fs.h"
#include "base/mem.h"

enum { CONFIG_MAX = 64 << 20 /* as what writes it */ };

/* What is at a path of the image, as the container would see it: 0, it can be run; otherwise the exit code. */
static int look_at(int rootfs, const char *path)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC,
			       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	cleanup_fd int fd = (int)syscall(SYS_openat2, rootfs, path, &how, sizeof(how));
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return EXIT_NO_PROGRAM;
	return S_ISREG(st.st_mode) && (st.st_mode & 0111) ? 0 : EXIT_NO_RUN;
}

/* PATH as the container has it, borrowed. */
static const char *find_path(const json_t *process)
{
	const json_t *env = json_object_get(process, "env");

	for (size_t i = 0; i < json_array_size(env); i++) {
		const char *setting = json_string_value(json_array_get(env, i));

		if (setting && strncmp(setting, "PATH=", 5) == 0)
			return setting + 5;
	}
	return "";
}

static int look_in(int rootfs, const char *cwd, const char *dir, const char *program)
{
	cleanup_free char *file = xasprintf("%s/%s/%s", *dir == '/' ? "" : cwd, dir, program);

	return look_at(rootfs, file);
}

static int find_program(int rootfs, const char *path, const char *cwd, const char *program)
{
	cleanup_free char *copy = xstrdup(path);
	char *rest = copy, *dir;
	int code = EXIT_NO_PROGRAM;

	if (*program == '/')
		return look_at(rootfs, program);
	if (strchr(program, '/'))
		return look_in(rootfs, cwd, "", program);
	while ((dir = strsep(&rest, ":"))) {
		int found = look_in(rootfs, cwd, dir, program);

		if (found == 0)
			return 0;
		if (found == EXIT_NO_RUN)
			code = found;
	}
	return code;
}

int unstarted_exit_code(int bundle)
{
	cleanup_fd int rootfs = openat(bundle, "rootfs", O_PATH | O_DIRECTORY | O_CLOEXEC);
	cleanup_buf struct buf text = {0};
	struct err ignored = ERR_INIT;
	const char *program = NULL, *cwd = "/";
	json_t *config, *process;
	int code = 0;

	if (rootfs < 0 || read_file_at(bundle, "config.json", CONFIG_MAX, &text, &ignored) < 0)
		return EXIT_UNSTARTED;
	/* A limit that is none is more than an integer of jansson's. */
	config = json_loadb((const char *)text.data, text.len, JSON_DECODE_INT_AS_REAL, NULL);
	process = json_object_get(config, "process");
	if (json_unpack(process, "{s:[s], s:s}", "args", &program, "cwd", &cwd) == 0)
		code = find_program(rootfs, find_path(process), cwd, program);
	json_decref(config);
	return code ? code : EXIT_UNSTARTED;
}
