/* SPDX-License-Identifier: Apache-2.0 */
/* The commands. */
#include "serve/admin.h"

#include <string.h>

#include <nacre/json.h>
#include <nacre/pathinfo.h>
#include <nacre/reference.h>

#include "base/mem.h"
#include "store/upkeep.h"

enum { GC_SLICE_MS = 500, PAGE = 1000 };

struct command {
	struct store *store;
	const json_t *request;
	const struct admin_caller *caller; /* or NULL */
	struct admin_output *out;
	struct store_gc_result shown; /* of what the caller saw going */
};

/* `view` is the name of one; `repository` is a name within it, or "" for its cache. */
static bool may(const struct command *cmd, const char *view, const char *repository)
{
	cleanup_free char *name = NULL;

	if (!cmd->caller)
		return true;
	if (!repository || !repository[0])
		return cmd->caller->may(cmd->caller->arg, true, view[0] ? view : "/");
	name = xasprintf("%s%s%s", view, view[0] ? "/" : "", repository);
	return cmd->caller->may(cmd->caller->arg, false, name);
}

static void emit(struct command *cmd, const char *key, json_t *value)
{
	json_t *line = json_pack("{s:o}", key, value);

	if (line)
		cmd->out->line(cmd->out, line);
	json_decref(line);
}

static json_t *number(uint64_t n)
{
	return json_integer((json_int_t)(n < INT64_MAX ? n : INT64_MAX));
}

/* Names of ours are UTF-8; should one not be, it is left out. */
static json_t *text(const char *s)
{
	json_t *value = json_string(s);

	return value ? value : json_null();
}

static void set_number(json_t *object, const char *key, uint64_t n)
{
	json_object_set_new(object, key, number(n));
}

/* ---- Garbage ---- */

/* What is of a repository is named REPOSITORY:TAG or REPOSITORY@DIGEST. */
static bool may_see(const struct command *cmd, const struct store_gc_item *item)
{
	cleanup_free char *name = xstrdup(item->name);
	char *end;

	if (item->cache)
		return may(cmd, item->cache, "");
	end = strchr(name, '@');
	if (!end)
		end = strrchr(name, ':');
	if (end)
		*end = '\0';
	return may(cmd, "", name);
}

static void gone(void *arg, const struct store_gc_item *item)
{
	struct command *cmd = arg;
	json_t *value;

	if (!may_see(cmd, item))
		return;
	cmd->shown.tags += strcmp(item->kind, "tag") == 0;
	cmd->shown.manifests += strcmp(item->kind, "manifest") == 0;
	cmd->shown.blobs += strcmp(item->kind, "blob") == 0;
	cmd->shown.paths += strcmp(item->kind, "path") == 0;
	value = json_object();

	json_object_set_new(value, "kind", text(item->kind));
	json_object_set_new(value, "name", text(item->name));
	json_object_set_new(value, "reason", text(item->reason));
	set_number(value, "bytes", item->bytes);
	emit(arg, "gone", value);
}

static json_t *gc_result(const struct store_gc_result *r)
{
	json_t *value = json_object();

	set_number(value, "tags", r->tags);
	set_number(value, "manifests", r->manifests);
	set_number(value, "blobs", r->blobs);
	set_number(value, "paths", r->paths);
	set_number(value, "objects", r->objects);
	set_number(value, "bytes", r->bytes);
	return value;
}

static void gc_add(struct store_gc_result *sum, const struct store_gc_result *add)
{
	sum->tags += add->tags;
	sum->manifests += add->manifests;
	sum->blobs += add->blobs;
	sum->paths += add->paths;
	sum->objects += add->objects;
	sum->bytes += add->bytes;
}

