/* SPDX-License-Identifier: MIT */
/*
 * Calls that relocate nothing: what the shim adds to them. Two ways of telling, both interleaved:
 *
 *   processes  this program runs itself with and without the library, in turns; each run reports
 *              the median of its batches, all of them through libc's mremap().
 *   inside     in one process under the shim, batches through mremap() and batches through a
 *              system call instruction of our own in turns. Here "bare" leaves out libc's wrapper.
 *
 * A batch is many calls, so that the clock does not count.
 *
 * usage: bench-noop LIBREMAP [pairs]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define FLOOR   1.05
#define BATCH   64u
#define BATCHES 300u
#define PAGE    (4 * KIB)

typedef void *remap_fn(void *old, size_t old_bytes, size_t new_bytes, int flags, void *target);

static void *bare(void *old, size_t old_bytes, size_t new_bytes, int flags, void *target)
{
    return (void *)raw_mremap(old, old_bytes, new_bytes, flags, target);
}

static void *called(void *old, size_t old_bytes, size_t new_bytes, int flags, void *target)
{
    return mremap(old, old_bytes, new_bytes, flags, target);
}

/* Each does one batch and returns its time; the state is the same before and after. */
static char *memory;    /* BATCH + 16 pages of anonymous memory, a hole above */
static char *places[2]; /* for the moves: what is there now, and where it goes */
static size_t move_bytes = 64 * KIB;

static void must(const void *result, const void *wanted)
{
    if (result != wanted) {
        fputs("bench-noop: mremap did not do what it should\n", stderr);
        exit(1);
    }
}

static uint64_t same_size(remap_fn *remap)
{
    size_t length = (BATCH + 16) * PAGE;
    uint64_t started = now_ns();

    for (unsigned i = 0; i < BATCH; i++)
        must(remap(memory, length, length, MREMAP_MAYMOVE, NULL), memory);
    return now_ns() - started;
}

static uint64_t shrink(remap_fn *remap)
{
    size_t length = (BATCH + 16) * PAGE;
    uint64_t started = now_ns();

    for (unsigned i = 0; i < BATCH; i++, length -= PAGE)
        must(remap(memory, length, length - PAGE, MREMAP_MAYMOVE, NULL), memory);
    started = now_ns() - started;
    must(bare(memory, length, length + BATCH * PAGE, 0, NULL), memory);
    return started;
}

static uint64_t grow(remap_fn *remap, int flags)
{
    size_t length = 16 * PAGE;
    uint64_t started;

    must(bare(memory, length + BATCH * PAGE, length, 0, NULL), memory);
    started = now_ns();
    for (unsigned i = 0; i < BATCH; i++, length += PAGE)
        must(remap(memory, length, length + PAGE, flags, NULL), memory);
    return now_ns() - started;
}

static uint64_t grow_may_move(remap_fn *remap)
{
    return grow(remap, MREMAP_MAYMOVE);
}

static uint64_t grow_in_place(remap_fn *remap)
{
    return grow(remap, 0);
}

static uint64_t move_about(remap_fn *remap)
{
    uint64_t started = now_ns();

    for (unsigned i = 0; i < BATCH; i++)
        must(remap(places[i % 2], move_bytes, move_bytes, MREMAP_MAYMOVE | MREMAP_FIXED,
                   places[1 - i % 2]),
             places[1 - i % 2]);
    return now_ns() - started;
}

static void map_anonymous(void)
{
    memory = map_small_pages((BATCH + 16) * PAGE);
    /* The reservation around it would be in the way of growing. */
    munmap(memory + (BATCH + 16) * PAGE, HUGE);
    memset(memory, 1, 16 * PAGE);
}

static void map_movable(int flags, bool file)
{
    int fd = -1;

    if (file) {
        char name[] = "/tmp/bench-noop-XXXXXX";

        fd = mkstemp(name);
        if (fd < 0 || ftruncate(fd, (off_t)move_bytes))
            die(name);
        unlink(name);
    }
    places[0] = map_reserved(HUGE);
    places[1] = map_reserved(HUGE) + 5 * PAGE;
    if (mmap(places[0], move_bytes, PROT_READ | PROT_WRITE,
             flags | MAP_FIXED | (file ? 0 : MAP_ANONYMOUS), fd, 0) == MAP_FAILED)
        die("mmap");
    for (size_t at = 0; at < move_bytes; at += PAGE) {
        if (flags & MAP_SHARED)
            places[0][at] = 1;
        else
            (void)*(volatile char *)(places[0] + at);
    }
    if (fd >= 0)
        close(fd);
}

static void map_private_file(void)
{
    map_movable(MAP_PRIVATE, true);
}

static void map_shared_file(void)
{
    map_movable(MAP_SHARED, true);
}

static void map_shared(void)
{
    map_movable(MAP_SHARED, false);
}

static const struct test {
    const char *name;
    void (*set_up)(void);
    uint64_t (*batch)(remap_fn *);
} tests[] = {
    {"same size", map_anonymous, same_size},
    {"shrink", map_anonymous, shrink},
    {"grow in place, MAYMOVE", map_anonymous, grow_may_move},
    {"grow in place, flags 0", map_anonymous, grow_in_place},
    {"move a private file", map_private_file, move_about},
    {"move a shared file", map_shared_file, move_about},
    {"move shared memory", map_shared, move_about},
};
#define TESTS (sizeof tests / sizeof tests[0])

