/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A configuration file: a tree of named values that know their lines. YAML, by libyaml, without
 * what makes YAML surprising: no anchors, aliases, tags or second documents, every scalar is a
 * text that is given a type by who reads it, and a key stands once in a mapping.
 *
 * The tree is read section by section, each by the module that it belongs to; what nobody asked
 * for is an error in the end, so that a misspelt key does not pass for a default:
 *
 * 	struct tls_settings tls = TLS_SETTINGS_INIT;
 * 	r = config_text(section, "certificate", &tls.certificate, err);
 * 	…
 * 	r = config_check_used(root, err);
 *
 * Getters leave `*ret` alone where the key is missing (or null), so the default stands there
 * before. They return 0, or E_INVALID with "FILE:LINE: KEY: what is wrong and what is right".
 * A NULL map has no keys. Texts are owned by the tree.
 *
 * May use: base. Threads: reading a tree marks what was read; one thread at a time.
 */
#ifndef NACRE_CONFIG_H
#define NACRE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nacre/err.h>
#include <nacre/slice.h>

struct config; /* a value: text, list or map */

enum { CONFIG_SIZE_MAX = 4 << 20, CONFIG_DEPTH_MAX = 16, CONFIG_VALUES_MAX = 100000 };

/* An empty map, for a program without a file. */
struct config *config_new(void);
/* Parses `text`; `name` is what messages call it. An empty document is an empty map; anything but
 * a map at the top is E_INVALID. */
int config_parse(struct config **ret, struct slice text, const char *name, struct err *err);
/* The same from a file. E_NOTFOUND, E_IO. */
int config_read(struct config **ret, const char *path, struct err *err);
/* Sets one value from the command line: "tls.certificate=/etc/x", "listen=[a, b]",
 * "views.0.priority=10", "views.+={name: team}" (appends). The value is YAML (flow style); maps
 * on the way are made. E_USAGE. */
int config_set(struct config *root, struct slice assignment, struct err *err);
/* The map under a key, made if the key is missing. E_INVALID: something else is there. */
int config_make_map(struct config *map, const char *key, struct config **ret, struct err *err);
/* Sets a key to a text as it is, or appends it to the list there (a text becomes the
 * first of a list). */
void config_put(struct config *map, const char *key, const char *text);
void config_add(struct config *map, const char *key, const char *text);
void config_free(struct config *c); /* NULL is nothing; the root alone may be freed */

/* Owned by the tree; NULL if the key is missing. The type is checked by the caller's getters. */
struct config *config_child(struct config *map, const char *key);
/* Lists. A missing key is an empty list; a single value is a list of one. */
size_t config_len(const struct config *c);
struct config *config_item(struct config *c, size_t i);
/* Maps whose keys are names that the operator chose. Borrowed from the tree. */
const char *config_key(const struct config *map, size_t i);
struct config *config_value(struct config *map, size_t i);

/* E_INVALID if it is there and not a map, a list. */
int config_map(struct config *map, const char *key, struct config **ret, struct err *err);
int config_list(struct config *map, const char *key, struct config **ret, struct err *err);
/* The text of a value itself, of an item of a list for instance. */
int config_as_text(struct config *value, const char **ret, struct err *err);

int config_text(struct config *map, const char *key, const char **ret, struct err *err);
/* true, false (yes, no, on, off as well). */
int config_bool(struct config *map, const char *key, bool *ret, struct err *err);
/* A range is inclusive. */
struct config_range {
	uint64_t min, max;
};
int config_number(struct config *map, const char *key, struct config_range range, uint64_t *ret,
		  struct err *err);
/* Bytes: "4096", "64 KiB", "10GiB", "1.5TiB" (powers of 1024), "10GB" (powers of 1000);
 * "none" is UINT64_MAX. */
int config_bytes(struct config *map, const char *key, uint64_t *ret, struct err *err);
/* Milliseconds: "250ms", "30s", "5m", "24h", "14d"; a bare number is seconds. */
int config_duration(struct config *map, const char *key, struct config_range range_ms,
		    uint64_t *ret_ms, struct err *err);
/* One of `names` (NULL-terminated): its position. */
int config_choice(struct config *map, const char *key, const char *const *names, unsigned *ret,
		  struct err *err);

/* E_INVALID "FILE:LINE: …" about a value, for checks of the caller's own. */
int config_fail(const struct config *value, struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* E_INVALID for the first key that nobody asked for, with the nearest known one. */
int config_check_used(const struct config *c, struct err *err);

#endif
