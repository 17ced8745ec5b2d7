/* SPDX-License-Identifier: MIT */
/*
 * Moving all pages of a range, against a kernel that lies. The real uffd.c runs on a model of two
 * ranges of pages; UFFDIO_MOVE moves what the script of a case says and reports what it says.
 * Whatever is reported, no page that was there may be gone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernel.h"
#include "page_size.h"

static long model_ioctl(int fd, unsigned long request, void *arg);
#define k_ioctl model_ioctl
#include "uffd.c"
#undef k_ioctl

enum { PAGES = 16 };
#define DST ((uintptr_t)1 << 30)
#define SRC ((uintptr_t)2 << 30)

static int dst_page[PAGES]; /* 0: a hole; else the contents */
static int src_page[PAGES];
static bool no_look; /* /proc cannot be read */

/* What one UFFDIO_MOVE does: moves at most `most` pages, then answers `error` (0: the truth) and
 * `told` bytes in .move. The last entry counts for all further calls. */
struct answer {
    size_t most;
    long error;
    int64_t told;
};
static const struct answer *script;
static size_t script_length;
static size_t calls;

static int *page_of(uintptr_t addr)
{
    bool in_src = addr >= SRC;
    size_t n = (addr - (in_src ? SRC : DST)) / page_size();
    assert_true(n < PAGES);
    return in_src ? &src_page[n] : &dst_page[n];
}

static long truthful(struct k_uffdio_move *m, size_t most)
{
    size_t done = 0;
    long error = 0;
    while (done < m->len / page_size()) {
        int *from = page_of((uintptr_t)m->src + done * page_size());
        int *to = page_of((uintptr_t)m->dst + done * page_size());
        error = *from == 0 ? -ENOENT : *to != 0 ? -EEXIST : done >= most ? -EAGAIN : 0;
        if (error != 0)
            break;
        *to = *from;
        *from = 0;
        done++;
    }
    m->move = done != 0 ? (int64_t)(done * page_size()) : error;
    return done * page_size() == m->len ? 0 : done != 0 ? -EAGAIN : error;
}

static long model_ioctl(int fd, unsigned long request, void *arg)
{
    (void)fd;
    if (request != K_UFFDIO_MOVE)
        return 0;
    const struct answer *a = &script[calls < script_length ? calls : script_length - 1];
    struct k_uffdio_move *m = arg;
    calls++;
    long ret = truthful(m, a->most);
    if (a->error == 0)
        return ret;
    m->move = a->told;
    return a->error;
}

long pages_drop(uintptr_t addr, size_t length)
{
    assert_int_equal(length, page_size());
    *page_of(addr) = 0;
    return 0;
}

long pages_first_run(int fd, uintptr_t start, uintptr_t end, uintptr_t *run_start,
                     uintptr_t *run_end)
{
    (void)fd;
    if (no_look)
        return -EBADF;
    while (start < end && *page_of(start) == 0)
        start += page_size();
    if (start >= end)
        return 0;
    *run_start = start;
    while (start < end && *page_of(start) != 0)
        start += page_size();
    *run_end = start;
    return 1;
}

long pages_any(int fd, uintptr_t start, uintptr_t end)
{
    uintptr_t a;
    uintptr_t b;
    return pages_first_run(fd, start, end, &a, &b);
}

long pages_reclaim_exclusive(int fd, uintptr_t start, uintptr_t end)
{
    (void)fd;
    (void)start;
    (void)end;
    return 0;
}

bool process_have_pagemap(struct process *proc)
{
    (void)proc;
    return !no_look;
}

void process_drop_uffd(struct process *proc)
{
    (void)proc;
}

void stats_step(struct remap_stats *s, enum remap_step step, long error)
{
    (void)s;
    (void)step;
    (void)error;
}

static enum uffd_result move_all(enum uffd_priority priority, const struct answer *answers,
                                 size_t count)
{
    struct process proc = {.uffd = {.fd = 5}, .pagemap = {.fd = 6}};
    uint64_t pages = 0;
    script = answers;
    script_length = count;
    calls = 0;
    return uffd_move_all(&proc, DST, SRC, PAGES * page_size(), priority, &pages);
}
#define MOVE_ALL(priority, ...)                                                                    \
    move_all(priority, (const struct answer[]){__VA_ARGS__},                                       \
             sizeof((const struct answer[]){__VA_ARGS__}) / sizeof(struct answer))

