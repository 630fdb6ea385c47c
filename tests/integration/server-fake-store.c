/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store in memory, for tests of the server alone: it believes what it is given, and fails on
 * demand. Repositories and file names that contain one of these words:
 *
 * 	fault-full     writing fails as on a full disk
 * 	fault-io       writing and reading fail, halfway if there is a half
 * 	fault-slow     each call takes a second
 * 	fault-sleep    each call takes five
 * 	splice         content is not in one file
 * 	stream         content has no known size
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include <nacre/json.h>
#include <nacre/reference.h>

#include "base/fs.h"
#include "base/mem.h"
#include "store/store.h"
#include "store/upkeep.h"

/* One thing that is kept. The key says what it is: "blob REPO DIGEST", "tag REPO TAG", … */
struct entry {
	struct entry *next;
	char *key;
	struct buf bytes;
	char *text; /* media type, coding */
};

struct store {
	int unused;
};
struct store_view {
	int unused;
};

static struct store_view root;
static struct entry *entries;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned next_id;

struct content {
	struct buf bytes;
	char *coding;
	int fd;
	bool broken, unknown;
	struct hash digest;
};

struct upload {
	char *repository;
	struct entry *session; /* borrowed; NULL: one request */
	struct buf bytes;
	bool dead;
};

struct store_put {
	char *key, *coding;
	struct buf bytes;
};

static int fault(const char *name, bool write, struct err *err)
{
	if (strstr(name, "fault-slow"))
		sleep(1);
	if (strstr(name, "fault-sleep"))
		sleep(5);
	if (write && strstr(name, "fault-full")) {
		errno = ENOSPC;
		return err_errno(err, "write /var/lib/secret/object");
	}
	if (write && strstr(name, "fault-io")) {
		errno = EIO;
		return err_errno(err, "write /var/lib/secret/object");
	}
	return 0;
}

static struct entry *find(const char *key)
{
	for (struct entry *e = entries; e; e = e->next)
		if (strcmp(e->key, key) == 0)
			return e;
	return NULL;
}

static struct entry *put(const char *key, struct slice bytes, const char *text)
{
	struct entry *e = find(key);

	if (!e) {
		e = xcalloc(1, sizeof(*e));
		e->key = xstrdup(key);
		e->bytes.max = 1 << 30;
		e->next = entries;
		entries = e;
	}
	buf_reset(&e->bytes);
	buf_add(&e->bytes, bytes.data, bytes.len);
	free(e->text);
	e->text = text ? xstrdup(text) : NULL;
	return e;
}

static bool drop(const char *key)
{
	for (struct entry **p = &entries; *p; p = &(*p)->next) {
		struct entry *e = *p;

		if (strcmp(e->key, key) != 0)
			continue;
		*p = e->next;
		buf_release(&e->bytes);
		free(e->text);
		free(e->key);
		free(e);
		return true;
	}
	return false;
}

static int missing(struct err *err, const char *key)
{
	return err_set(err, E_NOTFOUND, "there is no %s", key);
}

static char *blob_key(const char *kind, const char *repository, const struct hash *digest)
{
	char text[DIGEST_TEXT_MAX];

	digest_format(text, digest);
	return xasprintf("%s %s %s", kind, repository, text);
}

int store_open(struct store **ret, const char *dir, const struct store_options *options,
	       struct err *err)
{
	(void)dir, (void)options, (void)err;
	*ret = xcalloc(1, sizeof(**ret));
	return 0;
}

void store_close(struct store *s)
{
	while (entries)
		drop(entries->key);
	free(s);
}

struct store_view *store_root(struct store *s)
{
	(void)s;
	return &root;
}

int store_view_check(struct store *s, const char *name, const struct store_view_options *options,
		     struct err *err)
{
	(void)s, (void)name, (void)options, (void)err;
	return 0;
}

int store_view_open(struct store_view **ret, struct store *s, const char *name,
		    const struct store_view_options *options, struct err *err)
{
	(void)s, (void)name, (void)options, (void)err;
	*ret = &root;
	return 0;
}

int store_narinfo_exists(struct store_view *v, const char *hash_part, struct err *err)
{
	(void)v, (void)hash_part, (void)err;
	return 0;
}

