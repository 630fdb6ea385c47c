/* SPDX-License-Identifier: Apache-2.0 */
/* Scopes, tokens and password files. The first byte says which. */
#include "base/mem.h"
#include "serve/htpasswd.h"
#include "serve/jwt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct public_key key; /* of nobody */
	struct grants grants = {0};
	struct htpasswd *h = NULL;
	struct claims claims;
	struct err err = ERR_INIT;
	struct slice text;

	if (!size)
		return 0;
	text = slice_make(data + 1, size - 1);
	switch (data[0] % 3) {
	case 0:
		scopes_parse(&grants, text);
		grants_release(&grants);
		break;
	case 1:
		if (jwt_verify(&claims, text, &key, "nacre", 1500, &err) == 0)
			jwt_claims_release(&claims);
		break;
	case 2:
		htpasswd_parse(&h, text, "fuzz", &err);
		htpasswd_unref(h);
		break;
	}
	return 0;
}
