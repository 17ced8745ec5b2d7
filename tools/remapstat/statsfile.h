/* SPDX-License-Identifier: MIT */
/*
 * Statistics files: opening one that a stranger may have put there, and judging its contents.
 *
 * The file is never mapped: its owner may truncate it at any time, and that must not kill us. It is
 * opened only after it is known to be a regular file (opening a device can have effects), never
 * through a symbolic link, and read into memory of our own.
 */
#ifndef REMAPSTAT_STATSFILE_H
#define REMAPSTAT_STATSFILE_H

#include <stdbool.h>
#include <stddef.h>

#include "procfs.h"
#include "remap_stats.h"

enum statsfile_verdict {
    STATSFILE_GOOD,
    STATSFILE_UNREADABLE, /* cannot be opened, or it is not a regular file of the right owner */
    STATSFILE_ALIEN,      /* not a statistics file at all */
    STATSFILE_DAMAGED,    /* one of ours, but not to be trusted, or of an unknown version */
    STATSFILE_STARTING,   /* not written in full yet */
    STATSFILE_FOREIGN     /* the file of another process, inherited or copied */
};

/* A mapping that may be one of a statistics file. */
struct statsfile_candidate {
    uint64_t start, end;
    bool deleted;
    char *path; /* without " (deleted)" */
};

#define STATSFILE_WHY 160 /* room for the sentence that explains a verdict */

/* "4711" or "4711.1": what the library calls its files. */
bool statsfile_name(const char *basename);

/* True and fills in *out (path is allocated) if the mapping could be a statistics file. */
bool statsfile_is_candidate(const struct procfs_map *map, struct statsfile_candidate *out);

/* Opens `name` below `dir` for reading; -errno, or -EINVAL if it is not a regular file. */
int statsfile_openat(int dir, const char *name);

/* Reads and checks layout, version and readiness; not whose file it is. */
enum statsfile_verdict statsfile_load(int fd, struct remap_stats *out, char why[STATSFILE_WHY]);

/* The statistics of process `p`, if the candidate is its file. */
enum statsfile_verdict statsfile_of_process(const struct procfs *p, const struct procfs_stat *stat,
                                            const struct procfs_status *status,
                                            const struct statsfile_candidate *candidate,
                                            struct remap_stats *out, char why[STATSFILE_WHY]);

/* The same; if it is, *fd is the file, for the caller to close, else -1. */
enum statsfile_verdict statsfile_open_of_process(const struct procfs *p,
                                                 const struct procfs_stat *stat,
                                                 const struct procfs_status *status,
                                                 const struct statsfile_candidate *candidate,
                                                 struct remap_stats *out, char why[STATSFILE_WHY],
                                                 int *fd);

/* A copy of the table of call sites. */
struct statsfile_sites {
    bool there; /* false: the file has none */
    uint32_t depth;
    uint64_t dropped;
    size_t count;
    struct remap_stats_site *list; /* allocated; what is written in full, depth and all in range */
};

/* Reads it from the file of *s. False if it is not to be trusted. */
bool statsfile_load_sites(int fd, const struct remap_stats *s, struct statsfile_sites *out,
                          char why[STATSFILE_WHY]);

/* Opens an absolute path below the directory `root`, through no symbolic link, if it is a regular
 * file: a descriptor for reading, or -errno. */
int statsfile_open_below(int root, const char *path);

#endif
