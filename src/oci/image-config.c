/* SPDX-License-Identifier: Apache-2.0 */
/* SPEC image-spec config.md */
#include "base/mem.h"
#include "oci/oci-internal.h"

void image_config_add_diff_id(struct image_config *c, const struct hash *diff_id)
{
	c->diff_ids = xreallocarray(c->diff_ids, c->n_diff_ids + 1, sizeof(*c->diff_ids));
	c->diff_ids[c->n_diff_ids++] = *diff_id;
}

void image_config_add_history(struct image_config *c, const struct image_history *h)
{
	c->history = xreallocarray(c->history, c->n_history + 1, sizeof(*c->history));
	c->history[c->n_history++] = (struct image_history){
		.created = copy_or_null(h->created),
		.created_by = copy_or_null(h->created_by),
		.author = copy_or_null(h->author),
		.comment = copy_or_null(h->comment),
		.empty_layer = h->empty_layer,
	};
}

void image_config_platform(struct platform *ret, const struct image_config *c)
{
	*ret = (struct platform){
		.architecture = copy_or_null(c->architecture),
		.os = copy_or_null(c->os),
		.variant = copy_or_null(c->variant),
		.os_version = copy_or_null(c->os_version),
	};
}

void image_config_release(struct image_config *c)
{
	free(c->architecture);
	free(c->os);
	free(c->variant);
	free(c->os_version);
	free(c->created);
	free(c->author);
	free(c->user);
	free(c->working_dir);
	free(c->stop_signal);
	strv_release(&c->env);
	strv_release(&c->entrypoint);
	strv_release(&c->cmd);
	strv_release(&c->exposed_ports);
	strv_release(&c->volumes);
	annotations_release(&c->labels);
	free(c->diff_ids);
	for (size_t i = 0; i < c->n_history; i++) {
		free(c->history[i].created);
		free(c->history[i].created_by);
		free(c->history[i].author);
		free(c->history[i].comment);
	}
	free(c->history);
	*c = (struct image_config){0};
}

/* One text member of an object. */
struct text_member {
	const char *key;
	bool required;
	char **ret;
};

/* Docker and Go write "" for what is not set; it is absent here. */
static int parse_texts(const json_t *obj, const char *where, const struct text_member *members,
		       size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		const char *text = "";
		int r = json_get_text(obj, where, members[i].key, members[i].required, &text, err);

		if (r < 0)
			return r;
		if (*text || members[i].required)
			*members[i].ret = xstrdup(text);
	}
	return 0;
}

/* The keys of {"item": {}, …}. */
static int parse_set(const json_t *obj, const char *where, const char *key, struct strv *ret,
		     struct err *err)
{
	json_t *map, *value;
	const char *name;
	int r = json_get_object(obj, where, key, false, &map, err);

	if (r <= 0)
		return r;
	json_object_foreach (map, name, value) {
		if (!json_is_object(value) && !json_is_null(value))
			return err_set(err, E_INVALID, "%s.%s.%s: must be an object", where, key,
				       name);
		strv_add(ret, name);
	}
	strv_sort_unique(ret);
	return 0;
}

/* An array of texts; Docker of old wrote a single text. */
static int parse_command(const json_t *obj, const char *key, struct strv *ret, struct err *err)
{
	json_t *value = json_object_get(obj, key);

	if (!json_is_string(value))
		return json_get_texts(obj, "config", key, ret, err);
	strv_add(ret, json_string_value(value));
	return 0;
}

static int parse_run_config(struct image_config *c, const json_t *doc, struct err *err)
{
	const struct text_member texts[] = {
		{"User", false, &c->user},
		{"WorkingDir", false, &c->working_dir},
		{"StopSignal", false, &c->stop_signal},
	};
	json_t *run;
	int r = json_get_object(doc, "", "config", false, &run, err);

	if (r <= 0)
		return r;
	r = parse_texts(run, "config", texts, ARRAY_LEN(texts), err);
	if (r >= 0)
		r = json_get_texts(run, "config", "Env", &c->env, err);
	if (r >= 0)
		r = parse_command(run, "Entrypoint", &c->entrypoint, err);
	if (r >= 0)
		r = parse_command(run, "Cmd", &c->cmd, err);
	if (r >= 0)
		r = parse_set(run, "config", "ExposedPorts", &c->exposed_ports, err);
	if (r >= 0)
		r = parse_set(run, "config", "Volumes", &c->volumes, err);
	if (r >= 0)
		r = parse_annotations(run, "config", "Labels", &c->labels, err);
	return r;
}

static int parse_rootfs(struct image_config *c, const json_t *doc, struct err *err)
{
	cleanup_strv struct strv ids = {0};
	const char *type = "layers";
	json_t *rootfs;
	int r = json_get_object(doc, "", "rootfs", true, &rootfs, err);

	if (r >= 0)
		r = json_get_text(rootfs, "rootfs", "type", false, &type, err);
	if (r < 0)
		return r;
	if (strcmp(type, "layers") != 0)
		return err_set(err, E_INVALID, "rootfs.type: must be 'layers'");
	r = json_get_texts(rootfs, "rootfs", "diff_ids", &ids, err);
	if (r < 0)
		return r;
	if (ids.len > MANIFEST_DESCRIPTORS_MAX)
		return err_set(err, E_LIMIT,
			       "rootfs.diff_ids: has %zu entries, at most %d are "
			       "accepted",
			       ids.len, MANIFEST_DESCRIPTORS_MAX);
	c->diff_ids = xcalloc(ids.len + 1, sizeof(*c->diff_ids));
	for (size_t i = 0; i < ids.len; i++) {
		r = digest_parse_err(&c->diff_ids[i], slice_str(ids.items[i]), err);
		if (r < 0)
			return err_wrap(err, "rootfs.diff_ids[%zu]", i);
	}
	c->n_diff_ids = ids.len;
	return 0;
}

