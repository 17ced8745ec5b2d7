/* SPDX-License-Identifier: MIT */
/*
 * The tier `copy`, for kernels that cannot move pages: brings the parked pages to the destination
 * by copying them inside the kernel (UFFDIO_COPY, Linux 4.3), chunk by chunk, each chunk of the
 * source released before the next is copied.
 *
 * What a copy cannot do: pages that a device is writing to (O_DIRECT, io_uring, RDMA) stay behind
 * with whatever the device writes later, and user space cannot see that they are pinned. This is
 * why the tier is used only where REMAP_ENGINE names it. Called with all signals
 * blocked.
 */
#ifndef REMAP_COPY_H
#define REMAP_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "process.h"

/*
 * True if copying would take up more memory (some page that is not all zero is mapped by another
 * process too), would stop half way (at a guard page), or if it cannot be known. [src, src +
 * length) must be readable.
 */
bool copy_is_unwise(struct process *proc, uintptr_t src, size_t length);

/*
 * Copies the populated pages of [src, src + length) to dst, which is registered with the process's
 * userfaultfd; src must be readable. Holes stay holes. Returns how far it came, from src: length,
 * or less (*error says why): all in front of that is at dst alone, all behind it at src alone. Adds
 * what it copied to *pages.
 */
size_t copy_all(struct process *proc, uintptr_t dst, uintptr_t src, size_t length, uint64_t *pages,
                long *error);

/* True if the range holds huge pages. Where the kernel cannot tell page by page (before Linux 6.7),
 * smaps is asked about the VMA. */
bool copy_has_huge(struct process *proc, uintptr_t src, size_t length);

/* UFFDIO_COPY makes small pages: makes huge ones again of the aligned blocks of the range that are
 * populated throughout. Where it fails they stay small. */
void copy_make_huge(struct process *proc, uintptr_t dst, size_t length);

#endif