static int start(void **state)
{
    (void)state;
    no_look = false;
    for (int i = 0; i < PAGES; i++) {
        dst_page[i] = 0;
        src_page[i] = i % 3 == 1 ? 0 : 100 + i; /* with holes */
    }
    return 0;
}

/* Every page is somewhere, once, with its contents. */
static void nothing_is_lost(bool all_moved)
{
    for (int i = 0; i < PAGES; i++) {
        int expected = i % 3 == 1 ? 0 : 100 + i;
        assert_int_equal(dst_page[i] + src_page[i], expected);
        if (all_moved)
            assert_int_equal(src_page[i], 0);
    }
}

static void honest(void **state)
{
    (void)state;
    assert_int_equal(MOVE_ALL(UFFD_INCOMING_WINS, {PAGES, 0, 0}), UFFD_MOVED_ALL);
    nothing_is_lost(true);
}

static void one_page_at_a_time(void **state)
{
    (void)state;
    assert_int_equal(MOVE_ALL(UFFD_INCOMING_WINS, {1, 0, 0}), UFFD_MOVED_ALL);
    nothing_is_lost(true);
}

/* Seen on 6.18: EEXIST and .move = -17 although pages have arrived. */
static void arrived_but_eexist(void **state)
{
    (void)state;
    for (size_t most = 1; most <= PAGES; most++) {
        start(NULL);
        assert_int_equal(MOVE_ALL(UFFD_INCOMING_WINS, {most, -EEXIST, -EEXIST}, {PAGES, 0, 0}),
                         UFFD_MOVED_ALL);
        nothing_is_lost(true);
        start(NULL);
        MOVE_ALL(UFFD_INCOMING_WINS, {most, -EEXIST, -EEXIST});
        nothing_is_lost(false);
    }
}

static void always_eexist_and_nothing_moves(void **state)
{
    (void)state;
    enum uffd_priority both[] = {UFFD_INCOMING_WINS, UFFD_RESIDENT_WINS};
    for (int i = 0; i < 2; i++) {
        start(NULL);
        assert_int_equal(MOVE_ALL(both[i], {0, -EEXIST, -EEXIST}), UFFD_STUCK);
        nothing_is_lost(false);
    }
}

static void stuck_half_way(void **state)
{
    (void)state;
    assert_int_equal(MOVE_ALL(UFFD_INCOMING_WINS, {1, 0, 0}, {1, 0, 0}, {0, -EBUSY, -EBUSY}),
                     UFFD_STUCK);
    nothing_is_lost(false);
}

/* A thread has touched the destination too early: what is moved wins, there and back. */
static void stray_page(void **state)
{
    (void)state;
    dst_page[3] = 7;
    assert_int_equal(MOVE_ALL(UFFD_INCOMING_WINS, {PAGES, 0, 0}), UFFD_MOVED_ALL);
    nothing_is_lost(true);
    start(NULL);
    dst_page[3] = 103; /* the original is back already; what comes along is the stray */
    src_page[3] = 7;
    assert_int_equal(MOVE_ALL(UFFD_RESIDENT_WINS, {PAGES, 0, 0}), UFFD_MOVED_ALL);
    nothing_is_lost(true);
}

static void what_cannot_be_looked_at_is_not_believed(void **state)
{
    (void)state;
    no_look = true;
    assert_int_equal(MOVE_ALL(UFFD_INCOMING_WINS, {PAGES, 0, 0}), UFFD_STUCK);
    nothing_is_lost(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(honest, start),
        cmocka_unit_test_setup(one_page_at_a_time, start),
        cmocka_unit_test_setup(arrived_but_eexist, start),
        cmocka_unit_test_setup(always_eexist_and_nothing_moves, start),
        cmocka_unit_test_setup(stuck_half_way, start),
        cmocka_unit_test_setup(stray_page, start),
        cmocka_unit_test_setup(what_cannot_be_looked_at_is_not_believed, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
