/* SPDX-License-Identifier: MIT */
/* mlocked memory: what the kernel counts, what is populated, with what it merges. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "lib.h"

#define LEN (16 * PAGE)

static void lock(char *at, size_t size)
{
    if (mlock(at, size) != 0) {
        test_skip("mlock: %s", strerror(errno));
    }
}

/* Since Linux 6.17 MREMAP_DONTUNMAP of locked memory counts it twice, for good. */
static void counted_once(void)
{
    char *at[2] = {piece(LEN, 1), NULL};
    lock(at[0], LEN);
    at[1] = map_at(reserve(LEN), PAGE, RW);
    long locked = proc_status_kib("VmLck");
    for (unsigned i = 0; i < 20; i++) {
        CHECK_PTR(mremap(at[i % 2], LEN, LEN, MOVE_TO, at[(i + 1) % 2]), at[(i + 1) % 2]);
        CHECK_HOLDS(at[(i + 1) % 2], LEN, 1);
        CHECK_EQ(proc_status_kib("VmLck"), locked);
    }
    if (can_relocate()) {
        CHECK_EQ(relocated_now(), 20);
    }
}

static void *wait_for_byte(void *descriptor)
{
    char c;
    CHECK_EQ(read(*(int *)descriptor, &c, 1), 1);
    return NULL;
}

/* A locked VMA between unlocked ones of the same kind, to a place beside locked memory. */
static void move_out_of_the_middle(void)
{
    char *map = piece(3 * LEN, 1);
    char *area = map_at(reserve(2 * LEN), LEN, RW);
    fill(area, LEN, 2);
    lock(area, LEN);
    lock(map + LEN, LEN);
    CHECK_PTR(mremap(map + LEN, LEN, LEN, MOVE_TO, area + LEN), area + LEN);
    CHECK_HOLDS(area, LEN, 2);
    CHECK_HOLDS_FROM(area + LEN, LEN, 1, LEN);
    CHECK_HOLDS(map, LEN, 1);
    CHECK_EQ(vmas_in(area, 2 * LEN), can_relocate() ? 1 : 2);
}

static void between_unlocked(void)
{
    int ends[2];
    pthread_t thread;
    move_out_of_the_middle();
    CHECK_OK(pipe(ends));
    CHECK_EQ(pthread_create(&thread, NULL, wait_for_byte, &ends[0]), 0);
    move_out_of_the_middle();
    CHECK_EQ(write(ends[1], "", 1), 1);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* Locked memory that grows is populated as far as it grows, whatever it lands beside. */
static void growth_is_populated(void)
{
    char *src = piece(LEN, 1);
    char *area = map_at(reserve(4 * LEN), LEN, PROT_READ | PROT_WRITE);
    fill(area, LEN, 2);
    CHECK_OK(mprotect(area, LEN, PROT_READ)); /* does not merge with what comes beside it */
    lock(src, LEN);
    char *dst = area + LEN;
    CHECK_PTR(mremap(src, LEN, 3 * LEN, MOVE_TO, dst), dst);
    CHECK_HOLDS(dst, LEN, 1);
    CHECK_EQ(smaps_kib(dst, "Rss"), 3 * LEN / KIB);
    CHECK(holds_zero(dst + LEN, 2 * LEN));
}

/* All memory to come is born locked: the library's own too, which is not to disturb it. */
static void locked_from_the_start(void)
{
    if (mlockall(MCL_FUTURE) != 0) {
        test_skip("mlockall: %s", strerror(errno));
    }
    char *area = map_at(reserve(21 * LEN), LEN, RW);
    fill(area, LEN, 99);
    for (unsigned i = 0; i < 20; i++) {
        char *to = area + (i + 1) * LEN;
        CHECK_PTR(mremap(piece(LEN, i), LEN, LEN, MOVE_TO, to), to);
    }
    for (unsigned i = 0; i < 20; i++) {
        CHECK_HOLDS(area + (i + 1) * LEN, LEN, i);
    }
    CHECK_EQ(vmas_in(area, 21 * LEN), can_relocate() ? 1 : 21);
}

static const struct test_case cases[] = {
    {"counted_once", counted_once, NULL},
    {"between_unlocked", between_unlocked, NULL},
    {"growth_is_populated", growth_is_populated, NULL},
    {"locked_from_the_start", locked_from_the_start, NULL},
};

int main(int argc, char **argv)
{
    return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
