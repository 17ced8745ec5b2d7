/* SPDX-License-Identifier: MIT */
/* Page sizes of this machine. getauxval() reads a static table: safe everywhere. */
#ifndef REMAP_PAGE_SIZE_H
#define REMAP_PAGE_SIZE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/auxv.h>

static inline uintptr_t page_size(void)
{
#if defined(__x86_64__)
    return 4096;
#else
    return getauxval(AT_PAGESZ);
#endif
}

/* What one PMD maps: a page table is one page of 8-byte entries. */
static inline uintptr_t huge_size(void)
{
    return page_size() / 8 * page_size();
}

/* Rounded up to whole pages; 0 if that overflows. */
static inline size_t page_align(size_t len)
{
    return (len + page_size() - 1) & ~(page_size() - 1);
}

#endif
