/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "config/config.h"
#include "serve/server-internal.h"

enum { TARGET_MAX = 1000, TIME_TEXT_MAX = 40 };

struct audit {
	pthread_mutex_t lock;
	int fd; /* -1: none; this and the rest under the lock */
	bool sync, required;
	bool failed; /* the last line could not be written */
	bool torn;   /* a piece of it could */
};

int audit_settings_read(struct audit_settings *ret, struct config *root, struct err *err)
{
	struct config *map = NULL;
	int r = config_map(root, "audit", &map, err);

	*ret = (struct audit_settings){0};
	if (r == 0)
		r = config_text(map, "file", &ret->file, err);
	if (r == 0)
		r = config_bool(map, "sync", &ret->sync, err);
	if (r == 0)
		r = config_bool(map, "required", &ret->required, err);
	if (r == 0 && ret->file && ret->file[0] != '/')
		r = config_fail(config_child(map, "file"), err, "the path must begin with '/'");
	if (r == 0 && map && !ret->file)
		r = config_fail(map, err, "say where the audit log is kept: file");
	return r;
}

struct audit *audit_new(void)
{
	struct audit *a = xcalloc(1, sizeof(*a));

	pthread_mutex_init(&a->lock, NULL);
	a->fd = -1;
	return a;
}

