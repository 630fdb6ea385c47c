/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the server keeps: an OCI registry and a Nix binary cache over one stored copy, without a
 * socket. HTTP (src/serve) sits on top of it; tests drive it directly.
 *
 * A store is one directory, owned by one process at a time:
 *
 * 	version, lock        which layout this is; held while the store is open
 * 	meta.sqlite          all that is not bulk bytes (WAL)
 * 	objects/xx/…         immutable files: framed NARs, tar glue, opaque blobs
 * 	incoming/            what is being received; emptied when a store is opened
 *
 * Invariants
 * - Durable before acknowledged: when a function that changes something returns 0, the change
 *   survives a crash; before, nobody can see it. A crash at any point leaves no half of it.
 * - Nothing unverified is visible under a digest, a NarHash or a store path.
 * - Existence is per view, and for the registry per repository within it: every name is looked up
 *   there alone. That two views share bytes never shows.
 * - What was pushed is kept byte for byte under its digest.
 *
 * Threads: every function may be called by any thread at any time and may block; reads never wait
 * for writes. A handle (`struct content`, `struct upload`, `struct store_put`) belongs to one
 * thread at a time.
 *
 * Errors: `struct err` with a text that may be shown to clients, except for E_IO and E_INTERNAL,
 * whose text may name files of the data directory. A full disk is E_IO with sys_errno ENOSPC.
 * E_INVALID is also a name that breaks its grammar (repository, tag, file name, hash part).
 */
#ifndef NACRE_STORE_H
#define NACRE_STORE_H

#include <nacre/buf.h>
#include <nacre/hash.h>
#include <nacre/pathinfo.h>
#include <nacre/transport.h>

#include "base/mem.h"
#include "codec/codec.h"

struct store;
struct store_view; /* a name space of the server (SPEC nacre 1); borrowed from the store */

/* Which manifests are taken although not all that they name is there. */
enum store_sparse {
	STORE_SPARSE_INDEXES, /* indexes: members may come later or never */
	STORE_SPARSE_NEVER,
	STORE_SPARSE_ALL, /* images, too, whose blobs may come later or never */
};

/* What the operator of a view wants. */
struct store_view_options {
	/* NULL: the first nix-cache-info that is put decides. */
	const char *store_dir;
	/* Keys whose signatures bind a path; copied. */
	const struct public_key *trusted;
	size_t n_trusted;
	/* Keys that the server signs with when a path is bound; copied. By a narinfo, or where the
	 * path is signed by a trusted key or content-addressed. */
	const struct secret_key *signing;
	size_t n_signing;
	bool sign_images; /* also what an image alone bound */
	/* Bind only what a trusted key signed or what is content-addressed. */
	bool require_signatures;
	enum store_sparse sparse;
	int priority; /* of the cache, in nix-cache-info; lower wins, cache.nixos.org has 40 */
};

#define STORE_VIEW_OPTIONS_INIT \
	((struct store_view_options){.store_dir = STORE_DIR_DEFAULT, .priority = 30})

/* When store layers that are pushed are framed. They are bound when their manifest is put, in any
 * case. */
enum store_framing {
	STORE_FRAME_AT_ONCE,
	STORE_FRAME_LATER,      /* by a thread of the store's own */
	STORE_FRAME_WHEN_ASKED, /* by store_settle() */
};

struct store_options {
	struct store_view_options root; /* of the root view */
	uint64_t nar_max_bytes; /* largest NAR and largest uncompressed layer that is taken */
	/* What a decoder may put out: so much, and beyond it so many times its input (a sparse file
	 * is no bomb). */
	uint64_t decode_free_bytes;
	uint32_t decode_ratio_max;
	uint64_t upload_max_bytes; /* largest blob */
	unsigned uploads_max;      /* upload sessions open at a time */
	unsigned upload_idle_s;    /* an upload session nobody touched for so long may be dropped */
	/* Of images whose content does not tell it ("amd64"); NULL: there is no image of these. */
	const char *architecture;
	unsigned threads; /* for compressing and for deriving images; 0: one a processor */
	enum store_framing framing;
};

