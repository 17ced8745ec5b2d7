/* SPDX-License-Identifier: MIT */
/*
 * Failures in the middle of one mremap() over five VMAs, injected by a seccomp filter. Where a VMA
 * can neither be relocated nor moved plainly, those before it have arrived, it and the rest are
 * where they were, and the call has that errno. Where only relocation fails the whole row arrives.
 *
 * One case for each step; inside it every errno, VMA, kind of move, cold and after a warm-up move,
 * alone and beside a second thread, each in a process of its own.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "ioctls.h"
#include "refusing.h"
#include "rows.h"

enum { VMAS = 5 };
static const struct part parts[VMAS] = {{DATA, 4}, {DATA, 2}, {READ_ONLY, 3}, {DATA, 1}, {DATA, 6}};
static const int errnos[] = {ENOMEM, EAGAIN, EFAULT, EPERM};
static const int kinds[] = {MOVE_TO, MOVE_TO | MREMAP_DONTUNMAP, MOVE_TO | MUST};

typedef void compose_fn(struct fault *fault, const struct row *row, size_t bad);

struct plan {
    compose_fn *compose;
    int error;
    int flags;
    size_t bad; /* that VMA cannot be moved at all; VMAS: each can, plainly */
    bool needs_look;
    bool warm;
    bool threads;
};

static void move_again(void)
{
    struct row row = make_row(parts, 1);
    CHECK_EQ(ask_row(true, &row, MOVE_TO), (long)row.dst);
    check_row(&row, 1, false);
}

/* The whole row has arrived. Otherwise relocation was demanded: then it ends at some VMA; or it
 * could not be taken apart (nobody can tell where VMAs begin; no state of the library's own), and
 * the kernel has refused what it got. */
static void check_arrived(const struct plan *plan, const struct row *row, long got)
{
    size_t moved = VMAS;
    if (got == -EFAULT && (plan->flags & MUST)) {
        for (moved = 0; moved < VMAS && mapped_in(row->src + offset_of(row, moved), PAGE) == 0;) {
            moved++;
        }
        CHECK(moved < VMAS);
    } else if (got == -EFAULT && (plan->needs_look || !plan->warm) && !kernel_spans()) {
        moved = 0;
    } else if (got != (long)row->dst) {
        test_fail(__FILE__, __LINE__, "%s: plain moves of each would have worked",
                  strerror((int)-got));
    }
    check_row(row, moved, (plan->flags & MREMAP_DONTUNMAP) != 0);
}

static void run_plan(void *argument)
{
    const struct plan *plan = argument;
    int ends[2];
    pthread_t thread;
    kernel_spans();                           /* it is asked now, before anything fails */
    struct row again = make_row(parts, VMAS); /* at higher addresses than the other */
    struct row row = make_row(parts, VMAS);
    CHECK_OK(pipe(ends));
    if (plan->threads) {
        CHECK_EQ(pthread_create(&thread, NULL, stay, &ends[0]), 0);
    }
    if (plan->warm) {
        move_again();
    }
    struct fault fault = {.count = 0};
    plan->compose(&fault, &row, plan->bad);
    inject(&fault, plan->error);
    long got = ask_row(true, &row, plan->flags);
    if (plan->bad == VMAS) {
        check_arrived(plan, &row, got);
        got = ask_row(true, &again, plan->flags);
        check_arrived(plan, &again, got);
    } else {
        size_t moved = plan->bad;
        if ((plan->flags & MUST) && !can_relocate()) {
            moved = 0; /* the first one is refused already */
        }
        if (got != -EFAULT || !(plan->flags & MUST)) {
            CHECK_EQ(got, -plan->error);
        }
        check_row(&row, moved, (plan->flags & MREMAP_DONTUNMAP) != 0);
        CHECK_EQ(ask_row(true, &again, MOVE_TO), (long)again.dst);
        check_row(&again, VMAS, false);
    }
    if (plan->threads) {
        CHECK_EQ(write(ends[1], "", 1), 1);
        CHECK_EQ(pthread_join(thread, NULL), 0);
    }
}

static void run_all(struct plan plan)
{
    for (size_t e = 0; e < COUNT(errnos); e++) {
        for (size_t kind = 0; kind < COUNT(kinds); kind++) {
            for (unsigned mode = 0; mode < 4; mode++) {
                if (test_is_thinned_out(e + kind + mode + plan.bad)) {
                    continue;
                }
                plan.error = errnos[e];
                plan.flags = kinds[kind];
                plan.warm = (mode & 1) != 0;
                plan.threads = (mode & 2) != 0;
                int status = test_wait(start_child(run_plan, &plan));
                if (status == SKIP << 8) {
                    _exit(SKIP);
                }
                if (status != 0) {
                    test_fail(__FILE__, __LINE__, "%s, VMA %zu, flags %d, %s, %s: wait status %#x",
                              strerror(plan.error), plan.bad, plan.flags,
                              plan.warm ? "warm" : "cold", plan.threads ? "threads" : "alone",
                              (unsigned)status);
                }
            }
        }
    }
}

/* ---- a VMA that cannot be moved ---- */

