/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared libraries that are loaded when they are first needed, not when the program starts: most
 * of its uses need few of them, and mapping and linking all takes longer than the work.
 *
 * A library has a header of ours that stands for its own. It lists the functions that are used,
 * makes a structure of pointers of them, with the types of the library's own header, and maps the
 * names onto it, so that calls read as ever:
 *
 * 	#include <z.h>
 * 	#include "base/lazy-library.h"
 *
 * 	#define LIBZ_FUNCTIONS(F) \
 * 		F(z_open) \
 * 		F(z_close)
 *
 * 	LAZY_LIBRARY_DECLARE(libz, LIBZ_FUNCTIONS);
 *
 * 	#define z_open libz.z_open
 * 	#define z_close libz.z_close
 *
 * and one source file with
 *
 * 	LAZY_LIBRARY_DEFINE(libz, LIBZ_FUNCTIONS, SONAME_Z, "libz1", "what is made of z");
 *
 * A function that is used without being mapped does not link, one that is mapped without being
 * listed does not compile. Before libz_load() has succeeded the pointers are NULL: it is called
 * where the use of the library begins (a client, an archive, a decoder is made), whose failure is
 * the user's message; what can be reached only behind that need not ask again.
 *
 * What is loaded stays loaded. Threads: any; libz_load() may be called at any time, and costs
 * nothing once it has succeeded.
 */
#ifndef NACRE_BASE_LAZY_LIBRARY_H
#define NACRE_BASE_LAZY_LIBRARY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nacre/err.h>

#include "base/sonames.h"

struct lazy_library {
	const char *soname;
	const char *package;      /* of Debian, for the message */
	const char *use;          /* what needs it, for the message: "HTTP" */
	const char *const *names; /* of its functions */
	size_t n;
	void *functions; /* n pointers to functions, set all together */
	void (*ready)(
		void); /* called once they are there, before anybody else calls one; may be NULL */
	pthread_mutex_t lock;
	_Atomic bool loaded;
};

/* 0 once all functions are there. E_UNSUPPORTED: the library, or a function in it, is missing;
 * nothing was set, and the next call tries again. */
int lazy_library_load(struct lazy_library *l, struct err *err);

#define LAZY_LIBRARY_POINTER(function) typeof(function) *function;
#define LAZY_LIBRARY_NAME(function)    #function,

#ifdef __cppcheck__ /* it does not take the name of a macro for an argument */
#define LAZY_LIBRARY_DECLARE(id, FUNCTIONS) int id##_load(struct err *err)
#define LAZY_LIBRARY_DEFINE_READY(id, FUNCTIONS, soname, package, use, ready) \
	int id##_load(struct err *err)
#define LAZY_LIBRARY_DEFINE(id, FUNCTIONS, soname, package, use) int id##_load(struct err *err)
#else
#define LAZY_LIBRARY_DECLARE(id, FUNCTIONS)     \
	struct id {                             \
		FUNCTIONS(LAZY_LIBRARY_POINTER) \
	};                                      \
	extern struct id id;                    \
	int id##_load(struct err *err)

#define LAZY_LIBRARY_DEFINE_READY(id, FUNCTIONS, soname_, package_, use_, ready_)  \
	LAZY_LIBRARY_NOTE(id, soname_, use_);                                      \
	struct id id;                                                              \
	int id##_load(struct err *err)                                             \
	{                                                                          \
		static const char *const names[] = {FUNCTIONS(LAZY_LIBRARY_NAME)}; \
		static struct lazy_library library = {                             \
			.soname = soname_,                                         \
			.package = package_,                                       \
			.use = use_,                                               \
			.names = names,                                            \
			.n = sizeof(names) / sizeof(names[0]),                     \
			.functions = &id,                                          \
			.ready = ready_,                                           \
			.lock = PTHREAD_MUTEX_INITIALIZER,                         \
		};                                                                 \
                                                                                   \
		_Static_assert(sizeof(id) == sizeof(names), "one pointer a name"); \
		return lazy_library_load(&library, err);                           \
	}                                                                          \
	_Static_assert(1, "wants a semicolon")

#define LAZY_LIBRARY_DEFINE(id, FUNCTIONS, soname, package, use) \
	LAZY_LIBRARY_DEFINE_READY(id, FUNCTIONS, soname, package, use, NULL)

#endif

/* What is loaded by hand stands in no DT_NEEDED. The note tells it to those who package the program
 * (dh_dlopenlibdeps and the like read it): the "ELF dlopen metadata" of the UAPI group. */
#define LAZY_LIBRARY_NOTE(id, soname, use)                                        \
	LAZY_LIBRARY_NOTE_TEXT(id,                                                \
			       "[{\"feature\":\"" #id "\",\"description\":\"" use \
			       "\",\"priority\":\"recommended\",\"soname\":[\"" soname "\"]}]")
#define LAZY_LIBRARY_NOTE_TEXT(id, text)                                                 \
	__attribute__((used, aligned(4), section(".note.dlopen"))) static const struct { \
		uint32_t name_size, text_size, type;                                     \
		char name[4];                                                            \
		_Alignas(4) char json[sizeof(text)];                                     \
	} id##_note = {4, sizeof(text), 0x407c0c0a, "FDO", text}

#endif
