/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signatures of store layers. They come from the sources, or travel with the image: then they are in its
 * registry, in what refers to its manifest.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "node/snapshot-internal.h"

void said_of_image_release(struct said_of_image *said)
{
	free(said->image);
	referrer_infos_release(&said->infos);
	*said = (struct said_of_image){0};
}

/* What cannot be had says nothing; then no answer is kept either. Under `fetching`. */
static void ask_registry(struct snapshotter *s, const struct annotations *labels,
			 const char *store_dir, const char *image)
{
	struct err why = ERR_INIT;

	said_of_image_release(&s->said);
	if (image_registry_infos(s->o.registries, labels, store_dir, &s->said.infos, &why) > 0)
		s->said.image = xstrdup(image);
	else if (why.code < 0)
		log_info("what refers to %s was not read: %s", image, why.text);
}

/* Under `fetching`. */
static int check(struct snapshotter *s, const struct annotations *labels,
		 const struct hash *diff_id, const struct layer_record *record, struct err *err)
{
	struct node_sources *sources = s->o.sources;
	const char *manifest = s->o.registries ? image_registry_manifest(labels) : NULL;
	cleanup_free char *image = NULL;
	struct err first = ERR_INIT;

	if (!manifest)
		return node_sources_check(sources, s->o.store, diff_id, record, NULL, err);
	image = xasprintf("%s %s", manifest, record->store_dir);
	if (s->said.image && strcmp(s->said.image, image) == 0 &&
	    node_sources_check(sources, s->o.store, diff_id, record, &s->said.infos, &first) !=
		    E_DENIED) {
		if (first.code < 0)
			*err = first;
		return first.code;
	}
	/* Somebody may have signed it since. */
	ask_registry(s, labels, record->store_dir, image);
	return node_sources_check(sources, s->o.store, diff_id, record, &s->said.infos, err);
}

int snapshot_check_signatures(struct snapshotter *s, const struct annotations *labels,
			      const struct hash *diff_id, const struct layer_record *record,
			      struct err *err)
{
	int r;

	if (!s->o.sources || node_sources_is_settled(s->o.sources, s->o.store, diff_id))
		return 0;
	if (snapshot_turn_take(&s->turns, err) < 0)
		return err->code;
	pthread_mutex_lock(&s->fetching);
	r = check(s, labels, diff_id, record, err);
	pthread_mutex_unlock(&s->fetching);
	snapshot_turn_end(&s->turns);
	return r;
}
