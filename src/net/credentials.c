/* SPDX-License-Identifier: Apache-2.0 */
/* Where credentials are looked for, in which order. */
#include "net/credentials.h"

#include <nacre/encode.h>

#include "base/fs.h"
#include "base/mem.h"

static void free_secret(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

void credentials_release(struct credentials *c)
{
	free(c->user);
	free_secret(c->password);
	free_secret(c->identity_token);
	*c = (struct credentials){0};
}

void credentials_copy(struct credentials *ret, const struct credentials *from)
{
	*ret = (struct credentials){
		.user = from->user ? xstrdup(from->user) : NULL,
		.password = from->password ? xstrdup(from->password) : NULL,
		.identity_token = from->identity_token ? xstrdup(from->identity_token) : NULL,
	};
}

int credentials_basic(char **ret, const struct credentials *c)
{
	cleanup_free char *plain = NULL, *encoded = NULL;
	size_t len;

	if (!c->user || !c->password || strchr(c->user, ':'))
		return E_INVALID;
	plain = xasprintf("%s:%s", c->user, c->password);
	len = strlen(plain);
	encoded = xmalloc(base64_len(len) + 1);
	base64_encode(encoded, plain, len);
	*ret = xasprintf("Basic %s", encoded);
	explicit_bzero(plain, len);
	explicit_bzero(encoded, strlen(encoded));
	return 0;
}

static const char *env(const char *name)
{
	const char *value = getenv(name);

	return value && value[0] ? value : NULL;
}

/* "<$variable or ~/fallback>/<rest>", owned; NULL where neither is set. */
static char *path_from(const char *variable, const char *home_dir, const char *rest)
{
	const char *dir = env(variable), *home = env("HOME");

	if (dir)
		return xasprintf("%s/%s", dir, rest);
	return home && home_dir ? xasprintf("%s/%s/%s", home, home_dir, rest) : NULL;
}

/* 1 read, 0 not there (and need not be), < 0. */
static int read_if_there(const char *file, bool required, struct buf *ret, struct err *err)
{
	struct err why = ERR_INIT;
	int r = read_file_at(AT_FDCWD, file, AUTH_FILE_MAX, ret, &why);

	if (r == E_NOTFOUND && !required)
		return 0;
	if (r < 0) {
		*err = why;
		return r;
	}
	return 1;
}

static void wipe(struct buf *b)
{
	if (b->len)
		explicit_bzero(b->data, b->len);
	buf_release(b);
}
#define cleanup_wipe __attribute__((cleanup(wipe)))

static int find_in_auth_file(struct credentials *ret, const char *file, bool required,
			     const char *host, const char *repository, struct err *err)
{
	cleanup_wipe struct buf text = BUF_INIT(AUTH_FILE_MAX);
	cleanup_auth_answer struct auth_answer answer = {0};
	int r = read_if_there(file, required, &text, err);

	if (r <= 0 || !text.len)
		return r < 0 ? r : 0;
	r = auth_json_find(&answer, buf_slice(&text), host, repository, err);
	if (r < 0)
		return err_wrap(err, "%s", file);
	if (!answer.helper) {
		*ret = answer.credentials;
		answer.credentials = (struct credentials){0};
		return r;
	}
	r = credential_helper_get(ret, answer.helper, answer.server, err);
	return r < 0 ? err_wrap(err, "credential helper of %s", file) : r;
}

int credentials_for_registry(struct credentials *ret, const char *auth_file, const char *host,
			     const char *repository, struct err *err)
{
	const char *explicit_file = auth_file ? auth_file : env("REGISTRY_AUTH_FILE");
	struct strv files = {0};
	char *candidates[3];
	int r = 0;

	if (explicit_file)
		return find_in_auth_file(ret, explicit_file, true, host, repository, err);
	candidates[0] = path_from("XDG_RUNTIME_DIR", NULL, "containers/auth.json");
	candidates[1] = path_from("XDG_CONFIG_HOME", ".config", "containers/auth.json");
	candidates[2] = path_from("DOCKER_CONFIG", ".docker", "config.json");
	for (size_t i = 0; i < ARRAY_LEN(candidates); i++) {
		if (candidates[i])
			strv_take(&files, candidates[i]);
	}
	for (size_t i = 0; r == 0 && i < files.len; i++)
		r = find_in_auth_file(ret, files.items[i], false, host, repository, err);
	strv_release(&files);
	return r;
}

static int find_in_netrc(struct credentials *ret, const char *file, bool required, const char *host,
			 struct err *err)
{
	cleanup_wipe struct buf text = BUF_INIT(AUTH_FILE_MAX);
	int r = read_if_there(file, required, &text, err);

	if (r <= 0)
		return r;
	r = netrc_find(ret, buf_slice(&text), host, err);
	return r < 0 ? err_wrap(err, "%s", file) : r;
}

int credentials_for_cache(struct credentials *ret, const char *netrc_file, const char *host,
			  struct err *err)
{
	const char *conf = env("NIX_CONF_DIR");
	cleanup_free char *nix = xasprintf("%s/netrc", conf ? conf : "/etc/nix");
	cleanup_free char *home = path_from("HOME", NULL, ".netrc");
	int r;

	if (netrc_file)
		return find_in_netrc(ret, netrc_file, true, host, err);
	r = find_in_netrc(ret, nix, false, host, err);
	if (r == 0 && home)
		r = find_in_netrc(ret, home, false, host, err);
	return r;
}
