/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/tls.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include <nacre/buf.h>

#include "base/fs.h"
#include "base/mem.h"
#include "net/libmicrohttpd.h"
#include "serve/libgnutls.h"

enum { PEM_MAX = 1 << 20, CHAIN_MAX = 16 };

/* Counted: settings hold one, and so does the process while it is in use; connections that it was
 * given to may outlive both, so it is never freed once it was in use. */
struct tls_certificate {
	gnutls_pcert_st chain[CHAIN_MAX];
	unsigned len;
	gnutls_privkey_t key;
	bool used;                        /* under the lock */
	struct tls_certificate *previous; /* under the lock */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct tls_certificate *current; /* under the lock; a chain of all that were in use */

static void certificate_free(struct tls_certificate *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < c->len; i++)
		gnutls_pcert_deinit(&c->chain[i]);
	if (c->key)
		gnutls_privkey_deinit(c->key);
	free(c);
}

/* ---- Settings ---- */

static int read_pem(struct config *map, const char *key, struct buf *ret, struct err *err)
{
	struct err why = ERR_INIT;
	const char *path = NULL;
	int r = config_text(map, key, &path, err);

	if (r < 0)
		return r;
	if (!path)
		return config_fail(map, err, "TLS needs a certificate and a key");
	r = read_file_at(AT_FDCWD, path, PEM_MAX, ret, &why);
	return r < 0 ? config_fail(config_child(map, key), err, "%s", why.text) : 0;
}

static gnutls_datum_t datum(const struct buf *b)
{
	return (gnutls_datum_t){b->data, (unsigned)b->len};
}

/* Is the private key that of the first certificate? */
static bool is_pair(const struct tls_certificate *c)
{
	gnutls_pubkey_t own;
	uint8_t a[64], b[64];
	size_t na = sizeof(a), nb = sizeof(b);
	bool same;

	if (gnutls_pubkey_init(&own) < 0)
		return false;
	same = gnutls_pubkey_import_privkey(own, c->key, 0, 0) == 0 &&
	       gnutls_pubkey_get_key_id(own, GNUTLS_KEYID_USE_SHA256, a, &na) == 0 &&
	       gnutls_pubkey_get_key_id(c->chain[0].pubkey, GNUTLS_KEYID_USE_SHA256, b, &nb) == 0 &&
	       na == nb && memcmp(a, b, na) == 0;
	gnutls_pubkey_deinit(own);
	return same;
}

static int certificate_load(struct tls_certificate *c, struct config *map, struct err *err)
{
	cleanup_buf struct buf chain = BUF_INIT(PEM_MAX), key = BUF_INIT(PEM_MAX);
	gnutls_datum_t chain_pem, key_pem;
	unsigned n = CHAIN_MAX;
	int r = read_pem(map, "certificate", &chain, err), rc;

	if (r == 0)
		r = read_pem(map, "key", &key, err);
	if (r < 0)
		return r;
	chain_pem = datum(&chain);
	key_pem = datum(&key);
	rc = gnutls_pcert_list_import_x509_raw(c->chain, &n, &chain_pem, GNUTLS_X509_FMT_PEM, 0);
	if (rc < 0)
		return config_fail(config_child(map, "certificate"), err,
				   "this is no chain of certificates: %s", gnutls_strerror(rc));
	c->len = n;
	rc = gnutls_privkey_init(&c->key);
	if (rc == 0)
		rc = gnutls_privkey_import_x509_raw(c->key, &key_pem, GNUTLS_X509_FMT_PEM, NULL, 0);
	explicit_bzero(key.data, key.len);
	if (rc < 0)
		return config_fail(config_child(map, "key"), err, "this is no private key: %s",
				   gnutls_strerror(rc));
	if (!n || !is_pair(c))
		return config_fail(config_child(map, "key"), err,
				   "this is not the key of the certificate");
	return 0;
}

