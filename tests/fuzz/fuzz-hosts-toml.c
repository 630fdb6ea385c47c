/* SPDX-License-Identifier: Apache-2.0 */
/* containerd's hosts.toml. */
#include "node/registry-hosts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_registry_hosts struct registry_hosts hosts = {0};
	struct err err = ERR_INIT;

	if (registry_hosts_parse(&hosts, slice_make(data, size), "/etc/certs.d/x", "x", &err) >= 0)
		for (size_t i = 0; i < hosts.len; i++)
			if (!hosts.items[i].domain)
				__builtin_trap();
	return 0;
}
