/* SPDX-License-Identifier: MIT */
/*
 * The tier `copy` and what is around a move: pages that a child shares, other threads that touch
 * the destination or write beside it, and the memory that copying takes.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "copying.h"

#define LEN (100 * PAGE)

/* ---- pages shared with a child ---- */

static int child_ends[2];

static void wait_for_parent(void *argument)
{
    char c;
    close(child_ends[1]); /* or it would not notice that its parent is gone */
    CHECK_EQ(read(child_ends[0], &c, 1), 1);
    CHECK_HOLDS((char *)argument, LEN, 1);
}

/* Copying would cost memory: the pages that both have would be there twice. */
static void living_child(void)
{
    need_copy();
    char *src = piece(LEN, 1);
    char *dst = reserve(LEN);
    char *back = reserve(LEN);
    CHECK_OK(pipe(child_ends));
    pid_t pid = start_child(wait_for_parent, src);
    begin_move();
    CHECK_PTR(mremap(src, LEN, LEN, MOVE_TO, dst), dst);
    CHECK_HOLDS(dst, LEN, 1);
    CHECK_EQ(ADDED(outcomes[REMAP_OUTCOME_PLAIN]), 1);
    CHECK_EQ(ADDED(reasons[REMAP_REASON_SHARED_PAGES]), 1);
    CHECK_EQ(ADDED(pages_copied), 0);
    CHECK_EQ(smaps_kib(dst, "Shared_Dirty") + smaps_kib(dst, "Shared_Clean"), LEN / KIB);
    CHECK_ERRNO(mremap(dst, LEN, LEN, MOVE_TO | MUST, back), EFAULT);
    CHECK_HOLDS(dst, LEN, 1);
    CHECK_EQ(vmas_in(dst, LEN), 1);
    CHECK_EQ(smaps_kib(dst, "Shared_Dirty") + smaps_kib(dst, "Shared_Clean"), LEN / KIB);
    CHECK_EQ(ADDED(pages_copied), 0);
    /* One page of its own does not change that. */
    fill(dst, PAGE, 1);
    CHECK_ERRNO(mremap(dst, LEN, LEN, MOVE_TO | MUST, back), EFAULT);
    CHECK_HOLDS(dst, LEN, 1);
    CHECK_EQ(write(child_ends[1], "", 1), 1);
    join_child(pid);
    begin_move();
    CHECK_PTR(mremap(dst, LEN, LEN, MOVE_TO | MUST, back), back);
    check_copied(LEN / PAGE);
    CHECK_HOLDS(back, LEN, 1);
}

static void move_in_child(void *argument)
{
    char *src = argument;
    char *shared = reserve(LEN);
    CHECK_PTR(mremap(src, LEN, LEN, MOVE_TO, shared), shared); /* its parent has them too */
    CHECK_HOLDS(shared, LEN, 1);
    char *dst = move_and_merge(piece(LEN, 2), LEN, LEN, MUST, LEN / PAGE);
    CHECK_HOLDS(dst, LEN, 2);
}

static void inside_a_child(void)
{
    char *warm = move_and_merge(piece(LEN, 5), LEN, LEN, 0, LEN / PAGE);
    char *src = piece(LEN, 1);
    in_child(move_in_child, src);
    CHECK_HOLDS(src, LEN, 1);
    CHECK_HOLDS(warm, LEN, 5);
}

/* ---- other threads ---- */

static atomic_bool over;

/* Two pages of counters, one beside the source and one beside the destination. */
static _Atomic uint64_t *neighbours[2];
static atomic_uint wrong;

static void *count_beside(void *unused)
{
    (void)unused;
    for (uint64_t i = 1; !over; i++) {
        for (int side = 0; side < 2; side++) {
            for (size_t word = 0; word < PAGE / 8; word += 64) {
                wrong += neighbours[side][word] != i - 1;
                neighbours[side][word] = i;
            }
        }
    }
    return NULL;
}

/* A thread writes right beside what moves, in the same VMA, and loses nothing. */
static void writers_beside(void)
{
    enum { ROUNDS = 500 };
    char *slot[2];
    pthread_t thread;
    need_copy();
    for (int side = 0; side < 2; side++) {
        char *area = map_at(reserve(LEN + PAGE), PAGE, RW);
        memset(area, 0, PAGE);
        neighbours[side] = (_Atomic uint64_t *)(void *)area;
        slot[side] = area + PAGE;
    }
    map_at(slot[0], LEN, RW);
    fill(slot[0], LEN, 1);
    CHECK_EQ(vmas_in(slot[0] - PAGE, LEN + PAGE), 1);
    CHECK_EQ(pthread_create(&thread, NULL, count_beside, NULL), 0);
    begin_move();
    for (unsigned i = 0; i < ROUNDS; i++) {
        char *to = slot[(i + 1) % 2];
        CHECK_PTR(mremap(slot[i % 2], LEN, LEN, MOVE_TO, to), to);
        CHECK_HOLDS(to, LEN, 1);
    }
    over = true;
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(wrong, 0);
    CHECK_EQ(ADDED(outcomes[REMAP_OUTCOME_COPY]), ROUNDS);
    CHECK_EQ(vmas_in(slot[0] - PAGE, LEN + PAGE), 1);
}

