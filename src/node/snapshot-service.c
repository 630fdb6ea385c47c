/* SPDX-License-Identifier: Apache-2.0 */
/* containerd.services.snapshots.v1.Snapshots over snapshotter.h: messages in, messages out. */
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "node/snapshot-metrics.h"
#include "node/snapshotter.h"
#include "snapshots.pb-c.h"

#define SERVICE "/containerd.services.snapshots.v1.Snapshots/"

enum {
	LIST_BATCH = 100,        /* infos a message */
	LIST_BYTES = 1 << 20,    /* with these a message is full */
	LABEL_MAX = 4096,        /* key and value, as containerd has it */
	UNPACKED_MAX = 64 << 20, /* memory of one request's messages */
	UNPACKED_BLOCK_OVERHEAD = 32,
};

/* ---- messages ---- */

/* Tiny repeated fields take far more memory than bytes on the wire. */
struct arena {
	ProtobufCAllocator allocator;
	size_t used;
};

static void *arena_alloc(void *data, size_t size)
{
	struct arena *a = data;

	if (size > UNPACKED_MAX || a->used + size + UNPACKED_BLOCK_OVERHEAD > UNPACKED_MAX)
		return NULL;
	a->used += size + UNPACKED_BLOCK_OVERHEAD;
	return malloc(size);
}

static void arena_free(void *data, void *p)
{
	(void)data;
	free(p);
}

/* SPEC containerd errdefs: what each failure is for its client */
static enum grpc_code code_of(int code)
{
	switch (code) {
	case E_NOTFOUND:
		return GRPC_NOT_FOUND;
	case E_EXISTS:
		return GRPC_ALREADY_EXISTS;
	case E_CONFLICT:
		return GRPC_FAILED_PRECONDITION;
	case E_INVALID:
	case E_USAGE:
		return GRPC_INVALID_ARGUMENT;
	case E_DENIED:
		return GRPC_PERMISSION_DENIED;
	case E_UNSUPPORTED:
		return GRPC_UNIMPLEMENTED;
	case E_LIMIT:
	case E_NOMEM:
		return GRPC_RESOURCE_EXHAUSTED;
	case E_CANCELLED:
		return GRPC_CANCELLED;
	case E_INTERNAL:
		return GRPC_INTERNAL;
	default:
		return GRPC_UNKNOWN;
	}
}

static void fail(struct grpc_call *call, const char *what, const struct err *err)
{
	enum grpc_code code = code_of(err->code);

	if (code == GRPC_UNKNOWN || code == GRPC_INTERNAL)
		log_error("%s: %s", what, err->text);
	grpc_call_fail(call, code, "%s", err->text);
}

/* NULL: the call has failed. */
static void *unpack(struct grpc_call *call, const ProtobufCMessageDescriptor *type,
		    struct arena *arena)
{
	void *message;

	*arena = (struct arena){.allocator = {arena_alloc, arena_free, arena}};
	message = protobuf_c_message_unpack(type, &arena->allocator, call->request.len,
					    call->request.data);
	if (!message)
		grpc_call_fail(call, GRPC_INVALID_ARGUMENT,
			       "the request is malformed or too large");
	return message;
}

static void reply(struct grpc_call *call, const void *message)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	cleanup_free uint8_t *data = xmalloc(len + 1);

	protobuf_c_message_pack(message, data);
	if (grpc_call_add(call, data, len) < 0)
		grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED, "the reply is too large");
}

static void reply_empty(struct grpc_call *call)
{
	const Pb__Empty empty = PB__EMPTY__INIT;

	reply(call, &empty);
}

/* The wire may have a key twice: the last one counts, as in any map. */
static int take_labels(struct annotations *ret, Pb__Pair *const *pairs, size_t n, struct err *err)
{
	struct annotations labels = {0};

	for (size_t i = 0; i < n; i++) {
		if (strlen(pairs[i]->key) + strlen(pairs[i]->value) > LABEL_MAX) {
			annotations_release(&labels);
			return err_set(err, E_INVALID, "label %.64s…: longer than %d bytes",
				       pairs[i]->key, LABEL_MAX);
		}
		annotations_append(&labels, pairs[i]->key, pairs[i]->value);
	}
	annotations_sort(&labels);
	*ret = labels;
	return 0;
}

