/* SPDX-License-Identifier: MIT */
/*
 * /proc/PID, read through one descriptor of the directory, so that a process id that is used again
 * in the meantime can never give us half of one process and half of another.
 *
 * All functions return 0 or a negative errno; -ESRCH means that the process is gone.
 */
#ifndef REMAPSTAT_PROCFS_H
#define REMAPSTAT_PROCFS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct procfs {
    int dir;
    pid_t pid;
};

struct procfs_stat {
    char comm[72]; /* raw bytes */
    char state;
    uint64_t start_time; /* field 22 */
};

struct procfs_status {
    uid_t uid[3];    /* real, effective, saved */
    pid_t inner_pid; /* as the process sees itself */
    uint64_t caught; /* signals that it handles, the lowest bit is signal 1 */
    int seccomp;     /* 0 none, 1 strict, 2 filter, -1 not told */
};

struct procfs_map {
    uint64_t start, end, offset, inode;
    char perms[5];
    const char *name; /* "" if it has none; valid during the visit */
};

int procfs_open(struct procfs *p, pid_t pid);
void procfs_close(struct procfs *p);
int procfs_stat(const struct procfs *p, struct procfs_stat *out);
int procfs_status(const struct procfs *p, struct procfs_status *out);

typedef void procfs_visit(const struct procfs_map *map, void *arg);
/* Calls `visit` for each line of /proc/PID/maps, in order. */
int procfs_maps(const struct procfs *p, procfs_visit *visit, void *arg);

/* One line of it, which is written to. */
bool procfs_parse_map(struct procfs_map *m, char *line);

/* One decimal number in a file such as /proc/sys/vm/max_map_count. */
int procfs_number(const char *path, uint64_t *out);

#endif
