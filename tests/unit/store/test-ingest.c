/* SPDX-License-Identifier: Apache-2.0 */
/* Images that are pushed become store paths that can be substituted. */
#include <zstd.h>

#include "image-fixture.h"

static void check_layers(struct world *w, const struct pushed *p, const char *repository)
{
	for (size_t i = 0; i < p->m.layers.len; i++) {
		cleanup_buf struct buf blob = {0};
		struct hash h;

		get_blob(&w->f, repository, &p->m.layers.items[i].digest, &blob);
		hash_bytes(&h, HASH_SHA256, blob.data, blob.len);
		assert_true(hash_equal(&h, &p->m.layers.items[i].digest));
	}
}

static void test_ways(void **state)
{
	static const enum image_compression compressions[] = {IMAGE_ZSTD, IMAGE_NONE, IMAGE_GZIP};
	static const int flags[] = {0, ANNOTATED, ANNOTATED | REFERENCES};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(compressions); i++) {
		for (size_t j = 0; j < ARRAY_LEN(flags); j++) {
			struct world w = {0};
			struct pushed p;
			struct store_statistics stats;

			world_make(&w);
			push_world(&w, &p, "r", compressions[i], flags[j]);
			assert_string_equal(p.result.refusal, "");
			assert_int_equal(p.result.paths_bound, 3);
			assert_int_equal(p.result.paths_refused, 0);
			for (size_t k = 0; k < 3; k++)
				check_path(&w, k);
			check_layers(&w, &p, "r");
			for (int k = 0; k < 3; k++)
				assert_ok(store_maintain(w.f.store, &w.f.err), w.f.err);
			check_layers(&w, &p, "r");
			assert_ok(store_statistics(w.f.store, &stats, &w.f.err), w.f.err);
			assert_int_equal(stats.splices, compressions[i] == IMAGE_GZIP ? 0 : 2);
			/* What is spliced is not kept a second time; what is not needs no glue. */
			if (compressions[i] == IMAGE_GZIP)
				assert_int_equal(stats.glue_bytes, 0);
			else
				assert_true(stats.opaque_bytes < 2000);
			/* Again: nothing new. */
			assert_ok(pushed_put(&w, &p, "r", "again"), w.f.err);
			assert_int_equal(p.result.paths_bound, 3);
			fixture_reopen(&w.f);
			for (size_t k = 0; k < 3; k++)
				check_path(&w, k);
			pushed_release(&p);
			world_release(&w);
		}
	}
}

/* One large frame, as other encoders make it: kept as it came. */
static void test_foreign_zstd(void **state)
{
	static const size_t all[] = {0, 1, 2};
	struct world w = {0};
	struct pushed p;
	cleanup_buf struct buf tar = {0}, zstd = {0};
	struct store_statistics stats;
	struct hash diff;

	(void)state;
	world_make(&w);
	layer_of(&w, IMAGE_NONE, all, 3, &tar, &diff);
	encode(&zstd, CODEC_ZSTD, buf_slice(&tar));
	pushed_init(&w, &p, "r");
	pushed_layer(&w, &p, "r", MT_DOCKER_LAYER_ZSTD, buf_slice(&zstd));
	assert_ok(pushed_put(&w, &p, "r", "latest"), w.f.err);
	assert_int_equal(p.result.paths_bound, 3);
	for (size_t k = 0; k < 3; k++)
		check_path(&w, k);
	check_layers(&w, &p, "r");
	assert_ok(store_statistics(w.f.store, &stats, &w.f.err), w.f.err);
	assert_int_equal(stats.splices, 0);
	assert_true(stats.opaque_bytes >= zstd.len);
	pushed_release(&p);
	world_release(&w);
}

/* ---- Frames that are nearly ours ---- */

enum alteration {
	AS_IT_IS,
	OTHER_LEVEL,
	CHECKSUM,
	NO_SIZE,
	SPLIT,  /* one frame becomes two */
	MERGED, /* this one and the next become one */
	EMPTY_BEFORE,
	SKIPPABLE_BEFORE,
};

