/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <string.h>

#include "serve/upstream-flight.h"

enum { SIZE = 1 << 20, READERS = 6 };

struct job {
	struct flight *flight;
	bool wrong; /* ends with a failure after all bytes */
};

static void fetch(void *arg)
{
	struct job *job = arg;
	static const uint8_t block[4096] = {7};
	struct err err = ERR_INIT;
	int r = flight_open(job->flight, SIZE, &err);

	for (size_t done = 0; r == 0 && done < SIZE; done += sizeof(block))
		r = sink_write(flight_sink(job->flight), block, sizeof(block), &err);
	if (r == 0 && job->wrong)
		r = err_set(&err, E_MISMATCH, "wrong");
	flight_end(job->flight, r, &err);
	flight_unref(job->flight);
}

struct reader {
	struct flight *flight;
	uint64_t got;
	int result;
	pthread_t thread;
};

static void *read_all(void *arg)
{
	struct reader *r = arg;
	uint8_t block[5000];
	struct err err = ERR_INIT;
	size_t got = 1;

	while (got && r->result == 0) {
		r->result = flight_read(r->flight, r->got, block, sizeof(block), &got, &err);
		r->got += r->result == 0 ? got : 0;
	}
	flight_unref(r->flight);
	return NULL;
}

static void run(bool wrong, struct reader *readers)
{
	struct flights set;
	struct job job = {.wrong = wrong};
	struct err err = ERR_INIT;
	bool mine;

	flights_init(&set);
	for (size_t i = 0; i < READERS; i++) {
		readers[i] = (struct reader){.flight = flights_join(&set, "x", &mine)};
		assert_int_equal(mine, i == 0);
	}
	job.flight = flight_ref(readers[0].flight);
	for (size_t i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&readers[i].thread, NULL, read_all, &readers[i]),
				 0);
	assert_ok(flights_spawn(&set, fetch, &job, &err), err);
	for (size_t i = 0; i < READERS; i++)
		pthread_join(readers[i].thread, NULL);
	flights_stop(&set);
}

static void test_readers(void **state)
{
	struct reader readers[READERS];

	(void)state;
	run(false, readers);
	for (size_t i = 0; i < READERS; i++) {
		assert_int_equal(readers[i].result, 0);
		assert_int_equal(readers[i].got, SIZE);
	}
}

/* What is wrong is complete for nobody. */
static void test_wrong(void **state)
{
	struct reader readers[READERS];

	(void)state;
	run(true, readers);
	for (size_t i = 0; i < READERS; i++) {
		assert_int_equal(readers[i].result, E_MISMATCH);
		assert_true(readers[i].got < SIZE);
	}
}

static void test_after(void **state)
{
	struct flights set;
	struct err err = ERR_INIT, why = ERR_INIT;
	struct flight *f, *g;
	uint64_t size;
	bool mine;

	(void)state;
	flights_init(&set);
	f = flights_join(&set, "x", &mine);
	assert_true(mine);
	err_set(&why, E_NOTFOUND, "nobody has it");
	flight_end(f, E_NOTFOUND, &why);
	/* Who has it hears what came of it; the next one begins anew. */
	assert_int_equal(flight_wait(f, &err), E_NOTFOUND);
	assert_string_equal(err.text, "nobody has it");
	assert_int_equal(flight_size(f, &size, &err), E_NOTFOUND);
	g = flights_join(&set, "x", &mine);
	assert_true(mine);
	assert_ok(flight_open(g, 0, &err), err);
	flight_end(g, 0, NULL);
	assert_ok(flight_ready(g, 1, &err), err);
	flight_unref(f);
	flight_unref(g);
	flights_stop(&set);
}

static void test_stop(void **state)
{
	struct flights set;
	struct job job = {0};
	struct err err = ERR_INIT;
	bool mine;

	(void)state;
	flights_init(&set);
	atomic_store(&set.stopping, true);
	job.flight = flights_join(&set, "x", &mine);
	assert_int_equal(flights_spawn(&set, fetch, &job, &err), E_CANCELLED);
	flight_ref(job.flight);
	fetch(&job);
	assert_int_equal(flight_wait(job.flight, &err), E_CANCELLED);
	flight_unref(job.flight);
	flights_stop(&set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_readers),
		cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_after),
		cmocka_unit_test(test_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
