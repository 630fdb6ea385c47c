/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a store that chunks NARs would keep of the files given: each is cut where a rolling hash says
 * (FastCDC, normalized: 16 KiB at least, 64 KiB on average, 256 KiB at most; a file below 64 KiB is one
 * chunk, as attic's defaults are), chunks are kept once, and each is compressed by zstd at level 8.
 * Prints the number of chunks kept and their bytes.
 */
#include <fcntl.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <nacre/hash.h>

enum { MIN = 16 << 10, AVERAGE = 64 << 10, MAX = 256 << 10, LEVEL = 8 };

/* Two bits more than log2(AVERAGE) = 16 below the average, two less above it. */
static const uint64_t mask_small = ~UINT64_C(0) << (64 - 18), mask_large = ~UINT64_C(0)
									   << (64 - 14);

static uint64_t gear[256];
static void *seen; /* a tree of digests */
static uint64_t kept, kept_bytes;

static void fill_gear(void)
{
	uint64_t x = 0;

	for (int i = 0; i < 256; i++) { /* splitmix64 */
		uint64_t z = x += 0x9e3779b97f4a7c15;

		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
		z = (z ^ z >> 27) * 0x94d049bb133111eb;
		gear[i] = z ^ z >> 31;
	}
}

static size_t cut(const uint8_t *data, size_t len)
{
	uint64_t hash = 0;

	if (len > MAX)
		len = MAX;
	for (size_t i = MIN; i < len; i++) {
		hash = (hash << 1) + gear[data[i]];
		if (!(hash & (i < AVERAGE ? mask_small : mask_large)))
			return i + 1;
	}
	return len;
}

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, 32);
}

static void keep(const uint8_t *data, size_t len)
{
	static char packed[ZSTD_COMPRESSBOUND(MAX)];
	struct hash hash;
	uint8_t *digest = malloc(32);
	size_t n;

	hash_bytes(&hash, HASH_SHA256, data, len);
	memcpy(digest, hash.bytes, 32);
	if (*(uint8_t **)tsearch(digest, &seen, compare) != digest) {
		free(digest);
		return;
	}
	n = ZSTD_compress(packed, sizeof(packed), data, len, LEVEL);
	if (ZSTD_isError(n))
		abort();
	kept++;
	kept_bytes += n;
}

static int chunk_file(const char *name)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	struct stat st;
	const uint8_t *data;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size == 0)
		return -1;
	data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (data == MAP_FAILED)
		return -1;
	for (size_t at = 0, size = (size_t)st.st_size, n; at < size; at += n) {
		n = size < AVERAGE ? size : cut(data + at, size - at);
		keep(data + at, n);
	}
	munmap((void *)data, (size_t)st.st_size);
	return 0;
}

int main(int argc, char **argv)
{
	fill_gear();
	for (int i = 1; i < argc; i++)
		if (chunk_file(argv[i]) < 0) {
			perror(argv[i]);
			return 1;
		}
	printf("%llu %llu\n", (unsigned long long)kept, (unsigned long long)kept_bytes);
	return 0;
}
