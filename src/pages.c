/* SPDX-License-Identifier: MIT */
#include "pages.h"

#include "kernel.h"
#include "page_size.h"

/*
 * One scan for populated pages. Returns the number of regions found or -errno; *walked is where the
 * scan stopped.
 */
static long scan(int fd, uintptr_t start, uintptr_t end, struct k_page_region *regions,
                 size_t region_count, size_t max_pages, uintptr_t *walked)
{
    struct k_pagemap_scan s = {
        .size = sizeof(s),
        .start = start,
        .end = end,
        .vec = (uintptr_t)regions,
        .vec_len = region_count,
        .max_pages = max_pages,
        .category_inverted = K_PAGE_IS_PFNZERO,
        .category_mask = K_PAGE_IS_PFNZERO,
        .category_anyof_mask = K_PAGE_IS_PRESENT | K_PAGE_IS_SWAPPED,
        /* one category only, the same for every hit, so that neighbouring pages make one region */
        .return_mask = K_PAGE_IS_PFNZERO,
    };
    long ret = k_ioctl(fd, K_PAGEMAP_SCAN, &s);
    *walked = (uintptr_t)s.walk_end;
    return ret;
}

long pages_entries(int fd, uintptr_t start, uint64_t *entries, size_t count)
{
    long want = (long)(count * sizeof(*entries));
    long got = k_pread(fd, entries, (size_t)want, start / page_size() * sizeof(*entries));
    return got == want ? 0 : k_failed(got) ? got : -EIO;
}

/*
 * The same as scan() for one region, before Linux 6.7: entry by entry, one region at a time. The
 * zero page cannot be told from a shared one: it counts as populated.
 */
static long scan_entries(int fd, uintptr_t start, uintptr_t end, struct k_page_region *region,
                         size_t max_pages, uintptr_t *walked)
{
    enum { BATCH = 64 };
    uint64_t entries[BATCH] = {0};
    size_t found = 0;
    uintptr_t at = start;
    while (at < end) {
        size_t count = (end - at) / page_size() < BATCH ? (end - at) / page_size() : BATCH;
        long ret = pages_entries(fd, at, entries, count);
        if (ret != 0)
            return ret;
        for (size_t i = 0; i < count; i++, at += page_size()) {
            bool populated = (entries[i] & (K_PAGEMAP_PRESENT | K_PAGEMAP_SWAPPED)) != 0;
            if (populated && found++ == 0)
                region->start = at;
            if (found != 0 && (!populated || found == max_pages)) {
                region->end = populated ? at + page_size() : at;
                *walked = region->end;
                return 1;
            }
        }
    }
    region->end = *walked = end;
    return found != 0;
}

static long scan_one(int fd, uintptr_t start, uintptr_t end, size_t max_pages,
                     struct k_page_region *region, uintptr_t *walked)
{
    long ret = scan(fd, start, end, region, 1, max_pages, walked);
    return ret == -ENOTTY ? scan_entries(fd, start, end, region, max_pages, walked) : ret;
}

long pages_first_run(int fd, uintptr_t start, uintptr_t end, uintptr_t *run_start,
                     uintptr_t *run_end)
{
    struct k_page_region region = {0, 0, 0};
    uintptr_t walked;
    if (start >= end)
        return 0;
    long ret = scan_one(fd, start, end, 0, &region, &walked);
    if (ret <= 0)
        return ret;
    *run_start = (uintptr_t)region.start;
    *run_end = (uintptr_t)region.end;
    return 1;
}

long pages_any(int fd, uintptr_t start, uintptr_t end)
{
    struct k_page_region region = {0, 0, 0};
    uintptr_t walked;
    return start >= end ? 0 : scan_one(fd, start, end, 1, &region, &walked);
}

long pages_count(int fd, uintptr_t start, uintptr_t end, size_t enough)
{
    struct k_page_region region = {0, 0, 0};
    size_t found = 0;
    while (start < end && found <= enough) {
        uintptr_t walked = start;
        long ret = scan_one(fd, start, end, enough - found + 1, &region, &walked);
        if (ret < 0)
            return ret;
        if (ret > 0)
            found += (size_t)(region.end - region.start) / page_size();
        if (walked <= start)
            break; /* nothing was walked: do not loop */
        start = walked;
    }
    return (long)found;
}

long pages_drop(uintptr_t addr, size_t length)
{
    long ret = k_madvise(addr, length, K_MADV_DONTNEED_LOCKED);
    return ret == -EINVAL ? k_madvise(addr, length, MADV_DONTNEED) : ret; /* before Linux 5.18 */
}

/* 1 if the page at addr is mapped by a PMD. */
static long huge_at(int fd, uintptr_t addr)
{
    struct k_page_region region = {0, 0, 0};
    struct k_pagemap_scan s = {
        .size = sizeof(s),
        .start = addr,
        .end = addr + page_size(),
        .vec = (uintptr_t)&region,
        .vec_len = 1,
        .max_pages = 1,
        .category_mask = K_PAGE_IS_HUGE,
        .return_mask = K_PAGE_IS_HUGE,
    };
    return k_ioctl(fd, K_PAGEMAP_SCAN, &s);
}

long pages_any_huge(int fd, uintptr_t start, uintptr_t end)
{
    /* A PMD maps an aligned block or nothing: its first page tells. */
    uintptr_t block = (start + huge_size() - 1) & ~(huge_size() - 1);
    for (; block < end && end - block >= huge_size(); block += huge_size()) {
        long ret = huge_at(fd, block);
        if (ret != 0)
            return ret;
    }
    return 0;
}

long pages_huge_across(int fd, uintptr_t addr)
{
    if ((addr & (huge_size() - 1)) == 0)
        return 0;
    return huge_at(fd, addr & ~(page_size() - 1));
}

long pages_any_ksm(void)
{
    char digit = '0';
    long fd = k_openat(AT_FDCWD, "/proc/self/ksm_merging_pages", O_RDONLY | O_CLOEXEC, 0);
    if (k_failed(fd))
        return fd;
    long got = k_read((int)fd, &digit, 1);
    k_close((int)fd);
    return k_failed(got) ? got : digit != '0';
}

long pages_reclaim_exclusive(int fd, uintptr_t start, uintptr_t end)
{
    long touched = 0;
    uintptr_t run_start;
    uintptr_t run_end;
    while (pages_first_run(fd, start, end, &run_start, &run_end) == 1) {
        for (uintptr_t addr = run_start; addr < run_end; addr += page_size()) {
            uint64_t entry = 0;
            long ret = pages_entries(fd, addr, &entry, 1);
            if (ret != 0)
                return ret;
            if (!(entry & K_PAGEMAP_EXCLUSIVE))
                continue;
            ret = k_madvise(addr, page_size(), K_MADV_POPULATE_WRITE);
            if (k_failed(ret))
                return ret;
            touched++;
        }
        start = run_end;
    }
    return touched;
}

void pages_copy_rest(uintptr_t dst, uintptr_t src, size_t length)
{
    for (size_t at = 0; at < length; at += page_size()) {
        const uint64_t *from = (const uint64_t *)(src + at);
        size_t words = page_size() / sizeof(*from);
        size_t n = 0;
        while (n < words && from[n] == 0)
            n++;
        if (n < words)
            __builtin_memcpy((void *)(dst + at), from, page_size());
    }
}
