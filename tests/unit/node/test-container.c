/* SPDX-License-Identifier: Apache-2.0 */
/* Options of containers as people write them, and the runtime-spec configuration. */
#include "../unit.h"

#include <linux/capability.h>
#include <string.h>

#include <jansson.h>

#include "base/mem.h"
#include "node/bundle.h"
#include "node/container-options.h"

static void test_volumes(void **state)
{
	static const char *const good[] = {"/a:/b", "/a:/b:ro", "/a:/b:rw"};
	static const char *const bad[] = {"",       "/a",      "a:/b",      "/a:b",
					  "/a:/b:", "/a:/b:x", "/a:/b:ro:z"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		struct container_options o = {0};
		struct err err = ERR_INIT;

		assert_ok(container_add_volume(&o, good[i], &err), err);
		assert_string_equal(o.volumes[0].source, "/a");
		assert_string_equal(o.volumes[0].destination, "/b");
		assert_int_equal(o.volumes[0].read_only, i == 1);
		container_options_release(&o);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct container_options o = {0};
		struct err err = ERR_INIT;

		if (container_add_volume(&o, bad[i], &err) != E_USAGE)
			fail_msg("%s", bad[i]);
		assert_int_equal(o.n_volumes, 0);
	}
}

static void test_rlimits(void **state)
{
	static const struct {
		const char *text, *type;
		uint64_t soft, hard;
	} good[] = {
		{"nofile=1024", "RLIMIT_NOFILE", 1024, 1024},
		{"NOFILE=1:2", "RLIMIT_NOFILE", 1, 2},
		{"core=unlimited", "RLIMIT_CORE", UINT64_MAX, UINT64_MAX},
		{"core=0:unlimited", "RLIMIT_CORE", 0, UINT64_MAX},
	};
	static const char *const bad[] = {"",
					  "nofile",
					  "nofile=",
					  "nofile=x",
					  "files=1",
					  "nofile=2:1",
					  "nofile=1:2:3",
					  "nofile=-1",
					  "nofile= 1",
					  "=1",
					  "nofile=99999999999999999999"};
	struct container_options o = {0};
	struct err err = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		o.n_rlimits = 0;
		assert_ok(container_add_rlimit(&o, good[i].text, &err), err);
		assert_string_equal(o.rlimits[0].type, good[i].type);
		assert_true(o.rlimits[0].soft == good[i].soft && o.rlimits[0].hard == good[i].hard);
	}
	o.n_rlimits = 0;
	for (int i = 0; i < 100; i++)
		assert_ok(container_add_rlimit(&o, "nproc=5", &err), err);
	assert_int_equal(o.n_rlimits, 1);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		err = ERR_INIT;
		if (container_add_rlimit(&o, bad[i], &err) != E_USAGE)
			fail_msg("%s", bad[i]);
	}
}

static void test_numbers(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes, millis, count; /* 0: refused */
	} cases[] = {
		{"512m", 512 << 20, 0, 0},
		{"1", 1, 1000, 1},
		{"2k", 2048, 0, 0},
		{"1.5", 0, 1500, 0},
		{"0.25", 0, 250, 0},
		{"0.0001", 0, 0, 0},
		{"0", 0, 0, 0},
		{"", 0, 0, 0},
		{"-1", 0, 0, 0},
		{"1x", 0, 0, 0},
		{"1mm", 0, 0, 0},
		{"99999999999g", 0, 0, 0},
		{"7b", 7, 0, 0},
		{"2000000.", 0, 0, 0},
		{"3000000000", 3000000000, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t bytes = 0, millis = 0, count = 0;
		struct err err = ERR_INIT;

		container_parse_bytes(&bytes, cases[i].text, &err);
		container_parse_cpus(&millis, cases[i].text, &err);
		container_parse_count(&count, cases[i].text, &err);
		if (bytes != cases[i].bytes || millis != cases[i].millis || count != cases[i].count)
			fail_msg("%s: %ju %ju %ju", cases[i].text, (uintmax_t)bytes,
				 (uintmax_t)millis, (uintmax_t)count);
	}
}

static void test_capabilities(void **state)
{
	uint64_t mask = 0;
	struct err err = ERR_INIT;

	(void)state;
	assert_ok(container_add_capability(&mask, "CAP_NET_ADMIN", &err), err);
	assert_ok(container_add_capability(&mask, "chown", &err), err);
	assert_true(mask == (UINT64_C(1) << CAP_NET_ADMIN | UINT64_C(1) << CAP_CHOWN));
	assert_ok(container_add_capability(&mask, "all", &err), err);
	assert_true(mask == UINT64_MAX);
	assert_int_equal(bundle_capability("CHECKPOINT_RESTORE"), CAP_CHECKPOINT_RESTORE);
	assert_int_equal(bundle_capability("SYS_ADMIN"), CAP_SYS_ADMIN);
	assert_int_equal(bundle_capability("AUDIT_READ"), CAP_AUDIT_READ);
	assert_int_equal(container_add_capability(&mask, "FLY", &err), E_USAGE);
}

static json_t *format(const struct bundle *b, struct buf *text)
{
	struct err err = ERR_INIT;
	json_t *ret;

	assert_ok(bundle_format(text, b, UINT64_MAX, &err), err);
	ret = json_loadb((char *)text->data, text->len, 0, NULL);
	return ret; /* NULL: a number that jansson cannot read */
}

static json_t *at(json_t *from, const char *path)
{
	char copy[256], *rest = copy, *key;

	snprintf(copy, sizeof(copy), "%s", path);
	while (from && (key = strsep(&rest, ".")))
		from = *key >= '0' && *key <= '9' ? json_array_get(from, (size_t)(*key - '0'))
						  : json_object_get(from, key);
	if (!from)
		fail_msg("no %s", path);
	return from;
}

