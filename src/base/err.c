/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdint.h>

#include <nacre/err.h>

/* Copies text, escaping what could steer a terminal. UTF-8 passes through: names are shown as
 * people know them. */
static void escape_text(char *ret, size_t size, const char *text)
{
	static const char digits[] = "0123456789abcdef";
	size_t used = 0;

	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		bool plain = *p >= 0x20 && *p != 0x7f;
		size_t need = plain ? 1 : 4;

		if (used + need >= size)
			break;
		if (plain) {
			ret[used++] = (char)*p;
			continue;
		}
		ret[used++] = '\\';
		ret[used++] = 'x';
		ret[used++] = digits[*p >> 4];
		ret[used++] = digits[*p & 15];
	}
	ret[used] = '\0';
}

int err_vset(struct err *err, enum err_code code, const char *fmt, va_list ap)
{
	char text[ERR_TEXT_MAX];

	vsnprintf(text, sizeof(text), fmt, ap);
	escape_text(err->text, sizeof(err->text), text);
	err->code = code;
	err->sys_errno = 0;
	return code;
}

int err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	err_vset(err, code, fmt, ap);
	va_end(ap);
	return code;
}

static enum err_code code_of_errno(int e)
{
	switch (e) {
	case ENOENT:
		return E_NOTFOUND;
	case EEXIST:
		return E_EXISTS;
	case EACCES:
	case EPERM:
		return E_DENIED;
	case ENOMEM:
		return E_NOMEM;
	default:
		return E_IO;
	}
}

int err_errno(struct err *err, const char *fmt, ...)
{
	int saved = errno;
	char text[ERR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	err_set(err, code_of_errno(saved), "%s: %s", text, strerror(saved));
	err->sys_errno = saved;
	errno = saved;
	return err->code;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
	char prefix[ERR_TEXT_MAX / 2];
	char before[ERR_TEXT_MAX];
	char escaped[ERR_TEXT_MAX / 2];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(prefix, sizeof(prefix), fmt, ap);
	va_end(ap);
	escape_text(escaped, sizeof(escaped), prefix);
	memcpy(before, err->text, sizeof(before));
	/* A text that does not fit loses its end, never its beginning: the beginning says what was
	 * being done. */
	if (snprintf(err->text, sizeof(err->text), "%s: %s", escaped, before) < 0)
		err->text[0] = '\0';
	return err->code;
}

const char *err_code_name(int code)
{
	static const char *const names[] = {
		"ok",      "invalid",  "truncated",   "limit",    "mismatch", "not-found",
		"exists",  "conflict", "unsupported", "denied",   "io",       "no-memory",
		"network", "usage",    "cancelled",   "internal",
	};
	size_t i = (size_t) - (long)code;

	return code <= 0 && i < sizeof(names) / sizeof(names[0]) ? names[i] : "unknown";
}