const char *store_view_name(const struct store_view *v)
{
	(void)v;
	return "";
}

bool store_has_quotas(const struct store *s)
{
	(void)s;
	return false;
}

/* Nothing is ever sure to be the same. */
uint64_t store_changes(struct store *s)
{
	static _Atomic uint64_t n;

	(void)s;
	return atomic_fetch_add(&n, 1);
}

int store_probe(struct store *s, struct err *err)
{
	(void)s, (void)err;
	return 0;
}

int store_statistics(struct store *s, struct store_statistics *ret, struct err *err)
{
	(void)s, (void)err;
	*ret = (struct store_statistics){0};
	return 0;
}

int store_maintain(struct store *s, struct err *err)
{
	(void)s, (void)err;
	return 0;
}

/* ---- content */

static struct content *content_new(const struct entry *e)
{
	struct content *c = xcalloc(1, sizeof(*c));

	c->bytes.max = 1 << 30;
	buf_add(&c->bytes, e->bytes.data, e->bytes.len);
	c->coding = e->text ? xstrdup(e->text) : NULL;
	c->broken = strstr(e->key, "fault-io");
	c->unknown = strstr(e->key, "stream");
	c->fd = -1;
	hash_bytes(&c->digest, HASH_SHA256, c->bytes.data, c->bytes.len);
	if (!strstr(e->key, "splice") && !c->broken && !c->unknown && c->bytes.len) {
		c->fd = memfd_create("fake", MFD_CLOEXEC);
		if (write_full(c->fd, c->bytes.data, c->bytes.len) < 0)
			abort();
	}
	return c;
}

static int open_entry(const char *key, struct content **ret, struct err *err)
{
	struct entry *e;
	int r = fault(key, false, err);

	if (r < 0)
		return r;
	pthread_mutex_lock(&lock);
	e = find(key);
	if (e)
		*ret = content_new(e);
	pthread_mutex_unlock(&lock);
	return e ? 0 : missing(err, key);
}

static int stat_entry(const char *key, uint64_t *ret_size, struct err *err)
{
	struct entry *e;

	pthread_mutex_lock(&lock);
	e = find(key);
	if (e)
		*ret_size = strstr(key, "stream") ? CONTENT_SIZE_UNKNOWN : e->bytes.len;
	pthread_mutex_unlock(&lock);
	return e ? 0 : missing(err, key);
}

uint64_t content_size(const struct content *c)
{
	return c->unknown ? CONTENT_SIZE_UNKNOWN : c->bytes.len;
}

const struct hash *content_digest(const struct content *c)
{
	return &c->digest;
}

const char *content_coding(const struct content *c)
{
	return c->coding;
}

int content_read(struct content *c, uint64_t offset, void *buf, size_t len, size_t *ret_got,
		 struct err *err)
{
	size_t left = offset < c->bytes.len ? c->bytes.len - (size_t)offset : 0;

	if (c->broken && offset + len > c->bytes.len / 2) {
		errno = EIO;
		return err_errno(err, "read /var/lib/secret/object");
	}
	*ret_got = left < len ? left : len;
	if (*ret_got)
		memcpy(buf, c->bytes.data + offset, *ret_got);
	return 0;
}

int content_file(struct content *c, uint64_t offset, uint64_t len, uint64_t *ret_file_offset,
		 uint64_t *ret_len)
{
	*ret_file_offset = offset;
	*ret_len = len;
	return c->fd;
}

int content_copy(struct content *c, struct sink *out, struct err *err)
{
	return sink_write(out, c->bytes.data, c->bytes.len, err);
}

bool content_has_encoded(const struct content *c)
{
	return c->fd < 0;
}

/* Codes whatever it is, as one frame. */
int content_encoded(struct content *c, enum codec codec, struct content **ret, struct err *err)
{
	struct buf_sink sink;
	struct sink *encoder;
	struct content *e;

	if (codec != CODEC_ZSTD || c->fd >= 0)
		return err_set(err, E_UNSUPPORTED, "no such form");
	e = xcalloc(1, sizeof(*e));
	e->fd = -1;
	buf_sink_init(&sink, &e->bytes);
	if (encoder_new(&encoder, codec, 0, &sink.sink, err) < 0)
		abort();
	if (content_copy(c, encoder, err) < 0 || sink_finish(encoder, err) < 0)
		abort();
	encoder_free(encoder);
	e->digest = c->digest;
	*ret = e;
	return 0;
}