#define STORE_OPTIONS_INIT                       \
	((struct store_options){                 \
		.root = STORE_VIEW_OPTIONS_INIT, \
		.nar_max_bytes = 64ull << 30,    \
		.decode_free_bytes = 8ull << 30, \
		.decode_ratio_max = 1024,        \
		.upload_max_bytes = 1ull << 40,  \
		.uploads_max = 4096,             \
		.upload_idle_s = 24 * 3600,      \
	})

/* Opens the store in `dir`, which is created (0700) if it is missing. What a crash left behind is
 * removed. E_CONFLICT: another process has it open; E_UNSUPPORTED: written by a newer version, or
 * not a store. `options` is used during the call alone. */
int store_open(struct store **ret, const char *dir, const struct store_options *options,
	       struct err *err);
/* No handle of the store may be in use any more. */
void store_close(struct store *s);

/* The root view. Views are valid until store_close(). */
struct store_view *store_root(struct store *s);
/* Another view (made if it is new), or one that is open with other options, which hold from then
 * on for all its users. `name` is "" or has the grammar of a repository. E_INVALID; E_CONFLICT: it
 * holds paths of another store dir. */
int store_view_open(struct store_view **ret, struct store *s, const char *name,
		    const struct store_view_options *options, struct err *err);
/* What store_view_open() would say to these; changes nothing. */
int store_view_check(struct store *s, const char *name, const struct store_view_options *options,
		     struct err *err);
/* NULL: it was not opened. */
struct store_view *store_view_find(struct store *s, struct slice name);
/* Borrowed. */
const char *store_view_name(const struct store_view *v);

/* Can the database and the objects be written now? E_IO says why not. */
int store_probe(struct store *s, struct err *err);

/* Drops upload sessions that were idle too long, and collects garbage for some seconds. To be
 * called now and then. Returns 1 if there is more to do, and it should be called again soon. */
int store_maintain(struct store *s, struct err *err);

/* Frames everything that was pushed and is not framed yet, whatever store_options.framing is.
 * What cannot be does not stop the rest, and is reported at the end. */
int store_settle(struct store *s, struct err *err);

/* A number that is another one after every change, before that is acknowledged: what was read
 * while it was the same still holds. */
uint64_t store_changes(struct store *s);

struct store_statistics {
	uint64_t physical_bytes; /* of all objects and the database */
	uint64_t database_bytes; /* of these, the database */
	uint64_t nar_bytes;      /* NARs, uncompressed, each counted once */
	uint64_t framed_bytes;   /* the same as they are stored */
	uint64_t glue_bytes;     /* stored besides, to derive tars from NARs */
	uint64_t opaque_bytes;   /* blobs and documents stored as they came */
	uint64_t layer_bytes;    /* logical: layers that are splices, as they are named */
	uint64_t body_bytes; /* logical: the layers of one path that were derived, as tar+zstd */
	uint64_t nars, paths, blobs, splices, manifests, tags, repositories, uploads; /* counts */
};
int store_statistics(struct store *s, struct store_statistics *ret, struct err *err);

/* Reads everything and compares it with what it should be. Each defect is told to `report` (text
 * valid during the call). Returns the number of defects, or < 0 when checking itself failed. Other
 * threads may use the store meanwhile. */
typedef void store_check_report(void *arg, const char *text);
int store_check(struct store *s, store_check_report *report, void *arg, struct err *err);

/* ---- Content: bytes that can be read, wherever they come from
 * ---------------------------------- */

/* A blob, a NAR, a layer derived from NARs, a document. Stays readable when what it was opened by
 * is deleted. */
struct content;
#define CONTENT_SIZE_UNKNOWN UINT64_MAX

/* Bytes. CONTENT_SIZE_UNKNOWN for what is encoded while it is read (content_read() then must be
 * called with the offsets in order, from 0, and ends with 0 bytes). */
uint64_t content_size(const struct content *c);
/* Digest of the bytes; algo HASH_NONE if it is not known. Borrowed. */
const struct hash *content_digest(const struct content *c);
/* Content-Encoding that the bytes have already (documents: as they were put), or NULL. Borrowed. */
const char *content_coding(const struct content *c);
/* Reads up to `len` bytes at `offset`; *ret_got is less than `len` only at the end. */
int content_read(struct content *c, uint64_t offset, void *buf, size_t len, size_t *ret_got,
		 struct err *err);
