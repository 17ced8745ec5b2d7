/* SPDX-License-Identifier: MIT */
/*
 * What is mapped at an address, from /proc/self/maps.
 *
 * PROCMAP_QUERY (Linux 6.11) answers in under a microsecond whatever the number of VMAs; on older
 * kernels the text is read, which takes time in proportion to it. Async-signal-safe; no state.
 */
#ifndef REMAP_VMA_H
#define REMAP_VMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vma_kind {
    VMA_ANON,  /* private anonymous, private /dev/zero included: can be relocated */
    VMA_FILE,  /* a file's pages or shared memory; vma_at() does not tell it from VMA_OTHER */
    VMA_OTHER, /* a device's, or one of the kernel's special mappings */
};

struct vma {
    uintptr_t start;
    uintptr_t end;
    int prot; /* PROT_READ | PROT_WRITE | PROT_EXEC */
    enum vma_kind kind;
    bool has_file; /* a file was mapped, /dev/zero included */
};

/*
 * The VMA that holds addr. maps_fd: an open /proc/self/maps of this very address space; use_query:
 * PROCMAP_QUERY is known to work. Returns 0, -ENOENT if nothing is mapped there, or another
 * negative errno if it could not be found out.
 */
long vma_at(int maps_fd, bool use_query, uintptr_t addr, struct vma *out);

/* The VMAs with a byte in [start, end), in order, at most `max`. Their number, or -errno. */
long vma_list(int maps_fd, bool use_query, uintptr_t start, uintptr_t end, struct vma *out,
              size_t max);

/* Whether the VMA at addr has one of two flags of /proc/self/smaps: "lf" (locked on fault), "mg"
 * (mergeable by KSM)... False if it cannot be found out. Slow: reads smaps, for which the kernel
 * walks the page tables of all VMAs below. */
bool vma_has_flag(uintptr_t addr, const char *flag, const char *or_flag);

/* Whether smaps knows of huge pages in the VMA at addr. Slow too. */
bool vma_has_huge(uintptr_t addr);

#endif
