/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over the files of a corpus folder, so that a plain build replays what fuzzing
 * has found. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/fs.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
	struct err err = ERR_INIT;
	int count = 0;

	for (int i = 1; i < argc; i++) {
		DIR *dir = opendir(argv[i]);
		struct dirent *entry;

		if (!dir) {
			fprintf(stderr, "replay: cannot open %s\n", argv[i]);
			return 1;
		}
		while ((entry = readdir(dir))) {
			cleanup_buf struct buf input = BUF_INIT(64 << 20);

			if (entry->d_name[0] == '.')
				continue;
			if (read_file_at(dirfd(dir), entry->d_name, 64 << 20, &input, &err) < 0) {
				fprintf(stderr, "replay: %s\n", err.text);
				closedir(dir);
				return 1;
			}
			/* An exact copy on the heap, so that a sanitizer sees a read past the end.
			 */
			cleanup_free uint8_t *copy = xmemdup(input.data, input.len);
			LLVMFuzzerTestOneInput(copy, input.len);
			count++;
		}
		closedir(dir);
	}
	printf("%d inputs\n", count);
	return count ? 0 : 1;
}