/* If `offset` lies in a plain file: its descriptor and the offset there, and in *ret_len how
 * many of the `len` bytes follow in one piece (all of them, unless the content is a splice:
 * that may be sent piece by piece); else -1. The descriptor is borrowed until the next call for
 * `c`. */
int content_file(struct content *c, uint64_t offset, uint64_t len, uint64_t *ret_file_offset,
		 uint64_t *ret_len);
/* The whole to a sink, which is not finished. */
int content_copy(struct content *c, struct sink *out, struct err *err);
/* The same bytes, encoded for transport, from stored frames where they fit. E_UNSUPPORTED: there is
 * no such form (send it as it is). `c` stays as it is. */
int content_encoded(struct content *c, enum codec codec, struct content **ret, struct err *err);
/* False: content_encoded() has no form of it. */
bool content_has_encoded(const struct content *c);
void content_free(struct content *c);

/* ---- Blobs (SPEC dist-1.1)
 * --------------------------------------------------------------------- */

/* 1, or 0: nothing was ever put into a repository of this name (or all of it is deleted). */
int store_repository_exists(struct store_view *v, const char *repository, struct err *err);

/* E_NOTFOUND. */
int store_blob_stat(struct store_view *v, const char *repository, const struct hash *digest,
		    uint64_t *ret_size, struct err *err);
int store_blob_open(struct store_view *v, const char *repository, const struct hash *digest,
		    struct content **ret, struct err *err);
/* Takes the blob out of the repository. E_NOTFOUND. */
int store_blob_delete(struct store_view *v, const char *repository, const struct hash *digest,
		      struct err *err);
/* Makes a blob of repository `from` (NULL: of any in this view) one of `repository`. E_NOTFOUND. */
int store_blob_mount(struct store_view *v, const char *repository, const struct hash *digest,
		     const char *from, struct err *err);

/* An upload: the bytes so far and their running hash. Sessions live in memory and do not survive a
 * restart of the server (clients begin again). */
struct upload;
enum { UPLOAD_ID_LEN = 32, UPLOAD_ANY_OFFSET = -1 };

/* Begins a session; `ret_id` has UPLOAD_ID_LEN + 1 bytes. `algo` is what the digest will use,
 * as far as known (HASH_NONE: sha256). E_LIMIT: too many. */
int store_upload_begin(struct store_view *v, const char *repository, enum hash_algo algo,
		       char *ret_id, struct err *err);
/* Bytes received. E_NOTFOUND. */
int store_upload_status(struct store_view *v, const char *repository, const char *id,
			uint64_t *ret_offset, struct err *err);
/* E_NOTFOUND; E_CONFLICT: a request holds it. */
int store_upload_cancel(struct store_view *v, const char *repository, const char *id,
			struct err *err);
/* Takes hold of a session to write at its end. E_NOTFOUND; E_CONFLICT: another request holds it;
 * E_MISMATCH: `offset` is not UPLOAD_ANY_OFFSET and not where the session stands. */
int store_upload_open(struct store_view *v, const char *repository, const char *id, int64_t offset,
		      struct upload **ret, struct err *err);
/* Begins an upload without an id, for what comes in one request. */
int store_upload_once(struct store_view *v, const char *repository, enum hash_algo algo,
		      struct upload **ret, struct err *err);
uint64_t upload_offset(const struct upload *u);
/* E_LIMIT past upload_max_bytes. After an error the session is of no use and is dropped when
 * closed. */
int upload_write(struct upload *u, const void *data, size_t len, struct err *err);
/* Makes the bytes received a blob of the repository. E_MISMATCH: they do not have this digest. The
 * session is gone then, either way; the handle still has to be closed. */
int upload_finish(struct upload *u, const struct hash *digest, struct err *err);
/* Lets go. An unfinished session keeps what arrived (one without an id is dropped). NULL is
 * nothing. */
void upload_close(struct upload *u);

/* ---- Manifests
 * --------------------------------------------------------------------------------- */

/* Which manifest: a tag or a digest, as it stands in the URL. */
struct manifest_stat {
	struct hash digest;
	uint64_t size; /* bytes */
	char media_type[MEDIA_TYPE_MAX + 1];
};

