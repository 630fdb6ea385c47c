/* SPDX-License-Identifier: Apache-2.0 */
/* SPEC nix-signature (Nix source src/libutil/signature/local-keys.cc): Ed25519 over the
 * fingerprint. */
#include <nacre/encode.h>
#include <nacre/pathinfo.h>

#include "base/libcrypto.h"
#include "base/mem.h"

enum { FINGERPRINT_MAX = 64 << 20, SIGNATURE_BASE64 = 88 };

/* Splits "name:base64" and decodes exactly `size` bytes. */
static int parse_named(char *ret_name, uint8_t *ret_bytes, size_t size, struct slice text)
{
	const uint8_t *colon = text.len ? memchr(text.data, ':', text.len) : NULL;
	size_t name_len = colon ? (size_t)(colon - text.data) : 0;

	if (name_len == 0 || name_len > KEY_NAME_MAX || memchr(text.data, '\0', name_len))
		return E_INVALID;
	for (size_t i = 0; i < name_len; i++)
		if (text.data[i] <= 0x20 || text.data[i] == 0x7f)
			return E_INVALID;
	slice_advance(&text, name_len + 1);
	if (base64_decode(ret_bytes, size, text) != (int)size)
		return E_INVALID;
	memcpy(ret_name, text.data - name_len - 1, name_len);
	ret_name[name_len] = '\0';
	return 0;
}

static struct slice trim_end(struct slice text)
{
	while (text.len && strchr(" \t\r\n", text.data[text.len - 1]) && text.data[text.len - 1])
		text.len--;
	return text;
}

int secret_key_parse(struct secret_key *ret, struct slice text)
{
	struct secret_key key = {0};
	int r = parse_named(key.name, key.bytes, KEY_SECRET_SIZE, trim_end(text));

	if (r >= 0)
		*ret = key;
	secret_key_release(&key);
	return r;
}

int public_key_parse(struct public_key *ret, struct slice text)
{
	struct public_key key = {0};
	int r = parse_named(key.name, key.bytes, KEY_PUBLIC_SIZE, trim_end(text));

	if (r >= 0)
		*ret = key;
	return r;
}

static void format_named(struct buf *ret, const char *name, const uint8_t *bytes, size_t size)
{
	char text[SIGNATURE_BASE64 + 1];

	base64_encode(text, bytes, size);
	buf_addf(ret, "%s:%s", name, text);
	explicit_bzero(text, sizeof(text));
}

void secret_key_format(struct buf *ret, const struct secret_key *key)
{
	format_named(ret, key->name, key->bytes, KEY_SECRET_SIZE);
}

void public_key_format(struct buf *ret, const struct public_key *key)
{
	format_named(ret, key->name, key->bytes, KEY_PUBLIC_SIZE);
}

void secret_key_public(struct public_key *ret, const struct secret_key *key)
{
	*ret = (struct public_key){0};
	memcpy(ret->name, key->name, sizeof(ret->name));
	memcpy(ret->bytes, key->bytes + KEY_SECRET_SIZE - KEY_PUBLIC_SIZE, KEY_PUBLIC_SIZE);
}

void secret_key_release(struct secret_key *key)
{
	explicit_bzero(key, sizeof(*key));
}

int secret_key_generate(struct secret_key *ret, const char *name, struct err *err)
{
	EVP_PKEY *pkey;
	size_t seed_len = 32, public_len = 32;
	int r = 0;

	if (!*name || strlen(name) > KEY_NAME_MAX || name[strcspn(name, ": \t\r\n")])
		return err_set(err, E_USAGE,
			       "key name '%s': 1 to %d characters, without ':' and blanks", name,
			       KEY_NAME_MAX);
	if (libcrypto_load(err) < 0)
		return err->code;
	pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	memset(ret, 0, sizeof(*ret));
	memcpy(ret->name, name, strlen(name));
	if (!pkey || EVP_PKEY_get_raw_private_key(pkey, ret->bytes, &seed_len) != 1 ||
	    EVP_PKEY_get_raw_public_key(pkey, ret->bytes + 32, &public_len) != 1)
		r = err_set(err, E_INTERNAL, "libcrypto cannot make an Ed25519 key");
	EVP_PKEY_free(pkey);
	return r;
}

int signature_check(struct slice text)
{
	char name[KEY_NAME_MAX + 1];
	uint8_t bytes[SIGNATURE_SIZE];

	return parse_named(name, bytes, SIGNATURE_SIZE, text);
}

int secret_key_sign(uint8_t ret[SIGNATURE_SIZE], const struct secret_key *key, struct slice text)
{
	EVP_PKEY *pkey;
	EVP_MD_CTX *ctx;
	size_t len = SIGNATURE_SIZE;
	int ok;

	libcrypto_need();
	pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, key->bytes, 32);
	ctx = EVP_MD_CTX_new();
	ok = pkey && ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, pkey) == 1 &&
	     EVP_DigestSign(ctx, ret, &len, text.data, text.len) == 1;

	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(pkey);
	return ok ? 0 : E_INTERNAL;
}

int path_info_sign(struct path_info *info, const struct secret_key *key, struct err *err)
{
	cleanup_buf struct buf fingerprint = BUF_INIT(FINGERPRINT_MAX);
	uint8_t signature[SIGNATURE_SIZE];
	char text[SIGNATURE_BASE64 + 1];

	if (path_info_fingerprint(&fingerprint, info) < 0)
		return err_set(err, E_LIMIT, "%s has too many references", info->path.text);
	if (secret_key_sign(signature, key, buf_slice(&fingerprint)) < 0)
		return err_set(err, E_INTERNAL, "libcrypto cannot sign with key %s", key->name);
	base64_encode(text, signature, SIGNATURE_SIZE);
	strv_addf(&info->signatures, "%s:%s", key->name, text);
	strv_sort_unique(&info->signatures);
	return 0;
}

bool public_key_verify(const struct public_key *key, const uint8_t signature[SIGNATURE_SIZE],
		       struct slice text)
{
	EVP_PKEY *pkey;
	EVP_MD_CTX *ctx;
	bool ok;

	libcrypto_need();
	pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key->bytes, KEY_PUBLIC_SIZE);
	ctx = EVP_MD_CTX_new();
	ok = pkey && ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pkey) == 1 &&
	     EVP_DigestVerify(ctx, signature, SIGNATURE_SIZE, text.data, text.len) == 1;

	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(pkey);
	return ok;
}

static bool has_valid_signature(const struct path_info *info, const struct public_key *key,
				struct slice fingerprint)
{
	for (size_t i = 0; i < info->signatures.len; i++) {
		char name[KEY_NAME_MAX + 1];
		uint8_t bytes[SIGNATURE_SIZE];

		if (parse_named(name, bytes, SIGNATURE_SIZE,
				slice_str(info->signatures.items[i])) >= 0 &&
		    strcmp(name, key->name) == 0 && public_key_verify(key, bytes, fingerprint))
			return true;
	}
	return false;
}

size_t path_info_verify(const struct path_info *info, const struct public_key *keys, size_t n_keys)
{
	cleanup_buf struct buf fingerprint = BUF_INIT(FINGERPRINT_MAX);
	size_t valid = 0;

	if (info->signatures.len == 0 || path_info_fingerprint(&fingerprint, info) < 0)
		return 0;
	for (size_t i = 0; i < n_keys; i++)
		valid += has_valid_signature(info, &keys[i], buf_slice(&fingerprint));
	return valid;
}
