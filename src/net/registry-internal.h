/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the registry client share. */
#ifndef NACRE_NET_REGISTRY_INTERNAL_H
#define NACRE_NET_REGISTRY_INTERNAL_H

#include "net/challenge.h"
#include "net/registry.h"

enum {
	REGISTRY_TOKENS_MAX = 256, /* kept; then all are forgotten */
	REGISTRY_TOKEN_TEXT_MAX = 64 << 10,
	REGISTRY_PAGES_MAX = 1000, /* of a listing */
	REGISTRY_TAGS_MAX = 1 << 20,
	REGISTRY_PAGE_BYTES_MAX = 16 << 20,
	REGISTRY_PUSH_ATTEMPTS = 3,
};

struct registry_token {
	char *scope;         /* owned */
	char *value;         /* owned, secret */
	uint64_t expires_ms; /* monotonic clock */
};

struct registry {
	struct http *http; /* owned */
	struct http_options
		http_options; /* its ca_file is borrowed during registry_open() only and NULL behind it */
	char *domain;         /* owned; as people call it */
	char *host;           /* owned; host[:port] that is connected to */
	char *base;           /* owned, "http[s]://host"; NULL: to be probed */
	char *auth_file; /* owned, or NULL */
	char *query;     /* owned; "ns=…", or NULL: goes with every address */
	bool has_given;
	struct credentials given;
	/* Who we are to the repository asked for last. */
	char *who_repository; /* owned; NULL: not looked up yet */
	bool who_found;
	struct credentials who;
	/* What the registry asks for. */
	bool challenged;
	struct challenge challenge;    /* texts owned */
	struct registry_token *tokens; /* owned */
	size_t n_tokens, tokens_cap;
};

/* What a request is about: "repository:<repository>:<actions>", and reading from another one. */
struct registry_scope {
	const char *repository; /* NULL: none, as in a ping */
	const char *actions;    /* "pull", "pull,push", "delete" */
	const char *from;       /* NULL, or the repository mounted from */
};

/* registry-auth.c */

/* The value for the Authorization header, owned; NULL where nothing is asked for yet.
 * `*ret_fresh`: it is not from the cache, so trying again with another is of no use. */
int registry_authorization(struct registry *r, const struct registry_scope *scope, char **ret,
			   bool *ret_fresh, struct err *err);
/* Remembers what a 401 asks for and forgets the token that was refused. E_DENIED if it asks for
 * nothing that we can give. */
int registry_challenged(struct registry *r, const struct registry_scope *scope,
			const struct http_response *resp, struct err *err);
void registry_auth_release(struct registry *r);

/* registry.c */

/* "http[s]://host" of the registry, probed if need be; borrowed. */
int registry_base(struct registry *r, const char **ret, struct err *err);
/* The address of "/v2/<repository>/<rest>", owned, after a look at the repository's name. */
int registry_url(struct registry *r, const char *repository, char **ret, struct err *err,
		 const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* One request with authentication. req->authorization is set here, and only for the registry
 * itself. Any final status but a 401 that was answered is a response. */
int registry_send(struct registry *r, const struct registry_scope *scope, struct http_request *req,
		  struct http_response *ret, struct err *err);
/* Sets `err` from a response: the registry's own words, where there are some. */
int registry_failed(const struct registry *r, const struct http_response *resp, const char *what,
		    struct err *err);
/* A tag or a digest? E_USAGE if neither. *ret_digest has HASH_NONE for a tag. */
int registry_ref_parse(const char *ref, struct hash *ret_digest, struct err *err);

#endif
