/* SPDX-License-Identifier: Apache-2.0 */
/* Grouping g1 as an independent writer has it. */
#include "../unit.h"

#include "../vectors.h"

#include <nacre/group.h>

static void load_set(const json_t *paths, struct path_infos *set)
{
	const json_t *v;
	size_t i, j;

	json_array_foreach (paths, i, v) {
		struct path_info info = {.nar_size = vector_number(v, "narSize")};
		const json_t *ref;

		assert_int_equal(store_path_parse(&info.path, "/nix/store",
						  slice_str(vector_text(v, "path"))),
				 0);
		json_array_foreach (json_object_get(v, "references"), j, ref) {
			const char *path = vector_text(
				json_array_get(paths, (size_t)json_integer_value(ref)), "path");

			strv_add(&info.references, path + strlen("/nix/store/"));
		}
		strv_sort_unique(&info.references);
		path_infos_take(set, &info);
	}
}

static void check_case(const json_t *c)
{
	const json_t *paths = json_object_get(c, "paths"), *layers = json_object_get(c, "layers");
	cleanup_path_infos struct path_infos set = {0};
	cleanup_grouping struct grouping g = {0};
	struct err err = ERR_INIT;

	load_set(paths, &set);
	assert_ok(grouping_make(&g, &set, (size_t)vector_number(c, "maxLayers"),
				json_is_true(json_object_get(c, "rootLayer")), &err),
		  err);
	if (g.len != json_array_size(layers))
		fail_msg("%s: %zu layers, wanted %zu", vector_text(c, "name"), g.len,
			 json_array_size(layers));
	for (size_t i = 0; i < g.len; i++) {
		const json_t *layer = json_array_get(layers, i);

		assert_int_equal(g.layers[i].len, json_array_size(layer));
		for (size_t j = 0; j < g.layers[i].len; j++) {
			size_t index = (size_t)json_integer_value(json_array_get(layer, j));
			const json_t *want = json_array_get(paths, index);

			assert_string_equal(set.items[g.layers[i].paths[j]].path.text,
					    vector_text(want, "path"));
		}
	}
}

static void test_grouping(void **state)
{
	json_t *all = vectors_load("grouping.json");
	const json_t *v;
	size_t i;

	json_array_foreach (json_object_get(all, "pnames"), i, v) {
		char pname[STORE_NAME_MAX + 1];

		store_pname(pname, vector_text(v, "name"));
		assert_string_equal(pname, vector_text(v, "pname"));
	}
	json_array_foreach (json_object_get(all, "cases"), i, v)
		check_case(v);
	assert_true(i > 5);
	json_decref(all);
}

static void test_no_room(void **state)
{
	struct path_infos set = {0};
	struct grouping g;
	struct err err = ERR_INIT;

	assert_int_equal(grouping_make(&g, &set, 1, true, &err), E_USAGE);
}

static void test_cycle(void **state)
{
	cleanup_path_infos struct path_infos set = {0};
	static const char *const bases[] = {"00000000000000000000000000000000-a",
					    "11111111111111111111111111111111-b"};
	struct grouping g;
	struct err err = ERR_INIT;

	for (int i = 0; i < 2; i++) {
		struct path_info info = {.nar_size = 1};

		assert_int_equal(store_path_make(&info.path, "/nix/store", slice_str(bases[i])), 0);
		strv_add(&info.references, bases[1 - i]);
		path_infos_take(&set, &info);
	}
	assert_int_equal(grouping_make(&g, &set, 0, true, &err), E_INVALID);
	assert_non_null(strstr(err.text, "cycle"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grouping),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_cycle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
