/* SPDX-License-Identifier: Apache-2.0 */
/* libcrypto, loaded when it is needed (base/lazy-library.h): hashes, signatures, HMAC. */
#ifndef NACRE_BASE_LIBCRYPTO_H
#define NACRE_BASE_LIBCRYPTO_H

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/lazy-library.h"

#define LIBCRYPTO_FUNCTIONS(F)          \
	F(EVP_DigestFinal_ex)           \
	F(EVP_DigestInit_ex)            \
	F(EVP_DigestSign)               \
	F(EVP_DigestSignInit)           \
	F(EVP_DigestUpdate)             \
	F(EVP_DigestVerify)             \
	F(EVP_DigestVerifyInit)         \
	F(EVP_MD_CTX_free)              \
	F(EVP_MD_CTX_new)               \
	F(EVP_MD_fetch)                 \
	F(EVP_MD_free)                  \
	F(EVP_PKEY_Q_keygen)            \
	F(EVP_PKEY_free)                \
	F(EVP_PKEY_get_raw_private_key) \
	F(EVP_PKEY_get_raw_public_key)  \
	F(EVP_PKEY_new_raw_private_key) \
	F(EVP_PKEY_new_raw_public_key)  \
	F(EVP_sha256)                   \
	F(HMAC)                         \
	F(OPENSSL_init_crypto)

LAZY_LIBRARY_DECLARE(libcrypto, LIBCRYPTO_FUNCTIONS);

#define EVP_DigestFinal_ex           libcrypto.EVP_DigestFinal_ex
#define EVP_DigestInit_ex            libcrypto.EVP_DigestInit_ex
#define EVP_DigestSign               libcrypto.EVP_DigestSign
#define EVP_DigestSignInit           libcrypto.EVP_DigestSignInit
#define EVP_DigestUpdate             libcrypto.EVP_DigestUpdate
#define EVP_DigestVerify             libcrypto.EVP_DigestVerify
#define EVP_DigestVerifyInit         libcrypto.EVP_DigestVerifyInit
#define EVP_MD_CTX_free              libcrypto.EVP_MD_CTX_free
#define EVP_MD_CTX_new               libcrypto.EVP_MD_CTX_new
#define EVP_MD_fetch                 libcrypto.EVP_MD_fetch
#define EVP_MD_free                  libcrypto.EVP_MD_free
#define EVP_PKEY_Q_keygen            libcrypto.EVP_PKEY_Q_keygen
#define EVP_PKEY_free                libcrypto.EVP_PKEY_free
#define EVP_PKEY_get_raw_private_key libcrypto.EVP_PKEY_get_raw_private_key
#define EVP_PKEY_get_raw_public_key  libcrypto.EVP_PKEY_get_raw_public_key
#define EVP_PKEY_new_raw_private_key libcrypto.EVP_PKEY_new_raw_private_key
#define EVP_PKEY_new_raw_public_key  libcrypto.EVP_PKEY_new_raw_public_key
#define EVP_sha256                   libcrypto.EVP_sha256
#define HMAC                         libcrypto.HMAC
#define OPENSSL_init_crypto          libcrypto.OPENSSL_init_crypto

/* Loads it, or ends the process with a message, as the dynamic linker would: hashing has no way to fail. Servers
 * call libcrypto_load() when they start, and fail then. */
void libcrypto_need(void);

#endif