/* What the main thread has told: a round of moves to `target`. */
static struct {
    atomic_uint round; /* its number; 0: not begun */
    atomic_uint seen;  /* the last one in which the other thread has done its part */
    char *target;
    size_t size;
    atomic_bool went_in; /* the page touched was not there yet */
    atomic_size_t touched;
} game;

#define MADE_UP 0x1234567890abcdefu

static bool is_present(int pagemap, const char *at)
{
    uint64_t entry = 0;
    CHECK_EQ(pread(pagemap, &entry, 8, (off_t)((uintptr_t)at / PAGE * 8)), 8);
    return (entry >> 63) != 0;
}

/* As soon as one end of the destination is there it touches the other one, which may be not. */
static void *touch_while_copying(void *unused)
{
    (void)unused;
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    CHECK_OK(pagemap);
    for (unsigned round = 1;; round++) {
        while (game.round != round && !over) {
            sched_yield();
        }
        if (over) {
            close(pagemap);
            return NULL;
        }
        char *first = game.target;
        char *last = game.target + game.size - PAGE;
        char *there = NULL;
        while (!there) {
            there = is_present(pagemap, first) ? first : is_present(pagemap, last) ? last : NULL;
        }
        char *other = there == first ? last : first;
        game.went_in = !is_present(pagemap, other);
        if (round % 2 == 0) {
            volatile uint64_t *word = (volatile uint64_t *)(void *)other;
            *word = MADE_UP;
        } else if (!holds(other, PAGE, 1, (size_t)(other - first))) {
            wrong++;
        }
        game.touched = (size_t)(other - first);
        game.seen = round;
    }
}

/* Who touches the destination while it is being filled waits for its page: a reader never sees
 * zeroes, a writer's word is not overwritten. */
static void touched_while_copying(void)
{
    enum { TIMES = 20 };
    char *slot[2];
    pthread_t thread;
    unsigned went_in = 0;
    unsigned round = 0;
    need_copy();
    game.size = 16 * MIB;
    slot[0] = map_at(reserve(game.size), game.size, RW);
    slot[1] = reserve(game.size);
    CHECK_OK(madvise(slot[0], game.size, MADV_NOHUGEPAGE));
    fill(slot[0], game.size, 1);
    CHECK_EQ(pthread_create(&thread, NULL, touch_while_copying, NULL), 0);
    begin_move();
    long long deadline = now_ms() + 60000;
    while (went_in < TIMES && now_ms() < deadline) {
        char *from = slot[round % 2];
        game.target = slot[(round + 1) % 2];
        game.round = ++round;
        CHECK_PTR(mremap(from, game.size, game.size, MOVE_TO, game.target), game.target);
        while (game.seen != round) {
            sched_yield();
        }
        went_in += game.went_in;
        char *touched = game.target + game.touched;
        if (round % 2 == 0) {
            CHECK_EQ(*(uint64_t *)(void *)touched, MADE_UP);
            CHECK_HOLDS_FROM(touched + 8, PAGE - 8, 1, game.touched + 8);
            fill(game.target, game.touched == 0 ? 8 : game.size, 1);
        }
        CHECK_HOLDS(game.target, game.size, 1);
    }
    over = true;
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(wrong, 0);
    CHECK_GE(went_in, TIMES);
    CHECK_EQ(ADDED(outcomes[REMAP_OUTCOME_COPY]), round);
}

/* From the moment when the page's old contents are gone. */
static void *touch_at_once(void *unused)
{
    (void)unused;
    for (unsigned round = 1;; round++) {
        while (game.round != round && !over) {
            sched_yield();
        }
        if (over) {
            return NULL;
        }
        char *at = game.target + ((size_t)round * 7 % (game.size / PAGE)) * PAGE;
        volatile uint64_t *word = (volatile uint64_t *)(void *)at;
        uint64_t value;
        do {
            value = *word;
        } while (value == MADE_UP);
        game.went_in = value != 0; /* then the page had come, and what is written to it stays */
        if (round % 2 == 0) {
            word[1] = round;
        }
        game.touched = (size_t)(at - game.target);
        game.seen = round;
    }
}

