/* SPDX-License-Identifier: MIT */
/*
 * The tier `copy` when a system call fails: always (faults.c runs with this tier too; here is what
 * only this tier needs), or from some moment on, as when memory runs out half way. Then what was
 * copied and the rest must both be at the destination, and the call succeeds as a plain one would.
 *
 * For the latter another process decides on each call (SECCOMP_RET_USER_NOTIF). It has the file
 * descriptors of this one and nothing else in common: this one may well be alone with its memory.
 */
#include <errno.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "copying.h"
#include "ioctls.h"

#define LOW32 0xffffffffu

#define LEN (300 * PAGE) /* five chunks, the last one not full */

static const int errnos[] = {ENOMEM, EAGAIN, EINVAL, EPERM, EFAULT, ENOENT, ESRCH, ENOSPC, EEXIST};

/* What fails: a system call (an ioctl: this request), from its call number `works` on. */
struct fault {
    int number;
    uint32_t request; /* 0: all */
    unsigned works;
    unsigned fails; /* how many times; then it works again */
    int error;
};

enum kind {
    FIXED_MOVE,
    GROWN,
    CHOSEN,
    KEPT,
    READ_ONLY,
    NO_ACCESS,
    SPARSE,
    LOCKED,
    DEMANDED,
    KINDS
};
static const char *const kind_names[] = {"fixed",     "grown",  "chosen", "kept",    "read-only",
                                         "no access", "sparse", "locked", "demanded"};

struct plan {
    struct fault fault;
    enum kind kind;
    bool by_notice; /* by the other process, call by call */
    bool warm;
    bool threads;
};

/* ---- failing calls ---- */

static scmp_filter_ctx filter_for(const struct fault *fault, uint32_t action)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    CHECK(filter != NULL);
    int ret = fault->request ? seccomp_rule_add(filter, action, fault->number, 1,
                                                SCMP_A1(SCMP_CMP_MASKED_EQ, LOW32, fault->request))
                             : seccomp_rule_add(filter, action, fault->number, 0);
    if (ret != 0) {
        test_skip("no such seccomp filter: %s", strerror(-ret));
    }
    return filter;
}

static void load(scmp_filter_ctx filter)
{
    int ret = seccomp_load(filter);
    if (ret != 0) {
        test_skip("no seccomp filter may be installed: %s", strerror(-ret));
    }
}

/* Answers each call of which it is told until the other process ends. */
static void decide(int fd, const struct fault *fault)
{
    struct seccomp_notif notice;
    for (unsigned n = 0;; n++) {
        memset(&notice, 0, sizeof(notice));
        if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &notice) != 0) {
            return;
        }
        struct seccomp_notif_resp answer = {.id = notice.id};
        if (n >= fault->works && n - fault->works < fault->fails) {
            answer.error = -fault->error;
        } else {
            answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        }
        if (ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &answer) != 0) {
            return;
        }
    }
}

/* Starts the process that decides; what it writes to is where it learns of the filter. Before there
 * is any memory to be moved: it would share it. */
static int start_decider(const struct fault *fault)
{
    int ends[2];
    CHECK_OK(pipe(ends));
    pid_t parent = getpid();
    long pid = raw_syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0, 0);
    CHECK(pid >= 0);
    if (pid == 0) {
        int fd = -1;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent && read(ends[0], &fd, sizeof(fd)) == (ssize_t)sizeof(fd)) {
            decide(fd, fault);
        }
        _exit(0);
    }
    return ends[1];
}

static void inject_by_notice(const struct fault *fault, int decider)
{
    scmp_filter_ctx filter = filter_for(fault, SCMP_ACT_NOTIFY);
    load(filter);
    int fd = seccomp_notify_fd(filter);
    CHECK(fd >= 0);
    CHECK_EQ(write(decider, &fd, sizeof(fd)), sizeof(fd));
}

/* ---- the scene ---- */

struct scene {
    char *src;
    char *dst; /* NULL: the kernel chooses */
    size_t new_size;
    int flags;
};

