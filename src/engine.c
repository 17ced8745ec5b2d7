/* SPDX-License-Identifier: MIT */
#include "engine.h"

#include "copy.h"
#include "kernel.h"
#include "page_size.h"
#include "pages.h"
#include "place.h"
#include "stats.h"
#include "uffd.h"

/* One move under way. Lengths: everything is new_length long from take (or place) on. */
struct move {
    struct process *proc;
    const struct engine_request *req;
    struct place place;
    uintptr_t dst;      /* final destination */
    bool reserved;      /* dst is a reservation of ours (the kernel chose it) */
    bool placed;        /* the emptied VMA is at dst */
    bool registered;    /* dst was registered with the userfaultfd */
    uintptr_t emptied;  /* address of the VMA that carries the attributes: own, or the source */
    size_t emptied_len; /* its length: new_length once taken */
    size_t parked_len;
    size_t page_bytes; /* what of it can hold pages: min(old, new) */
    int move_prot;     /* protection during the move */
    bool locked;       /* the source was mlocked */
    bool lock_full;    /* ... not only on fault */
    bool unlocked;     /* it is not any more */
    struct engine_report report;
};

static void note(struct move *m, enum remap_step step, long error)
{
    stats_step(m->proc->stats, step, error);
}

static enum remap_reason reason_for(long error)
{
    return error == -ENOMEM || error == -EAGAIN ? REMAP_REASON_LIMIT : REMAP_REASON_STEP;
}

static long whole_move(uintptr_t from, size_t old_length, size_t new_length, uintptr_t to)
{
    return k_mremap(from, old_length, new_length, K_MREMAP_MAYMOVE | K_MREMAP_FIXED, to);
}

static void drop_reservation(struct move *m)
{
    if (m->reserved)
        k_munmap(m->dst, m->req->new_length);
    m->reserved = false;
}

static struct engine_report refused(enum remap_reason reason)
{
    return (struct engine_report){.verdict = ENGINE_REFUSED, .reason = reason};
}

/*
 * Brings a range to an address with plain system calls only, for when nothing else works any more:
 * the pages are copied. Loses what mmap() cannot give (advice, policy, name), never contents.
 */
static bool copy_to(uintptr_t from, size_t length, uintptr_t to, int prot, bool fixed)
{
    long ret = k_mmap(to, length, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | (fixed ? MAP_FIXED : MAP_FIXED_NOREPLACE), -1);
    if (k_failed(ret))
        return false;
    if ((uintptr_t)ret != to) {
        k_munmap((uintptr_t)ret, length); /* a kernel that does not know MAP_FIXED_NOREPLACE */
        return false;
    }
    if (!(prot & PROT_READ) && k_failed(k_mprotect(from, length, PROT_READ | PROT_WRITE))) {
        k_munmap(to, length);
        return false;
    }
    __builtin_memcpy((void *)to, (const void *)from, length);
    if (prot != (PROT_READ | PROT_WRITE))
        k_mprotect(to, length, prot);
    return true;
}

/*
 * mlock. UFFDIO_MOVE wants both sides locked alike, and MREMAP_DONTUNMAP must not meet a locked
 * VMA: since Linux 6.17 the kernel then counts it twice (VmLck, RLIMIT_MEMLOCK) for good. So the
 * range is unlocked before it is parked, and parking place and destination are locked afterwards.
 * That takes an allowance for the range twice; whether it is there is tried out first, on the
 * parking place.
 */
static bool can_lock(struct move *m)
{
    if (!m->locked)
        return true;
    k_munlock(m->place.base, m->place.size); /* mlockall(MCL_FUTURE) has counted the reservation */
    long ret = k_mlock2(m->place.park, m->req->old_length, MLOCK_ONFAULT);
    if (!k_failed(ret))
        return true;
    note(m, REMAP_STEP_PROTECT, ret);
    m->report = refused(REMAP_REASON_LOCK);
    return false;
}

/* The move has ended plainly: locked again. If it is locked in full, holes that it had are filled.
 */
static void lock_again(struct move *m)
{
    const struct engine_request *r = m->req;
    bool moved = m->report.verdict == ENGINE_PLAIN;
    long ret = k_mlock2(moved ? m->report.address : r->src, moved ? r->new_length : r->old_length,
                        m->lock_full ? 0 : MLOCK_ONFAULT);
    if (k_failed(ret))
        note(m, REMAP_STEP_UNDO, ret);
}

