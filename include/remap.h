/* SPDX-License-Identifier: MIT */
/*
 * remap: the API for programs that link libremap.so or find it preloaded.
 *
 * The flags work through mremap() and syscall(SYS_mremap, ...) whenever libremap.so is loaded and
 * its policy is auto or always, on every kernel: see libremap(7) for the contract.
 */
#ifndef REMAP_H
#define REMAP_H

#include <stddef.h>
#include <stdint.h>

#include "remap_stats.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Move an anonymous mapping so that it can merge with its neighbours, where that is feasible;
 * otherwise move it plainly. Needs MREMAP_MAYMOVE, else EINVAL. (Proposed for Linux in 2025; in no
 * released kernel.)
 */
#ifndef MREMAP_RELOCATE_ANON
#define MREMAP_RELOCATE_ANON 8
#endif
/*
 * The same, but fail with EFAULT where it is not feasible: the source is then where and as it was;
 * the destination of MREMAP_FIXED is already unmapped.
 */
#ifndef MREMAP_MUST_RELOCATE_ANON
#define MREMAP_MUST_RELOCATE_ANON 16
#endif

/* What the shim found here. Filled in by remap_features(). */
struct remap_features {
    uint32_t size;   /* in: sizeof(struct remap_features) of the caller; out: bytes filled in */
    uint32_t tier;   /* enum remap_tier in use */
    uint32_t policy; /* 0 off, 1 observe, 2 auto, 3 always */
    uint32_t active; /* 1: this process is acted in; 0: inert (policy, REMAP_EXE, AT_SECURE) */
    struct remap_stats_feature features[REMAP_STATS_FEATURES]; /* by enum remap_feature */
};

/*
 * All three are thread-safe and async-signal-safe, keep errno, and return 0 or a negative errno
 * (-EINVAL: null pointer or a size that is too small).
 */

/* Runs the probe if no move has done so yet. */
int remap_features(struct remap_features *out);

/* Copies the statistics of this process; `size` is the caller's sizeof(struct remap_stats). Works
 * with REMAP_STATS=off too. */
int remap_statistics(struct remap_stats *out, size_t size);

/* "1.2.3", static storage. */
const char *remap_version(void);

#ifdef __cplusplus
}
#endif

#endif