/* Holes at the begin of a chunk, across the end of one, and all of one. */
static bool is_hole(enum kind kind, size_t page)
{
    return kind == SPARSE &&
           (page < 3 || (page >= 60 && page < 70) || (page >= 128 && page < 192) || page == 250);
}

static struct scene make_scene(enum kind kind)
{
    struct scene s = {.src = piece(LEN, 1), .new_size = LEN, .flags = MOVE_TO};
    if (kind != CHOSEN) {
        s.dst = beside(2 * LEN);
    }
    switch (kind) {
    case GROWN:
        s.new_size = 2 * LEN;
        break;
    case CHOSEN:
        s.new_size = 2 * LEN;
        s.flags = MREMAP_MAYMOVE;
        break;
    case KEPT:
        s.flags |= MREMAP_DONTUNMAP;
        break;
    case READ_ONLY:
        CHECK_OK(mprotect(s.src, LEN, PROT_READ));
        break;
    case NO_ACCESS:
        CHECK_OK(mprotect(s.src, LEN, PROT_NONE));
        break;
    case SPARSE:
        for (size_t page = 0; page < LEN / PAGE; page++) {
            if (is_hole(kind, page)) {
                CHECK_OK(madvise(s.src + page * PAGE, PAGE, MADV_DONTNEED));
            }
        }
        break;
    case LOCKED:
        mlock(s.src, LEN); /* where that is allowed */
        break;
    case DEMANDED:
        s.flags |= MUST;
        break;
    default:
        break;
    }
    return s;
}

static void check_protection(const char *at, enum kind kind)
{
    struct map_line line;
    const char *perms = kind == READ_ONLY ? "r--p" : kind == NO_ACCESS ? "---p" : "rw-p";
    for (size_t page = 0; page < LEN; page += 10 * PAGE) {
        CHECK(map_of(at + page, &line) && strcmp(line.perms, perms) == 0);
    }
}

static void check_contents(char *at, size_t size, enum kind kind)
{
    check_protection(at, kind);
    if (kind == NO_ACCESS && mprotect(at, size, PROT_READ) != 0) {
        return; /* that is what fails here */
    }
    for (size_t page = 0; page < size / PAGE; page++) {
        if (page >= LEN / PAGE || is_hole(kind, page)) {
            CHECK(holds_zero(at + page * PAGE, PAGE));
        } else {
            CHECK_HOLDS_FROM(at + page * PAGE, PAGE, 1, page * PAGE);
        }
    }
}

/* As a plain call: success, and all is there. Where relocation is demanded it may fail instead. */
static void move_all(struct scene s, enum kind kind)
{
    errno = 0;
    char *got = mremap(s.src, LEN, s.new_size, s.flags, s.dst);
    if (got == MAP_FAILED) {
        CHECK_EQ(kind, DEMANDED);
        CHECK_EQ(errno, EFAULT);
        check_contents(s.src, LEN, kind);
        return;
    }
    CHECK_EQ(errno, 0);
    if (s.dst) {
        CHECK_PTR(got, s.dst);
        CHECK_HOLDS(s.dst - PAGE, PAGE, 99);
    }
    check_contents(got, s.new_size, kind);
    if (kind == KEPT) {
        CHECK_EQ(mapped_in(s.src, LEN), LEN);
        CHECK(holds_zero(s.src, LEN));
    } else {
        CHECK_EQ(mapped_in(s.src, LEN), 0);
    }
    if (kind != READ_ONLY && kind != NO_ACCESS) { /* ordinary memory: nothing hangs */
        fill(got, s.new_size, 4);
        CHECK_HOLDS(got, s.new_size, 4);
    }
}

static void *stay(void *argument)
{
    char c;
    CHECK_EQ(read(*(int *)argument, &c, 1), 1);
    return NULL;
}