/* Tries once to put the range where plain mremap() would have: at the destination, else back. */
static bool finish_once(struct move *m, uintptr_t from, size_t length, long *error)
{
    const struct engine_request *r = m->req;
    bool source_mapped = (r->flags & K_MREMAP_DONTUNMAP) || m->emptied == r->src;
    if (!r->must) {
        long ret = whole_move(from, length, r->new_length, m->dst);
        if (!k_failed(ret)) {
            place_vacated(&m->place, from, length);
            if (m->emptied == r->src)
                k_munmap(r->src, m->emptied_len);
            m->reserved = false;
            m->report.verdict = ENGINE_PLAIN;
            m->report.address = (uintptr_t)ret;
            return true;
        }
        *error = ret;
    }
    size_t back = length < r->old_length ? length : r->old_length;
    if (!source_mapped && k_reserve(r->src, back, MAP_FIXED_NOREPLACE) != (long)r->src)
        return false; /* another thread's mmap() came to lie there */
    if (k_failed(whole_move(from, length, back, r->src))) {
        if (!source_mapped)
            k_munmap(r->src, back);
        return false;
    }
    place_vacated(&m->place, from, length);
    if (m->placed || m->reserved)
        k_munmap(m->dst, r->new_length);
    m->reserved = false;
    m->report.verdict = ENGINE_REFUSED;
    return true;
}

/* No mremap() brings the range to where it belongs: its contents are copied there. */
static void finish_by_copy(struct move *m, uintptr_t from, size_t length)
{
    const struct engine_request *r = m->req;
    bool fixed = (r->flags & K_MREMAP_FIXED) != 0;
    bool any_address_will_do = !fixed && !r->must && length >= r->new_length;
    bool source_mapped = (r->flags & K_MREMAP_DONTUNMAP) || m->emptied == r->src;
    size_t back = length < r->old_length ? length : r->old_length;
    if (fixed && !r->must && copy_to(from, length, m->dst, r->prot, true)) {
        if (m->emptied == r->src)
            k_munmap(r->src, m->emptied_len);
        m->report.verdict = ENGINE_PLAIN;
        m->report.address = m->dst;
    } else if (!any_address_will_do && copy_to(from, back, r->src, r->prot, source_mapped)) {
        m->report.verdict = ENGINE_REFUSED;
    } else if (fixed && !k_failed(whole_move(from, length, r->new_length, m->dst))) {
        place_vacated(&m->place, from, length); /* rather a broken MUST than lost pages */
        m->report.verdict = ENGINE_PLAIN;
        m->report.address = m->dst;
    } else {
        /* The program gets the address where its memory is. (With FIXED it asked for another one,
         * but neither that nor the old one can be had; the alternative is to lose pages.) */
        place_surrender(&m->place);
        m->report.verdict = ENGINE_PLAIN;
        m->report.address = from;
    }
    if (m->report.address != m->dst && (m->placed || m->reserved))
        k_munmap(m->dst, r->new_length);
    m->reserved = false;
}

/*
 * The pages have left the source and lie at `from` (own or park, `length` bytes). Gives the program
 * what plain mremap() would have: the range at its destination or, under MUST or if the kernel does
 * not let us, at the source again, for a plain mremap() to be called.
 */
static void finish_plainly(struct move *m, uintptr_t from, size_t length, enum remap_reason reason)
{
    long error = -EFAULT;
    m->report.reason = reason;
    /* Out of VMAs for a moment, because other threads map too: the likely reason to come round. */
    for (int attempt = 0; attempt < 100; attempt++) {
        if (finish_once(m, from, length, &error))
            return;
        k_sched_yield();
    }
    m->report.rescued = true;
    note(m, REMAP_STEP_UNDO, error);
    finish_by_copy(m, from, length);
}

/* Back to the protection that the program knows. A VMA of its own needs no split, so nothing but a
 * passing shortage can be in the way. */
static void restore_protection(struct move *m, uintptr_t addr, size_t length)
{
    long ret = -ENOMEM;
    for (int attempt = 0; attempt < 100 && k_failed(ret); attempt++) {
        ret = k_mprotect(addr, length, m->req->prot);
        if (k_failed(ret)) {
            note(m, REMAP_STEP_PROTECT, ret);
            k_sched_yield();
        }
    }
}