void content_free(struct content *c)
{
	close_fd(&c->fd);
	buf_release(&c->bytes);
	free(c->coding);
	free(c);
}

/* ---- blobs */

int store_repository_exists(struct store_view *v, const char *repository, struct err *err)
{
	size_t n = strlen(repository);
	int found = 0;

	(void)v, (void)err;
	pthread_mutex_lock(&lock);
	for (struct entry *e = entries; e; e = e->next) {
		const char *name = strchr(e->key, ' ');

		if (strncmp(e->key, "blob ", 5) != 0 && strncmp(e->key, "manifest ", 9) != 0)
			continue;
		found |= strncmp(name + 1, repository, n) == 0 && name[1 + n] == ' ';
	}
	pthread_mutex_unlock(&lock);
	return found;
}

int store_blob_stat(struct store_view *v, const char *repository, const struct hash *digest,
		    uint64_t *ret_size, struct err *err)
{
	cleanup_free char *key = blob_key("blob", repository, digest);

	(void)v;
	return stat_entry(key, ret_size, err);
}

int store_blob_open(struct store_view *v, const char *repository, const struct hash *digest,
		    struct content **ret, struct err *err)
{
	cleanup_free char *key = blob_key("blob", repository, digest);

	(void)v;
	return open_entry(key, ret, err);
}

static int delete_entry(const char *key, struct err *err)
{
	bool found;

	pthread_mutex_lock(&lock);
	found = drop(key);
	pthread_mutex_unlock(&lock);
	return found ? 0 : missing(err, key);
}

int store_blob_delete(struct store_view *v, const char *repository, const struct hash *digest,
		      struct err *err)
{
	cleanup_free char *key = blob_key("blob", repository, digest);

	(void)v;
	return delete_entry(key, err);
}

int store_blob_mount(struct store_view *v, const char *repository, const struct hash *digest,
		     const char *from, struct err *err)
{
	cleanup_free char *to = blob_key("blob", repository, digest);
	char text[DIGEST_TEXT_MAX];
	bool found = false;

	(void)v;
	digest_format(text, digest);
	pthread_mutex_lock(&lock);
	for (struct entry *e = entries; e && !found; e = e->next) {
		cleanup_free char *key =
			from ? xasprintf("blob %s %s", from, text) : xasprintf(" %s", text);
		size_t n = strlen(e->key), k = strlen(key);

		if (strncmp(e->key, "blob ", 5) != 0 || n < k || strcmp(e->key + n - k, key) != 0)
			continue;
		put(to, buf_slice(&e->bytes), NULL);
		found = true;
	}
	pthread_mutex_unlock(&lock);
	return found ? 0 : missing(err, to);
}

/* ---- uploads */

int store_upload_begin(struct store_view *v, const char *repository, enum hash_algo algo,
		       char *ret_id, struct err *err)
{
	cleanup_free char *key = NULL;
	int r = fault(repository, false, err);

	(void)v, (void)algo;
	if (r < 0)
		return r;
	pthread_mutex_lock(&lock);
	snprintf(ret_id, UPLOAD_ID_LEN + 1, "%032x", ++next_id);
	key = xasprintf("upload %s %s", repository, ret_id);
	put(key, slice_make("", 0), NULL);
	pthread_mutex_unlock(&lock);
	return 0;
}

int store_upload_status(struct store_view *v, const char *repository, const char *id,
			uint64_t *ret_offset, struct err *err)
{
	cleanup_free char *key = xasprintf("upload %s %s", repository, id);

	(void)v;
	return stat_entry(key, ret_offset, err);
}

int store_upload_cancel(struct store_view *v, const char *repository, const char *id,
			struct err *err)
{
	cleanup_free char *key = xasprintf("upload %s %s", repository, id);

	(void)v;
	return delete_entry(key, err);
}

