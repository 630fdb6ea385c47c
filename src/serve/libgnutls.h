/* SPDX-License-Identifier: Apache-2.0 */
/* What is used of GnuTLS besides libmicrohttpd, loaded when it is needed (base/lazy-library.h). */
#ifndef NACRE_SERVE_LIBGNUTLS_H
#define NACRE_SERVE_LIBGNUTLS_H

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "base/lazy-library.h"

#define LIBGNUTLS_FUNCTIONS(F)                  \
	F(gnutls_certificate_get_peers)         \
	F(gnutls_certificate_verify_peers)      \
	F(gnutls_pcert_deinit)                  \
	F(gnutls_pcert_list_import_x509_raw)    \
	F(gnutls_privkey_deinit)                \
	F(gnutls_privkey_import_x509_raw)       \
	F(gnutls_privkey_init)                  \
	F(gnutls_pubkey_deinit)                 \
	F(gnutls_pubkey_get_key_id)             \
	F(gnutls_pubkey_import_privkey)         \
	F(gnutls_pubkey_init)                   \
	F(gnutls_strerror)                      \
	F(gnutls_x509_crt_deinit)               \
	F(gnutls_x509_crt_get_dn_by_oid)        \
	F(gnutls_x509_crt_import)               \
	F(gnutls_x509_crt_init)                 \
	F(gnutls_x509_trust_list_add_trust_mem) \
	F(gnutls_x509_trust_list_deinit)        \
	F(gnutls_x509_trust_list_init)

LAZY_LIBRARY_DECLARE(libgnutls, LIBGNUTLS_FUNCTIONS);

#define gnutls_certificate_get_peers         libgnutls.gnutls_certificate_get_peers
#define gnutls_certificate_verify_peers      libgnutls.gnutls_certificate_verify_peers
#define gnutls_pcert_deinit                  libgnutls.gnutls_pcert_deinit
#define gnutls_pcert_list_import_x509_raw    libgnutls.gnutls_pcert_list_import_x509_raw
#define gnutls_privkey_deinit                libgnutls.gnutls_privkey_deinit
#define gnutls_privkey_import_x509_raw       libgnutls.gnutls_privkey_import_x509_raw
#define gnutls_privkey_init                  libgnutls.gnutls_privkey_init
#define gnutls_pubkey_deinit                 libgnutls.gnutls_pubkey_deinit
#define gnutls_pubkey_get_key_id             libgnutls.gnutls_pubkey_get_key_id
#define gnutls_pubkey_import_privkey         libgnutls.gnutls_pubkey_import_privkey
#define gnutls_pubkey_init                   libgnutls.gnutls_pubkey_init
#define gnutls_strerror                      libgnutls.gnutls_strerror
#define gnutls_x509_crt_deinit               libgnutls.gnutls_x509_crt_deinit
#define gnutls_x509_crt_get_dn_by_oid        libgnutls.gnutls_x509_crt_get_dn_by_oid
#define gnutls_x509_crt_import               libgnutls.gnutls_x509_crt_import
#define gnutls_x509_crt_init                 libgnutls.gnutls_x509_crt_init
#define gnutls_x509_trust_list_add_trust_mem libgnutls.gnutls_x509_trust_list_add_trust_mem
#define gnutls_x509_trust_list_deinit        libgnutls.gnutls_x509_trust_list_deinit
#define gnutls_x509_trust_list_init          libgnutls.gnutls_x509_trust_list_init

#endif