static void compress_as(struct buf *ret, enum alteration how, struct slice raw)
{
	size_t max = ZSTD_compressBound(raw.len), n;
	cleanup_free uint8_t *stored = xmalloc(max);
	ZSTD_CCtx *ctx = ZSTD_createCCtx();

	ZSTD_CCtx_setParameter(ctx, ZSTD_c_compressionLevel, how == OTHER_LEVEL ? 19 : 3);
	ZSTD_CCtx_setParameter(ctx, ZSTD_c_contentSizeFlag, how != NO_SIZE);
	ZSTD_CCtx_setParameter(ctx, ZSTD_c_checksumFlag, how == CHECKSUM);
	n = ZSTD_compress2(ctx, stored, max, raw.data, raw.len);
	ZSTD_freeCCtx(ctx);
	assert_false(ZSTD_isError(n));
	assert_int_equal(buf_add(ret, stored, n), 0);
}

static void alter(struct buf *ret, enum alteration how, struct slice raw)
{
	static const uint8_t skippable[] = {0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4};

	if (how == SPLIT) {
		compress_as(ret, how, slice_make(raw.data, raw.len / 2));
		slice_advance(&raw, raw.len / 2);
	}
	if (how == EMPTY_BEFORE)
		compress_as(ret, how, slice_make(raw.data, 0));
	if (how == SKIPPABLE_BEFORE)
		assert_int_equal(buf_add(ret, skippable, sizeof(skippable)), 0);
	compress_as(ret, how, raw);
}

/* The layer with the frame of this number altered; -1: the last one. 0: there is no such. */
static int layer_alter(struct buf *ret, enum alteration how, int number, struct slice layer)
{
	struct slice bytes[64];
	int n = 0;

	for (; layer.len; n++) {
		struct frame frame;

		assert_int_equal(frame_measure(layer, &frame), 0);
		bytes[n] = slice_make(layer.data, frame.stored_size);
		slice_advance(&layer, frame.stored_size);
	}
	number = number < 0 ? n - 1 : number;
	if (how == MERGED && number + 1 >= n)
		return 0;
	for (int i = 0; i < n; i++) {
		cleanup_buf struct buf raw = {0};

		if (i != number) {
			assert_int_equal(buf_add(ret, bytes[i].data, bytes[i].len), 0);
			continue;
		}
		decode(&raw, CODEC_ZSTD, bytes[i]);
		if (how == MERGED)
			decode(&raw, CODEC_ZSTD, bytes[++i]);
		alter(ret, how, buf_slice(&raw));
	}
	return 1;
}

static void push_altered(enum alteration how, int number, char *file_hash)
{
	static const size_t all[] = {0, 1, 2};
	cleanup_buf struct buf ours = {0}, blob = BUF_INIT(64 << 20);
	cleanup_narinfo struct narinfo n = {0};
	struct store_statistics stats;
	struct world w = {0};
	struct pushed p;
	struct hash diff;

	world_make(&w);
	layer_of(&w, IMAGE_ZSTD, all, 3, &ours, &diff);
	if (layer_alter(&blob, how, number, buf_slice(&ours))) {
		assert_int_equal(slice_equal(buf_slice(&ours), buf_slice(&blob)), how == AS_IT_IS);
		pushed_init(&w, &p, "r");
		pushed_layer(&w, &p, "r", MT_OCI_LAYER_ZSTD, buf_slice(&blob));
		assert_ok(pushed_put(&w, &p, "r", "latest"), w.f.err);
		assert_int_equal(p.result.paths_bound, 3);
		for (size_t k = 0; k < 3; k++)
			check_path(&w, k);
		check_layers(&w, &p, "r");
		assert_ok(store_statistics(w.f.store, &stats, &w.f.err), w.f.err);
		assert_int_equal(stats.splices, how == AS_IT_IS);
		/* Whatever came, the NAR is framed as we frame. */
		assert_ok(get_info(&w.f, "lib", &n), w.f.err);
		if (how == AS_IT_IS)
			snprintf(file_hash, 256, "%s", n.url);
		assert_string_equal(n.url, file_hash);
		pushed_release(&p);
	}
	world_release(&w);
}

