/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was pushed and is not framed yet; private to src/store. Where store_options.framing says so, a store
 * layer is read once when its manifest is put: its paths are bound to NARs that lie in the pushed
 * blob, and their narinfos name them uncompressed. A thread then reads it again, for frames: NARs
 * get their own objects, the blob becomes a splice where it can, and narinfos name the frames. What
 * is left to be done is what rows say (upgrade-5.sql), so it is done after a crash.
 *
 * Who needs the bytes of such a NAR frames its layer first, or waits for who does.
 */
#ifndef NACRE_STORE_SETTLE_H
#define NACRE_STORE_SETTLE_H

#include "store/nars.h"

/* Starts the thread, if the store has one. */
int settler_start(struct store *s, struct err *err);
/* Ends the thread; what it is at is left for the next time. */
void settler_free(struct store *s);
/* There is something to do. */
void settler_wake(struct store *s);
/* What failed since this was asked last; the thread then tries again. */
int settler_failure(struct store *s, struct err *err);

/* `ret`, with frames. E_NOTFOUND: it is gone. */
int nar_frame(struct store *s, int64_t nar, struct nar *ret, struct err *err);
/* All of these have frames from now on. */
int nars_frame(struct store *s, const int64_t *nars, size_t n, struct err *err);

#endif
