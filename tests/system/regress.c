/* SPDX-License-Identifier: MIT */
/*
 * What went wrong once: a case for each bug that was found from outside. Where plain mremap() gives
 * the measure, a twin is moved by the raw system call and compared with.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib.h"

#define LEN (16 * PAGE)

/* ---- a child that lives as long as a case wants, and shares its parent's pages ---- */

static pid_t sharer;
static int sharer_ends[2];

static void stay_alive(void *unused)
{
    (void)unused;
    char c;
    close(sharer_ends[1]);
    while (read(sharer_ends[0], &c, 1) == -1 && errno == EINTR) {
    }
}

static void sharer_start(void)
{
    CHECK_OK(pipe(sharer_ends));
    sharer = start_child(stay_alive, NULL);
    close(sharer_ends[0]);
}

static void sharer_end(void)
{
    close(sharer_ends[1]);
    join_child(sharer);
}

/* ---- the kernel's answer and the shim's ---- */

/* The result, or -errno. */
static long ask(bool shimmed, const void *src, size_t size, int flags, const void *to)
{
    if (!shimmed) {
        return raw_mremap(src, size, size, flags, to);
    }
    errno = 0;
    const void *got = mremap((void *)(uintptr_t)src, size, size, flags, to);
    return got == MAP_FAILED ? -errno : (long)(uintptr_t)got;
}

/* ---- mappings that the library made ---- */

enum { LINES = 512, HINTS = 16 };

struct map_list {
    uintptr_t start[LINES];
    size_t count;
};

static struct map_list before_library;
static struct map_list after_library;
static char *hints[HINTS];
static size_t hint_count;

static void list_maps(struct map_list *list)
{
    list->count = 0;
    FILE *file = fopen("/proc/self/maps", "re");
    CHECK(file != NULL);
    char text[1024];
    while (list->count < LINES && fgets(text, sizeof(text), file)) {
        list->start[list->count++] = strtoul(text, NULL, 16);
    }
    fclose(file);
}

static bool listed(const struct map_list *list, uintptr_t start)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->start[i] == start) {
            return true;
        }
    }
    return false;
}

/* ---- a fallback and another thread's memory ---- */

static atomic_bool over;
static atomic_uint mapped_there; /* how often a hint was obeyed */

static void segv(int number)
{
    (void)number;
    test_fail(__FILE__, __LINE__, "a mapping of the program is gone");
}

