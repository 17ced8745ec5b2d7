/* SPDX-License-Identifier: MIT */
#include "copy.h"

#include "kernel.h"
#include "page_size.h"
#include "pages.h"
#include "stats.h"
#include "vma.h"

/*
 * Pages in a chunk, 256 KiB: what is there twice for a moment. A chunk costs two system calls and a
 * TLB flush, a few percent of copying it; larger ones were no faster.
 */
#define CHUNK    64
#define PATIENCE 2000 /* for EAGAIN, as in uffd.c */

static bool is_populated(uint64_t entry)
{
    return (entry & (K_PAGEMAP_PRESENT | K_PAGEMAP_SWAPPED)) != 0;
}

/*
 * A protection key may forbid us to read what mprotect() allows. A system call that reads from
 * there tells, and this one changes nothing, because all signals are blocked already. (Not
 * process_vm_readv(): it pins, and pinning a shared page makes a copy of it, Linux 5.19.)
 */
static bool is_readable(uintptr_t page)
{
    return !k_failed(k_sigprocmask(SIG_BLOCK, (const k_sigset *)page, NULL));
}

static bool is_all_zero(uintptr_t page)
{
    const uint64_t *words = (const uint64_t *)page;
    size_t n = 0;
    if (!is_readable(page))
        return false;
    while (n < page_size() / sizeof(*words) && words[n] == 0)
        n++;
    return n == page_size() / sizeof(*words);
}

/* The zero page, or one that might as well be: a hole reads the same. It is known by its contents,
 * because its entry looks like that of a shared page. */
static bool is_as_good_as_a_hole(uint64_t entry, uintptr_t page)
{
    return (entry & K_PAGEMAP_PRESENT) && !(entry & K_PAGEMAP_EXCLUSIVE) && is_all_zero(page);
}

/*
 * Entries of one chunk. Returns their number, 0 on failure. What is taken for a hole is dropped, so
 * they must be of the right file, whatever another thread does to our descriptor meanwhile.
 */
static size_t look(struct process *proc, uintptr_t src, size_t length, uint64_t entries[CHUNK],
                   long *error)
{
    size_t count = length / page_size() < CHUNK ? length / page_size() : CHUNK;
    *error = -EBADF;
    for (int attempt = 0; attempt < 2 && *error != 0 && process_have_pagemap(proc); attempt++) {
        *error = pages_entries(proc->pagemap.fd, src, entries, count);
        if (*error == 0 && !descriptor_is_ours(&proc->pagemap))
            *error = -EBADF;
    }
    return *error == 0 ? count : 0;
}

bool copy_is_unwise(struct process *proc, uintptr_t src, size_t length)
{
    uint64_t entries[CHUNK];
    for (size_t at = 0, count; at < length; at += count * page_size()) {
        long error;
        count = look(proc, src + at, length - at, entries, &error);
        if (count == 0) {
            stats_step(proc->stats, REMAP_STEP_LOOK, error);
            return true;
        }
        for (size_t i = 0; i < count; i++) {
            if (entries[i] & K_PAGEMAP_GUARD)
                return true;
            bool shared = (entries[i] & K_PAGEMAP_PRESENT) && !(entries[i] & K_PAGEMAP_EXCLUSIVE);
            if (shared && !is_all_zero(src + at + i * page_size()))
                return true;
        }
    }
    return false;
}

/* Copies one populated run. Returns the bytes that were copied; if not all, *error says why. */
static size_t copy_run(int fd, uintptr_t dst, uintptr_t src, size_t length, long *error)
{
    size_t done = 0;
    unsigned idle = 0;
    bool dropped = false;
    *error = 0;
    while (done < length) {
        struct uffdio_copy copy = {.dst = dst + done, .src = src + done, .len = length - done};
        long ret = k_ioctl(fd, UFFDIO_COPY, &copy);
        size_t copied = !k_failed(ret) ? length - done : copy.copy > 0 ? (size_t)copy.copy : 0;
        done += copied;
        if (copied != 0) {
            idle = 0;
            dropped = false;
        } else if (ret == -EAGAIN && ++idle < PATIENCE) {
            k_sched_yield();
        } else if (ret == -EEXIST && !dropped) {
            /* A page that another thread put there before the range was registered. */
            dropped = !k_failed(pages_drop(dst + done, page_size()));
            if (!dropped)
                break;
        } else {
            *error = ret;
            break;
        }
    }
    if (done < length && *error == 0)
        *error = -EEXIST;
    return done;
}

/* Copies what is populated of one chunk. Returns how far it came. */
static size_t copy_chunk(int fd, uintptr_t dst, uintptr_t src, const uint64_t entries[CHUNK],
                         size_t count, uint64_t *pages, long *error)
{
    size_t i = 0;
    while (i < count) {
        size_t first = i;
        while (i < count && is_populated(entries[i]) &&
               !is_as_good_as_a_hole(entries[i], src + i * page_size()))
            i++;
        if (i == first) {
            i++;
            continue;
        }
        size_t offset = first * page_size();
        size_t length = (i - first) * page_size();
        size_t done = copy_run(fd, dst + offset, src + offset, length, error);
        *pages += done / page_size();
        if (done < length)
            return offset + done;
    }
    return count * page_size();
}

size_t copy_all(struct process *proc, uintptr_t dst, uintptr_t src, size_t length, uint64_t *pages,
                long *error)
{
    uint64_t entries[CHUNK];
    size_t at = 0;
    *error = 0;
    while (at < length) {
        size_t count = look(proc, src + at, length - at, entries, error);
        if (count == 0)
            return at;
        size_t done = copy_chunk(proc->uffd.fd, dst + at, src + at, entries, count, pages, error);
        /* Should it fail, the chunk merely stays until the whole place goes. */
        if (done != 0)
            pages_drop(src + at, done);
        at += done;
        if (done < count * page_size())
            return at;
    }
    return length;
}

bool copy_has_huge(struct process *proc, uintptr_t src, size_t length)
{
    if (length < huge_size())
        return false;
    long ret = pages_any_huge(proc->pagemap.fd, src, src + length);
    return ret == 1 || (ret == -ENOTTY && vma_has_huge(src));
}

static bool is_full(struct process *proc, uintptr_t start, size_t length)
{
    uint64_t entries[CHUNK];
    for (size_t at = 0, count; at < length; at += count * page_size()) {
        long error;
        count = look(proc, start + at, length - at, entries, &error);
        if (count == 0)
            return false;
        for (size_t i = 0; i < count; i++) {
            if (!is_populated(entries[i]))
                return false;
        }
    }
    return true;
}

void copy_make_huge(struct process *proc, uintptr_t dst, size_t length)
{
    uintptr_t block = (dst + huge_size() - 1) & ~(huge_size() - 1);
    for (; block < dst + length && dst + length - block >= huge_size(); block += huge_size()) {
        if (is_full(proc, block, huge_size()))
            k_madvise(block, huge_size(), K_MADV_COLLAPSE);
    }
}
