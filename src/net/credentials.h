/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who we are to a registry or a cache.
 *
 * Registries: the files of podman and docker, in this order: the explicit file (`--authfile`),
 * $REGISTRY_AUTH_FILE, $XDG_RUNTIME_DIR/containers/auth.json,
 * $XDG_CONFIG_HOME/containers/auth.json (~/.config), $DOCKER_CONFIG/config.json (~/.docker). An
 * explicit one is read alone and must exist; of the others each is looked at until one has an
 * answer. In a file `credHelpers` come before `auths`, and `credsStore` after; a helper is run
 * as `docker-credential-NAME get`, without a shell. The most specific key wins: "host/a/b",
 * "host/a", "host".
 *
 * Caches: user information in the URL, then netrc files: the explicit one, $NIX_CONF_DIR/netrc
 * (/etc/nix/netrc), ~/.netrc.
 *
 * Secrets are overwritten before their memory is freed, and occur in no error text. Threads:
 * none of this has state.
 */
#ifndef NACRE_NET_CREDENTIALS_H
#define NACRE_NET_CREDENTIALS_H

#include <nacre/buf.h>

enum {
	AUTH_FILE_MAX = 1 << 20, /* bytes of an auth.json or netrc */
	HELPER_OUTPUT_MAX = 64 << 10,
	HELPER_TIMEOUT_MS = 60000,
};

/* Either user and password, or an identity token (an OAuth2 refresh token). All-zero: nobody. */
struct credentials {
	char *user;           /* owned, or NULL */
	char *password;       /* owned, or NULL */
	char *identity_token; /* owned, or NULL */
};
void credentials_release(struct credentials *c);
#define cleanup_credentials __attribute__((cleanup(credentials_release)))
void credentials_copy(struct credentials *ret, const struct credentials *from);

/* Credentials for `repository` ("library/busybox"; may be "") of the registry `host`
 * ("docker.io", "localhost:5000"). `auth_file` may be NULL. 1 found, 0 none, < 0: a file that is
 * there cannot be read or makes no sense, a helper failed. */
int credentials_for_registry(struct credentials *ret, const char *auth_file, const char *host,
			     const char *repository, struct err *err);
/* For a cache host (without port). `netrc_file` may be NULL. As above. */
int credentials_for_cache(struct credentials *ret, const char *netrc_file, const char *host,
			  struct err *err);

/* "Basic …" for the Authorization header; owned. E_INVALID: no user and password, or a ':' in
 * the user. */
int credentials_basic(char **ret, const struct credentials *c);

/* What one file says: who to be, or whom to ask. All-zero: nothing. */
struct auth_answer {
	struct credentials credentials;
	char *helper; /* owned; NULL: none. Then it is to be asked, and `credentials` is empty */
	char *server; /* owned; what the helper is to be asked for */
};
void auth_answer_release(struct auth_answer *a);
#define cleanup_auth_answer __attribute__((cleanup(auth_answer_release)))
/* Reads one file's text. 1 found, 0 none, < 0. Without I/O. */
int auth_json_find(struct auth_answer *ret, struct slice text, const char *host,
		   const char *repository, struct err *err);
/* Runs `docker-credential-<name> get` for `server`. 1 found, 0 the helper has none, < 0. Blocks
 * up to HELPER_TIMEOUT_MS. */
int credential_helper_get(struct credentials *ret, const char *name, const char *server,
			  struct err *err);
/* What the helper prints. */
int credential_helper_parse(struct credentials *ret, struct slice text, struct err *err);

/* The entry of `host` in a netrc text: `machine NAME login X password Y`, else `default`. 1, 0,
 * or E_INVALID with the line. */
int netrc_find(struct credentials *ret, struct slice text, const char *host, struct err *err);

#endif