static void run_plan(void *argument)
{
    const struct plan *plan = argument;
    const struct fault *fault = &plan->fault;
    int ends[2];
    pthread_t thread;
    int decider = plan->by_notice ? start_decider(fault) : -1;
    struct scene first = make_scene(plan->kind);
    struct scene again = make_scene(plan->kind);
    struct scene other = make_scene(FIXED_MOVE);
    maps_open();
    CHECK_OK(pipe(ends));
    if (plan->threads) {
        CHECK_EQ(pthread_create(&thread, NULL, stay, &ends[0]), 0);
    }
    if (plan->warm) {
        char *src = piece(LEN, 3);
        char *dst = reserve(LEN);
        CHECK_PTR(mremap(src, LEN, LEN, MOVE_TO, dst), dst);
    }
    if (plan->by_notice) {
        inject_by_notice(fault, decider);
    } else {
        load(filter_for(fault, SCMP_ACT_ERRNO((uint32_t)fault->error)));
    }
    move_all(first, plan->kind);
    move_all(again, plan->kind);
    move_all(other, FIXED_MOVE);
    if (plan->threads) {
        CHECK_EQ(write(ends[1], "", 1), 1);
        CHECK_EQ(pthread_join(thread, NULL), 0);
    }
}

static void run_kinds(struct plan plan, unsigned mode)
{
    plan.warm = (mode & 1) != 0;
    plan.threads = (mode & 2) != 0;
    for (unsigned kind = 0; kind < KINDS; kind++) {
        if (test_is_thinned_out(kind + mode + plan.fault.works + (unsigned)plan.fault.error)) {
            continue;
        }
        plan.kind = kind;
        int status = test_wait(start_child(run_plan, &plan));
        if (status == SKIP << 8) {
            _exit(SKIP);
        }
        if (status != 0) {
            test_fail(
                __FILE__, __LINE__, "%s after %u calls, %u times, %s move, %s, %s: wait status %#x",
                strerror(plan.fault.error), plan.fault.works, plan.fault.fails, kind_names[kind],
                plan.warm ? "warm" : "cold", plan.threads ? "threads" : "alone", (unsigned)status);
        }
    }
}

/* ---- it never works ---- */

static void always(int number, uint32_t request)
{
    need_copy();
    for (size_t e = 0; e < sizeof(errnos) / sizeof(errnos[0]); e++) {
        struct plan plan = {.fault = {number, request, 0, 0, errnos[e]}};
        for (unsigned mode = 0; mode < 4; mode++) {
            run_kinds(plan, mode);
        }
    }
}

static void copy_refused(void)
{
    always(SCMP_SYS(ioctl), REQUEST_COPY);
}

static void no_pagemap(void)
{
    always(SCMP_SYS(pread64), 0);
}

/* ---- it works for a while ---- */

#define FOR_EVER (~0u)

/* From each of the first calls on; once, for a while, and, if `fails` says so, for ever. */
static void half_way(int number, uint32_t request, unsigned calls, unsigned fails)
{
    const struct fault faults[] = {{number, request, 0, 1, ENOMEM},
                                   {number, request, 0, 3, EAGAIN},
                                   {number, request, 0, fails, ENOMEM}};
    need_copy();
    for (unsigned works = 0; works <= calls; works++) {
        for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
            struct plan plan = {.by_notice = true, .fault = faults[i]};
            plan.fault.works = works;
            run_kinds(plan, works + i); /* each mode has its turn */
        }
    }
}

/* Of several calls, one for each chunk or run. */
static void copy_fails_later(void)
{
    half_way(SCMP_SYS(ioctl), REQUEST_COPY, 6, FOR_EVER);
}

static void release_fails_later(void)
{
    half_way(SCMP_SYS(madvise), 0, 4, FOR_EVER);
}

static void look_fails_later(void)
{
    half_way(SCMP_SYS(pread64), 0, 6, FOR_EVER);
}

/* Not for ever: then no protection could ever be given back. */
static void protect_fails_later(void)
{
    half_way(SCMP_SYS(mprotect), 0, 3, 30);
}

static void any_ioctl_fails_later(void)
{
    half_way(SCMP_SYS(ioctl), 0, 9, FOR_EVER);
}

