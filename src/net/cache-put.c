/* SPDX-License-Identifier: Apache-2.0 */
/* Uploading: the NAR first, then its narinfo, so that whatever is named is there (SPEC nix-cache
 * 1.1). */
#include <nacre/closure.h>
#include <nacre/encode.h>

#include "base/fs.h"
#include "base/sinks.h"
#include "net/cache-internal.h"
#include "net/nar-check.h"

enum { PUT_ATTEMPTS = 3 };

struct put {
	struct cache *cache;
	const struct path_info *info;
	struct nar_producer *from;
	const struct cache_put_options *options;
	struct hash file_hash;
	uint64_t file_size; /* bytes */
};

char *cache_nar_name(const struct hash *file_hash, enum codec codec)
{
	static const char *const suffixes[] = {
		[CODEC_XZ] = ".xz",     [CODEC_BZIP2] = ".bz2", [CODEC_ZSTD] = ".zst",
		[CODEC_BROTLI] = ".br", [CODEC_LZ4] = ".lz4",   [CODEC_LZIP] = ".lzip",
	};
	const char *suffix = codec < ARRAY_LEN(suffixes) ? suffixes[codec] : NULL;
	char hash[HASH_TEXT_MAX];

	hash_format_bare(hash, file_hash, HASH_NIX32);
	/* As Nix: gzip has no suffix, or web servers would take it for a Content-Encoding. */
	return xasprintf("nar/%s.nar%s", hash, suffix ? suffix : "");
}

/* Lets the producer write to `out`, with a proof of what it writes. */
static int produce(struct put *p, struct sink *out, struct err *err)
{
	struct nar_check check;
	int r;

	nar_check_init(&check, p->info, out);
	r = p->from->produce(p->from, p->info, &check.sink, err);
	if (r == 0)
		r = sink_finish(&check.sink, err);
	nar_check_release(&check);
	return r;
}

/* The compressed NAR into a file; sets file_hash and file_size. */
static int spool(struct put *p, int fd, struct err *err)
{
	struct sink *encoder = NULL;
	struct hash_sink hash;
	struct fd_sink file;
	int r;

	fd_sink_init(&file, fd, "the compressed NAR");
	hash_sink_init(&hash, HASH_SHA256, &file.sink);
	r = encoder_new(&encoder, p->options->compression, p->options->level, &hash.sink, err);
	if (r == 0)
		r = produce(p, encoder, err);
	if (r == 0)
		r = sink_finish(encoder, err);
	if (r == 0) {
		hash_sink_final(&hash, &p->file_hash);
		p->file_size = hash.bytes;
	}
	encoder_free(encoder);
	hash_sink_release(&hash);
	return r;
}

static int put_nar_to_dir(struct put *p, struct err *err)
{
	cleanup_temp_file struct temp_file t = TEMP_FILE_INIT;
	cleanup_free char *name = NULL;
	cleanup_fd int dirfd = -1;
	int r = make_dirs_at(p->cache->dirfd, "nar", err);

	if (r < 0)
		return r;
	dirfd = safe_openat(p->cache->dirfd, "nar", O_DIRECTORY | O_RDONLY, 0);
	if (dirfd < 0)
		return err_errno(err, "open %s/nar", p->cache->name);
	r = temp_file_open(&t, dirfd, err);
	if (r == 0)
		r = spool(p, t.fd, err);
	if (r < 0)
		return r;
	name = cache_nar_name(&p->file_hash, p->options->compression);
	if (fchmod(t.fd, 0644) < 0)
		return err_errno(err, "change the mode of %s", name);
	return temp_file_commit(&t, dirfd, name + strlen("nar/"), true, true, err);
}

static int put_nar_from_file(struct put *p, int fd, struct err *err)
{
	cleanup_free char *name = cache_nar_name(&p->file_hash, p->options->compression);
	struct http_fd_source body;
	int r = cache_http_has(p->cache, name, err);

	if (r != 0)
		return r < 0 ? r : 0;
	http_fd_source_init(&body, fd, 0, p->file_size, "the compressed NAR");
	return cache_http_put(p->cache, name, "application/x-nix-nar", &body.source, err);
}

