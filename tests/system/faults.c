/* SPDX-License-Identifier: MIT */
/*
 * Failure of each step of the engine, injected by a seccomp filter: by system call, by the flag
 * bits and addresses of mremap, by ioctl request. Whatever fails, the program has what plain mremap
 * would have given it: result, errno and contents; and later moves work.
 *
 * One case for each step; inside it every errno, cold and after a warm-up move, alone and beside a
 * second thread, for each kind of move, each in a process of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ioctls.h"
#include "lib.h"
#include "refusing.h"

#define LEN (24 * PAGE)

static const int errnos[] = {EPERM, ENOMEM, EINVAL, EAGAIN, EBUSY, EEXIST, ENOENT, ENOSYS};

enum kind { FIXED_MOVE, CHOSEN, GROWN, KEPT, PART, READ_ONLY, SPARSE, LOCKED, DEMANDED, KINDS };
static const char *const kind_names[] = {"fixed",     "chosen", "grown",  "kept",    "part",
                                         "read-only", "sparse", "locked", "demanded"};

/* The scene of one move; set up before the filter. */
struct scene {
    enum kind kind;
    int flags;
    char *map;   /* the whole source mapping */
    char *src;   /* what is moved */
    size_t skip; /* ... from where in the pattern */
    size_t old_size;
    size_t new_size;
    char *dst; /* NULL: the kernel chooses */
};

typedef void compose_fn(struct fault *fault, const struct scene *scene);
static compose_fn fault_park;
static compose_fn fault_place;

static void set_scene(struct scene *s, enum kind kind)
{
    *s = (struct scene){.kind = kind, .flags = MOVE_TO, .old_size = LEN, .new_size = LEN};
    s->map = piece(LEN, 1);
    s->dst = map_at(reserve(3 * LEN), PAGE, RW) + PAGE;
    fill(s->dst - PAGE, PAGE, 9);
    switch (kind) {
    case CHOSEN:
        s->flags = MREMAP_MAYMOVE;
        s->new_size = 2 * LEN;
        s->dst = NULL;
        break;
    case GROWN:
        s->new_size = 2 * LEN;
        break;
    case KEPT:
        s->flags |= MREMAP_DONTUNMAP;
        break;
    case PART:
        s->skip = LEN / 4;
        s->old_size = s->new_size = LEN / 2;
        break;
    case READ_ONLY:
        CHECK_OK(mprotect(s->map, LEN, PROT_READ));
        break;
    case SPARSE:
        CHECK_OK(madvise(s->map + PAGE, 7 * PAGE, MADV_DONTNEED));
        CHECK_OK(madvise(s->map + 20 * PAGE, 2 * PAGE, MADV_DONTNEED));
        break;
    case LOCKED:
        mlock(s->map, LEN); /* where that is allowed */
        break;
    case DEMANDED:
        s->flags |= MUST;
        break;
    default:
        break;
    }
    s->src = s->map + s->skip;
}

static void check_contents(const struct scene *s, const char *at, size_t size)
{
    for (size_t i = 0; i < size; i += PAGE) {
        bool hole =
            s->kind == SPARSE && ((i >= PAGE && i < 8 * PAGE) || (i >= 20 * PAGE && i < 22 * PAGE));
        if (i >= s->old_size || hole) {
            CHECK(holds_zero(at + i, PAGE));
        } else {
            CHECK_HOLDS_FROM(at + i, PAGE, 1, s->skip + i);
        }
    }
}

/* The result must be that of a plain call, whatever the filter does to it. */
static void act(const struct scene *s, bool plain_works, int plain_error)
{
    errno = 0;
    char *got = mremap(s->src, s->old_size, s->new_size, s->flags, s->dst);
    int error = errno;
    bool refused = got == MAP_FAILED && s->kind == DEMANDED && error == EFAULT;
    if (refused || !plain_works) {
        CHECK(got == MAP_FAILED);
        CHECK(refused || error == plain_error);
        check_contents(s, s->src, s->old_size);
        return;
    }
    if (got == MAP_FAILED) {
        test_fail(__FILE__, __LINE__, "the move failed (%s), a plain one would not",
                  strerror(error));
    }
    CHECK_EQ(error, 0);
    if (s->dst) {
        CHECK_PTR(got, s->dst);
        CHECK_HOLDS(s->dst - PAGE, PAGE, 9);
    }
    check_contents(s, got, s->new_size);
    if (s->kind == KEPT) {
        CHECK(holds_zero(s->src, s->old_size));
    }
    if (s->kind == PART) {
        CHECK_HOLDS(s->map, s->skip, 1);
        size_t rest = s->skip + s->old_size;
        CHECK_HOLDS_FROM(s->map + rest, LEN - rest, 1, rest);
    }
    if (s->kind != READ_ONLY) { /* and it is ordinary memory: nothing hangs */
        fill(got, s->new_size, 4);
        CHECK_HOLDS(got, s->new_size, 4);
    }
}