static int do_gc(struct command *cmd, json_t **ret, struct err *err)
{
	struct store_gc_options options = {.report = gone, .arg = cmd};
	struct store_gc_result sum = {0}, one = {.more = true};
	int r = json_get_bool(cmd->request, "request", "dry-run", &options.dry_run, err);

	/* Slice by slice, so that it can be stopped; what is found last goes from the disk in the
	 * second of the two that follow. */
	options.budget_ms = options.dry_run ? 0 : GC_SLICE_MS;
	for (int ends = 0; r >= 0 && ends < (options.dry_run ? 1 : 3);) {
		if (atomic_load(&cmd->out->cancel))
			return err_set(err, E_CANCELLED, "stopped on request");
		r = store_gc(cmd->store, &options, &one, err);
		gc_add(&sum, &one);
		ends += !one.more || options.dry_run;
	}
	if (r < 0)
		return r;
	*ret = gc_result(cmd->caller && !cmd->caller->everything ? &cmd->shown : &sum);
	json_object_set_new(*ret, "dry-run", json_boolean(options.dry_run));
	json_object_set_new(*ret, "more", json_boolean(one.more));
	return 0;
}

/* ---- Check, backup ---- */

static void defect(void *arg, const char *line)
{
	emit(arg, "defect", text(line));
}

static int do_fsck(struct command *cmd, json_t **ret, struct err *err)
{
	struct store_check_options options = {
		.report = defect, .arg = cmd, .cancel = &cmd->out->cancel};
	struct store_check_result result;
	int r = json_get_bool(cmd->request, "request", "repair", &options.repair, err);

	if (r >= 0)
		r = store_check_repair(cmd->store, &options, &result, err);
	if (r < 0)
		return r;
	*ret = json_object();
	set_number(*ret, "defects", result.defects);
	set_number(*ret, "quarantined", result.quarantined);
	set_number(*ret, "repaired", result.repaired);
	set_number(*ret, "lost", result.lost);
	return 0;
}

static int do_backup(struct command *cmd, json_t **ret, struct err *err)
{
	struct store_backup_options options = {.cancel = &cmd->out->cancel};
	struct store_backup_result result;
	const char *dir = NULL;
	int r = json_get_text(cmd->request, "request", "directory", true, &dir, err);

	if (r >= 0)
		r = json_get_bool(cmd->request, "request", "copy", &options.copy, err);
	if (r >= 0 && dir[0] != '/')
		r = err_set(err, E_USAGE, "the directory of a backup has to be absolute");
	if (r >= 0)
		r = store_backup(cmd->store, dir, &options, &result, err);
	if (r < 0)
		return r;
	*ret = json_object();
	set_number(*ret, "objects", result.objects);
	set_number(*ret, "linked", result.linked);
	set_number(*ret, "bytes", result.bytes);
	return 0;
}

/* ---- Pins ---- */

/* What "REPOSITORY[:TAG|@DIGEST]" or a store path stands for. */
struct pin_name {
	struct store_view *view;
	char *text;       /* owned; parts of it are */
	const char *base; /* of a store path, or */
	const char *repository, *reference;
};

static void pin_name_release(struct pin_name *n)
{
	free(n->text);
}

/* The view with the longest name that the repository lies in. */
static void pin_name_place(struct pin_name *n, struct store *s, const char *full)
{
	size_t len = strlen(full);

	n->view = store_root(s);
	n->repository = full;
	while (len) {
		struct store_view *v;

		while (len && full[len - 1] != '/')
			len--;
		if (!len)
			return;
		v = store_view_find(s, slice_make(full, --len));
		if (v) {
			n->view = v;
			n->repository = full + len + 1;
			return;
		}
	}
}

static int pin_name_parse(struct pin_name *n, struct command *cmd, struct err *err)
{
	const char *what = NULL, *view = "";
	struct store_path path;
	char *mark;
	int r = json_get_text(cmd->request, "request", "what", true, &what, err);

	if (r >= 0)
		r = json_get_text(cmd->request, "request", "view", false, &view, err);
	if (r < 0)
		return r;
	n->text = xstrdup(what);
	n->reference = "";
	if (what[0] == '/') {
		n->view = store_view_find(cmd->store, slice_str(view));
		if (!n->view)
			return err_set(err, E_NOTFOUND, "there is no view '%.200s'", view);
		if (store_path_parse_any(&path, slice_str(what)) < 0)
			return err_set(err, E_INVALID, "'%.300s' is no store path", what);
		n->base = n->text + (store_path_base(&path) - path.text);
		return 0;
	}
	mark = strchr(n->text, '@');
	if (!mark)
		mark = strrchr(n->text, ':');
	if (mark) {
		*mark = '\0';
		n->reference = mark + 1;
	}
	pin_name_place(n, cmd->store, n->text);
	return 0;
}

