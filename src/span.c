/* SPDX-License-Identifier: MIT */
#include "span.h"

#include "gate.h"
#include "kernel.h"
#include "page_size.h"
#include "relocate.h"
#include "uffd.h"
#include "vma.h"

#define BATCH 16 /* VMAs looked up at a time */

/* The VMAs of a range, one after the other, each cut to what of it is in the range. */
struct walk {
    struct process *proc;
    uintptr_t at;
    uintptr_t end;
    struct vma batch[BATCH];
    size_t count;
    size_t next;
    long error; /* 0, or why it ended early */
};

static struct walk walk_over(const struct decision *d)
{
    uintptr_t start = d->call->addr;
    return (struct walk){
        .proc = d->proc, .at = start, .end = start + page_align(d->call->old_length)};
}

static bool walk_next(struct walk *w, struct vma *piece)
{
    if (w->next == w->count) {
        long found = w->at < w->end ? process_vmas(w->proc, w->at, w->end, w->batch, BATCH) : 0;
        w->error = found < 0 ? found : 0;
        if (found <= 0)
            return false;
        w->count = (size_t)found;
        w->next = 0;
    }
    *piece = w->batch[w->next++];
    if (piece->start < w->at)
        piece->start = w->at;
    if (piece->end > w->end)
        piece->end = w->end;
    w->at = piece->end;
    return true;
}

bool span_is_allowed(const struct wrap_call *c)
{
    return process_options()->multi && (c->flags & K_MREMAP_FIXED) &&
           page_align(c->old_length) == page_align(c->new_length) &&
           page_align(c->old_length) > page_size();
}

static bool kernel_spans(void)
{
    return process_probe()->features[REMAP_FEATURE_MULTI_VMA].answer == REMAP_ANSWER_PRESENT;
}

/*
 * The kernel is not simply asked to move the range: before it says EFAULT it unmaps the whole
 * destination, where what lies in the gaps is to stay. It is asked to grow the range in place, to a
 * size that no address space has: EFAULT comes first if the range leaves its VMA (or has none, or
 * one that never grows). So nothing has to be looked up for a call that is made plainly.
 */
static bool may_leave_its_vma(const struct wrap_call *c)
{
    const size_t impossible = (size_t)1 << 60;
    return k_mremap(c->addr, page_align(c->old_length), impossible, 0, 0) == -EFAULT;
}

bool span_is_ours(const struct decision *d)
{
    const struct wrap_call *c = d->call;
    struct vma first;
    if (kernel_spans() || (!relocate_is_native(d->proc) && !may_leave_its_vma(c)))
        return false;
    return process_vma_at(d->proc, c->addr, &first) == 0 &&
           first.end - c->addr < page_align(c->old_length);
}

/* A run of adjoining anonymous VMAs: true if a userfaultfd of the program's watches any of them. */
static bool is_armed(struct process *proc, uintptr_t start, uintptr_t end)
{
    k_sigset saved;
    bool armed = false;
    /* While it is registered a fault in it would wait for us: no signal handler may run. */
    if (!gate_enter(&saved))
        return false; /* a fork() is under way: then nobody can be asked */
    if (process_have_uffd(proc))
        armed = uffd_is_watched(proc, start, end - start);
    gate_leave(&saved);
    return armed;
}

/* True if each VMA can be moved by itself, as a part of the range. */
static bool can_be_taken_apart(const struct decision *d)
{
    struct walk w = walk_over(d);
    struct vma piece;
    uintptr_t run_start = 0; /* of adjoining anonymous VMAs */
    uintptr_t run_end = 0;
    bool any = false;
    while (walk_next(&w, &piece)) {
        bool anon = piece.kind == VMA_ANON;
        /* The device /dev/zero chooses addresses, though its private mappings are anonymous. */
        if (piece.kind == VMA_OTHER || (anon && piece.has_file) || (!anon && d->must) ||
            (!any && piece.start != d->call->addr))
            return false;
        any = true;
        if (anon && piece.start == run_end) {
            run_end = piece.end;
            continue;
        }
        if (run_end != 0 && is_armed(d->proc, run_start, run_end))
            return false;
        run_start = anon ? piece.start : 0;
        run_end = anon ? piece.end : 0;
    }
    return any && w.error == 0 && !(run_end != 0 && is_armed(d->proc, run_start, run_end));
}

/* False if the destination ends beyond the address space: then nothing may move. */
static bool destination_exists(const struct decision *d)
{
    uintptr_t last = d->call->dst + page_align(d->call->new_length) - page_size();
    long ret = k_reserve(last, page_size(), MAP_FIXED_NOREPLACE);
    if (!k_failed(ret))
        k_munmap((uintptr_t)ret, page_size());
    return ret != -ENOMEM;
}

