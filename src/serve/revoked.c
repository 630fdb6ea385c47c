/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/revoked.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include <nacre/buf.h>
#include <nacre/encode.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

enum { FILE_MAX = 16 << 20, WORDS_MAX = 4 };

/* Lines: an id, or "user", seconds and a name: what that user had until then. */
#define REVOKED_FILE "tokens.revoked"
/* Lines: id, when it was made and when it ends (seconds), and the user. */
#define ISSUED_FILE "tokens.issued"

struct until {
	char *user; /* owned */
	int64_t time_s;
};

struct revoked {
	char *path; /* owned; NULL: there is none */
	pthread_mutex_t lock;
	/* All under lock. */
	struct strv ids; /* sorted */
	struct until *users;
	size_t n_users, users_cap;
	struct timespec mtime;
	off_t size;
};

/* ---- Lines ---- */

static int append_line(const char *data, const char *name, const char *line, struct err *err)
{
	cleanup_free char *path = xasprintf("%s/%s", data, name);
	cleanup_fd int fd =
		open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return err_errno(err, "open %s", path);
	if (write_full(fd, line, strlen(line)) < 0 || fsync(fd) < 0)
		return err_errno(err, "write %s", path);
	return 0;
}

/* Cuts the next line, and at most `max` words of it; the last one takes the rest. Returns how many there are. */
static size_t next_line(struct slice *rest, struct slice words[WORDS_MAX], size_t max)
{
	const uint8_t *end = memchr(rest->data, '\n', rest->len);
	struct slice line = slice_make(rest->data, end ? (size_t)(end - rest->data) : rest->len);
	size_t n = 0;

	slice_advance(rest, line.len + (end ? 1 : 0));
	while (line.len && n < max) {
		const uint8_t *blank = n == max - 1 ? NULL : memchr(line.data, ' ', line.len);
		size_t len = blank ? (size_t)(blank - line.data) : line.len;

		words[n++] = slice_make(line.data, len);
		slice_advance(&line, len + (blank ? 1 : 0));
	}
	return n;
}

/* ---- What is void ---- */

static void forget(struct revoked *r)
{
	for (size_t i = 0; i < r->n_users; i++)
		free(r->users[i].user);
	r->n_users = 0;
	strv_release(&r->ids);
}

static void take_line(struct revoked *r, struct slice words[WORDS_MAX], size_t n)
{
	uint64_t time_s;

	if (n == 1)
		strv_add_slice(&r->ids, words[0]);
	if (n != 3 || !slice_equal_str(words[0], "user") || parse_u64(&time_s, words[1]) < 0 ||
	    time_s > INT64_MAX)
		return;
	array_grow(r->users, r->users_cap, r->n_users + 1);
	r->users[r->n_users++] = (struct until){xstrndup((const char *)words[2].data, words[2].len),
						(int64_t)time_s};
}

/* Under the lock. Without the list nobody knows which tokens are good. */
static int refresh(struct revoked *r, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT(FILE_MAX);
	struct slice rest, words[WORDS_MAX];
	struct stat st;
	int result;

	if (!r->path)
		return 0;
	if (stat(r->path, &st) < 0)
		return errno == ENOENT && !r->size ? 0 : err_errno(err, "read %s", r->path);
	if (memcmp(&st.st_mtim, &r->mtime, sizeof(st.st_mtim)) == 0 && st.st_size == r->size)
		return 0;
	result = read_file_at(AT_FDCWD, r->path, FILE_MAX, &text, err);
	if (result < 0)
		return result;
	forget(r);
	r->mtime = st.st_mtim;
	r->size = st.st_size;
	rest = buf_slice(&text);
	while (rest.len)
		take_line(r, words, next_line(&rest, words, 3));
	strv_sort_unique(&r->ids);
	return 0;
}

int revoked_open(struct revoked **ret, const char *data, struct err *err)
{
	struct revoked *r = xcalloc(1, sizeof(*r));
	int result;

	pthread_mutex_init(&r->lock, NULL);
	r->path = data ? xasprintf("%s/" REVOKED_FILE, data) : NULL;
	result = refresh(r, err);
	if (result < 0) {
		revoked_free(r);
		return result;
	}
	*ret = r;
	return 0;
}

void revoked_free(struct revoked *r)
{
	if (!r)
		return;
	forget(r);
	free(r->users);
	free(r->path);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

static bool is_listed(const struct revoked *r, const struct claims *claims)
{
	const char *id = claims->id;

	if (r->ids.len && bsearch(&id, r->ids.items, r->ids.len, sizeof(id), strv_compare_items))
		return true;
	/* An operator types them: there are few. */
	for (size_t i = 0; claims->subject && i < r->n_users; i++)
		if (claims->issued_s <= r->users[i].time_s &&
		    strcmp(claims->subject, r->users[i].user) == 0)
			return true;
	return false;
}

bool revoked_is(struct revoked *r, const struct claims *claims)
{
	struct err err = ERR_INIT;
	bool found;

	pthread_mutex_lock(&r->lock);
	if (refresh(r, &err) < 0)
		log_error("all tokens are refused: %s", err.text);
	found = err.code || is_listed(r, claims);
	pthread_mutex_unlock(&r->lock);
	return found;
}

int token_revoke(const char *data, const char *id, struct err *err)
{
	cleanup_free char *line = xasprintf("%s\n", id);

	return append_line(data, REVOKED_FILE, line, err);
}

int token_revoke_user(const char *data, const char *user, int64_t until_s, struct err *err)
{
	cleanup_free char *line = xasprintf("user %lld %s\n", (long long)until_s, user);

	return append_line(data, REVOKED_FILE, line, err);
}

/* ---- What was made ---- */

int token_record(const char *data, const struct claims *c, struct err *err)
{
	cleanup_free char *line = xasprintf("%s %lld %lld %s\n", c->id, (long long)c->issued_s,
					    (long long)c->expires_s, c->subject);

	return append_line(data, ISSUED_FILE, line, err);
}

/* False: no line of ours. `subject` is to be freed. */
static bool issued_line(struct claims *ret, struct slice words[WORDS_MAX], size_t n)
{
	uint64_t from, to;

	if (n != WORDS_MAX || words[0].len != JWT_ID_LEN || parse_u64(&from, words[1]) < 0 ||
	    parse_u64(&to, words[2]) < 0)
		return false;
	*ret = (struct claims){.issued_s = (int64_t)from, .expires_s = (int64_t)to};
	memcpy(ret->id, words[0].data, JWT_ID_LEN);
	ret->subject = xstrndup((const char *)words[3].data, words[3].len);
	return true;
}

int token_list(const char *data, token_list_fn *fn, void *ctx, struct err *err)
{
	cleanup_free char *path = xasprintf("%s/" ISSUED_FILE, data);
	cleanup_buf struct buf text = BUF_INIT(FILE_MAX);
	struct slice rest, words[WORDS_MAX];
	struct revoked *revoked;
	int r = revoked_open(&revoked, data, err);

	if (r < 0)
		return r;
	r = read_file_at(AT_FDCWD, path, FILE_MAX, &text, err);
	if (r == E_NOTFOUND) {
		*err = ERR_INIT;
		r = 0;
	}
	rest = buf_slice(&text);
	while (r >= 0 && rest.len) {
		struct claims claims;

		if (!issued_line(&claims, words, next_line(&rest, words, WORDS_MAX)))
			continue;
		fn(ctx, &claims, is_listed(revoked, &claims));
		jwt_claims_release(&claims);
	}
	revoked_free(revoked);
	return r < 0 ? r : 0;
}
