/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an operator does with a store: rules of what is kept and how much, collecting garbage, pins,
 * statistics, checking and repairing, backup.
 *
 * What is kept
 * - Tags, pins and the paths of caches are the roots. Without a rule they are kept for ever.
 * - A manifest is kept while a tag, a pin, a kept index or (a referrer) its subject holds it, and
 *   then for a grace period; its blobs as long as it, and then for one.
 * - A store path is kept while a kept path refers to it: closures are whole, always.
 * - What was uploaded and is not used yet (a blob without a manifest, a NAR without a narinfo) has
 *   a grace period, which begins anew when somebody asks whether it is there.
 * - Bytes go when nobody reads them any more.
 *
 * Collecting takes time in proportion to what lost a use or reached its time (collect.h), never
 * reads whole tables, and never holds the database for longer than a small batch. Clocks that
 * step back make things stay longer, never shorter; while one that was put forward could be put
 * back again, nothing goes.
 *
 * "Name" of a repository or cache in a pattern is the name in URLs: "team/app" is repository `app`
 * of view `team`, or repository `team/app` of the root. The cache of a view has its name; that of
 * the root is called "/".
 *
 * Threads: any, at any time, like the rest of the store.
 */
#ifndef NACRE_STORE_UPKEEP_H
#define NACRE_STORE_UPKEEP_H

#include "store/store.h"

enum { STORE_FOREVER = -1 }; /* seconds */

/* Of the tags in repositories that fit. A tag goes when none of this keeps it; where nothing of
 * it is set, all are kept. */
struct tag_rule {
	struct strv repositories; /* patterns */
	uint64_t keep_last;       /* pushed last; 0: does not keep */
	int64_t keep_for_s;       /* since the push; 0: does not keep */
	int64_t keep_used_for_s;  /* since the last push or pull; 0: does not keep */
	struct strv keep_tags;    /* patterns */
	/* Manifests without a tag; 0: as store_rules has it; STORE_FOREVER. */
	int64_t untagged_grace_s;
};

/* Of the paths in caches that fit. */
struct path_rule {
	struct strv caches;      /* patterns */
	int64_t keep_used_for_s; /* since the last use; 0: for ever */
	uint64_t max_bytes;      /* as stored; beyond it the least recently used go; 0: no limit */
	struct strv keep_paths;  /* patterns of "<hash>-<name>" */
	/* Logs, debug information, realisations, build traces: since they were put; 0: for ever. */
	int64_t keep_documents_for_s;
};

/* Each of the repositories or caches that fit may have so much. UINT64_MAX: no limit. */
struct quota_rule {
	struct strv repositories, caches; /* patterns */
	uint64_t bytes;                   /* as stored; what is shared counts for everybody */
	uint64_t paths;                   /* of a cache */
	uint64_t tags;                    /* of a repository */
};

/* Tags that stand for one manifest for ever: clients can neither move nor delete them. */
struct immutable_rule {
	struct strv repositories, tags; /* patterns */
};

struct store_rules {
	int64_t upload_grace_s;   /* of what was uploaded and is not used yet */
	int64_t untagged_grace_s; /* since the last tag went, push or pull; STORE_FOREVER */
	struct tag_rule *tags;    /* owned; the first that fits decides; so below */
	size_t n_tags;
	struct path_rule *paths; /* owned */
	size_t n_paths;
	struct quota_rule *quotas; /* owned; all that fit hold */
	size_t n_quotas;
	struct immutable_rule *immutable; /* owned */
	size_t n_immutable;
};
#define STORE_RULES_INIT \
	((struct store_rules){.upload_grace_s = 24 * 3600, .untagged_grace_s = 14 * 24 * 3600})
void store_rules_release(struct store_rules *r);
#define cleanup_store_rules __attribute__((cleanup(store_rules_release)))

/* Puts rules in force, for the time that the store is open; copied. Until then there are those of
 * STORE_RULES_INIT. What they say differently from those before is looked at by the collector. */
int store_rules_set(struct store *s, const struct store_rules *rules, struct err *err);
/* Do these limit anybody? Without, to begin an upload looks nothing up. */
bool store_has_quotas(const struct store *s);

/* ---- Garbage ---- */

/* Something that goes. */
struct store_gc_item {
	/* "tag", "manifest", "blob"; of a cache "path", "listing", "log", "debuginfo", "realisation",
	 * "build trace" */
	const char *kind;
	const char *cache;  /* the view whose cache it is of; NULL: it is of a repository */
	const char *name;   /* as a client would name it */
	const char *reason; /* for people */
	uint64_t bytes;     /* of a manifest, blob, or stored NAR; shared ones may stay */
};
typedef void store_gc_report(void *arg, const struct store_gc_item *item);

