/* SPDX-License-Identifier: MIT */
#include "relocate.h"

#include "engine.h"
#include "gate.h"
#include "kernel.h"
#include "page_size.h"
#include "pages.h"
#include "place.h"
#include "uffd.h"

#define PATIENCE 1000 /* for MUST, while a fork or the start in another thread is under way */

/* Each side on which the VMA reaches beyond the range is a VMA less. */
static void observe_merges(struct decision *d)
{
    struct vma v;
    uintptr_t start = (uintptr_t)d->result;
    uintptr_t end = start + page_align(d->call->new_length);
    if (process_vma_at(d->proc, start, &v) != 0)
        return;
    d->account.merged_left = v.start < start;
    d->account.merged_right = v.end > end;
}

static uint64_t now_ns(void)
{
    /* Not through libc: the vDSO may be what the program has just moved. */
    struct timespec ts = {0, 0};
    k_syscall6(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&ts, 0, 0, 0, 0);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

bool relocate_is_native(const struct process *proc)
{
    return process_probe()->tier == REMAP_TIER_NATIVE &&
           !atomic_load_explicit(&proc->native_dead, memory_order_relaxed);
}

/* Weak: libc before 2.32 does not have it, and then there may be threads. */
extern char __libc_single_threaded __attribute__((weak));

static bool is_alone(void)
{
    return &__libc_single_threaded && __libc_single_threaded;
}

static struct engine_request request_for(const struct decision *d)
{
    const struct wrap_call *c = d->call;
    return (struct engine_request){
        .src = c->addr,
        .old_length = page_align(c->old_length),
        .new_length = page_align(c->new_length),
        .flags = c->flags & DECISION_PLAIN,
        .dst = c->dst,
        .alone = is_alone(),
        .may_split = d->asked || process_options()->policy == POLICY_ALWAYS,
        .must = d->must,
    };
}

/* What is at the source. NONE: a range that the engine may take. */
static enum remap_reason look(const struct decision *d, struct engine_request *r)
{
    struct vma v;
    long ret = process_vma_at(d->proc, r->src, &v);
    if (ret == -ENOENT)
        return REMAP_REASON_NOT_MAPPED;
    if (ret != 0)
        return REMAP_REASON_NO_LOOK;
    if (r->src + r->old_length > v.end)
        return REMAP_REASON_MULTI_VMA;
    if (v.kind != VMA_ANON)
        return REMAP_REASON_NOT_ANON;
    r->prot = v.prot;
    r->whole_vma = r->src == v.start && r->src + r->old_length == v.end;

    /* Another file in its place fails the scan, but not the reading of entries (before Linux 6.7).
     */
    if (process_probe()->features[REMAP_FEATURE_PAGEMAP_SCAN].answer != REMAP_ANSWER_PRESENT &&
        !process_have_pagemap(d->proc))
        return REMAP_REASON_NO_LOOK;
    int fd = d->proc->pagemap.fd;
    size_t length = r->old_length < r->new_length ? r->old_length : r->new_length;
    ret = fd < 0 ? -EBADF : pages_any(fd, r->src, r->src + length);
    if (ret < 0) {
        if (!process_have_pagemap(d->proc))
            return REMAP_REASON_NO_LOOK;
        fd = d->proc->pagemap.fd;
        ret = pages_any(fd, r->src, r->src + length);
    }
    if (ret < 0)
        return REMAP_REASON_NO_LOOK;
    if (ret == 0) {
        /* Never faulted, it merges by itself. A part of a VMA that has pages elsewhere does not: it
         * has that VMA's anon_vma. (So has one whose pages were all dropped; nothing shows that.)
         */
        r->empty = !r->whole_vma && pages_any(fd, v.start, v.end) == 1;
        return r->empty ? REMAP_REASON_NONE : REMAP_REASON_EMPTY;
    }

    const struct remap_options *o = process_options();
    bool bounded = o->policy != POLICY_ALWAYS && !d->asked;
    if (bounded && length < o->min_bytes)
        return REMAP_REASON_TOO_SMALL;
    if (bounded && length > o->max_bytes &&
        (uint64_t)pages_count(fd, r->src, r->src + length, o->max_bytes / page_size()) >
            o->max_bytes / page_size())
        return REMAP_REASON_TOO_BIG;

    if (r->copy)
        return REMAP_REASON_NONE;
    /* A huge page across an end of the range would be split. */
    uintptr_t ends[2] = {r->src, r->src + length};
    for (int i = 0; i < 2; i++) {
        uintptr_t block = ends[i] & ~(huge_size() - 1);
        if (ends[i] != block && block >= v.start && block + huge_size() <= v.end &&
            pages_huge_across(fd, ends[i]) == 1)
            return REMAP_REASON_HUGE_SPLIT;
    }
    return REMAP_REASON_NONE;
}

/*
 * Ends the call plainly where the flag would change nothing, or must not be used: then it counts as
 * what it is, and the next mremap() in line sees it. What a huge page allows is the kernel's to
 * say, and so is what cannot be found out here.
 */
static bool is_not_for_native(struct decision *d, struct engine_request *r)
{
    r->copy = true;
    enum remap_reason reason = look(d, r);
    if (reason == REMAP_REASON_EMPTY || reason == REMAP_REASON_NOT_MAPPED ||
        (reason == REMAP_REASON_NOT_ANON && !d->must)) {
        decision_pass(d, reason);
        return true;
    }
    if (reason == REMAP_REASON_TOO_SMALL || reason == REMAP_REASON_TOO_BIG) {
        decision_refuse(d, reason);
        return true;
    }
    return false;
}

void relocate_by_plain_move(struct decision *d)
{
    struct engine_request r = request_for(d);
    enum remap_reason reason = d->must ? look(d, &r) : REMAP_REASON_NONE;
    if (reason == REMAP_REASON_NOT_ANON || reason == REMAP_REASON_HUGE_SPLIT)
        decision_refuse(d, reason);
    else
        decision_pass(d, REMAP_REASON_MERGES);
}

bool relocate_natively(struct decision *d)
{
    const struct wrap_call *c = d->call;
    unsigned long flags =
        (c->flags & DECISION_PLAIN) | (d->must ? K_MREMAP_MUST : K_MREMAP_RELOCATE);
    struct engine_request r = request_for(d);
    if (is_not_for_native(d, &r))
        return true;
    if (d->must &&
        process_probe()->features[REMAP_FEATURE_MUST_RELOCATE].answer != REMAP_ANSWER_PRESENT)
        return false;
    uint64_t begun = now_ns();
    long ret = k_mremap(c->addr, c->old_length, c->new_length, flags, c->dst);
    if (ret == -ENOMEM) {
        place_discard();
        ret = k_mremap(c->addr, c->old_length, c->new_length, flags, c->dst);
    }
    d->account.nanoseconds = now_ns() - begun;
    if (ret == -EINVAL) {
        d->native_refused = true;
        return false;
    }
    if (d->must && ret == -EFAULT) {
        decision_set(d, REMAP_OUTCOME_FAILED, REMAP_REASON_MUST, ret);
        return true;
    }
    if (r.empty) {
        decision_set(d, REMAP_OUTCOME_PASSED, REMAP_REASON_EMPTY, ret);
        return true;
    }
    bool moved = !k_failed(ret) && (uintptr_t)ret != c->addr;
    decision_set(d, moved ? REMAP_OUTCOME_NATIVE : REMAP_OUTCOME_IN_PLACE, REMAP_REASON_NONE, ret);
    d->account.tier = REMAP_TIER_NATIVE;
    if (moved)
        observe_merges(d);
    return true;
}

/* True if the program's own userfaultfd watches the source: it would see our moves as events. */
static bool is_watched(struct decision *d, const struct engine_request *r)
{
    if (atomic_load_explicit(&d->proc->armed, memory_order_relaxed))
        return true;
    if (!process_has_other_uffd())
        return false;
    return uffd_is_watched(d->proc, r->src, r->old_length);
}

/* All signals blocked, no fork under way. False: one is, and we do not wait for it. */
static bool enter_gate(const struct decision *d, k_sigset *saved)
{
    bool inside = gate_enter(saved);
    for (int i = 0; !inside && d->must && i < PATIENCE; i++) {
        k_sched_yield();
        inside = gate_enter(saved);
    }
    return inside;
}

/* Empty memory merges less well when it is moved plainly, but that is no reason to fail (MUST). */
static void give_up(struct decision *d, const struct engine_request *r, enum remap_reason reason)
{
    if (r->empty)
        decision_pass(d, REMAP_REASON_EMPTY);
    else
        decision_refuse(d, reason);
}

/* What has been looked at goes to the engine. */
static void use_engine(struct decision *d, struct engine_request *r)
{
    k_sigset saved;
    /* MUST: if it fails the source is to be as it was. So it is cut off only afterwards. */
    size_t tail = r->must && r->new_length < r->old_length ? r->old_length - r->new_length : 0;
    r->old_length -= tail;
    r->whole_vma = r->whole_vma && tail == 0;
    if (!enter_gate(d, &saved)) {
        give_up(d, r, REMAP_REASON_FORKING);
        return;
    }
    if (!process_have_uffd(d->proc)) {
        stats_step(d->proc->stats, REMAP_STEP_DESCRIPTOR, -EBADF);
        gate_leave(&saved);
        give_up(d, r, REMAP_REASON_NO_TIER);
        return;
    }
    if (is_watched(d, r)) {
        gate_leave(&saved);
        give_up(d, r, REMAP_REASON_ARMED);
        return;
    }
    uint64_t begun = now_ns();
    struct engine_report report = engine_move(d->proc, r);
    d->account.nanoseconds = now_ns() - begun;
    gate_leave(&saved);
    d->account.rescued = report.rescued;
    if (tail != 0 && report.verdict != ENGINE_REFUSED)
        k_munmap(r->src + r->new_length, tail);
    switch (report.verdict) {
    case ENGINE_REFUSED:
        if (report.reason == REMAP_REASON_KERNEL)
            decision_pass(d, report.reason); /* the arguments: the kernel says what is wrong */
        else
            give_up(d, r, report.reason);
        break;
    case ENGINE_RELOCATED:
        if (r->empty) {
            decision_set(d, REMAP_OUTCOME_PASSED, REMAP_REASON_EMPTY, (long)report.address);
            break;
        }
        decision_set(d, r->copy ? REMAP_OUTCOME_COPY : REMAP_OUTCOME_UFFD, REMAP_REASON_NONE,
                     (long)report.address);
        d->account.tier = r->copy ? REMAP_TIER_COPY : REMAP_TIER_UFFD;
        d->account.pages = report.pages;
        d->account.pages_copied = report.copied;
        observe_merges(d);
        break;
    case ENGINE_PLAIN:
        decision_set(d, REMAP_OUTCOME_PLAIN, report.reason, (long)report.address);
        break;
    }
}

bool relocate(struct decision *d)
{
    enum remap_tier tier = (enum remap_tier)process_probe()->own_tier;
    struct engine_request r = request_for(d);
    r.copy = tier == REMAP_TIER_COPY;
    enum remap_reason reason = look(d, &r);
    if (reason == REMAP_REASON_MULTI_VMA)
        return false;
    if (reason == REMAP_REASON_NONE && tier == REMAP_TIER_NONE)
        reason = r.empty ? REMAP_REASON_EMPTY : REMAP_REASON_NO_TIER;
    r.must = r.must && !r.empty;
    /* Empty: merges by itself. Not mapped: the kernel's errno. With MUST too. */
    if (reason == REMAP_REASON_EMPTY || reason == REMAP_REASON_NOT_MAPPED ||
        (reason == REMAP_REASON_NOT_ANON && !d->must))
        decision_pass(d, reason);
    else if (reason != REMAP_REASON_NONE)
        decision_refuse(d, reason);
    else
        use_engine(d, &r);
    return true;
}
