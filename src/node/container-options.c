/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#include "base/mem.h"
#include "node/bundle.h"
#include "node/container-options.h"

void container_options_release(struct container_options *o)
{
	strv_release(&o->cmd);
	strv_release(&o->env);
	for (size_t i = 0; i < o->n_volumes; i++) {
		free(o->volumes[i].source);
		free(o->volumes[i].destination);
		free(o->volumes[i].options);
	}
	free(o->volumes);
	*o = (struct container_options){0};
}

static void add_volume(struct container_options *o, struct container_volume volume)
{
	array_grow(o->volumes, o->cap_volumes, o->n_volumes + 1);
	o->volumes[o->n_volumes++] = volume;
}

int container_add_volume(struct container_options *o, const char *text, struct err *err)
{
	const char *first = strchr(text, ':');
	const char *second = first ? strchr(first + 1, ':') : NULL;
	const char *mode = second ? second + 1 : "rw";

	if (!first || text[0] != '/' || first[1] != '/' ||
	    (strcmp(mode, "ro") != 0 && strcmp(mode, "rw") != 0))
		return err_set(
			err, E_USAGE,
			"volume '%s': wanted /SOURCE:/DESTINATION or /SOURCE:/DESTINATION:ro",
			text);
	add_volume(o,
		   (struct container_volume){
			   .source = xstrndup(text, (size_t)(first - text)),
			   .destination = second ? xstrndup(first + 1, (size_t)(second - first - 1))
						 : xstrdup(first + 1),
			   .read_only = strcmp(mode, "ro") == 0,
		   });
	return 0;
}

int container_add_tmpfs(struct container_options *o, const char *text, struct err *err)
{
	size_t len = strcspn(text, ":");

	if (text[0] != '/')
		return err_set(err, E_USAGE,
			       "tmpfs '%s': wanted /DESTINATION or /DESTINATION:size=64m,mode=1777",
			       text);
	add_volume(o, (struct container_volume){
			      .destination = xstrndup(text, len),
			      .options = text[len] ? xstrdup(text + len + 1) : NULL,
		      });
	return 0;
}

/* Digits alone; the rest of the text is left in *text. */
static int parse_number(const char **text, uint64_t *ret)
{
	char *end;

	if (!isdigit((unsigned char)**text))
		return E_INVALID;
	errno = 0;
	*ret = strtoull(*text, &end, 10);
	*text = end;
	return errno ? E_INVALID : 0;
}

static int parse_limit(const char **text, uint64_t *ret)
{
	static const char unlimited[] = "unlimited";

	if (strncmp(*text, unlimited, sizeof(unlimited) - 1) == 0) {
		*text += sizeof(unlimited) - 1;
		*ret = UINT64_MAX;
		return 0;
	}
	return parse_number(text, ret);
}

static const char *rlimit_type(const char *name, size_t len)
{
	static const char *const types[] = {
		"RLIMIT_AS",     "RLIMIT_CORE",   "RLIMIT_CPU",        "RLIMIT_DATA",
		"RLIMIT_FSIZE",  "RLIMIT_LOCKS",  "RLIMIT_MEMLOCK",    "RLIMIT_MSGQUEUE",
		"RLIMIT_NICE",   "RLIMIT_NOFILE", "RLIMIT_NPROC",      "RLIMIT_RSS",
		"RLIMIT_RTPRIO", "RLIMIT_RTTIME", "RLIMIT_SIGPENDING", "RLIMIT_STACK",
	};

	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (strlen(types[i]) == len + 7 && strncasecmp(types[i] + 7, name, len) == 0)
			return types[i];
	return NULL;
}

int container_add_rlimit(struct container_options *o, const char *text, struct err *err)
{
	size_t len = strcspn(text, "=");
	const char *rest = text + len + (text[len] == '=');
	struct container_rlimit limit = {.type = rlimit_type(text, len)};
	int r = parse_limit(&rest, &limit.soft);

	limit.hard = limit.soft;
	if (r >= 0 && *rest == ':') {
		rest++;
		r = parse_limit(&rest, &limit.hard);
	}
	if (!limit.type || r < 0 || *rest || limit.soft > limit.hard)
		return err_set(err, E_USAGE,
			       "ulimit '%s': wanted as nofile=1024 or nofile=1024:2048", text);
	for (size_t i = 0; i < o->n_rlimits; i++)
		if (o->rlimits[i].type == limit.type) {
			o->rlimits[i] = limit;
			return 0;
		}
	o->rlimits[o->n_rlimits++] = limit; /* one a type: they have room */
	return 0;
}

int container_add_capability(uint64_t *mask, const char *text, struct err *err)
{
	const char *name = strncasecmp(text, "cap_", 4) == 0 ? text + 4 : text;
	int number = strcasecmp(text, "all") == 0 ? -1 : bundle_capability(name);

	if (strcasecmp(text, "all") != 0 && number < 0)
		return err_set(err, E_USAGE, "there is no capability '%s'", text);
	*mask |= number < 0 ? UINT64_MAX : UINT64_C(1) << number;
	return 0;
}

int container_parse_bytes(uint64_t *ret, const char *text, struct err *err)
{
	static const char units[] = "bkmg";
	const char *rest = text;
	const char *unit;
	uint64_t bytes;
	int r = parse_number(&rest, &bytes);

	unit = *rest ? strchr(units, tolower((unsigned char)*rest)) : units;
	if (r < 0 || !unit || (*rest && rest[1]) || bytes == 0 ||
	    mul_checked(&bytes, bytes, UINT64_C(1) << (10 * (unit - units))) < 0 ||
	    bytes > INT64_MAX)
		return err_set(err, E_USAGE, "'%s': wanted a size as 512m or 2g", text);
	*ret = bytes;
	return 0;
}

int container_parse_cpus(uint64_t *ret, const char *text, struct err *err)
{
	const char *rest = text;
	uint64_t whole, millis = 0, unit = 100;
	int r = parse_number(&rest, &whole);

	if (r >= 0 && *rest == '.')
		for (rest++; isdigit((unsigned char)*rest); rest++, unit /= 10)
			millis += (uint64_t)(*rest - '0') * unit;
	if (r < 0 || *rest || whole > 1000000 || whole * 1000 + millis == 0)
		return err_set(err, E_USAGE, "'%s': wanted a number of CPUs as 2 or 0.5", text);
	*ret = whole * 1000 + millis;
	return 0;
}

int container_parse_count(uint64_t *ret, const char *text, struct err *err)
{
	const char *rest = text;
	uint64_t count;

	if (parse_number(&rest, &count) < 0 || *rest || count == 0 || count > INT32_MAX)
		return err_set(err, E_USAGE, "'%s': wanted a positive number", text);
	*ret = count;
	return 0;
}
