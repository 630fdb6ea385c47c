/* SPDX-License-Identifier: Apache-2.0 */
/* libarchive's reader, loaded when it is needed (base/lazy-library.h). */
#ifndef NACRE_OCI_LIBARCHIVE_H
#define NACRE_OCI_LIBARCHIVE_H

#include <archive.h>
#include <archive_entry.h>

#include "base/lazy-library.h"

#define LIBARCHIVE_FUNCTIONS(F)              \
	F(archive_entry_filetype)            \
	F(archive_entry_gid)                 \
	F(archive_entry_hardlink)            \
	F(archive_entry_mtime)               \
	F(archive_entry_mtime_nsec)          \
	F(archive_entry_pathname)            \
	F(archive_entry_perm)                \
	F(archive_entry_rdevmajor)           \
	F(archive_entry_rdevminor)           \
	F(archive_entry_size)                \
	F(archive_entry_size_is_set)         \
	F(archive_entry_sparse_count)        \
	F(archive_entry_symlink)             \
	F(archive_entry_uid)                 \
	F(archive_entry_xattr_next)          \
	F(archive_entry_xattr_reset)         \
	F(archive_error_string)              \
	F(archive_filter_bytes)              \
	F(archive_read_data)                 \
	F(archive_read_data_block)           \
	F(archive_read_free)                 \
	F(archive_read_new)                  \
	F(archive_read_next_header)          \
	F(archive_read_open)                 \
	F(archive_read_open1)                \
	F(archive_read_open_fd)              \
	F(archive_read_set_callback_data)    \
	F(archive_read_set_options)          \
	F(archive_read_set_read_callback)    \
	F(archive_read_set_skip_callback)    \
	F(archive_read_support_filter_all)   \
	F(archive_read_support_format_empty) \
	F(archive_read_support_format_raw)   \
	F(archive_read_support_format_tar)   \
	F(archive_set_error)

LAZY_LIBRARY_DECLARE(libarchive, LIBARCHIVE_FUNCTIONS);

#define archive_entry_filetype            libarchive.archive_entry_filetype
#define archive_entry_gid                 libarchive.archive_entry_gid
#define archive_entry_hardlink            libarchive.archive_entry_hardlink
#define archive_entry_mtime               libarchive.archive_entry_mtime
#define archive_entry_mtime_nsec          libarchive.archive_entry_mtime_nsec
#define archive_entry_pathname            libarchive.archive_entry_pathname
#define archive_entry_perm                libarchive.archive_entry_perm
#define archive_entry_rdevmajor           libarchive.archive_entry_rdevmajor
#define archive_entry_rdevminor           libarchive.archive_entry_rdevminor
#define archive_entry_size                libarchive.archive_entry_size
#define archive_entry_size_is_set         libarchive.archive_entry_size_is_set
#define archive_entry_sparse_count        libarchive.archive_entry_sparse_count
#define archive_entry_symlink             libarchive.archive_entry_symlink
#define archive_entry_uid                 libarchive.archive_entry_uid
#define archive_entry_xattr_next          libarchive.archive_entry_xattr_next
#define archive_entry_xattr_reset         libarchive.archive_entry_xattr_reset
#define archive_error_string              libarchive.archive_error_string
#define archive_filter_bytes              libarchive.archive_filter_bytes
#define archive_read_data                 libarchive.archive_read_data
#define archive_read_data_block           libarchive.archive_read_data_block
#define archive_read_free                 libarchive.archive_read_free
#define archive_read_new                  libarchive.archive_read_new
#define archive_read_next_header          libarchive.archive_read_next_header
#define archive_read_open                 libarchive.archive_read_open
#define archive_read_open1                libarchive.archive_read_open1
#define archive_read_open_fd              libarchive.archive_read_open_fd
#define archive_read_set_callback_data    libarchive.archive_read_set_callback_data
#define archive_read_set_options          libarchive.archive_read_set_options
#define archive_read_set_read_callback    libarchive.archive_read_set_read_callback
#define archive_read_set_skip_callback    libarchive.archive_read_set_skip_callback
#define archive_read_support_filter_all   libarchive.archive_read_support_filter_all
#define archive_read_support_format_empty libarchive.archive_read_support_format_empty
#define archive_read_support_format_raw   libarchive.archive_read_support_format_raw
#define archive_read_support_format_tar   libarchive.archive_read_support_format_tar
#define archive_set_error                 libarchive.archive_set_error

#endif