/* A page that another thread has touched before the destination could be watched gives way. */
static void touched_too_early(void)
{
    enum { ROUNDS = 600 };
    pthread_t thread;
    unsigned early = 0;
    need_copy();
    game.size = LEN;
    char *src = piece(LEN, 1);
    char *dst = reserve(LEN);
    CHECK_EQ(pthread_create(&thread, NULL, touch_at_once, NULL), 0);
    begin_move();
    for (unsigned round = 1; round <= ROUNDS; round++) {
        map_at(dst, LEN, RW);
        for (size_t page = 0; page < LEN; page += PAGE) {
            *(uint64_t *)(void *)(dst + page) = MADE_UP;
        }
        game.target = dst;
        game.round = round;
        CHECK_PTR(mremap(src, LEN, LEN, MOVE_TO, dst), dst);
        while (game.seen != round) {
            sched_yield();
        }
        early += !game.went_in;
        uint64_t *written = (uint64_t *)(void *)(dst + game.touched);
        if (round % 2 == 0) {
            CHECK(written[1] == round || !game.went_in);
            if (written[1] == round) { /* or it was written to the page that gave way */
                fill(dst, game.touched + PAGE, 1);
            }
        }
        CHECK_HOLDS(dst, LEN, 1);
        char *other = reserve(LEN);
        CHECK_EQ(raw_mremap(dst, LEN, LEN, MOVE_TO, other), (long)other);
        src = other;
    }
    over = true;
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(ADDED(outcomes[REMAP_OUTCOME_COPY]), ROUNDS);
    printf("too early %u times of %u\n", early, ROUNDS);
}

/* ---- what it costs ---- */

static atomic_long most_kib;

static long memory_now(void)
{
    return proc_status_kib("VmRSS") + proc_status_kib("VmPTE");
}

static void *watch_memory(void *unused)
{
    (void)unused;
    while (!over) {
        long kib = memory_now();
        if (kib > most_kib) {
            most_kib = kib;
        }
    }
    return NULL;
}

static size_t available(void)
{
    char line[128];
    unsigned long kib = 0;
    FILE *file = fopen("/proc/meminfo", "re");
    CHECK(file != NULL);
    while (fgets(line, sizeof(line), file) && sscanf(line, "MemAvailable: %lu kB", &kib) != 1) {
    }
    fclose(file);
    return kib * KIB;
}

/* However much is moved, 8 MiB more than it are needed for a moment. The kernel's own peak of the
 * resident set, and page tables as a thread sees them meanwhile. */
static void memory_bound(void)
{
    const long bound_kib = 8L * 1024;
    pthread_t thread;
    size_t size = GIB;
    need_copy();
    if (available() < GIB + GIB / 2) {
        size = available() / 2 & ~(MIB - 1);
        printf("only %zu MiB: no more memory is free here\n", size / MIB);
    }
    char *src = map_at(reserve(size), size, RW);
    char *dst = reserve(size);
    CHECK_OK(madvise(src, size, MADV_NOHUGEPAGE));
    fill(src, size, 1);
    begin_move();
    if (!write_text("/proc/self/clear_refs", "5")) {
        test_skip("the peak of the resident set cannot be reset: %s", strerror(errno));
    }
    long resident = proc_status_kib("VmHWM"); /* as it is reset: what is resident now */
    long memory = memory_now();
    most_kib = memory;
    CHECK_EQ(pthread_create(&thread, NULL, watch_memory, NULL), 0);
    CHECK_PTR(mremap(src, size, size, MOVE_TO, dst), dst);
    over = true;
    CHECK_EQ(pthread_join(thread, NULL), 0);
    long peak = proc_status_kib("VmHWM");
    check_copied(size / PAGE);
    printf("%zu MiB: %ld KiB more resident, %ld KiB with page tables\n", size / MIB,
           peak - resident, most_kib - memory);
    CHECK_GE(resident, size / KIB);
    CHECK_LE(peak - resident, bound_kib);
    CHECK_LE(most_kib - memory, bound_kib);
    CHECK_LE(smaps_kib(dst, "Rss"), size / KIB);
    CHECK_HOLDS(dst, size, 1);
    CHECK_EQ(mapped_in(src, size), 0);
}

static const struct test_case cases[] = {
    {"living_child", living_child, COPYING},
    {"inside_a_child", inside_a_child, COPYING},
    {"writers_beside", writers_beside, COPYING},
    {"touched_while_copying", touched_while_copying, COPYING},
    {"touched_too_early", touched_too_early, COPYING},
    {"memory_bound", memory_bound, COPYING " REMAP_MAX_BYTES=4G"},
};

int main(int argc, char **argv)
{
    return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
