/* SPDX-License-Identifier: Apache-2.0 */
#include "store/puts.h"

int store_put_write(struct store_put *p, const void *data, size_t len, struct err *err)
{
	int r;

	if (p->over)
		return err_set(err, E_USAGE, "this upload is over");
	r = p->write(p, data, len, err);
	if (r < 0)
		p->over = true;
	return r;
}

int store_put_commit(struct store_put *p, struct err *err)
{
	if (p->over)
		return err_set(err, E_USAGE, "this upload is over");
	p->over = true;
	return p->commit(p, err);
}

void store_put_free(struct store_put *p)
{
	if (p)
		p->free(p);
}
