/* SPDX-License-Identifier: Apache-2.0 */
#include "base/lazy-library.h"

#include <dlfcn.h>

#include "base/mem.h"

static int fail(const struct lazy_library *l, const char *why, struct err *err)
{
	return err_set(
		err, E_UNSUPPORTED,
		"%s needs %s, which cannot be loaded: %s (on Debian it is in the package %s)",
		l->use, l->soname, why, l->package);
}

static int find_all(const struct lazy_library *l, void *handle, void **ret, struct err *err)
{
	for (size_t i = 0; i < l->n; i++) {
		ret[i] = dlsym(handle, l->names[i]);
		if (!ret[i]) {
			const char *why = dlerror();

			return fail(l, why ? why : l->names[i], err);
		}
	}
	return 0;
}

static int load(struct lazy_library *l, struct err *err)
{
	cleanup_free void **found = xcalloc(l->n, sizeof(*found));
	void *handle = dlopen(l->soname, RTLD_NOW | RTLD_LOCAL);
	int r;

	if (!handle) {
		const char *why = dlerror();

		return fail(l, why ? why : "no reason given", err);
	}
	r = find_all(l, handle, found, err);
	if (r < 0) {
		dlclose(handle);
		return r;
	}
	/* POSIX: what dlsym() gives for a function is a pointer to it. */
	memcpy(l->functions, found, l->n * sizeof(*found));
	if (l->ready)
		l->ready();
	return 0;
}

int lazy_library_load(struct lazy_library *l, struct err *err)
{
	int r = 0;

	if (atomic_load_explicit(&l->loaded, memory_order_acquire))
		return 0;
	pthread_mutex_lock(&l->lock);
	if (!atomic_load_explicit(&l->loaded, memory_order_relaxed)) {
		r = load(l, err);
		atomic_store_explicit(&l->loaded, r == 0, memory_order_release);
	}
	pthread_mutex_unlock(&l->lock);
	return r;
}
