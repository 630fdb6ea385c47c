/* SPDX-License-Identifier: Apache-2.0 */
/* Why a container did not start, as an exit code: what shells, docker and podman end with. The bundle's directory
 * still has its configuration and its root file system, mounted. Blocks. */
#ifndef NACRE_NODE_UNSTARTED_H
#define NACRE_NODE_UNSTARTED_H

enum {
	EXIT_UNSTARTED = 125, /* for a reason that is not the program's */
	EXIT_NO_RUN = 126,    /* there is such a file, but nothing that can be run */
	EXIT_NO_PROGRAM = 127,
};

/* `bundle` is a directory with config.json and rootfs, borrowed. */
int unstarted_exit_code(int bundle);

#endif
