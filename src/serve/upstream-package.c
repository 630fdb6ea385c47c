/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Package artifacts (SPEC nacre 5): a registry as a binary cache. What a package claims counts if
 * the path infos that refer to it have a signature for that (SPEC nacre 4).
 */
#include <stdio.h>
#include <string.h>

#include <nacre/image.h>

#include "base/mem.h"
#include "base/sinks.h"
#include "net/ca-proof.h"
#include "net/layer-spool.h"
#include "net/referred-infos.h"
#include "net/registry.h"
#include "serve/upstream-internal.h"
#include "serve/upstream-paths.h"

enum { PATH_INFOS_MAX = 16 << 20, REFERRERS_MAX = 16 };

/* One package artifact. */
struct package {
	struct image_source *from; /* owned */
	struct manifest_bytes bytes;
	struct manifest manifest;
	struct path_info info;
};

static void package_release(struct package *p)
{
	path_info_release(&p->info);
	manifest_release(&p->manifest);
	manifest_bytes_release(&p->bytes);
	image_source_free(p->from);
}
#define cleanup_package __attribute__((cleanup(package_release)))

/* The client of a package is its own: it goes with the source. */
static int open_source(const struct upstream_ask *ask, const struct upstream_settings *up,
		       struct image_source **ret, struct err *err)
{
	struct reference ref = {0};
	struct registry *reg = NULL;
	int r = upstream_take_registry(up, &ask->upstreams->flights.stopping, &reg, err);

	if (r < 0)
		return r;
	snprintf(ref.domain, sizeof(ref.domain), "%s", up->where);
	snprintf(ref.repository, sizeof(ref.repository), "%s", up->packages);
	r = registry_image_source(ret, reg, &ref, err);
	if (r < 0)
		registry_free(reg);
	return r;
}

static int read_package(const struct upstream_ask *ask, const struct upstream_settings *up,
			const char *hash_part, struct package *p, struct err *err)
{
	cleanup_buf struct buf config = BUF_INIT(NARINFO_MAX);
	int r = open_source(ask, up, &p->from, err);

	if (r < 0)
		return r;
	r = image_get_manifest(p->from, hash_part, &p->bytes, err);
	upstream_give_registry(up, NULL, r);
	if (r < 0)
		return r;
	r = manifest_parse(&p->manifest, p->bytes.media_type, buf_slice(&p->bytes.bytes), err);
	if (r == 0 && (strcmp(manifest_artifact_type(&p->manifest), MT_NIX_PACKAGE) != 0 ||
		       !p->manifest.has_config || p->manifest.layers.len != 1))
		r = err_set(err, E_INVALID, "the tag %s of %s is no package artifact", hash_part,
			    up->packages);
	if (r == 0)
		r = image_get_blob_bytes(p->from, &p->manifest.config, NARINFO_MAX, &config, err);
	if (r == 0)
		r = package_config_parse(&p->info, buf_slice(&config), err);
	if (r < 0)
		return r;
	if (strncmp(store_path_base(&p->info.path), hash_part, STORE_HASH_LEN) != 0)
		return err_set(err, E_MISMATCH, "the tag %s of %s is the package of %s", hash_part,
			       up->packages, store_path_base(&p->info.path));
	if (ask->view->store_dir &&
	    !slice_equal_str(store_path_dir(&p->info.path), ask->view->store_dir))
		return err_set(err, E_MISMATCH, "%s is not in %s", p->info.path.text,
			       ask->view->store_dir);
	return 0;
}

static bool same_claims(const struct path_info *a, const struct path_info *b)
{
	if (!hash_equal(&a->nar_hash, &b->nar_hash) || a->nar_size != b->nar_size ||
	    a->references.len != b->references.len)
		return false;
	for (size_t i = 0; i < a->references.len; i++)
		if (strcmp(a->references.items[i], b->references.items[i]) != 0)
			return false;
	return true;
}

