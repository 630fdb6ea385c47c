/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/auth.h"

#include <errno.h>
#include <pthread.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include <nacre/encode.h>

#include "base/fs.h"
#include "serve/htpasswd.h"
#include "serve/policy.h"
#include "serve/revoked.h"
#include "serve/server-internal.h"

enum {
	KNOWN_SLOTS = 1024,
	KNOWN_S = 300, /* a password that was right is not hashed again for so long */
	HEADER_MAX = 20 << 10,
	KEY_FILE_MAX = 4096,
	LIFETIME_DEFAULT_S = 300,
	REFRESH_DEFAULT_S = 90 * 86400,
};

#define KEY_FILE "token.key"

/* ---- Settings ---- */

static int auth_read(struct auth_settings *ret, struct config *map, struct err *err)
{
	const struct config_range lifetime = {60 * 1000, 24ull * 3600 * 1000};
	const struct config_range refresh = {3600 * 1000, 3650ull * 86400 * 1000};
	uint64_t ms = LIFETIME_DEFAULT_S * 1000ull, refresh_ms = REFRESH_DEFAULT_S * 1000ull;
	const char *path = NULL;
	struct err why = ERR_INIT;
	int r = config_text(map, "htpasswd", &path, err);

	if (r == 0 && path && htpasswd_file_open(&ret->htpasswd, path, &why) < 0)
		r = config_fail(config_child(map, "htpasswd"), err, "%s", why.text);
	if (r == 0)
		r = config_text(map, "service", &ret->service, err);
	if (r == 0)
		r = config_text(map, "token-url", &ret->token_url, err);
	if (r == 0)
		r = config_duration(map, "token-lifetime", lifetime, &ms, err);
	if (r == 0)
		r = config_duration(map, "refresh-lifetime", refresh, &refresh_ms, err);
	ret->token_lifetime_s = (unsigned)(ms / 1000);
	ret->refresh_lifetime_s = (unsigned)(refresh_ms / 1000);
	return r;
}

int auth_settings_read(struct auth_settings *ret, struct config *root, struct err *err)
{
	struct config *map = NULL;
	int r = config_map(root, "auth", &map, err);

	*ret = (struct auth_settings){.service = "nacre"};
	ret->configured = map != NULL;
	return r < 0 ? r : auth_read(ret, map, err);
}

void auth_settings_release(struct auth_settings *s)
{
	htpasswd_file_free(s->htpasswd);
}

/* ---- State ---- */

/* A user and password that were right, by the hash of both and of what the file says of the user, under
 * a key of this process. */
struct known {
	struct hash hash;
	int64_t until_us; /* a clock that nobody sets */
};

struct auth {
	char *data; /* owned; NULL: none */
	struct secret_key key;
	struct public_key public;
	uint8_t salt[32];
	struct revoked *revoked;
	pthread_mutex_t verifying; /* a password; taken before `lock` */
	pthread_mutex_t lock;
	struct known known[KNOWN_SLOTS]; /* under lock */
};

static int64_t wall_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec;
}

static int key_make(struct secret_key *ret, const char *path, struct err *err)
{
	cleanup_free char *fresh = xasprintf("%s.%d", path, (int)getpid());
	cleanup_buf struct buf text = {0};
	cleanup_fd int fd = -1;
	int r = secret_key_generate(ret, "token", err);

	if (r < 0)
		return r;
	secret_key_format(&text, ret);
	buf_add_str(&text, "\n");
	unlink(fresh);
	fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_errno(err, "create %s", fresh);
	/* Whole or not at all, and the first one wins. */
	if (write_full(fd, text.data, text.len) < 0 || fsync(fd) < 0 || link(fresh, path) < 0)
		r = err_errno(err, "write %s", path);
	unlink(fresh);
	explicit_bzero(text.data, text.len);
	return r;
}

int token_key_load(struct secret_key *ret, const char *data, struct err *err)
{
	cleanup_free char *path = xasprintf("%s/" KEY_FILE, data);
	cleanup_buf struct buf text = BUF_INIT(KEY_FILE_MAX);
	int r = read_file_at(AT_FDCWD, path, KEY_FILE_MAX, &text, err);

	if (r == E_NOTFOUND) {
		*err = ERR_INIT;
		r = key_make(ret, path, err);
		if (r != E_EXISTS)
			return r;
		*err = ERR_INIT;
		r = read_file_at(AT_FDCWD, path, KEY_FILE_MAX, &text, err);
	}
	if (r >= 0 && secret_key_parse(ret, buf_slice(&text)) < 0)
		r = err_set(err, E_INVALID, "%s holds no key: remove it, and all tokens are void",
			    path);
	if (text.data)
		explicit_bzero(text.data, text.len);
	return r < 0 ? r : 0;
}

