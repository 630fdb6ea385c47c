/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/server-internal.h"

/* A request that a proxy on this machine passes on is as foreign as its origin. */
static bool is_forwarded(struct request *req)
{
	static const char *const marks[] = {"Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"};

	for (size_t i = 0; i < ARRAY_LEN(marks); i++)
		if (request_header(req, marks[i]).data)
			return true;
	return false;
}

/* Reads are open. Writes come from this machine, unless the server was told otherwise: not
 * through a proxy, and not from a page in a browser on this machine, whose author is anybody. */
int policy_check(struct request *req, enum access access, struct err *err)
{
	if (access == ACCESS_READ || req->settings->allow_write)
		return 0;
	if (!connection_is_local(req->connection))
		return err_set(err, E_DENIED,
			       "this server takes writes from its own machine only (it was started "
			       "without --allow-write)");
	if (is_forwarded(req))
		return err_set(
			err, E_DENIED,
			"this server takes no writes through a proxy (it was started without "
			"--allow-write)");
	if (request_header(req, "Origin").data)
		return err_set(err, E_DENIED, "this server takes no writes from web pages");
	return 0;
}