/* Maps where the kernel likes (or, if it is free there, at a hint), fills, compares, unmaps. */
static void *map_and_fill(void *with_hints)
{
    enum { SIZE = 16, FILLERS = 400 };
    /* Other holes of the size, above all that the library may have, are filled first. */
    for (unsigned i = 0; i < FILLERS && !with_hints; i++) {
        int protection = i % 2 == 0 ? PROT_READ : RW; /* they do not merge */
        CHECK(mmap(NULL, SIZE * PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
              MAP_FAILED);
    }
    for (unsigned i = 1; !over; i++) {
        char *hint = with_hints ? hints[i % hint_count] : NULL;
        char *at = mmap(hint, SIZE * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(at != MAP_FAILED);
        mapped_there += hint && at == hint;
        for (unsigned look = 0; look < 3; look++) {
            for (unsigned p = 0; p < SIZE; p++) {
                volatile unsigned *word = (volatile unsigned *)(void *)(at + p * PAGE);
                if (look == 0) {
                    *word = i + p;
                } else {
                    CHECK_EQ(*word, i + p);
                }
            }
            sched_yield();
        }
        CHECK_OK(munmap(at, SIZE * PAGE));
    }
    return NULL;
}

/*
 * Pages that a living child shares do not move: the engine gives up half way and the range is moved
 * plainly, out of the library's own region. What another thread maps meanwhile, be it in the hole
 * that arises there, is its own.
 */
static void fallback_beside_mmap(void)
{
    enum { MOVES = 4000 };
    pthread_t threads[2];
    if (features_now().tier == REMAP_TIER_NATIVE) {
        test_skip("this kernel relocates, and falls back, by itself");
    }
    CHECK(signal(SIGSEGV, segv) != SIG_ERR);
    /* So low that the kernel never puts there what has no place of its own: what this case vacates
     * is not given to a thread of the program, where the next move would destroy it. */
    char *area = mmap((void *)((uintptr_t)1 << 44), 4 * LEN, PROT_NONE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (area == MAP_FAILED) {
        test_skip("the address space is smaller than expected: %s", strerror(errno));
    }
    char *slot[2] = {area + PAGE, area + 2 * LEN};
    map_at(slot[0], LEN, RW);
    fill(slot[0], LEN, 1);
    sharer_start();
    list_maps(&before_library);
    CHECK_PTR(mremap(slot[0], LEN, LEN, MOVE_TO, slot[1]), slot[1]);
    list_maps(&after_library);
    for (size_t i = 0; i < after_library.count && hint_count < HINTS; i++) {
        char *at = (char *)after_library.start[i];
        if (!listed(&before_library, after_library.start[i]) &&
            !(at >= area && at < area + LEN * 4)) {
            hints[hint_count++] = at;
        }
    }
    hint_count = hint_count > 0 ? hint_count : 1;
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, map_and_fill, i == 0 ? NULL : hints), 0);
    }
    for (unsigned i = 1; i <= MOVES; i++) {
        char *to = slot[(i + 1) % 2];
        CHECK_PTR(mremap(slot[i % 2], LEN, LEN, MOVE_TO, to), to);
        CHECK_HOLDS(to, LEN, 1);
    }
    over = true;
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    CHECK_EQ(relocated_now(), 0); /* or it was no fallback */
    printf("%zu hints, obeyed %u times\n", hint_count, mapped_there);
    sharer_end();
}

/* ---- a demand that fails ---- */

/* Pages shared with a living child: EFAULT, and the source is as it was, what was to be cut off
 * too. */
static void must_shrinks(void)
{
    char *src = piece(LEN, 1);
    char *dst = reserve(LEN);
    need_relocation();
    sharer_start();
    CHECK_ERRNO(mremap(src, LEN, LEN / 2, MOVE_TO | MUST, dst), EFAULT);
    CHECK_EQ(mapped_in(src, LEN), LEN);
    CHECK_HOLDS(src, LEN, 1);
    sharer_end();
    CHECK_PTR(mremap(src, LEN, LEN / 2, MOVE_TO | MUST, dst), dst);
    CHECK_HOLDS(dst, LEN / 2, 1);
    CHECK_EQ(mapped_in(src, LEN), 0);
    CHECK_EQ(mapped_in(dst, LEN), LEN); /* the reservation behind it */
    CHECK_EQ(relocated_now(), 1);
}

/* ---- forks without handlers ---- */

static atomic_uint to_and_fro;

static void *move_to_and_fro(void *unused)
{
    (void)unused;
    enum { SIZE = 256 };
    char *area = reserve(3 * SIZE * PAGE);
    char *slot[2] = {area, area + 2 * SIZE * PAGE};
    map_at(slot[0], SIZE * PAGE, RW);
    fill(slot[0], SIZE * PAGE, 7);
    for (unsigned i = 0; !over; i++) {
        char *to = slot[(i + 1) % 2];
        CHECK_PTR(mremap(slot[i % 2], SIZE * PAGE, SIZE * PAGE, MOVE_TO, to), to);
        to_and_fro++;
    }
    return NULL;
}

static void move_must(unsigned seed)
{
    char *src = piece(LEN, seed);
    char *dst = reserve(LEN);
    CHECK_PTR(mremap(src, LEN, LEN, MOVE_TO | MUST, dst), dst);
    CHECK_HOLDS(dst, LEN, seed);
    CHECK_EQ(mapped_in(src, LEN), 0);
}

static void move_and_leave(void *unused)
{
    (void)unused;
    alarm(30);
    move_must(3);
}