static void test_altered_frames(void **state)
{
	/* The preamble, the first glue of the first path, the trailer; bulk where it is seen. */
	static const int numbers[] = {0, 1, -1, 2};
	char file_hash[256] = "";

	(void)state;
	push_altered(AS_IT_IS, 0, file_hash);
	for (int how = OTHER_LEVEL; how <= SKIPPABLE_BEFORE; how++)
		for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
			if (how != OTHER_LEVEL || numbers[i] == 1)
				push_altered((enum alteration)how, numbers[i], file_hash);
}

/* Uncompressed: ranges decode only what they touch, and frames serve as Content-Encoding. */
static void test_decoded_ranges(void **state)
{
	static const size_t all[] = {0, 1, 2};
	struct world w = {0};
	struct pushed p;
	cleanup_buf struct buf tar = {0};
	struct content *c, *encoded;
	struct hash diff;
	uint64_t at, len;

	(void)state;
	world_make(&w);
	layer_of(&w, IMAGE_NONE, all, 3, &tar, &diff);
	pushed_init(&w, &p, "r");
	pushed_layer(&w, &p, "r", MT_OCI_LAYER, buf_slice(&tar));
	assert_ok(pushed_put(&w, &p, "r", "latest"), w.f.err);
	assert_ok(store_blob_open(w.f.root, "r", &diff, &c, &w.f.err), w.f.err);
	assert_int_equal(content_size(c), tar.len);
	assert_int_equal(content_file(c, 0, tar.len, &at, &len), -1);
	for (uint64_t offset = 0; offset < tar.len; offset += 99991) {
		uint8_t part[3000];
		size_t got;

		assert_ok(content_read(c, offset, part, sizeof(part), &got, &w.f.err), w.f.err);
		assert_int_equal(got,
				 tar.len - offset < sizeof(part) ? tar.len - offset : sizeof(part));
		assert_memory_equal(part, tar.data + offset, got);
	}
	for (int i = 0; i < 2; i++) {
		enum codec codec = i ? CODEC_GZIP : CODEC_ZSTD;
		cleanup_buf struct buf bytes = {0}, back = {0};
		uint8_t byte;
		size_t got;

		assert_ok(content_encoded(c, codec, &encoded, &w.f.err), w.f.err);
		content_bytes(encoded, &bytes);
		decode(&back, codec, buf_slice(&bytes));
		assert_true(slice_equal(buf_slice(&back), buf_slice(&tar)));
		if (i == 0)
			assert_int_equal(content_size(encoded), bytes.len);
		else
			assert_fails(content_read(encoded, 0, &byte, 1, &got, &w.f.err), E_USAGE,
				     w.f.err, NULL);
		content_free(encoded);
	}
	assert_fails(content_encoded(c, CODEC_XZ, &encoded, &w.f.err), E_UNSUPPORTED, w.f.err,
		     NULL);
	content_free(c);
	pushed_release(&p);
	world_release(&w);
}

/* Ranges that begin and end anywhere, of a frame to all of it. */
static void check_ranges(struct world *w, struct content *c, struct slice want)
{
	static const size_t sizes[] = {1, 700, 30011, 131072, 4 << 20};
	cleanup_free uint8_t *part = xmalloc(4 << 20);

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
		for (size_t offset = 0; offset < want.len; offset += sizes[i] + 9973) {
			size_t left = want.len - offset, got;

			assert_ok(content_read(c, offset, part, sizes[i], &got, &w->f.err),
				  w->f.err);
			assert_int_equal(got, left < sizes[i] ? left : sizes[i]);
			assert_memory_equal(part, want.data + offset, got);
		}
}

