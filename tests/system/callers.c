/* SPDX-License-Identifier: MIT */
/*
 * Call sites (REMAP_CALLERS), 1: what is recorded, against ground truth. Odd stacks and forks are
 * in callers_around.c, what remapstat makes of the sites in sites.sh.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "sites.h"

#define LEN SITE_LEN

/* ---- what is recorded ---- */

static PLACE void one_site(void)
{
    char *area = reserve(26 * LEN);
    for (unsigned i = 0; i < 25; i++) {
        char *from = piece(LEN, i);
        CHECK_PTR(mremap(from, LEN, LEN, MOVE_TO, area + i * LEN), area + i * LEN);
    }
    read_table();
    CHECK_EQ(now.count, 1);
    CHECK_EQ(now.head.depth, 16);
    const struct remap_stats_site *s = &now.sites[0];
    CHECK(is_in(s->frames[0], (uintptr_t)one_site));
    CHECK_EQ(s->moves, 25);
    CHECK_EQ(s->bytes, 25 * LEN);
    CHECK_EQ(s->relocated, now.stats.counters.relocated);
    CHECK_EQ(s->way, REMAP_WAY_SYMBOL);
    if (can_relocate()) {
        CHECK_EQ(s->relocated, 25);
        CHECK_EQ(s->merged, 24);
        CHECK(s->ns > 0);
    }
}

static PLACE void call_both(void)
{
    move();
    move_otherwise();
    STAY();
}

static void two_sites(void)
{
    ready_to_move();
    for (volatile int i = 0; i < 10; i++) {
        call_both();
    }
    read_table();
    CHECK_EQ(now.count, 2);
    const struct remap_stats_site *one = site_in((uintptr_t)move, 0);
    const struct remap_stats_site *other = site_in((uintptr_t)move_otherwise, 0);
    CHECK(one && other && one != other);
    CHECK_EQ(one->moves, 10);
    CHECK_EQ(other->moves, 10);
    CHECK(is_in(one->frames[1], (uintptr_t)call_both) &&
          is_in(other->frames[1], (uintptr_t)call_both));
    CHECK(one->frames[1] != other->frames[1]);
    CHECK(one->frames[2] == other->frames[2]);
}

static void by_depth(unsigned depth)
{
    ready_to_move();
    descend(40);
    descend(40);
    read_table();
    CHECK_EQ(now.head.depth, depth);
    CHECK_EQ(now.count, 1);
    CHECK_EQ(now.sites[0].moves, 2);
    CHECK_EQ(now.sites[0].depth, depth);
    CHECK(is_in(now.sites[0].frames[0], (uintptr_t)move));
    for (unsigned i = 1; i < depth; i++) {
        CHECK(is_in(now.sites[0].frames[i], (uintptr_t)descend));
    }
}

static void depth_1(void)
{
    by_depth(1);
}

static void depth_16(void)
{
    by_depth(16);
}

static void depth_32(void)
{
    by_depth(32);
}

/* Down to the start of the program, as far as it goes, and no further. */
static PLACE void whole_stack(void)
{
    uintptr_t caller = (uintptr_t)__builtin_return_address(0);
    ready_to_move();
    descend(3);
    read_table();
    CHECK_EQ(now.count, 1);
    const struct remap_stats_site *s = &now.sites[0];
    CHECK(s->depth < 32);
    CHECK(is_in(s->frames[5], (uintptr_t)whole_stack));
    CHECK_EQ(s->frames[6], caller);
    void *start = dlsym(RTLD_DEFAULT, "__libc_start_main");
    bool reaches_start = false;
    for (unsigned i = 7; i < s->depth; i++) {
        reaches_start |= start && is_in(s->frames[i], (uintptr_t)start);
    }
    CHECK(reaches_start || !start);
}

static PLACE long move_by_syscall(char *from, char *to)
{
    return syscall(SYS_mremap, from, LEN, LEN, MOVE_TO, to);
}

static PLACE void ways(void)
{
    ready_to_move();
    descend(1);
    CHECK_EQ(move_by_syscall(slots[1], slots[0]), (long)slots[0]);
    read_table();
    CHECK_EQ(now.count, 2);
    const struct remap_stats_site *s = site_in((uintptr_t)move, 0);
    CHECK(s && s->way == REMAP_WAY_SYMBOL);
    s = site_in((uintptr_t)move_by_syscall, 0);
    s = s ? s : site_in((uintptr_t)ways, 0);
    CHECK(s && s->way == REMAP_WAY_SYSCALL);
}