static void warm_up(void)
{
    char *src = piece(LEN, 3);
    char *dst = reserve(LEN);
    CHECK_PTR(mremap(src, LEN, LEN, MOVE_TO, dst), dst);
}

struct plan {
    compose_fn *compose;
    enum kind kind;
    int error;
    bool warm;
    bool threads;
    bool plain_fails;
};

static void run_plan(void *argument)
{
    const struct plan *plan = argument;
    struct scene first;
    struct scene again;
    struct scene other;
    int ends[2];
    pthread_t thread;
    set_scene(&first, plan->kind);
    set_scene(&again, plan->kind);
    set_scene(&other, FIXED_MOVE);
    maps_open();
    CHECK_OK(pipe(ends));
    if (plan->threads) {
        CHECK_EQ(pthread_create(&thread, NULL, stay, &ends[0]), 0);
    }
    if (plan->warm) {
        warm_up();
    }
    struct fault fault = {.count = 0};
    plan->compose(&fault, &first);
    inject(&fault, plan->error);
    act(&first, !plan->plain_fails, plan->error);
    if (!plan->plain_fails) {
        bool own_call_is_hit = (plan->compose == fault_park && plan->kind == KEPT) ||
                               (plan->compose == fault_place && !can_relocate());
        if (!own_call_is_hit) {
            act(&again, true, 0);
        }
        act(&other, true, 0);
    } else {
        act(&first, false, plan->error);
    }
    if (plan->threads) {
        CHECK_EQ(write(ends[1], "", 1), 1);
        CHECK_EQ(pthread_join(thread, NULL), 0);
    }
}

static void matrix(compose_fn *compose, bool plain_fails)
{
    for (size_t e = 0; e < sizeof(errnos) / sizeof(errnos[0]); e++) {
        for (unsigned kind = 0; kind < KINDS; kind++) {
            for (unsigned mode = 0; mode < 4; mode++) {
                struct plan plan = {.compose = compose,
                                    .kind = kind,
                                    .error = errnos[e],
                                    .warm = (mode & 1) != 0,
                                    .threads = (mode & 2) != 0,
                                    .plain_fails = plain_fails};
                if (test_is_thinned_out(e + kind + mode)) {
                    continue;
                }
                if (plain_fails && (kind == CHOSEN || kind == KEPT)) {
                    continue; /* those cannot be told apart by their destination and flags */
                }
                pid_t pid = start_child(run_plan, &plan);
                int status = test_wait(pid);
                if (status == SKIP << 8) {
                    _exit(SKIP);
                }
                if (status != 0) {
                    test_fail(__FILE__, __LINE__, "%s, %s move, %s, %s: wait status %#x",
                              strerror(plan.error), kind_names[kind], plan.warm ? "warm" : "cold",
                              plan.threads ? "threads" : "alone", (unsigned)status);
                }
            }
        }
    }
}

/* ---- mremap itself, by its flags and addresses ---- */

static void fault_park(struct fault *f, const struct scene *s)
{
    (void)s;
    f->number = SCMP_SYS(mremap);
    f->compare[f->count++] = SCMP_A3(SCMP_CMP_MASKED_EQ, LOW32, 7);
    if (s->kind == KEPT) { /* the program's own flags: only elsewhere than where it wants to go */
        f->compare[f->count++] = SCMP_A4(SCMP_CMP_NE, (scmp_datum_t)s->dst, 0);
    }
}

static void fault_take(struct fault *f, const struct scene *s)
{
    f->number = SCMP_SYS(mremap);
    f->compare[f->count++] = SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)s->src, 0);
    f->compare[f->count++] = SCMP_A3(SCMP_CMP_MASKED_EQ, LOW32, 3);
    f->compare[f->count++] = SCMP_A4(SCMP_CMP_NE, (scmp_datum_t)s->dst, 0);
}

/* Only what comes from elsewhere than the source: a plain move would do. */
static void fault_place(struct fault *f, const struct scene *s)
{
    f->number = SCMP_SYS(mremap);
    f->compare[f->count++] = SCMP_A0(SCMP_CMP_NE, (scmp_datum_t)s->src, 0);
    if (s->dst) {
        f->compare[f->count++] = SCMP_A4(SCMP_CMP_EQ, (scmp_datum_t)s->dst, 0);
    } else {
        f->compare[f->count++] = SCMP_A3(SCMP_CMP_MASKED_EQ, LOW32, MREMAP_MAYMOVE);
    }
}

