/* SPDX-License-Identifier: MIT */
/*
 * What the engine does with its userfaultfd. Addresses and lengths are page-aligned.
 * Async-signal-safe; results are 0 or -errno unless said otherwise.
 */
#ifndef REMAP_UFFD_H
#define REMAP_UFFD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "process.h"

/* Missing faults in the range wait from now on (-EBUSY: another userfaultfd watches it). */
long uffd_register(int fd, uintptr_t addr, size_t length);
/* They no longer do; waiters wake, and the kernel merges the VMA with its neighbours. */
long uffd_unregister(int fd, uintptr_t addr, size_t length);
/* True if another userfaultfd watches memory of the range; found out by registering it for a
 * moment. */
bool uffd_is_watched(struct process *proc, uintptr_t addr, size_t length);
/* Wakes waiters in a range whose mapping is gone. */
void uffd_wake(int fd, uintptr_t addr, size_t length);

enum uffd_result {
    UFFD_MOVED_ALL, /* no populated page is left at src */
    UFFD_STUCK,     /* some are: shared, pinned, or a kind that UFFDIO_MOVE does not know */
};

/* Which of two pages for one address is the program's: the one that is being moved (the other was
 * put there by a thread that touched the destination too early), or, on the way back, the one
 * there. */
enum uffd_priority { UFFD_INCOMING_WINS, UFFD_RESIDENT_WINS };

/*
 * Moves every populated page of [src, src + length) to dst, which is registered. Holes are skipped.
 * Adds what it moved to *pages. What has arrived is decided by looking, not by errno.
 */
enum uffd_result uffd_move_all(struct process *proc, uintptr_t dst, uintptr_t src, size_t length,
                               enum uffd_priority priority, uint64_t *pages);

/* Copies what is left at src to dst, which is registered. False: not all could be copied. */
bool uffd_copy_rest(struct process *proc, uintptr_t dst, uintptr_t src, size_t length);

#endif
