/* SPDX-License-Identifier: MIT */
#include "mremap_wrap.h"

#include "engine.h"
#include "gate.h"
#include "kernel.h"
#include "page_size.h"
#include "pages.h"
#include "place.h"
#include "process.h"
#include "stats.h"
#include "uffd.h"

#define OURS     (K_MREMAP_RELOCATE | K_MREMAP_MUST)
#define PLAIN    (K_MREMAP_MAYMOVE | K_MREMAP_FIXED | K_MREMAP_DONTUNMAP)
#define PATIENCE 1000 /* for MUST, while a fork or the start in another thread is under way */

/* What is known about a call while it is decided on. */
struct decision {
    const struct wrap_call *call;
    wrap_plain plain;
    struct process *proc; /* NULL until something could move */
    bool asked;           /* the program itself passed 8 or 16 */
    bool must;            /* ... 16 */
    struct stats_call account;
    long result;
};

/*
 * Calls that cannot move anything are common and cheap: each costs one atomic add here. They go to
 * the statistics at the next call that could move, or every so many calls.
 */
#define HAND_OVER_EVERY 64u
static _Atomic uint64_t early_calls;
static _Atomic uint64_t early_failed;
static _Atomic uint64_t early_in_place;

void wrap_reset_in_child(void)
{
    atomic_store_explicit(&early_calls, 0, memory_order_relaxed);
    atomic_store_explicit(&early_failed, 0, memory_order_relaxed);
    atomic_store_explicit(&early_in_place, 0, memory_order_relaxed);
}

static void add(uint64_t *counter, uint64_t value)
{
    __atomic_fetch_add(counter, value, __ATOMIC_RELAXED);
}

/* Takes the early calls over once there is a place to count in. */
void wrap_hand_over(struct process *p)
{
    if (atomic_load_explicit(&early_calls, memory_order_relaxed) == 0)
        return;
    struct remap_stats_counters *c = &p->stats->counters;
    uint64_t failed = atomic_exchange_explicit(&early_failed, 0, memory_order_relaxed);
    uint64_t in_place = atomic_exchange_explicit(&early_in_place, 0, memory_order_relaxed);
    uint64_t calls = atomic_exchange_explicit(&early_calls, 0, memory_order_relaxed);
    add(&c->calls, calls);
    add(&c->outcomes[REMAP_OUTCOME_PASSED], calls - failed - in_place);
    add(&c->outcomes[REMAP_OUTCOME_FAILED], failed);
    add(&c->outcomes[REMAP_OUTCOME_IN_PLACE], in_place);
    add(&c->reasons[REMAP_REASON_NO_MOVE], calls - failed - in_place);
    add(&c->reasons[REMAP_REASON_KERNEL], failed);
    add(&c->reasons[REMAP_REASON_NONE], in_place);
}

/* The call as it is, but for the flags that only we know. Our own address space must not be what
 * makes it fail. */
static long call_plain(const struct decision *d)
{
    struct wrap_call plain = *d->call;
    plain.flags &= ~OURS;
    long ret = d->plain(&plain);
    if (ret == -ENOMEM) {
        place_discard();
        ret = d->plain(&plain);
    }
    return ret;
}

static void set(struct decision *d, enum remap_outcome outcome, enum remap_reason reason,
                long result)
{
    d->result = result;
    d->account.outcome = outcome;
    d->account.reason = reason;
    if (k_failed(result)) {
        d->account.outcome = REMAP_OUTCOME_FAILED;
        d->account.error = -result;
        if (reason != REMAP_REASON_MUST)
            d->account.reason = REMAP_REASON_KERNEL;
    } else if ((uintptr_t)result != d->call->addr) {
        d->account.moved = 1;
        d->account.bytes = page_align(
            d->call->old_length < d->call->new_length ? d->call->old_length : d->call->new_length);
    }
}

static void pass(struct decision *d, enum remap_reason reason)
{
    set(d, REMAP_OUTCOME_PASSED, reason, call_plain(d));
}

/* Relocation was considered and is not to be: plainly, or not at all. */
static void refuse(struct decision *d, enum remap_reason reason)
{
    if (!d->must) {
        set(d, REMAP_OUTCOME_PLAIN, reason, call_plain(d));
        return;
    }
    if (d->call->flags & K_MREMAP_FIXED)
        k_munmap(d->call->dst, page_align(d->call->new_length));
    set(d, REMAP_OUTCOME_FAILED, REMAP_REASON_MUST, -EFAULT);
}

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