/* ---- infos ---- */

/* A message with all that it points to. */
struct info_message {
	Pb__Info info;
	Pb__Time created, updated;
	Pb__Pair *pairs;     /* owned */
	Pb__Pair **pointers; /* owned */
	struct snapshot row; /* owned */
};

static Pb__Time make_time(int64_t ns)
{
	Pb__Time t = PB__TIME__INIT;

	t.seconds = ns / 1000000000;
	t.nanos = (int32_t)(ns % 1000000000);
	return t;
}

/* Takes over the row. `m` must stay where it is. */
static void info_init(struct info_message *m, struct snapshot *row)
{
	m->row = *row;
	*row = (struct snapshot){0};
	m->info = (Pb__Info)PB__INFO__INIT;
	m->created = make_time(m->row.created_ns);
	m->updated = make_time(m->row.updated_ns);
	m->info.name = m->row.name;
	m->info.parent = m->row.parent;
	m->info.kind = (Pb__Kind)m->row.kind;
	m->info.created_at = &m->created;
	m->info.updated_at = &m->updated;
	m->pairs = xcalloc(m->row.labels.len + 1, sizeof(*m->pairs));
	m->pointers = xcalloc(m->row.labels.len + 1, sizeof(*m->pointers));
	for (size_t i = 0; i < m->row.labels.len; i++) {
		m->pairs[i] = (Pb__Pair)PB__PAIR__INIT;
		m->pairs[i].key = m->row.labels.items[i].key;
		m->pairs[i].value = m->row.labels.items[i].value;
		m->pointers[i] = &m->pairs[i];
	}
	m->info.labels = m->pointers;
	m->info.n_labels = m->row.labels.len;
}

static void info_release(struct info_message *m)
{
	free(m->pairs);
	free(m->pointers);
	snapshot_release(&m->row);
}

static void reply_info(struct grpc_call *call, struct snapshot *row)
{
	Pb__InfoResponse response = PB__INFO_RESPONSE__INIT;
	struct info_message m;

	info_init(&m, row);
	response.info = &m.info;
	reply(call, &response);
	info_release(&m);
}

static void reply_mount(struct grpc_call *call, const struct snapshot_mount *mount)
{
	Pb__MountsResponse response = PB__MOUNTS_RESPONSE__INIT;
	Pb__Mount message = PB__MOUNT__INIT;
	Pb__Mount *messages[] = {&message};

	message.type = (char *)(uintptr_t)mount->type;
	message.source = mount->source;
	message.options = mount->options.items;
	message.n_options = mount->options.len;
	response.mounts = messages;
	response.n_mounts = 1;
	reply(call, &response);
}

/* ---- methods ---- */

static void prepare_or_view(struct snapshotter *s, struct grpc_call *call, enum snapshot_kind kind)
{
	cleanup_snapshot_mount struct snapshot_mount mount = {0};
	struct snapshot_request what;
	struct annotations labels = {0};
	struct err err = ERR_INIT;
	struct arena arena;
	Pb__PrepareRequest *request = unpack(call, &pb__prepare_request__descriptor, &arena);

	if (!request)
		return;
	what = (struct snapshot_request){kind, request->key, request->parent, &labels};
	if (take_labels(&labels, request->labels, request->n_labels, &err) < 0 ||
	    snapshotter_prepare(s, &what, &mount, &err) < 0)
		fail(call, "prepare", &err);
	else
		reply_mount(call, &mount);
	annotations_release(&labels);
	pb__prepare_request__free_unpacked(request, &arena.allocator);
}

static void handle_prepare(void *data, struct grpc_call *call)
{
	prepare_or_view(data, call, SNAPSHOT_ACTIVE);
}

static void handle_view(void *data, struct grpc_call *call)
{
	prepare_or_view(data, call, SNAPSHOT_VIEW);
}

