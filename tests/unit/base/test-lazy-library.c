/* SPDX-License-Identifier: Apache-2.0 */
/* LAZY_STUB is the path of the library that lazy-stub.c makes. */
#include "../unit.h"

#include <dlfcn.h>

#include "base/lazy-library.h"
#include "base/mem.h"

#include "lazy-stub.h"

#define WHOLE_FUNCTIONS(F) \
	F(stub_add)        \
	F(stub_name)
#define SHORT_FUNCTIONS(F) \
	F(stub_name)       \
	F(stub_missing)
#define ABSENT_FUNCTIONS(F) F(stub_name)

LAZY_LIBRARY_DECLARE(whole, WHOLE_FUNCTIONS);
LAZY_LIBRARY_DECLARE(lacking, SHORT_FUNCTIONS);
LAZY_LIBRARY_DECLARE(absent, ABSENT_FUNCTIONS);

#define stub_add     whole.stub_add
#define stub_missing lacking.stub_missing

LAZY_LIBRARY_DEFINE(whole, WHOLE_FUNCTIONS, LAZY_STUB, "libstub1", "this test");
LAZY_LIBRARY_DEFINE(lacking, SHORT_FUNCTIONS, LAZY_STUB, "libstub1", "this test");
LAZY_LIBRARY_DEFINE(absent, ABSENT_FUNCTIONS, "libno-such-thing.so.7", "libno-such-thing7",
		    "watching nothing");

/* The linker puts these in the place of the calls in lazy-library.c (-Wl,--wrap). */
void *__real_dlopen(const char *name, int flags);
void *__wrap_dlopen(const char *name, int flags);
int __real_dlclose(void *handle);
int __wrap_dlclose(void *handle);

static _Atomic unsigned opened, closed;

void *__wrap_dlopen(const char *name, int flags)
{
	opened++;
	return __real_dlopen(name, flags);
}

int __wrap_dlclose(void *handle)
{
	closed++;
	return __real_dlclose(handle);
}

/* Holds it no longer than the question. */
static bool is_loaded(const char *name)
{
	void *handle = __real_dlopen(name, RTLD_NOW | RTLD_NOLOAD);

	if (handle)
		__real_dlclose(handle);
	return handle != NULL;
}

static void test_absent(void **state)
{
	struct err err = ERR_INIT;

	assert_int_equal(absent_load(&err), E_UNSUPPORTED);
	assert_int_equal(err.code, E_UNSUPPORTED);
	assert_string_equal(err.text,
			    "watching nothing needs libno-such-thing.so.7, which cannot be loaded: "
			    "libno-such-thing.so.7: cannot open shared object file: No such file "
			    "or directory (on Debian it is in the package libno-such-thing7)");
	assert_null(absent.stub_name);
	/* Nothing remembers that it was not there. */
	assert_int_equal(absent_load(&err), E_UNSUPPORTED);
}

/* A library that lacks one function is not used at all, and not kept. */
static void test_lacking(void **state)
{
	struct err err = ERR_INIT;

	opened = closed = 0;
	assert_int_equal(lacking_load(&err), E_UNSUPPORTED);
	assert_non_null(strstr(err.text, "undefined symbol: stub_missing"));
	assert_null(lacking.stub_name);
	assert_null(stub_missing);
	assert_int_equal(opened, 1);
	assert_int_equal(closed, 1);
	assert_false(is_loaded(LAZY_STUB));
}

enum { THREADS = 16 };

struct start {
	pthread_barrier_t barrier;
	int sums[THREADS];
	_Atomic int next;
};

static void *load_and_call(void *arg)
{
	struct start *s = arg;
	struct err err = ERR_INIT;
	int i = s->next++;

	pthread_barrier_wait(&s->barrier);
	if (whole_load(&err) == 0)
		s->sums[i] = stub_add(i, 1000);
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[THREADS];
	struct start s = {.next = 0};
	struct err err = ERR_INIT;

	opened = closed = 0;
	assert_null(stub_add);
	pthread_barrier_init(&s.barrier, NULL, THREADS);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, load_and_call, &s), 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&s.barrier);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(s.sums[i], 1000 + i);
	assert_int_equal(opened, 1);
	assert_int_equal(closed, 0);
	assert_ok(whole_load(&err), err);
	assert_int_equal(opened, 1);
	assert_string_equal(whole.stub_name(), "stub");
	assert_true(is_loaded(LAZY_STUB));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_absent),
		cmocka_unit_test(test_lacking),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
