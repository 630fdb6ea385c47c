/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/node-ready.h"

#define HEAD "nacre ready 1\n"
#define END  "end\n"

enum {
	NAME_SIZE = 140,
	TEXT_MAX = 1 << 20,
	HEX_LEN = 64,
	TICK_NS = 100000000, /* the clock of files goes on with each tick of the kernel's */
	COARSE_NS = 2000000000,
};

void node_ready_release(struct node_ready *r)
{
	free(r->image);
	free(r->data_dir);
	strv_release(&r->layers);
	*r = (struct node_ready){0};
}

/* A directory's ctime changes with each name that comes or goes, and nobody can set it. */
static bool add_dir(struct buf *text, const struct node_store *store, const char *name,
		    bool *is_settled)
{
	cleanup_free char *path = xasprintf("%s/%s", node_store_root(store), name);
	struct timespec now;
	struct stat st;
	int64_t age_ns;

	if (clock_gettime(CLOCK_REALTIME, &now) < 0 || stat(path, &st) < 0)
		return false;
	age_ns = (int64_t)(now.tv_sec - st.st_ctim.tv_sec) * 1000000000 + now.tv_nsec -
		 st.st_ctim.tv_nsec;
	/* Some file systems know whole seconds alone. */
	if (age_ns < (st.st_ctim.tv_nsec ? TICK_NS : COARSE_NS))
		*is_settled = false;
	return buf_addf(text, "%s %llu %llu %lld.%09ld %lld.%09ld\n", name,
			(unsigned long long)st.st_dev, (unsigned long long)st.st_ino,
			(long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec,
			(long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec) >= 0;
}

void node_stamp_take(struct node_stamp *ret, const struct node_store *store)
{
	cleanup_buf struct buf text = BUF_INIT(sizeof(ret->text) - 1);
	bool is_settled = true;

	*ret = (struct node_stamp){0};
	if (!add_dir(&text, store, "paths", &is_settled) ||
	    !add_dir(&text, store, "layers", &is_settled))
		return;
	memcpy(ret->text, text.data, text.len);
	ret->is_settled = is_settled;
}

static void file_name(char ret[NAME_SIZE], const struct hash *manifest)
{
	hash_format_bare(ret, manifest, HASH_HEX);
	memcpy(ret + strlen(ret), ".ready", sizeof(".ready"));
}

/* Takes "WORD HEX" off the lines. */
static bool take_hex(struct slice *text, const char *word, char ret[HEX_LEN + 1])
{
	size_t len = strlen(word);
	struct slice line = *text;
	struct hash hash;

	if (!slice_has_prefix(line, word) || line.len < len + HEX_LEN + 1)
		return false;
	slice_advance(&line, len);
	if (hash_parse(&hash, HASH_SHA256, slice_make(line.data, HEX_LEN)) < 0)
		return false;
	hash_format_bare(ret, &hash, HASH_HEX);
	slice_advance(&line, HEX_LEN);
	*text = line;
	return true;
}

static bool take_count(struct slice *text, size_t *ret)
{
	size_t n = 0;

	if (!text->len || *text->data != ' ')
		return false;
	slice_advance(text, 1);
	while (text->len && *text->data >= '0' && *text->data <= '9' && n < INT32_MAX) {
		n = n * 10 + (size_t)(*text->data - '0');
		slice_advance(text, 1);
	}
	*ret = n;
	return n > 0 && n < INT32_MAX;
}

static bool take_newline(struct slice *text)
{
	bool is_there = text->len && *text->data == '\n';

	if (is_there)
		slice_advance(text, 1);
	return is_there;
}

static bool parse(struct node_ready *ret, const char *root, struct slice text)
{
	char hex[HEX_LEN + 1];

	if (!take_hex(&text, "view ", hex) || !take_count(&text, &ret->n_paths) ||
	    !take_newline(&text))
		return false;
	ret->image = xasprintf("%s/views/%s.erofs", root, hex);
	ret->data_dir = xasprintf("%s/paths", root);
	while (take_hex(&text, "layer ", hex)) {
		if (!take_newline(&text))
			return false;
		strv_addf(&ret->layers, "%s/layers/%s", root, hex);
	}
	return text.len == strlen(END) && slice_has_prefix(text, END);
}

bool node_ready_load(struct node_ready *ret, const struct node_store *store,
		     const struct hash *manifest)
{
	cleanup_free char *views = xasprintf("%s/views", node_store_root(store));
	cleanup_fd int dir = open(views, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_buf struct buf text = {0};
	struct node_ready ready = {0};
	struct err ignored = ERR_INIT;
	struct node_stamp stamp;
	struct slice rest;
	char name[NAME_SIZE];

	file_name(name, manifest);
	node_stamp_take(&stamp, store);
	if (dir < 0 || !*stamp.text || read_file_at(dir, name, TEXT_MAX, &text, &ignored) < 0)
		return false;
	rest = buf_slice(&text);
	if (!slice_has_prefix(rest, HEAD))
		return false;
	slice_advance(&rest, strlen(HEAD));
	if (!slice_has_prefix(rest, stamp.text))
		return false;
	slice_advance(&rest, strlen(stamp.text));
	if (!parse(&ready, node_store_root(store), rest) || access(ready.image, F_OK) < 0) {
		node_ready_release(&ready);
		return false;
	}
	*ret = ready;
	return true;
}

/* The last part of a path, without its ending. */
static void add_name(struct buf *text, const char *word, const char *path)
{
	const char *base = strrchr(path, '/') + 1;

	buf_addf(text, "%s %.*s", word, (int)strcspn(base, "."), base);
}

void node_ready_store(const struct node_ready *ready, const struct node_store *store,
		      const struct hash *manifest, const struct node_stamp *stamp)
{
	cleanup_free char *views = xasprintf("%s/views", node_store_root(store));
	cleanup_fd int dir = open(views, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_temp_file struct temp_file t = TEMP_FILE_INIT;
	cleanup_buf struct buf text = BUF_INIT(TEXT_MAX);
	struct err ignored = ERR_INIT;
	char name[NAME_SIZE];

	if (dir < 0 || !*stamp->text || !stamp->is_settled)
		return;
	file_name(name, manifest);
	buf_addf(&text, HEAD "%s", stamp->text);
	add_name(&text, "view", ready->image);
	buf_addf(&text, " %zu\n", ready->n_paths);
	for (size_t i = 0; i < ready->layers.len; i++) {
		add_name(&text, "layer", ready->layers.items[i]);
		buf_addf(&text, "\n");
	}
	if (buf_addf(&text, END) >= 0 && temp_file_open(&t, dir, &ignored) >= 0 &&
	    write_full(t.fd, text.data, text.len) >= 0)
		temp_file_commit(&t, dir, name, true, false, &ignored);
}
