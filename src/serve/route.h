/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which endpoint a path names. Exact: what no pattern of the table fits is no endpoint. Says
 * nothing of methods, and checks no name: what is captured is still hostile.
 */
#ifndef NACRE_ROUTE_H
#define NACRE_ROUTE_H

#include <nacre/slice.h>

enum endpoint {
	ENDPOINT_NONE,
	ENDPOINT_HOME,
	ENDPOINT_HEALTH,
	ENDPOINT_READY,
	ENDPOINT_METRICS,
	ENDPOINT_TOKEN,
	ENDPOINT_ADMIN, /* arg: command */
	/* SPEC dist-1.1 endpoints */
	ENDPOINT_OCI_BASE,
	ENDPOINT_OCI_UNKNOWN, /* below /v2/, but nothing that is known */
	ENDPOINT_CATALOG,
	ENDPOINT_BLOB,      /* name, arg: digest */
	ENDPOINT_UPLOADS,   /* name */
	ENDPOINT_UPLOAD,    /* name, arg: session */
	ENDPOINT_MANIFEST,  /* name, arg: tag or digest */
	ENDPOINT_TAGS,      /* name */
	ENDPOINT_REFERRERS, /* name, arg: digest */
	/* SPEC nix-cache endpoints */
	ENDPOINT_CACHE_INFO,
	ENDPOINT_NARINFO,     /* arg: hash part */
	ENDPOINT_LISTING,     /* arg: hash part */
	ENDPOINT_NAR,         /* arg: file name */
	ENDPOINT_LOG,         /* arg: base name of a derivation */
	ENDPOINT_DEBUGINFO,   /* arg: file name */
	ENDPOINT_REALISATION, /* arg: file name */
	ENDPOINT_BUILD_TRACE, /* arg: "<drv base name>/<output>.doi" */
	ENDPOINT_COUNT,
};

struct route {
	enum endpoint endpoint;
	struct slice name; /* repository; borrowed from the path */
	struct slice arg;  /* borrowed from the path */
};

/* `path` is decoded and begins with '/'. */
void route_find(struct route *ret, struct slice path);

/* Does this endpoint speak the registry's language (errors are JSON) or the cache's (text)? */
bool endpoint_is_oci(enum endpoint e);
/* Is it there once, and not in each view? */
bool endpoint_is_server(enum endpoint e);

#endif