/* The path infos in one referrer; one that makes no sense adds nothing: anybody may attach one. */
static void read_referrer(struct package *p, const struct descriptor *referrer)
{
	cleanup_path_infos struct path_infos set = {0};
	cleanup_free char *dir = xstrndup(p->info.path.text, p->info.path.dir_len);
	const struct path_info *said;
	struct err ignored = ERR_INIT;
	size_t left = PATH_INFOS_MAX;

	if (referred_infos_get(&set, p->from, referrer, dir, &left, &ignored) < 0)
		return;
	said = path_infos_find(&set, store_path_base(&p->info.path));
	if (said && same_claims(said, &p->info))
		referred_info_add(&p->info, said);
}

int upstream_package_narinfo(const struct upstream_ask *ask, const struct upstream_settings *up,
			     const char *hash_part, struct narinfo *ret, struct err *err)
{
	cleanup_package struct package p = {0};
	cleanup_descriptors struct descriptors list = {0};
	struct err ignored = ERR_INIT;
	char hash[HASH_TEXT_MAX];
	int r = read_package(ask, up, hash_part, &p, err);

	if (r < 0)
		return r;
	image_get_referrers(p.from, &p.bytes.digest, MT_NIX_PATH_INFOS, &list, &ignored);
	for (size_t i = 0; i < list.len && i < REFERRERS_MAX; i++)
		read_referrer(&p, &list.items[i]);
	strv_sort_unique(&p.info.signatures);
	if (!up->trust_all && !path_info_verify(&p.info, up->trusted, up->n_trusted) &&
	    path_info_ca_matches(&p.info) <= 0)
		return err_set(err, E_DENIED, "%s is not signed by a trusted key",
			       store_path_base(&p.info.path));
	hash_format_bare(hash, &p.info.nar_hash, HASH_NIX32);
	*ret = (struct narinfo){.info = p.info,
				.url = xasprintf("nar/%s.nar", hash),
				.compression = xstrdup("none")};
	p.info = (struct path_info){0};
	return 0;
}

/* The layer, taken apart: its NAR to `out`. */
static int write_nar(const struct package *p, const struct path_info *info, struct sink *out,
		     struct err *err)
{
	const struct descriptor *layer = &p->manifest.layers.items[0];
	const struct spooled_path *path;
	struct layer_spool spool;
	int r = layer_spool_init(&spool, err);

	if (r < 0)
		return r;
	if (media_type_is_layer(layer->media_type))
		r = layer_spool_add(&spool, p->from, layer, err);
	else
		r = layer_spool_add_nar(&spool, p->from, layer, info, err);
	path = r < 0 ? NULL : layer_spool_find(&spool, store_path_base(&info->path));
	if (r >= 0 && (!path || !hash_equal(&path->info.nar_hash, &info->nar_hash) ||
		       path->info.nar_size != info->nar_size))
		r = err_set(err, E_MISMATCH, "the layer of its package is not %s", info->path.text);
	if (r >= 0)
		r = layer_spool_read(&spool, path, out, err);
	layer_spool_release(&spool);
	return r < 0 ? r : 0;
}

/* As ca_proof_open(), but what the operator wants to be believed needs neither. */
static int open_proof(const struct upstream_settings *up, const struct path_info *info,
		      struct ca_verifier **ret, struct err *err)
{
	struct err why = ERR_INIT;
	int r = ca_proof_open(info, up->trusted, up->n_trusted, ret, &why);

	if (r == E_DENIED && up->trust_all)
		return 0;
	if (r < 0)
		*err = why;
	return r;
}

int upstream_package_nar(const struct upstream_ask *ask, const struct upstream_settings *up,
			 const struct path_info *info, struct sink *out, struct err *err)
{
	cleanup_package struct package p = {0};
	cleanup_free char *hash_part = xstrndup(store_path_base(&info->path), STORE_HASH_LEN);
	struct ca_verifier *ca = NULL;
	struct tee_sink tee;
	int r = read_package(ask, up, hash_part, &p, err);

	if (r == 0 && !same_claims(&p.info, info))
		r = err_set(err, E_MISMATCH, "the package %s is another one by now", hash_part);
	if (r == 0)
		r = open_proof(up, info, &ca, err);
	if (r < 0)
		return r;
	if (ca)
		tee_sink_init(&tee, ca_verifier_sink(ca), out);
	r = write_nar(&p, info, ca ? &tee.sink : out, err);
	if (r == 0)
		r = ca_proof_check(ca, info, err);
	ca_verifier_free(ca);
	return r;
}
