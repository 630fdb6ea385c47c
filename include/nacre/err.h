/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors: one enum of negative codes for the whole project, and one fixed-size value that carries a
 * text.
 *
 * Leaf code (encodings, parsers, state machines) returns an `int`: >= 0, or a negative `enum
 * err_code`. It has no text, allocates nothing and logs nothing; parsers expose where they stopped
 * and what they expected.
 *
 * Service code takes `struct err *err` as its last parameter. The value is untouched on success and
 * set exactly once on failure; there is nothing to free. `err` is never NULL.
 *
 * 	int blob_open(struct blob *ret, const char *path, struct err *err)
 * 	{
 * 		int fd = open(path, O_RDONLY | O_CLOEXEC);
 * 		if (fd < 0)
 * 			return err_errno(err, "open %s", path);
 *
 * The way up adds context: `return err_wrap(err, "push %s", ref)` makes "push REF: open FILE: No
 * such file". Threads: a `struct err` belongs to one thread at a time.
 */
#ifndef NACRE_ERR_H
#define NACRE_ERR_H

#include <stdarg.h>

#define NACRE_API __attribute__((visibility("default")))

enum err_code {
	E_OK = 0,
	E_INVALID = -1,   /* malformed input: breaks the grammar or a rule of its format */
	E_TRUNCATED = -2, /* input ended before it was complete */
	E_LIMIT = -3,     /* beyond a stated limit: size, depth, count, memory */
	E_MISMATCH =
		-4, /* well formed, but not what was promised: hash, size, signature, content */
	E_NOTFOUND = -5,    /* the thing named does not exist (or may not be known to the caller) */
	E_EXISTS = -6,      /* the thing to be created exists already */
	E_CONFLICT = -7,    /* contradicts something that stands: a second binding, a busy upload */
	E_UNSUPPORTED = -8, /* understood, but not done here */
	E_DENIED = -9,      /* not permitted, or credentials missing */
	E_IO = -10,         /* the operating system said no; sys_errno says why */
	E_NOMEM = -11,      /* an allocation whose size came from input failed */
	E_NET = -12, /* a peer could not be reached or broke the protocol; trying again may help */
	E_USAGE = -13, /* the caller's request makes no sense: command line, option, reference */
	E_CANCELLED = -14, /* stopped on request */
	E_INTERNAL = -15,  /* a broken invariant of our own: a bug */
};

enum { ERR_TEXT_MAX = 1024 };

/* A failure: its kind, the errno behind it (0 if none) and a text for people. All-zero means "no
 * error". */
struct err {
	int code;
	int sys_errno;
	char text[ERR_TEXT_MAX];
};

#define ERR_INIT ((struct err){0})

/* Sets `err` and returns `code` (which is negative). A text past ERR_TEXT_MAX is cut. Bytes of the
 * text that are not printable are escaped as \xNN, so that hostile names cannot write to a
 * terminal. */
NACRE_API int err_set(struct err *err, enum err_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
NACRE_API int err_vset(struct err *err, enum err_code code, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));

/* Sets `err` from errno, with ": <strerror>" after the text, and returns E_IO; ENOENT gives
 * E_NOTFOUND, EEXIST E_EXISTS, EACCES and EPERM E_DENIED, ENOMEM E_NOMEM. */
NACRE_API int err_errno(struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Puts "<text>: " before the text that is there and returns the code that is there. */
NACRE_API int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A short constant name for a code: "invalid", "truncated", … */
NACRE_API const char *err_code_name(int code);

#endif
