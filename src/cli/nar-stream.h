/* SPDX-License-Identifier: Apache-2.0 */
/* Files and standard streams as the `nar` commands take them. */
#ifndef NACRE_CLI_NAR_STREAM_H
#define NACRE_CLI_NAR_STREAM_H

#include <nacre/nar.h>

#include "base/buffer-sink.h"
#include "base/fs.h"
#include "codec/codec.h"

/* An open file, or standard input for "-", and what its first bytes say about its compression. */
struct nar_input {
	const char *name; /* borrowed; for messages */
	int fd;           /* owned, unless standard input */
	uint64_t size;    /* 0: unknown */
	bool seekable;    /* an uncompressed regular file */
	enum codec codec;
	/* Borrowed; of a file's contents it gets whole blocks, so that what is written are blocks of
	 * that file. NULL: nobody asks for that. */
	const struct nar_decoder *decoder;
	size_t head_len; /* bytes read so far */
	uint8_t head[16];
};
int nar_input_open(struct nar_input *in, const char *path, struct err *err);
void nar_input_close(struct nar_input *in);
/* Decompresses all of it into `out` and finishes that. */
int nar_input_read(struct nar_input *in, struct sink *out, struct err *err);

/* Makes a pipe hold more, so that its ends take fewer turns; no harm where it is none. */
void nar_widen_pipe(int fd);

/* Standard output, buffered. Release it in any case. */
struct nar_output {
	struct fd_sink fd;
	struct buffer_sink buffer;
};
void nar_output_open(struct nar_output *o);
void nar_output_release(struct nar_output *o);

#endif