static void fork_bare(pid_t (*bare)(void))
{
    enum { CHILDREN = 100 };
    need_relocation();
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, move_to_and_fro, NULL), 0);
    for (unsigned i = 0; i < CHILDREN; i++) {
        for (unsigned seen = to_and_fro; to_and_fro == seen;) { /* it is at it */
        }
        pid_t pid = bare();
        CHECK(pid >= 0);
        if (pid == 0) {
            alarm(30); /* so that a hang ends, as a signal that the parent sees */
            if (i % 2 == 0) {
                move_must(1);
            }
            pid_t grandchild = fork();
            CHECK(grandchild >= 0);
            if (grandchild == 0) {
                move_and_leave(NULL);
                _exit(0);
            }
            CHECK_EQ(test_wait(grandchild), 0);
            move_must(2);
            CHECK_EQ(relocated_now(), i % 2 == 0 ? 2 : 1);
            _exit(0);
        }
        int status = test_wait(pid);
        if (status != 0) {
            test_fail(__FILE__, __LINE__, "child %u: %s %d", i,
                      WIFSIGNALED(status) ? "killed by signal" : "exit status",
                      WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        }
    }
    over = true;
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

static pid_t raw_clone(void)
{
    return (pid_t)raw_syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);
}

static void fork_by_clone(void)
{
    fork_bare(raw_clone);
}

static void fork_without_handlers(void)
{
    pid_t (*bare)(void) = (pid_t(*)(void))(uintptr_t)dlsym(RTLD_DEFAULT, "_Fork");
    if (!bare) {
        test_skip("this libc has no _Fork()");
    }
    fork_bare(bare);
}

static pid_t system_call_fork(void)
{
#ifdef SYS_fork
    return (pid_t)syscall(SYS_fork);
#else
    return -1;
#endif
}

static void fork_by_syscall(void)
{
#ifndef SYS_fork
    test_skip("no such system call on this machine");
#endif
    fork_bare(system_call_fork);
}

/* ---- mergeable memory that does not move ---- */

/* All but one page are there, so that there is more than one run to move. */
static char *mergeable_piece(void)
{
    char *at = island(LEN);
    if (madvise(at, LEN, MADV_MERGEABLE) != 0) {
        test_skip("no KSM here: %s", strerror(errno));
    }
    fill(at, 3 * PAGE, 1);
    fill(at + 4 * PAGE, LEN - 4 * PAGE, 2);
    return at;
}

static void check_mergeable(const char *at)
{
    CHECK_EQ(vmas_in(at, LEN), 1);
    CHECK_HOLDS(at, 3 * PAGE, 1);
    CHECK(holds_zero(at + 3 * PAGE, PAGE));
    CHECK_HOLDS(at + 4 * PAGE, LEN - 4 * PAGE, 2);
}

static void mergeable_fallback(void)
{
    char *src[2] = {mergeable_piece(), mergeable_piece()};
    char *dst[2];
    char flags[2][256];
    sharer_start();
    for (int shimmed = 0; shimmed < 2; shimmed++) {
        dst[shimmed] = reserve(LEN);
        CHECK_EQ(ask(shimmed == 1, src[shimmed], LEN, MOVE_TO, dst[shimmed]), (long)dst[shimmed]);
        CHECK_EQ(vmas_in(dst[shimmed], LEN), 1);
        vm_flags(dst[shimmed], flags[shimmed], sizeof(flags[shimmed]));
    }
    CHECK(strstr(flags[0], "mg ") != NULL);
    if (strcmp(flags[0], flags[1]) != 0) {
        test_fail(__FILE__, __LINE__, "plain: %s; shimmed: %s", flags[0], flags[1]);
    }
    check_mergeable(dst[0]);
    check_mergeable(dst[1]);
    sharer_end();
}