static void each_vma(compose_fn *compose)
{
    if (kernel_spans() && !can_relocate()) {
        test_skip("without a tier the kernel moves the whole row itself");
    }
    for (size_t bad = 0; bad < VMAS; bad++) {
        run_all((struct plan){.compose = compose, .bad = bad});
    }
}

/* Nothing can be moved away from where the VMA begins. */
static void fault_source(struct fault *f, const struct row *row, size_t bad)
{
    f->number = SCMP_SYS(mremap);
    f->compare[f->count++] = SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)row->src + offset_of(row, bad), 0);
}

static void source(void)
{
    each_vma(fault_source);
}

/* Nothing can arrive where it should. */
static void fault_destination(struct fault *f, const struct row *row, size_t bad)
{
    f->number = SCMP_SYS(mremap);
    f->compare[f->count++] = SCMP_A4(SCMP_CMP_EQ, (scmp_datum_t)row->dst + offset_of(row, bad), 0);
}

static void destination(void)
{
    each_vma(fault_destination);
}

/* ---- relocation that fails, once and for all ---- */

static void relocation(compose_fn *compose, bool needs_look)
{
    run_all((struct plan){.compose = compose, .bad = VMAS, .needs_look = needs_look});
}

/* The step `park`: the only one with DONTUNMAP, unless the program's own call has it. That goes
 * higher than where the library has its places. */
static void fault_park(struct fault *f, const struct row *row, size_t bad)
{
    (void)bad;
    f->number = SCMP_SYS(mremap);
    f->compare[f->count++] = SCMP_A3(SCMP_CMP_MASKED_EQ, LOW32, 7);
    f->compare[f->count++] = SCMP_A4(SCMP_CMP_LT, (scmp_datum_t)row->dst, 0);
}

static void park(void)
{
    relocation(fault_park, false);
}

#define IOCTL_FAULT(name, request, needs_look)                                                     \
    static void fault_##name(struct fault *f, const struct row *row, size_t bad)                   \
    {                                                                                              \
        (void)row;                                                                                 \
        (void)bad;                                                                                 \
        f->number = SCMP_SYS(ioctl);                                                               \
        f->compare[f->count++] = SCMP_A1(SCMP_CMP_MASKED_EQ, LOW32, request);                      \
    }                                                                                              \
    static void name(void)                                                                         \
    {                                                                                              \
        relocation(fault_##name, needs_look);                                                      \
    }
IOCTL_FAULT(uffd_api, REQUEST_UFFD_API, false)
IOCTL_FAULT(uffd_register, REQUEST_REGISTER, false)
IOCTL_FAULT(uffd_unregister, REQUEST_UNREGISTER, false)
IOCTL_FAULT(uffd_copy, REQUEST_COPY, false)
IOCTL_FAULT(uffd_move, REQUEST_MOVE, false)
IOCTL_FAULT(pagemap_scan, REQUEST_PAGEMAP_SCAN, false)
IOCTL_FAULT(procmap_query, REQUEST_QUERY, true)

#define CALL_FAULT(name, call, needs_look)                                                         \
    static void fault_##name(struct fault *f, const struct row *row, size_t bad)                   \
    {                                                                                              \
        (void)row;                                                                                 \
        (void)bad;                                                                                 \
        f->number = SCMP_SYS(call);                                                                \
    }                                                                                              \
    static void name(void)                                                                         \
    {                                                                                              \
        relocation(fault_##name, needs_look);                                                      \
    }
CALL_FAULT(any_userfaultfd, userfaultfd, false)
CALL_FAULT(any_mmap, mmap, true)
CALL_FAULT(any_munmap, munmap, false)
CALL_FAULT(any_mprotect, mprotect, false)
CALL_FAULT(any_madvise, madvise, false)
CALL_FAULT(any_sigprocmask, rt_sigprocmask, false)
CALL_FAULT(any_ioctl, ioctl, true)
CALL_FAULT(any_openat, openat, true)
CALL_FAULT(any_read, pread64, true)

static const struct test_case cases[] = {
    {"source", source, NULL},
    {"destination", destination, NULL},
    {"park", park, NULL},
    {"uffd_api", uffd_api, NULL},
    {"uffd_register", uffd_register, NULL},
    {"uffd_unregister", uffd_unregister, NULL},
    {"uffd_copy", uffd_copy, NULL},
    {"uffd_move", uffd_move, NULL},
    {"pagemap_scan", pagemap_scan, NULL},
    {"procmap_query", procmap_query, NULL},
    {"any_userfaultfd", any_userfaultfd, NULL},
    {"any_mmap", any_mmap, NULL},
    {"any_munmap", any_munmap, NULL},
    {"any_mprotect", any_mprotect, NULL},
    {"any_madvise", any_madvise, NULL},
    {"any_sigprocmask", any_sigprocmask, NULL},
    {"any_ioctl", any_ioctl, NULL},
    {"any_openat", any_openat, NULL},
    {"any_read", any_read, NULL},
};

int main(int argc, char **argv)
{
    return test_main(argc, argv, cases, COUNT(cases));
}
