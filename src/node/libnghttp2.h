/* SPDX-License-Identifier: Apache-2.0 */
/* nghttp2's server side, loaded when it is needed (base/lazy-library.h). */
#ifndef NACRE_NODE_LIBNGHTTP2_H
#define NACRE_NODE_LIBNGHTTP2_H

#include <nghttp2/nghttp2.h>

#include "base/lazy-library.h"

#define LIBNGHTTP2_FUNCTIONS(F)                                      \
	F(nghttp2_session_callbacks_del)                             \
	F(nghttp2_session_callbacks_new)                             \
	F(nghttp2_session_callbacks_set_on_begin_headers_callback)   \
	F(nghttp2_session_callbacks_set_on_data_chunk_recv_callback) \
	F(nghttp2_session_callbacks_set_on_frame_recv_callback)      \
	F(nghttp2_session_callbacks_set_on_header_callback)          \
	F(nghttp2_session_callbacks_set_on_stream_close_callback)    \
	F(nghttp2_session_del)                                       \
	F(nghttp2_session_get_last_proc_stream_id)                   \
	F(nghttp2_session_get_stream_user_data)                      \
	F(nghttp2_session_mem_recv)                                  \
	F(nghttp2_session_mem_send)                                  \
	F(nghttp2_session_resume_data)                               \
	F(nghttp2_session_server_new)                                \
	F(nghttp2_session_set_stream_user_data)                      \
	F(nghttp2_session_want_read)                                 \
	F(nghttp2_session_want_write)                                \
	F(nghttp2_submit_goaway)                                     \
	F(nghttp2_submit_response)                                   \
	F(nghttp2_submit_settings)                                   \
	F(nghttp2_submit_trailer)

LAZY_LIBRARY_DECLARE(libnghttp2, LIBNGHTTP2_FUNCTIONS);

#define nghttp2_session_callbacks_del libnghttp2.nghttp2_session_callbacks_del
#define nghttp2_session_callbacks_new libnghttp2.nghttp2_session_callbacks_new
#define nghttp2_session_callbacks_set_on_begin_headers_callback \
	libnghttp2.nghttp2_session_callbacks_set_on_begin_headers_callback
#define nghttp2_session_callbacks_set_on_data_chunk_recv_callback \
	libnghttp2.nghttp2_session_callbacks_set_on_data_chunk_recv_callback
#define nghttp2_session_callbacks_set_on_frame_recv_callback \
	libnghttp2.nghttp2_session_callbacks_set_on_frame_recv_callback
#define nghttp2_session_callbacks_set_on_header_callback \
	libnghttp2.nghttp2_session_callbacks_set_on_header_callback
#define nghttp2_session_callbacks_set_on_stream_close_callback \
	libnghttp2.nghttp2_session_callbacks_set_on_stream_close_callback
#define nghttp2_session_del                     libnghttp2.nghttp2_session_del
#define nghttp2_session_get_last_proc_stream_id libnghttp2.nghttp2_session_get_last_proc_stream_id
#define nghttp2_session_get_stream_user_data    libnghttp2.nghttp2_session_get_stream_user_data
#define nghttp2_session_mem_recv                libnghttp2.nghttp2_session_mem_recv
#define nghttp2_session_mem_send                libnghttp2.nghttp2_session_mem_send
#define nghttp2_session_resume_data             libnghttp2.nghttp2_session_resume_data
#define nghttp2_session_server_new              libnghttp2.nghttp2_session_server_new
#define nghttp2_session_set_stream_user_data    libnghttp2.nghttp2_session_set_stream_user_data
#define nghttp2_session_want_read               libnghttp2.nghttp2_session_want_read
#define nghttp2_session_want_write              libnghttp2.nghttp2_session_want_write
#define nghttp2_submit_goaway                   libnghttp2.nghttp2_submit_goaway
#define nghttp2_submit_response                 libnghttp2.nghttp2_submit_response
#define nghttp2_submit_settings                 libnghttp2.nghttp2_submit_settings
#define nghttp2_submit_trailer                  libnghttp2.nghttp2_submit_trailer

#endif
