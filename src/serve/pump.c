/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/pump.h"

#include "serve/exchange.h"
#include "serve/server-internal.h"

struct pump {
	struct pump_source source;
	struct MHD_Connection *mhd;    /* borrowed; lives longer than its response */
	struct connection *connection; /* borrowed; the same */
	struct workers *workers;       /* borrowed */
	struct work work;
	uint64_t pos; /* of buf[at] in the body */
	size_t at;    /* what was sent of the block */
	ssize_t got;  /* bytes in the block, or how the body ended */
	char *buf;    /* owned */
};

static void fill(struct work *w)
{
	struct pump *p = container_of(w, struct pump, work);

	if (!p->buf)
		p->buf = xmalloc(p->source.block_bytes);
	p->got = p->source.read(p->source.cls, p->pos, p->buf, p->source.block_bytes);
	MHD_resume_connection(p->mhd);
}

static ssize_t pump_read(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct pump *p = cls;
	size_t n;

	if (p->got < 0)
		return p->got;
	n = (size_t)p->got - p->at;
	if (!n || pos != p->pos) {
		p->pos = pos;
		p->at = 0;
		p->got = 0;
		/* What the client waits for now is us. */
		connection_phase(p->connection, PHASE_WORKING);
		return exchange_run_suspended(p->mhd, p->workers, &p->work)
			       ? 0
			       : MHD_CONTENT_READER_END_WITH_ERROR;
	}
	connection_phase(p->connection, PHASE_SENDING);
	n = n < max ? n : max;
	memcpy(buf, p->buf + p->at, n);
	p->at += n;
	p->pos += n;
	return (ssize_t)n;
}

static void pump_free(void *cls)
{
	struct pump *p = cls;

	p->source.release(p->source.cls);
	free(p->buf);
	free(p);
}

struct MHD_Response *pump_response(struct request *req, uint64_t size,
				   const struct pump_source *source)
{
	struct pump *p = xcalloc(1, sizeof(*p));
	uint64_t block = source->block_bytes;

	p->source = *source;
	p->mhd = req->mhd;
	p->connection = req->connection;
	p->workers = req->server->workers;
	p->work.run = fill;
	if (size < block)
		block = size ? size : 1;
	return MHD_create_response_from_callback(size, (size_t)block, pump_read, p, pump_free);
}