/* What may be done to a name. */
struct name_action {
	int (*path)(struct store_view *v, const char *base, struct err *err);
	int (*reference)(struct store_view *v, const char *repository, const char *reference,
			 struct err *err);
};

static int do_named(struct command *cmd, const struct name_action *action, struct err *err)
{
	__attribute__((cleanup(pin_name_release))) struct pin_name n = {0};
	int r = pin_name_parse(&n, cmd, err);

	/* The same answer whether it is there or not. */
	if (r >= 0 && !may(cmd, store_view_name(n.view), n.base ? "" : n.repository))
		return err_set(err, E_DENIED, "you may not do this here");
	if (r < 0)
		return r;
	return n.base ? action->path(n.view, n.base, err)
		      : action->reference(n.view, n.repository, n.reference, err);
}

static int do_pin(struct command *cmd, json_t **ret, struct err *err)
{
	static const struct name_action action = {store_pin_path, store_pin};

	*ret = json_object();
	return do_named(cmd, &action, err);
}

static int do_unpin(struct command *cmd, json_t **ret, struct err *err)
{
	static const struct name_action action = {store_unpin_path, store_unpin};

	*ret = json_object();
	return do_named(cmd, &action, err);
}

static int reference_delete(struct store_view *v, const char *repository, const char *reference,
			    struct err *err)
{
	if (!reference[0])
		return err_set(
			err, E_USAGE,
			"say which tag or digest of %.200s: a repository goes with the last of"
			" them",
			repository);
	return store_manifest_remove(v, repository, reference, err);
}

static int do_delete(struct command *cmd, json_t **ret, struct err *err)
{
	static const struct name_action action = {store_path_remove, reference_delete};

	*ret = json_object();
	return do_named(cmd, &action, err);
}

static void pin(void *arg, const struct store_pin_item *item)
{
	json_t *value;

	if (!may(arg, item->view, item->repository))
		return;
	value = json_object();

	json_object_set_new(value, "view", text(item->view));
	json_object_set_new(value, "repository", text(item->repository));
	json_object_set_new(value, "reference", text(item->reference));
	json_object_set_new(value, "added", json_integer(item->added));
	emit(arg, "pin", value);
}

static int do_pins(struct command *cmd, json_t **ret, struct err *err)
{
	*ret = json_object();
	return store_pins(cmd->store, pin, cmd, err);
}

/* ---- Statistics ---- */

struct usages {
	struct command *cmd;
	struct store_view *view;
	uint64_t logical; /* bytes */
	struct strv views;
	char *last; /* owned; name of a repository */
	size_t n;
};

static void view_usage(void *arg, const struct store_view_usage *u)
{
	struct usages *sum = arg;
	json_t *value;

	/* Those of a view whose cache is not his may have repositories that are. */
	strv_add(&sum->views, u->view);
	if (!may(sum->cmd, u->view, ""))
		return;
	value = json_object();
	json_object_set_new(value, "name", text(u->view));
	set_number(value, "paths", u->paths);
	set_number(value, "nar-bytes", u->nar_bytes);
	set_number(value, "path-bytes", u->bytes);
	set_number(value, "repositories", u->repositories);
	set_number(value, "repository-bytes", u->repository_bytes);
	set_number(value, "manifests", u->manifests);
	set_number(value, "tags", u->tags);
	emit(sum->cmd, "view", value);
	sum->logical += u->bytes + u->repository_bytes;
}

static void repository_usage(void *arg, const struct store_repository_usage *u)
{
	struct usages *sum = arg;
	const char *view = store_view_name(sum->view);
	json_t *value;

	free(sum->last);
	sum->last = xstrdup(u->name);
	sum->n++;
	if (!may(sum->cmd, view, u->name))
		return;
	value = json_object();
	json_object_set_new(value, "view", text(view));
	json_object_set_new(value, "name", text(u->name));
	set_number(value, "bytes", u->bytes);
	set_number(value, "blobs", u->blobs);
	set_number(value, "manifests", u->manifests);
	set_number(value, "tags", u->tags);
	emit(sum->cmd, "repository", value);
}

