/* SPDX-License-Identifier: Apache-2.0 */
#include "node/snapshot-ahead.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "node/image-registry.h"
#include "node/layer-import.h"
#include "node/snapshot-internal.h"

enum {
	AHEAD_LAYERS = 8,
	/* An image that containerd asks no more of is given up. */
	PATIENCE_US = 60 * 1000000,
};

void snapshot_ahead_init(struct snapshot_ahead *a)
{
	*a = (struct snapshot_ahead){0};
	pthread_mutex_init(&a->lock, NULL);
}

static bool is_same(const char *a, const char *b)
{
	return a && b && strcmp(a, b) == 0;
}

/* Under the lock: the place of the labels' layer in the image under way, or its number of layers. */
static size_t find_layer(const struct snapshot_ahead *a, const struct annotations *labels)
{
	const char *text = image_registry_layer(labels);
	struct hash digest;
	size_t i;

	if (!text || digest_parse(&digest, slice_str(text)) < 0)
		return a->manifest.layers.len;
	for (i = 0; i < a->manifest.layers.len; i++)
		if (hash_equal(&a->manifest.layers.items[i].digest, &digest))
			break;
	return i;
}

/* Under the lock. Until the manifest is here, any layer of the image may be one that is brought. */
static bool is_coming(struct snapshot_ahead *a, const struct annotations *labels)
{
	size_t i;

	if (!a->is_running ||
	    !is_same(image_registry_manifest(labels), image_registry_manifest(&a->labels)))
		return false;
	if (!a->manifest.layers.len)
		return true;
	i = find_layer(a, labels);
	if (i == a->manifest.layers.len)
		return false;
	if (i > a->asked) {
		a->asked = i;
		cond_wake_all(&a->moved);
	}
	return i >= a->done;
}

void snapshot_ahead_ask(struct snapshotter *s, const struct annotations *labels)
{
	struct snapshot_ahead *a = &s->ahead;

	pthread_mutex_lock(&a->lock);
	is_coming(a, labels);
	pthread_mutex_unlock(&a->lock);
}

void snapshot_ahead_wait(struct snapshotter *s, const struct annotations *labels)
{
	struct snapshot_ahead *a = &s->ahead;

	pthread_mutex_lock(&a->lock);
	while (is_coming(a, labels))
		cond_wait(&a->moved, &a->lock);
	pthread_mutex_unlock(&a->lock);
}

/* The next layer's place; false: there is none, or nobody wants it. */
static bool next_layer(struct snapshot_ahead *a, size_t *ret)
{
	int64_t until_us = snapshot_now_us() + PATIENCE_US;
	bool is_late = false, is_wanted;

	pthread_mutex_lock(&a->lock);
	while (!a->is_stopping && !is_late && a->done < a->manifest.layers.len &&
	       a->done > a->asked + AHEAD_LAYERS)
		is_late = !cond_wait_until(&a->moved, &a->lock, until_us);
	is_wanted = !a->is_stopping && !is_late && a->done < a->manifest.layers.len;
	*ret = a->done;
	pthread_mutex_unlock(&a->lock);
	return is_wanted;
}

static void bring(struct snapshotter *s, const struct descriptor *layer)
{
	struct layer_record record = {0};
	struct annotations labels = {0};
	struct err err = ERR_INIT;
	char digest[HASH_TEXT_MAX], why[ERR_TEXT_MAX] = "";
	int r;
	/* Not while containerd is waited for: that would hold up the collector. */
	cleanup_fd int in_use = node_store_use(s->o.store, &err);

	if (in_use < 0 || layer_record_from_annotations(&record, &layer->annotations) < 0)
		return;
	digest_format(digest, &layer->digest);
	image_registry_labels(&labels, &s->ahead.labels, digest);
	r = node_store_has_paths(s->o.store, &record)
		    ? 0
		    : snapshot_fetch_paths(s, &record, &labels, why, &err);
	if (r > 0)
		snapshot_metrics_ahead(&s->metrics);
	else if (r < 0 || *why)
		log_debug("layer %s, ahead: %s", digest, r < 0 ? err.text : why);
	annotations_release(&labels);
	layer_record_release(&record);
}

static int read_manifest(struct snapshotter *s, struct err *err)
{
	struct snapshot_ahead *a = &s->ahead;
	struct manifest manifest = {0};
	int r = image_registry_read_manifest(s->o.registries, &a->labels, &manifest, err);

	if (r <= 0)
		return r;
	pthread_mutex_lock(&a->lock);
	a->manifest = manifest;
	a->done = find_layer(a, &a->labels);
	a->asked = a->done;
	if (a->done < manifest.layers.len)
		a->done++;
	cond_wake_all(&a->moved);
	pthread_mutex_unlock(&a->lock);
	return 1;
}

static void *ahead_main(void *arg)
{
	struct snapshotter *s = arg;
	struct snapshot_ahead *a = &s->ahead;
	struct err err = ERR_INIT;
	size_t i;

	if (read_manifest(s, &err) > 0) {
		while (next_layer(a, &i)) {
			bring(s, &a->manifest.layers.items[i]);
			pthread_mutex_lock(&a->lock);
			a->done++;
			cond_wake_all(&a->moved);
			pthread_mutex_unlock(&a->lock);
		}
	}
	if (err.code < 0)
		log_debug("layers ahead: %s", err.text);
	pthread_mutex_lock(&a->lock);
	a->is_running = false;
	cond_wake_all(&a->moved);
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

/* Under the lock; the thread is not at work any more. */
static void clean_up(struct snapshot_ahead *a)
{
	if (a->is_started)
		pthread_join(a->thread, NULL);
	a->is_started = false;
	annotations_release(&a->labels);
	manifest_release(&a->manifest);
	a->labels = (struct annotations){0};
	a->manifest = (struct manifest){0};
}

void snapshot_ahead_begin(struct snapshotter *s, const struct annotations *labels)
{
	struct snapshot_ahead *a = &s->ahead;

	if (!s->o.registries || !image_registry_manifest(labels) || !image_registry_layer(labels))
		return;
	pthread_mutex_lock(&a->lock);
	if (!a->is_running && !a->is_stopping) {
		clean_up(a);
		image_registry_labels(&a->labels, labels, image_registry_layer(labels));
		a->asked = a->done = 0;
		a->is_started = a->is_running =
			pthread_create(&a->thread, NULL, ahead_main, s) == 0;
	}
	pthread_mutex_unlock(&a->lock);
}

void snapshot_ahead_stop(struct snapshot_ahead *a)
{
	pthread_mutex_lock(&a->lock);
	a->is_stopping = true;
	cond_wake_all(&a->moved);
	while (a->is_running)
		cond_wait(&a->moved, &a->lock);
	clean_up(a);
	pthread_mutex_unlock(&a->lock);
	pthread_mutex_destroy(&a->lock);
}