int store_upload_once(struct store_view *v, const char *repository, enum hash_algo algo,
		      struct upload **ret, struct err *err)
{
	(void)v, (void)algo, (void)err;
	*ret = xcalloc(1, sizeof(**ret));
	(*ret)->repository = xstrdup(repository);
	(*ret)->bytes.max = 1 << 30;
	return 0;
}

int store_upload_open(struct store_view *v, const char *repository, const char *id, int64_t offset,
		      struct upload **ret, struct err *err)
{
	cleanup_free char *key = xasprintf("upload %s %s", repository, id);
	struct entry *e;
	int r = 0;

	pthread_mutex_lock(&lock);
	e = find(key);
	if (!e)
		r = missing(err, key);
	else if (e->text)
		r = err_set(err, E_CONFLICT, "another request holds this upload");
	else if (offset != UPLOAD_ANY_OFFSET && (uint64_t)offset != e->bytes.len)
		r = err_set(err, E_MISMATCH, "the upload stands at %zu", e->bytes.len);
	else
		e->text = xstrdup("held");
	pthread_mutex_unlock(&lock);
	if (r < 0)
		return r;
	store_upload_once(v, repository, HASH_NONE, ret, err);
	(*ret)->session = e;
	return 0;
}

static struct buf *upload_bytes(const struct upload *u)
{
	return u->session ? &u->session->bytes : (struct buf *)(uintptr_t)&u->bytes;
}

uint64_t upload_offset(const struct upload *u)
{
	return upload_bytes(u)->len;
}

int upload_write(struct upload *u, const void *data, size_t len, struct err *err)
{
	int r = fault(u->repository, true, err);

	if (r == 0)
		buf_add(upload_bytes(u), data, len);
	else
		u->dead = true;
	return r;
}

int upload_finish(struct upload *u, const struct hash *digest, struct err *err)
{
	cleanup_free char *key = blob_key("blob", u->repository, digest);
	struct buf *bytes = upload_bytes(u);
	struct hash is;
	int r = 0;

	hash_bytes(&is, digest->algo, bytes->data, bytes->len);
	u->dead = true;
	pthread_mutex_lock(&lock);
	if (hash_equal(&is, digest))
		put(key, buf_slice(bytes), NULL);
	else
		r = err_set(err, E_MISMATCH, "the upload has another digest");
	pthread_mutex_unlock(&lock);
	return r;
}

void upload_close(struct upload *u)
{
	if (!u)
		return;
	pthread_mutex_lock(&lock);
	if (u->session) {
		free(u->session->text);
		u->session->text = NULL;
		if (u->dead)
			drop(u->session->key);
	}
	pthread_mutex_unlock(&lock);
	buf_release(&u->bytes);
	free(u->repository);
	free(u);
}

/* ---- manifests */

/* With the lock. */
static struct entry *find_manifest(const char *repository, const char *reference)
{
	cleanup_free char *key = xasprintf("tag %s %s", repository, reference);
	cleanup_free char *by_digest = NULL;
	struct entry *tag = strchr(reference, ':') ? NULL : find(key);

	by_digest = xasprintf("manifest %s %s", repository, tag ? tag->text : reference);
	return find(by_digest);
}

static void entry_digest(const struct entry *e, struct hash *ret)
{
	if (digest_parse(ret, slice_str(strrchr(e->key, ' ') + 1)) < 0)
		abort();
}

static int check_condition(const char *repository, const char *reference,
			   const struct manifest_condition *condition, struct err *err)
{
	struct entry *e = condition ? find_manifest(repository, reference) : NULL;
	struct hash is;

	if (e)
		entry_digest(e, &is);
	return !condition || condition->holds(condition, e ? &is : NULL)
		       ? 0
		       : err_set(err, E_EXISTS, "another one stands there");
}

int store_manifest_stat(struct store_view *v, const char *repository, const char *reference,
			struct manifest_stat *ret, struct err *err)
{
	struct manifest_bytes m = {0};
	int r = store_manifest_get(v, repository, reference, &m, err);

	if (r < 0)
		return r;
	ret->digest = m.digest;
	ret->size = m.bytes.len;
	snprintf(ret->media_type, sizeof(ret->media_type), "%s", m.media_type);
	manifest_bytes_release(&m);
	return 0;
}

int store_manifest_get(struct store_view *v, const char *repository, const char *reference,
		       struct manifest_bytes *ret, struct err *err)
{
	struct entry *e;
	int r = fault(repository, false, err);