static void mergeable_must(void)
{
    char before[256];
    char after[256];
    char *src = mergeable_piece();
    char *dst = reserve(LEN);
    vm_flags(src, before, sizeof(before));
    CHECK(strstr(before, "mg ") != NULL);
    sharer_start();
    for (int i = 0; i < 2; i++) {
        CHECK_ERRNO(mremap(src, LEN, LEN, MOVE_TO | MUST, dst), EFAULT);
        CHECK_EQ(vmas_in(src, LEN), 1);
        vm_flags(src, after, sizeof(after));
        if (strcmp(before, after) != 0) {
            test_fail(__FILE__, __LINE__, "before: %s; after: %s", before, after);
        }
        check_mergeable(src);
    }
    sharer_end();
}

/* ---- a hint that is none ---- */

/* The same answer to a hint, absolute or from the source on, as plain mremap() gives. True: it is
 * a good one. */
static bool compare_hint(uintptr_t hint, bool relative)
{
    static const int extra[] = {0, RELOC, MUST};
    const int flags = MREMAP_MAYMOVE | MREMAP_DONTUNMAP;
    const char *plain = piece(LEN, 1);
    uintptr_t to = relative ? (uintptr_t)plain + hint : hint;
    long want = ask(false, plain, LEN, flags, (const void *)to);
    for (int i = 0; i < (can_relocate() ? 3 : 2); i++) {
        const char *src = piece(LEN, 1);
        to = relative ? (uintptr_t)src + hint : hint;
        long got = ask(true, src, LEN, flags | extra[i], (const void *)to);
        if ((want < 0 || got < 0) && got != want) {
            test_fail(__FILE__, __LINE__, "hint %s%#lx, flags %d: plain %ld, shimmed %ld",
                      relative ? "+" : "", (unsigned long)hint, extra[i], want, got);
        }
        CHECK_HOLDS(got < 0 ? src : (const char *)got, LEN, 1);
        CHECK_EQ(vmas_in(src, LEN), 1);
    }
    return want >= 0;
}

static void dontunmap_unaligned_hint(void)
{
    CHECK(!compare_hint(8 * LEN + 1, true));
    CHECK(!compare_hint(8 * LEN + PAGE - 1, true));
    CHECK(!compare_hint(1, true));
    CHECK(!compare_hint(1, false));
}

static void dontunmap_overlapping_hint(void)
{
    CHECK(!compare_hint(0, true));
    CHECK(!compare_hint(PAGE, true));
    CHECK(!compare_hint(LEN - PAGE, true));
    CHECK(!compare_hint(PAGE - LEN, true));
    CHECK(compare_hint(LEN, true)); /* beside it: these are good */
    CHECK(compare_hint(-LEN, true));
    CHECK(compare_hint(0, false));
}

static void dontunmap_high_hint(void)
{
    CHECK(!compare_hint(-LEN, false));
    CHECK(!compare_hint(PAGE - LEN, false)); /* its end is beyond zero */
    CHECK(!compare_hint((uintptr_t)1 << 62, false));
    CHECK(!compare_hint((uintptr_t)1 << 57, false));
    /* Around the end of user space, wherever that is. */
    for (unsigned bits = 38; bits < 57; bits++) {
        compare_hint(((uintptr_t)1 << bits) - LEN - PAGE, false);
        compare_hint(((uintptr_t)1 << bits) - LEN, false);
        compare_hint(((uintptr_t)1 << bits) - PAGE, false);
        compare_hint((uintptr_t)1 << bits, false);
    }
}

/* ---- huge pages where none were ---- */

/* Collapses by khugepaged since boot. It may do at any time what this test looks for. */
static unsigned long collapses(void)
{
    char line[128];
    unsigned long n = 0;
    FILE *file = fopen("/proc/vmstat", "re");
    while (file && fgets(line, sizeof(line), file)) {
        if (sscanf(line, "thp_collapse_alloc %lu", &n) == 1) {
            break;
        }
    }
    if (file) {
        fclose(file);
    }
    return n;
}

