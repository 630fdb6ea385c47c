/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The audit log: one line of JSON for each change that a client made or was refused, and for each
 * login that failed; written before the client hears the answer. Lines are only ever appended.
 *
 * 	audit_open_file(&settings->audit, &fd, err);
 * 	audit_use(audit, &settings->audit, fd);
 * 	…
 * 	audit_admit(audit, req);     before a change: may it be made?
 * 	audit_request(audit, req);   the answer is there, and not yet sent
 *
 * Threads: any. A line is one write().
 */
#ifndef NACRE_SERVE_AUDIT_H
#define NACRE_SERVE_AUDIT_H

#include <stdbool.h>

#include <nacre/err.h>

struct audit;
struct config;
struct request;

struct audit_settings {
	const char *file; /* NULL: none */
	bool sync;        /* each line is on the disk before the answer goes out */
	bool required;    /* no line, no change */
};

int audit_settings_read(struct audit_settings *ret, struct config *root, struct err *err);

struct audit *audit_new(void);
void audit_free(struct audit *a); /* NULL is nothing */
/* Opens the file, also if it is open already: logrotate moves it away. *ret is -1 without one. E_IO. */
int audit_open_file(const struct audit_settings *settings, int *ret, struct err *err);
/* From now on lines go there. Takes over `fd`. */
void audit_use(struct audit *a, const struct audit_settings *settings, int fd);

/* False: answered. A change is not begun while lines that are required cannot be written. */
bool audit_admit(struct audit *a, struct request *req);
void audit_request(struct audit *a, const struct request *req);

#endif
