/* SPDX-License-Identifier: Apache-2.0 */
#include <nacre/encode.h>

static const char nix32_chars[] = "0123456789abcdfghijklmnpqrsvwxyz";
static const char hex_chars[] = "0123456789abcdef";
static const char base64_chars[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int find_char(const char *alphabet, char c)
{
	const char *p = c ? strchr(alphabet, c) : NULL;

	return p ? (int)(p - alphabet) : -1;
}

/* SPEC nix-base32: character n (counted from the end) holds bits 5n..5n+4, little-endian. */
void nix32_encode(char *ret, const void *data, size_t len)
{
	const uint8_t *bytes = data;
	size_t chars = nix32_len(len);

	for (size_t n = chars; n-- > 0;) {
		size_t bit = n * 5;
		size_t i = bit / 8;
		unsigned shift = bit % 8;
		unsigned c = bytes[i] >> shift;

		if (i + 1 < len)
			c |= (unsigned)bytes[i + 1] << (8 - shift);
		*ret++ = nix32_chars[c & 31];
	}
	*ret = '\0';
}

int nix32_decode(void *ret, size_t len, struct slice text)
{
	uint8_t *bytes = ret;

	if (text.len != nix32_len(len))
		return E_INVALID;
	memset(bytes, 0, len);
	for (size_t n = 0; n < text.len; n++) {
		int digit = find_char(nix32_chars, (char)text.data[text.len - n - 1]);
		size_t bit = n * 5;
		size_t i = bit / 8;
		unsigned shift = bit % 8;
		unsigned carry;

		if (digit < 0)
			return E_INVALID;
		bytes[i] |= (uint8_t)((unsigned)digit << shift);
		carry = (unsigned)digit >> (8 - shift);
		if (i + 1 < len)
			bytes[i + 1] |= (uint8_t)carry;
		else if (carry) /* spare bits must be zero */
			return E_INVALID;
	}
	return (int)len;
}

bool nix32_is_char(char c)
{
	return (c >= '0' && c <= '9') ||
	       (c >= 'a' && c <= 'z' && c != 'e' && c != 'o' && c != 't' && c != 'u');
}

void hex_encode(char *ret, const void *data, size_t len)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len; i++) {
		*ret++ = hex_chars[bytes[i] >> 4];
		*ret++ = hex_chars[bytes[i] & 15];
	}
	*ret = '\0';
}

int hex_decode(void *ret, size_t len, struct slice text)
{
	uint8_t *bytes = ret;

	if (text.len != hex_len(len))
		return E_INVALID;
	for (size_t i = 0; i < len; i++) {
		int high = find_char(hex_chars, (char)text.data[2 * i]);
		int low = find_char(hex_chars, (char)text.data[2 * i + 1]);

		if (high < 0 || low < 0)
			return E_INVALID;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	return (int)len;
}

void base64_encode(char *ret, const void *data, size_t len)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len; i += 3) {
		size_t left = len - i;
		uint32_t v = (uint32_t)bytes[i] << 16;

		if (left > 1)
			v |= (uint32_t)bytes[i + 1] << 8;
		if (left > 2)
			v |= bytes[i + 2];
		*ret++ = base64_chars[v >> 18];
		*ret++ = base64_chars[v >> 12 & 63];
		*ret++ = left > 1 ? base64_chars[v >> 6 & 63] : '=';
		*ret++ = left > 2 ? base64_chars[v & 63] : '=';
	}
	*ret = '\0';
}

/* Decodes one group of four characters. Returns the number of bytes (1..3) or E_INVALID. */
static int base64_group(uint8_t ret[3], const uint8_t *text)
{
	int pad = text[3] != '=' ? 0 : text[2] != '=' ? 1 : 2;
	uint32_t v = 0;

	for (int i = 0; i < 4; i++) {
		int digit = i < 4 - pad ? find_char(base64_chars, (char)text[i]) : 0;

		if (digit < 0)
			return E_INVALID;
		v = v << 6 | (uint32_t)digit;
	}
	/* Spare bits must be zero: one value has one spelling. */
	if ((pad == 1 && (v & 0xff)) || (pad == 2 && (v & 0xffff)))
		return E_INVALID;
	ret[0] = (uint8_t)(v >> 16);
	ret[1] = (uint8_t)(v >> 8);
	ret[2] = (uint8_t)v;
	return 3 - pad;
}

int base64_decode(void *ret, size_t max, struct slice text)
{
	uint8_t *bytes = ret;
	size_t used = 0;

	if (text.len % 4 != 0 || text.len / 4 * 3 > INT32_MAX)
		return E_INVALID;
	for (size_t i = 0; i < text.len; i += 4) {
		uint8_t group[3];
		int n = base64_group(group, text.data + i);

		if (n < 0 || (n < 3 && i + 4 < text.len) || (size_t)n > max - used)
			return E_INVALID;
		memcpy(bytes + used, group, (size_t)n);
		used += (size_t)n;
	}
	return (int)used;
}

int parse_u64(uint64_t *ret, struct slice text)
{
	uint64_t v = 0;

	if (text.len == 0)
		return E_INVALID;
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			return E_INVALID;
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(text.data[i] - '0'), &v))
			return E_INVALID;
	}
	*ret = v;
	return 0;
}