void audit_free(struct audit *a)
{
	if (!a)
		return;
	close_fd(&a->fd);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

int audit_open_file(const struct audit_settings *settings, int *ret, struct err *err)
{
	*ret = -1;
	if (!settings->file)
		return 0;
	*ret = open(settings->file,
		    O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
	return *ret < 0 ? err_errno(err, "open the audit log %s", settings->file) : 0;
}

void audit_use(struct audit *a, const struct audit_settings *settings, int fd)
{
	pthread_mutex_lock(&a->lock);
	close_fd(&a->fd);
	a->fd = fd;
	a->sync = settings->sync;
	a->required = settings->required;
	a->failed = a->torn = false;
	pthread_mutex_unlock(&a->lock);
}

/* ---- What is worth a line ---- */

static const char *const subjects[ENDPOINT_COUNT] = {
	[ENDPOINT_ADMIN] = "admin",
	[ENDPOINT_BLOB] = "blob",
	[ENDPOINT_UPLOADS] = "blob",
	[ENDPOINT_UPLOAD] = "blob",
	[ENDPOINT_MANIFEST] = "manifest",
	[ENDPOINT_CACHE_INFO] = "cache-info",
	[ENDPOINT_NARINFO] = "narinfo",
	[ENDPOINT_LISTING] = "listing",
	[ENDPOINT_NAR] = "nar",
	[ENDPOINT_LOG] = "log",
	[ENDPOINT_DEBUGINFO] = "debuginfo",
	[ENDPOINT_REALISATION] = "realisation",
	[ENDPOINT_BUILD_TRACE] = "build-trace",
};

static bool is_change(const struct request *req)
{
	return req->handler && req->handler->access != ACCESS_READ && subjects[req->route.endpoint];
}

/* Of a blob that comes in pieces the last one counts; that something is to come, or was cancelled,
 * is no change. */
static bool is_step(const struct request *req)
{
	enum endpoint e = req->route.endpoint;

	return (e == ENDPOINT_UPLOADS || e == ENDPOINT_UPLOAD) && req->status < 400 &&
	       req->status != 201;
}

/* Writes "manifest.put" or the like; false: not worth a line. Clients of registries ask without
 * credentials first, to learn where to get a token; that is no failure. */
static bool find_action(const struct request *req, char *ret, size_t size)
{
	bool credentials =
		MHD_lookup_connection_value(req->mhd, MHD_HEADER_KIND, "Authorization") != NULL;

	if (req->status == 401) {
		snprintf(ret, size, "auth.failure");
		/* In a form posted for a token they are in its body. */
		return credentials ||
		       (req->route.endpoint == ENDPOINT_TOKEN && req->method == HTTP_POST);
	}
	if (!is_change(req) || is_step(req))
		return false;
	/* Of a command that there is: the name is the client's. */
	if (req->route.endpoint == ENDPOINT_ADMIN) {
		snprintf(ret, size, "admin.%s",
			 slice_equal_str(req->route.arg, "pin")      ? "pin"
			 : slice_equal_str(req->route.arg, "unpin")  ? "unpin"
			 : slice_equal_str(req->route.arg, "delete") ? "delete"
								     : "other");
		return true;
	}
	snprintf(ret, size, "%s.%s", subjects[req->route.endpoint],
		 req->handler->access == ACCESS_DELETE ? "delete" : "put");
	return true;
}

/* ---- A line ---- */

static void format_time(char ret[TIME_TEXT_MAX])
{
	struct timespec now;
	struct tm tm;
	size_t len;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	len = strftime(ret, TIME_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(ret + len, TIME_TEXT_MAX - len, ".%03ldZ", now.tv_nsec / 1000000);
}

/* A text that is not there, or no UTF-8, is left out; the target has it all the same. */
static void add_text(json_t *line, const char *key, struct slice text)
{
	json_t *value = text.len ? json_stringn((const char *)text.data, text.len) : NULL;

	if (value)
		json_object_set_new(line, key, value);
}

static json_t *make_line(const struct request *req, const char *action)
{
	const char *digest = MHD_get_response_header(req->response, "Docker-Content-Digest");
	char now[TIME_TEXT_MAX], target[TARGET_MAX];
	json_t *line;

	format_time(now);
	snprintf(target, sizeof(target), "%s", req->target);
	for (char *p = target; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	line = json_pack(
		"{s:s, s:s, s:s, s:s, s:i, s:s, s:s, s:s}", "time", now, "action", action, "result",
		req->status < 400   ? "done"
		: req->status < 500 ? "refused"
				    : "failed",
		"id", req->id, "status", (int)req->status, "peer", connection_peer(req->connection),
		"method", req->method_name, "target", target);
	if (!line)
		return NULL;
	if (req->user)
		add_text(line, "user", slice_str(req->user));
	if (req->connection->certificate_name[0])
		add_text(line, "certificate", slice_str(req->connection->certificate_name));
	if (req->view)
		add_text(line, "view", slice_str(req->view->name));
	if (req->route.endpoint == ENDPOINT_ADMIN) {
		add_text(line, "object", req->route.name);
	} else {
		add_text(line, "repository", req->route.name);
		add_text(line, "object", req->route.arg);
	}
	if (digest && req->status < 400)
		add_text(line, "digest", slice_str(digest));
	return line;
}

/* ---- Writing ---- */

/* Under the lock. Says in the log when it begins to fail, and when that is over. */
static void put_line(struct audit *a, const char *text, size_t len)
{
	ssize_t n;
	bool failed;

	/* A piece of a line must not become the beginning of the next one. */
	if (a->torn && write(a->fd, "\n", 1) == 1)
		a->torn = false;
	do
		n = a->torn ? 0 : write(a->fd, text, len);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		a->torn = n < (ssize_t)len;
	failed = n != (ssize_t)len || (a->sync && fdatasync(a->fd) < 0);
	if (failed && !a->failed)
		log_error("the audit log cannot be written: %s",
			  n < 0 || n == (ssize_t)len ? strerror(errno) : "the disk is full");
	else if (!failed && a->failed)
		log_info("the audit log can be written again");
	a->failed = failed;
}

static void write_line(struct audit *a, json_t *line)
{
	char *text = line ? json_dumps(line, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
	size_t len = text ? strlen(text) : 0;

	if (text) {
		text[len++] = '\n'; /* in the place of the NUL */
		pthread_mutex_lock(&a->lock);
		if (a->fd >= 0)
			put_line(a, text, len);
		pthread_mutex_unlock(&a->lock);
	}
	free(text);
}

void audit_request(struct audit *a, const struct request *req)
{
	char action[40];
	json_t *line;

	if (!req->settings->audit.file || !find_action(req, action, sizeof(action)))
		return;
	line = make_line(req, action);
	write_line(a, line);
	json_decref(line);
}

/* Whether a line can be written is known by writing one. */
static bool try_again(struct audit *a)
{
	char now[TIME_TEXT_MAX], text[TIME_TEXT_MAX + 64];
	int len;

	format_time(now);
	len = snprintf(text, sizeof(text), "{\"time\":\"%s\",\"action\":\"audit.resumed\"}\n", now);
	put_line(a, text, (size_t)len);
	return !a->failed;
}

bool audit_admit(struct audit *a, struct request *req)
{
	bool good = true;

	if (!req->settings->audit.file || !is_change(req))
		return true;
	pthread_mutex_lock(&a->lock);
	if (a->fd >= 0 && a->required && a->failed)
		good = try_again(a);
	pthread_mutex_unlock(&a->lock);
	/* SPEC nix-cache: Nix before 2.33.2 hangs on a PUT that is answered 5xx. */
	if (!good)
		request_refuse(req, endpoint_is_oci(req->route.endpoint) ? 503 : 413,
			       "no changes are taken while the audit log cannot be written");
	return good;
}
