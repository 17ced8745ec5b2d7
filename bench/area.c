/* SPDX-License-Identifier: MIT */
/*
 * 2,000 faulted regions of 16 to 256 KiB, scattered, moved next to each other in address order: how
 * many VMAs hold them then, are the contents right, is "saved" what was saved, and which VMAs does
 * the library itself add? Runs itself plain and under the library.
 *
 * usage: bench-area LIBREMAP [regions]
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define PAGE      (4 * KIB)
#define MAX_BYTES (256 * KIB)
#define MIN_BYTES (16 * KIB)

#define FLOOR_AREA  2
#define FLOOR_ADDED 8
#define FLOOR_SAVED 2.0 /* percent */

/* ---- the run itself, in a process of its own ---- */

struct region {
    char *address;
    size_t length;
};

/* The mappings outside [start, end), each as "SIZE PROT NAME". */
static void list_others(uintptr_t start, uintptr_t end)
{
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "re");

    if (!maps)
        die("/proc/self/maps");
    while (fgets(line, sizeof line, maps)) {
        uintptr_t from, to;
        char prot[5];
        int name = 0;

        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*x %*s %*u %n", &from, &to, prot, &name) <
                3 ||
            (from < end && to > start))
            continue;
        printf("%" PRIuPTR "K %s %s", (to - from) / KIB, prot,
               line[name] ? line + name : "anonymous\n");
    }
    fclose(maps);
}

static int measure(size_t count)
{
    struct region *regions = calloc(count, sizeof *regions);
    size_t scattered_bytes = 2 * count * MAX_BYTES;
    char *scattered = map_reserved(scattered_bytes);
    char *area = map_reserved(count * MAX_BYTES);
    char *top = area;
    struct remap_stats stats = {0};
    uint64_t random = 1;
    uint64_t started;
    size_t wrong = 0;

    if (!regions)
        die("calloc");
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    for (size_t i = 0; i < count; i++) {
        struct region *region = &regions[i];

        region->length = MIN_BYTES + draw(&random) % ((MAX_BYTES - MIN_BYTES) / PAGE + 1) * PAGE;
        region->address = scattered + 2 * i * MAX_BYTES + draw(&random) % 32 * PAGE;
        if (mprotect(region->address, region->length, PROT_READ | PROT_WRITE))
            die("mprotect");
        fill_pages(region->address, region->length, i);
    }
    started = now_ns();
    for (size_t i = 0; i < count; i++) {
        if (mremap(regions[i].address, regions[i].length, regions[i].length,
                   MREMAP_MAYMOVE | MREMAP_FIXED, top) != top)
            die("mremap");
        regions[i].address = top;
        top += regions[i].length;
    }
    started = now_ns() - started;
    for (size_t i = 0; i < count; i++)
        wrong += wrong_pages(regions[i].address, regions[i].length, i);
    munmap(scattered, scattered_bytes);
    shim_statistics(&stats);
    printf("%u %u %" PRIu64 " %" PRIu64 " %zu %" PRIu64 "\n",
           count_vmas((uintptr_t)area, (uintptr_t)top), count_vmas(0, UINTPTR_MAX),
           stats.counters.relocated, stats.counters.saved, wrong, started);
    list_others((uintptr_t)area, (uintptr_t)top);
    free(regions);
    return 0;
}

/* ---- the two runs, compared ---- */

#define LINES 256

struct result {
    unsigned area;
    unsigned total;
    uint64_t relocated;
    uint64_t saved;
    size_t wrong;
    uint64_t ns;
    size_t count;
    char others[LINES][256];
};

static void run(const char *library, const char *regions, struct result *result)
{
    char *arguments[] = {(char[]){"bench-area"}, (char[]){"--measure"}, strdup(regions), NULL};
    int ends[2];
    int status;
    pid_t child;
    FILE *output;

    fflush(stdout);
    if (pipe(ends) || (child = fork()) < 0)
        die("fork");
    if (child == 0) {
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
    output = fdopen(ends[0], "r");
    if (!output || fscanf(output, "%u %u %" SCNu64 " %" SCNu64 " %zu %" SCNu64 "\n", &result->area,
                          &result->total, &result->relocated, &result->saved, &result->wrong,
                          &result->ns) != 6)
        die("a run's output");
    while (result->count < LINES && fgets(result->others[result->count], 256, output))
        result->count++;
    fclose(output);
    if (waitpid(child, &status, 0) != child || status)
        die("a run failed");
    free(arguments[2]);
}

static void show(const char *name, const struct result *result)
{
    char text[32];

    printf("%-9s %8u %8u %10" PRIu64 " %8" PRIu64 " %9s  %s\n", name, result->area, result->total,
           result->relocated, result->saved, show_ns(text, (double)result->ns),
           result->wrong ? "WRONG" : "right");
}

/* What the shimmed run has and the plain one has not. */
static void show_added(struct result *plain, const struct result *shimmed)
{
    for (size_t i = 0; i < shimmed->count; i++) {
        size_t j = 0;

        while (j < plain->count && strcmp(plain->others[j], shimmed->others[i]) != 0)
            j++;
        if (j < plain->count)
            plain->others[j][0] = '\0'; /* matched */
        else
            printf("    %s", shimmed->others[i]);
    }
}

int main(int argc, char **argv)
{
    static struct result plain, shimmed;
    const char *regions = argc > 2 ? argv[2] : "2000";
    double saved, error;
    int added;

    if (argc > 2 && strcmp(argv[1], "--measure") == 0)
        return measure(strtoul(argv[2], NULL, 10));
    if (argc < 2) {
        fputs("usage: bench-area LIBREMAP [regions]\n", stderr);
        return 2;
    }
    run(NULL, regions, &plain);
    run(argv[1], regions, &shimmed);
    printf("%s regions of 16 to 256 KiB moved next to each other in address order\n", regions);
    printf("%-9s %8s %8s %10s %8s %9s  %s\n", "run", "VMAs", "in all", "relocated", "saved", "time",
           "contents");
    show("plain", &plain);
    show("shimmed", &shimmed);
    saved = (double)plain.total - (double)shimmed.total;
    error = saved > 0 ? ((double)shimmed.saved - saved) * 100 / saved : 100;
    added = (int)(shimmed.total - shimmed.area) - (int)(plain.total - plain.area);
    printf("  VMAs in the area: floor %d: %s\n", FLOOR_AREA,
           shimmed.area <= FLOOR_AREA ? "reached" : "MISSED");
    printf("  saved %" PRIu64 ", in truth %.0f: %+.2f %%, floor %.0f %%: %s\n", shimmed.saved,
           saved, error, FLOOR_SAVED,
           error <= FLOOR_SAVED && error >= -FLOOR_SAVED ? "reached" : "MISSED");
    printf("  VMAs that the library adds: %d, floor %d: %s\n", added, FLOOR_ADDED,
           added <= FLOOR_ADDED ? "reached" : "MISSED");
    show_added(&plain, &shimmed);
    putchar('\n');
    return plain.wrong || shimmed.wrong;
}