static void handle_commit(void *data, struct grpc_call *call)
{
	struct annotations labels = {0};
	struct err err = ERR_INIT;
	struct arena arena;
	Pb__CommitRequest *request = unpack(call, &pb__commit_request__descriptor, &arena);
	int r;

	if (!request)
		return;
	if (*request->parent)
		r = err_set(&err, E_UNSUPPORTED, SNAPSHOT_NO_REBASE);
	else
		r = take_labels(&labels, request->labels, request->n_labels, &err);
	if (r >= 0)
		r = snapshotter_commit(data, request->name, request->key, &labels, &err);
	if (r < 0)
		fail(call, "commit", &err);
	else
		reply_empty(call);
	annotations_release(&labels);
	pb__commit_request__free_unpacked(request, &arena.allocator);
}

static void handle_update(void *data, struct grpc_call *call)
{
	cleanup_snapshot struct snapshot row = {0};
	cleanup_strv struct strv mask = {0};
	struct annotations labels = {0};
	struct err err = ERR_INIT;
	struct arena arena;
	Pb__UpdateRequest *request = unpack(call, &pb__update_request__descriptor, &arena);
	int r;

	if (!request)
		return;
	for (size_t i = 0; request->update_mask && i < request->update_mask->n_paths; i++)
		strv_add(&mask, request->update_mask->paths[i]);
	if (request->info)
		r = take_labels(&labels, request->info->labels, request->info->n_labels, &err);
	else
		r = err_set(&err, E_INVALID, "an update needs an info");
	if (r >= 0)
		r = snapshotter_update(data, request->info->name, &labels, &mask, &row, &err);
	if (r < 0)
		fail(call, "update", &err);
	else
		reply_info(call, &row);
	annotations_release(&labels);
	pb__update_request__free_unpacked(request, &arena.allocator);
}

/* Mounts, Remove, Stat, Usage: a key alone. */
static void with_key(void *data, struct grpc_call *call, const char *what,
		     int (*act)(struct snapshotter *s, const char *key, struct grpc_call *call,
				struct err *err))
{
	struct err err = ERR_INIT;
	struct arena arena;
	Pb__KeyRequest *request = unpack(call, &pb__key_request__descriptor, &arena);

	if (!request)
		return;
	if (act(data, request->key, call, &err) < 0)
		fail(call, what, &err);
	pb__key_request__free_unpacked(request, &arena.allocator);
}

static int do_mounts(struct snapshotter *s, const char *key, struct grpc_call *call,
		     struct err *err)
{
	cleanup_snapshot_mount struct snapshot_mount mount = {0};

	if (snapshotter_mounts(s, key, &mount, err) < 0)
		return err->code;
	reply_mount(call, &mount);
	return 0;
}

static int do_remove(struct snapshotter *s, const char *key, struct grpc_call *call,
		     struct err *err)
{
	if (snapshotter_remove(s, key, err) < 0)
		return err->code;
	reply_empty(call);
	return 0;
}

static int do_stat(struct snapshotter *s, const char *key, struct grpc_call *call, struct err *err)
{
	cleanup_snapshot struct snapshot row = {0};

	if (snapshotter_stat(s, key, &row, err) < 0)
		return err->code;
	reply_info(call, &row);
	return 0;
}

static int do_usage(struct snapshotter *s, const char *key, struct grpc_call *call, struct err *err)
{
	Pb__UsageResponse response = PB__USAGE_RESPONSE__INIT;

	if (snapshotter_usage(s, key, &response.size, &response.inodes, err) < 0)
		return err->code;
	reply(call, &response);
	return 0;
}

static int do_cleanup(struct snapshotter *s, const char *key, struct grpc_call *call,
		      struct err *err)
{
	(void)key;
	if (snapshotter_cleanup(s, err) < 0)
		return err->code;
	reply_empty(call);
	return 0;
}

static void handle_mounts(void *data, struct grpc_call *call)
{
	with_key(data, call, "mounts", do_mounts);
}

static void handle_remove(void *data, struct grpc_call *call)
{
	with_key(data, call, "remove", do_remove);
}

static void handle_stat(void *data, struct grpc_call *call)
{
	with_key(data, call, "stat", do_stat);
}

static void handle_usage(void *data, struct grpc_call *call)
{
	with_key(data, call, "usage", do_usage);
}

static void handle_cleanup(void *data, struct grpc_call *call)
{
	with_key(data, call, "cleanup", do_cleanup);
}

