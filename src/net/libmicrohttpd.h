/* SPDX-License-Identifier: Apache-2.0 */
/* libmicrohttpd, for src/serve and src/node, loaded when it is needed (base/lazy-library.h). */
#ifndef NACRE_NET_LIBMICROHTTPD_H
#define NACRE_NET_LIBMICROHTTPD_H

#include <microhttpd.h>

#include "base/lazy-library.h"

#define LIBMICROHTTPD_FUNCTIONS(F)                                \
	F(MHD_add_connection)                                     \
	F(MHD_add_response_header)                                \
	F(MHD_create_response_from_buffer)                        \
	F(MHD_create_response_from_buffer_with_free_callback)     \
	F(MHD_create_response_from_buffer_with_free_callback_cls) \
	F(MHD_create_response_from_callback)                      \
	F(MHD_create_response_from_fd_at_offset64)                \
	F(MHD_destroy_response)                                   \
	F(MHD_get_connection_info)                                \
	F(MHD_get_connection_values_n)                            \
	F(MHD_get_response_header)                                \
	F(MHD_get_version)                                        \
	F(MHD_lookup_connection_value)                            \
	F(MHD_lookup_connection_value_n)                          \
	F(MHD_queue_response)                                     \
	F(MHD_resume_connection)                                  \
	F(MHD_set_response_options)                               \
	F(MHD_start_daemon)                                       \
	F(MHD_stop_daemon)                                        \
	F(MHD_suspend_connection)

LAZY_LIBRARY_DECLARE(libmicrohttpd, LIBMICROHTTPD_FUNCTIONS);

#define MHD_add_connection              libmicrohttpd.MHD_add_connection
#define MHD_add_response_header         libmicrohttpd.MHD_add_response_header
#define MHD_create_response_from_buffer libmicrohttpd.MHD_create_response_from_buffer
#define MHD_create_response_from_buffer_with_free_callback \
	libmicrohttpd.MHD_create_response_from_buffer_with_free_callback
#define MHD_create_response_from_buffer_with_free_callback_cls \
	libmicrohttpd.MHD_create_response_from_buffer_with_free_callback_cls
#define MHD_create_response_from_callback libmicrohttpd.MHD_create_response_from_callback
#define MHD_create_response_from_fd_at_offset64 \
	libmicrohttpd.MHD_create_response_from_fd_at_offset64
#define MHD_destroy_response          libmicrohttpd.MHD_destroy_response
#define MHD_get_connection_info       libmicrohttpd.MHD_get_connection_info
#define MHD_get_connection_values_n   libmicrohttpd.MHD_get_connection_values_n
#define MHD_get_response_header       libmicrohttpd.MHD_get_response_header
#define MHD_get_version               libmicrohttpd.MHD_get_version
#define MHD_lookup_connection_value   libmicrohttpd.MHD_lookup_connection_value
#define MHD_lookup_connection_value_n libmicrohttpd.MHD_lookup_connection_value_n
#define MHD_queue_response            libmicrohttpd.MHD_queue_response
#define MHD_resume_connection         libmicrohttpd.MHD_resume_connection
#define MHD_set_response_options      libmicrohttpd.MHD_set_response_options
#define MHD_start_daemon              libmicrohttpd.MHD_start_daemon
#define MHD_stop_daemon               libmicrohttpd.MHD_stop_daemon
#define MHD_suspend_connection        libmicrohttpd.MHD_suspend_connection

#endif
