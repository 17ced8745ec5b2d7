/* SPDX-License-Identifier: MIT */
/*
 * The lines of /proc/PID/maps, in order, with what their names tell about their kind.
 */
#ifndef REMAPSTAT_MAPPINGS_H
#define REMAPSTAT_MAPPINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "procfs.h"

enum {
    MAPPING_READ = 1,
    MAPPING_WRITE = 2,
    MAPPING_EXEC = 4,
    MAPPING_ACCESS = 7,
    MAPPING_BLANK = 8,    /* private anonymous without a name */
    MAPPING_FLEX = 16,    /* a JVM may know better than the name */
    MAPPING_ARCHIVE = 32, /* a class data archive */
};

struct mapping {
    uint64_t start, end, inode;
    uint8_t flags;
    uint8_t kind; /* enum kind */
};

/* More than any sane limit of the kernel: 128 MiB of memory. What comes after is only counted. */
#define MAPPINGS_MAX (1u << 22)

struct mappings {
    struct mapping *list;
    size_t count, room;
    uint64_t more, more_bytes; /* beyond MAPPINGS_MAX */
    bool java;                 /* libjvm.so is mapped */
};

void mappings_add(struct mappings *m, const struct procfs_map *line);
void mappings_free(struct mappings *m);

/* The first one that ends behind `address`; `count` if there is none. */
size_t mappings_find(const struct mappings *m, uint64_t address);

/* The one that holds `address`, or NULL. */
struct mapping *mappings_at(const struct mappings *m, uint64_t address);

/* Blank, and of no known kind. */
bool mapping_is_open(const struct mapping *m);

#endif
