/* SPDX-License-Identifier: Apache-2.0 */
/* The driver's commands for src/net/registry.h. A repository is given as HOST/NAME, an image as HOST/NAME:TAG or @DIGEST. */
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "net-driver.h"
#include "net/registry.h"

struct session {
	const struct words *w;
	struct registry *registry;
	struct reference ref;
	const char *image; /* tag or digest */
};

static int get_manifest(struct session *s, struct err *err)
{
	cleanup_manifest_bytes struct manifest_bytes m = {0};
	char digest[DIGEST_TEXT_MAX];
	int r = registry_get_manifest(s->registry, s->ref.repository, s->image, &m, err);

	if (r < 0)
		return r;
	digest_format(digest, &m.digest);
	printf("type %s\ndigest %s\nbody %.*s\n", m.media_type, digest, (int)m.bytes.len,
	       (const char *)m.bytes.data);
	return 0;
}

static int head_manifest(struct session *s, struct err *err)
{
	cleanup_descriptor struct descriptor d = {0};
	char digest[DIGEST_TEXT_MAX];
	int r = registry_head_manifest(s->registry, s->ref.repository, s->image, &d, err);

	if (r < 0)
		return r;
	digest_format(digest, &d.digest);
	printf("type %s\ndigest %s\nsize %" PRIu64 "\n", d.media_type, digest, d.size);
	return 0;
}

static int put_manifest(struct session *s, struct err *err)
{
	cleanup_manifest_bytes struct manifest_bytes m = {.bytes = BUF_INIT(MANIFEST_BYTES_MAX)};
	bool subject = false;
	int r = read_file_at(AT_FDCWD, s->w->words[1], MANIFEST_BYTES_MAX, &m.bytes, err);

	if (r < 0)
		return r;
	m.media_type = xstrdup(option(s->w, "type") ? option(s->w, "type") : MT_OCI_MANIFEST);
	hash_bytes(&m.digest, HASH_SHA256, m.bytes.data, m.bytes.len);
	r = registry_put_manifest(s->registry, s->ref.repository, s->image, &m, &subject, err);
	if (r == 0)
		printf("subject %d\n", subject);
	return r;
}

static int delete_manifest(struct session *s, struct err *err)
{
	return registry_delete_manifest(s->registry, s->ref.repository, s->image, err);
}

static int ping(struct session *s, struct err *err)
{
	return registry_ping(s->registry, err);
}

/* HOST/NAME@DIGEST FILE [size=BYTES] */
static int get_blob(struct session *s, struct err *err)
{
	int64_t size =
		option(s->w, "size") ? (int64_t)number_option(s->w, "size") : DIGEST_SIZE_UNKNOWN;
	struct fd_sink out;
	struct hash digest;
	cleanup_fd int fd = open_output(s->w->words[1], &out, err);

	if (fd < 0 || digest_parse_err(&digest, slice_str(s->ref.digest), err) < 0)
		return err->code;
	return registry_get_blob(s->registry, s->ref.repository, &digest, size, &out.sink, err);
}

static int has_blob(struct session *s, struct err *err)
{
	struct hash digest;
	uint64_t size = 0;
	int r = digest_parse_err(&digest, slice_str(s->ref.digest), err);

	if (r == 0)
		r = registry_has_blob(s->registry, s->ref.repository, &digest, &size, err);
	if (r >= 0)
		printf("has %d\nsize %" PRIu64 "\n", r, size);
	return r;
}

static int mount_blob(struct session *s, struct err *err)
{
	struct hash digest;
	int r = digest_parse_err(&digest, slice_str(s->ref.digest), err);

	if (r == 0)
		r = registry_mount_blob(s->registry, s->ref.repository, &digest,
					option(s->w, "from"), err);
	if (r >= 0)
		printf("mounted %d\n", r);
	return r;
}

struct file_producer {
	struct blob_producer producer;
	struct slice bytes;
	unsigned calls;
	size_t stop_at; /* fails behind so many bytes; 0: does not */
};

static int produce_file(struct blob_producer *self, struct sink *out, struct err *err)
{
	struct file_producer *p = container_of(self, struct file_producer, producer);
	struct slice left = p->bytes;
	int r = 0;

	p->calls++;
	while (r == 0 && left.len) {
		size_t n = left.len < 50000 ? left.len : 50000;

		if (p->stop_at && p->bytes.len - left.len >= p->stop_at)
			return err_set(err, E_IO, "the producer stops");
		r = sink_write(out, left.data, n, err);
		slice_advance(&left, n);
	}
	return r;
}

