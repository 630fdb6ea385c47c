/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS (section `tls`): the certificate that connections get, and whose client certificates are
 * taken. libmicrohttpd asks for the certificate of each new connection, so a renewed one counts at
 * once. Its callback knows no server: there is one certificate in a process. Private to src/serve.
 */
#ifndef NACRE_SERVE_TLS_H
#define NACRE_SERVE_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include <nacre/err.h>

#include "config/config.h"

struct MHD_Connection;
struct tls_certificate;

struct tls_settings {
	struct tls_certificate *certificate; /* owned; NULL: no TLS */
	char *client_ca;                     /* owned: PEM; NULL: none */
};

/* Reads the files: E_INVALID, at the key, for one that is missing or malformed, and for a key that is
 * not the certificate's. */
int tls_settings_read(struct tls_settings *ret, struct config *root, struct err *err);
void tls_settings_release(struct tls_settings *s);

/* Connections from now on get this certificate. NULL: none any more. */
void tls_use(const struct tls_settings *s);

/* For MHD_OPTION_HTTPS_CERT_CALLBACK. */
void *tls_callback(void);
/* The common name of the client's certificate, if it has one that was proven. */
bool tls_peer_name(struct MHD_Connection *mhd, char *ret, size_t size);

#endif
