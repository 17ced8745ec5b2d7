/* SPDX-License-Identifier: MIT */
/*
 * Names for code addresses of a living process: libdwfl on the files that it maps, and the map that
 * a JIT compiler writes (perfmap.h).
 *
 * The files are opened below the root directory of the process and must be those that are mapped
 * there; their separate debug information is looked for on this machine, never on the network. All
 * names are raw bytes from strangers.
 */
#ifndef REMAPSTAT_SYMBOLS_H
#define REMAPSTAT_SYMBOLS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct symbols;

struct symbol {
    const char *function; /* NULL: not known */
    const char *object;   /* path of the file; NULL: none, or not known */
    const char *file;     /* of the source; NULL: not known */
    int line;             /* 0: not known */
    uint64_t offset;      /* of the return address, in the function, else in the object */
};

/* Of the process as it is now; NULL if it cannot be looked into. One at a time. */
struct symbols *symbols_open(pid_t pid);
void symbols_close(struct symbols *s);

/* What the call before a return address lies in. The texts live as long as *s. */
struct symbol symbols_find(struct symbols *s, uint64_t return_address);

#endif
