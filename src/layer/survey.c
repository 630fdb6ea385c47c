/* SPDX-License-Identifier: Apache-2.0 */
/* SPEC nacre 4.2: what is known of a path's programs and machine, in the pass that reads it anyway. */
#include <elf.h>

#include <nacre/image.h>

#include "base/mem.h"

static bool is_bin_entry(const struct path_survey *s, const struct node_event *ev)
{
	return s->in_bin && ev->depth == 2;
}

/* The first bytes of a file have come together. */
static void look_at_head(struct path_survey *s)
{
	uint16_t machine;

	s->at_start = false;
	if (s->head_len < sizeof(s->head) || memcmp(s->head, ELFMAG, SELFMAG) != 0)
		return;
	/* e_machine, in the byte order that the file says. */
	if (s->head[EI_DATA] == ELFDATA2MSB)
		machine = (uint16_t)(s->head[18] << 8 | s->head[19]);
	else
		machine = (uint16_t)(s->head[19] << 8 | s->head[18]);
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

static int survey_event(struct node_sink *self, const struct node_event *ev, struct err *err)
{
	struct path_survey *s = container_of(self, struct path_survey, node_sink);

	(void)err;
	switch (ev->type) {
	case NODE_DIRECTORY:
		if (ev->depth == 1)
			s->in_bin = slice_equal_str(ev->name, "bin");
		break;
	case NODE_DIRECTORY_END:
		if (ev->depth == 1)
			s->in_bin = false;
		break;
	case NODE_REGULAR:
		s->at_start = true;
		s->head_len = 0;
		if (is_bin_entry(s, ev) && ev->executable)
			strv_add_slice(&s->programs, ev->name);
		break;
	case NODE_CONTENT:
		if (s->at_start)
			take_head(s, ev->data);
		break;
	case NODE_SYMLINK:
		if (is_bin_entry(s, ev))
			strv_add_slice(&s->programs, ev->name);
		break;
	default:
		break;
	}
	return 0;
}

void path_survey_init(struct path_survey *s)
{
	*s = (struct path_survey){.node_sink = {survey_event}};
}

void path_survey_release(struct path_survey *s)
{
	strv_release(&s->programs);
}

const char *elf_architecture(uint16_t e_machine, const char **ret_variant)
{
	static const struct {
		uint16_t machine;
		const char *architecture, *variant;
	} known[] = {
		{EM_X86_64, "amd64", NULL},  {EM_386, "386", NULL},
		{EM_AARCH64, "arm64", NULL}, {EM_ARM, "arm", "v7"},
		{EM_RISCV, "riscv64", NULL}, {EM_PPC64, "ppc64le", NULL},
		{EM_S390, "s390x", NULL},    {EM_LOONGARCH, "loong64", NULL},
		{EM_MIPS, "mips64le", NULL},
	};

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (known[i].machine == e_machine) {
			*ret_variant = known[i].variant;
			return known[i].architecture;
		}
	return NULL;
}

const char *path_survey_main_program(const struct path_survey *s, const char *name)
{
	char pname[STORE_NAME_MAX + 1];

	if (s->programs.len == 1)
		return s->programs.items[0];
	store_pname(pname, name);
	for (size_t i = 0; i < s->programs.len; i++)
		if (strcmp(s->programs.items[i], pname) == 0)
			return s->programs.items[i];
	return NULL;
}
