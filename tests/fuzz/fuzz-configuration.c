/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration file; its text set as a value, too. */
#include "base/mem.h"
#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(struct config *c)
{
	static const char *const names[] = {"a", "b", NULL};
	const struct config_range any = {0, UINT64_MAX};

	for (size_t i = 0; i < config_len(c) && config_key(c, i); i++) {
		const char *key = config_key(c, i);
		struct err err = ERR_INIT;
		const char *text;
		unsigned choice;
		uint64_t n;
		bool b;

		config_text(c, key, &text, &err);
		config_bool(c, key, &b, &err);
		config_number(c, key, any, &n, &err);
		config_bytes(c, key, &n, &err);
		config_duration(c, key, any, &n, &err);
		config_choice(c, key, names, &choice, &err);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config *c, *empty = config_new();
	struct err err = ERR_INIT;

	if (config_parse(&c, slice_make(data, size), "fuzz", &err) == 0) {
		config_check_used(c, &err);
		read_all(c);
		config_free(c);
	}
	config_set(empty, slice_make(data, size), &err);
	config_check_used(empty, &err);
	config_free(empty);
	return 0;
}