/* A splice is sent piece by piece: what content_file() says is what content_read() reads. */
static void test_splice_pieces(void **state)
{
	static const size_t all[] = {0, 1, 2};
	struct world w = {0};
	struct pushed p;
	cleanup_buf struct buf layer = {0};
	struct content *c;
	struct hash diff, digest;
	uint64_t offset = 0;
	size_t pieces = 0;

	(void)state;
	world_make(&w);
	layer_of(&w, IMAGE_ZSTD, all, 3, &layer, &diff);
	pushed_init(&w, &p, "r");
	digest = pushed_layer(&w, &p, "r", MT_OCI_LAYER_ZSTD, buf_slice(&layer))->digest;
	assert_ok(pushed_put(&w, &p, "r", "latest"), w.f.err);
	assert_ok(store_blob_open(w.f.root, "r", &digest, &c, &w.f.err), w.f.err);
	while (offset < layer.len) {
		uint64_t at, len;
		int fd = content_file(c, offset, layer.len - offset, &at, &len);
		cleanup_free uint8_t *part = NULL;

		if (fd < 0) {
			offset++; /* inline, or small */
			continue;
		}
		part = xmalloc(len);
		assert_int_equal(pread(fd, part, len, (off_t)at), len);
		assert_memory_equal(part, layer.data + offset, len);
		offset += len;
		pieces++;
	}
	assert_true(pieces >= 1);
	check_ranges(&w, c, buf_slice(&layer));
	content_free(c);
	pushed_release(&p);
	world_release(&w);
}

/* Annotations that contradict the content make the layer an ordinary one: all of it. */
static void test_contradictions(void **state)
{
	static const size_t all[] = {0, 1, 2};

	(void)state;
	for (int variant = 0; variant < 6; variant++) {
		struct world w = {0};
		struct pushed p;
		cleanup_buf struct buf layer = {0};
		struct path_infos *set = &w.set;
		struct descriptor *d;
		struct hash diff;

		world_make(&w);
		layer_of(&w, IMAGE_GZIP, all, 3, &layer, &diff);
		pushed_init(&w, &p, "r");
		d = pushed_layer(&w, &p, "r", MT_OCI_LAYER_GZIP, buf_slice(&layer));
		switch (variant) {
		case 0:
			set->items[1].nar_hash.bytes[0] ^= 1;
			break;
		case 1:
			set->items[1].nar_size++;
			break;
		case 2: /* a path of another name */
			set->items[1].path.text[set->items[1].path.dir_len + 34] ^= 1;
			break;
		default:
			break;
		}
		image_annotate_layer(&d->annotations, set, all, variant == 3 ? 2 : 3, true);
		if (variant == 4)
			annotations_set(&d->annotations, ANNOTATION_PATH_PREFIX "1", "nonsense");
		if (variant == 5)
			annotations_set(&d->annotations, ANNOTATION_PATH_PREFIX "7", "too many");
		assert_ok(pushed_put(&w, &p, "r", "latest"), w.f.err);
		assert_int_equal(p.result.paths_bound, 0);
		assert_int_equal(p.result.paths_refused, 3);
		assert_non_null(strstr(p.result.refusal, "contradict"));
		for (size_t k = 0; k < 3; k++)
			check_absent(&w, k);
		check_layers(&w, &p, "r");
		pushed_release(&p);
		world_release(&w);
	}
}

