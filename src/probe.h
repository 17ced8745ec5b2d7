/* SPDX-License-Identifier: MIT */
/*
 * What this kernel and this container can do, found out by behaviour.
 *
 * probe_run() takes under a millisecond, leaves no mapping, descriptor or thread behind, and is
 * async-signal-safe: raw system calls only. It may be called again at any time (remapstat does).
 */
#ifndef REMAP_PROBE_H
#define REMAP_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "options.h"
#include "remap_stats.h"

struct probe_answer {
    uint16_t answer; /* enum remap_answer */
    uint16_t error;  /* errno, 0 if none */
    const char *why; /* one sentence, static storage; "" where the answer says it all */
};

struct probe_result {
    struct probe_answer features[REMAP_FEATURE_COUNT];
    uint32_t tier;        /* enum remap_tier: the best one that `options` allow */
    uint32_t own_tier;    /* ... of those that are our own work (UFFD, COPY), else NONE */
    const char *tier_why; /* why not a better one; static storage */
    bool user_mode_only;  /* userfaultfd has to be opened with UFFD_USER_MODE_ONLY */
    bool no_huge;         /* moving huge pages is not safe on this kernel */
    bool no_split;        /* splitting huge pages by UFFDIO_MOVE is not safe on this kernel */
    char kernel[65];      /* uname -r */
};

void probe_run(struct probe_result *out, const struct remap_options *options);

/* The same judgement on a given kernel release and swap state, without asking this kernel: what the
 * list of known kernel bugs says. Sets no_huge and no_split and, where a tier is refused by name,
 * marks its feature BROKEN. Exposed for tests. */
void probe_known_bugs(struct probe_result *r, const char *release, bool swap_active);

#endif