/* libc's own frames are recorded: realloc() is who moves. */
static PLACE void inside_realloc(void)
{
    Dl_info libc;
    Dl_info innermost;
    size_t size = MIB;
    char *block = malloc(size);
    CHECK(block != NULL);
    for (volatile int i = 0; i < 6; i++) {
        /* What it could grow into is taken. */
        mmap((char *)((uintptr_t)(block + size + PAGE - 1) & ~(PAGE - 1)), PAGE, RW,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        memset(block, i, size);
        size *= 2;
        block = realloc(block, size);
        CHECK(block != NULL);
    }
    ready_to_move();
    move();
    read_table();
    if (!now.stats.ways[REMAP_WAY_REALLOC].seen) {
        test_skip("libc's mremap() cannot be redirected here");
    }
    CHECK(dladdr((void *)(uintptr_t)&getpid, &libc));
    for (size_t i = 0; i < now.count; i++) {
        const struct remap_stats_site *s = &now.sites[i];
        if (s->way != REMAP_WAY_REALLOC) {
            continue;
        }
        CHECK(dladdr((void *)(uintptr_t)s->frames[0], &innermost));
        CHECK_PTR(innermost.dli_fbase, libc.dli_fbase);
        for (unsigned f = 1; f < s->depth; f++) {
            if (is_in(s->frames[f], (uintptr_t)inside_realloc)) {
                return;
            }
        }
    }
    test_fail(__FILE__, __LINE__, "no site inside realloc()");
}

static PLACE long move_by_instruction(char *from, char *to)
{
    long ret = raw_mremap(from, LEN, LEN, MOVE_TO, to);
    STAY();
    return ret;
}

/* A system call that is trapped: neither the library's handler nor the kernel's frame is seen. */
static void trapped(void)
{
    ready_to_move();
    CHECK_EQ(move_by_instruction(slots[0], slots[1]), (long)slots[1]);
    at_slot = 1;
    move();
    read_table();
    if (!now.stats.ways[REMAP_WAY_TRAP].seen) {
        test_skip("system calls cannot be trapped here");
    }
    const struct remap_stats_site *s = NULL;
    for (size_t i = 0; i < now.count; i++) {
        if (now.sites[i].way == REMAP_WAY_TRAP) {
            CHECK(s == NULL);
            s = &now.sites[i];
        }
    }
    CHECK(s != NULL);
    Dl_info innermost;
    Dl_info ours;
    CHECK(dladdr((void *)(uintptr_t)s->frames[0], &innermost));
    CHECK(dladdr((void *)(uintptr_t)&move_by_instruction, &ours));
    CHECK_PTR(innermost.dli_fbase, ours.dli_fbase);
    bool seen = false;
    for (unsigned i = 0; i < 4 && i < s->depth; i++) {
        seen |= is_in(s->frames[i], (uintptr_t)move_by_instruction);
    }
    CHECK(seen);
}

static void errno_is_kept(void)
{
    ready_to_move();
    for (volatile int i = 0; i < 2; i++) { /* unknown, then known */
        errno = 4711;
        descend(2);
        CHECK_EQ(errno, 4711);
    }
}

/* ---- threads ---- */

static PLACE void thread_moves(char *from, char *to)
{
    for (int i = 0; i < 100; i++) {
        CHECK_PTR(mremap(i % 2 ? to : from, LEN, LEN, MOVE_TO, i % 2 ? from : to),
                  i % 2 ? from : to);
    }
    STAY();
}

static void *thread_body(void *unused)
{
    (void)unused;
    char *area = reserve(2 * LEN + 3 * PAGE);
    map_at(area + PAGE, LEN, RW);
    fill(area + PAGE, LEN, 3);
    thread_moves(area + PAGE, area + LEN + 2 * PAGE);
    return NULL;
}

/* All at once from the first move on: one site all the same. */
static void threads(void)
{
    pthread_t ids[8];
    for (int i = 0; i < 8; i++) {
        CHECK_EQ(pthread_create(&ids[i], NULL, thread_body, NULL), 0);
    }
    for (int i = 0; i < 8; i++) {
        CHECK_EQ(pthread_join(ids[i], NULL), 0);
    }
    read_table();
    const struct remap_stats_site *s = site_in((uintptr_t)thread_moves, 0);
    CHECK(s != NULL);
    CHECK_EQ(now.count, 1);
    CHECK_EQ(s->moves + now.head.dropped, 800);
    CHECK_EQ(now.head.dropped, 0);
}

/* ---- signals ---- */

/* The stack goes on below the handler: what was interrupted, and who called that. */
static PLACE void in_a_handler(void)
{
    move_on_signal(SIGUSR1, 0);
    interrupted();
    read_table();
    CHECK_EQ(now.count, 1);
    const struct remap_stats_site *s = &now.sites[0];
    CHECK(is_in(s->frames[0], (uintptr_t)move_in_handler));
    bool seen = false;
    for (unsigned i = 2; i < s->depth; i++) {
        seen |= is_in(s->frames[i], (uintptr_t)in_a_handler);
    }
    CHECK(seen);
}

static void alarm_storm(void)
{
    struct itimerval timer = {{0, 200}, {0, 200}};
    ready_to_move();
    move_on_signal(SIGALRM, SA_RESTART);
    CHECK_OK(setitimer(ITIMER_REAL, &timer, NULL));
    while (handler_moves < 500) {
        descend(handler_moves % 30);
    }
    timer.it_value.tv_usec = 0;
    CHECK_OK(setitimer(ITIMER_REAL, &timer, NULL));
    read_table(); /* the sum is right */
}

/* ---- the table is full ---- */

/* Each path through these is a site: 2 to the power of 9. */
static PLACE void branch(unsigned path, unsigned depth)
{
    if (depth == 0) {
        move();
        STAY();
    } else if (path & 1) { /* two calls that no compiler makes one of */
        __asm__ volatile("nop" ::: "memory");
        branch(path >> 1, depth - 1);
        __asm__ volatile("nop" ::: "memory");
    } else {
        branch(path >> 1, depth - 1);
        STAY();
    }
}

static PLACE void all_paths(void)
{
    for (volatile unsigned path = 0; path < 512; path++) {
        branch(path, 9);
    }
    STAY();
}

static void overflow(void)
{
    uint64_t dropped = 0;
    ready_to_move();
    for (volatile uint64_t round = 1; round <= 3; round++) {
        all_paths();
        read_table();
        CHECK_EQ(now.count, 256);
        CHECK_EQ((now.count) * round + now.head.dropped, 512 * round);
        dropped = dropped ? dropped : now.head.dropped;
        CHECK_EQ(now.head.dropped, dropped * round); /* who has a place keeps it */
        for (size_t i = 0; i < now.count; i++) {
            CHECK_EQ(now.sites[i].moves, round);
        }
    }
}

/* ---- the process around it ---- */

static bool maps_libunwind(void)
{
    char line[1024];
    bool found = false;
    FILE *maps = fopen("/proc/self/maps", "re");
    CHECK(maps != NULL);
    while (fgets(line, sizeof(line), maps)) {
        found |= strstr(line, "libunwind") != NULL;
    }
    fclose(maps);
    return found;
}

static void off_by_default(void)
{
    ready_to_move();
    descend(2);
    CHECK(!maps_libunwind());
    read_table_of(getpid());
    CHECK(!now.there);
    CHECK_EQ(now.stats.counters.moves, 1);
}

static void loaded_when_asked(void)
{
    CHECK(maps_libunwind());
}

static void policy_off(void)
{
    CHECK(!maps_libunwind());
}

static void without_file(void)
{
    ready_to_move();
    descend(2);
    CHECK_EQ(stats_now().counters.moves, 1);
    CHECK_EQ(stats_now().identity.sites_offset, 0);
}

static const struct test_case cases[] = {
    {"one_site", one_site, DEEP},
    {"two_sites", two_sites, DEEP},
    {"depth_1", depth_1, "REMAP_CALLERS=1"},
    {"depth_16", depth_16, DEEP},
    {"depth_32", depth_32, "REMAP_CALLERS=32"},
    {"whole_stack", whole_stack, "REMAP_CALLERS=32"},
    {"ways", ways, DEEP},
    {"inside_realloc", inside_realloc, DEEP " REMAP_CATCH=symbol,syscall,realloc"},
    {"trapped", trapped, DEEP " REMAP_CATCH=symbol,syscall,trap REMAP_TRAP=always"},
    {"errno_is_kept", errno_is_kept, DEEP},
    {"threads", threads, DEEP},
    {"in_a_handler", in_a_handler, DEEP},
    {"alarm_storm", alarm_storm, "REMAP_CALLERS=32"},
    {"overflow", overflow, DEEP},
    {"off_by_default", off_by_default, NULL},
    {"loaded_when_asked", loaded_when_asked, DEEP},
    {"policy_off", policy_off, DEEP " REMAP_POLICY=off"},
    {"without_file", without_file, DEEP " REMAP_STATS=off"},
};

int main(int argc, char **argv)
{
    return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