/* Step 1: the source goes to our own place, grown or shrunk to its new length. */
static bool take(struct move *m)
{
    const struct engine_request *r = m->req;
    unsigned long flags = K_MREMAP_MAYMOVE | K_MREMAP_FIXED | (r->flags & K_MREMAP_DONTUNMAP);
    long ret = k_mremap(r->src, r->old_length, r->new_length, flags, m->place.own);
    if (k_failed(ret)) {
        note(m, REMAP_STEP_TAKE, ret);
        m->report = refused(reason_for(ret));
        return false;
    }
    m->emptied = m->place.own;
    m->emptied_len = r->new_length;
    return true;
}

/* The emptied VMA stays behind, its pages go to park. On failure everything is settled. */
static bool park(struct move *m)
{
    if (m->locked) {
        k_munlock(m->emptied, m->emptied_len);
        m->unlocked = true;
    }
    long ret = k_mremap(m->emptied, m->emptied_len, m->emptied_len,
                        K_MREMAP_MAYMOVE | K_MREMAP_FIXED | K_MREMAP_DONTUNMAP, m->place.park);
    if (!k_failed(ret)) {
        m->parked_len = m->emptied_len;
        return true;
    }
    note(m, REMAP_STEP_PARK, ret);
    if (m->emptied == m->req->src)
        m->report = refused(reason_for(ret));
    else
        finish_plainly(m, m->place.own, m->emptied_len, reason_for(ret));
    return false;
}

/* The pages are all at park; give up. What lies at the destination by now is empty. */
static void unpark(struct move *m, enum remap_reason reason)
{
    if (m->move_prot != m->req->prot)
        restore_protection(m, m->place.park, m->parked_len);
    finish_plainly(m, m->place.park, m->parked_len, reason);
    /* The registered mapping is gone; who waited for a page of it tries again. */
    if (m->registered)
        uffd_wake(m->proc->uffd.fd, m->dst, m->req->new_length);
}

/* The emptied VMA goes to the destination: the kernel gives it its vm_pgoff there and merges it. */
static bool place(struct move *m)
{
    unsigned long flags = K_MREMAP_MAYMOVE | K_MREMAP_FIXED;
    if (m->emptied == m->place.own)
        flags |= K_MREMAP_DONTUNMAP; /* own stays mapped: nobody else's mmap() may land there */
    long ret = k_mremap(m->emptied, m->emptied_len, m->req->new_length, flags, m->dst);
    if (k_failed(ret)) {
        note(m, REMAP_STEP_PLACE, ret);
        unpark(m, reason_for(ret));
        return false;
    }
    m->reserved = false;
    m->placed = true;
    if (m->emptied == m->req->src)
        m->emptied = 0; /* moved away: the source address is free */
    return true;
}

/* A full lock populates what it locks: those pages are dropped again before the next come. */
static long lock_in_chunks(struct move *m)
{
    long ret = 0;
    for (size_t at = 0; at < m->page_bytes && !k_failed(ret); at += huge_size()) {
        size_t left = m->page_bytes - at;
        size_t length = left < huge_size() ? left : huge_size();
        ret = k_mlock2(m->dst + at, length, 0);
        if (!k_failed(ret))
            ret = pages_drop(m->dst + at, length);
    }
    if (!k_failed(ret) && m->req->new_length > m->page_bytes)
        ret = k_mlock2(m->dst + m->page_bytes, m->req->new_length - m->page_bytes, 0);
    return ret;
}

/* The destination is locked as the source was while it is still unfaulted: only so does it merge
 * with locked neighbours. */
static bool carry_lock(struct move *m)
{
    if (!m->locked)
        return true;
    long ret =
        m->lock_full ? lock_in_chunks(m) : k_mlock2(m->dst, m->req->new_length, MLOCK_ONFAULT);
    if (!k_failed(ret))
        ret = k_mlock2(m->place.park, m->parked_len, MLOCK_ONFAULT);
    if (!k_failed(ret))
        return true;
    note(m, REMAP_STEP_PROTECT, ret);
    unpark(m, REMAP_REASON_LOCK);
    return false;
}

/*
 * Memory that adjoins the destination, did not merge with it, and could after an mprotect(): its
 * nearest page is populated. (A PROT_NONE neighbour is nearly always an untouched reservation.)
 */
static bool could_merge_later(struct move *m, uintptr_t page, bool left)
{
    struct vma v;
    if (process_vma_at(m->proc, page, &v) != 0 || v.kind != VMA_ANON || v.prot == PROT_NONE)
        return false;
    bool apart = left ? v.end == m->dst : v.start == page;
    return apart && pages_any(m->proc->pagemap.fd, page, page + page_size()) == 1;
}

