/* SPDX-License-Identifier: Apache-2.0 */
/* Lines "key=value" as the annotations of a layer; and package configs and path infos. */
#include <stdlib.h>

#include <nacre/image.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take_line(struct annotations *a, char *line)
{
	char *equals = strchr(line, '=');

	if (equals) {
		*equals = '\0';
		annotations_set(a, line, equals + 1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct annotations a = {0};
	struct path_infos set = {0};
	struct path_info info = {0};
	struct err err = ERR_INIT;
	char *text = strndup((const char *)data, size), *rest = text, *line;
	bool has_references;

	while ((line = strsep(&rest, "\n")))
		take_line(&a, line);
	if (image_layer_claims(&set, &has_references, &a) >= 0)
		path_infos_release(&set);
	if (path_infos_parse(&set, "/nix/store", slice_make(data, size), &err) >= 0)
		path_infos_release(&set);
	if (package_config_parse(&info, slice_make(data, size), &err) >= 0)
		path_info_release(&info);
	annotations_release(&a);
	free(text);
	return 0;
}
