/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the registry that an image's reference names may be reached, as containerd is told it:
 * DIR/<host>/hosts.toml (<host> with a port as "host_port_" or "host:port"), else
 * DIR/_default/hosts.toml. What a reference names is only looked up, never trusted: a host is in
 * the result if a file names it, if a directory has its name, or if it is in the list of those that
 * are allowed.
 *
 * Of hosts.toml (SPEC containerd hosts.md): server; [host."URL"] with capabilities, ca (one file),
 * skip_verify, override_path; the same before the first table, for the server. A host with client certificates, headers of its own or a path is left
 * out. Of TOML: tables, texts on one line, booleans and lists of texts, or of such lists.
 */
#ifndef NACRE_NODE_REGISTRY_HOSTS_H
#define NACRE_NODE_REGISTRY_HOSTS_H

#include <nacre/buf.h>
#include <nacre/err.h>

#define CERTS_DIR_DEFAULT "/etc/containerd/certs.d"

struct registry_host {
	char *domain; /* owned; "host[:port]" */
	bool is_own;  /* the registry itself, over HTTPS, or HTTP if it is this machine */
	bool is_http;
	bool skip_verify;
	char *ca_file; /* owned; NULL: the system's */
	char *why_not; /* owned; NULL: it can be used */
	bool can_pull;
};

struct registry_hosts {
	struct registry_host *items; /* owned; in the order in which they are tried */
	size_t len, cap;
};
void registry_hosts_release(struct registry_hosts *h);
#define cleanup_registry_hosts __attribute__((cleanup(registry_hosts_release)))

/* The text of a hosts.toml that lies in `dir`. `own` is the registry that the directory is named by,
 * NULL for "_default". E_INVALID with the line. */
int registry_hosts_parse(struct registry_hosts *ret, struct slice text, const char *dir,
			 const char *own, struct err *err);
/* E_NOTFOUND: nothing allows to contact this registry. `certs_dir` may be NULL. */
int registry_hosts_find(struct registry_hosts *ret, const char *certs_dir,
			const struct strv *allowed, const char *domain, struct err *err);

#endif
