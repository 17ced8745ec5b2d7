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

struct wrap_call;

struct catch_entries {
    /* Where calls inside libc go: the signature of mremap(2). */
    void *(*from_libc)(void *, size_t, size_t, int, ...);
    /* Where trapped calls go, from a signal handler: the kernel's result. */
    long (*trapped)(const struct wrap_call *);
};

void catch_begin(const struct catch_entries *entries, char *const *envp);

#endif