/*
 * The anon_vma. While the destination is registered its flags differ from its neighbours', so the
 * kernel would not let it share their anon_vma then, and a later mprotect() could never merge them.
 * Where there is such a neighbour, a write fault now lets the kernel choose as it always does.
 */
static void give_anon_vma(struct move *m)
{
    const struct engine_request *r = m->req;
    uintptr_t end = m->dst + r->new_length;
    if (process_adjoins_last(m->proc, m->dst, end, r->prot) ||
        !(could_merge_later(m, m->dst - page_size(), true) || could_merge_later(m, end, false)))
        return;
    bool read_only = !(r->prot & PROT_WRITE);
    if (read_only && k_failed(k_mprotect(m->dst, r->new_length, m->move_prot)))
        return; /* relocation works all the same */
    long ret = k_madvise(m->dst, page_size(), K_MADV_POPULATE_WRITE);
    if (!k_failed(ret)) /* all of it: the fault may have brought a huge page */
        ret = pages_drop(m->dst, m->locked ? m->page_bytes : r->new_length);
    if (k_failed(ret))
        note(m, REMAP_STEP_ANON_VMA, ret);
    if (read_only)
        restore_protection(m, m->dst, r->new_length);
}

/* KSM may have merged pages: they count as shared, but nobody minds if they no longer are. */
static bool is_mergeable(const struct move *m)
{
    return pages_any_ksm() != 0 && vma_has_flag(m->place.park, "mg", "mg");
}

static bool make_destination_writable(struct move *m)
{
    long ret = k_mprotect(m->dst, m->req->new_length, m->move_prot);
    if (!k_failed(ret) && m->locked && !m->registered)
        ret = pages_drop(m->dst, m->page_bytes); /* the kernel has populated what is locked */
    if (!k_failed(ret))
        return true;
    note(m, REMAP_STEP_PROTECT, ret);
    unpark(m, REMAP_REASON_PROTECTION); /* replaces what is registered */
    return false;
}

/* Registers the destination and makes both sides writable. On failure everything is settled. */
static bool arm(struct move *m)
{
    const struct engine_request *r = m->req;
    bool protect = m->move_prot != r->prot;
    give_anon_vma(m);
    if (protect) {
        long ret = k_mprotect(m->place.park, m->parked_len, m->move_prot);
        if (k_failed(ret)) {
            note(m, REMAP_STEP_PROTECT, ret);
            unpark(m, REMAP_REASON_PROTECTION);
            return false;
        }
    }
    if (r->copy && copy_is_unwise(m->proc, m->place.park, m->page_bytes) && !is_mergeable(m)) {
        unpark(m, REMAP_REASON_SHARED_PAGES);
        return false;
    }
    /* Locked memory that becomes writable is populated by the kernel: not into our own hands. */
    if (protect && m->locked && !make_destination_writable(m))
        return false;
    long ret = uffd_register(m->proc->uffd.fd, m->dst, r->new_length);
    if (k_failed(ret)) {
        note(m, REMAP_STEP_REGISTER, ret);
        /* Another userfaultfd watches: one with EVENT_REMAP, which follows its memory. It has seen
         * the transient moves as events; from now on it shall see only the program's. */
        if (ret == -EBUSY)
            atomic_store_explicit(&m->proc->armed, 1, memory_order_relaxed);
        unpark(m, ret == -EBUSY ? REMAP_REASON_ARMED : reason_for(ret));
        return false;
    }
    m->registered = true;
    /* Once registered the destination is a VMA of its own: its protection changes without a split,
     * and so it can be changed back without one. */
    return !protect || m->locked || make_destination_writable(m);
}

/* Ends the registration; if the kernel refuses, closing the userfaultfd cannot fail. */
static void disarm(struct move *m, uintptr_t addr, size_t length)
{
    long ret = uffd_unregister(m->proc->uffd.fd, addr, length);
    if (k_failed(ret)) {
        note(m, REMAP_STEP_SETTLE, ret);
        process_drop_uffd(m->proc);
    }
}

static void report_relocated(struct move *m)
{
    m->report.verdict = ENGINE_RELOCATED;
    m->report.reason = REMAP_REASON_NONE;
    m->report.address = m->dst;
}

