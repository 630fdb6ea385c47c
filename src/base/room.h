/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The free end of a sink's buffer, for who can put bytes there at once (read() can) and so saves a
 * copy. It may be mixed with writes to the sink.
 *
 *	size_t free = room_find(room, &to);
 *	ssize_t n = read(fd, to, free);
 *
 *	r = n < 0 ? … : room_fill(room, (size_t)n, err);
 */
#ifndef NACRE_BASE_ROOM_H
#define NACRE_BASE_ROOM_H

#include <nacre/err.h>
#include <nacre/slice.h>

struct room {
	size_t (*find)(struct room *self, uint8_t **ret);
	int (*fill)(struct room *self, size_t len, struct err *err);
};

/* The room's size, at least 1 byte, and in *ret where it begins; until the next call for the sink. */
static inline size_t room_find(struct room *room, uint8_t **ret)
{
	return room->find(room, ret);
}

/* The first `len` bytes of the room that was found last are what the sink gets next. */
static inline int room_fill(struct room *room, size_t len, struct err *err)
{
	return room->fill(room, len, err);
}

#endif
