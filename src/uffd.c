/* SPDX-License-Identifier: MIT */
#include "uffd.h"

#include "kernel.h"
#include "page_size.h"
#include "pages.h"
#include "stats.h"

/* How often a step that made no progress is tried again before the page counts as stuck. The kernel
 * asks for it (EAGAIN) while someone else holds a page for a moment. */
#define PATIENCE 2000

long uffd_register(int fd, uintptr_t addr, size_t length)
{
    struct uffdio_register reg = {
        .range = {.start = addr, .len = length},
        .mode = UFFDIO_REGISTER_MODE_MISSING,
    };
    return k_ioctl(fd, UFFDIO_REGISTER, &reg);
}

long uffd_unregister(int fd, uintptr_t addr, size_t length)
{
    struct uffdio_range range = {.start = addr, .len = length};
    return k_ioctl(fd, UFFDIO_UNREGISTER, &range);
}

bool uffd_is_watched(struct process *proc, uintptr_t addr, size_t length)
{
    long ret = uffd_register(proc->uffd.fd, addr, length);
    if (ret == -EBUSY)
        return true;
    /* After a failure it may have got through a part of the range; EINVAL is found beforehand. */
    if (ret != -EINVAL && k_failed(uffd_unregister(proc->uffd.fd, addr, length)))
        process_drop_uffd(proc);
    return false;
}

void uffd_wake(int fd, uintptr_t addr, size_t length)
{
    struct uffdio_range range = {.start = addr, .len = length};
    k_ioctl(fd, UFFDIO_WAKE, &range);
}

/* One UFFDIO_MOVE. Returns the bytes that were moved; *error is 0 or the reason to look. */
static size_t move_once(int fd, uintptr_t dst, uintptr_t src, size_t length, long *error)
{
    struct k_uffdio_move move = {.dst = dst, .src = src, .len = length};
    long ret = k_ioctl(fd, K_UFFDIO_MOVE, &move);
    if (!k_failed(ret)) {
        *error = 0;
        return length;
    }
    *error = ret;
    return move.move > 0 && (uint64_t)move.move <= length ? (size_t)move.move : 0;
}

/* What can be done about a page at the head of a run that does not move; each once. */
#define CURE_EEXIST 1u
#define CURE_EBUSY  2u

/* True if something was done about it. */
static bool cure(struct process *proc, long error, uintptr_t dst, uintptr_t src, size_t length,
                 enum uffd_priority priority, unsigned *tried)
{
    unsigned kind = error == -EEXIST ? CURE_EEXIST : error == -EBUSY ? CURE_EBUSY : 0;
    if (kind == 0 || (*tried & kind) != 0)
        return false;
    *tried |= kind;
    if (kind == CURE_EEXIST) {
        /* The page at src is there, the caller has looked. That the one at dst is, must be seen too
         * before the one at src is dropped for it. */
        bool resident_wins = priority == UFFD_RESIDENT_WINS &&
                             pages_any(proc->pagemap.fd, dst, dst + page_size()) == 1;
        return !k_failed(pages_drop(resident_wins ? src : dst, page_size()));
    }
    return pages_reclaim_exclusive(proc->pagemap.fd, src, src + length) > 0;
}

/* Moves one populated run as far as it goes; the caller looks again. False: stuck. */
static bool move_run(struct process *proc, uintptr_t dst, uintptr_t src, size_t length,
                     enum uffd_priority priority, uint64_t *pages)
{
    unsigned idle = 0;
    unsigned tried = 0;
    while (length != 0) {
        long error;
        size_t moved = move_once(proc->uffd.fd, dst, src, length, &error);
        *pages += moved / page_size();
        dst += moved;
        src += moved;
        length -= moved;
        if (moved != 0) {
            idle = 0;
            tried = 0;
            continue;
        }
        /* Whatever was reported: is the page still there? */
        if (pages_any(proc->pagemap.fd, src, src + page_size()) == 0)
            return true;
        if (error == -EAGAIN && ++idle < PATIENCE) {
            k_sched_yield();
            continue;
        }
        if (!cure(proc, error, dst, src, length, priority, &tried)) {
            stats_step(proc->stats, REMAP_STEP_MOVE, error);
            return false;
        }
    }
    return true;
}

enum uffd_result uffd_move_all(struct process *proc, uintptr_t dst, uintptr_t src, size_t length,
                               enum uffd_priority priority, uint64_t *pages)
{
    long error;
    /* Most ranges are populated throughout and movable: one call, nothing to look at. */
    size_t moved = move_once(proc->uffd.fd, dst, src, length, &error);
    *pages += moved / page_size();
    if (error == 0)
        return UFFD_MOVED_ALL;
    if (!process_have_pagemap(proc))
        return UFFD_STUCK; /* what cannot be looked at is not believed */
    uintptr_t start = src + moved;
    uintptr_t end = src + length;
    uintptr_t run_start;
    uintptr_t run_end;
    long found;
    for (unsigned idle = 0; idle < PATIENCE; idle++) {
        found = pages_first_run(proc->pagemap.fd, start, end, &run_start, &run_end);
        if (found == 0)
            return UFFD_MOVED_ALL;
        if (found < 0) {
            stats_step(proc->stats, REMAP_STEP_LOOK, found);
            return UFFD_STUCK;
        }
        if (!move_run(proc, dst + (run_start - src), run_start, run_end - run_start, priority,
                      pages))
            return UFFD_STUCK;
        if (run_start > start)
            idle = 0;
        start = run_start; /* not run_end: what is left in the run must be seen */
    }
    return UFFD_STUCK;
}

bool uffd_copy_rest(struct process *proc, uintptr_t dst, uintptr_t src, size_t length)
{
    uintptr_t start = src;
    uintptr_t run_start;
    uintptr_t run_end;
    long found;
    while ((found = pages_first_run(proc->pagemap.fd, start, src + length, &run_start, &run_end)) ==
           1) {
        struct uffdio_copy copy = {
            .dst = dst + (run_start - src),
            .src = run_start,
            .len = run_end - run_start,
        };
        long ret = k_ioctl(proc->uffd.fd, UFFDIO_COPY, &copy);
        if (k_failed(ret) && copy.copy <= 0) {
            stats_step(proc->stats, REMAP_STEP_UNDO, ret);
            return false;
        }
        start = k_failed(ret) ? run_start + (uintptr_t)copy.copy : run_end;
    }
    return found == 0;
}