	(void)v;
	if (r < 0)
		return r;
	pthread_mutex_lock(&lock);
	e = find_manifest(repository, reference);
	if (e) {
		ret->bytes.max = 1 << 30;
		buf_add(&ret->bytes, e->bytes.data, e->bytes.len);
		ret->media_type = xstrdup(e->text);
		entry_digest(e, &ret->digest);
	}
	pthread_mutex_unlock(&lock);
	return e ? 0 : err_set(err, E_NOTFOUND, "there is no manifest %s", reference);
}

static void add_tag(const char *repository, const char *tag, const struct hash *digest)
{
	cleanup_free char *key = xasprintf("tag %s %s", repository, tag);
	char text[DIGEST_TEXT_MAX];

	digest_format(text, digest);
	put(key, slice_make("", 0), text);
}

int store_manifest_put(struct store_view *v, const char *repository, const struct manifest_put *p,
		       struct manifest_put_result *ret, struct err *err)
{
	cleanup_json json_t *doc = NULL;
	cleanup_free char *key = NULL;
	const char *subject = NULL;
	struct hash digest = {0};
	int r = fault(repository, true, err);

	(void)v;
	if (r == 0)
		r = json_parse(&doc, p->bytes, 16 << 20, err);
	if (r < 0)
		return r;
	if (strchr(p->reference, ':'))
		digest_parse(&digest, slice_str(p->reference));
	hash_bytes(&ret->digest, digest.algo ? digest.algo : HASH_SHA256, p->bytes.data,
		   p->bytes.len);
	if (digest.algo && !hash_equal(&digest, &ret->digest))
		return err_set(err, E_MISMATCH, "the manifest has another digest");
	if (json_unpack(doc, "{s:{s:s}}", "subject", "digest", &subject) == 0)
		ret->has_subject = digest_parse(&ret->subject, slice_str(subject)) == 0;
	key = blob_key("manifest", repository, &ret->digest);
	pthread_mutex_lock(&lock);
	r = check_condition(repository, p->reference, p->condition, err);
	if (r == 0)
		put(key, p->bytes, p->media_type);
	if (r == 0 && !digest.algo)
		add_tag(repository, p->reference, &ret->digest);
	for (size_t i = 0; r == 0 && p->tags && i < p->tags->len; i++)
		add_tag(repository, p->tags->items[i], &ret->digest);
	pthread_mutex_unlock(&lock);
	return r;
}

int store_manifest_delete_if(struct store_view *v, const char *repository, const char *reference,
			     const struct manifest_condition *condition, struct err *err)
{
	bool tag = !strchr(reference, ':');
	cleanup_free char *key =
		xasprintf("%s %s %s", tag ? "tag" : "manifest", repository, reference);
	int r;

	(void)v;
	pthread_mutex_lock(&lock);
	r = check_condition(repository, reference, condition, err);
	if (r == 0 && !drop(key))
		r = missing(err, key);
	pthread_mutex_unlock(&lock);
	return r;
}

/* Names of entries "kind prefix NAME" behind `last`. */
static void list(const char *kind, const char *prefix, const char *last, struct strv *ret)
{
	cleanup_free char *head = xasprintf("%s %s", kind, prefix);
	size_t n = strlen(head);

	for (struct entry *e = entries; e; e = e->next) {
		cleanup_free char *name = NULL;

		if (strncmp(e->key, head, n) != 0)
			continue;
		name = xstrndup(e->key + n, strcspn(e->key + n, " "));
		if (!last || strcmp(name, last) > 0)
			strv_add(ret, name);
	}
	strv_sort_unique(ret);
}

static int give(struct store_names *to, const struct strv *names, size_t n, bool *ret_more,
		struct err *err)
{
	int r = 0;

	*ret_more = names->len > n;
	for (size_t i = 0; i < names->len && i < n && r >= 0; i++)
		r = to->take(to, slice_str(names->items[i]), err);
	return r;
}

int store_tags(struct store_view *v, const char *repository, const struct store_page *page,
	       struct store_names *to, bool *ret_more, struct err *err)
{
	cleanup_free char *prefix = xasprintf("%s ", repository);
	cleanup_strv struct strv names = {0};

