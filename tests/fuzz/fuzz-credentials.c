/* SPDX-License-Identifier: Apache-2.0 */
/* auth.json, netrc and the output of credential helpers; the first byte chooses. */
#include "base/mem.h"
#include "net/credentials.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_credentials struct credentials c = {0};
	cleanup_auth_answer struct auth_answer answer = {0};
	cleanup_free char *basic = NULL;
	struct slice in = slice_make(data, size);
	struct err err = ERR_INIT;
	const struct credentials *who = &c;
	uint8_t which;
	int r;

	if (!size)
		return 0;
	which = data[0];
	slice_advance(&in, 1);
	if (which % 3 == 0)
		who = &answer.credentials;
	if (which % 3 == 0)
		r = auth_json_find(&answer, in, "host.example", "team/app", &err);
	else if (which % 3 == 1)
		r = netrc_find(&c, in, "host.example", &err);
	else
		r = credential_helper_parse(&c, in, &err);
	if ((r < 0) != (err.code < 0) ||
	    (r == 1 && !answer.helper && !who->user && !who->identity_token))
		abort();
	credentials_basic(&basic, who);
	return 0;
}
