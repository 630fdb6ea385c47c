/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request between the event loop that its connection belongs to and the workers; private to
 * src/serve.
 *
 * The loop parses the head, and what can be answered without waiting it answers itself. For
 * everything else the connection is suspended, a worker does what has to be done, and resumes it;
 * the loop then goes on where it was. So a request belongs to one thread at a time, except that its
 * body is received while a worker takes in what came before (body-queue.h).
 */
#ifndef NACRE_SERVE_EXCHANGE_H
#define NACRE_SERVE_EXCHANGE_H

#include "serve/request.h"

/* What libmicrohttpd's handler is called with. */
struct exchange_call {
	const char *method, *version;
	const char *data;
	size_t *data_len;
};

/* In the loop; MHD_NO ends the connection. */
enum MHD_Result exchange_step(struct request *req, const struct exchange_call *call);
/* In the loop, when libmicrohttpd is done with the request: no worker is at it afterwards. */
void exchange_end(struct request *req);

/* For who makes a body piece by piece and has to wait for it (pump.h). False: the server is
 * stopping. */
bool exchange_run_suspended(struct MHD_Connection *mhd, struct workers *workers, struct work *work);

#endif
