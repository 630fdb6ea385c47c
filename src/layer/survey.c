/* SPDX-License-Identifier: Apache-2.0 */
/* SPEC nacre 4.2: what is known of a path's programs and machine, in the pass that reads it
 * anyway. */
#include <elf.h>

#include <nacre/image.h>

#include "base/mem.h"

/* A machine is e_machine with what tells its relatives apart: x32 is no amd64, ppc64 is no ppc64le. */
enum { MACHINE_BIG_ENDIAN = 0x8000, MACHINE_32_BIT = 0x4000, MACHINE_OTHER = 0x3fff };

/* The first bytes of a file have come together. */
static void look_at_head(struct path_survey *s)
{
	uint16_t machine;

	s->at_start = false;
	if (memcmp(s->head, ELFMAG, SELFMAG) != 0)
		return;
	/* e_machine, in the byte order that the file says. */
	if (s->head[EI_DATA] == ELFDATA2MSB)
		machine = (uint16_t)(s->head[18] << 8 | s->head[19]);
	else
		machine = (uint16_t)(s->head[19] << 8 | s->head[18]);
	if (machine > MACHINE_OTHER)
		machine = MACHINE_OTHER;
	if (s->head[EI_DATA] == ELFDATA2MSB)
		machine |= MACHINE_BIG_ENDIAN;
	if (s->head[EI_CLASS] == ELFCLASS32)
		machine |= MACHINE_32_BIT;
	if (s->elf_machine && s->elf_machine != machine)
		s->elf_mixed = true;
	if (!s->elf_machine)
		s->elf_machine = machine;
}

static void take_head(struct path_survey *s, struct slice data)
{
	size_t n = sizeof(s->head) - s->head_len;

	n = n < data.len ? n : data.len;
	memcpy(s->head + s->head_len, data.data, n);
	s->head_len += n;
	if (s->head_len == sizeof(s->head))
		look_at_head(s);
}

/* Is the open directory one of those to look into? */
static bool is_wanted(const struct path_survey *s)
{
	for (size_t i = 0; i < s->dirs.len; i++)
		if (slice_equal_str(buf_slice(&s->path), s->dirs.items[i]))
			return true;
	return false;
}

/* A name that is no C string, or no UTF-8, cannot be in a root layer's links; runtimes do not
 * mind. */
static void take_entry(struct path_survey *s, const struct node_event *ev, bool is_program)
{
	if (ev->depth == 0 || memchr(ev->name.data, '\0', ev->name.len) || !is_wanted(s))
		return;
	if (slice_equal_str(buf_slice(&s->path), "bin")) {
		if (is_program)
			strv_add_slice(&s->programs, ev->name);
		return;
	}
	strv_addf(&s->links, "%s/%.*s", (char *)s->path.data, (int)ev->name.len,
		  (const char *)ev->name.data);
}

static int enter(struct path_survey *s, const struct node_event *ev, struct err *err)
{
	if (ev->depth == 0)
		return 0;
	take_entry(s, ev, false);
	if ((s->path.len && buf_add_str(&s->path, "/") < 0) ||
	    buf_add(&s->path, ev->name.data, ev->name.len) < 0)
		return err_set(err, E_LIMIT, "a path is too long");
	return 0;
}

static void leave(struct path_survey *s)
{
	const uint8_t *slash = s->path.len ? memrchr(s->path.data, '/', s->path.len) : NULL;

	s->path.len = slash ? (size_t)(slash - s->path.data) : 0;
	if (s->path.data)
		s->path.data[s->path.len] = '\0';
}

static int survey_event(struct node_sink *self, const struct node_event *ev, struct err *err)
{
	struct path_survey *s = container_of(self, struct path_survey, node_sink);

	switch (ev->type) {
	case NODE_DIRECTORY:
		return enter(s, ev, err);
	case NODE_DIRECTORY_END:
		leave(s);
		return 0;
	case NODE_REGULAR:
		s->at_start = true;
		s->head_len = 0;
		take_entry(s, ev, ev->executable);
		return 0;
	case NODE_CONTENT:
		if (s->at_start)
			take_head(s, ev->data);
		return 0;
	case NODE_SYMLINK:
		take_entry(s, ev, true);
		return 0;
	default:
		return 0;
	}
}

void path_survey_init(struct path_survey *s)
{
	*s = (struct path_survey){.node_sink = {survey_event}};
	path_survey_add_dir(s, "bin");
}

void path_survey_add_dir(struct path_survey *s, const char *dir)
{
	if (!strv_contains(&s->dirs, dir))
		strv_add(&s->dirs, dir);
}