struct store_gc_options {
	bool dry_run;            /* nothing goes */
	unsigned budget_ms;      /* stop after about so long; 0: when everything is done */
	store_gc_report *report; /* may be NULL */
	void *arg;
};
struct store_gc_result {
	uint64_t tags, manifests, blobs, paths; /* that went */
	uint64_t objects, bytes;                /* removed from the disk */
	uint64_t looked_at;                     /* candidates */
	bool more; /* the budget was spent, or (dry run) the list is long enough */
};
/* A dry run says what would go now; what goes in consequence of that, some hours later, is not in
 * it. It lists 4096 items at the most. E_CONFLICT: nothing is collected for a while, because the
 * clock was put forward; the text says for how long. */
int store_gc(struct store *s, const struct store_gc_options *options, struct store_gc_result *ret,
	     struct err *err);
/* Everything that was collected since the store is open. */
void store_gc_total(struct store *s, struct store_gc_result *ret);

/* ---- Pins ---- */

/* `reference`: a tag, the text of a digest, or "" (all of the repository). E_INVALID. What is
 * pinned need not be there. */
int store_pin(struct store_view *v, const char *repository, const char *reference, struct err *err);
/* E_NOTFOUND. */
int store_unpin(struct store_view *v, const char *repository, const char *reference,
		struct err *err);
/* By the base name of a store path. Its closure is kept with it. */
int store_pin_path(struct store_view *v, const char *base, struct err *err);
int store_unpin_path(struct store_view *v, const char *base, struct err *err);

struct store_pin_item {
	const char *view, *repository, *reference; /* a path: repository "", its base name */
	int64_t added;
};
typedef void store_pin_report(void *arg, const struct store_pin_item *item);
int store_pins(struct store *s, store_pin_report *report, void *arg, struct err *err);

/* ---- Removing ---- */

/* As store_manifest_delete(), also where clients cannot (struct immutable_rule). */
int store_manifest_remove(struct store_view *v, const char *repository, const char *reference,
			  struct err *err);
/* A path leaves the cache, and what the server made of it goes with it; its NAR follows after
 * `upload_grace_s` if nothing else names it. `name` begins with the hash part; if there is more, it
 * is the base name. E_NOTFOUND; E_CONFLICT: another path refers to it, or it is pinned. */
int store_path_remove(struct store_view *v, const char *name, struct err *err);

/* ---- Who uses how much ---- */

struct store_view_usage {
	const char *view;
	uint64_t paths, nar_bytes, bytes; /* of its cache: uncompressed, and as stored */
	uint64_t repositories, repository_bytes, manifests, tags;
};
typedef void store_view_report(void *arg, const struct store_view_usage *usage);
/* Reads one row a repository. */
int store_view_usages(struct store *s, store_view_report *report, void *arg, struct err *err);

struct store_repository_usage {
	const char *name;
	uint64_t bytes, blobs, manifests, tags;
};
typedef void store_repository_report(void *arg, const struct store_repository_usage *usage);
/* In the order of their names, page by page. */
int store_repository_usages(struct store_view *v, const struct store_page *page,
			    store_repository_report *report, void *arg, struct err *err);

/* ---- Check and repair ---- */

enum store_repair_kind { STORE_REPAIR_NAR, STORE_REPAIR_BLOB };
/* Something damaged that is wanted again, and who has it. */
struct store_repair_request {
	enum store_repair_kind kind;
	struct store_view *view;
	const char *path;        /* NAR: base name of a store path of the view */
	const char *repository;  /* BLOB */
	const struct hash *hash; /* NarHash, or digest */
};
/* Puts it again, as a client would (store_nar_put(), upload_finish()). 0, or < 0: not to be had. */
typedef int store_repair_fn(void *arg, const struct store_repair_request *request, struct err *err);

/* Who gets things back from elsewhere, for every check that begins from now on. */
void store_set_repair(struct store *s, store_repair_fn *fetch, void *arg);

struct store_check_options {
	bool repair; /* quarantine what is damaged, and get it again where that is possible */
	store_check_report *report;
	void *arg;
	store_repair_fn *fetch; /* NULL: that of store_set_repair() */
	void *fetch_arg;
	_Atomic bool *cancel; /* E_CANCELLED soon after it becomes true; may be NULL */
};
struct store_check_result {
	uint64_t defects;     /* found */
	uint64_t quarantined; /* objects that are not served any more */
	uint64_t repaired;    /* objects that are whole, and sums that are right again */
	uint64_t lost;        /* objects that are quarantined in the end */
};
/* store_check() with all that. Damaged objects are moved to DIR/quarantine/; what needs them is
 * answered as if it were not there, until it is put again. */
int store_check_repair(struct store *s, const struct store_check_options *options,
		       struct store_check_result *ret, struct err *err);

/* ---- Backup ---- */

struct store_backup_options {
	bool copy;            /* no hard links, even where they are possible */
	_Atomic bool *cancel; /* may be NULL */
};
struct store_backup_result {
	uint64_t objects, linked, bytes; /* bytes: copied, with the database */
};
/* Makes directory `dir` (absolute; must not be there, or be empty) a data directory as this one is
 * now. On failure it is removed again. E_EXISTS. */
int store_backup(struct store *s, const char *dir, const struct store_backup_options *options,
		 struct store_backup_result *ret, struct err *err);

#endif