/* ---- list ---- */

/* A part of the list is one message. */
struct list {
	struct grpc_call *call;
	struct info_message messages[LIST_BATCH];
	Pb__Info *infos[LIST_BATCH];
	size_t len, bytes;
	const char *ref; /* borrowed; only snapshots with this label; NULL: all */
};

static void list_send(struct list *l)
{
	Pb__ListResponse response = PB__LIST_RESPONSE__INIT;

	response.info = l->infos;
	response.n_info = l->len;
	if (l->len && l->call->code == GRPC_OK)
		reply(l->call, &response);
	for (size_t i = 0; i < l->len; i++)
		info_release(&l->messages[i]);
}

static void copy_row(struct snapshot *ret, const struct snapshot *row)
{
	*ret = (struct snapshot){
		.name = xstrdup(row->name),
		.parent = xstrdup(row->parent),
		.kind = row->kind,
		.created_ns = row->created_ns,
		.updated_ns = row->updated_ns,
	};
	annotations_copy(&ret->labels, &row->labels);
}

/* 1: the message is full. */
static int list_take(void *data, const struct snapshot *row, struct err *err)
{
	struct list *l = data;
	const char *ref = annotations_get(&row->labels, "containerd.io/snapshot.ref");
	struct info_message *m = &l->messages[l->len];
	struct snapshot copy;

	if (l->ref && (!ref || strcmp(ref, l->ref) != 0))
		return 0;
	if (atomic_load(&l->call->cancelled))
		return err_set(err, E_CANCELLED, "nobody waits for the list");
	l->call->cursor = row->id;
	copy_row(&copy, row);
	info_init(m, &copy);
	l->infos[l->len++] = &m->info;
	l->bytes += protobuf_c_message_get_packed_size(&m->info.base);
	return l->len == LIST_BATCH || l->bytes >= LIST_BYTES;
}

/* containerd compares again what it gets, so a filter may be left out; the one that it asks for
 * every layer is not: `labels."containerd.io/snapshot.ref"==sha256:…,parent=="…"`. */
static char *ref_of_filters(const Pb__ListRequest *request)
{
	static const char prefix[] = "labels.\"containerd.io/snapshot.ref\"==";
	const char *value;

	if (request->n_filters != 1 ||
	    strncmp(request->filters[0], prefix, sizeof(prefix) - 1) != 0)
		return NULL;
	value = request->filters[0] + sizeof(prefix) - 1;
	value += *value == '"';
	if (strncmp(value, "sha256:", 7) != 0 || strspn(value + 7, "0123456789abcdef") != 64)
		return NULL;
	return xstrndup(value, 7 + 64);
}

/* A message at a time, each once the client has taken the one before: image authors choose how much there is in labels. Between
 * two the lock is free; a snapshot that is there all the while is in the list once. */
static void handle_list(void *data, struct grpc_call *call)
{
	struct list *l = xcalloc(1, sizeof(*l));
	cleanup_free char *ref = NULL;
	struct err err = ERR_INIT;
	struct arena arena;
	Pb__ListRequest *request = unpack(call, &pb__list_request__descriptor, &arena);
	int r;

	if (request) {
		ref = ref_of_filters(request);
		l->ref = ref;
		l->call = call;
		r = snapshotter_list(data, call->cursor, list_take, l, &err);
		if (r < 0)
			fail(call, "list", &err);
		call->has_more = r > 0;
		list_send(l);
		pb__list_request__free_unpacked(request, &arena.allocator);
	}
	free(l);
}

const struct grpc_method snapshot_methods[] = {
	{SERVICE "Prepare", handle_prepare},
	{SERVICE "View", handle_view},
	{SERVICE "Mounts", handle_mounts},
	{SERVICE "Commit", handle_commit},
	{SERVICE "Remove", handle_remove},
	{SERVICE "Stat", handle_stat},
	{SERVICE "Update", handle_update},
	{SERVICE "List", handle_list},
	{SERVICE "Usage", handle_usage},
	{SERVICE "Cleanup", handle_cleanup},
	{NULL, NULL},
};
_Static_assert(ARRAY_LEN(snapshot_methods) == SNAPSHOT_METHODS + 1, "counted by number");
