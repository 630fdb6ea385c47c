/* SPDX-License-Identifier: Apache-2.0 */
/* Failures in the registry's language (SPEC dist-1.1 error codes); the one table from our codes to
 * status and error code. Private to src/serve. */
#ifndef NACRE_SERVE_OCI_ERROR_H
#define NACRE_SERVE_OCI_ERROR_H

#include "serve/request.h"

/* What a failure is about: E_NOTFOUND of a blob is another error code than of a manifest. */
enum oci_subject { OCI_BLOB, OCI_MANIFEST, OCI_MANIFEST_PUT, OCI_UPLOAD, OCI_NAME };

/* An answer of `status` with one error. `code` NULL: a general one for the status. */
void oci_respond(struct request *req, unsigned status, const char *code, const char *message);
/* The answer to a failure of ours or the client's, by the table. What is our own affair (I/O, bugs)
 * goes to the log and not to the client. */
void oci_fail(struct request *req, enum oci_subject subject, const struct err *err);
/* E_INVALID about a subject, in short. */
void oci_invalid(struct request *req, enum oci_subject subject, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Of a failure of our own (I/O, bugs): its status, and what clients may know of it. */
unsigned err_own_status(const struct err *err);
const char *err_own_text(const struct err *err);
/* Is the quota that the operator gives used up? The text is for the client. */
bool err_is_quota(const struct err *err);

#endif
