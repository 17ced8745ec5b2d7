/* SPDX-License-Identifier: MIT */
/*
 * A call of mremap() that is being decided on, and the ways to end it. Shared by the files that
 * decide (mremap_wrap.c, relocate.c, span.c). Async-signal-safe, no state.
 */
#ifndef REMAP_DECISION_H
#define REMAP_DECISION_H

#include <stdbool.h>

#include "mremap_wrap.h"
#include "process.h"
#include "stats.h"

/* mremap(2) flags: those that every kernel knows, and those that we add where it does not. */
#define DECISION_PLAIN (K_MREMAP_MAYMOVE | K_MREMAP_FIXED | K_MREMAP_DONTUNMAP)
#define DECISION_OURS  (K_MREMAP_RELOCATE | K_MREMAP_MUST)

struct decision {
    const struct wrap_call *call;
    wrap_plain plain;
    struct process *proc; /* NULL until something could move */
    bool asked;           /* the program itself passed 8 or 16 */
    bool must;            /* ... 16 */
    bool native_refused;  /* the kernel answered EINVAL to its own flag */
    struct stats_call account;
    long result; /* what the program gets: an address, or a negative errno */
};

/* The call has the result; a failed one is counted as such, under its errno. */
void decision_set(struct decision *d, enum remap_outcome outcome, enum remap_reason reason,
                  long result);
/* Hands the call on, without the flags that only we know. */
void decision_pass(struct decision *d, enum remap_reason reason);
/* Relocation was considered and is not to be: plainly, or (MUST) not at all: EFAULT then, and a
 * FIXED destination is unmapped. */
void decision_refuse(struct decision *d, enum remap_reason reason);
/* The next mremap() in line, without our flags. Our own address space is given up before it may
 * fail for want of VMAs. */
long decision_call_plain(const struct decision *d);

#endif