/* The destination holds all pages: protection, lock, registration as they should be. */
static void settle(struct move *m)
{
    const struct engine_request *r = m->req;
    if (m->move_prot != r->prot)
        restore_protection(m, m->dst, r->new_length);
    disarm(m, m->dst, r->new_length);
    process_set_last(m->proc, m->dst, m->dst + r->new_length, r->prot);
    report_relocated(m);
}

/*
 * Some pages cannot be moved: those that were are brought back to park, and the whole range is
 * moved plainly. A page that came but does not go back is left at the destination and its
 * companions follow as copies, inside the kernel (UFFDIO_COPY).
 */
static void undo(struct move *m, enum remap_reason reason)
{
    struct process *proc = m->proc;
    uint64_t brought_back = 0;
    long ret = uffd_register(proc->uffd.fd, m->place.park, m->parked_len);
    if (!k_failed(ret)) {
        enum uffd_result back = uffd_move_all(proc, m->place.park, m->dst, m->page_bytes,
                                              UFFD_RESIDENT_WINS, &brought_back);
        if (back == UFFD_MOVED_ALL) {
            disarm(m, m->place.park, m->parked_len);
            unpark(m, reason);
            return;
        }
        disarm(m, m->place.park, m->parked_len);
    } else {
        note(m, REMAP_STEP_UNDO, ret);
    }
    m->report.rescued = true;
    if (uffd_copy_rest(proc, m->dst, m->place.park, m->page_bytes)) {
        settle(m);
        m->report.rescued = true;
        return;
    }
    /* No way through the userfaultfd either. */
    disarm(m, m->dst, m->req->new_length);
    pages_copy_rest(m->dst, m->place.park, m->page_bytes);
    settle(m);
    m->report.rescued = true;
}

static void move_pages(struct move *m)
{
    const struct place *at = &m->place;
    uint64_t *pages = &m->report.pages;
    enum uffd_result result =
        uffd_move_all(m->proc, m->dst, at->park, m->page_bytes, UFFD_INCOMING_WINS, pages);
    if (result == UFFD_STUCK && is_mergeable(m)) {
        /* KSM pages: each becomes a page of its own again. */
        k_madvise(at->park, m->parked_len, MADV_UNMERGEABLE);
        result = uffd_move_all(m->proc, m->dst, at->park, m->page_bytes, UFFD_INCOMING_WINS, pages);
        if (result == UFFD_STUCK)
            k_madvise(at->park, m->parked_len, MADV_MERGEABLE);
    }
    if (result == UFFD_MOVED_ALL)
        settle(m);
    else
        undo(m, REMAP_REASON_SHARED_PAGES);
}

/*
 * The copy has stopped `done` bytes into the range (no memory, most likely): what is there is at
 * the destination for good, the rest follows by a plain move. The range ends as two VMAs, complete.
 */
static void follow_plainly(struct move *m, size_t done, long error)
{
    uintptr_t rest = m->place.park + done;
    size_t length = m->parked_len - done;
    long ret = -ENOMEM;
    note(m, REMAP_STEP_COPY, error);
    if (done == 0) {
        unpark(m, reason_for(error));
        return;
    }
    if (m->move_prot != m->req->prot)
        restore_protection(m, m->place.park, m->parked_len);
    for (int attempt = 0; attempt < 100 && k_failed(ret); attempt++) {
        ret = whole_move(rest, length, length, m->dst + done);
        if (k_failed(ret))
            k_sched_yield();
    }
    if (!k_failed(ret)) {
        place_vacated(&m->place, rest, length);
        /* That part is not registered any more: nobody else wakes who waits there. */
        uffd_wake(m->proc->uffd.fd, m->dst + done, length);
        settle(m);
        m->report.verdict = ENGINE_PLAIN;
        m->report.reason = reason_for(error);
        return;
    }
    /* Neither copied nor moved by the kernel: by hand, where a fault waits for memory. */
    note(m, REMAP_STEP_UNDO, ret);
    if (m->move_prot != m->req->prot)
        k_mprotect(m->place.park, m->parked_len, m->move_prot);
    disarm(m, m->dst, m->req->new_length);
    pages_copy_rest(m->dst + done, rest, m->page_bytes - done);
    settle(m);
    m->report.rescued = true;
}

static void copy_pages(struct move *m)
{
    long error;
    bool congruent = ((m->dst ^ m->place.park) & (huge_size() - 1)) == 0;
    bool huge = congruent && copy_has_huge(m->proc, m->place.park, m->page_bytes);
    size_t done =
        copy_all(m->proc, m->dst, m->place.park, m->page_bytes, &m->report.copied, &error);
    if (done < m->page_bytes) {
        follow_plainly(m, done, error);
        return;
    }
    settle(m);
    if (huge)
        copy_make_huge(m->proc, m->dst, m->page_bytes);
}

