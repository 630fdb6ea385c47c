/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines on stderr, one a line: `level message`, or with a systemd priority prefix when stderr
 * is the journal. Only programs log; libraries return errors. Threads: any; a line is written at
 * once.
 */
#ifndef NACRE_BASE_LOG_H
#define NACRE_BASE_LOG_H

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void log_set_level(enum log_level level);
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A line that is formatted already. */
void log_raw(const char *line);

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
