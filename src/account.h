/* SPDX-License-Identifier: MIT */
/* What is accounted for of one call: filled in by who decides, counted by stats.c and sites.c. */
#ifndef REMAP_ACCOUNT_H
#define REMAP_ACCOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "remap_stats.h"

/* The outcomes that count as relocated. */
static inline bool stats_is_relocation(enum remap_outcome outcome)
{
    return outcome == REMAP_OUTCOME_NATIVE || outcome == REMAP_OUTCOME_UFFD ||
           outcome == REMAP_OUTCOME_COPY;
}

/* nanoseconds: 0 if it was not timed. */
struct stats_call {
    enum remap_outcome outcome;
    enum remap_reason reason;
    enum remap_tier tier; /* for calls that moved */
    enum remap_way way;   /* by which it arrived */
    long error;           /* FAILED: positive errno */
    uint64_t bytes;
    uint64_t pages;        /* moved by UFFDIO_MOVE */
    uint64_t pages_copied; /* by the tier copy */
    uint64_t span_vmas;    /* VMAs moved one by one; 0: the call was about one */
    uint64_t nanoseconds;
    unsigned merged_left;
    unsigned merged_right;
    unsigned rescued;
    unsigned moved;
};

#endif
