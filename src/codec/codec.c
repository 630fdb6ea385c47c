/* SPDX-License-Identifier: Apache-2.0 */
/* The table of codecs: names, magic numbers, and what each can do. */
#include "codec/codec-internal.h"

#include "base/mem.h"

static const struct codec_def {
	const char *name; /* Nix's spelling */
	const struct codec_decoder_ops *decoder;
	const struct codec_encoder_ops *encoder;
} codec_defs[] = {
	[CODEC_NONE] = {"none", NULL, NULL},
	[CODEC_GZIP] = {"gzip", &gzip_decoder_ops, &gzip_encoder_ops},
	[CODEC_ZSTD] = {"zstd", &zstd_decoder_ops, &zstd_encoder_ops},
	[CODEC_XZ] = {"xz", &xz_decoder_ops, &xz_encoder_ops},
	[CODEC_BZIP2] = {"bzip2", &bzip2_decoder_ops, &bzip2_encoder_ops},
	[CODEC_BROTLI] = {"br", &brotli_decoder_ops, &brotli_encoder_ops},
	[CODEC_LZ4] = {"lz4", &lz4_decoder_ops, NULL},
	[CODEC_LZIP] = {"lzip", &lzip_decoder_ops, NULL},
};

enum codec codec_by_name(struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(codec_defs); i++) {
		if (slice_equal_str(name, codec_defs[i].name))
			return (enum codec)i;
	}
	return CODEC_UNKNOWN;
}

const char *codec_name(enum codec c)
{
	return (size_t)c < ARRAY_LEN(codec_defs) ? codec_defs[c].name : "unknown";
}

enum codec codec_sniff(struct slice head)
{
	for (size_t i = 0; i < ARRAY_LEN(codec_defs); i++) {
		const struct codec_decoder_ops *ops = codec_defs[i].decoder;

		if (ops && ops->magic_len && head.len >= ops->magic_len &&
		    ops->magic(head.data, ops->magic_len))
			return (enum codec)i;
	}
	return CODEC_NONE;
}

bool codec_can_encode(enum codec c)
{
	return c == CODEC_NONE || codec_encoder_ops(c);
}

const struct codec_decoder_ops *codec_decoder_ops(enum codec c)
{
	return (size_t)c < ARRAY_LEN(codec_defs) ? codec_defs[c].decoder : NULL;
}

const struct codec_encoder_ops *codec_encoder_ops(enum codec c)
{
	return (size_t)c < ARRAY_LEN(codec_defs) ? codec_defs[c].encoder : NULL;
}