/* Layers that are none of ours, in whatever way, are stored and nothing else. */
static void test_ordinary(void **state)
{
	static const size_t all[] = {0, 1, 2};
	struct world w = {.f.options = STORE_OPTIONS_INIT};
	cleanup_buf struct buf tar = {0}, gz = {0}, bad = {0};
	struct store_statistics stats;
	struct hash diff;

	(void)state;
	w.f.options.decode_free_bytes = 1 << 20;
	w.f.options.decode_ratio_max = 50;
	world_make(&w);
	layer_of(&w, IMAGE_NONE, all, 3, &tar, &diff);
	encode(&gz, CODEC_GZIP, buf_slice(&tar));
	for (int variant = 0; variant < 8; variant++) {
		struct descriptor *d;
		struct pushed p;
		char repository[16];

		buf_reset(&bad);
		bad.max = 64 << 20;
		switch (variant) {
		case 0: /* gzip, cut short */
			buf_add(&bad, gz.data, gz.len - 9);
			break;
		case 1: /* a tar, cut short */
			buf_add(&bad, tar.data, tar.len - 512);
			break;
		case 2: /* padded, as other tars are */
			buf_add(&bad, tar.data, tar.len);
			for (int i = 0; i < 16; i++)
				buf_add(&bad, (uint8_t[512]){0}, 512);
			break;
		case 3: /* an owner */
			buf_add(&bad, tar.data, tar.len);
			bad.data[512 * 2 + 108 + 6] = '1';
			break;
		case 4: /* a mode, in the last file */
			buf_add(&bad, tar.data, tar.len);
			bad.data[tar.len - 1024 - 1024 + 100 + 6] ^= 1;
			break;
		case 5:
			buf_add_str(&bad, "not a tar");
			break;
		case 6:
			break; /* empty */
		case 7: {      /* a bomb */
			cleanup_free char *zeros = xcalloc(1, 16 << 20);

			encode(&bad, CODEC_ZSTD, slice_make(zeros, 16 << 20));
			break;
		}
		}
		snprintf(repository, sizeof(repository), "r%d", variant);
		pushed_init(&w, &p, repository);
		d = pushed_layer(&w, &p, repository, MT_OCI_LAYER, slice_make(bad.data, bad.len));
		image_annotate_layer(&d->annotations, &w.set, all, 3, true);
		assert_ok(pushed_put(&w, &p, repository, "latest"), w.f.err);
		assert_int_equal(p.result.paths_bound, 0);
		check_layers(&w, &p, repository);
		pushed_release(&p);
	}
	for (size_t k = 0; k < 3; k++)
		check_absent(&w, k);
	for (int k = 0; k < 3; k++)
		assert_ok(store_maintain(w.f.store, &w.f.err), w.f.err);
	/* What was read of them before it turned out bad is gone again. */
	assert_ok(store_statistics(w.f.store, &stats, &w.f.err), w.f.err);
	assert_int_equal(stats.nars, 0);
	assert_int_equal(stats.framed_bytes, 0);
	assert_int_equal(stats.glue_bytes, 0);
	world_release(&w);
}

/* A path that is bound to other content is refused, and so is what refers to what is not here; the
 * image is there all the same. */
static void test_conflict(void **state)
{
	struct world w = {0};
	struct pushed p;
	cleanup_buf struct buf other = {0};

	(void)state;
	world_make(&w);
	nar_of(&other, (struct entry[]){{NULL, "another lib"}}, 1);
	put_path(&w.f, "lib", buf_slice(&other), NULL, CODEC_XZ);
	push_world(&w, &p, "r", IMAGE_ZSTD, ANNOTATED | REFERENCES);
	/* `app` refers to the name `lib`, which is here. */
	assert_int_equal(p.result.paths_bound, 2);
	assert_int_equal(p.result.paths_refused, 1);
	assert_non_null(strstr(p.result.refusal, "bound to the NAR"));
	check_layers(&w, &p, "r");
	check_path(&w, 1);
	check_path(&w, 2);
	pushed_release(&p);
	world_release(&w);
}

static void test_missing_reference(void **state)
{
	struct world w = {0};
	struct pushed p;
	cleanup_buf struct buf layer = {0};
	struct descriptor *d;
	struct hash diff;
	size_t app = 0;

	(void)state;
	world_make(&w);
	while (strcmp(store_path_name(&w.set.items[app].path), "app"))
		app++;
	layer_of(&w, IMAGE_ZSTD, &app, 1, &layer, &diff);
	pushed_init(&w, &p, "r");
	d = pushed_layer(&w, &p, "r", MT_OCI_LAYER_ZSTD, buf_slice(&layer));
	image_annotate_layer(&d->annotations, &w.set, &app, 1, true);
	assert_ok(pushed_put(&w, &p, "r", "latest"), w.f.err);
	assert_int_equal(p.result.paths_bound, 0);
	assert_int_equal(p.result.paths_refused, 1);
	assert_non_null(strstr(p.result.refusal, "-lib"));
	check_absent(&w, 1);
	pushed_release(&p);
	world_release(&w);
}