/* `reference` is a tag or the text of a digest. In the repositories `nix` and `nix/package` a
 * tag that names a store path is made now if it was not yet (SPEC nacre 6); this reads the
 * whole closure once. E_NOTFOUND, naming the references that are missing. */
int store_manifest_stat(struct store_view *v, const char *repository, const char *reference,
			struct manifest_stat *ret, struct err *err);
int store_manifest_get(struct store_view *v, const char *repository, const char *reference,
		       struct manifest_bytes *ret, struct err *err);

/* Whose word counts of what was fetched from an upstream (docs/upstreams.md). */
struct store_trust {
	const struct public_key *keys; /* borrowed; besides those that the view trusts */
	size_t n_keys;
	bool all; /* what nobody signed counts, too */
};

/* What a client says of the manifest that a reference names. Asked where no other change comes between
 * the answer and what it decides; `is` is NULL where nothing stands. */
struct manifest_condition {
	bool (*holds)(const struct manifest_condition *self, const struct hash *is);
};

struct manifest_put {
	const char *reference;  /* tag or text of a digest */
	const char *media_type; /* without parameters; NULL: the document says it */
	struct slice bytes;
	const struct strv *tags; /* further tags, or NULL */
	bool sparse; /* what it names may come later or never, whatever the view wants */
	/* Borrowed. NULL: a writer of the view puts it, and vouches for it. Otherwise it was fetched,
	 * and its store paths are bound as far as this goes; the server signs none of them. */
	const struct store_trust *fetched;
	/* What refers to it here may have been fetched, whoever puts it: the repository is also an
	 * upstream's. */
	bool mirrored;
	const struct manifest_condition *condition; /* of `reference`; borrowed; NULL: none */
};

/* What came of it. */
struct manifest_put_result {
	struct hash digest;
	bool has_subject;
	struct hash subject;
	/* Store layers recognised in it: how many of their paths are bound now or were before, and
	 * how many were refused; why the first one was (empty: none). */
	size_t paths_bound, paths_refused;
	char refusal[ERR_TEXT_MAX];
};

/* Stores a manifest, byte for byte, sets its tags, and binds the store paths of its layers (the
 * image is stored even where a binding is refused). When it returns, they are substitutable.
 * E_INVALID, E_LIMIT, E_UNSUPPORTED: not a manifest; E_MISMATCH: `reference` is another digest;
 * E_NOTFOUND: it names a blob or manifest that the repository lacks (what may be missing is the
 * view's policy, and always a subject and non-distributable layers); E_DENIED: the
 * tag is one that the server makes; E_EXISTS: the condition does not hold. */
int store_manifest_put(struct store_view *v, const char *repository, const struct manifest_put *put,
		       struct manifest_put_result *ret, struct err *err);
/* By digest: the manifest and all its tags. By tag: the tag alone. E_NOTFOUND. */
int store_manifest_delete(struct store_view *v, const char *repository, const char *reference,
			  struct err *err);
/* E_EXISTS: the condition does not hold; it may be NULL. */
int store_manifest_delete_if(struct store_view *v, const char *repository, const char *reference,
			     const struct manifest_condition *condition, struct err *err);

struct store_page {
	size_t n;         /* at most so many names */
	const char *last; /* those after this one; NULL: from the start */
};
/* Who takes the names of a page, one after another; a negative result ends the list with it. */
struct store_names {
	int (*take)(struct store_names *self, struct slice name, struct err *err);
};
/* Names in bytewise order; *ret_more: there are further ones. Cost depends on `n` alone. Tags:
 * E_NOTFOUND for a repository that does not exist. */
int store_tags(struct store_view *v, const char *repository, const struct store_page *page,
	       struct store_names *to, bool *ret_more, struct err *err);
int store_catalog(struct store_view *v, const struct store_page *page, struct store_names *to,
		  bool *ret_more, struct err *err);

/* The names as a list. */
struct names_list {
	struct store_names names;
	struct strv list; /* owned */
};
static inline int names_list_take(struct store_names *self, struct slice name, struct err *err)
{
	(void)err;
	strv_add_slice(&container_of(self, struct names_list, names)->list, name);
	return 0;
}
#define NAMES_LIST_INIT ((struct names_list){.names = {.take = names_list_take}})

