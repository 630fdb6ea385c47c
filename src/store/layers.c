/* SPDX-License-Identifier: Apache-2.0 */
/* Layers put together from stored NARs (SPEC nacre 3). */
#include <string.h>

#include "store/bodies.h"
#include "store/ingest.h"
#include "store/stored-content.h"

struct parts {
	struct splice_path *paths; /* owned */
	struct nar *nars;          /* owned */
	struct body *bodies;       /* owned */
	size_t len;
};

static void parts_release(struct parts *p)
{
	for (size_t i = 0; i < p->len; i++) {
		nar_release(&p->nars[i]);
		body_release(&p->bodies[i]);
	}
	free(p->paths);
	free(p->nars);
	free(p->bodies);
}

static int part_load(struct store *s, const struct layer_path *from, struct nar *ret_nar,
		     struct body *ret_body, struct err *err)
{
	struct store_path path;
	struct conn *c;
	int r;

	if (store_path_parse_any(&path, slice_str(from->path)) < 0)
		return err_set(err, E_INTERNAL, "a store path in the database is malformed");
	r = body_make(s, from->nar, &path, ret_body, err);
	if (r < 0)
		return r;
	c = db_reader(s->db, err);
	if (!c)
		return err->code;
	r = nar_find_id(c, from->nar, ret_nar, err);
	db_reader_done(s->db, c);
	return r == 0 ? err_set(err, E_NOTFOUND, "the NAR of %s is gone", from->path) : r;
}

int layer_splice(struct store *s, const struct layer_paths *paths, struct splice *ret,
		 struct err *err)
{
	__attribute__((cleanup(parts_release))) struct parts parts = {
		xcalloc(paths->len + 1, sizeof(struct splice_path)),
		xcalloc(paths->len + 1, sizeof(struct nar)),
		xcalloc(paths->len + 1, sizeof(struct body)),
		paths->len,
	};
	char dir[STORE_DIR_MAX + 1] = "";
	const char *slash;
	int r = 0;

	for (size_t i = 0; i < paths->len && r >= 0; i++) {
		r = part_load(s, &paths->items[i], &parts.nars[i], &parts.bodies[i], err);
		parts.paths[i] = (struct splice_path){
			.nar_object = parts.nars[i].file_hash,
			.glue_object = parts.bodies[i].glue,
			.nar = &parts.nars[i].frames,
			.body = &parts.bodies[i].frames,
		};
	}
	if (r < 0 || paths->len == 0)
		return r < 0 ? r : err_set(err, E_INTERNAL, "a layer without a path");
	slash = strrchr(paths->items[0].path, '/');
	memcpy(dir, paths->items[0].path, (size_t)(slash - paths->items[0].path));
	r = splice_layer(ret, dir, parts.paths, paths->len);
	return r < 0 ? err_set(err, E_INTERNAL, "the frames of a layer do not fit together") : 0;
}
