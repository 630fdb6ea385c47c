/* SPDX-License-Identifier: Apache-2.0 */
/* Path infos as they travel with an image. SPEC nacre 4 */
#include "../unit.h"

#include <string.h>

#include <nacre/image.h>

#include "base/mem.h"

static const char hash[] = "0000000000000000000000000000000000000000000000000000";

static void add_narinfo(struct buf *text, unsigned number)
{
	buf_addf(text,
		 "StorePath: /nix/store/%032u-x\nURL: nar/%s.nar\nCompression: none\nNarHash: "
		 "sha256:%s\nNarSize: 120\nReferences: \n",
		 number, hash, hash);
}

static void test_order(void **state)
{
	static const struct {
		unsigned numbers[4];
		size_t len;
		bool is_good;
	} cases[] = {
		{{0}, 0, true},           {{1}, 1, true},           {{1, 2, 30}, 3, true},
		{{2, 1}, 2, false},       {{1, 1}, 2, false},       {{1, 3, 2}, 3, false},
		{{1, 2, 3, 3}, 4, false}, {{1, 2, 3, 0}, 4, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cleanup_buf struct buf text = {0};
		struct path_infos set = {0};
		struct err err = ERR_INIT;
		int r;

		for (size_t k = 0; k < cases[i].len; k++)
			add_narinfo(&text, cases[i].numbers[k]);
		r = path_infos_parse(&set, "/nix/store", buf_slice(&text), &err);
		if (r != (cases[i].is_good ? 0 : E_INVALID))
			fail_msg("case %zu: %s", i, err.text);
		if (r < 0)
			assert_non_null(strstr(err.text, "does not sort behind"));
		else
			assert_int_equal(set.len, cases[i].len);
		path_infos_release(&set);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_order)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