static int repository_usages(struct usages *sum, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < sum->views.len && r >= 0; i++) {
		struct store_page page = {PAGE, NULL};

		sum->view = store_view_find(sum->cmd->store, slice_str(sum->views.items[i]));
		for (sum->n = sum->view ? PAGE : 0; sum->n == PAGE && r >= 0;
		     page.last = sum->last) {
			sum->n = 0;
			r = store_repository_usages(sum->view, &page, repository_usage, sum, err);
		}
		free(sum->last);
		sum->last = NULL;
	}
	return r;
}

static json_t *totals(const struct store_statistics *s, uint64_t logical)
{
	uint64_t disk = s->physical_bytes - s->database_bytes;
	json_t *value = json_object();

	set_number(value, "physical-bytes", s->physical_bytes);
	set_number(value, "database-bytes", s->database_bytes);
	set_number(value, "logical-bytes", logical);
	json_object_set_new(value, "dedupe-ratio",
			    json_real(disk ? (double)logical / (double)disk : 1));
	set_number(value, "nar-bytes", s->nar_bytes);
	set_number(value, "framed-bytes", s->framed_bytes);
	set_number(value, "glue-bytes", s->glue_bytes);
	set_number(value, "opaque-bytes", s->opaque_bytes);
	set_number(value, "layer-bytes", s->layer_bytes);
	set_number(value, "nars", s->nars);
	set_number(value, "paths", s->paths);
	set_number(value, "blobs", s->blobs);
	set_number(value, "splices", s->splices);
	set_number(value, "manifests", s->manifests);
	set_number(value, "tags", s->tags);
	set_number(value, "repositories", s->repositories);
	set_number(value, "uploads", s->uploads);
	return value;
}

static int do_stats(struct command *cmd, json_t **ret, struct err *err)
{
	struct usages sum = {.cmd = cmd};
	struct store_statistics s;
	struct store_gc_result gc;
	bool repositories = false;
	int r = json_get_bool(cmd->request, "request", "repositories", &repositories, err);

	if (r >= 0)
		r = store_statistics(cmd->store, &s, err);
	if (r >= 0)
		r = store_view_usages(cmd->store, view_usage, &sum, err);
	if (r >= 0 && repositories)
		r = repository_usages(&sum, err);
	strv_release(&sum.views);
	if (r < 0)
		return r;
	if (cmd->caller && !cmd->caller->everything) {
		*ret = json_object();
		return 0;
	}
	*ret = totals(&s, sum.logical);
	store_gc_total(cmd->store, &gc);
	json_object_set_new(*ret, "collected", gc_result(&gc));
	return 0;
}

/* ---- All ---- */

typedef int command_fn(struct command *cmd, json_t **ret, struct err *err);

static const struct {
	const char *name;
	command_fn *run;
} commands[] = {
	{"gc", do_gc},       {"fsck", do_fsck}, {"backup", do_backup}, {"pin", do_pin},
	{"unpin", do_unpin}, {"pins", do_pins}, {"stats", do_stats},   {"delete", do_delete},
};

static int run(struct command *cmd, json_t **ret, struct err *err)
{
	const char *name = NULL;
	int r = json_get_text(cmd->request, "request", "command", true, &name, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return commands[i].run(cmd, ret, err);
	return err_set(err, E_USAGE, "there is no command '%.100s'", name);
}

int admin_answer(struct store *s, const json_t *request, const struct admin_caller *caller,
		 struct admin_output *o, struct err *err)
{
	struct command cmd = {.store = s, .request = request, .caller = caller, .out = o};
	cleanup_json json_t *result = NULL;
	int r = run(&cmd, &result, err);

	if (r < 0)
		return r;
	emit(&cmd, "result", json_incref(result));
	return 0;
}

int admin_execute(struct store *s, const json_t *request, struct admin_output *o)
{
	cleanup_json json_t *failure = NULL;
	struct err err = ERR_INIT;
	int r = admin_answer(s, request, NULL, o, &err);

	if (r >= 0)
		return 0;
	failure = json_object();
	json_object_set_new(failure, "error", text(err.text));
	json_object_set_new(failure, "code", text(err_code_name(r)));
	o->line(o, failure);
	return r;
}