static int parse_history(struct image_config *c, const json_t *doc, struct err *err)
{
	json_t *list, *item;
	char where[40];
	size_t i;
	int r = json_get_array(doc, "", "history", false, &list, err);

	if (r <= 0)
		return r;
	c->history = xcalloc(json_array_size(list) + 1, sizeof(*c->history));
	json_array_foreach (list, i, item) {
		struct image_history *h = &c->history[i];
		const struct text_member texts[] = {
			{"created", false, &h->created},
			{"created_by", false, &h->created_by},
			{"author", false, &h->author},
			{"comment", false, &h->comment},
		};

		c->n_history = i + 1;
		snprintf(where, sizeof(where), "history[%zu]", i);
		if (!json_is_object(item))
			return err_set(err, E_INVALID, "%s: must be an object", where);
		r = parse_texts(item, where, texts, ARRAY_LEN(texts), err);
		if (r >= 0)
			r = json_get_bool(item, where, "empty_layer", &h->empty_layer, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int fill(struct image_config *c, const json_t *doc, struct err *err)
{
	const struct text_member texts[] = {
		{"architecture", true, &c->architecture}, {"os", true, &c->os},
		{"variant", false, &c->variant},          {"os.version", false, &c->os_version},
		{"created", false, &c->created},          {"author", false, &c->author},
	};
	int r;

	if (!json_is_object(doc))
		return err_set(err, E_INVALID, "must be a JSON object");
	r = parse_texts(doc, "", texts, ARRAY_LEN(texts), err);
	if (r >= 0)
		r = parse_run_config(c, doc, err);
	if (r >= 0)
		r = parse_rootfs(c, doc, err);
	if (r >= 0)
		r = parse_history(c, doc, err);
	return r;
}

int image_config_parse(struct image_config *ret, struct slice bytes, struct err *err)
{
	cleanup_image_config struct image_config c = {0};
	cleanup_json json_t *doc = NULL;
	int r = json_parse(&doc, bytes, IMAGE_CONFIG_BYTES_MAX, err);

	if (r >= 0)
		r = fill(&c, doc, err);
	if (r < 0)
		return err_wrap(err, "image configuration");
	*ret = c;
	c = (struct image_config){0};
	return 0;
}

static json_t *build_run_config(const struct image_config *c)
{
	struct json_builder b = {0};

	build_text(&b, "User", c->user);
	build_set(&b, "ExposedPorts", &c->exposed_ports);
	build_texts(&b, "Env", &c->env);
	build_texts(&b, "Entrypoint", &c->entrypoint);
	build_texts(&b, "Cmd", &c->cmd);
	build_set(&b, "Volumes", &c->volumes);
	build_text(&b, "WorkingDir", c->working_dir);
	build_annotations(&b, "Labels", &c->labels);
	build_text(&b, "StopSignal", c->stop_signal);
	return build_end(&b);
}

static json_t *build_rootfs(const struct image_config *c)
{
	struct json_builder b = {0};
	json_t *ids = json_array();
	char digest[DIGEST_TEXT_MAX];

	for (size_t i = 0; i < c->n_diff_ids; i++) {
		digest_format(digest, &c->diff_ids[i]);
		json_array_append_new(ids, json_string(digest));
	}
	build_text(&b, "type", "layers");
	build_value(&b, "diff_ids", ids);
	return build_end(&b);
}

static json_t *build_history(const struct image_config *c)
{
	json_t *list = json_array();

	for (size_t i = 0; i < c->n_history; i++) {
		const struct image_history *h = &c->history[i];
		struct json_builder b = {0};
		json_t *item;

		build_text(&b, "created", h->created);
		build_text(&b, "created_by", h->created_by);
		build_text(&b, "author", h->author);
		build_text(&b, "comment", h->comment);
		if (h->empty_layer)
			build_value(&b, "empty_layer", json_true());
		item = build_end(&b);
		if (!item || json_array_append_new(list, item) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

int image_config_build(struct buf *ret, const struct image_config *c)
{
	struct json_builder b = {0};

	build_value(&b, "architecture", json_string(c->architecture));
	build_value(&b, "os", json_string(c->os));
	build_text(&b, "variant", c->variant);
	build_text(&b, "os.version", c->os_version);
	build_text(&b, "created", c->created);
	build_text(&b, "author", c->author);
	build_value(&b, "config", build_run_config(c));
	build_value(&b, "history", build_history(c));
	build_value(&b, "rootfs", build_rootfs(c));
	return build_write(ret, build_end(&b), IMAGE_CONFIG_BYTES_MAX);
}