/* msync(2): MS_INVALIDATE of locked memory is refused with EBUSY; otherwise nothing happens here.
 */
static void find_lock(struct move *m)
{
    m->locked = k_msync(m->req->src, page_size(), MS_INVALIDATE | MS_ASYNC) == -EBUSY;
    /* Linux 6.1 has no name for the flag: it says "??". */
    m->lock_full = m->locked && !vma_has_flag(m->req->src, "lf", "??");
}

static long choose_destination(struct move *m)
{
    const struct engine_request *r = m->req;
    m->dst = r->dst;
    if (r->flags & K_MREMAP_FIXED) {
        place_trampled(r->dst, r->new_length);
        return 0;
    }
    /* While the source is still mapped the kernel chooses as it would for mremap() itself. With
     * DONTUNMAP there may be a hint; one that no mapping may have is for the kernel to refuse. */
    uintptr_t hint = (r->flags & K_MREMAP_DONTUNMAP) ? r->dst : 0;
    long ret = hint != 0 ? k_reserve(hint, r->new_length, MAP_FIXED_NOREPLACE) : -EEXIST;
    if (hint != 0 && k_failed(ret) && ret != -EEXIST)
        m->report = refused(REMAP_REASON_KERNEL);
    if (ret == -EEXIST)
        ret = k_reserve(hint, r->new_length, 0);
    if (k_failed(ret))
        return ret;
    m->dst = (uintptr_t)ret;
    m->reserved = true;
    return 0;
}

/* Huge pages move whole between congruent addresses; elsewhere each would be split. */
static enum remap_reason check_huge(const struct move *m)
{
    const struct engine_request *r = m->req;
    const struct probe_result *probe = process_probe();
    bool congruent = ((m->dst ^ r->src) & (huge_size() - 1)) == 0;
    if (m->page_bytes < huge_size() || (congruent && !probe->no_huge))
        return REMAP_REASON_NONE;
    if (pages_any_huge(m->proc->pagemap.fd, r->src, r->src + m->page_bytes) == 0)
        return REMAP_REASON_NONE;
    if (probe->no_huge)
        return REMAP_REASON_HUGE_UNSAFE;
    return r->may_split && !probe->no_split ? REMAP_REASON_NONE : REMAP_REASON_HUGE_SPLIT;
}

struct engine_report engine_move(struct process *proc, const struct engine_request *req)
{
    struct move m = {.proc = proc, .req = req};
    find_lock(&m);
    /* Unlocked for parking, the source would merge with its neighbours and be no VMA of its own. */
    bool want_own = !(req->alone && req->whole_vma) || (req->flags & K_MREMAP_DONTUNMAP) ||
                    req->new_length < req->old_length || m.locked;
    m.page_bytes = req->old_length < req->new_length ? req->old_length : req->new_length;
    m.move_prot = req->prot | PROT_READ | PROT_WRITE;
    long ret = choose_destination(&m);
    if (!k_failed(ret)) {
        enum remap_reason huge = req->copy ? REMAP_REASON_NONE : check_huge(&m);
        if (huge != REMAP_REASON_NONE) {
            drop_reservation(&m);
            return refused(huge);
        }
        ret = place_claim(&m.place, want_own ? req->new_length : req->old_length, want_own,
                          req->src, m.dst, req->new_length);
        if (k_failed(ret))
            drop_reservation(&m);
    }
    if (k_failed(ret)) {
        if (m.report.reason == REMAP_REASON_KERNEL)
            return m.report;
        note(&m, REMAP_STEP_RESERVE, ret);
        return refused(reason_for(ret));
    }
    m.emptied = req->src;
    m.emptied_len = req->old_length;
    if (can_lock(&m) && (!want_own || take(&m)) && park(&m) && place(&m) && carry_lock(&m) &&
        (req->empty || arm(&m))) {
        if (req->empty)
            report_relocated(&m);
        else if (req->copy)
            copy_pages(&m);
        else
            move_pages(&m);
    }
    if (m.unlocked && m.report.verdict != ENGINE_RELOCATED)
        lock_again(&m);
    drop_reservation(&m);
    place_release(&m.place, m.report.verdict == ENGINE_RELOCATED && !m.locked && !m.report.rescued);
    return m.report;
}