static void expect_kib(const char *at, const char *field, long expected, unsigned long before)
{
    long kib = smaps_kib(at, field);
    if (kib != expected && collapses() != before) {
        test_skip("khugepaged has collapsed huge pages meanwhile");
    }
    CHECK_EQ(kib, expected);
}

static void no_huge_page_beside(void)
{
    enum { BLOCKS = 4 };
    need_relocation();
    unsigned long before = collapses();
    char *src = map_at(reserve(BLOCKS * HUGE), BLOCKS * HUGE, RW);
    madvise(src, BLOCKS * HUGE, MADV_NOHUGEPAGE); /* where they are the default */
    for (size_t i = 0; i < BLOCKS; i++) {         /* before huge pages are allowed: small ones */
        fill(src + i * HUGE, PAGE, 1);
    }
    if (madvise(src, BLOCKS * HUGE, MADV_HUGEPAGE) != 0) {
        test_skip("no huge pages here: %s", strerror(errno));
    }
    for (int side = 0; side < 2; side++) {
        /* Populated, and of another protection: it could be merged with after an mprotect(). */
        char *dst = reserve((BLOCKS + 2) * HUGE) + HUGE;
        char *neighbour = side == 0 ? dst - PAGE : dst + BLOCKS * HUGE;
        map_at(neighbour, PAGE, RW);
        fill(neighbour, PAGE, 2);
        CHECK_OK(madvise(neighbour, PAGE, MADV_HUGEPAGE));
        CHECK_OK(mprotect(neighbour, PAGE, PROT_READ));
        long resident = smaps_kib(src, "Rss");
        expect_kib(src, "AnonHugePages", 0, before);
        CHECK_PTR(mremap(src, BLOCKS * HUGE, BLOCKS * HUGE, MOVE_TO | MUST, dst), dst);
        expect_kib(dst, "AnonHugePages", 0, before);
        expect_kib(dst, "Rss", resident, before);
        CHECK_EQ(vmas_in(dst, BLOCKS * HUGE), 1);
        for (size_t i = 0; i < BLOCKS; i++) {
            CHECK_HOLDS(dst + i * HUGE, PAGE, 1);
        }
        CHECK_OK(mprotect(neighbour, PAGE, RW));
        CHECK_EQ(vmas_in(side == 0 ? neighbour : dst, BLOCKS * HUGE + PAGE), 1);
        CHECK_HOLDS(neighbour, PAGE, 2);
        src = dst;
        CHECK_OK(mprotect(neighbour, PAGE, PROT_NONE)); /* the source is a VMA of its own again */
    }
}

/* ---- statistics that are kept, and exec ---- */

static struct remap_stats kept_file(const char *dir, pid_t pid, const char *suffix)
{
    char path[400];
    struct remap_stats s;
    snprintf(path, sizeof(path), "%s/%d%s", dir, pid, suffix);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        test_fail(__FILE__, __LINE__, "%s", path);
    }
    CHECK_EQ(read(fd, &s, sizeof(s)), sizeof(s));
    close(fd);
    CHECK_EQ(s.ready, 1);
    CHECK_EQ(s.identity.pid, pid);
    CHECK_EQ(s.identity.keep, 1);
    CHECK_OK(unlink(path));
    return s;
}

static void kept_across_exec(void)
{
    char dir[300];
    char env[900];
    char answer[64];
    temp_dir(dir, sizeof(dir));
    snprintf(env, sizeof(env), "REMAP_LOG=error REMAP_STATS=keep REMAP_STATS_DIR=%s", dir);
    struct peer peer = peer_start(env, "mover", NULL);
    peer_ask(&peer, "move 3", answer, sizeof(answer));
    peer_say(&peer, "exec");
    peer_ask(&peer, "pid", answer, sizeof(answer));
    CHECK_EQ(strtol(answer, NULL, 10), peer.pid);
    peer_ask(&peer, "move 2", answer, sizeof(answer));
    CHECK_EQ(peer_end(&peer), 0);
    struct remap_stats first = kept_file(dir, peer.pid, "");
    struct remap_stats second = kept_file(dir, peer.pid, ".1");
    CHECK_EQ(first.counters.calls, 3);
    CHECK_EQ(first.counters.moves, 3);
    CHECK_EQ(second.counters.calls, 2);
    CHECK_EQ(second.counters.moves, 2);
    CHECK_OK(rmdir(dir)); /* and no other file */
}

