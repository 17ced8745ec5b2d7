/* SPDX-License-Identifier: MIT */
/*
 * One process as remapstat sees it: what /proc says, and its statistics if it has any.
 */
#ifndef REMAPSTAT_VIEW_H
#define REMAPSTAT_VIEW_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "remap_stats.h"

struct kinds;

struct view {
    pid_t pid;
    uid_t uid;     /* effective */
    char comm[72]; /* raw bytes */
    bool alive;    /* false for rows made from a file alone: no vmas, runs */
    bool shim;     /* libremap.so is mapped */
    bool has_stats;
    bool damaged; /* it maps a statistics file that cannot be used; `problem` says why */
    uint64_t vmas;
    uint64_t runs;
    uint64_t limit;
    uint64_t stats_start; /* where the statistics file is mapped, 0 if there is none */
    char path[512];       /* of the statistics file, escaped; "" if there is none */
    char problem[768];    /* why there are no statistics, escaped; "" if there is no file */
    struct remap_stats stats;
};

/*
 * Returns 0 or a negative errno: -ESRCH gone (or a zombie), -EACCES not ours. Fills in pid in any
 * case. A process that is not under the shim is no error: view_shimmed() tells.
 */
int view_read(struct view *v, pid_t pid);

/* As above, and finds out the kinds of its VMAs; `ask`: asks it if it is a JVM. */
int view_read_kinds(struct view *v, pid_t pid, struct kinds *kinds, bool ask);

/* Says on standard error what `result` of the above means, or that there is a damaged statistics
 * file or, if it `needs_shim`, none of libremap. Returns an exit status. */
int view_say(const struct view *v, int result, bool needs_shim);

/* As view_read(), and says on standard error what went wrong. Returns an exit status. A process
 * that has no shim, or a damaged statistics file, is a failure here. */
int view_read_or_say(struct view *v, pid_t pid);

bool view_shimmed(const struct view *v);

/* Of the statistics; 0 if there are none. */
uint64_t view_merged(const struct view *v);
uint64_t view_bytes_moved(const struct view *v); /* relocated, by whichever tier */
uint64_t view_nanoseconds(const struct view *v); /* in all calls that moved */
uint64_t view_step_errors(const struct view *v);

/* Names of enum values from a file; "unknown" beyond what this program knows. */
const char *view_tier(const struct view *v);
const char *view_policy(const struct view *v);

/* a - b for every counter, 0 where the counter went backwards. */
void view_counters_subtract(struct remap_stats_counters *a, const struct remap_stats_counters *b);
void view_counters_add(struct remap_stats_counters *a, const struct remap_stats_counters *b);

#endif