/* HOST/NAME FILE [known=1] [lie=1] [stop=BYTES] or put=1 for registry_put_blob() */
static int put_blob(struct session *s, struct err *err)
{
	cleanup_buf struct buf content = BUF_INIT(1 << 30);
	struct file_producer p = {.producer = {produce_file},
				  .stop_at = (size_t)number_option(s->w, "stop")};
	cleanup_descriptor struct descriptor want = {0};
	char digest[DIGEST_TEXT_MAX];
	struct http_slice_source source;
	struct blob_id id = {0};
	int r = read_file_at(AT_FDCWD, s->w->words[1], 1 << 30, &content, err);

	if (r < 0)
		return r;
	p.bytes = buf_slice(&content);
	if (option(s->w, "known") || option(s->w, "put")) {
		hash_bytes(&want.digest, HASH_SHA256, content.data, content.len);
		want.size = content.len;
	}
	if (option(s->w, "lie"))
		want.digest.bytes[0] ^= 1;
	http_slice_source_init(&source, buf_slice(&content));
	if (option(s->w, "put")) {
		id = (struct blob_id){want.digest, want.size};
		r = registry_put_blob(s->registry, s->ref.repository, &id.digest, &source.source,
				      err);
	} else {
		r = registry_push_blob(s->registry, s->ref.repository, &want, &p.producer, &id,
				       err);
	}
	printf("calls %u\n", p.calls);
	if (r < 0)
		return r;
	digest_format(digest, &id.digest);
	printf("digest %s\nsize %" PRIu64 "\n", digest, id.size);
	return 0;
}

static int tags(struct session *s, struct err *err)
{
	cleanup_strv struct strv list = {0};
	int r = registry_tags(s->registry, s->ref.repository, &list, err);

	for (size_t i = 0; r == 0 && i < list.len; i++)
		printf("tag %s\n", list.items[i]);
	return r;
}

static int referrers(struct session *s, struct err *err)
{
	cleanup_descriptors struct descriptors list = {0};
	struct hash digest;
	int r = digest_parse_err(&digest, slice_str(s->ref.digest), err);

	if (r == 0)
		r = registry_referrers(s->registry, s->ref.repository, &digest,
				       option(s->w, "type"), &list, err);
	for (size_t i = 0; r == 0 && i < list.len; i++) {
		char text[DIGEST_TEXT_MAX];

		digest_format(text, &list.items[i].digest);
		printf("referrer %s %s\n", text,
		       list.items[i].artifact_type ? list.items[i].artifact_type : "-");
	}
	return r;
}

/* HOST/NAME[:TAG] FILE: the manifest through image_dest, as a referrer if it has a subject. */
static int put_through_dest(struct session *s, struct err *err)
{
	cleanup_manifest_bytes struct manifest_bytes m = {.bytes = BUF_INIT(MANIFEST_BYTES_MAX)};
	cleanup_image_dest struct image_dest *dest = NULL;
	int r = read_file_at(AT_FDCWD, s->w->words[1], MANIFEST_BYTES_MAX, &m.bytes, err);

	if (r < 0)
		return r;
	m.media_type = xstrdup(MT_OCI_MANIFEST);
	hash_bytes(&m.digest, HASH_SHA256, m.bytes.data, m.bytes.len);
	r = registry_image_dest(&dest, s->registry, &s->ref, NULL, err);
	if (r < 0)
		return r;
	s->registry = NULL;
	r = image_put_manifest(dest, &m, s->ref.tag[0] ? s->ref.tag : NULL, err);
	if (r == 0)
		r = image_dest_finish(dest, err);
	return r;
}

static int open_session(struct session *s, struct err *err)
{
	struct credentials given = {.user = (char *)(uintptr_t)option(s->w, "user"),
				    .password = (char *)(uintptr_t)option(s->w, "password")};
	struct registry_options options = {
		.insecure = option(s->w, "insecure"),
		.auth_file = option(s->w, "authfile"),
		.credentials = given.user ? &given : NULL,
	};
	int r = reference_parse_err(&s->ref, slice_str(s->w->words[0]), err);

	if (r < 0)
		return r;
	s->image = s->ref.digest[0] ? s->ref.digest : s->ref.tag;
	http_options_of(s->w, &options.http);
	if (option(s->w, "https"))
		options.scheme = REGISTRY_HTTPS;
	return registry_open(&s->registry, s->ref.domain, &options, err);
}

int registry_command(const struct words *w, const char *name, struct err *err)
{
	static const struct {
		const char *name;
		int words;
		int (*run)(struct session *s, struct err *err);
	} commands[] = {
		{"ping", 1, ping},
		{"get-manifest", 1, get_manifest},
		{"head", 1, head_manifest},
		{"put-manifest", 2, put_manifest},
		{"delete", 1, delete_manifest},
		{"get-blob", 2, get_blob},
		{"has-blob", 1, has_blob},
		{"mount", 1, mount_blob},
		{"put-blob", 2, put_blob},
		{"tags", 1, tags},
		{"referrers", 1, referrers},
		{"put-referrer", 2, put_through_dest},
	};
	struct session s = {.w = w};
	int r = E_USAGE;

	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (strcmp(name, commands[i].name) != 0 || w->n_words < commands[i].words)
			continue;
		r = open_session(&s, err);
		if (r == 0)
			r = commands[i].run(&s, err);
		registry_free(s.registry);
		return r;
	}
	return err_set(err, E_USAGE, "no such registry command");
}