/* What was copied is counted, and so is that it was no relocation; the next move is one again. */
static void counted(void)
{
    struct fault fault = {.number = SCMP_SYS(ioctl),
                          .request = REQUEST_COPY,
                          .works = 2,
                          .fails = 1,
                          .error = ENOMEM};
    need_copy();
    int decider = start_decider(&fault);
    struct scene first = make_scene(FIXED_MOVE);
    struct scene again = make_scene(FIXED_MOVE);
    inject_by_notice(&fault, decider);
    begin_move();
    CHECK_PTR(mremap(first.src, LEN, LEN, MOVE_TO, first.dst), first.dst);
    check_contents(first.dst, LEN, FIXED_MOVE);
    CHECK_EQ(ADDED(calls), 1);
    CHECK_EQ(ADDED(outcomes[REMAP_OUTCOME_PLAIN]), 1);
    CHECK_EQ(ADDED(reasons[REMAP_REASON_LIMIT]), 1);
    CHECK_EQ(ADDED(steps[REMAP_STEP_COPY]), 1);
    CHECK_EQ(ADDED(step_errnos[ENOMEM]), 1);
    CHECK_EQ(ADDED(rescued), 0);
    CHECK_LE(vmas_in(first.dst - PAGE, LEN + PAGE), 2);
    begin_move();
    CHECK_PTR(mremap(again.src, LEN, LEN, MOVE_TO, again.dst), again.dst);
    check_copied(LEN / PAGE);
}

/* ---- who waits behind the point where it stops ---- */

static char *awaited;
static atomic_ulong seen;
static atomic_bool seen_enough;

static void *read_on(void *unused)
{
    (void)unused;
    while (!seen_enough) {
        (void)*(volatile char *)awaited;
        seen++;
    }
    return NULL;
}

/* The first chunk arrives, the second does not; a thread reads the last page all the time. */
static void stop_behind_the_first(void *unused)
{
    (void)unused;
    const struct fault fault = {SCMP_SYS(ioctl), REQUEST_COPY, 1, ~0u, ENOMEM};
    int decider = start_decider(&fault);
    struct scene s = make_scene(FIXED_MOVE);
    pthread_t thread;
    map_at(s.dst, LEN, RW);
    fill(s.dst, LEN, 7);
    awaited = s.dst + LEN - PAGE;
    features_now(); /* the probe copies too, and is to succeed */
    CHECK_EQ(pthread_create(&thread, NULL, read_on, NULL), 0);
    while (seen == 0) {
        sched_yield();
    }
    inject_by_notice(&fault, decider);
    CHECK_PTR(mremap(s.src, LEN, LEN, s.flags, s.dst), s.dst);
    unsigned long before = seen;
    for (long long deadline = now_ms() + 20000; seen <= before + 1;) {
        CHECK(now_ms() < deadline); /* or it waits for ever */
        sched_yield();
    }
    seen_enough = true;
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_HOLDS(s.dst, LEN, 1);
    CHECK_EQ(stats_now().counters.outcomes[REMAP_OUTCOME_PLAIN], 1);
    CHECK(stats_now().counters.steps[REMAP_STEP_COPY] > 0);
}

static void waiters_behind(void)
{
    need_copy();
    for (int i = 0; i < 8; i++) {
        in_child(stop_behind_the_first, NULL);
    }
}

static const struct test_case cases[] = {
    {"waiters_behind", waiters_behind, COPYING},
    {"copy_refused", copy_refused, COPYING},
    {"no_pagemap", no_pagemap, COPYING},
    {"copy_fails_later", copy_fails_later, COPYING},
    {"release_fails_later", release_fails_later, COPYING},
    {"look_fails_later", look_fails_later, COPYING},
    {"protect_fails_later", protect_fails_later, COPYING},
    {"any_ioctl_fails_later", any_ioctl_fails_later, COPYING},
    {"counted", counted, COPYING},
};

int main(int argc, char **argv)
{
    return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
