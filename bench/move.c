/* SPDX-License-Identifier: MIT */
/*
 * What a relocating move costs, as a ratio to a plain one in the same process and the same second.
 *
 * To be run under the shim: mremap() relocates, and the plain move is a system call instruction of
 * our own that the shim does not see. Each round does, in turns of order: a plain move, a
 * relocating move, the UFFDIO_MOVE ioctl alone (on memory of its own, tables already there: the
 * kernel's part, and the floor of what can be reached) and, from 4 MiB on, mmap + memcpy + munmap.
 * Each move is undone by a plain one outside the time taken. The destination is not congruent with
 * the source modulo 2 MiB, so that plain moves page table entries and not whole tables; with huge
 * pages both are aligned.
 *
 * usage: bench-move [--threads none|idle|spin] [--rounds N]
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

enum threads { NONE, IDLE, SPIN };
enum what { PLAIN, RELOCATE, IOCTL, COPY, WHATS };

struct test {
    const char *name;
    size_t length;
    size_t rounds;
    bool huge;
    double floor_threads; /* the ratio to reach in a program with several threads; 0: none set */
    double floor_alone;   /* and in one without */
    double floor_copy;    /* relocating / copying */
};

static const struct test tests[] = {
    {"4 KiB", 4 * KIB, 2000, false, 0, 0, 0},
    {"16 KiB", 16 * KIB, 2000, false, 0, 0, 0},
    {"64 KiB", 64 * KIB, 2000, false, 5.0, 4.0, 0},
    {"1 MiB", 1 * MIB, 1000, false, 6.0, 4.5, 0},
    {"4 MiB", 4 * MIB, 300, false, 6.0, 5.5, 0.1},
    {"64 MiB", 64 * MIB, 30, false, 0, 0, 0.1},
    {"64 MiB THP", 64 * MIB, 100, true, 2.5, 2.5, 0.1},
};

static enum threads threads = NONE;
static bool copying; /* the tier copy is what is measured: the floors are not about that */
static unsigned missed;

/* The memory that one test moves about. */
struct stage {
    size_t length;
    char *source;
    char *target;
    int uffd;
    char *ioctl_source;
    char *ioctl_target;
    char *copied;
};

static double time_plain(struct stage *stage)
{
    uint64_t started = now_ns();
    long result = raw_mremap(stage->source, stage->length, stage->length,
                             MREMAP_MAYMOVE | MREMAP_FIXED, stage->target);

    started = now_ns() - started;
    if (result != (long)(intptr_t)stage->target)
        die("plain mremap");
    return (double)started;
}

static double time_relocating(struct stage *stage)
{
    uint64_t started = now_ns();
    const char *result = mremap(stage->source, stage->length, stage->length,
                                MREMAP_MAYMOVE | MREMAP_FIXED, stage->target);

    started = now_ns() - started;
    if (result != stage->target)
        die("mremap");
    return (double)started;
}

static void move_back(struct stage *stage)
{
    if (raw_mremap(stage->target, stage->length, stage->length, MREMAP_MAYMOVE | MREMAP_FIXED,
                   stage->source) != (long)(intptr_t)stage->source)
        die("mremap back");
}

static double time_ioctl(struct stage *stage)
{
    uint64_t started;

    if (stage->uffd < 0)
        return 0;
    started = now_ns();
    uffd_move(stage->uffd, stage->ioctl_target, stage->ioctl_source, stage->length);
    started = now_ns() - started;
    uffd_move(stage->uffd, stage->ioctl_source, stage->ioctl_target, stage->length);
    return (double)started;
}