/* By way of a file without a name: the address has the hash of what is sent. */
static int put_nar_compressed(struct put *p, struct err *err)
{
	const char *dir = getenv("TMPDIR");
	cleanup_temp_file struct temp_file t = TEMP_FILE_INIT;
	cleanup_fd int dirfd = -1;
	int r;

	if (!dir || !dir[0])
		dir = "/var/tmp";
	dirfd = open(dir, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (dirfd < 0)
		return err_errno(err, "open %s", dir);
	r = temp_file_open(&t, dirfd, err);
	if (r == 0)
		r = spool(p, t.fd, err);
	return r < 0 ? r : put_nar_from_file(p, t.fd, err);
}

/* It may go better another time; and what the cache says of when. */
struct again {
	bool is_on;
	struct http_wait wait;
};

/* One attempt to send the NAR as it is made. */
static int stream_once(struct put *p, const char *url, struct again *ret_again, struct err *err)
{
	cleanup_http_response struct http_response resp = {0};
	CLEANUP(http_upload_free) struct http_upload *up = NULL;
	cleanup_strv struct strv headers = {0};
	struct http_request req = {.method = HTTP_PUT,
				   .url = url,
				   .headers = &headers,
				   .authorization = p->cache->authorization};
	struct err why = ERR_INIT;
	int r;

	*ret_again = (struct again){0};
	strv_add(&headers, "Content-Type: application/x-nix-nar");
	r = http_upload_new(&up, p->cache->http, &req, p->info->nar_size, err);
	if (r < 0)
		return r;
	r = produce(p, http_upload_sink(up), &why);
	if (r < 0 && !http_upload_is_over(up)) {
		*err = why;
		return r;
	}
	r = http_upload_response(up, &resp, err);
	ret_again->is_on =
		r == E_NET || resp.status == 408 || resp.status == 429 || resp.status >= 500;
	if (r >= 0)
		http_wait_note(&ret_again->wait, &resp);
	if (r < 0 || resp.status == 200 || resp.status == 201 || resp.status == 204)
		return r;
	return http_status_err(&resp, "write to the cache", err);
}

/* Uncompressed, FileHash is NarHash: the address is known before. */
static int put_nar_plain(struct put *p, struct err *err)
{
	cleanup_free char *name = NULL, *url = NULL;
	int r;

	p->file_hash = p->info->nar_hash;
	p->file_size = p->info->nar_size;
	name = cache_nar_name(&p->file_hash, CODEC_NONE);
	url = xasprintf("%s%s", p->cache->base, name);
	r = cache_http_has(p->cache, name, err);
	if (r != 0)
		return r < 0 ? r : 0;
	for (int i = 1;; i++) {
		struct err why = ERR_INIT;
		struct again again;

		r = stream_once(p, url, &again, &why);
		if (r == 0)
			return 0;
		if (!again.is_on || i == PUT_ATTEMPTS ||
		    http_pause(p->cache->http, (unsigned)i, &again.wait, &why) < 0) {
			*err = why;
			return why.code;
		}
	}
}

static int put_narinfo(struct put *p, struct err *err)
{
	const struct cache_put_options *o = p->options;
	cleanup_narinfo struct narinfo n = {.file_hash = p->file_hash, .file_size = p->file_size};
	cleanup_free char *name =
		xasprintf("%.*s.narinfo", STORE_HASH_LEN, store_path_base(&p->info->path));
	cleanup_buf struct buf text = BUF_INIT(NARINFO_MAX);
	struct http_slice_source body;
	int r = 0;

	path_info_copy(&n.info, p->info);
	n.url = cache_nar_name(&p->file_hash, o->compression);
	n.compression = xstrdup(codec_name(o->compression));
	for (size_t i = 0; r == 0 && i < o->n_keys; i++)
		r = path_info_sign(&n.info, &o->keys[i], err);
	if (r < 0)
		return r;
	r = narinfo_format(&text, &n);
	if (r < 0)
		return err_set(err, (enum err_code)r, "the narinfo would be larger than %d bytes",
			       NARINFO_MAX);
	if (!p->cache->http)
		return cache_file_put(p->cache, name, buf_slice(&text), err);
	http_slice_source_init(&body, buf_slice(&text));
	return cache_http_put(p->cache, name, "text/x-nix-narinfo", &body.source, err);
}

int cache_put(struct cache *c, const struct path_info *info, struct nar_producer *from,
	      const struct cache_put_options *options, struct err *err)
{
	struct put p = {.cache = c, .info = info, .from = from, .options = options};
	int r;

	if (!slice_equal_str(store_path_dir(&info->path), c->store_dir))
		return err_set(err, E_USAGE, "%s is not in %s, which %s is for", info->path.text,
			       c->store_dir, c->name);
	if (!codec_can_encode(options->compression))
		return err_set(err, E_UNSUPPORTED, "cannot compress with %s",
			       codec_name(options->compression));
	if (!c->http)
		r = put_nar_to_dir(&p, err);
	else if (options->compression == CODEC_NONE)
		r = put_nar_plain(&p, err);
	else
		r = put_nar_compressed(&p, err);
	if (r == 0)
		r = put_narinfo(&p, err);
	return r < 0 ? err_wrap(err, "put %s into %s", store_path_base(&info->path), c->name) : 0;
}

/* A place in the order of uploading. */
struct rank {
	uint32_t height;
	size_t index;
};

static int compare_ranks(const void *a, const void *b)
{
	const struct rank *x = a, *y = b;

	if (x->height != y->height)
		return x->height < y->height ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

/* References before what refers to them; owned. */
static int order_of(const struct path_infos *set, struct rank **ret, struct err *err)
{
	cleanup_free uint32_t *heights = xcalloc(set->len, sizeof(*heights));
	struct rank *order;
	int r = path_infos_check_closed(set, err);

	if (r == 0)
		r = path_infos_heights(set, heights, err);
	if (r < 0)
		return r;
	order = xcalloc(set->len, sizeof(*order));
	for (size_t i = 0; i < set->len; i++)
		order[i] = (struct rank){heights[i], i};
	qsort(order, set->len, sizeof(*order), compare_ranks);
	*ret = order;
	return 0;
}

/* Which paths does the cache have? */
static int find_present(struct cache *c, const struct path_infos *set, struct narinfos *ret,
			struct err *err)
{
	cleanup_strv struct strv bases = {0};

	for (size_t i = 0; i < set->len; i++)
		strv_add(&bases, store_path_base(&set->items[i].path));
	return cache_walk(c, &bases, false, ret, err);
}

int cache_put_closure(struct cache *c, const struct path_infos *set, struct nar_producer *from,
		      const struct cache_put_options *options, struct err *err)
{
	cleanup_narinfos struct narinfos present = {0};
	cleanup_free struct rank *order = NULL;
	int r;

	if (!set->len)
		return 0;
	r = order_of(set, &order, err);
	if (r == 0 && !options->replace)
		r = find_present(c, set, &present, err);
	for (size_t i = 0; r == 0 && i < set->len; i++) {
		const struct path_info *info = &set->items[order[i].index];
		bool there = narinfos_find(&present, store_path_base(&info->path)) != NULL;

		if (!there)
			r = cache_put(c, info, from, options, err);
		if (r == 0 && options->progress)
			options->progress(options->progress_data, info, there);
	}
	return r;
}
