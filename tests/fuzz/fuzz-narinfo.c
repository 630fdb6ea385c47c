/* SPDX-License-Identifier: Apache-2.0 */
/* A narinfo that is taken must come out of its own text again. */
#include <stdlib.h>

#include <nacre/pathinfo.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = ERR_INIT;
	struct buf text = {0}, again = {0};
	struct narinfo n, m;

	if (narinfo_parse(&n, "/nix/store", slice_make(data, size), &err) < 0)
		return 0;
	if (narinfo_format(&text, &n) < 0 ||
	    narinfo_parse(&m, "/nix/store", buf_slice(&text), &err) < 0 ||
	    narinfo_format(&again, &m) < 0 || !slice_equal(buf_slice(&text), buf_slice(&again)))
		abort();
	path_info_ca_matches(&n.info);
	narinfo_release(&n);
	narinfo_release(&m);
	buf_release(&text);
	buf_release(&again);
	return 0;
}