	if (!store_repository_exists(v, repository, err))
		return missing(err, repository);
	pthread_mutex_lock(&lock);
	list("tag", prefix, page->last, &names);
	pthread_mutex_unlock(&lock);
	return give(to, &names, page->n, ret_more, err);
}

int store_catalog(struct store_view *v, const struct store_page *page, struct store_names *to,
		  bool *ret_more, struct err *err)
{
	cleanup_strv struct strv names = {0};

	(void)v;
	pthread_mutex_lock(&lock);
	list("manifest", "", page->last, &names);
	list("blob", "", page->last, &names);
	pthread_mutex_unlock(&lock);
	return give(to, &names, page->n, ret_more, err);
}

static json_t *referrer(const struct entry *e, const struct referrers_query *q)
{
	const char *subject = NULL, *type = NULL, *config = NULL,
		   *digest = strrchr(e->key, ' ') + 1;
	cleanup_json json_t *doc = json_loadb((char *)e->bytes.data, e->bytes.len, 0, NULL);
	char text[DIGEST_TEXT_MAX];
	json_t *d, *annotations;

	digest_format(text, &q->subject);
	json_unpack(doc, "{s:{s:s}}", "subject", "digest", &subject);
	json_unpack(doc, "{s:s}", "artifactType", &type);
	json_unpack(doc, "{s:{s:s}}", "config", "mediaType", &config);
	type = type ? type : config;
	if (!subject || strcmp(subject, text) != 0 ||
	    (q->artifact_type && (!type || strcmp(type, q->artifact_type) != 0)))
		return NULL;
	d = json_pack("{s:s,s:s,s:I}", "mediaType", e->text, "digest", digest, "size",
		      (json_int_t)e->bytes.len);
	if (type)
		json_object_set_new(d, "artifactType", json_string(type));
	annotations = json_object_get(doc, "annotations");
	if (annotations)
		json_object_set(d, "annotations", annotations);
	return d;
}

int store_referrers(struct store_view *v, const char *repository, const struct referrers_query *q,
		    struct buf *ret, uint64_t *ret_after, struct err *err)
{
	cleanup_free char *prefix = xasprintf("manifest %s ", repository);
	json_t *body = json_pack("{s:i,s:s,s:[]}", "schemaVersion", 2, "mediaType", MT_OCI_INDEX,
				 "manifests");
	char *dump;
	uint64_t i = 0, n = 0;
	int r;

	(void)v;
	*ret_after = 0;
	pthread_mutex_lock(&lock);
	for (struct entry *e = entries; e; e = e->next) {
		json_t *d = strncmp(e->key, prefix, strlen(prefix)) == 0 ? referrer(e, q) : NULL;

		if (!d || i++ < q->after || n == q->n) {
			*ret_after = d && n == q->n ? q->after + n : *ret_after;
			json_decref(d);
			continue;
		}
		json_array_append_new(json_object_get(body, "manifests"), d);
		n++;
	}
	pthread_mutex_unlock(&lock);
	dump = json_dumps(body, JSON_COMPACT);
	r = buf_add_str(ret, dump) < 0 ? err_set(err, E_LIMIT, "too large") : 0;
	free(dump);
	json_decref(body);
	return r;
}

/* ---- Nix */

int store_put_write(struct store_put *p, const void *data, size_t len, struct err *err)
{
	int r = fault(p->key, true, err);

	if (r == 0 && len && memchr(data, 0xbd, len) && strstr(p->key, "refuse"))
		return err_set(err, E_INVALID, "this is no NAR");
	return r < 0 ? r : buf_add(&p->bytes, data, len);
}

int store_put_commit(struct store_put *p, struct err *err)
{
	int r = fault(p->key, true, err);

	if (r < 0)
		return r;
	pthread_mutex_lock(&lock);
	put(p->key, buf_slice(&p->bytes), p->coding);
	pthread_mutex_unlock(&lock);
	return 0;
}

void store_put_free(struct store_put *p)
{
	if (!p)
		return;
	buf_release(&p->bytes);
	free(p->key);
	free(p->coding);
	free(p);
}

