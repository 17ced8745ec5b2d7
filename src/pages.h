/* SPDX-License-Identifier: MIT */
/*
 * Where pages are: the only answer the engine believes about what UFFDIO_MOVE has moved.
 *
 * A page counts as populated if it is present or swapped out; the shared zero page is as good as a
 * hole. All functions take an open /proc/self/pagemap of this address space and use PAGEMAP_SCAN
 * (Linux 6.7, one release before UFFDIO_MOVE). On older kernels the questions about populated pages
 * are answered from the file's entries, which do not tell the zero page: there it counts as
 * populated. Questions about huge pages get -ENOTTY there. Async-signal-safe; no state.
 */
#ifndef REMAP_PAGES_H
#define REMAP_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The first populated run at or after start: 1 (run set), 0 (none up to end), or -errno. The run
 * ends at a hole or at end. */
long pages_first_run(int pagemap_fd, uintptr_t start, uintptr_t end, uintptr_t *run_start,
                     uintptr_t *run_end);

/* 1 if any page is populated, 0 if none, or -errno. Stops at the first one. */
long pages_any(int pagemap_fd, uintptr_t start, uintptr_t end);

/* Number of populated base pages; stops counting once it exceeds `enough`. Or -errno. */
long pages_count(int pagemap_fd, uintptr_t start, uintptr_t end, size_t enough);

/* The entries (K_PAGEMAP_*) of `count` pages from start. 0 or -errno. */
long pages_entries(int pagemap_fd, uintptr_t start, uint64_t *entries, size_t count);

/* Drops the pages of a range, locked or not: it reads zero from then on. 0 or -errno. */
long pages_drop(uintptr_t addr, size_t length);

/* 1 if some huge page is mapped whole (by a PMD) in the range, 0 if not, or -errno. */
long pages_any_huge(int pagemap_fd, uintptr_t start, uintptr_t end);

/* 1 if a huge page is mapped across `addr` (a boundary of the range to be moved), 0, or -errno. */
long pages_huge_across(int pagemap_fd, uintptr_t addr);

/* 1 if KSM holds pages of this process, 0 if not, -errno if that cannot be known (before 5.19). */
long pages_any_ksm(void);

/*
 * Writes to pages that only this process maps but that have lost their exclusive mark (after a
 * fork() whose child is gone): the kernel marks them exclusive again without a copy. The range must
 * be writable. Returns the number of pages touched, or -errno.
 */
long pages_reclaim_exclusive(int pagemap_fd, uintptr_t start, uintptr_t end);

/*
 * The last resort, which needs no /proc: copies what is not zero in [src, src + length) to dst.
 * Where a page has moved to dst already, src reads zero and dst is left alone. Both must be
 * accessible.
 */
void pages_copy_rest(uintptr_t dst, uintptr_t src, size_t length);

#endif
