/* SPDX-License-Identifier: Apache-2.0 */
/* docker-credential-* programs (SPEC docker credential helpers): the server on standard input,
 * JSON on standard output. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>

#include <nacre/json.h>

#include "base/fs.h"
#include "base/mem.h"
#include "net/credentials.h"

int credential_helper_parse(struct credentials *ret, struct slice text, struct err *err)
{
	cleanup_json json_t *root = NULL;
	const char *user = NULL, *secret = NULL;
	int r = json_parse(&root, text, HELPER_OUTPUT_MAX, err);

	if (r == 0 && !json_is_object(root))
		r = err_set(err, E_INVALID, "not a JSON object");
	if (r < 0 || (r = json_get_text(root, "", "Username", true, &user, err)) < 0 ||
	    (r = json_get_text(root, "", "Secret", true, &secret, err)) < 0)
		return r;
	*ret = (struct credentials){0};
	if (strcmp(user, "<token>") == 0) {
		ret->identity_token = xstrdup(secret);
	} else {
		ret->user = xstrdup(user);
		ret->password = xstrdup(secret);
	}
	return 1;
}

struct child {
	pid_t pid;
	int in, out; /* ours: its standard input and output */
};

static int spawn_with(posix_spawn_file_actions_t *actions, pid_t *ret, char *const *argv)
{
	posix_spawnattr_t attr;
	sigset_t none, defaults;
	int r;

	sigemptyset(&none);
	sigemptyset(&defaults);
	sigaddset(&defaults, SIGPIPE);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &defaults);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	r = posix_spawnp(ret, argv[0], actions, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	return r;
}

static int child_start(struct child *c, const char *program, struct err *err)
{
	int in[2] = {-1, -1}, out[2] = {-1, -1}, r;
	char *argv[] = {(char *)(uintptr_t)program, (char *)(uintptr_t) "get", NULL};
	posix_spawn_file_actions_t actions;

	if (pipe2(in, O_CLOEXEC) < 0)
		return err_errno(err, "pipe");
	if (pipe2(out, O_CLOEXEC) < 0) {
		close_fd(&in[0]);
		close_fd(&in[1]);
		return err_errno(err, "pipe");
	}
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
	r = spawn_with(&actions, &c->pid, argv);
	posix_spawn_file_actions_destroy(&actions);
	close_fd(&in[0]);
	close_fd(&out[1]);
	if (r != 0) {
		close_fd(&in[1]);
		close_fd(&out[0]);
		errno = r;
		return err_errno(err, "run %s", program);
	}
	c->in = in[1];
	c->out = out[0];
	return 0;
}

static int64_t ms_left(const struct timespec *deadline)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return ((int64_t)deadline->tv_sec - now.tv_sec) * 1000 +
	       (deadline->tv_nsec - now.tv_nsec) / 1000000;
}

/* Reads all it prints, up to the limit and the deadline. */
static int child_read(const struct child *c, struct buf *ret, struct err *err)
{
	struct timespec deadline;

	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += HELPER_TIMEOUT_MS / 1000;
	for (;;) {
		struct pollfd p = {.fd = c->out, .events = POLLIN};
		int64_t left = ms_left(&deadline);
		char piece[4096];
		ssize_t n;

		if (left <= 0 || poll(&p, 1, (int)left) == 0)
			return err_set(err, E_DENIED, "no answer within %d s",
				       HELPER_TIMEOUT_MS / 1000);
		n = read(c->out, piece, sizeof(piece));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, "read");
		if (n == 0)
			return 0;
		if (buf_add(ret, piece, (size_t)n) < 0)
			return err_set(err, E_LIMIT, "prints more than %d bytes",
				       HELPER_OUTPUT_MAX);
		explicit_bzero(piece, sizeof(piece));
	}
}

/* Writes the server's name without dying of SIGPIPE when the helper does not read it. */
static void child_write(const struct child *c, const char *server)
{
	sigset_t pipe_only, before, pending;
	struct timespec zero = {0};

	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	sigpending(&pending);
	pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
	if (write_full(c->in, server, strlen(server)) < 0 && errno == EPIPE &&
	    !sigismember(&pending, SIGPIPE))
		sigtimedwait(&pipe_only, NULL, &zero);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static int helper_talk(struct child *c, const char *server, struct buf *ret, int *ret_status,
		       struct err *err)
{
	int r;

	child_write(c, server);
	close_fd(&c->in);
	r = child_read(c, ret, err);
	close_fd(&c->out);
	if (r < 0)
		kill(c->pid, SIGKILL);
	while (waitpid(c->pid, ret_status, 0) < 0 && errno == EINTR)
		;
	return r;
}

static bool is_program_name(const char *name)
{
	for (const char *p = name; *p; p++) {
		if (!((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') ||
		      (*p >= 'A' && *p <= 'Z') || strchr("._-", *p)))
			return false;
	}
	return name[0] != '\0';
}

int credential_helper_get(struct credentials *ret, const char *name, const char *server,
			  struct err *err)
{
	cleanup_free char *program = xasprintf("docker-credential-%s", name);
	cleanup_buf struct buf out = BUF_INIT(HELPER_OUTPUT_MAX);
	struct child child;
	int r, status = 0;

	if (!is_program_name(name))
		return err_set(err, E_INVALID, "%s cannot be the name of a credential helper",
			       name);
	r = child_start(&child, program, err);
	if (r < 0)
		return r;
	r = helper_talk(&child, server, &out, &status, err);
	if (r < 0)
		return err_wrap(err, "%s", program);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		r = credential_helper_parse(ret, buf_slice(&out), err);
		if (r < 0)
			err_wrap(err, "%s", program);
	} else if (out.len && strstr((const char *)out.data, "credentials not found")) {
		r = 0;
	} else {
		r = err_set(err, E_DENIED, "%s failed for %s", program, server);
	}
	if (out.len)
		explicit_bzero(out.data, out.len);
	return r;
}