static double time_copy(struct stage *stage, bool huge)
{
    char *old = stage->copied;
    uint64_t started = now_ns();
    char *new =
        mmap(NULL, stage->length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (new == MAP_FAILED)
        die("mmap");
    madvise(new, stage->length, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    memcpy(new, old, stage->length);
    munmap(old, stage->length);
    started = now_ns() - started;
    stage->copied = new;
    return (double)started;
}

static char *map_pages(const struct test *test)
{
    return test->huge ? map_huge_pages(test->length) : map_small_pages(test->length);
}

static struct stage set_up(const struct test *test)
{
    struct stage stage = {.length = test->length, .uffd = uffd_open()};

    stage.source = map_pages(test);
    stage.target = map_reserved(test->length + HUGE) + (test->huge ? 0 : 5 * 4 * KIB);
    fill_pages(stage.source, test->length, 1);
    if (stage.uffd >= 0) {
        stage.ioctl_source = map_pages(test);
        stage.ioctl_target = map_pages(test);
        fill_pages(stage.ioctl_source, test->length, 2);
        uffd_register(stage.uffd, stage.ioctl_source, test->length);
        uffd_register(stage.uffd, stage.ioctl_target, test->length);
    }
    if (test->floor_copy > 0) {
        stage.copied = map_pages(test);
        fill_pages(stage.copied, test->length, 3);
    }
    return stage;
}

static void tear_down(struct stage *stage)
{
    if (stage->uffd >= 0) {
        munmap(stage->ioctl_source, stage->length);
        munmap(stage->ioctl_target, stage->length);
        close(stage->uffd);
    }
    munmap(stage->source, stage->length);
    if (stage->copied)
        munmap(stage->copied, stage->length);
}

static double time_one(enum what what, const struct test *test, struct stage *stage)
{
    double ns;

    switch (what) {
    case PLAIN:
        ns = time_plain(stage);
        move_back(stage);
        return ns;
    case RELOCATE:
        ns = time_relocating(stage);
        move_back(stage);
        return ns;
    case IOCTL:
        return time_ioctl(stage);
    case COPY:
        return stage->copied ? time_copy(stage, test->huge) : 0;
    case WHATS:
        break;
    }
    return 0;
}

static const char *verdict(double ratio, double floor)
{
    if (floor <= 0 || copying)
        return "";
    if (ratio <= floor)
        return "ok";
    missed++;
    return "MISSED";
}

static void report(const struct test *test, double *ns[WHATS], double *ratios, size_t rounds,
                   uint64_t relocated)
{
    double plain = median(ns[PLAIN], rounds);
    double shim = median(ns[RELOCATE], rounds);
    double floor = threads == NONE ? test->floor_alone : test->floor_threads;
    char line[2][64];
    char text[3][32];

    for (int i = 0; i < 2; i++)
        snprintf(line[i], sizeof line[i], "%s / %s / %s",
                 show_ns(text[0], percentile(ns[i], rounds, 0)),
                 show_ns(text[1], percentile(ns[i], rounds, 0.05)),
                 show_ns(text[2], median(ns[i], rounds)));
    printf("%-11s %-30s %-32s %5.2f  %5.2f..%-6.2f", test->name, line[0], line[1], shim / plain,
           percentile(ratios, rounds, 0.05), percentile(ratios, rounds, 0.95));
    if (floor > 0 && !copying)
        printf(" %5.1f %-7s", floor, verdict(shim / plain, floor));
    else
        printf(" %13s", "");
    printf(" %6.2f", median(ns[IOCTL], rounds) / plain);
    if (test->floor_copy > 0)
        printf("  %.4f (%.1f %s)", shim / median(ns[COPY], rounds), test->floor_copy,
               verdict(shim / median(ns[COPY], rounds), test->floor_copy));
    putchar('\n');
    if (relocated != rounds)
        printf("  NOTE: only %llu of %zu moves were relocated: the figures above are not what they "
               "should be\n",
               (unsigned long long)relocated, rounds);
}

static void run(const struct test *test, size_t rounds)
{
    struct stage stage = set_up(test);
    struct remap_stats before, after;
    double *ns[WHATS];
    double *ratios = calloc(rounds, sizeof *ratios);
    unsigned long huge = test->huge ? huge_kib(stage.source, test->length) : 0;

    if (test->huge && huge < test->length / KIB) {
        printf("%-11s no huge pages to be had here\n", test->name);
        tear_down(&stage);
        free(ratios);
        return;
    }
    for (int i = 0; i < WHATS; i++)
        if (!(ns[i] = calloc(rounds, sizeof *ns[i])) || !ratios)
            die("calloc");
    for (int i = 0; i < WHATS; i++) /* warm up, and let the shim probe */
        time_one((enum what)i, test, &stage);
    shim_statistics(&before);
    for (size_t round = 0; round < rounds; round++) {
        for (unsigned turn = 0; turn < WHATS; turn++) {
            /* 0123, 3210, 1230, 0321 ...: who comes first, and after whom, changes */
            unsigned i =
                round % 2 ? (WHATS - 1 - turn + round / 2) % WHATS : (turn + round / 2) % WHATS;

            ns[i][round] = time_one((enum what)i, test, &stage);
        }
        ratios[round] = ns[RELOCATE][round] / ns[PLAIN][round];
    }
    shim_statistics(&after);
    report(test, ns, ratios, rounds, after.counters.relocated - before.counters.relocated);
    if (wrong_pages(stage.source, test->length, 1)) {
        fputs("bench-move: wrong contents after the moves\n", stderr);
        exit(1);
    }
    if (test->huge && huge_kib(stage.source, test->length) != huge)
        printf("  NOTE: %lu of %lu KiB are still huge pages\n",
               huge_kib(stage.source, test->length), huge);
    tear_down(&stage);
    for (int i = 0; i < WHATS; i++)
        free(ns[i]);
    free(ratios);
}

static void *idle(void *unused)
{
    (void)unused;
    for (;;)
        pause();
    return NULL;
}

static void *spin(void *unused)
{
    static atomic_uint counter;

    (void)unused;
    for (;;)
        atomic_fetch_add_explicit(&counter, 1, memory_order_relaxed);
    return NULL;
}

int main(int argc, char **argv)
{
    static const char *const titles[] = {
        "a program without threads",
        "a program with another thread, which sleeps",
        "a program with another thread, which runs",
    };
    struct remap_stats stats;
    size_t rounds = 0;
    pthread_t thread;

    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--rounds") == 0)
            rounds = strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--threads") == 0)
            threads = strcmp(argv[i + 1], "spin") == 0   ? SPIN
                      : strcmp(argv[i + 1], "idle") == 0 ? IDLE
                                                         : NONE;
    }
    if (!shim_statistics(&stats)) {
        fputs("bench-move: to be run with LD_PRELOAD=libremap.so; bench/run does so\n", stderr);
        return 2;
    }
    copying = stats.identity.tier == REMAP_TIER_COPY;
    if (threads != NONE && pthread_create(&thread, NULL, threads == SPIN ? spin : idle, NULL))
        die("pthread_create");
    printf("moves in %s%s\n", titles[threads], copying ? ", by copying" : "");
    printf("%-11s %-30s %-32s %5s  %-13s %-13s %6s  %s\n", "size", "plain min / p5 / median",
           "relocating min / p5 / median", "ratio", "pairs p5..p95", "floor", "ioctl", "of a copy");
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
        run(&tests[i], rounds ? rounds : tests[i].rounds);
    printf("ratio, ioctl: medians, against plain. %u figure(s) missed.\n\n", missed);
    return 0;
}