struct referrers_query {
	struct hash subject;
	const char *artifact_type; /* NULL: all */
	uint64_t after;            /* 0: from the start; else what the last page gave */
	size_t n;                  /* at most so many */
};
/* Appends an OCI image index of the manifests that have this subject; none is an empty list.
 * *ret_after: where the next page begins, 0: there is none. */
int store_referrers(struct store_view *v, const char *repository, const struct referrers_query *q,
		    struct buf *ret, uint64_t *ret_after, struct err *err);

/* ---- Nix binary cache (SPEC nix-cache)
 * --------------------------------------------------------- */

/* Something that is being put: write all of it, commit. Without commit nothing remains. */
struct store_put;
int store_put_write(struct store_put *p, const void *data, size_t len, struct err *err);
int store_put_commit(struct store_put *p, struct err *err);
void store_put_free(struct store_put *p); /* NULL is nothing */

/* The text of nix-cache-info. E_NOTFOUND: the store dir is not known yet. */
int store_cache_info(struct store_view *v, struct buf *ret, struct err *err);
/* E_INVALID; E_CONFLICT: another store dir. */
int store_cache_info_put(struct store_view *v, struct slice text, struct err *err);

/* By the 32 characters of the hash part. 1 or 0; the text as the server words it (URL of the framed
 * NAR). E_NOTFOUND. */
int store_narinfo_exists(struct store_view *v, const char *hash_part, struct err *err);
int store_narinfo(struct store_view *v, const char *hash_part, struct buf *ret, struct err *err);
/* Binds a store path (SPEC nacre 1) by a narinfo that an authorised writer of the view sends.
 * Its NAR was put before. Put again, signatures are merged. E_INVALID: malformed, another hash
 * part than its StorePath's; E_MISMATCH: NarHash or NarSize are not those of the NAR, or the
 * content address is not that of the content; E_NOTFOUND: no such NAR here, or references
 * (named) that are not; E_CONFLICT: the path is bound to other content. */
int store_narinfo_put(struct store_view *v, const char *hash_part, struct slice text,
		      struct err *err);
/* The same of a narinfo that an upstream gave, and that the operator wants to be believed: as good as a
 * writer's, but the server does not sign it. */
int store_narinfo_fetched(struct store_view *v, const char *hash_part, struct slice text,
			  struct err *err);

/* By file name, without "nar/". Known are: the name it was put under (in that compression:
 * encoded anew where it is not zstd, so of unknown size), `<FileHash>.nar.zst` (framed) and
 * `<NarHash>.nar`. */
int store_nar_stat(struct store_view *v, const char *name, uint64_t *ret_size, struct err *err);
int store_nar_open(struct store_view *v, const char *name, struct content **ret, struct err *err);
/* Takes a NAR in any compression: decoded and verified while it arrives. E_INVALID,
 * E_TRUNCATED, E_LIMIT, E_MISMATCH (name of another hash), E_UNSUPPORTED (compression). It is
 * visible under its name at once; without a narinfo it may be dropped some hours later. */
int store_nar_put(struct store_view *v, const char *name, struct store_put **ret, struct err *err);

/* Documents that are kept as they come. */
enum store_tree {
	STORE_LISTING,     /* <hash part>.ls; made from the NAR where none was put */
	STORE_LOG,         /* log/<derivation> */
	STORE_DEBUGINFO,   /* debuginfo/<build id> */
	STORE_REALISATION, /* realisations/<id>.doi */
	STORE_BUILD_TRACE, /* build-trace-v2/<derivation>/<output>.doi */
	STORE_TREES,
};
/* `name` is what follows the directory in the URL; for listings the hash part alone. */
int store_document_open(struct store_view *v, enum store_tree tree, const char *name,
			struct content **ret, struct err *err);
/* `coding`: Content-Encoding as it was sent, or NULL. Puts again replace. E_LIMIT while writing. */
int store_document_put(struct store_view *v, enum store_tree tree, const char *name,
		       const char *coding, struct store_put **ret, struct err *err);

#endif
