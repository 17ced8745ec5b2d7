/* SPDX-License-Identifier: MIT */
/*
 * What each system call of a relocation costs, one by one, in the order of the engine and without
 * it: no library is needed. The destination has a faulted neighbour on its left, as in a
 * compaction, and is not congruent with the source modulo 2 MiB.
 *
 * usage: bench-step [rounds]
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define PAGE (4 * KIB)
#define MOVE (MREMAP_MAYMOVE | MREMAP_FIXED)

#define STEPS(X)                                                                                   \
    X(PLAIN, "plain mremap")                                                                       \
    X(TAKE, "take")                                                                                \
    X(PARK, "park")                                                                                \
    X(PLACE, "place")                                                                              \
    X(ANON, "anon_vma (*)")                                                                        \
    X(REGISTER, "register")                                                                        \
    X(PAGES, "move pages")                                                                         \
    X(UNREGISTER, "unregister")                                                                    \
    X(UNMAP, "unmap park")                                                                         \
    X(SUM, "sum without (*)")
#define STEP_ID(id, name)   STEP_##id,
#define STEP_NAME(id, name) name,
enum step { STEPS(STEP_ID) STEP_COUNT };
static const char *const step_names[] = {STEPS(STEP_NAME)};

static const struct {
    const char *name;
    size_t length;
    size_t rounds;
} sizes[] = {
    {"4 KiB", 4 * KIB, 1000}, {"64 KiB", 64 * KIB, 1000}, {"1 MiB", MIB, 500},
    {"4 MiB", 4 * MIB, 200},  {"64 MiB", 64 * MIB, 20},
};
#define SIZES (sizeof sizes / sizeof sizes[0])

static uint64_t last; /* the end of the step before */

static void begin(void)
{
    last = now_ns();
}

static double lap(void)
{
    uint64_t now = now_ns();
    double ns = (double)(now - last);

    last = now_ns();
    return ns;
}

static void remap(char *from, size_t length, int flags, char *to)
{
    if (raw_mremap(from, length, length, flags, to) != (long)(intptr_t)to)
        die("mremap");
}

/* One relocation from source to target and back; the time of each step goes to ns. */
static void relocate(int uffd, size_t length, char *source, char *target, char *own, char *park,
                     double *ns)
{
    begin();
    remap(source, length, MOVE, target);
    ns[STEP_PLAIN] = lap();
    remap(target, length, MOVE, source);

    begin();
    remap(source, length, MOVE, own);
    ns[STEP_TAKE] = lap();
    remap(own, length, MOVE | MREMAP_DONTUNMAP, park);
    ns[STEP_PARK] = lap();
    remap(own, length, MOVE, target);
    ns[STEP_PLACE] = lap();
    if (madvise(target, PAGE, MADV_POPULATE_WRITE) || madvise(target, PAGE, MADV_DONTNEED))
        die("madvise");
    ns[STEP_ANON] = lap();
    uffd_register(uffd, target, length);
    ns[STEP_REGISTER] = lap();
    uffd_move(uffd, target, park, length);
    ns[STEP_PAGES] = lap();
    uffd_unregister(uffd, target, length);
    ns[STEP_UNREGISTER] = lap();
    if (munmap(park, length))
        die("munmap");
    ns[STEP_UNMAP] = lap();
    remap(target, length, MOVE, source);

    ns[STEP_SUM] = 0;
    for (int step = STEP_TAKE; step < STEP_SUM; step++)
        ns[STEP_SUM] += step == STEP_ANON ? 0 : ns[step];
}

static void run(int uffd, size_t length, size_t rounds, double *medians)
{
    char *source = map_small_pages(length);
    char *own = map_reserved(length);
    char *park = map_reserved(length);
    char *neighbour = map_reserved(length + HUGE) + 4 * PAGE;
    double *ns[STEP_COUNT];

    for (int step = 0; step < STEP_COUNT; step++)
        if (!(ns[step] = calloc(rounds, sizeof(double))))
            die("calloc");
    if (mmap(neighbour, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
             0) == MAP_FAILED)
        die("mmap");
    madvise(neighbour, PAGE, MADV_NOHUGEPAGE);
    fill_pages(neighbour, PAGE, 1);
    fill_pages(source, length, 2);
    for (size_t round = 0; round <= rounds; round++) { /* the first one warms up */
        double one[STEP_COUNT];

        relocate(uffd, length, source, neighbour + PAGE, own, park, one);
        for (int step = 0; round > 0 && step < STEP_COUNT; step++)
            ns[step][round - 1] = one[step];
    }
    if (wrong_pages(source, length, 2)) {
        fputs("bench-step: wrong contents after the moves\n", stderr);
        exit(1);
    }
    for (int step = 0; step < STEP_COUNT; step++) {
        medians[step] = median(ns[step], rounds);
        free(ns[step]);
    }
    munmap(source, length);
}

int main(int argc, char **argv)
{
    double medians[SIZES][STEP_COUNT];
    size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    int uffd = uffd_open();
    char text[32];

    if (uffd < 0) {
        perror("bench-step: no userfaultfd with UFFDIO_MOVE here");
        return 77;
    }
    for (size_t i = 0; i < SIZES; i++)
        run(uffd, sizes[i].length, rounds ? rounds : sizes[i].rounds, medians[i]);
    puts("the steps of a relocation (medians)");
    printf("%-16s", "");
    for (size_t i = 0; i < SIZES; i++)
        printf(" %12s", sizes[i].name);
    putchar('\n');
    for (int step = 0; step < STEP_COUNT; step++) {
        printf("%-16s", step_names[step]);
        for (size_t i = 0; i < SIZES; i++)
            printf(" %12s", show_ns(text, medians[i][step]));
        putchar('\n');
    }
    printf("%-16s", "sum / plain");
    for (size_t i = 0; i < SIZES; i++)
        printf(" %12.2f", medians[i][STEP_SUM] / medians[i][STEP_PLAIN]);
    printf("\n%-16s", "pages / plain");
    for (size_t i = 0; i < SIZES; i++)
        printf(" %12.2f", medians[i][STEP_PAGES] / medians[i][STEP_PLAIN]);
    puts("\n(*) only where the destination has no faulted neighbour to share an anon_vma with\n");
    return 0;
}