/* Where a narinfo is known, its references count, not those that the image's content shows. */
static void test_known_references(void **state)
{
	struct world w = {0};
	struct pushed p;

	(void)state;
	world_make(&w);
	put_path(&w.f, "lib", buf_slice(&w.p[0].nar), NULL, CODEC_XZ);
	put_path(&w.f, "app", buf_slice(&w.p[1].nar), "lib", CODEC_XZ); /* says nothing of itself */
	push_world(&w, &p, "r", IMAGE_GZIP, 0);
	assert_int_equal(p.result.paths_bound, 3);
	pushed_release(&p);
	/* Nor do those that an image's annotations tell. */
	push_world(&w, &p, "s", IMAGE_ZSTD, ANNOTATED | REFERENCES);
	assert_int_equal(p.result.paths_bound, 3);
	cleanup_narinfo struct narinfo n = {0};

	assert_ok(get_info(&w.f, "app", &n), w.f.err);
	assert_int_equal(n.info.references.len, 1);
	pushed_release(&p);
	world_release(&w);
}

/* ---- Path infos ---- */

static void test_path_infos(void **state)
{
	struct secret_key key;
	struct public_key public;
	struct err err = ERR_INIT;

	(void)state;
	assert_ok(secret_key_generate(&key, "k-1", &err), err);
	secret_key_public(&public, &key);
	for (int before = 0; before < 2; before++) {
		struct world w = {0};
		struct pushed p, again;
		struct manifest_put_result result;

		world_make(&w);
		for (size_t i = 0; i < w.set.len; i++)
			assert_ok(path_info_sign(&w.set.items[i], &key, &err), err);
		w.set.items[0].deriver = xstrdup("00000000000000000000000000000000-x.drv");
		push_world(&w, &p, "r", IMAGE_GZIP, 0);
		if (before) {
			/* They came first, when nothing they speak of was here. */
			world_release(&w);
			w = (struct world){0};
			world_make(&w);
			for (size_t i = 0; i < w.set.len; i++)
				assert_ok(path_info_sign(&w.set.items[i], &key, &err), err);
			push_infos(&w, &p, &w.set, "r", &result);
			assert_int_equal(result.paths_bound, 0);
			push_world(&w, &again, "r", IMAGE_GZIP, 0);
			pushed_release(&again);
		} else {
			push_infos(&w, &p, &w.set, "r", &result);
			assert_int_equal(result.paths_bound, 3);
		}
		for (size_t i = 0; i < 3; i++) {
			cleanup_narinfo struct narinfo n = {0};

			check_path(&w, i);
			assert_ok(get_info(&w.f, w.p[i].name, &n), w.f.err);
			assert_int_equal(path_info_verify(&n.info, &public, 1), 1);
		}
		pushed_release(&p);
		world_release(&w);
	}
}

/* Signatures for other content than what is here are not taken over. */
static void test_foreign_path_infos(void **state)
{
	struct world w = {0};
	struct pushed p;
	struct manifest_put_result result;
	cleanup_narinfo struct narinfo n = {0};
	struct secret_key key;

	(void)state;
	world_make(&w);
	push_world(&w, &p, "r", IMAGE_GZIP, 0);
	assert_ok(secret_key_generate(&key, "k-1", &w.f.err), w.f.err);
	for (size_t i = 0; i < w.set.len; i++) {
		w.set.items[i].nar_hash.bytes[5] ^= 1;
		assert_ok(path_info_sign(&w.set.items[i], &key, &w.f.err), w.f.err);
	}
	push_infos(&w, &p, &w.set, "r", &result);
	assert_int_equal(result.paths_bound, 0);
	assert_ok(get_info(&w.f, "lib", &n), w.f.err);
	assert_int_equal(n.info.signatures.len, 0);
	pushed_release(&p);
	world_release(&w);
}

