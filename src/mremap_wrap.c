/* SPDX-License-Identifier: MIT */
#include "mremap_wrap.h"

#include "callers.h"
#include "decision.h"
#include "kernel.h"
#include "page_size.h"
#include "process.h"
#include "relocate.h"
#include "span.h"
#include "stats.h"

#define START_MS 200 /* a span waits so long for the start in another thread */

/*
 * Calls that cannot move anything are common and cheap: each costs one atomic add here. They go to
 * the statistics at the next call that could move, or every so many calls.
 */
#define HAND_OVER_EVERY 64u
static _Atomic uint64_t early_calls[REMAP_WAY_COUNT];
static _Atomic uint64_t early_failed;
static _Atomic uint64_t early_in_place;

void wrap_reset_in_child(void)
{
    for (int way = 0; way < REMAP_WAY_COUNT; way++)
        atomic_store_explicit(&early_calls[way], 0, memory_order_relaxed);
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
    bool any = false;
    for (int way = 0; way < REMAP_WAY_COUNT; way++)
        any = any || atomic_load_explicit(&early_calls[way], memory_order_relaxed) != 0;
    if (!any)
        return;
    struct remap_stats_counters *c = &p->stats->counters;
    uint64_t failed = atomic_exchange_explicit(&early_failed, 0, memory_order_relaxed);
    uint64_t in_place = atomic_exchange_explicit(&early_in_place, 0, memory_order_relaxed);
    uint64_t calls = 0;
    for (int way = 0; way < REMAP_WAY_COUNT; way++) {
        uint64_t n = atomic_exchange_explicit(&early_calls[way], 0, memory_order_relaxed);
        add(&p->stats->ways[way].calls, n);
        calls += n;
    }
    add(&c->calls, calls);
    add(&c->outcomes[REMAP_OUTCOME_PASSED], calls - failed - in_place);
    add(&c->outcomes[REMAP_OUTCOME_FAILED], failed);
    add(&c->outcomes[REMAP_OUTCOME_IN_PLACE], in_place);
    add(&c->reasons[REMAP_REASON_NO_MOVE], calls - failed - in_place);
    add(&c->reasons[REMAP_REASON_KERNEL], failed);
    add(&c->reasons[REMAP_REASON_NONE], in_place);
}

/* The errors that the kernel finds in the arguments alone: it shall answer them itself. */
static bool arguments_are_valid(const struct wrap_call *c)
{
    uintptr_t mask = page_size() - 1;
    size_t old_length = page_align(c->old_length);
    size_t new_length = page_align(c->new_length);
    if ((c->addr & mask) != 0 || old_length == 0 || new_length == 0 ||
        c->addr + old_length < c->addr || (c->flags & ~(DECISION_PLAIN | DECISION_OURS)) != 0)
        return false;
    if ((c->flags & K_MREMAP_DONTUNMAP) && old_length != new_length)
        return false;
    if (!(c->flags & (K_MREMAP_FIXED | K_MREMAP_DONTUNMAP)))
        return true;
    /* The kernel checks a mere hint (DONTUNMAP alone) in the same way. */
    return (c->dst & mask) == 0 && c->dst + new_length > c->dst &&
           !(c->addr < c->dst + new_length && c->dst < c->addr + old_length);
}

/* A call that may move memory. */
static void decide(struct decision *d)
{
    const struct probe_result *probe = process_probe();
    if (!arguments_are_valid(d->call)) {
        decision_pass(d, REMAP_REASON_KERNEL);
        return;
    }
    if (process_options()->policy == POLICY_OBSERVE) {
        decision_pass(d, REMAP_REASON_POLICY);
        return;
    }
    bool may_span = span_is_allowed(d->call);
    if (relocate_is_native(d->proc)) {
        if (may_span && span_is_ours(d)) {
            span_move(d);
            return;
        }
        if (relocate_natively(d))
            return;
    }
    if (probe->features[REMAP_FEATURE_PLAIN_MERGES].answer == REMAP_ANSWER_PRESENT) {
        relocate_by_plain_move(d);
        return;
    }
    if (probe->own_tier == REMAP_TIER_NONE && !d->must) {
        if (may_span && span_is_ours(d))
            span_move(d);
        else
            decision_set(d, REMAP_OUTCOME_PLAIN, REMAP_REASON_NO_TIER, decision_call_plain(d));
        return;
    }
    if (!relocate(d)) {
        if (may_span)
            span_move(d);
        else
            decision_refuse(d, REMAP_REASON_MULTI_VMA);
    }
}

static void count_early(enum remap_way way, _Atomic uint64_t *kind)
{
    /* The sum first: it is never less than its parts. */
    uint64_t before = atomic_fetch_add_explicit(&early_calls[way], 1, memory_order_acq_rel);
    if (kind)
        atomic_fetch_add_explicit(kind, 1, memory_order_release);
    if (before % HAND_OVER_EVERY == HAND_OVER_EVERY - 1) {
        struct process *p = process_peek();
        if (p)
            wrap_hand_over(p);
    }
}

void wrap_count_unmoved(enum remap_way way, bool failed)
{
    count_early(way, failed ? &early_failed : NULL);
}

/* A call that cannot move anything makes no state. */
static long pass_unmoved(const struct wrap_call *c, wrap_plain plain)
{
    struct wrap_call bare = *c;
    bool asked = (c->flags & DECISION_OURS) != 0;
    if (process_options()->policy >= POLICY_AUTO)
        bare.flags &= ~DECISION_OURS;
    long ret = asked && !(c->flags & K_MREMAP_MAYMOVE) ? -EINVAL : plain(&bare);
    wrap_count_unmoved(c->way, k_failed(ret));
    return ret;
}

long wrap_mremap(const struct wrap_call *call, wrap_plain plain)
{
    if (!wrap_could_move(call))
        return pass_unmoved(call, plain);
    struct decision d = {
        .call = call,
        .plain = plain,
        .asked = (call->flags & DECISION_OURS) != 0,
        .must = (call->flags & K_MREMAP_MUST) != 0,
        .account = {.outcome = REMAP_OUTCOME_PASSED, .tier = REMAP_TIER_NONE, .way = call->way},
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
            count_early(call->way, &early_in_place);
            return ret;
        }
    }
    d.proc = process_get();
    /* Another thread is just starting us. A plain move would do, but a span is an error to a kernel
     * before 6.17, and which kernel this is is just being found out. */
    for (int ms = 0; !d.proc && ms < START_MS && process_is_starting() && span_is_allowed(call);
         ms++) {
        k_sleep_ms(1);
        d.proc = process_get();
    }
    if (!d.proc) { /* no room for our state, or it is just being made */
        decision_refuse(&d, REMAP_REASON_STARTING);
        wrap_count_unmoved(call->way, k_failed(d.result));
        return d.result;
    }
    decide(&d);
    if (d.native_refused && !k_failed(d.result)) /* what a plain call could do the flag could not */
        atomic_store_explicit(&d.proc->native_dead, 1, memory_order_relaxed);
    wrap_hand_over(d.proc);
    stats_call(d.proc->stats, &d.account);
    callers_note(d.proc, &d.account);
    return d.result;
}