static int client_ca_read(struct tls_settings *s, struct config *map, struct err *err)
{
	cleanup_buf struct buf pem = BUF_INIT(PEM_MAX);
	gnutls_x509_trust_list_t list;
	const char *path = NULL;
	gnutls_datum_t d;
	int r = config_text(map, "client-ca", &path, err), rc;

	if (r < 0 || !path)
		return r;
	r = read_pem(map, "client-ca", &pem, err);
	if (r < 0)
		return r;
	if (gnutls_x509_trust_list_init(&list, 0) < 0)
		return err_set(err, E_NOMEM, "out of memory");
	d = datum(&pem);
	rc = gnutls_x509_trust_list_add_trust_mem(list, &d, NULL, GNUTLS_X509_FMT_PEM, 0, 0);
	gnutls_x509_trust_list_deinit(list, 1);
	if (rc < 1)
		return config_fail(config_child(map, "client-ca"), err,
				   "there is no certificate of an authority in it");
	s->client_ca = xstrndup((const char *)pem.data, pem.len);
	return 0;
}

int tls_settings_read(struct tls_settings *ret, struct config *root, struct err *err)
{
	struct config *map = NULL;
	int r = config_map(root, "tls", &map, err);

	if (r < 0 || !map)
		return r;
	r = libgnutls_load(err);
	if (r < 0)
		return r;
	ret->certificate = xcalloc(1, sizeof(*ret->certificate));
	r = certificate_load(ret->certificate, map, err);
	return r < 0 ? r : client_ca_read(ret, map, err);
}

void tls_settings_release(struct tls_settings *s)
{
	bool used = false;

	if (s->certificate) {
		pthread_mutex_lock(&lock);
		used = s->certificate->used;
		pthread_mutex_unlock(&lock);
	}
	if (!used)
		certificate_free(s->certificate);
	free(s->client_ca);
}

/* ---- Connections ---- */

void tls_use(const struct tls_settings *s)
{
	struct tls_certificate *c = s ? s->certificate : NULL;

	if (!c)
		return;
	pthread_mutex_lock(&lock);
	if (!c->used) {
		c->used = true;
		c->previous = current;
		current = c;
	}
	pthread_mutex_unlock(&lock);
}

/* gnutls's signature. NOLINTNEXTLINE(readability-function-size) */
static int retrieve(gnutls_session_t session, const gnutls_datum_t *ca_names, int n_ca_names,
		    const gnutls_pk_algorithm_t *algorithms, int n_algorithms,
		    gnutls_pcert_st **ret_chain, unsigned *ret_len, gnutls_privkey_t *ret_key)
{
	struct tls_certificate *c;

	(void)session, (void)ca_names, (void)n_ca_names, (void)algorithms, (void)n_algorithms;
	pthread_mutex_lock(&lock);
	c = current;
	pthread_mutex_unlock(&lock);
	if (!c)
		return -1;
	*ret_chain = c->chain;
	*ret_len = c->len;
	*ret_key = c->key;
	return 0;
}

void *tls_callback(void)
{
	return (void *)(uintptr_t)retrieve;
}

/* A name that goes into logs and rules has no control characters. */
static bool is_text(const char *name)
{
	for (; *name; name++)
		if ((unsigned char)*name < ' ' || *name == 0x7f)
			return false;
	return true;
}

bool tls_peer_name(struct MHD_Connection *mhd, char *ret, size_t size)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	gnutls_session_t session = info ? info->tls_session : NULL;
	/* A certificate that says what it is for has to be for clients: those of servers lie about. */
	gnutls_typed_vdata_st purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
					 .data = (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT};
	const gnutls_datum_t *chain;
	gnutls_x509_crt_t crt;
	unsigned n = 0, status = 0;
	bool found;

	ret[0] = '\0';
	chain = session ? gnutls_certificate_get_peers(session, &n) : NULL;
	if (!chain || !n || gnutls_certificate_verify_peers(session, &purpose, 1, &status) < 0 ||
	    status)
		return false;
	if (gnutls_x509_crt_init(&crt) < 0)
		return false;
	found = gnutls_x509_crt_import(crt, &chain[0], GNUTLS_X509_FMT_DER) == 0 &&
		gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, ret, &size) ==
			0 &&
		strlen(ret) == size && is_text(ret);
	gnutls_x509_crt_deinit(crt);
	if (!found)
		ret[0] = '\0';
	return found;
}