void path_survey_release(struct path_survey *s)
{
	strv_release(&s->dirs);
	strv_release(&s->programs);
	strv_release(&s->links);
	buf_release(&s->path);
}

const char *elf_architecture(uint16_t machine, const char **ret_variant)
{
	static const struct {
		uint16_t machine;
		const char *architecture, *variant;
	} known[] = {
		{EM_X86_64, "amd64", NULL},
		{EM_386 | MACHINE_32_BIT, "386", NULL},
		{EM_AARCH64, "arm64", NULL},
		{EM_ARM | MACHINE_32_BIT, "arm", "v7"},
		{EM_RISCV, "riscv64", NULL},
		{EM_PPC64, "ppc64le", NULL},
		{EM_PPC64 | MACHINE_BIG_ENDIAN, "ppc64", NULL},
		{EM_S390 | MACHINE_BIG_ENDIAN, "s390x", NULL},
		{EM_LOONGARCH, "loong64", NULL},
		{EM_MIPS, "mips64le", NULL},
		{EM_MIPS | MACHINE_BIG_ENDIAN, "mips64", NULL},
		{EM_MIPS | MACHINE_32_BIT, "mipsle", NULL},
		{EM_MIPS | MACHINE_32_BIT | MACHINE_BIG_ENDIAN, "mips", NULL},
	};

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (known[i].machine == machine) {
			*ret_variant = known[i].variant;
			return known[i].architecture;
		}
	return NULL;
}

static const char *main_program(const struct strv *programs, const char *name)
{
	char pname[STORE_NAME_MAX + 1];

	if (programs->len == 1)
		return programs->items[0];
	store_pname(pname, name);
	for (size_t i = 0; i < programs->len; i++)
		if (strcmp(programs->items[i], pname) == 0)
			return programs->items[i];
	return NULL;
}

const char *path_survey_main_program(const struct path_survey *s, const char *name)
{
	return main_program(&s->programs, name);
}

/* Which machine the roots agree on; 0: none, or they disagree. */
static uint16_t machine_of_roots(const struct image_root *roots, size_t n)
{
	uint16_t machine = 0;

	for (size_t i = 0; i < n; i++) {
		if (roots[i].elf_mixed ||
		    (machine && roots[i].elf_machine && machine != roots[i].elf_machine))
			return 0;
		if (roots[i].elf_machine)
			machine = roots[i].elf_machine;
	}
	return machine;
}

static int set_architecture(struct image_config *config, const struct image_root *roots, size_t n,
			    uint16_t closure_machine, struct err *err)
{
	uint16_t machine = machine_of_roots(roots, n);
	const char *architecture, *variant = NULL;

	if (config->architecture)
		return 0;
	architecture = elf_architecture(machine ? machine : closure_machine, &variant);
	if (!architecture)
		return err_set(
			err, E_USAGE,
			"%s has no programs that tell the image's architecture: name a platform",
			roots[0].path->text);
	config->architecture = xstrdup(architecture);
	if (variant && !config->variant)
		config->variant = xstrdup(variant);
	return 0;
}

static void add_links(struct root_layer *root, const struct image_root *r)
{
	for (size_t i = 0; i < r->programs->len; i++) {
		cleanup_free char *path = xasprintf("bin/%s", r->programs->items[i]);
		cleanup_free char *target = xasprintf("%s/%s", r->path->text, path);

		root_layer_add_symlink(root, path, target);
	}
	for (size_t i = 0; r->links && i < r->links->len; i++) {
		cleanup_free char *target = xasprintf("%s/%s", r->path->text, r->links->items[i]);

		root_layer_add_symlink(root, r->links->items[i], target);
	}
}

int image_defaults(struct image_config *config, struct root_layer *root,
		   const struct image_root *roots, size_t n_roots, uint16_t closure_machine,
		   struct err *err)
{
	const char *program;

	if (set_architecture(config, roots, n_roots, closure_machine, err) < 0)
		return err->code;
	if (!config->os)
		config->os = xstrdup("linux");
	if (!config->created && image_created(&config->created, err) < 0)
		return err->code;
	strv_add(&config->env, "PATH=/bin");
	/* The first root is what the image is for. */
	program = main_program(roots[0].programs, store_path_name(roots[0].path));
	if (program)
		strv_addf(&config->cmd, "/bin/%s", program);
	for (size_t i = 0; i < n_roots; i++)
		add_links(root, &roots[i]);
	root_layer_add_defaults(root);
	return 0;
}