/* ---- holes that the program has made ---- */

struct traffic {
    char *slot[2];
    size_t size;
    atomic_bool go;
    atomic_uint moves;
};

static void *make_traffic(void *argument)
{
    struct traffic *t = argument;
    while (!t->go) {
        sched_yield();
    }
    for (unsigned i = 0; !over; i++) {
        char *to = t->slot[(i + 1) % 2];
        CHECK_PTR(mremap(t->slot[i % 2], t->size, t->size, MOVE_TO, to), to);
        CHECK_HOLDS(to, 2 * PAGE, 2);
        t->moves++;
    }
    return NULL;
}

/* What was moved away left a hole that only the program fills, whatever another thread moves. */
static void hole_stays_free(size_t traffic_size)
{
    enum { ROUNDS = 10, LOOKS = 100 };
    const size_t size = 32 * HUGE; /* room for whatever a move might need */
    static struct traffic t;
    pthread_t thread;
    need_relocation();
    char *hole = map_at(reserve(size), size, RW);
    char *elsewhere = reserve(size);
    for (size_t at = 0; at < size; at += HUGE) {
        fill(hole + at, PAGE, 1);
    }
    t.size = traffic_size;
    t.slot[0] = island(t.size);
    t.slot[1] = reserve(t.size);
    fill(t.slot[0], 2 * PAGE, 2);
    /* Its stack must not be what fills the hole. */
    CHECK_EQ(pthread_create(&thread, NULL, make_traffic, &t), 0);
    maps_open();
    for (int round = 0; round < ROUNDS; round++) {
        CHECK_PTR(mremap(hole, size, size, MOVE_TO, elsewhere), elsewhere);
        CHECK_EQ(mapped_in(hole, size), 0);
        t.go = true;
        unsigned begun = t.moves;
        for (int look = 0; look < LOOKS || t.moves == begun; look++) {
            CHECK_EQ(mapped_in(hole, size), 0);
        }
        CHECK_PTR(mremap(elsewhere, size, size, MOVE_TO, hole), hole);
        CHECK_EQ(vmas_in(hole, size), 1);
        for (size_t at = 0; at < size; at += HUGE) {
            CHECK_HOLDS(hole + at, PAGE, 1);
            CHECK(holds_zero(hole + at + PAGE, PAGE));
        }
    }
    over = true;
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_GE(relocated_now(), 2 * ROUNDS);
}

static void hole_and_small_moves(void)
{
    hole_stays_free(LEN);
}

static void hole_and_large_moves(void)
{
    hole_stays_free(5 * MIB);
}

static const struct test_case cases[] = {
    {"must_shrinks", must_shrinks, NULL},
    {"fallback_beside_mmap", fallback_beside_mmap, NULL},
    {"fork_by_clone", fork_by_clone, NULL},
    {"fork_by_syscall", fork_by_syscall, NULL},
    {"fork_without_handlers", fork_without_handlers, NULL},
    {"mergeable_fallback", mergeable_fallback, NULL},
    {"mergeable_must", mergeable_must, NULL},
    {"dontunmap_unaligned_hint", dontunmap_unaligned_hint, NULL},
    {"dontunmap_overlapping_hint", dontunmap_overlapping_hint, NULL},
    {"dontunmap_high_hint", dontunmap_high_hint, NULL},
    {"no_huge_page_beside", no_huge_page_beside, NULL},
    {"kept_across_exec", kept_across_exec, NULL},
    {"hole_and_small_moves", hole_and_small_moves, NULL},
    {"hole_and_large_moves", hole_and_large_moves, NULL},
};

int main(int argc, char **argv)
{
    return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
