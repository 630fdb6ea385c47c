/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/exchange.h"

#include <sys/socket.h>

#include "serve/server-internal.h"

static struct request *of_work(struct work *w)
{
	return container_of(w, struct request, work);
}

static void suspend(void *cls)
{
	MHD_suspend_connection(cls);
}

static void resume(void *cls)
{
	MHD_resume_connection(cls);
}

/* ---- What workers do ---- */

/* A refusal may be written to the audit log: made ready here, as all that waits for a disk. */
static void admit(struct request *req)
{
	request_admit(req);
	if (request_answers_early(req))
		request_ready(req);
}

static void admit_work(struct work *w)
{
	struct request *req = of_work(w);

	admit(req);
	resume(req->mhd);
}

static void answer_work(struct work *w)
{
	struct request *req = of_work(w);
	struct slice rest = body_queue_rest(&req->incoming);

	if (rest.len)
		request_body(req, rest.data, rest.len);
	request_end(req);
	resume(req->mhd);
}

/* Once there is nothing to take and the end is not ours, the request is the loop's. */
static void body_work(struct work *w)
{
	struct request *req = of_work(w);
	struct slice block;
	bool ended;

	for (;;) {
		/* A client that sends for ever would keep the server from its end. */
		if (atomic_load(&req->server->ending))
			body_queue_close(&req->incoming);
		block = body_queue_take(&req->incoming, &ended, resume, req->mhd);
		if (!block.len)
			break;
		request_body(req, block.data, block.len);
	}
	if (ended)
		answer_work(w);
}

/* ---- What the loop does ---- */

bool exchange_run_suspended(struct MHD_Connection *mhd, struct workers *workers, struct work *work)
{
	/* In this order: who resumes a connection that is not suspended yet is not heard. */
	MHD_suspend_connection(mhd);
	if (workers_run(workers, work))
		return true;
	MHD_resume_connection(mhd);
	return false;
}

static enum MHD_Result hand_over(struct request *req, void (*run)(struct work *w), enum stage stage)
{
	connection_phase(req->connection, PHASE_WORKING);
	req->work.run = run;
	req->stage = stage;
	if (!exchange_run_suspended(req->mhd, req->server->workers, &req->work))
		req->stage = STAGE_DROPPED;
	return MHD_YES;
}

/* All of the request is there. libmicrohttpd, when it resumes a connection, does first what it
 * last waited for; that must not be more input, since a client may have closed its half by then
 * and would be taken for gone. A turn without an answer makes it wait for us. */
static enum MHD_Result hand_over_whole(struct request *req)
{
	struct body_queue *q = &req->incoming;

	if (!req->turned) {
		req->turned = true;
		return MHD_YES;
	}
	connection_phase(req->connection, PHASE_WORKING);
	if (q->size && !body_queue_end(q, suspend, req->mhd)) {
		req->stage = STAGE_ANSWERING;
		return MHD_YES;
	}
	return hand_over(req, answer_work, STAGE_ANSWERING);
}

static enum MHD_Result send_response(struct request *req)
{
	enum MHD_Result r;

	connection_phase(req->connection, PHASE_SENDING);
	r = MHD_queue_response(req->mhd, req->status, req->response);
	/* The library has a reference of its own. */
	MHD_destroy_response(req->response);
	req->response = NULL;
	req->sent = true;
	return r;
}

static enum MHD_Result admitted(struct request *req)
{
	if (request_answers_early(req))
		return send_response(req);
	req->stage = STAGE_BODY;
	connection_phase(req->connection, PHASE_BODY);
	return MHD_YES;
}

static enum MHD_Result begin(struct request *req, const struct exchange_call *call)
{
	snprintf(req->method_name, sizeof(req->method_name), "%s", call->method);
	connection_phase(req->connection, PHASE_WORKING);
	request_head(req, call->method, call->version);
	if (request_answers_early(req)) {
		request_ready(req);
		return send_response(req);
	}
	if (!request_has_body(req)) {
		/* The answer to a head alone, given now, would end the connection. */
		req->stage = STAGE_WHOLE;
		return MHD_YES;
	}
	if (!req->response && !request_is_prompt(req))
		return hand_over(req, admit_work, STAGE_ADMITTING);
	if (!req->response)
		admit(req);
	return admitted(req);
}

static enum MHD_Result whole(struct request *req)
{
	if (!req->turned && request_recall(req))
		return send_response(req);
	return hand_over_whole(req);
}

static bool takes_body(struct request *req)
{
	return !req->response && req->handler && req->handler->body;
}

/* The client has gone in the middle of a body of known length. libmicrohttpd takes a read that does not fill its
 * buffer for all that there is, and epoll tells of changes only: of an end that came along with the last bytes it would hear
 * nothing more. */
static bool is_cut_off(const struct request *req)
{
	char byte;

	return req->content_length >= 0 && req->arrived < (uint64_t)req->content_length &&
	       recv(req->connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static enum MHD_Result take_in(struct request *req, const char *data, size_t *len)
{
	struct body_queue *q = &req->incoming;
	enum body_put put = BODY_TAKEN;

	if (!q->size) {
		uint64_t expected = req->content_length == BODY_UNKNOWN
					    ? BODY_BLOCK
					    : (uint64_t)req->content_length;

		/* Once it is known that nobody wants the body: who asks later than that sees a
		 * busy queue, and what the worker makes of it. */
		if (!takes_body(req)) {
			req->body_bytes += *len;
			*len = 0;
			return MHD_YES;
		}
		/* One byte more than is coming: a body that fits in never fills the block, and
		 * waits for the worker that answers. */
		body_queue_init(q, expected < BODY_BLOCK ? (size_t)expected + 1 : BODY_BLOCK);
	}
	connection_phase(req->connection, PHASE_BODY);
	while (*len && put != BODY_SUSPENDED) {
		size_t n;

		put = body_queue_put(q, data, *len, &n, suspend, req->mhd);
		data += n;
		*len -= n;
		if (put == BODY_CALL) {
			req->work.run = body_work;
			if (!workers_run(req->server->workers, &req->work)) {
				body_queue_uncall(q);
				return MHD_NO;
			}
		} else if (put == BODY_SUSPENDED) {
			connection_phase(req->connection, PHASE_WORKING);
		}
	}
	return MHD_YES;
}

static enum MHD_Result receive(struct request *req, const char *data, size_t *len)
{
	size_t before = *len;
	enum MHD_Result r = take_in(req, data, len);

	req->arrived += before - *len;
	return r == MHD_YES && !*len && is_cut_off(req) ? MHD_NO : r;
}

enum MHD_Result exchange_step(struct request *req, const struct exchange_call *call)
{
	switch (req->stage) {
	case STAGE_HEAD:
		return begin(req, call);
	case STAGE_ADMITTING:
		return admitted(req);
	case STAGE_WHOLE:
		return whole(req);
	case STAGE_BODY:
		return *call->data_len ? receive(req, call->data, call->data_len)
				       : hand_over_whole(req);
	case STAGE_ANSWERING:
		return send_response(req);
	case STAGE_DROPPED:
		break;
	}
	return MHD_NO;
}

void exchange_end(struct request *req)
{
	struct body_queue *q = &req->incoming;

	if (!q->size)
		return;
	body_queue_give_up(q);
	/* An upload that broke off can be gone on with: what arrived of it is kept. */
	if (!req->sent && takes_body(req) && req->handler->resumable) {
		struct slice rest = body_queue_rest(q);

		if (rest.len)
			request_body(req, rest.data, rest.len);
	}
}
