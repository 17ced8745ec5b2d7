/* SPDX-License-Identifier: MIT */
/*
 * REMAP_CATCH: sets up the ways by which calls arrive, and says which could not be.
 *
 * Called once, from the constructor, with the options read. The entry points of the ways are in
 * preload.c.
 */
#ifndef REMAP_CATCH_H
#define REMAP_CATCH_H

#include <stddef.h>

/* Where calls inside libc go: the signature of mremap(2). */
typedef void *(*catch_mremap)(void *, size_t, size_t, int, ...);

void catch_begin(catch_mremap from_libc);

#endif