int auth_open(struct auth **ret, const char *data, struct err *err)
{
	struct auth *a = xcalloc(1, sizeof(*a));
	int r = data ? token_key_load(&a->key, data, err)
		     : secret_key_generate(&a->key, "token", err);

	pthread_mutex_init(&a->lock, NULL);
	pthread_mutex_init(&a->verifying, NULL);
	a->data = data ? xstrdup(data) : NULL;
	if (r >= 0 && getrandom(a->salt, sizeof(a->salt), 0) != (ssize_t)sizeof(a->salt))
		r = err_errno(err, "random numbers");
	if (r >= 0)
		r = revoked_open(&a->revoked, data, err);
	if (r < 0) {
		auth_free(a);
		return r;
	}
	secret_key_public(&a->public, &a->key);
	*ret = a;
	return 0;
}

void auth_free(struct auth *a)
{
	if (!a)
		return;
	secret_key_release(&a->key);
	revoked_free(a->revoked);
	pthread_mutex_destroy(&a->lock);
	pthread_mutex_destroy(&a->verifying);
	free(a->data);
	free(a);
}

const struct secret_key *auth_key(const struct auth *a)
{
	return &a->key;
}

/* ---- Passwords ---- */

bool auth_password_stamp(const struct request *req, const char *user, char *ret)
{
	CLEANUP(htpasswd_unref)
	struct htpasswd *h = htpasswd_file_get(req->settings->auth.htpasswd);

	return htpasswd_stamp(h, user, ret);
}

static void known_hash(struct auth *a, struct hash *ret, const char *user, const char *password,
		       const char *stamp)
{
	cleanup_buf struct buf text = {0};

	buf_add(&text, a->salt, sizeof(a->salt));
	buf_add_str(&text, stamp);
	buf_add(&text, user, strlen(user) + 1);
	buf_add_str(&text, password);
	hash_bytes(ret, HASH_SHA256, text.data, text.len);
	explicit_bzero(text.data, text.len);
}

static struct known *known_slot(struct auth *a, const struct hash *hash)
{
	return &a->known[(hash->bytes[0] << 8 | hash->bytes[1]) % KNOWN_SLOTS];
}

/* Was it right a short while ago? */
static bool is_known(struct auth *a, const struct hash *hash)
{
	struct known *slot = known_slot(a, hash);
	int64_t now_us = clock_us();
	bool right;

	pthread_mutex_lock(&a->lock);
	right = slot->until_us > now_us && hash_equal(&slot->hash, hash);
	if (right)
		slot->until_us = now_us + (int64_t)KNOWN_S * 1000000;
	pthread_mutex_unlock(&a->lock);
	return right;
}

static void make_known(struct auth *a, const struct hash *hash)
{
	pthread_mutex_lock(&a->lock);
	*known_slot(a, hash) = (struct known){*hash, clock_us() + (int64_t)KNOWN_S * 1000000};
	pthread_mutex_unlock(&a->lock);
}

static bool password_is_right(const struct request *req, const char *user, const char *password)
{
	CLEANUP(htpasswd_unref)
	struct htpasswd *h = htpasswd_file_get(req->settings->auth.htpasswd);
	struct auth *a = req->server->auth;
	char stamp[PASSWORD_STAMP_LEN + 1] = "";
	struct hash hash;
	bool right;

	if (strlen(password) > PASSWORD_MAX)
		return false;
	/* Who is not in the file was never right: the stamp is empty. */
	if (!htpasswd_stamp(h, user, stamp))
		stamp[0] = '\0';
	known_hash(a, &hash, user, password, stamp);
	if (stamp[0] && is_known(a, &hash))
		return true;
	/* One at a time: a flood of wrong passwords takes one processor and no more. Of 25 connections of one client the first
	 * answers for all. */
	pthread_mutex_lock(&a->verifying);
	right = stamp[0] && is_known(a, &hash);
	if (!right) {
		right = htpasswd_verify(h, user, password);
		if (right)
			make_known(a, &hash);
	}
	pthread_mutex_unlock(&a->verifying);
	return right;
}

/* ---- Credentials ---- */