/* An image whose paths are signed, against a binding that a writer made before. */
static void test_signed_image(void **state)
{
	struct world w = {.f.options = STORE_OPTIONS_INIT};
	struct pushed p;
	struct manifest_put_result result;
	cleanup_buf struct buf other = {0};
	struct secret_key key;
	struct public_key public;
	struct err err = ERR_INIT;

	(void)state;
	assert_ok(secret_key_generate(&key, "k-1", &err), err);
	secret_key_public(&public, &key);
	w.f.options.root.trusted = &public;
	w.f.options.root.n_trusted = 1;
	world_make(&w);
	nar_of(&other, (struct entry[]){{NULL, "another lib"}}, 1);
	put_path(&w.f, "lib", buf_slice(&other), NULL, CODEC_XZ);
	for (size_t i = 0; i < w.set.len; i++)
		assert_ok(path_info_sign(&w.set.items[i], &key, &err), err);
	push_world(&w, &p, "r", IMAGE_ZSTD, 0);
	assert_int_equal(p.result.paths_refused, 1);
	/* A trusted signature says that the image is right. */
	push_infos(&w, &p, &w.set, "r", &result);
	assert_int_equal(result.paths_bound, 3);
	for (size_t i = 0; i < 3; i++)
		check_path(&w, i);
	pushed_release(&p);
	world_release(&w);
}

/* ---- Package artifacts ---- */

static int push_package(struct world *w, size_t i, int variant, struct manifest_put_result *ret)
{
	struct package *p = &w->p[i];
	cleanup_buf struct buf config = BUF_INIT(1 << 20), manifest = BUF_INIT(1 << 20);
	cleanup_buf struct buf layer = {0};
	struct named_bytes config_name, layer_name;
	const char *type = MT_OCI_LAYER_ZSTD;
	struct path_info info = p->info;
	size_t at = 0;
	struct hash h;

	while (strcmp(w->set.items[at].path.text, p->info.path.text))
		at++;
	switch (variant) {
	case 0:
		layer_of(w, IMAGE_ZSTD, &at, 1, &layer, &h);
		break;
	case 1:
		type = MT_NIX_NAR;
		buf_add(&layer, p->nar.data, p->nar.len);
		break;
	case 2:
		type = MT_NIX_NAR_XZ;
		encode(&layer, CODEC_XZ, buf_slice(&p->nar));
		break;
	default: /* of another path */
		type = MT_NIX_NAR;
		buf_add(&layer, w->p[2 - i].nar.data, w->p[2 - i].nar.len);
		break;
	}
	assert_int_equal(package_config(&config, &info), 0);
	assert_ok(put_blob(&w->f, "pkg", buf_slice(&config), &h), w->f.err);
	config_name = (struct named_bytes){h, config.len};
	assert_ok(put_blob(&w->f, "pkg", buf_slice(&layer), &h), w->f.err);
	layer_name = (struct named_bytes){h, layer.len};
	assert_int_equal(package_manifest(&manifest, &info, &config_name, type, &layer_name), 0);
	return put_manifest(&w->f, "pkg", p->name, &manifest, ret);
}

static void test_packages(void **state)
{
	(void)state;
	for (int variant = 0; variant < 4; variant++) {
		struct world w = {0};
		struct manifest_put_result result;

		world_make(&w);
		if (variant == 3) {
			assert_ok(push_package(&w, 0, variant, &result), w.f.err);
			assert_int_equal(result.paths_bound, 0);
			assert_int_equal(result.paths_refused, 1);
			check_absent(&w, 0);
			world_release(&w);
			continue;
		}
		/* What it refers to comes first. */
		assert_ok(push_package(&w, 1, variant, &result), w.f.err);
		assert_int_equal(result.paths_refused, 1);
		assert_ok(push_package(&w, 0, variant, &result), w.f.err);
		assert_string_equal(result.refusal, "");
		assert_int_equal(result.paths_bound, 1);
		assert_ok(push_package(&w, 1, variant, &result), w.f.err);
		assert_int_equal(result.paths_bound, 1);
		check_path(&w, 0);
		check_path(&w, 1);
		world_release(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ways),
		cmocka_unit_test(test_foreign_zstd),
		cmocka_unit_test(test_altered_frames),
		cmocka_unit_test(test_decoded_ranges),
		cmocka_unit_test(test_splice_pieces),
		cmocka_unit_test(test_contradictions),
		cmocka_unit_test(test_ordinary),
		cmocka_unit_test(test_conflict),
		cmocka_unit_test(test_missing_reference),
		cmocka_unit_test(test_known_references),
		cmocka_unit_test(test_path_infos),
		cmocka_unit_test(test_foreign_path_infos),
		cmocka_unit_test(test_signed_image),
		cmocka_unit_test(test_packages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