/* Nothing can arrive at the destination: plain fails too, and all is where it was. */
static void fault_destination(struct fault *f, const struct scene *s)
{
    f->number = SCMP_SYS(mremap);
    f->compare[f->count++] = SCMP_A4(SCMP_CMP_EQ, (scmp_datum_t)s->dst, 0);
}

static void fault_any_call(struct fault *f, int number)
{
    f->number = number;
}

static void fault_ioctl(struct fault *f, uint32_t request)
{
    f->number = SCMP_SYS(ioctl);
    f->compare[f->count++] = SCMP_A1(SCMP_CMP_MASKED_EQ, LOW32, request);
}

#define MREMAP_FAULT(name, plain_fails)                                                            \
    static void name(void)                                                                         \
    {                                                                                              \
        matrix(fault_##name, plain_fails);                                                         \
    }
MREMAP_FAULT(park, false)
MREMAP_FAULT(take, false)
MREMAP_FAULT(place, false)
MREMAP_FAULT(destination, true)

#define IOCTL_FAULT(name, request)                                                                 \
    static void fault_##name(struct fault *f, const struct scene *s)                               \
    {                                                                                              \
        (void)s;                                                                                   \
        fault_ioctl(f, request);                                                                   \
    }                                                                                              \
    static void name(void)                                                                         \
    {                                                                                              \
        matrix(fault_##name, false);                                                               \
    }
IOCTL_FAULT(uffd_api, REQUEST_UFFD_API)
IOCTL_FAULT(uffd_register, REQUEST_REGISTER)
IOCTL_FAULT(uffd_unregister, REQUEST_UNREGISTER)
IOCTL_FAULT(uffd_move, REQUEST_MOVE)
IOCTL_FAULT(pagemap_scan, REQUEST_PAGEMAP_SCAN)
IOCTL_FAULT(procmap_query, REQUEST_QUERY)

#define CALL_FAULT(name, call)                                                                     \
    static void fault_##name(struct fault *f, const struct scene *s)                               \
    {                                                                                              \
        (void)s;                                                                                   \
        fault_any_call(f, SCMP_SYS(call));                                                         \
    }                                                                                              \
    static void name(void)                                                                         \
    {                                                                                              \
        matrix(fault_##name, false);                                                               \
    }
CALL_FAULT(any_ioctl, ioctl)
CALL_FAULT(any_mmap, mmap)
CALL_FAULT(any_munmap, munmap)
CALL_FAULT(any_mprotect, mprotect)
CALL_FAULT(any_madvise, madvise)
CALL_FAULT(any_sigprocmask, rt_sigprocmask)
CALL_FAULT(any_userfaultfd, userfaultfd)
CALL_FAULT(any_openat, openat)
CALL_FAULT(any_open, open)
CALL_FAULT(any_fcntl, fcntl)
CALL_FAULT(any_fstat, fstat)
CALL_FAULT(any_newfstatat, newfstatat)
CALL_FAULT(any_close, close)
CALL_FAULT(any_mlock, mlock)
CALL_FAULT(any_mlock2, mlock2)
CALL_FAULT(any_ftruncate, ftruncate)
CALL_FAULT(any_write, pwrite64)
CALL_FAULT(any_clock, clock_gettime)

static const struct test_case cases[] = {
    {"park", park, NULL},
    {"take", take, NULL},
    {"place", place, NULL},
    {"destination", destination, NULL},
    {"uffd_api", uffd_api, NULL},
    {"uffd_register", uffd_register, NULL},
    {"uffd_unregister", uffd_unregister, NULL},
    {"uffd_move", uffd_move, NULL},
    {"pagemap_scan", pagemap_scan, NULL},
    {"procmap_query", procmap_query, NULL},
    {"any_ioctl", any_ioctl, NULL},
    {"any_mmap", any_mmap, NULL},
    {"any_munmap", any_munmap, NULL},
    {"any_mprotect", any_mprotect, NULL},
    {"any_madvise", any_madvise, NULL},
    {"any_sigprocmask", any_sigprocmask, NULL},
    {"any_userfaultfd", any_userfaultfd, NULL},
    {"any_openat", any_openat, NULL},
    {"any_open", any_open, NULL},
    {"any_fcntl", any_fcntl, NULL},
    {"any_fstat", any_fstat, NULL},
    {"any_newfstatat", any_newfstatat, NULL},
    {"any_close", any_close, NULL},
    {"any_mlock", any_mlock, NULL},
    {"any_mlock2", any_mlock2, NULL},
    {"any_ftruncate", any_ftruncate, NULL},
    {"any_write", any_write, NULL},
    {"any_clock", any_clock, NULL},
};

int main(int argc, char **argv)
{
    return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
