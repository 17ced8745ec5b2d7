/* SPDX-License-Identifier: MIT */
/*
 * What recording the call site (REMAP_CALLERS) adds to a move from a known site. The program runs
 * itself with and without, in turns; each run reports the median of its batches: moves of one page
 * below more frames than are recorded, made plainly (REMAP_POLICY=observe) and relocating.
 *
 * usage: bench-callers LIBREMAP [DEPTH [PAIRS]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define LIMIT_NS 5000.0
#define BATCH    64u
#define BATCHES  300u
#define PAGE     (4 * KIB)

static char *places[2];
static const char *const policies[] = {"observe", "auto"};
#define POLICIES (sizeof policies / sizeof policies[0])

static __attribute__((noinline)) uint64_t batch(void)
{
    uint64_t started = now_ns();

    for (unsigned i = 0; i < BATCH; i++) {
        char *to = places[1 - i % 2];
        if (mremap(places[i % 2], PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
            die("mremap");
    }
    return now_ns() - started;
}

/* Frames of some 150 bytes, as many as are recorded at most and a few more. */
static __attribute__((noinline)) uint64_t below(unsigned depth)
{
    volatile char room[96];
    uint64_t ns;

    room[0] = 1;
    ns = depth ? below(depth - 1) : batch();
    room[1] = room[0]; /* not a tail call */
    return ns;
}

static void measure(void)
{
    double ns[BATCHES];

    places[0] = map_reserved(HUGE);
    places[1] = map_reserved(HUGE) + 5 * PAGE;
    if (mmap(places[0], PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1,
             0) == MAP_FAILED)
        die("mmap");
    memset(places[0], 1, PAGE);
    below(36);
    for (unsigned i = 0; i < BATCHES; i++)
        ns[i] = (double)below(36) / BATCH;
    printf("%.3f\n", median(ns, BATCHES));
}

static double run(const char *library, const char *policy, const char *depth)
{
    char *arguments[] = {(char[]){"bench-callers"}, (char[]){"--measure"}, NULL};
    int ends[2], status;
    double ns = 0;
    FILE *output;
    pid_t child;

    fflush(stdout);
    if (pipe(ends) || (child = fork()) < 0)
        die("fork");
    if (child == 0) {
        setenv("LD_PRELOAD", library, 1);
        setenv("REMAP_POLICY", policy, 1);
        setenv("REMAP_CALLERS", depth, 1);
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execv("/proc/self/exe", arguments);
        die("execv");
    }
    close(ends[1]);
    output = fdopen(ends[0], "r");
    if (!output || fscanf(output, "%lf", &ns) != 1)
        die("a run's output");
    fclose(output);
    if (waitpid(child, &status, 0) != child || status) {
        fputs("bench-callers: a run failed\n", stderr);
        exit(1);
    }
    return ns;
}

int main(int argc, char **argv)
{
    const char *depth = argc > 2 ? argv[2] : "16";
    size_t pairs = argc > 3 ? strtoul(argv[3], NULL, 10) : 10;
    double *plain, *recorded, *added;

    if (argc < 2 || !pairs) {
        fputs("usage: bench-callers LIBREMAP [DEPTH [PAIRS]]\n", stderr);
        return 2;
    }
    if (strcmp(argv[1], "--measure") == 0) {
        measure();
        return 0;
    }
    plain = calloc(pairs, sizeof *plain);
    recorded = calloc(pairs, sizeof *recorded);
    added = calloc(pairs, sizeof *added);
    if (!plain || !recorded || !added)
        die("calloc");
    printf("recording a known call site, %s frames\n%-10s %11s %11s %11s %-20s %s\n", depth,
           "policy", "off", "on", "added", " pairs p5..p95", "limit");
    for (size_t p = 0; p < POLICIES; p++) {
        char text[5][32];
        for (size_t i = 0; i < pairs; i++) {
            if (i % 2)
                recorded[i] = run(argv[1], policies[p], depth);
            plain[i] = run(argv[1], policies[p], "0");
            if (i % 2 == 0)
                recorded[i] = run(argv[1], policies[p], depth);
            added[i] = recorded[i] - plain[i];
        }
        double ns = median(recorded, pairs) - median(plain, pairs);
        printf("%-10s %11s %11s %11s %9s..%-9s %s %s\n", policies[p],
               show_ns(text[0], median(plain, pairs)), show_ns(text[1], median(recorded, pairs)),
               show_ns(text[2], ns), show_ns(text[3], percentile(added, pairs, 0.05)),
               show_ns(text[4], percentile(added, pairs, 0.95)), "5 us",
               ns <= LIMIT_NS ? "ok" : "MISSED");
    }
    return 0;
}