static void test_bundle(void **state)
{
	struct container_rlimit limits[] = {{"RLIMIT_NOFILE", 10, 20}};
	struct bundle b = {.rootfs = "rootfs", .hostname = "h", .cwd = "/w", .rlimits = limits};
	cleanup_buf struct buf text = {0};
	json_t *json;

	(void)state;
	b.n_rlimits = 1;
	b.memory_bytes = 1000;
	b.cpu_millis = 1500;
	b.pids = 9;
	b.user.uid = 5;
	b.cap_add = UINT64_C(1) << CAP_NET_ADMIN;
	b.cap_drop = UINT64_MAX & ~(UINT64_C(3) << CAP_NET_BROADCAST);
	strv_add(&b.args, "prog");
	bundle_add_tmpfs(&b, "/t", "size=1m,,mode=700");
	json = format(&b, &text);
	assert_non_null(json);
	assert_int_equal(json_integer_value(at(json, "linux.resources.memory.limit")), 1000);
	assert_int_equal(json_integer_value(at(json, "linux.resources.cpu.quota")), 150000);
	assert_int_equal(json_integer_value(at(json, "linux.resources.cpu.period")), 100000);
	assert_int_equal(json_integer_value(at(json, "linux.resources.pids.limit")), 9);
	assert_int_equal(json_array_size(at(json, "linux.resources.devices")), 1);
	assert_true(json_is_false(at(json, "linux.resources.devices.0.allow")));
	assert_string_equal(json_string_value(at(json, "linux.resources.devices.0.access")), "rwm");
	assert_int_equal(json_integer_value(at(json, "process.rlimits.0.hard")), 20);
	assert_int_equal(json_array_size(at(json, "process.capabilities.bounding")), 1);
	assert_string_equal(json_string_value(at(json, "process.capabilities.ambient.0")),
			    "CAP_NET_ADMIN");
	assert_string_equal(json_string_value(at(json, "mounts.6.options.3")), "mode=700");
	json_decref(json);
	bundle_release(&b);
}

/* The user's own group is among the others; where groups cannot be set there is none. */
static void test_groups_and_terminal(void **state)
{
	struct bundle b = {
		.rootfs = "rootfs", .hostname = "h", .cwd = "/", .rows = 40, .columns = 100};

	(void)state;
	b.user = (struct user){.uid = 5, .gid = 6, .groups = {7}, .n_groups = 1};
	strv_add(&b.args, "prog");
	for (int i = 0; i < 4; i++) {
		cleanup_buf struct buf text = {0};
		json_t *json;

		b.is_rootless = i & 1;
		b.terminal = i & 2;
		json = format(&b, &text);
		assert_int_equal(json_array_size(at(json, "process.user.additionalGids")),
				 i & 1 ? 1 : 2);
		assert_int_equal(json_integer_value(at(json, "process.user.additionalGids.0")),
				 i & 1 ? 7 : 6);
		if (b.terminal) {
			assert_int_equal(json_integer_value(at(json, "process.consoleSize.height")),
					 40);
			assert_int_equal(json_integer_value(at(json, "process.consoleSize.width")),
					 100);
		} else {
			assert_null(json_object_get(at(json, "process"), "consoleSize"));
		}
		json_decref(json);
	}
	bundle_release(&b);
}

/* "unlimited" is more than jansson can write; a string that looks like it stays as it is. */
static void test_unlimited(void **state)
{
	struct container_rlimit limits[] = {{"RLIMIT_CORE", UINT64_MAX, UINT64_MAX}};
	struct bundle b = {.rootfs = "rootfs", .hostname = "h", .cwd = "/", .rlimits = limits};
	cleanup_buf struct buf text = {0};
	struct err err = ERR_INIT;

	(void)state;
	b.n_rlimits = 1;
	strv_add(&b.args, "x\": 9223372036854775807");
	assert_ok(bundle_format(&text, &b, 0, &err), err);
	assert_non_null(strstr((char *)text.data, "\"hard\": 18446744073709551615"));
	assert_non_null(strstr((char *)text.data, "\"soft\": 18446744073709551615"));
	assert_non_null(strstr((char *)text.data, "x\\\": 9223372036854775807"));
	bundle_release(&b);
}

/* What is not UTF-8 is refused, never left out: a volume that is not there would lose what is written. */
static void test_not_utf8(void **state)
{
	static const char bad[] = "/caf\xe9";

	(void)state;
	for (int i = 0; i < 7; i++) {
		struct bundle b = {.rootfs = "rootfs", .hostname = "h", .cwd = "/"};
		cleanup_buf struct buf text = {0};
		struct err err = ERR_INIT;

		strv_add(&b.args, "prog");
		strv_add(i == 1   ? &b.args
			 : i == 2 ? &b.env
				  : &b.args,
			 i == 1 || i == 2 ? bad : "x");
		if (i == 3 || i == 4)
			bundle_add_mount(&b, i == 3 ? bad : "/a", i == 4 ? bad : "/a", false,
					 false);
		if (i == 5 || i == 6)
			bundle_add_tmpfs(&b, i == 5 ? bad : "/t", i == 6 ? bad + 1 : NULL);
		bundle_add_tmpfs(&b, "/last", NULL);
		assert_int_equal(bundle_format(&text, &b, 0, &err), i ? E_INVALID : 0);
		assert_true(!i == !strstr(err.text, "not UTF-8"));
		bundle_release(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_volumes),  cmocka_unit_test(test_rlimits),
		cmocka_unit_test(test_numbers),  cmocka_unit_test(test_capabilities),
		cmocka_unit_test(test_bundle),   cmocka_unit_test(test_unlimited),
		cmocka_unit_test(test_not_utf8), cmocka_unit_test(test_groups_and_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
