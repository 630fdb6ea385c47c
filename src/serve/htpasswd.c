/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/htpasswd.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <nacre/buf.h>
#include <nacre/encode.h>
#include <nacre/hash.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "serve/jwt.h"
#include "serve/libcrypt.h"

enum {
	FILE_MAX = 4 << 20,
	USERS_MAX = 100000,
	BCRYPT_LEN = 60,
	/* Each step doubles the work; 14 is a second. */
	COST_MIN = 4,
	COST_MAX = 16,
	SETTLE_S = 2, /* between one second and two */
};

/* Of nobody: for users that do not exist. It has the cost of the dearest that there are. */
#define DUMMY_FORMAT "$2b$%02u$abcdefghijklmnopqrstuuhVw5lZBiB3HTYbBzBqnL0UEfXdPxzGy"

struct user {
	char *name, *hash; /* owned */
};

struct htpasswd {
	_Atomic unsigned refs;
	struct user *items; /* owned; sorted */
	size_t len, cap;
	char dummy[BCRYPT_LEN + 1];
};

static int compare_users(const void *a, const void *b)
{
	return strcmp(((const struct user *)a)->name, ((const struct user *)b)->name);
}

void htpasswd_unref(struct htpasswd *h)
{
	if (!h || atomic_fetch_sub(&h->refs, 1) > 1)
		return;
	for (size_t i = 0; i < h->len; i++) {
		free(h->items[i].name);
		free(h->items[i].hash);
	}
	free(h->items);
	free(h);
}

/* SPEC bcrypt: $2y$<cost>$<22 characters of salt><31 of hash>. */
static bool is_bcrypt(struct slice s)
{
	unsigned cost;

	if (s.len != BCRYPT_LEN || memcmp(s.data, "$2", 2) != 0 || !strchr("aby", s.data[2]) ||
	    s.data[3] != '$' || s.data[6] != '$' || s.data[4] < '0' || s.data[4] > '9' ||
	    s.data[5] < '0' || s.data[5] > '9')
		return false;
	cost = (unsigned)(s.data[4] - '0') * 10 + (unsigned)(s.data[5] - '0');
	for (size_t i = 7; i < s.len; i++) {
		uint8_t c = s.data[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
		    c != '.' && c != '/')
			return false;
	}
	return cost >= COST_MIN && cost <= COST_MAX;
}

static const char *parse_line(struct htpasswd *h, struct slice line)
{
	const uint8_t *colon = memchr(line.data, ':', line.len);
	struct slice name = slice_make(line.data, colon ? (size_t)(colon - line.data) : 0);
	struct slice hash = line;

	if (!name.len || name.len > USER_MAX)
		return "wanted NAME:HASH";
	for (size_t i = 0; i < name.len; i++)
		if (name.data[i] <= ' ' || name.data[i] == 0x7f)
			return "the name has blanks or control characters";
	slice_advance(&hash, name.len + 1);
	if (!is_bcrypt(hash))
		return "the hash is not bcrypt with a cost of 4 to 16 (htpasswd -B makes one)";
	if (h->len == USERS_MAX)
		return "too many users";
	array_grow(h->items, h->cap, h->len + 1);
	h->items[h->len++] = (struct user){xstrndup((const char *)name.data, name.len),
					   xstrndup((const char *)hash.data, hash.len)};
	return NULL;
}

static int parse_lines(struct htpasswd *h, struct slice text, const char *name, struct err *err)
{
	for (unsigned line_number = 1; text.len; line_number++) {
		const uint8_t *end = memchr(text.data, '\n', text.len);
		struct slice line =
			slice_make(text.data, end ? (size_t)(end - text.data) : text.len);
		const char *wrong;

		slice_advance(&text, line.len + (end ? 1 : 0));
		if (line.len && line.data[line.len - 1] == '\r')
			line.len--;
		if (!line.len || line.data[0] == '#')
			continue;
		wrong = parse_line(h, line);
		if (wrong)
			return err_set(err, E_INVALID, "%s:%u: %s", name, line_number, wrong);
	}
	return 0;
}

static void dummy_make(struct htpasswd *h)
{
	unsigned cost = 10;

	for (size_t i = 0; i < h->len; i++) {
		const char *hash = h->items[i].hash;
		unsigned own = (unsigned)(hash[4] - '0') * 10 + (unsigned)(hash[5] - '0');

		if (i == 0 || own > cost)
			cost = own;
	}
	snprintf(h->dummy, sizeof(h->dummy), DUMMY_FORMAT, cost);
}