/* Any token that is ours and good, whatever it is for. */
static int open_token(struct claims **ret, struct request *req, struct slice text, struct err *err)
{
	struct auth *a = req->server->auth;
	struct claims *claims = xcalloc(1, sizeof(*claims));
	int r = jwt_verify(claims, text, &a->public, req->settings->auth.service, wall_s(), err);

	if (r == 0 && revoked_is(a->revoked, claims)) {
		r = err_set(err, E_DENIED, "the token was revoked");
		jwt_claims_release(claims);
	}
	if (r < 0) {
		free(claims);
		return r;
	}
	*ret = claims;
	return 0;
}

static int take_token(struct request *req, struct slice text, struct err *err)
{
	struct claims *claims;
	int r = open_token(&claims, req, text, err);

	if (r < 0)
		return r;
	req->token = claims;
	if (claims->use == TOKEN_REFRESH)
		return err_set(err, E_DENIED, "this token only gets others, by POST /token");
	req->user = claims->subject ? xstrdup(claims->subject) : NULL;
	return 0;
}

static int login(struct request *req, const char *user, const char *password, struct err *err)
{
	int r;

	/* Some clients send an empty user and password for nobody. */
	if (!user[0] && !password[0])
		return 0;
	if (strncmp(password, "eyJ", 3) == 0) {
		r = take_token(req, slice_str(password), err);
		if (r == 0 && req->token->use != TOKEN_LOGIN)
			r = err_set(err, E_DENIED, "this token is not one to log in with");
		return r;
	}
	if (!password_is_right(req, user, password))
		return err_set(err, E_DENIED, "the user or the password is wrong");
	req->user = xstrdup(user);
	return 0;
}

bool auth_login(struct request *req, const char *user, const char *password)
{
	struct err ignored = ERR_INIT;

	return login(req, user, password, &ignored) == 0 && req->user;
}

bool auth_refresh(struct request *req, const char *text)
{
	struct err ignored = ERR_INIT;
	char stamp[PASSWORD_STAMP_LEN + 1];
	struct claims *claims;

	if (open_token(&claims, req, slice_str(text), &ignored) < 0)
		return false;
	req->token = claims;
	/* As good as the password that it was got with: one that is changed ends it. */
	if (claims->use == TOKEN_ACCESS ||
	    (claims->use == TOKEN_REFRESH && (!auth_password_stamp(req, claims->subject, stamp) ||
					      strcmp(stamp, claims->stamp) != 0)))
		return false;
	req->user = xstrdup(claims->subject);
	return true;
}

static int take_basic(struct request *req, struct slice encoded, struct err *err)
{
	cleanup_free char *text = xcalloc(1, encoded.len + 1);
	int n = base64_decode(text, encoded.len, encoded);
	char *colon = n < 0 ? NULL : memchr(text, ':', (size_t)n);
	int r;

	if (!colon || memchr(text, '\0', (size_t)n))
		return err_set(err, E_DENIED, "the credentials are malformed");
	text[n] = '\0';
	*colon = '\0';
	r = login(req, text, colon + 1, err);
	explicit_bzero(text, encoded.len);
	return r;
}

static bool cut_scheme(struct slice *s, const char *scheme)
{
	size_t n = strlen(scheme);

	if (s->len <= n || strncasecmp((const char *)s->data, scheme, n) != 0 || s->data[n] != ' ')
		return false;
	slice_advance(s, n);
	while (s->len && s->data[0] == ' ')
		slice_advance(s, 1);
	return true;
}

bool auth_identify(struct request *req)
{
	struct slice header = request_header(req, "Authorization");
	struct err err = ERR_INIT;
	int r;

	if (!header.len || !req->settings->auth.configured) {
		if (req->connection->certificate_name[0])
			req->user = xasprintf("cert:%s", req->connection->certificate_name);
		return true;
	}
	if (header.len > HEADER_MAX)
		r = err_set(&err, E_DENIED, "the credentials are too long");
	else if (cut_scheme(&header, "Basic"))
		r = take_basic(req, header, &err);
	else if (cut_scheme(&header, "Bearer"))
		r = take_token(req, header, &err);
	else
		r = err_set(&err, E_DENIED, "this server takes Basic and Bearer credentials");
	if (r < 0)
		policy_unauthorized(req, err.text);
	return r >= 0;
}

unsigned auth_user_rights(const struct request *req, enum resource resource, const char *name)
{
	return access_rights(&req->settings->access, req->user, resource, name);
}

unsigned auth_rights(const struct request *req, enum resource resource, const char *name)
{
	unsigned rights = auth_user_rights(req, resource, name);

	if (req->token && req->token->use == TOKEN_ACCESS)
		rights &= grants_rights(&req->token->grants, resource, name);
	return rights;
}
