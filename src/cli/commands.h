/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands of `nacre`, in the order of `nacre --help`: COMMAND(function, name, summary). No
 * include guard: it is included wherever the table is expanded.
 */
COMMAND(cmd_nar, "nar", "work with NARs, the archives of store paths")
COMMAND(cmd_copy, "copy", "copy images and store paths from anywhere to anywhere")
COMMAND(cmd_inspect, "inspect", "show what an image is")
COMMAND(cmd_build, "build", "build an image from store paths")
COMMAND(cmd_serve, "serve", "serve an OCI registry and a Nix binary cache over one store")
COMMAND(cmd_admin, "admin", "look after a server: garbage, pins, backup, statistics")
COMMAND(cmd_fsck, "fsck", "verify and repair what a server keeps")
COMMAND(cmd_run, "run", "pull what is missing and run a container")
COMMAND(cmd_mount, "mount", "mount the root file system of an image")
COMMAND(cmd_umount, "umount", "unmount what nacre mount has mounted")
COMMAND(cmd_bundle, "bundle", "make a bundle of an image for crun, runc or youki")
COMMAND(cmd_node, "node", "show and collect what this node keeps")
COMMAND(cmd_snapshotter, "snapshotter", "serve containerd's snapshots out of what this node keeps")
COMMAND(cmd_path_info, "path-info", "show what a store or a cache knows of store paths")
COMMAND(cmd_key, "key", "make keys that sign store paths")
