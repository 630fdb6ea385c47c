/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log.h"

static _Atomic int max_level = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
	atomic_store(&max_level, (int)level);
}

void log_line(enum log_level level, const char *fmt, ...)
{
	static const char *const names[] = {"error", "warning", "info", "debug"};
	static const char *const priorities[] = {"<3>", "<4>", "<6>", "<7>"};
	/* systemd sets JOURNAL_STREAM where stderr is the journal. */
	bool journal = getenv("JOURNAL_STREAM") != NULL;
	char line[2048];
	int used, more;
	va_list ap;

	if ((int)level > atomic_load(&max_level))
		return;
	used = journal ? snprintf(line, sizeof(line), "%s", priorities[level])
		       : snprintf(line, sizeof(line), "%s: ", names[level]);
	va_start(ap, fmt);
	more = vsnprintf(line + used, sizeof(line) - (size_t)used - 1, fmt, ap);
	va_end(ap);
	if (more < 0)
		return;
	used += more < (int)sizeof(line) - used - 1 ? more : (int)sizeof(line) - used - 2;
	line[used++] = '\n';
	/* One write, so that lines of several threads do not mix. A lost log line is not worth
	 * failing for. */
	if (write(STDERR_FILENO, line, (size_t)used) < 0)
		return;
}

void log_raw(const char *line)
{
	struct iovec parts[] = {{(void *)(uintptr_t)line, strlen(line)},
				{(void *)(uintptr_t) "\n", 1}};

	if (LOG_LEVEL_INFO <= atomic_load(&max_level) && writev(STDERR_FILENO, parts, 2) < 0)
		return;
}