int htpasswd_parse(struct htpasswd **ret, struct slice text, const char *name, struct err *err)
{
	struct htpasswd *h;
	int r = libcrypt_load(err);

	if (r < 0)
		return r;
	h = xcalloc(1, sizeof(*h));
	r = parse_lines(h, text, name, err);
	h->refs = 1;
	if (h->len)
		qsort(h->items, h->len, sizeof(*h->items), compare_users);
	for (size_t i = 1; i < h->len && r == 0; i++)
		if (strcmp(h->items[i - 1].name, h->items[i].name) == 0)
			r = err_set(err, E_INVALID, "%s: the user '%s' is there twice", name,
				    h->items[i].name);
	if (r < 0) {
		htpasswd_unref(h);
		return r;
	}
	dummy_make(h);
	*ret = h;
	return 0;
}

int htpasswd_read(struct htpasswd **ret, const char *path, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT(FILE_MAX);
	int r = read_file_at(AT_FDCWD, path, FILE_MAX, &text, err);

	return r < 0 ? r : htpasswd_parse(ret, buf_slice(&text), path, err);
}

static const struct user *find_user(const struct htpasswd *h, const char *name)
{
	struct user wanted = {.name = (char *)(uintptr_t)name};

	return h && h->len ? bsearch(&wanted, h->items, h->len, sizeof(wanted), compare_users)
			   : NULL;
}

bool htpasswd_stamp(const struct htpasswd *h, const char *user, char *ret)
{
	const struct user *found = find_user(h, user);
	struct hash hash;

	if (!found)
		return false;
	hash_bytes(&hash, HASH_SHA256, found->hash, strlen(found->hash));
	hex_encode(ret, hash.bytes, PASSWORD_STAMP_LEN / 2);
	return true;
}

bool htpasswd_verify(const struct htpasswd *h, const char *user, const char *password)
{
	const struct user *found = find_user(h, user);
	const char *hash = found ? found->hash : h ? h->dummy : NULL;
	struct crypt_data *data = xcalloc(1, sizeof(*data));
	const char *got;
	unsigned different = 0;

	if (!hash) {
		free(data);
		return false;
	}
	got = crypt_rn(password, hash, data, (int)sizeof(*data));
	if (!got || strlen(got) != BCRYPT_LEN)
		different = 1;
	for (size_t i = 0; !different && i < BCRYPT_LEN; i++)
		different |= (unsigned)(uint8_t)(got[i] ^ hash[i]);
	explicit_bzero(data, sizeof(*data));
	free(data);
	return found && !different;
}

/* ---- A file that changes ---- */

struct htpasswd_file {
	char *path; /* owned */
	pthread_mutex_t lock;
	struct stat looked_at; /* the file when it was read last, well or not; under lock */
	struct htpasswd *now;  /* a reference; under lock */
};

int htpasswd_file_open(struct htpasswd_file **ret, const char *path, struct err *err)
{
	struct htpasswd_file *f = xcalloc(1, sizeof(*f));
	int r;

	pthread_mutex_init(&f->lock, NULL);
	f->path = xstrdup(path);
	/* Before it is read: what changes meanwhile is looked at again. */
	if (stat(path, &f->looked_at) < 0)
		f->looked_at = (struct stat){0};
	r = htpasswd_read(&f->now, path, err);
	if (r < 0) {
		htpasswd_file_free(f);
		return r;
	}
	*ret = f;
	return 0;
}

void htpasswd_file_free(struct htpasswd_file *f)
{
	if (!f)
		return;
	htpasswd_unref(f->now);
	pthread_mutex_destroy(&f->lock);
	free(f->path);
	free(f);
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* Somebody may still write to it. Its time may lie ahead, if the clock was put back. */
static bool is_fresh(const struct stat *st)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return st->st_ctim.tv_sec <= now.tv_sec && now.tv_sec - st->st_ctim.tv_sec < SETTLE_S;
}

/* Under the lock. */
static void look_again(struct htpasswd_file *f)
{
	struct htpasswd *fresh;
	struct err err = ERR_INIT;
	struct stat st;

	/* A file that is away is being replaced, or will be missed at the next SIGHUP. */
	if (stat(f->path, &st) < 0 || is_same(&st, &f->looked_at) || is_fresh(&st))
		return;
	f->looked_at = st;
	if (htpasswd_read(&fresh, f->path, &err) < 0) {
		log_error("the users stay as they were: %s", err.text);
		return;
	}
	htpasswd_unref(f->now);
	f->now = fresh;
	log_info("%s was read again", f->path);
}

struct htpasswd *htpasswd_file_get(struct htpasswd_file *f)
{
	struct htpasswd *h;

	if (!f)
		return NULL;
	pthread_mutex_lock(&f->lock);
	look_again(f);
	h = f->now;
	atomic_fetch_add(&h->refs, 1);
	pthread_mutex_unlock(&f->lock);
	return h;
}
