/* SPDX-License-Identifier: Apache-2.0 */
#include "net/proof.h"

#include "base/mem.h"

static int proof_event(struct node_sink *self, const struct node_event *ev, struct err *err)
{
	struct proof *p = container_of(self, struct proof, node_sink);
	bool is_right = true;
	struct hash got;

	if (node_sink_event(nar_writer_node_sink(p->nar), ev, err) < 0)
		return err->code;
	if (ev->type == NODE_END) {
		hash_sink_final(&p->hash, &got);
		is_right =
			hash_equal(&got, &p->info->nar_hash) && p->hash.bytes == p->info->nar_size;
		p->is_over = is_right;
	}
	if (!is_right || p->hash.bytes > p->info->nar_size)
		return err_set(err, E_MISMATCH, "%s %s", p->info->path.text, p->otherwise);
	return node_sink_event(p->out, ev, err);
}

void proof_init(struct proof *p, const struct path_info *info, struct node_sink *out,
		const char *otherwise)
{
	*p = (struct proof){
		.node_sink = {proof_event}, .out = out, .info = info, .otherwise = otherwise};
	hash_sink_init(&p->hash, HASH_SHA256, NULL);
	p->nar = nar_writer_new(&p->hash.sink);
}

void proof_release(struct proof *p)
{
	nar_writer_free(p->nar);
	hash_sink_release(&p->hash);
}