static const char *verdict(double ratio)
{
    return ratio <= FLOOR ? "ok" : "MISSED";
}

static void headings(const char *title)
{
    printf("%s\n%-24s %11s %11s %7s %7s  %-14s %s\n", title, "call", "bare", "shimmed", "ratio",
           "minima", "pairs p5..p95", "floor");
}

static void row(const char *name, double *plain, double *shimmed, double *ratios, size_t count)
{
    double ratio = median(shimmed, count) / median(plain, count);
    char text[2][32];

    printf("%-24s %11s %11s %7.3f %7.3f  %5.2f..%-7.2f %.2f %s\n", name,
           show_ns(text[0], median(plain, count)), show_ns(text[1], median(shimmed, count)), ratio,
           percentile(shimmed, count, 0) / percentile(plain, count, 0),
           percentile(ratios, count, 0.05), percentile(ratios, count, 0.95), FLOOR, verdict(ratio));
}

/* One process: the median of the batches of each test, a line each. */
static void measure(void)
{
    for (size_t t = 0; t < TESTS; t++) {
        double ns[BATCHES];

        tests[t].set_up();
        tests[t].batch(called);
        for (unsigned i = 0; i < BATCHES; i++)
            ns[i] = (double)tests[t].batch(called) / BATCH;
        printf("%.3f\n", median(ns, BATCHES));
    }
}

static void inside(void)
{
    struct remap_stats stats;

    headings(shim_statistics(&stats) ? "inside one process" : "inside one process, NO SHIM");
    for (size_t t = 0; t < TESTS; t++) {
        double plain[BATCHES], shimmed[BATCHES], ratios[BATCHES];

        tests[t].set_up();
        tests[t].batch(bare);
        tests[t].batch(called);
        for (unsigned i = 0; i < BATCHES; i++) {
            if (i % 2)
                shimmed[i] = (double)tests[t].batch(called) / BATCH;
            plain[i] = (double)tests[t].batch(bare) / BATCH;
            if (i % 2 == 0)
                shimmed[i] = (double)tests[t].batch(called) / BATCH;
            ratios[i] = shimmed[i] / plain[i];
        }
        row(tests[t].name, plain, shimmed, ratios, BATCHES);
    }
}

/* Runs this program with `mode`, under `library` if there is one; its output goes to `output`. */
static FILE *start(const char *library, char *mode, pid_t *child)
{
    int ends[2];
    char *arguments[] = {(char[]){"bench-noop"}, mode, NULL};

    fflush(stdout);
    if (pipe(ends) || (*child = fork()) < 0)
        die("fork");
    if (*child == 0) {
        if (library)
            setenv("LD_PRELOAD", library, 1);
        else
            unsetenv("LD_PRELOAD");
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execv("/proc/self/exe", arguments);
        die("execv");
    }
    close(ends[1]);
    return fdopen(ends[0], "r");
}

static void finish(FILE *output, pid_t child)
{
    int status;

    fclose(output);
    if (waitpid(child, &status, 0) != child || status) {
        fputs("bench-noop: a run failed\n", stderr);
        exit(1);
    }
}

static void collect(const char *library, double *ns[TESTS], size_t pair)
{
    char mode[] = "--measure";
    pid_t child;
    FILE *output = start(library, mode, &child);

    for (size_t t = 0; t < TESTS; t++)
        if (!output || fscanf(output, "%lf", &ns[t][pair]) != 1)
            die("a run's output");
    finish(output, child);
}

int main(int argc, char **argv)
{
    double *plain[TESTS], *shimmed[TESTS];
    size_t pairs = argc > 2 ? strtoul(argv[2], NULL, 10) : 20;
    char mode[] = "--inside";
    char line[256];
    double *ratios;
    pid_t child;
    FILE *output;

    if (argc < 2 || pairs == 0) {
        fputs("usage: bench-noop LIBREMAP [pairs]\n", stderr);
        return 2;
    }
    if (strcmp(argv[1], "--measure") == 0) {
        measure();
        return 0;
    }
    if (strcmp(argv[1], "--inside") == 0) {
        inside();
        return 0;
    }
    ratios = calloc(pairs, sizeof *ratios);
    for (size_t t = 0; t < TESTS; t++)
        if (!(plain[t] = calloc(pairs, sizeof(double))) ||
            !(shimmed[t] = calloc(pairs, sizeof(double))) || !ratios)
            die("calloc");
    for (size_t pair = 0; pair < pairs; pair++) {
        if (pair % 2)
            collect(argv[1], shimmed, pair);
        collect(NULL, plain, pair);
        if (pair % 2 == 0)
            collect(argv[1], shimmed, pair);
    }
    headings("processes, with and without the library");
    for (size_t t = 0; t < TESTS; t++) {
        for (size_t pair = 0; pair < pairs; pair++)
            ratios[pair] = shimmed[t][pair] / plain[t][pair];
        row(tests[t].name, plain[t], shimmed[t], ratios, pairs);
    }
    putchar('\n');
    output = start(argv[1], mode, &child);
    while (output && fgets(line, sizeof line, output))
        fputs(line, stdout);
    finish(output, child);
    putchar('\n');
    return 0;
}