/* The destinations of the VMAs in [from, to) of the source. */
static void unmap_destinations(const struct decision *d, uintptr_t from, uintptr_t to)
{
    uintptr_t delta = d->call->dst - d->call->addr;
    struct walk w = walk_over(d);
    struct vma piece;
    w.at = from;
    w.end = to;
    while (walk_next(&w, &piece))
        k_munmap(piece.start + delta, piece.end - piece.start);
}

/*
 * Reserves the destination of each VMA. Asked for the whole before 6.17, the kernel would move
 * nothing if it could not unmap it (a sealed mapping, a huge page cut in two, no VMAs left): if
 * that is so it shows here. False: then what was reserved is unmapped.
 */
static bool reserve_destinations(const struct decision *d)
{
    uintptr_t delta = d->call->dst - d->call->addr;
    struct walk w = walk_over(d);
    struct vma piece = {.start = d->call->addr};
    long ret = 0;
    while (!k_failed(ret) && walk_next(&w, &piece))
        ret = k_reserve(piece.start + delta, piece.end - piece.start, MAP_FIXED);
    if (!k_failed(ret) && w.error == 0)
        return true;
    unmap_destinations(d, d->call->addr, k_failed(ret) ? piece.start : w.at);
    return false;
}

static void move_piece(struct decision *d)
{
    if (relocate_is_native(d->proc) && relocate_natively(d))
        return;
    if (process_probe()->own_tier == REMAP_TIER_NONE && !d->must)
        decision_set(d, REMAP_OUTCOME_PLAIN, REMAP_REASON_NO_TIER, decision_call_plain(d));
    else if (!relocate(d)) /* another thread has split it meanwhile */
        decision_refuse(d, REMAP_REASON_MULTI_VMA);
}

/* The call counts under what became of its best part: relocated, else plain, else passed. */
static void add_up(struct stats_call *sum, const struct stats_call *piece)
{
    bool first = sum->span_vmas == 0;
    if (first || (stats_is_relocation(piece->outcome) && !stats_is_relocation(sum->outcome)) ||
        (piece->outcome == REMAP_OUTCOME_PLAIN && sum->outcome == REMAP_OUTCOME_PASSED)) {
        sum->outcome = piece->outcome;
        sum->reason = piece->reason;
        sum->tier = piece->tier;
    }
    sum->span_vmas++;
    sum->moved |= piece->moved;
    sum->bytes += piece->bytes;
    sum->pages += piece->pages;
    sum->pages_copied += piece->pages_copied;
    sum->nanoseconds += piece->nanoseconds;
    sum->merged_left += piece->merged_left;
    sum->merged_right += piece->merged_right;
    sum->rescued |= piece->rescued;
}

/* One part of the range, by itself. False: it failed, and the call with it. */
static bool move_part(struct decision *d, uintptr_t start, uintptr_t end, bool is_one_vma)
{
    struct wrap_call part = *d->call;
    struct decision piece = *d;
    part.addr = start;
    part.old_length = part.new_length = end - start;
    part.dst = d->call->dst + (start - d->call->addr);
    piece.call = &part;
    piece.account = (struct stats_call){.tier = REMAP_TIER_NONE};
    if (is_one_vma)
        move_piece(&piece);
    else
        decision_pass(&piece, REMAP_REASON_NO_LOOK);
    if (!k_failed(piece.result)) {
        d->native_refused = d->native_refused || piece.native_refused;
        add_up(&d->account, &piece.account);
        return true;
    }
    d->result = piece.result;
    d->account.outcome = REMAP_OUTCOME_FAILED;
    d->account.reason = piece.account.reason;
    d->account.error = piece.account.error;
    d->account.moved = 0;
    return false;
}

void span_move(struct decision *d)
{
    const struct wrap_call *c = d->call;
    bool by_kernel = kernel_spans();
    if (!can_be_taken_apart(d) || !destination_exists(d) ||
        (!by_kernel && !reserve_destinations(d))) {
        decision_refuse(d, REMAP_REASON_MULTI_VMA);
        return;
    }
    struct walk w = walk_over(d);
    struct vma vma;
    bool going_on = true;
    /* One system call to a signal handler of this thread, as it would be in the kernel. */
    const k_sigset all = ~(k_sigset)0;
    k_sigset saved = 0;
    bool blocked = !k_failed(k_sigprocmask(SIG_SETMASK, &all, &saved));
    d->account = (struct stats_call){.outcome = REMAP_OUTCOME_PASSED, .tier = REMAP_TIER_NONE};
    d->result = (long)c->dst;
    while (going_on && walk_next(&w, &vma))
        going_on = move_part(d, vma.start, vma.end, true);
    uintptr_t rest = going_on ? w.at : vma.start;
    if (w.error != 0) /* /proc cannot tell any more: the kernel does what it can */
        going_on = move_part(d, rest, w.end, false);
    if (!going_on && !by_kernel)
        unmap_destinations(d, rest, w.end);
    if (blocked)
        k_sigprocmask(SIG_SETMASK, &saved, NULL);
}
