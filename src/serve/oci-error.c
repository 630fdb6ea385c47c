/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <jansson.h>

#include "serve/oci-error.h"
#include "serve/server-internal.h"

enum { ANY = -1 };

/* The first row that fits. */
static const struct {
	int code;
	int subject; /* enum oci_subject or ANY */
	unsigned status;
	const char *oci;
} rows[] = {
	{E_NOTFOUND, OCI_BLOB, 404, "BLOB_UNKNOWN"},
	{E_NOTFOUND, OCI_MANIFEST, 404, "MANIFEST_UNKNOWN"},
	{E_NOTFOUND, OCI_MANIFEST_PUT, 404, "MANIFEST_BLOB_UNKNOWN"},
	{E_NOTFOUND, OCI_UPLOAD, 404, "BLOB_UPLOAD_UNKNOWN"},
	{E_NOTFOUND, OCI_NAME, 404, "NAME_UNKNOWN"},
	{E_INVALID, OCI_BLOB, 400, "DIGEST_INVALID"},
	{E_INVALID, OCI_MANIFEST, 400, "MANIFEST_INVALID"},
	{E_INVALID, OCI_MANIFEST_PUT, 400, "MANIFEST_INVALID"},
	{E_INVALID, OCI_UPLOAD, 400, "BLOB_UPLOAD_INVALID"},
	{E_INVALID, OCI_NAME, 400, "NAME_INVALID"},
	{E_TRUNCATED, OCI_MANIFEST_PUT, 400, "MANIFEST_INVALID"},
	{E_TRUNCATED, ANY, 400, "SIZE_INVALID"},
	{E_MISMATCH, ANY, 400, "DIGEST_INVALID"},
	{E_LIMIT, ANY, 413, "SIZE_INVALID"},
	{E_CONFLICT, OCI_UPLOAD, 409, "BLOB_UPLOAD_INVALID"},
	{E_CONFLICT, ANY, 409, "DENIED"},
	{E_EXISTS, OCI_MANIFEST_PUT, 412, "DENIED"}, /* a condition of the client's */
	{E_EXISTS, ANY, 409, "DENIED"},
	{E_UNSUPPORTED, ANY, 400, "UNSUPPORTED"},
	{E_DENIED, ANY, 403, "DENIED"},
	{E_USAGE, ANY, 400, "UNSUPPORTED"},
	{E_NET, ANY, 502, "UNKNOWN"}, /* an upstream */
};

/* For answers that no failure of a lower floor stands behind. */
static const char *general_code(unsigned status)
{
	switch (status) {
	case 401:
		return "UNAUTHORIZED";
	case 403:
		return "DENIED";
	case 413:
		return "SIZE_INVALID";
	case 429:
		return "TOOMANYREQUESTS";
	default:
		return status >= 500 ? "UNKNOWN" : "UNSUPPORTED";
	}
}

void oci_respond(struct request *req, unsigned status, const char *code, const char *message)
{
	json_t *text = json_string(message);
	json_t *body =
		json_pack("{s:[{s:s,s:o}]}", "errors", "code", code ? code : general_code(status),
			  "message", text ? text : json_string("")); /* not UTF-8: no message */
	char *dump = body ? json_dumps(body, JSON_COMPACT) : NULL;

	if (!dump)
		abort(); /* out of memory for a small allocation */
	respond_text(req, status, "application/json", slice_str(dump));
	free(dump);
	json_decref(body);
}

/* What the operating system says that passes without a repair of ours. */
static const struct cause {
	int sys_errno;
	unsigned status, retry_s;
	const char *oci, *text;
} causes[] = {
	{ENOSPC, 507, 0, "DENIED", "the server has no space left"},
	{EDQUOT, 507, 0, "DENIED", "the server has no space left"},
	{EFBIG, 507, 0, "DENIED", "the server has no space left"},
	{EROFS, 503, 60, NULL, "the server's disk cannot be written"},
	{EPERM, 503, 60, NULL, "the server's disk cannot be written"},
	{EACCES, 503, 60, NULL, "the server's disk cannot be written"},
	{EIO, 500, 0, NULL, "the server's disk fails"},
	{EBUSY, 503, 5, NULL, "something else holds the server's database: try again"},
};

static const struct cause *cause_find(const struct err *err)
{
	static const struct cause other = {0, 500, 0, NULL, "the server failed; its log says why"};

	for (size_t i = 0; i < ARRAY_LEN(causes); i++)
		if (causes[i].sys_errno == err->sys_errno)
			return &causes[i];
	return &other;
}

unsigned err_own_status(const struct err *err)
{
	return cause_find(err)->status;
}

const char *err_own_text(const struct err *err)
{
	return cause_find(err)->text;
}

bool err_is_quota(const struct err *err)
{
	return err->code == E_LIMIT && err->sys_errno == EDQUOT;
}

void oci_fail(struct request *req, enum oci_subject subject, const struct err *err)
{
	const struct cause *cause;

	/* A quota: the client may do nothing about it but delete, and need not try again. */
	if (err_is_quota(err)) {
		oci_respond(req, 403, "DENIED", err->text);
		return;
	}
	/* What the operating system said about our own files is nobody's business. */
	for (size_t i = 0; i < ARRAY_LEN(rows) && !err->sys_errno; i++) {
		if (rows[i].code == err->code &&
		    (rows[i].subject == ANY || rows[i].subject == (int)subject)) {
			oci_respond(req, rows[i].status, rows[i].oci, err->text);
			return;
		}
	}
	request_log_failure(req, err);
	cause = cause_find(err);
	oci_respond(req, cause->status, cause->oci, cause->text);
	if (cause->retry_s)
		respond_header(req, "Retry-After", "%u", cause->retry_s);
}

void oci_invalid(struct request *req, enum oci_subject subject, const char *fmt, ...)
{
	struct err err = ERR_INIT;
	va_list ap;

	va_start(ap, fmt);
	err_vset(&err, E_INVALID, fmt, ap);
	va_end(ap);
	oci_fail(req, subject, &err);
}