/* The errors that the kernel finds in the arguments alone: it shall answer them itself. */
static bool arguments_are_valid(const struct wrap_call *c)
{
    uintptr_t mask = page_size() - 1;
    size_t old_length = page_align(c->old_length);
    size_t new_length = page_align(c->new_length);
    if ((c->addr & mask) != 0 || old_length == 0 || new_length == 0 ||
        c->addr + old_length < c->addr || (c->flags & ~(PLAIN | OURS)) != 0)
        return false;
    if ((c->flags & K_MREMAP_DONTUNMAP) && old_length != new_length)
        return false;
    if (!(c->flags & (K_MREMAP_FIXED | K_MREMAP_DONTUNMAP)))
        return true;
    /* The kernel checks a mere hint (DONTUNMAP alone) in the same way. */
    return (c->dst & mask) == 0 && c->dst + new_length > c->dst &&
           !(c->addr < c->dst + new_length && c->dst < c->addr + old_length);
}

static uint64_t now_ns(void)
{
    /* Not through libc: the vDSO may be what the program has just moved. */
    struct timespec ts = {0, 0};
    k_syscall6(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&ts, 0, 0, 0, 0);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The kernel's own flag. False: it does not know it after all; nothing has happened. */
static bool try_native(struct decision *d)
{
    const struct wrap_call *c = d->call;
    unsigned long flags = (c->flags & PLAIN) | (d->must ? K_MREMAP_MUST : K_MREMAP_RELOCATE);
    uint64_t begun = now_ns();
    long ret = k_mremap(c->addr, c->old_length, c->new_length, flags, c->dst);
    d->account.nanoseconds = now_ns() - begun;
    if (ret == -EINVAL) {
        atomic_store_explicit(&d->proc->native_dead, 1, memory_order_relaxed);
        return false;
    }
    if (d->must && ret == -EFAULT) {
        set(d, REMAP_OUTCOME_FAILED, REMAP_REASON_MUST, ret);
        return true;
    }
    bool moved = !k_failed(ret) && (uintptr_t)ret != c->addr;
    set(d, moved ? REMAP_OUTCOME_NATIVE : REMAP_OUTCOME_IN_PLACE, REMAP_REASON_NONE, ret);
    d->account.tier = REMAP_TIER_NATIVE;
    if (moved)
        observe_merges(d);
    return true;
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
    if (v.kind != VMA_ANON)
        return REMAP_REASON_NOT_ANON;
    if (r->src + r->old_length > v.end)
        return REMAP_REASON_MULTI_VMA;
    r->prot = v.prot;
    r->whole_vma = r->src == v.start && r->src + r->old_length == v.end;

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
    if (ret == 0)
        return REMAP_REASON_EMPTY;

    const struct remap_options *o = process_options();
    bool bounded = o->policy != POLICY_ALWAYS && !d->asked;
    if (bounded && length < o->min_bytes)
        return REMAP_REASON_TOO_SMALL;
    if (bounded && length > o->max_bytes &&
        (uint64_t)pages_count(fd, r->src, r->src + length, o->max_bytes / page_size()) >
            o->max_bytes / page_size())
        return REMAP_REASON_TOO_BIG;

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

/* Weak: libc before 2.32 does not have it, and then there may be threads. */
extern char __libc_single_threaded __attribute__((weak));

static bool is_alone(void)
{
    return &__libc_single_threaded && __libc_single_threaded;
}

/* True if the program's own userfaultfd watches the source: it would see our moves as events. */
static bool is_watched(struct decision *d, const struct engine_request *r)
{
    if (atomic_load_explicit(&d->proc->armed, memory_order_relaxed))
        return true;
    if (!process_has_other_uffd())
        return false;
    long ret = uffd_register(d->proc->uffd.fd, r->src, r->old_length);
    if (!k_failed(ret))
        uffd_unregister(d->proc->uffd.fd, r->src, r->old_length);
    return ret == -EBUSY;
}

static void relocate(struct decision *d, bool have_tier)
{
    const struct wrap_call *c = d->call;
    struct engine_request r = {
        .src = c->addr,
        .old_length = page_align(c->old_length),
        .new_length = page_align(c->new_length),
        .flags = c->flags & PLAIN,
        .dst = c->dst,
        .alone = is_alone(),
        .may_split = d->asked || process_options()->policy == POLICY_ALWAYS,
        .must = d->must,
    };
    enum remap_reason reason = look(d, &r);
    if (reason == REMAP_REASON_NONE && !have_tier)
        reason = REMAP_REASON_NO_TIER;
    if (reason == REMAP_REASON_EMPTY || reason == REMAP_REASON_NOT_MAPPED) {
        pass(d, reason); /* merges by itself, or the kernel's errno: with MUST too */
        return;
    }
    if (reason == REMAP_REASON_NOT_ANON && !d->must) {
        pass(d, reason);
        return;
    }
    if (reason != REMAP_REASON_NONE) {
        refuse(d, reason);
        return;
    }
    k_sigset saved;
    bool inside = gate_enter(&saved);
    for (int i = 0; !inside && d->must && i < PATIENCE; i++) {
        k_sched_yield();
        inside = gate_enter(&saved);
    }
    if (!inside) {
        refuse(d, REMAP_REASON_FORKING);
        return;
    }
    if (!process_have_uffd(d->proc)) {
        stats_step(d->proc->stats, REMAP_STEP_DESCRIPTOR, -EBADF);
        gate_leave(&saved);
        refuse(d, REMAP_REASON_NO_TIER);
        return;
    }
    if (is_watched(d, &r)) {
        gate_leave(&saved);
        refuse(d, REMAP_REASON_ARMED);
        return;
    }
    uint64_t begun = now_ns();
    struct engine_report report = engine_move(d->proc, &r);
    d->account.nanoseconds = now_ns() - begun;
    gate_leave(&saved);
    switch (report.verdict) {
    case ENGINE_REFUSED:
        if (report.reason == REMAP_REASON_KERNEL)
            pass(d, report.reason); /* the arguments: the kernel shall say what is wrong */
        else
            refuse(d, report.reason);
        break;
    case ENGINE_RELOCATED:
        set(d, REMAP_OUTCOME_UFFD, REMAP_REASON_NONE, (long)report.address);
        d->account.tier = REMAP_TIER_UFFD;
        d->account.pages = report.pages;
        observe_merges(d);
        break;
    case ENGINE_PLAIN:
        set(d, REMAP_OUTCOME_PLAIN, report.reason, (long)report.address);
        break;
    }
    d->account.rescued = report.rescued;
}

/* A call that may move memory. */
static void decide(struct decision *d)
{
    const struct wrap_call *c = d->call;
    const struct remap_options *o = process_options();
    const struct probe_result *probe = process_probe();
    if (!arguments_are_valid(c)) {
        pass(d, REMAP_REASON_KERNEL);
        return;
    }
    if (o->policy == POLICY_OBSERVE) {
        pass(d, REMAP_REASON_POLICY);
        return;
    }
    if (probe->tier == REMAP_TIER_NATIVE &&
        !atomic_load_explicit(&d->proc->native_dead, memory_order_relaxed) && try_native(d))
        return;
    if (probe->features[REMAP_FEATURE_PLAIN_MERGES].answer == REMAP_ANSWER_PRESENT) {
        pass(d, REMAP_REASON_MERGES);
        return;
    }
    bool uffd = probe->features[REMAP_FEATURE_UFFDIO_MOVE].answer == REMAP_ANSWER_PRESENT &&
                (o->engines & ENGINE_UFFD) && probe->tier != REMAP_TIER_NONE;
    if (!uffd && !d->must) {
        set(d, REMAP_OUTCOME_PLAIN, REMAP_REASON_NO_TIER, call_plain(d));
        return;
    }
    relocate(d, uffd);
}

static void count_early(_Atomic uint64_t *kind)
{
    /* The sum first: it is never less than its parts. */
    uint64_t before = atomic_fetch_add_explicit(&early_calls, 1, memory_order_acq_rel);
    if (kind)
        atomic_fetch_add_explicit(kind, 1, memory_order_release);
    if (before % HAND_OVER_EVERY == HAND_OVER_EVERY - 1) {
        struct process *p = process_peek();
        if (p)
            wrap_hand_over(p);
    }
}

void wrap_count_unmoved(bool failed)
{
    count_early(failed ? &early_failed : NULL);
}

/* A call that cannot move anything makes no state. */
static long pass_unmoved(const struct wrap_call *c, wrap_plain plain)
{
    struct wrap_call bare = *c;
    bool asked = (c->flags & OURS) != 0;
    if (process_options()->policy >= POLICY_AUTO)
        bare.flags &= ~OURS;
    long ret = asked && !(c->flags & K_MREMAP_MAYMOVE) ? -EINVAL : plain(&bare);
    wrap_count_unmoved(k_failed(ret));
    return ret;
}

long wrap_mremap(const struct wrap_call *call, wrap_plain plain)
{
    if (!wrap_could_move(call))
        return pass_unmoved(call, plain);
    struct decision d = {
        .call = call,
        .plain = plain,
        .asked = (call->flags & OURS) != 0,
        .must = (call->flags & K_MREMAP_MUST) != 0,
        .account = {.outcome = REMAP_OUTCOME_PASSED, .tier = REMAP_TIER_NONE},
    };
    if (d.asked && process_options()->policy < POLICY_AUTO)
        return plain(call); /* as without us: the kernel does not know these flags */
    if (!(call->flags & (K_MREMAP_FIXED | K_MREMAP_DONTUNMAP)) &&
        process_options()->policy != POLICY_OBSERVE) {
        /* Growth. Whether it needs a move is the kernel's to say. */
        struct wrap_call stay = *call;
        stay.flags = 0;
        long ret = plain(&stay);
        if (!k_failed(ret)) {
            count_early(&early_in_place);
            return ret;
        }
    }
    d.proc = process_get();
    if (!d.proc) { /* no room for our state, or it is just being made */
        refuse(&d, REMAP_REASON_STARTING);
        wrap_count_unmoved(k_failed(d.result));
        return d.result;
    }
    decide(&d);
    wrap_hand_over(d.proc);
    stats_call(d.proc->stats, &d.account);
    return d.result;
}