static struct store_put *put_new(const char *kind, const char *name, const char *coding)
{
	struct store_put *p = xcalloc(1, sizeof(*p));

	p->key = xasprintf("%s %s", kind, name);
	p->coding = coding ? xstrdup(coding) : NULL;
	p->bytes.max = 1 << 30;
	return p;
}

static int get_text(const char *key, struct buf *ret, struct err *err)
{
	struct entry *e;
	int r = fault(key, false, err);

	pthread_mutex_lock(&lock);
	e = r == 0 ? find(key) : NULL;
	if (e)
		buf_add(ret, e->bytes.data, e->bytes.len);
	pthread_mutex_unlock(&lock);
	return e ? 0 : missing(err, key);
}

int store_cache_info(struct store_view *v, struct buf *ret, struct err *err)
{
	(void)v;
	return get_text("info", ret, err);
}

int store_cache_info_put(struct store_view *v, struct slice text, struct err *err)
{
	(void)v;
	if (!slice_has_prefix(text, "StoreDir: "))
		return err_set(err, E_INVALID, "there is no StoreDir");
	if (!slice_has_prefix(text, "StoreDir: /nix/store"))
		return err_set(err, E_CONFLICT, "another store dir");
	pthread_mutex_lock(&lock);
	put("info", text, NULL);
	pthread_mutex_unlock(&lock);
	return 0;
}

int store_narinfo(struct store_view *v, const char *hash_part, struct buf *ret, struct err *err)
{
	cleanup_free char *key = xasprintf("narinfo %s", hash_part);

	(void)v;
	return get_text(key, ret, err);
}

int store_narinfo_put(struct store_view *v, const char *hash_part, struct slice text,
		      struct err *err)
{
	cleanup_free char *key = xasprintf("narinfo %s", hash_part);

	(void)v;
	if (!slice_has_prefix(text, "StorePath: "))
		return err_set(err, E_INVALID, "line 1: there is no StorePath");
	pthread_mutex_lock(&lock);
	put(key, text, NULL);
	pthread_mutex_unlock(&lock);
	return 0;
}

int store_narinfo_fetched(struct store_view *v, const char *hash_part, struct slice text,
			  struct err *err)
{
	return store_narinfo_put(v, hash_part, text, err);
}

int store_path_remove(struct store_view *v, const char *name, struct err *err)
{
	(void)v;
	return err_set(err, E_NOTFOUND, "there is no path %.300s", name);
}

int store_nar_stat(struct store_view *v, const char *name, uint64_t *ret_size, struct err *err)
{
	cleanup_free char *key = xasprintf("nar %s", name);

	(void)v;
	return stat_entry(key, ret_size, err);
}

int store_nar_open(struct store_view *v, const char *name, struct content **ret, struct err *err)
{
	cleanup_free char *key = xasprintf("nar %s", name);

	(void)v;
	return open_entry(key, ret, err);
}

int store_nar_put(struct store_view *v, const char *name, struct store_put **ret, struct err *err)
{
	(void)v;
	if (!strstr(name, ".nar"))
		return err_set(err, E_INVALID, "'%s' is not the name of a NAR", name);
	*ret = put_new("nar", name, NULL);
	return 0;
}

int store_document_open(struct store_view *v, enum store_tree tree, const char *name,
			struct content **ret, struct err *err)
{
	cleanup_free char *key = xasprintf("doc %d/%s", (int)tree, name);

	(void)v;
	return open_entry(key, ret, err);
}

int store_document_put(struct store_view *v, enum store_tree tree, const char *name,
		       const char *coding, struct store_put **ret, struct err *err)
{
	cleanup_free char *path = xasprintf("%d/%s", (int)tree, name);

	(void)v, (void)err;
	*ret = put_new("doc", path, coding);
	return 0;
}

int store_rules_set(struct store *s, const struct store_rules *rules, struct err *err)
{
	(void)s, (void)rules, (void)err;
	return 0;
}

void store_rules_release(struct store_rules *r)
{
	/* No test of this server sets any. */
	free(r->tags);
	free(r->paths);
	free(r->quotas);
	free(r->immutable);
}

void store_gc_total(struct store *s, struct store_gc_result *ret)
{
	(void)s;
	*ret = (struct store_gc_result){0};
}
